//! Recovery codes: ten of them, each works once. Kept as signatures with the panel's secret, so that a copy of the database alone does
//! not allow to guess them.

use crate::domain::sign_in::{Proof, Told, post_letter};
use crate::domain::{Actor, Ctx, Refusal};
use crate::model::users::User;
use crate::store::{Db, recovery_codes};

/// How many there are.
const CODES: usize = 10;
/// Letters of one, 5 bits each.
const LETTERS: usize = 12;
/// Letters between two hyphens.
const GROUP: usize = 4;
/// Without those that are mistaken for each other, and never digits alone: those are an app's.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn hash(ctx: &Ctx, user: &User, code: &str) -> String {
    ctx.seals.sign("recovery-code", &format!("{}/{code}", user.id))
}

fn fresh() -> String {
    let random: [u8; LETTERS] = Ctx::random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

fn shown(code: &str) -> String {
    code.as_bytes().chunks(GROUP).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-")
}

async fn replace(ctx: &Ctx, tx: &Db, user: &User) -> Result<Vec<String>, Refusal> {
    let codes: Vec<String> = (0..CODES).map(|_| fresh()).collect();
    let hashes: Vec<String> = codes.iter().map(|code| hash(ctx, user, code)).collect();
    recovery_codes::replace(tx, &user.id, &hashes, ctx.clock.now()).await?;
    Ok(codes.iter().map(|code| shown(code)).collect())
}

/// Makes codes beside a first factor; none where there are some.
pub(super) async fn make_first(ctx: &Ctx, tx: &Db, user: &User) -> Result<Option<Vec<String>>, Refusal> {
    if recovery_codes::left(tx, &user.id).await? > 0 { Ok(None) } else { replace(ctx, tx, user).await.map(Some) }
}

/// Makes new codes; those from before stop working.
///
/// # Errors
/// [`Refusal::Conflict`] where there is no second factor that they could stand in for.
pub async fn make_codes(ctx: &Ctx, actor: &Actor, _proof: Proof) -> Result<Vec<String>, Refusal> {
    if !super::asked(ctx, &actor.user.id).await? {
        return Err(Refusal::Conflict("Set up an app or a passkey first: recovery codes stand in for them.".to_owned()));
    }
    let tx = ctx.db.begin().await?;
    let codes = replace(ctx, &tx, &actor.user).await?;
    post_letter(ctx, &tx, &actor.user, &Told::NewCodes).await?;
    tx.commit().await?;
    Ok(codes)
}

/// Takes a code in, and tells its owner; false when it is none of theirs, or was used.
pub(super) async fn take(ctx: &Ctx, user: &User, code: &str) -> Result<bool, Refusal> {
    if code.len() != LETTERS {
        return Ok(false);
    }
    let tx = ctx.db.begin().await?;
    if !recovery_codes::take(&tx, &user.id, &hash(ctx, user, code), ctx.clock.now()).await? {
        return Ok(false);
    }
    let left = recovery_codes::left(&tx, &user.id).await?;
    post_letter(ctx, &tx, user, &Told::CodeUsed(left)).await?;
    tx.commit().await?;
    Ok(true)
}
