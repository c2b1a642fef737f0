//! Passkeys: a key in somebody's device that signs what this panel asks it, for this panel's own address only.
//!
//! A passkey shows by itself that a person is there and unlocked it, so that it is a whole log-in as well as a second factor. What it is
//! asked to sign is kept here for five minutes and answered once, by the browser that asked; its counter only grows.

use std::net::IpAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Url, Uuid, Webauthn, WebauthnBuilder,
};

use super::PASSKEYS_MAX;
use crate::domain::sign_in::{Proof, Told, admit, post_letter};
use crate::domain::{Actor, Change, Ctx, Fields, Refusal, digest};
use crate::model::ids::{PasskeyId, UserId};
use crate::model::time::MINUTE;
use crate::model::users::User;
use crate::store::challenges::{self, Challenge};
use crate::store::passkeys::{self as rows, PasskeyRow};
use crate::store::{StoreError, recovery_codes, totp, users};

/// How long a challenge waits for its answer.
const CHALLENGE_LIVES: i64 = 5 * MINUTE;
/// Longest name of a passkey.
const NAME_MAX: usize = 60;

const ADD: &str = "add";
const LOG_IN: &str = "log-in";
const SECOND: &str = "second";

/// Who this panel is towards passkeys: its address, where browsers allow it any.
#[derive(Debug, Default)]
pub struct RelyingParty(Option<Webauthn>);

impl RelyingParty {
    /// At this address. There are no passkeys for a bare IP address, and none without TLS but on one's own machine.
    pub fn at(base_url: &str) -> RelyingParty {
        let Ok(url) = Url::parse(base_url) else { return RelyingParty(None) };
        let Some(host) = url.domain().map(str::to_owned) else { return RelyingParty(None) };
        if url.scheme() != "https" && host != "localhost" && !host.ends_with(".localhost") {
            return RelyingParty(None);
        }
        let origin = Url::parse(&url.origin().ascii_serialization()).ok();
        let party = origin.and_then(|origin| WebauthnBuilder::new(&host, &origin).ok()?.rp_name("Roost").build().ok());
        RelyingParty(party)
    }

    /// Can there be passkeys at all?
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    fn get(&self) -> Result<&Webauthn, Refusal> {
        let nowhere = "There are no passkeys here: browsers allow them for addresses with a name and HTTPS only.";
        self.0.as_ref().ok_or_else(|| Refusal::Conflict(nowhere.to_owned()))
    }
}

/// What a browser is asked, as JSON for its own functions.
#[derive(Debug, Clone)]
pub struct Asked {
    /// To be sent back with the answer.
    pub id: String,
    /// For `navigator.credentials`.
    pub options: Value,
}

fn refused(message: &str) -> Refusal {
    let mut fields = Fields::default();
    fields.add("passkey", message);
    Refusal::Invalid(fields)
}

fn not_taken() -> Refusal {
    refused("The passkey was not accepted. Try again, or take another way.")
}

fn enough() -> Refusal {
    Refusal::Conflict(format!("You have {PASSKEYS_MAX} passkeys. Remove one that you do not use."))
}

/// The number of an account towards passkeys, which keep 16 bytes.
fn number(user: &UserId) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(format!("roost/passkey/{user}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}

fn read(row: &PasskeyRow) -> Result<Passkey, StoreError> {
    serde_json::from_str(&row.body).map_err(|_| StoreError::Unreadable("passkeys.body"))
}

async fn keep(
    ctx: &Ctx,
    purpose: &str,
    browser: &str,
    user: Option<&UserId>,
    state: &impl Serialize,
    options: Value,
) -> Result<Asked, Refusal> {
    let id = hex::encode(Ctx::random::<24>());
    let challenge = Challenge {
        id: digest(&id),
        browser: digest(browser),
        purpose: purpose.to_owned(),
        user: user.cloned(),
        body: serde_json::to_string(state).map_err(|_| StoreError::Unreadable("a new challenge"))?,
        created_at: ctx.clock.now(),
    };
    challenges::insert(&ctx.db, &challenge).await?;
    Ok(Asked { id, options })
}

async fn taken<T: DeserializeOwned>(ctx: &Ctx, purpose: &str, browser: &str, id: &str, user: Option<&UserId>) -> Result<T, Refusal> {
    let ended = || refused("This took longer than five minutes, or was answered before. Begin again.");
    let challenge = challenges::take(&ctx.db, &digest(id), &digest(browser), purpose).await?.ok_or_else(ended)?;
    if challenge.user.as_ref() != user || ctx.clock.now().since(challenge.created_at) >= CHALLENGE_LIVES {
        return Err(ended());
    }
    Ok(serde_json::from_str(&challenge.body).map_err(|_| StoreError::Unreadable("challenges.body"))?)
}

fn json(value: &impl Serialize) -> Result<Value, Refusal> {
    Ok(serde_json::to_value(value).map_err(|_| StoreError::Unreadable("a new challenge"))?)
}

/// Asks a browser to make a passkey for this account.
///
/// # Errors
/// [`Refusal::Conflict`] where there are enough, or can be none.
pub async fn begin_passkey(ctx: &Ctx, actor: &Actor, browser: &str, _proof: Proof) -> Result<Asked, Refusal> {
    let party = ctx.relying_party.get()?;
    let known = rows::of_user(&ctx.db, &actor.user.id, PASSKEYS_MAX).await?;
    if known.len() as u64 >= PASSKEYS_MAX {
        return Err(enough());
    }
    let known = known.iter().map(|row| read(row).map(|key| key.cred_id().clone())).collect::<Result<Vec<_>, _>>()?;
    let email = &actor.user.email;
    let (options, state) = party
        .start_passkey_registration(number(&actor.user.id), email, email, Some(known))
        .map_err(|error| unexpected("a passkey could not be asked for", &error))?;
    let mut options = json(&options)?;
    // Kept in the device where it can be, so that it is found without an address at the next log-in.
    options["publicKey"]["authenticatorSelection"]["residentKey"] = "preferred".into();
    keep(ctx, ADD, browser, Some(&actor.user.id), &state, options).await
}

fn unexpected(what: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::warn!(error, "{what}");
    not_taken()
}

/// Adds the passkey that a browser has made. Where it is the first factor, other sessions end, because they were opened without.
///
/// # Errors
/// [`Refusal::Invalid`] at `name` or `passkey`.
pub async fn add_passkey(ctx: &Ctx, actor: &Actor, browser: &str, answer: (&str, &str, Value), _proof: Proof) -> Result<(), Refusal> {
    let (id, name, credential) = answer;
    let party = ctx.relying_party.get()?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        let mut fields = Fields::default();
        fields.add("name", format!("A name has 1 to {NAME_MAX} characters and no line breaks."));
        return Err(Refusal::Invalid(fields));
    }
    let user = &actor.user.id;
    let state: PasskeyRegistration = taken(ctx, ADD, browser, id, Some(user)).await?;
    let credential: RegisterPublicKeyCredential = serde_json::from_value(credential).map_err(|_| not_taken())?;
    let key = party.finish_passkey_registration(&credential, &state).map_err(|error| unexpected("a passkey was refused", &error))?;
    let now = ctx.clock.now();
    let row = PasskeyRow {
        id: PasskeyId::from_random(&Ctx::random::<12>()),
        user: user.clone(),
        credential: hex::encode(key.cred_id()),
        name: name.to_owned(),
        body: serde_json::to_string(&key).map_err(|_| StoreError::Unreadable("a new passkey"))?,
        uses: 0,
        created_at: now,
        used_at: None,
    };
    let first = !super::asked(ctx, user).await?;
    let tx = ctx.db.begin().await?;
    users::hold(&tx, user).await?;
    if rows::of_user(&tx, user, PASSKEYS_MAX).await?.len() as u64 >= PASSKEYS_MAX {
        return Err(enough());
    }
    if !rows::insert(&tx, &row).await? {
        return Err(refused("This passkey is known already."));
    }
    if first {
        users::end_sessions(&tx, user, now).await?;
    }
    post_letter(ctx, &tx, &actor.user, &Told::PasskeyAdded(name)).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(user.clone()));
    Ok(())
}

/// Asks a browser for a passkey: for one of `half`, who has taken the first step, or for any to log in with.
///
/// # Errors
/// [`Refusal::Conflict`] where there can be none; [`Refusal::TooMany`].
pub async fn ask_for_passkey(ctx: &Ctx, half: Option<&User>, browser: &str, from: IpAddr) -> Result<Asked, Refusal> {
    ctx.limits.sign_in(from)?;
    let party = ctx.relying_party.get()?;
    let Some(user) = half else {
        let (mut options, state) =
            party.start_discoverable_authentication().map_err(|error| unexpected("no passkey could be asked for", &error))?;
        // Asked for by a button, and not while somebody types.
        options.mediation = None;
        return keep(ctx, LOG_IN, browser, None, &state, json(&options)?).await;
    };
    let known = rows::of_user(&ctx.db, &user.id, PASSKEYS_MAX).await?;
    let known = known.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if known.is_empty() {
        return Err(Refusal::Conflict("Your account has no passkey. Enter a code instead.".to_owned()));
    }
    let (options, state) =
        party.start_passkey_authentication(&known).map_err(|error| unexpected("no passkey could be asked for", &error))?;
    keep(ctx, SECOND, browser, Some(&user.id), &state, json(&options)?).await
}

/// Lets somebody in by the passkey that their browser has answered with: as the second step of `half`, or as a whole log-in.
///
/// # Errors
/// [`Refusal::Invalid`] at `passkey`; [`Refusal::TooMany`]; [`Refusal::Conflict`] where the account is shut out.
pub async fn enter_by_passkey(ctx: &Ctx, half: Option<&User>, browser: &str, answer: (&str, Value), from: IpAddr) -> Result<User, Refusal> {
    ctx.limits.sign_in(from)?;
    let (id, credential) = answer;
    let party = ctx.relying_party.get()?;
    let credential: PublicKeyCredential = serde_json::from_value(credential).map_err(|_| not_taken())?;
    let row = rows::by_credential(&ctx.db, &hex::encode(credential.get_credential_id())).await?;
    let (row, result) = if let Some(user) = half {
        let state: PasskeyAuthentication = taken(ctx, SECOND, browser, id, Some(&user.id)).await?;
        let row = row.filter(|row| row.user == user.id).ok_or_else(not_taken)?;
        (row, party.finish_passkey_authentication(&credential, &state))
    } else {
        let state: DiscoverableAuthentication = taken(ctx, LOG_IN, browser, id, None).await?;
        let row = row.ok_or_else(not_taken)?;
        let (whose, _) = party.identify_discoverable_authentication(&credential).map_err(|_| not_taken())?;
        if whose != number(&row.user) {
            return Err(not_taken());
        }
        let key = read(&row)?;
        (row, party.finish_discoverable_authentication_v2(&credential, state, &key))
    };
    let result = result.map_err(|error| unexpected("a passkey was refused", &error))?;
    if !result.user_verified() {
        return Err(not_taken());
    }
    note(ctx, &row, &result).await?;
    let user = users::by_id(&ctx.db, &row.user).await?.ok_or_else(not_taken)?;
    admit(&user)?;
    Ok(user)
}

/// Keeps the counter; of two answers at the same time one loses.
async fn note(ctx: &Ctx, row: &PasskeyRow, result: &AuthenticationResult) -> Result<(), Refusal> {
    let mut key = read(row)?;
    key.update_credential(result);
    let body = serde_json::to_string(&key).map_err(|_| StoreError::Unreadable("passkeys.body"))?;
    if rows::used(&ctx.db, row, &body, ctx.clock.now()).await? { Ok(()) } else { Err(not_taken()) }
}

/// Takes a passkey away; with the last factor go the recovery codes. Other sessions end: they may have been opened with it.
///
/// # Errors
/// [`Refusal::NotFound`] where it is none of theirs.
pub async fn remove_passkey(ctx: &Ctx, actor: &Actor, id: &PasskeyId, _proof: Proof) -> Result<(), Refusal> {
    let user = &actor.user.id;
    let known = rows::of_user(&ctx.db, user, PASSKEYS_MAX).await?;
    let row = known.iter().find(|row| row.id == *id).ok_or(Refusal::NotFound)?;
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    users::hold(&tx, user).await?;
    if !rows::delete(&tx, user, id).await? {
        return Err(Refusal::NotFound);
    }
    let app = totp::of_user(&tx, user).await?.is_some_and(|app| app.confirmed_at.is_some());
    if !app && rows::of_user(&tx, user, 1).await?.is_empty() {
        recovery_codes::delete_all(&tx, user).await?;
    }
    users::end_sessions(&tx, user, now).await?;
    post_letter(ctx, &tx, &actor.user, &Told::PasskeyRemoved(&row.name)).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(user.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_need_a_name_and_tls_or_ones_own_machine() {
        for (url, there) in [
            ("https://panel.example.org", true),
            ("https://panel.example.org:8443/x", true),
            ("http://localhost:8000", true),
            ("http://panel.example.org", false),
            ("https://192.0.2.1", false),
            ("http://127.0.0.1:8000", false),
            ("nonsense", false),
        ] {
            assert_eq!(RelyingParty::at(url).is_there(), there, "{url}");
        }
    }
}
