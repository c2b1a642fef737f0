//! Who believes whom: the panel's own certificate authority, and TLS between panel and nodes on both ends.
//!
//! Called by `cli` (makes or reads the authority), `http::link` (listens) and `node::link` (dials). A node trusts exactly one authority,
//! by its fingerprint at the first contact and by its certificate from then on; the panel takes certificates of its own authority only,
//! and whether one still counts is not decided here but by the row of its node. Keys never leave the machine that made them.

mod authority;
mod client;
mod server;

pub use authority::{Authority, FILES, FOLDER, Leaf};
pub use client::{Key, dial_pinned, dial_with};
pub use server::{Acceptor, Now, Peer};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// Name of the panel in its certificate, wherever it is reached.
pub const PANEL_NAME: &str = "panel.roost.internal";
/// What tells this protocol from others.
const ALPN: &[u8] = b"http/1.1";

/// Why two ends do not come to trust each other.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The authority's files.
    #[error(
        "the authority's files in {folder} cannot be used; restore them from a backup, or remove the folder and let all nodes join anew"
    )]
    Files {
        /// Where they are.
        folder: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key or certificate could not be made.
    #[error("a key or certificate could not be made")]
    Making(#[from] rcgen::Error),
    /// A request for a certificate that is none, or that was not signed by its key.
    #[error("the request for a certificate cannot be read")]
    Request(#[source] rcgen::Error),
    /// A certificate or key that cannot be used.
    #[error("the certificate or its key cannot be used")]
    Material(#[source] rustls::Error),
    /// Text that should be PEM.
    #[error("the certificate or its key cannot be read")]
    Pem,
    /// The other end.
    #[error("the other end could not be agreed with")]
    Handshake(#[source] std::io::Error),
}

/// Installs the one set of ciphers of this program for libraries that ask for it. Called first; again is fine.
pub fn install() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// SHA-256 of a certificate, in hexadecimal.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate.as_ref()))
}

/// The first certificate of a PEM text.
///
/// # Errors
/// [`TrustError::Pem`]
pub fn certificate(pem: &str) -> Result<CertificateDer<'static>, TrustError> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| TrustError::Pem)
}
