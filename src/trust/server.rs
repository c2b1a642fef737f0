//! The panel's end of TLS: shows its own certificate, and takes certificates of its own authority, or none.
//!
//! One that has ended is let through the handshake, so that its node can be told why it is turned away; who it is and whether it
//! still counts is asked of the node's row by whoever called.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ALPN, Authority, TrustError, fingerprint, provider};

/// Seconds since 1970.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The panel's own certificate is made anew after so many seconds.
const FRESH_SECS: i64 = 30 * 86_400;

/// Who is at the other end, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// SHA-256 of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// The node that the certificate was given to.
    pub node: String,
}

/// Agrees with whoever dials.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// For this authority.
    ///
    /// # Errors
    /// [`TrustError::Material`], [`TrustError::Making`]
    pub fn new(authority: Arc<Authority>, now: Now) -> Result<Acceptor, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).map_err(TrustError::Material)?;
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TrustError::Material(Error::General(error.to_string())))?;
        let own = Own { made: Mutex::new((authority.panel(now())?, now())), authority, now };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Material)?
            .with_client_cert_verifier(Arc::new(Lenient(inner)))
            .with_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the look at the certificate.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
    }

    /// Agrees; the caller bounds the time.
    ///
    /// # Errors
    /// [`TrustError::Handshake`]
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<(TlsStream<S>, Option<Peer>), TrustError> {
        let stream = self.0.accept(stream).await.map_err(TrustError::Handshake)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let peer = shown.and_then(|certificate| {
            let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
            let node = read.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
            Some(Peer { fingerprint: fingerprint(certificate), node })
        });
        Ok((stream, peer))
    }
}

/// The panel's own certificate, made anew in time.
struct Own {
    authority: Arc<Authority>,
    now: Now,
    made: Mutex<(Arc<CertifiedKey>, i64)>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = (self.now)();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !(0..FRESH_SECS).contains(&(now - made.1)) {
            match self.authority.panel(now) {
                Ok(fresh) => *made = (fresh, now),
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the panel's own certificate cannot be made anew"),
            }
        }
        Some(made.0.clone())
    }
}

/// Takes what the authority has signed, whatever the clock says.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (_, read) =
            x509_parser::parse_x509_certificate(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let last = u64::try_from(read.validity().not_after.timestamp().saturating_sub(1)).unwrap_or_default();
        self.0.verify_client_cert(end_entity, intermediates, UnixTime::since_unix_epoch(Duration::from_secs(last)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
