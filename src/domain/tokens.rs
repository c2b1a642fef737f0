//! API tokens: shown once, hashed at rest, expiring, revocable.

use super::{Actor, Change, Ctx, Fields, Refusal, digest};
use crate::model::ids::TokenId;
use crate::model::time::{DAY, MINUTE, Millis};
use crate::model::tokens::Scopes;
use crate::store::{tokens, users};

pub use crate::store::tokens::Token;

/// What every token begins with, so that one that leaks can be found.
pub const PREFIX: &str = "roost_";
/// Longest name.
const NAME_MAX: usize = 60;
/// Most tokens of one account.
const TOKENS_MAX: u64 = 50;
/// What is said to an account that has them all.
const ENOUGH: &str = "You have 50 tokens. Revoke one that you do not use.";
/// Days that a token from `POST /auth/login` lives.
const LOGIN_DAYS: u32 = 1;

/// Makes a token; gives its secret, which nobody can see again.
///
/// # Errors
/// [`Refusal::Invalid`] at `name`, `days` or `scopes`.
pub async fn create(ctx: &Ctx, actor: &Actor, name: &str, days: u32, scopes: Scopes) -> Result<(Token, String), Refusal> {
    let name = name.trim();
    let mut fields = Fields::default();
    if name.is_empty() {
        fields.add("name", "Say what the token is for.");
    } else if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        fields.add("name", "A name has at most 60 characters and no line breaks.");
    }
    if !(1..=ctx.policy.token_days_max).contains(&days) {
        fields.add("days", format!("A token lives for 1 to {} days.", ctx.policy.token_days_max));
    }
    if scopes.is_empty() {
        fields.add("scopes", "Choose at least one thing that the token may do.");
    }
    fields.check()?;
    let Some(made) = insert(ctx, actor, name, (days, scopes), ctx.clock.now()).await? else {
        let mut fields = Fields::default();
        fields.add("name", ENOUGH);
        return Err(Refusal::Invalid(fields));
    };
    Ok(made)
}

/// None: the account has as many as it may have.
async fn insert(
    ctx: &Ctx,
    actor: &Actor,
    name: &str,
    (days, scopes): (u32, Scopes),
    now: Millis,
) -> Result<Option<(Token, String)>, Refusal> {
    let secret = format!("{PREFIX}{}", hex::encode(Ctx::random::<32>()));
    let token = Token {
        id: TokenId::from_random(&Ctx::random::<12>()),
        user: actor.user.id.clone(),
        name: name.to_owned(),
        created_at: now,
        expires_at: now + i64::from(days) * DAY,
        last_used_at: None,
        scopes,
    };
    let tx = ctx.db.begin().await?;
    users::hold(&tx, &actor.user.id).await?;
    if tokens::of_user(&tx, &actor.user.id, TOKENS_MAX).await?.len() as u64 >= TOKENS_MAX {
        return Ok(None);
    }
    tokens::insert(&tx, &token, &digest(&secret)).await?;
    tx.commit().await?;
    Ok(Some((token, secret)))
}

/// The token that `POST /auth/login` gives: one day.
pub async fn for_login(ctx: &Ctx, actor: &Actor) -> Result<String, Refusal> {
    let made = insert(ctx, actor, "log-in through the API", (LOGIN_DAYS, Scopes::all()), ctx.clock.now()).await?;
    made.map(|(_, secret)| secret).ok_or_else(|| Refusal::Conflict(ENOUGH.to_owned()))
}

/// Somebody's own tokens.
pub async fn list(ctx: &Ctx, actor: &Actor) -> Result<Vec<Token>, Refusal> {
    Ok(tokens::of_user(&ctx.db, &actor.user.id, TOKENS_MAX).await?)
}

/// Ends one of somebody's own tokens.
pub async fn revoke(ctx: &Ctx, actor: &Actor, id: &TokenId) -> Result<(), Refusal> {
    if !tokens::revoke(&ctx.db, &actor.user.id, id).await? {
        return Err(Refusal::NotFound);
    }
    // Sockets that it opened look again, and end.
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(())
}

/// Who a bearer token belongs to, if it lives.
pub async fn authenticate(ctx: &Ctx, secret: &str) -> Result<Option<Actor>, Refusal> {
    if !secret.starts_with(PREFIX) || secret.len() > 128 {
        return Ok(None);
    }
    let now = ctx.clock.now();
    let Some(token) = tokens::by_hash(&ctx.db, &digest(secret), now).await? else { return Ok(None) };
    if token.last_used_at.is_none_or(|last| now.since(last) >= MINUTE) {
        tokens::touch(&ctx.db, &token.id, now).await?;
    }
    match users::by_id(&ctx.db, &token.user).await? {
        Some(user) => Actor::load(ctx, user, token.scopes, format!("token {}", token.name)).await,
        None => Ok(None),
    }
}
