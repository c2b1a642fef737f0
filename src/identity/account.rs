//! Who somebody is at GitHub or Discord, which have no ID token: their API is asked with the token that the code was traded for.

use serde::Deserialize;

use super::peer::Peer;
use super::{IdentityError, Person};

#[derive(Deserialize)]
struct GitHubUser {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

/// GitHub: the account by its number, which stays when it is renamed, and its primary address.
pub(super) async fn github(peer: &Peer, site: &str, api: &str, access: &str) -> Result<Person, IdentityError> {
    let user: GitHubUser = peer.read(&format!("{api}/user"), Some(access)).await?;
    let emails: Vec<GitHubEmail> = peer.read(&format!("{api}/user/emails"), Some(access)).await?;
    let primary = emails.iter().find(|email| email.primary);
    let (email, verified) = primary.map_or((None, false), |email| (Some(email.email.as_str()), email.verified));
    Person::of(site, &user.id.to_string(), email, verified, &user.login)
}

#[derive(Deserialize)]
struct DiscordUser {
    id: String,
    username: String,
    email: Option<String>,
    #[serde(default)]
    verified: bool,
}

/// Discord: the account by its number.
pub(super) async fn discord(peer: &Peer, site: &str, api: &str, access: &str) -> Result<Person, IdentityError> {
    let user: DiscordUser = peer.read(&format!("{api}/users/@me"), Some(access)).await?;
    Person::of(site, &user.id, user.email.as_deref(), user.verified, &user.username)
}
