//! The panel's own authority: made at the first start, kept in a folder that only the panel reads, signs nodes and the panel itself.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{PANEL_NAME, TrustError, certificate, fingerprint, provider};

/// The authority's certificate, below its folder.
const CERTIFICATE: &str = "ca.pem";
/// Its key.
const KEY: &str = "ca.key";
/// The files of an authority in its folder, in the order in which they are written.
pub const FILES: [&str; 2] = [KEY, CERTIFICATE];
/// Its folder, below the panel's data.
pub const FOLDER: &str = "ca";
/// How long the authority lives, in seconds: longer than anybody keeps a machine.
const AUTHORITY_SECS: i64 = 20 * 366 * 86_400;
/// How long a certificate of the panel itself lives, in seconds; it is made anew long before.
const PANEL_SECS: i64 = 90 * 86_400;
/// Certificates count from this long before they are made, in seconds: clocks of machines differ.
const BACKDATED_SECS: i64 = 86_400;

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate for a node.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// As PEM.
    pub pem: String,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// SHA-256 of the key that it is for.
    pub key: String,
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Roost panel");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn moment(secs: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    // A serial number is a positive one.
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let fresh = folder.join(format!("{name}.new"));
    let _left_over = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}

impl Authority {
    /// Reads the authority of this folder, or makes it. `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`TrustError::Files`]
    pub fn open(folder: &Path, now: i64) -> Result<Authority, TrustError> {
        Authority::read_or_make(folder, now).map_err(|source| TrustError::Files { folder: folder.display().to_string(), source })
    }

    fn read_or_make(folder: &Path, now: i64) -> Result<Authority, Box<dyn std::error::Error + Send + Sync>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The certificate is written last: where it is, the key is there as well.
        if !folder.join(CERTIFICATE).exists() {
            let key = KeyPair::generate()?;
            let mut fresh = params();
            fresh.serial_number = Some(serial()?);
            fresh.not_before = moment(now - BACKDATED_SECS);
            fresh.not_after = moment(now + AUTHORITY_SECS);
            let made = fresh.self_signed(&key)?;
            write(folder, KEY, &key.serialize_pem())?;
            write(folder, CERTIFICATE, &made.pem())?;
        }
        let pem = fs::read_to_string(folder.join(CERTIFICATE))?;
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join(KEY))?)?;
        let authority = Authority { certificate: certificate(&pem)?, issuer: Issuer::new(params(), key), pem };
        let (_, read) = x509_parser::parse_x509_certificate(&authority.certificate)?;
        if *read.public_key().subject_public_key.data != *authority.issuer.key().der_bytes() {
            return Err("certificate and key do not belong together".into());
        }
        Ok(authority)
    }

    /// SHA-256 of its certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a node's key. Of the request only the key counts: name, purpose and span are the panel's to say. Seconds since 1970.
    ///
    /// # Errors
    /// [`TrustError::Request`], [`TrustError::Making`]
    pub fn sign(&self, node: &str, csr: &str, now: i64, until: i64) -> Result<Leaf, TrustError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr).map_err(TrustError::Request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, node);
        params.serial_number = Some(serial()?);
        params.not_before = moment(now - BACKDATED_SECS);
        params.not_after = moment(until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        request.params = params;
        let made = request.signed_by(&self.issuer)?;
        let key = hex::encode(Sha256::digest(request.public_key.der_bytes()));
        Ok(Leaf { pem: made.pem(), fingerprint: fingerprint(made.der()), key })
    }

    /// Makes a key and a certificate for the panel itself.
    pub(super) fn panel(&self, now: i64) -> Result<Arc<CertifiedKey>, TrustError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![PANEL_NAME.to_owned()])?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, PANEL_NAME);
        params.serial_number = Some(serial()?);
        params.not_before = moment(now - BACKDATED_SECS);
        params.not_after = moment(now + PANEL_SECS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| TrustError::Pem)?;
        // The authority goes along, because a node that has not joined knows its fingerprint only.
        let chain = vec![made.der().clone(), self.certificate.clone()];
        CertifiedKey::from_der(chain, private, &provider()).map(Arc::new).map_err(TrustError::Material)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_only_its_owner_can_read_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        let first = Authority::open(&path, 1_000_000_000).unwrap();
        let second = Authority::open(&path, 1_100_000_000).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        for (name, mode) in [(KEY, 0o600), (CERTIFICATE, 0o600), ("", 0o700)] {
            assert_eq!(fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path(), 1_000_000_000).unwrap();
        fs::write(folder.path().join(KEY), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(Authority::open(folder.path(), 1_000_000_000), Err(TrustError::Files { .. })));
        fs::remove_file(folder.path().join(KEY)).unwrap();
        assert!(Authority::open(folder.path(), 1_000_000_000).is_err(), "a lost key is not silently replaced");
    }

    #[test]
    fn only_the_key_of_a_request_counts() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), 1_000_000_000).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::new(vec![PANEL_NAME.to_owned()]).unwrap();
        greedy.distinguished_name.push(DnType::CommonName, "another");
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();
        let leaf = authority.sign("mine", &csr, 1_000_000_000, 1_000_086_400).unwrap();
        let der = certificate(&leaf.pem).unwrap();
        let (_, read) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(read.subject().iter_common_name().next().unwrap().as_str().unwrap(), "mine");
        assert!(read.subject_alternative_name().unwrap().is_none() && !read.is_ca());
        let usage = read.extended_key_usage().unwrap().unwrap().value.clone();
        assert!(usage.client_auth && !usage.server_auth);
        assert!(matches!(authority.sign("mine", "-----BEGIN X-----", 0, 1), Err(TrustError::Request(_))));
    }
}
