//! One provider: what it published of itself as far as it is known, and the two steps of a flow.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{CoreAuthPrompt, CoreAuthenticationFlow};
use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, ErrorResponse, IssuerUrl, JsonWebKeySet,
    Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardErrorResponse,
    TokenResponse, TokenUrl,
};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::openid::{self, Client, Doubt, Expected, Found, Tokens};
use super::peer::{Peer, PeerError};
use super::{Begun, Fresh, IdentityError, Kept, Kind, Person, Setup, account};
use crate::model::time::Millis;

/// How long what an issuer publishes is used before it is read again.
const KEPT: Duration = Duration::from_hours(1);
/// How long an issuer that did not answer is left alone, so that a crowd at the login does not queue up behind its silence.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of an issuer.
#[derive(Default)]
struct Known {
    found: Option<(Arc<Found>, Instant)>,
    failed: Option<Instant>,
}

pub(super) struct Provider {
    setup: Setup,
    client_id: ClientId,
    client_secret: ClientSecret,
    back: RedirectUrl,
    peer: Peer,
    known: Mutex<Known>,
}

impl Provider {
    pub fn new(setup: Setup, base: &str) -> Result<Provider, IdentityError> {
        let secret = String::from_utf8_lossy(setup.client_secret.bytes()).into_owned();
        Ok(Provider {
            client_id: ClientId::new(setup.client_id.clone()),
            client_secret: ClientSecret::new(secret),
            back: RedirectUrl::new(format!("{base}/auth/{}/callback", setup.key)).map_err(IdentityError::away)?,
            peer: Peer::new()?,
            known: Mutex::default(),
            setup,
        })
    }

    pub fn key(&self) -> &str {
        &self.setup.key
    }

    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// What an issuer publishes: as it was read within the last hour, or anew. One request at a time; the others wait for its answer.
    async fn found(&self, issuer: &str, tenants: bool) -> Result<Arc<Found>, IdentityError> {
        let mut known = self.known.lock().await;
        if let Some((found, at)) = &known.found
            && at.elapsed() < KEPT
        {
            return Ok(found.clone());
        }
        if known.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(IdentityError::away("it did not answer a moment ago"));
        }
        match openid::discover(&self.peer, issuer, tenants).await {
            Ok(found) => {
                let found = Arc::new(found);
                *known = Known { found: Some((found.clone(), Instant::now())), failed: None };
                Ok(found)
            }
            Err(error) => {
                known.failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// The same with the keys of this moment: a token was signed with one that was not there before.
    async fn with_new_keys(&self, old: &Found) -> Result<Arc<Found>, IdentityError> {
        let keys = openid::fetch_keys(&self.peer, &old.metadata).await?;
        let found = Arc::new(Found { metadata: old.metadata.clone(), keys });
        self.known.lock().await.found = Some((found.clone(), Instant::now()));
        Ok(found)
    }

    async fn issuer(&self) -> Result<Option<Arc<Found>>, IdentityError> {
        match &self.setup.kind {
            Kind::OpenId { issuer, .. } => self.found(issuer, false).await.map(Some),
            Kind::Microsoft { issuer } => self.found(issuer, true).await.map(Some),
            Kind::GitHub { .. } | Kind::Discord { .. } => Ok(None),
        }
    }

    fn client(&self, found: Option<&Found>) -> Result<Client, IdentityError> {
        let (issuer, authorize, token, proof) = match (&self.setup.kind, found) {
            (_, Some(found)) => (
                found.metadata.issuer().clone(),
                found.metadata.authorization_endpoint().clone(),
                found.metadata.token_endpoint().cloned().ok_or_else(|| IdentityError::away("it names no place to trade codes"))?,
                openid::proof(&found.metadata),
            ),
            (Kind::GitHub { site, .. }, None) => plain(site, "/login/oauth/authorize", site, "/login/oauth/access_token")?,
            (Kind::Discord { site, api }, None) => plain(site, "/oauth2/authorize", api, "/oauth2/token")?,
            (Kind::OpenId { issuer, .. } | Kind::Microsoft { issuer }, None) => plain(issuer, "", issuer, "")?,
        };
        Ok(Client::<EndpointNotSet>::new(self.client_id.clone(), issuer, JsonWebKeySet::default())
            .set_client_secret(self.client_secret.clone())
            .set_auth_uri(authorize)
            .set_token_uri(token)
            .set_auth_type(proof)
            .set_redirect_uri(self.back.clone()))
    }

    pub async fn begin(&self, fresh: bool) -> Result<Begun, IdentityError> {
        let found = self.issuer().await?;
        let client = self.client(found.as_deref())?;
        let (client, scopes): (Client, &[&str]) = match &self.setup.kind {
            Kind::OpenId { .. } | Kind::Microsoft { .. } => (client, &["email", "profile"]),
            Kind::GitHub { .. } => (client.disable_openid_scope(), &["read:user", "user:email"]),
            Kind::Discord { .. } => (client.disable_openid_scope(), &["identify", "email"]),
        };
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes.iter().map(|scope| Scope::new((*scope).to_owned())))
            .set_pkce_challenge(challenge);
        request = match &self.setup.kind {
            Kind::OpenId { fresh: Fresh::Login, .. } | Kind::Microsoft { .. } if fresh => request.add_prompt(CoreAuthPrompt::Login),
            Kind::OpenId { fresh: Fresh::Choose, .. } if fresh => request.add_prompt(CoreAuthPrompt::SelectAccount),
            Kind::OpenId { .. } | Kind::Microsoft { .. } | Kind::GitHub { .. } | Kind::Discord { .. } => request,
        };
        let (url, state, nonce) = request.url();
        let kept = Kept { nonce: nonce.secret().clone(), verifier: verifier.into_secret() };
        Ok(Begun { url: url.into(), state: state.into_secret(), kept })
    }

    pub async fn finish(&self, code: &str, kept: &Kept, now: Millis) -> Result<Person, IdentityError> {
        let found = self.issuer().await?;
        let client = self.client(found.as_deref())?;
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(kept.verifier.clone()));
        let tokens = request.request_async(&self.peer).await.map_err(refused)?;
        let access = tokens.access_token().secret();
        match (&self.setup.kind, found) {
            (_, Some(found)) => {
                let person = self.believe(found.clone(), &tokens, kept, now).await?;
                openid::complete(&self.peer, &found, access, person).await
            }
            (Kind::GitHub { site, api }, None) => account::github(&self.peer, site, api, access).await,
            (Kind::Discord { site, api }, None) => account::discord(&self.peer, site, api, access).await,
            (Kind::OpenId { .. } | Kind::Microsoft { .. }, None) => Err(IdentityError::away("it has not been found")),
        }
    }

    async fn believe(&self, found: Arc<Found>, tokens: &Tokens, kept: &Kept, now: Millis) -> Result<Person, IdentityError> {
        let token = tokens.id_token().ok_or_else(|| IdentityError::NotBelieved("there is no ID token".to_owned()))?;
        let nonce = Nonce::new(kept.nonce.clone());
        let expected = Expected { client_id: &self.client_id, client_secret: &self.client_secret, nonce: &nonce, now };
        let doubt = match openid::believe(&found, token, &expected) {
            Ok(person) => return Ok(person),
            Err(Doubt::NewKey) => openid::believe(&*self.with_new_keys(&found).await?, token, &expected),
            Err(Doubt::Refused(error)) => return Err(error),
        };
        doubt.map_err(|doubt| match doubt {
            Doubt::NewKey => IdentityError::NotBelieved("it is signed with a key that the issuer does not publish".to_owned()),
            Doubt::Refused(error) => error,
        })
    }
}

/// Addresses of one that publishes nothing of itself.
fn plain(site: &str, authorize: &str, api: &str, token: &str) -> Result<(IssuerUrl, AuthUrl, TokenUrl, AuthType), IdentityError> {
    let issuer = IssuerUrl::new(site.to_owned()).map_err(IdentityError::away)?;
    let authorize = AuthUrl::new(format!("{site}{authorize}")).map_err(IdentityError::away)?;
    let token = TokenUrl::new(format!("{api}{token}")).map_err(IdentityError::away)?;
    Ok((issuer, authorize, token, AuthType::RequestBody))
}

/// An error of OAuth 2, which some send with a status that says that all is well.
#[derive(Deserialize)]
struct OddRefusal {
    error: String,
}

/// Words of a provider are kept short: they come into the log.
const WORDS_MAX: usize = 120;

fn refused(error: RequestTokenError<PeerError, StandardErrorResponse<openidconnect::core::CoreErrorResponseType>>) -> IdentityError {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect::<String>();
    match error {
        RequestTokenError::ServerResponse(refusal) => IdentityError::Refused(short(&error_word(&refusal))),
        RequestTokenError::Request(error) => IdentityError::away(error),
        RequestTokenError::Parse(error, body) => match serde_json::from_slice::<OddRefusal>(&body) {
            Ok(refusal) => IdentityError::Refused(short(&refusal.error)),
            Err(_) => IdentityError::odd(error),
        },
        RequestTokenError::Other(why) => IdentityError::odd(short(&why)),
    }
}

fn error_word<E: ErrorResponse + std::fmt::Display>(refusal: &E) -> String {
    refusal.to_string()
}
