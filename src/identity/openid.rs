//! What an OpenID Connect issuer publishes of itself, and whether an ID token of its is to be believed.

use std::time::{Duration, UNIX_EPOCH};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthType, ClaimsVerificationError, ClientId, ClientSecret, EmptyExtraTokenFields, EndpointNotSet, EndpointSet,
    IdToken, IdTokenFields, IdTokenVerifier, IssuerUrl, JsonWebKeySet, Nonce, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse,
};
use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::{IdentityError, Person};
use crate::model::time::Millis;

/// What stands in the issuer of one that signs for many tenants.
const TENANT: &str = "{tenantid}";

/// Claims beside the standard ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MoreClaims {
    /// The tenant that an account belongs to.
    tid: Option<String>,
}

impl AdditionalClaims for MoreClaims {}

type Fields = IdTokenFields<MoreClaims, EmptyExtraTokenFields, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// What comes for a code.
pub(super) type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
/// The token that says who somebody is.
pub(super) type Token = IdToken<MoreClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// The library's client with both addresses known. It serves those that speak OAuth 2 only as well, without an ID token.
pub(super) type Client<Place = EndpointSet> = openidconnect::Client<
    MoreClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    Place,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    Place,
    EndpointNotSet,
>;

/// An issuer as it describes itself.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub metadata: CoreProviderMetadata,
    pub keys: CoreJsonWebKeySet,
}

/// Reads what an issuer publishes. It has to name itself as it is set up, or as an issuer of many tenants at the same place.
pub(super) async fn discover(peer: &Peer, issuer: &str, tenants: bool) -> Result<Found, IdentityError> {
    let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let metadata: CoreProviderMetadata = peer.read(&place, None).await?;
    let named = metadata.issuer().as_str();
    let same = named.trim_end_matches('/') == issuer.trim_end_matches('/');
    let many = tenants && named.contains(TENANT);
    if !same && !many {
        return Err(IdentityError::NotBelieved(format!("the issuer is set up as {issuer}, and calls itself {named}")));
    }
    let keys = fetch_keys(peer, &metadata).await?;
    Ok(Found { metadata, keys })
}

/// Reads the keys that an issuer signs with.
pub(super) async fn fetch_keys(peer: &Peer, metadata: &CoreProviderMetadata) -> Result<CoreJsonWebKeySet, IdentityError> {
    JsonWebKeySet::fetch_async(metadata.jwks_uri(), peer).await.map_err(IdentityError::away)
}

/// How this panel proves itself: with the header, unless the issuer knows the form only.
pub(super) fn proof(metadata: &CoreProviderMetadata) -> AuthType {
    let knows = |method: &CoreClientAuthMethod| metadata.token_endpoint_auth_methods_supported().is_none_or(|all| all.contains(method));
    if knows(&CoreClientAuthMethod::ClientSecretBasic) { AuthType::BasicAuth } else { AuthType::RequestBody }
}

/// Why a token is not believed.
pub(super) enum Doubt {
    /// It is signed with a key that the issuer had not published when it was asked last.
    NewKey,
    /// Anything else.
    Refused(IdentityError),
}

/// Whom a token is for, and with which nonce.
pub(super) struct Expected<'a> {
    pub client_id: &'a ClientId,
    pub client_secret: &'a ClientSecret,
    pub nonce: &'a Nonce,
    pub now: Millis,
}

/// Checks signature, issuer, audience, age and nonce of a token; gives who it is.
pub(super) fn believe(found: &Found, token: &Token, expected: &Expected<'_>) -> Result<Person, Doubt> {
    let issuer = found.metadata.issuer();
    let tenants = issuer.as_str().contains(TENANT);
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(expected.now.0).unwrap_or(0));
    let verifier = IdTokenVerifier::new_confidential_client(
        expected.client_id.clone(),
        expected.client_secret.clone(),
        IssuerUrl::clone(issuer),
        found.keys.clone(),
    );
    let verifier = verifier.set_allowed_algs(found.metadata.id_token_signing_alg_values_supported().clone());
    // Others may be meant as well: who asked for the token is checked below.
    let verifier = verifier.require_issuer_match(!tenants).set_time_fn(move || now.into()).set_other_audience_verifier_fn(|_| true);
    let claims = token.claims(&verifier, expected.nonce).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => Doubt::NewKey,
        other => {
            let cause = std::error::Error::source(&other).map(|cause| format!(": {cause}")).unwrap_or_default();
            Doubt::Refused(IdentityError::NotBelieved(format!("{other}{cause}")))
        }
    })?;
    let for_us = match claims.authorized_party() {
        Some(party) => party == expected.client_id,
        None => claims.audiences().len() == 1,
    };
    if !for_us {
        return Err(Doubt::Refused(IdentityError::NotBelieved("the token was made for another program".to_owned())));
    }
    let tenant = claims.additional_claims().tid.as_deref().unwrap_or_default();
    if tenants && !of_tenant(issuer.as_str(), tenant, claims.issuer().as_str()) {
        return Err(Doubt::Refused(IdentityError::NotBelieved("the token is not of the tenant that it names".to_owned())));
    }
    let label = claims.name().and_then(|name| name.get(None)).map_or("", |name| name.as_str());
    let label = claims.preferred_username().map_or(label, |name| name.as_str());
    // An issuer of many tenants says of no address that it is verified: whoever runs a tenant can write any into it.
    let seen = !tenants && claims.email_verified().unwrap_or(false);
    let email = claims.email().map(|email| email.as_str());
    Person::of(claims.issuer().as_str(), claims.subject().as_str(), email, seen, email.unwrap_or(label)).map_err(Doubt::Refused)
}

fn of_tenant(pattern: &str, tenant: &str, issuer: &str) -> bool {
    let fits = !tenant.is_empty() && tenant.len() <= 64 && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits && issuer == pattern.replace(TENANT, tenant)
}

/// What the issuer tells of somebody beside the token.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<serde_json::Value>,
}

/// Asks for the address where the token does not hold it.
pub(super) async fn complete(peer: &Peer, found: &Found, access: &str, person: Person) -> Result<Person, IdentityError> {
    let Some(place) = found.metadata.userinfo_endpoint().filter(|_| person.email.is_none()) else { return Ok(person) };
    // An address is worth asking for, and no reason to turn somebody away: some sign what they tell, which is not read here.
    let info: UserInfo = match peer.read(place.as_str(), Some(access)).await {
        Err(error @ IdentityError::Odd(_)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "user information cannot be read; the address is left out");
            return Ok(person);
        }
        other => other?,
    };
    if info.sub != person.subject {
        return Err(IdentityError::NotBelieved("token and user information are of two people".to_owned()));
    }
    let tenants = found.metadata.issuer().as_str().contains(TENANT);
    let verified = info.email_verified.is_some_and(|said| said == true || said == "true") && !tenants;
    let label = info.email.as_deref().unwrap_or(&person.label);
    Person::of(&person.issuer, &person.subject, info.email.as_deref(), verified, label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_signs_for_itself_only() {
        let pattern = "https://login.example/{tenantid}/v2.0";
        assert!(of_tenant(pattern, "72f9-88bf", "https://login.example/72f9-88bf/v2.0"));
        for (tenant, issuer) in [
            ("72f9-88bf", "https://login.example/other/v2.0"),
            ("", "https://login.example//v2.0"),
            ("a/../b", "https://login.example/a/../b/v2.0"),
        ] {
            assert!(!of_tenant(pattern, tenant, issuer), "{tenant}");
        }
    }
}
