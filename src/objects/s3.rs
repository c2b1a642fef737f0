//! Any S3: path style, at an address of one's own, or Amazon's for the region. Google's S3 interface is one of them.
//!
//! Objects come as streams of unknown length. Up to [`PARTS_AT_ONCE`] parts are held in memory, each sent again with growing waits; what
//! failed is given up, so that nothing usable is left. Checksums in newer headers are sent only where the interface demands them,
//! because many stores refuse them; Roost compares its own SHA-256 end to end.

use std::fmt;
use std::io;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls;
use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::count::Counts;
use super::{
    Body, Download, Listed, ObjectError, ObjectKey, ObjectStore, PAGE_MAX, PARTS_MAX, Page, PageToken, Part, Prefix, Stored, UploadId,
    Verb, check_lasts, check_number,
};

/// Bytes of a part. With [`PARTS_MAX`] of them an object has at most 78 GiB.
pub const PART_BYTES: usize = 8 << 20;
/// Parts under way together for one upload; one more is being filled.
pub const PARTS_AT_ONCE: usize = 2;
/// Tries of one request, and of one place in a download.
pub const TRIES: u32 = 5;
/// Wait before the second try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

const COUNTS: Counts = Counts("s3");

/// Where the bucket is, and the key to it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Config {
    /// Such as `https://s3.example.org`; none: Amazon's own for the region.
    pub endpoint: Option<String>,
    /// Such as `eu-central-1`; what the store expects in signatures.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Who we are.
    pub access_key: String,
    /// That it is us.
    pub secret_key: String,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, region, bucket) = (&self.endpoint, &self.region, &self.bucket);
        write!(f, "S3Config {{ endpoint: {endpoint:?}, region: {region:?}, bucket: {bucket:?}, keys: (hidden) }}")
    }
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    part_bytes: usize,
}

impl S3Store {
    /// Connects at the first request.
    pub fn new(config: &S3Config) -> S3Store {
        Self::with_parts(config, PART_BYTES)
    }

    /// With parts of another size, in bytes; S3 takes none under 5 MiB but the last.
    pub fn with_parts(config: &S3Config, part_bytes: usize) -> S3Store {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let retry = RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(WAIT_FIRST).with_max_backoff(WAIT_MAX);
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(config.region.clone()))
            .credentials_provider(Credentials::new(&config.access_key, &config.secret_key, None, None, "settings"))
            .force_path_style(true)
            .retry_config(retry)
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_MAX).build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        S3Store { client: Client::from_conf(builder.build()), bucket: config.bucket.clone(), part_bytes: part_bytes.max(1) }
    }

    /// Puts the SDK's error into our words. Answers to HEAD have no body, so there the status alone says it.
    fn told<E>(&self, what: &'static str, key: Option<&ObjectKey>, error: SdkError<E, HttpResponse>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        match (code, status, key) {
            ("NoSuchUpload", _, Some(key)) => ObjectError::NoUpload(key.clone()),
            ("NoSuchBucket", ..) => ObjectError::NoBucket(self.bucket.clone()),
            ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall", _, Some(key)) => {
                let why = "one of them is not what came, not in order, or too small".to_owned();
                ObjectError::BadParts { key: key.clone(), why }
            }
            ("NoSuchKey" | "NotFound", _, Some(key)) | (_, 404, Some(key)) => ObjectError::Missing(key.clone()),
            (_, 401 | 403, _) => ObjectError::Refused(Box::new(error)),
            (_, 0 | 500.., _) => ObjectError::Away(Box::new(error)),
            (..) => ObjectError::Failed { what, source: Box::new(error) },
        }
    }

    async fn put_small(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), ObjectError> {
        let length = bytes.len();
        let sent = self.client.put_object().bucket(&self.bucket).key(key.as_str()).body(ByteStream::from(bytes)).send().await;
        COUNTS.request("put", sent.map_err(|error| self.told("store an object", Some(key), error)))?;
        COUNTS.taken(length);
        Ok(())
    }

    async fn put_part(&self, key: &ObjectKey, upload: &UploadId, number: u32, bytes: Bytes) -> Result<Part, ObjectError> {
        let length = bytes.len();
        let request = self.client.upload_part().bucket(&self.bucket).key(key.as_str()).upload_id(&upload.0);
        let sent = request.part_number(i32::try_from(number).unwrap_or(i32::MAX)).body(ByteStream::from(bytes)).send().await;
        let sent = COUNTS.request("put_part", sent.map_err(|error| self.told("store a part", Some(key), error)))?;
        COUNTS.taken(length);
        Ok(Part { number, etag: sent.e_tag.unwrap_or_default() })
    }

    /// The parts of a body, sent while the next one fills.
    async fn put_parts(&self, key: &ObjectKey, upload: &UploadId, first: Bytes, filler: &mut Filler) -> Result<Vec<Part>, ObjectError> {
        let (mut under_way, mut sent) = (FuturesUnordered::new(), Vec::new());
        under_way.push(self.put_part(key, upload, 1, first));
        for number in 2.. {
            if under_way.len() >= PARTS_AT_ONCE {
                sent.extend(under_way.next().await.transpose()?);
            }
            let mut fill = pin!(filler.next());
            let bytes = loop {
                tokio::select! {
                    bytes = &mut fill => break bytes?,
                    Some(part) = under_way.next(), if !under_way.is_empty() => sent.push(part?),
                }
            };
            if bytes.is_empty() {
                break;
            }
            if number > PARTS_MAX {
                return Err(ObjectError::TooLarge(self.part_bytes as u64 * u64::from(PARTS_MAX)));
            }
            under_way.push(self.put_part(key, upload, number, bytes));
        }
        while let Some(part) = under_way.next().await {
            sent.push(part?);
        }
        Ok(sent)
    }

    async fn open(&self, key: &ObjectKey, from: u64, same: Option<&str>) -> Result<Opened, ObjectError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str()).set_if_match(same.map(str::to_owned));
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let sent = request.set_range(range).send().await;
        let sent = COUNTS.request("get", sent.map_err(|error| self.told("read an object", Some(key), error)))?;
        let length = u64::try_from(sent.content_length.unwrap_or_default()).unwrap_or_default();
        Ok(Opened { bytes: from + length, etag: sent.e_tag, body: sent.body })
    }
}

/// The beginning of an answer with an object.
struct Opened {
    bytes: u64,
    etag: Option<String>,
    body: ByteStream,
}

/// Cuts a body into parts of one size, and knows what went through.
struct Filler {
    body: Body,
    rest: BytesMut,
    part_bytes: usize,
    bytes: u64,
    hash: Sha256,
}

impl Filler {
    /// The next part; a short or empty one is the last.
    async fn next(&mut self) -> Result<Bytes, ObjectError> {
        while self.rest.len() < self.part_bytes {
            let Some(chunk) = self.body.next().await else { break };
            let chunk = chunk.map_err(ObjectError::Body)?;
            self.rest.reserve(self.part_bytes.saturating_sub(self.rest.len()));
            self.bytes += chunk.len() as u64;
            self.hash.update(&chunk);
            self.rest.extend_from_slice(&chunk);
        }
        let length = self.rest.len().min(self.part_bytes);
        Ok(self.rest.split_to(length).freeze())
    }
}

/// A download that is taken up again where it broke.
struct Resumed {
    store: S3Store,
    key: ObjectKey,
    etag: Option<String>,
    at: u64,
    end: u64,
    body: Option<ByteStream>,
    tries: u32,
}

impl Resumed {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let broken = match &mut self.body {
                Some(body) => match body.next().await {
                    Some(Ok(chunk)) if !chunk.is_empty() => {
                        self.at += chunk.len() as u64;
                        self.tries = 0;
                        COUNTS.given(chunk.len());
                        return Ok(Some(chunk));
                    }
                    Some(Ok(_)) => continue,
                    None if self.at >= self.end => return Ok(None),
                    None => io::Error::from(io::ErrorKind::UnexpectedEof),
                    Some(Err(error)) => io::Error::other(error),
                },
                None => io::Error::from(io::ErrorKind::NotConnected),
            };
            self.body = None;
            self.tries += 1;
            if self.tries >= TRIES {
                return Err(broken);
            }
            tokio::time::sleep(wait(self.tries)).await;
            match self.store.open(&self.key, self.at, self.etag.as_deref()).await {
                Ok(opened) => self.body = Some(opened.body),
                Err(error @ ObjectError::Away(_)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, key = %self.key, "a download is tried again");
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Growing: 100 ms, 200 ms, 400 ms, ...
fn wait(tries: u32) -> Duration {
    WAIT_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX)
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, key: &ObjectKey, body: Body) -> Result<Stored, ObjectError> {
        let mut filler = Filler { body, rest: BytesMut::new(), part_bytes: self.part_bytes, bytes: 0, hash: Sha256::new() };
        let first = filler.next().await?;
        if first.len() < self.part_bytes {
            self.put_small(key, first).await?;
        } else {
            let upload = self.begin_upload(key).await?;
            let done = match self.put_parts(key, &upload, first, &mut filler).await {
                Ok(parts) => self.finish_upload(key, &upload, &parts).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                if let Err(left) = self.abort_upload(key, &upload).await {
                    tracing::warn!(error = &left as &dyn std::error::Error, %key, "parts of a failed upload stay in the bucket");
                }
                return Err(error);
            }
        }
        Ok(Stored { bytes: filler.bytes, sha256: <[u8; 32]>::from(filler.hash.finalize()).into() })
    }

    async fn get(&self, key: &ObjectKey, from: u64) -> Result<Download, ObjectError> {
        if from > 0 {
            // A range that begins at the end is refused by S3, but is nothing wrong here.
            let bytes = self.head(key).await?;
            if from == bytes {
                return Ok(Download { bytes, body: Box::pin(stream::empty()) });
            }
            if from > bytes {
                return Err(ObjectError::PastTheEnd { key: key.clone(), bytes });
            }
        }
        let opened = self.open(key, from, None).await?;
        let (store, key, etag, bytes) = (self.clone(), key.clone(), opened.etag, opened.bytes);
        let resumed = Resumed { store, key, etag, at: from, end: bytes, body: Some(opened.body), tries: 0 };
        let body = stream::try_unfold(resumed, |mut resumed| async move { Ok(resumed.next().await?.map(|chunk| (chunk, resumed))) });
        Ok(Download { bytes, body: Box::pin(body) })
    }

    async fn head(&self, key: &ObjectKey) -> Result<u64, ObjectError> {
        let sent = self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await;
        let sent = COUNTS.request("head", sent.map_err(|error| self.told("look at an object", Some(key), error)))?;
        Ok(u64::try_from(sent.content_length.unwrap_or_default()).unwrap_or_default())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let sent = self.client.delete_object().bucket(&self.bucket).key(key.as_str()).send().await;
        match COUNTS.request("delete", sent.map_err(|error| self.told("remove an object", Some(key), error))) {
            Ok(_) | Err(ObjectError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &Prefix, from: Option<&PageToken>, limit: u16) -> Result<Page, ObjectError> {
        let limit = i32::from(limit.clamp(1, PAGE_MAX));
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix.as_str()).max_keys(limit);
        let sent = request.set_continuation_token(from.map(|token| token.0.clone())).send().await;
        let sent = COUNTS.request("list", sent.map_err(|error| self.told("list objects", None, error)))?;
        // What was put there by somebody else under a name that is none of ours is not ours to show.
        let objects = sent.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let bytes = u64::try_from(object.size.unwrap_or_default()).unwrap_or_default();
            Some(Listed { key: object.key?.parse().ok()?, bytes })
        });
        Ok(Page { objects: objects.collect(), next: sent.next_continuation_token.map(PageToken) })
    }

    async fn sign(&self, verb: Verb, key: &ObjectKey, lasts: Duration) -> Result<String, ObjectError> {
        let lasts = presigning(lasts)?;
        match verb {
            Verb::Get => {
                let signed = self.client.get_object().bucket(&self.bucket).key(key.as_str()).presigned(lasts).await;
                signed.map(|signed| signed.uri().to_owned()).map_err(|error| self.told("sign an address", Some(key), error))
            }
            Verb::Put => {
                let signed = self.client.put_object().bucket(&self.bucket).key(key.as_str()).presigned(lasts).await;
                signed.map(|signed| signed.uri().to_owned()).map_err(|error| self.told("sign an address", Some(key), error))
            }
        }
    }

    async fn begin_upload(&self, key: &ObjectKey) -> Result<UploadId, ObjectError> {
        let sent = self.client.create_multipart_upload().bucket(&self.bucket).key(key.as_str()).send().await;
        let sent = COUNTS.request("begin_upload", sent.map_err(|error| self.told("begin an upload", Some(key), error)))?;
        sent.upload_id.map(UploadId).ok_or(ObjectError::NoUpload(key.clone()))
    }

    async fn sign_part(&self, key: &ObjectKey, upload: &UploadId, number: u32, lasts: Duration) -> Result<String, ObjectError> {
        let (number, lasts) = (check_number(number)?, presigning(lasts)?);
        let request = self.client.upload_part().bucket(&self.bucket).key(key.as_str()).upload_id(&upload.0);
        let signed = request.part_number(i32::try_from(number).unwrap_or(i32::MAX)).presigned(lasts).await;
        signed.map(|signed| signed.uri().to_owned()).map_err(|error| self.told("sign an address", Some(key), error))
    }

    async fn finish_upload(&self, key: &ObjectKey, upload: &UploadId, parts: &[Part]) -> Result<(), ObjectError> {
        let mut parts: Vec<&Part> = parts.iter().collect();
        parts.sort_by_key(|part| part.number);
        let mut list = CompletedMultipartUpload::builder();
        for part in parts {
            let number = i32::try_from(check_number(part.number)?).unwrap_or(i32::MAX);
            list = list.parts(CompletedPart::builder().part_number(number).e_tag(&part.etag).build());
        }
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(&upload.0);
        let sent = request.multipart_upload(list.build()).send().await;
        COUNTS.request("finish_upload", sent.map_err(|error| self.told("put parts together", Some(key), error)))?;
        Ok(())
    }

    async fn abort_upload(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), ObjectError> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(&upload.0);
        let sent = request.send().await;
        match COUNTS.request("abort_upload", sent.map_err(|error| self.told("give an upload up", Some(key), error))) {
            Ok(_) | Err(ObjectError::NoUpload(_) | ObjectError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn presigning(lasts: Duration) -> Result<PresigningConfig, ObjectError> {
    let failed = |error| ObjectError::Failed { what: "sign an address for so long", source: Box::new(error) };
    PresigningConfig::expires_in(check_lasts(lasts)?).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_keys_are_not_shown() {
        assert_eq!([1, 2, 3].map(wait), [100, 200, 400].map(Duration::from_millis));
        assert_eq!(wait(60), WAIT_MAX);
        let config = S3Config {
            endpoint: None,
            region: "r".to_owned(),
            bucket: "b".to_owned(),
            access_key: "WHO".to_owned(),
            secret_key: "SECRET".to_owned(),
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("WHO") && !shown.contains("SECRET"), "{shown}");
    }
}
