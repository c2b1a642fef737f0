//! Settings of the object store: a bucket of any S3 where one is named, else a folder below the data.

use std::path::{Path, PathBuf};

use super::{Reader, SettingsError, bad};
use crate::objects::s3::S3Config;

/// Where templates and backups are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objects {
    /// `<DATA_DIR>/objects`: where no `S3_BUCKET` is named.
    Folder(PathBuf),
    /// `S3_ENDPOINT`, `S3_BUCKET`, `S3_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`.
    S3(S3Config),
}

/// The region where none is named: what stores that know no regions expect.
const REGION: &str = "us-east-1";

impl Objects {
    pub(super) fn read(reader: &mut Reader, data_dir: &Path) -> Result<Objects, SettingsError> {
        let endpoint = reader.text("S3_ENDPOINT", "").trim_end_matches('/').to_owned();
        let bucket = reader.text("S3_BUCKET", "");
        let region = reader.text("S3_REGION", REGION);
        let (access_key, secret_key) = (reader.text("AWS_ACCESS_KEY_ID", ""), reader.text("AWS_SECRET_ACCESS_KEY", ""));
        if bucket.is_empty() {
            let alone = bad("S3_BUCKET", &bucket, "the name of a bucket, because S3_ENDPOINT is set");
            return if endpoint.is_empty() { Ok(Objects::Folder(data_dir.join("objects"))) } else { Err(alone) };
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) {
            return Err(bad("S3_BUCKET", &bucket, "the name of a bucket: 3 to 63 letters, digits, dots and hyphens"));
        }
        if !endpoint.is_empty() && !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(bad("S3_ENDPOINT", &endpoint, "an address such as https://s3.example.org"));
        }
        for (name, value) in [("AWS_ACCESS_KEY_ID", &access_key), ("AWS_SECRET_ACCESS_KEY", &secret_key)] {
            if value.is_empty() {
                return Err(bad(name, value, "set, because S3_BUCKET is"));
            }
        }
        let endpoint = Some(endpoint).filter(|endpoint| !endpoint.is_empty());
        Ok(Objects::S3(S3Config { endpoint, region, bucket, access_key, secret_key }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    const ALL: [(&str, &str); 5] = [
        ("S3_ENDPOINT", "http://127.0.0.1:9000/"),
        ("S3_BUCKET", "roost"),
        ("S3_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "who-it-is"),
        ("AWS_SECRET_ACCESS_KEY", "that-it-is"),
    ];

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(Path::new("/nonexistent/roost.toml"), pairs)
    }

    #[test]
    fn a_named_bucket_is_used_and_otherwise_a_folder_below_the_data() {
        assert_eq!(read(&[("DATA_DIR", "/srv/roost")]).unwrap().objects, Objects::Folder("/srv/roost/objects".into()));
        let settings = read(&ALL).unwrap();
        let Objects::S3(config) = &settings.objects else { panic!("{:?}", settings.objects) };
        assert_eq!((config.endpoint.as_deref(), config.region.as_str()), (Some("http://127.0.0.1:9000"), "eu-central-1"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("who-it-is") && !shown.contains("that-it-is"), "{shown}");
    }

    #[test]
    fn half_a_bucket_is_refused_and_no_secret_is_repeated() {
        for (left_out, changed) in [("S3_BUCKET", ""), ("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("S3_ENDPOINT", "s3")] {
            let pairs: Vec<_> = ALL.iter().map(|(name, value)| (*name, if *name == left_out { changed } else { *value })).collect();
            let error = read(&pairs).unwrap_err().to_string();
            assert!(error.starts_with(left_out) && !error.contains("-it-is"), "{error}");
        }
    }
}
