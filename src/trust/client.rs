//! A node's end of TLS: its key, and dialling a panel that it knows by a fingerprint or by the authority's certificate.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ALPN, PANEL_NAME, TrustError, certificate, fingerprint, provider};

/// A node's key.
pub struct Key(KeyPair);

impl Key {
    /// Makes one.
    ///
    /// # Errors
    /// [`TrustError::Making`]
    pub fn make() -> Result<Key, TrustError> {
        Ok(Key(KeyPair::generate()?))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`TrustError::Pem`]
    pub fn read(pem: &str) -> Result<Key, TrustError> {
        KeyPair::from_pem(pem).map(Key).map_err(|_| TrustError::Pem)
    }

    /// To be kept, by its owner alone.
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A request for a certificate for this key, as PEM.
    ///
    /// # Errors
    /// [`TrustError::Making`]
    pub fn request(&self) -> Result<String, TrustError> {
        Ok(CertificateParams::default().serialize_request(&self.0)?.pem()?)
    }
}

/// One moment, for a handshake that takes less than any certificate's life.
#[derive(Debug)]
struct Moment(UnixTime);

impl TimeProvider for Moment {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

fn builder(now: i64) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TrustError> {
    let secs = u64::try_from(now).unwrap_or_default();
    let moment = Moment(UnixTime::since_unix_epoch(Duration::from_secs(secs)));
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(moment));
    builder.with_safe_default_protocol_versions().map_err(TrustError::Material)
}

async fn dial<S>(config: ClientConfig, stream: S) -> Result<TlsStream<S>, TrustError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = config;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    let name = ServerName::try_from(PANEL_NAME).map_err(|_| TrustError::Pem)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(TrustError::Handshake)
}

/// Agrees with the panel whose authority has this fingerprint, and with nobody else. Shows no certificate. `now`:
/// seconds since 1970.
///
/// # Errors
/// [`TrustError::Handshake`] where it is another panel, or none.
pub async fn dial_pinned<S: AsyncRead + AsyncWrite + Unpin>(authority: &str, now: i64, stream: S) -> Result<TlsStream<S>, TrustError> {
    let config = builder(now)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { authority: authority.to_owned() }))
        .with_no_client_auth();
    dial(config, stream).await
}

/// Agrees with the panel of this authority, showing a certificate. All three are PEM.
/// `now`: seconds since 1970.
///
/// # Errors
/// [`TrustError::Handshake`] where it is another panel, or none; [`TrustError::Material`] and [`TrustError::Pem`] where what is kept is
/// not usable.
pub async fn dial_with<S: AsyncRead + AsyncWrite + Unpin>(
    authority: &str,
    own: &str,
    key: &str,
    now: i64,
    stream: S,
) -> Result<TlsStream<S>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority)?).map_err(TrustError::Material)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TrustError::Pem)?;
    let config =
        builder(now)?.with_root_certificates(roots).with_client_auth_cert(vec![certificate(own)?], key).map_err(TrustError::Material)?;
    dial(config, stream).await
}

/// Believes in one authority, of which only the fingerprint is known.
#[derive(Debug)]
struct Pinned {
    authority: String,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = intermediates.iter().find(|shown| fingerprint(shown) == self.authority);
        let known = known.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(known.clone().into_owned())?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::{Acceptor, Authority, Peer};
    use super::*;

    fn now() -> i64 {
        i64::try_from(UnixTime::now().as_secs()).unwrap()
    }

    struct Panel {
        authority: Arc<Authority>,
        acceptor: Acceptor,
        _folder: tempfile::TempDir,
    }

    fn panel() -> Panel {
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(folder.path(), now()).unwrap());
        let acceptor = Acceptor::new(authority.clone(), Arc::new(now)).unwrap();
        Panel { authority, acceptor, _folder: folder }
    }

    /// Both ends over a pipe: what the panel learns of the peer, if both agree and a word gets through.
    async fn meet<F>(panel: &Panel, dialled: impl FnOnce(tokio::io::DuplexStream) -> F) -> Result<Option<Peer>, TrustError>
    where
        F: Future<Output = Result<TlsStream<tokio::io::DuplexStream>, TrustError>>,
    {
        let (near, far) = tokio::io::duplex(16_384);
        let client = async {
            let mut stream = dialled(near).await?;
            let mut word = [0; 2];
            stream.read_exact(&mut word).await.map_err(TrustError::Handshake)?;
            Ok::<_, TrustError>(())
        };
        let server = async {
            let (mut stream, peer) = panel.acceptor.accept(far).await?;
            stream.write_all(b"hi").await.map_err(TrustError::Handshake)?;
            stream.flush().await.map_err(TrustError::Handshake)?;
            Ok::<_, TrustError>(peer)
        };
        let (client, server) = tokio::join!(client, server);
        client?;
        server
    }

    #[tokio::test]
    async fn a_node_trusts_exactly_the_authority_of_its_token() {
        let (mine, other) = (panel(), panel());
        let fingerprint = mine.authority.fingerprint();
        assert_eq!(meet(&mine, |stream| async { dial_pinned(&fingerprint, now(), stream).await }).await.unwrap(), None);
        assert!(meet(&other, |stream| async { dial_pinned(&fingerprint, now(), stream).await }).await.is_err());
    }

    #[tokio::test]
    async fn a_certificate_names_its_node_and_another_authoritys_is_refused() {
        let (mine, other) = (panel(), panel());
        let key = Key::make().unwrap();
        let (csr, key) = (key.request().unwrap(), key.pem());
        let leaf = mine.authority.sign("node-a", &csr, now(), now() + 3_600).unwrap();
        let own = leaf.pem.clone();
        let authority = mine.authority.pem().to_owned();
        let peer = meet(&mine, |stream| async { dial_with(&authority, &own, &key, now(), stream).await }).await.unwrap();
        assert_eq!(peer, Some(Peer { fingerprint: leaf.fingerprint, node: "node-a".to_owned() }));
        // One that has ended gets through, to be told why it is turned away.
        let over = mine.authority.sign("node-a", &csr, now() - 7_200, now() - 3_600).unwrap().pem;
        assert!(meet(&mine, |stream| async { dial_with(&authority, &over, &key, now(), stream).await }).await.unwrap().is_some());
        let foreign = other.authority.sign("node-a", &csr, now(), now() + 3_600).unwrap().pem;
        assert!(meet(&mine, |stream| async { dial_with(&authority, &foreign, &key, now(), stream).await }).await.is_err());
        assert!(meet(&other, |stream| async { dial_with(&authority, &own, &key, now(), stream).await }).await.is_err());
    }

    #[tokio::test]
    async fn a_node_cannot_stand_in_for_the_panel() {
        let mine = panel();
        let key = Key::make().unwrap();
        let leaf = mine.authority.sign(PANEL_NAME, &key.request().unwrap(), now(), now() + 3_600).unwrap();
        let chain = vec![certificate(&leaf.pem).unwrap(), certificate(mine.authority.pem()).unwrap()];
        let private = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .unwrap();
        let (near, far) = tokio::io::duplex(16_384);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let fingerprint = mine.authority.fingerprint();
        let (client, _) = tokio::join!(dial_pinned(&fingerprint, now(), near), acceptor.accept(far));
        assert!(client.is_err());
    }
}
