//! `Idempotency-Key`: the same request with the same key gets the same answer and is done once.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Actor, Ctx, Refusal};
use crate::model::time::{MINUTE, Millis};
use crate::store::idempotency;

/// Longest key.
pub const KEY_MAX: usize = 128;
/// No request takes longer than this, in milliseconds; one without an answer by then was cut off.
const UNDER_WAY: i64 = 2 * MINUTE;
/// How long a request waits for the first one of its key, to answer as that one did.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How soon it looks for the first time, and how long the doubling wait between two looks becomes at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));
const UNDER_WAY_STILL: &str = "The first request with this Idempotency-Key is still under way. Ask again in a moment.";
/// Largest answer that is kept, in bytes.
pub const ANSWER_MAX: usize = 64 * 1024;

/// What to do with a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is new: do it, then [`keep`] or [`free`].
    Fresh,
    /// It was done: this status and body.
    Done(u16, String),
}

/// Claims a key for a request.
///
/// # Errors
/// [`Refusal::Conflict`] when the key came with another request before, or the first one does not end in time.
pub async fn claim(ctx: &Ctx, actor: &Actor, key: &str, method: &str, path: &str, body: &[u8]) -> Result<Claim, Refusal> {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), b"\n", path.as_bytes(), b"\n", body] {
        hash.update(part);
    }
    let request = hex::encode(hash.finalize());
    let (patience, mut wait) = (Instant::now() + FIRST_PATIENCE, LOOKS.0);
    loop {
        if idempotency::claim(&ctx.db, &actor.user.id, key, &request, ctx.clock.now()).await? {
            return Ok(Claim::Fresh);
        }
        // None: the first one was refused in between, and its key is free again.
        if let Some(kept) = idempotency::get(&ctx.db, &actor.user.id, key).await? {
            let under_way = kept.status.is_none() && ctx.clock.now().since(Millis(kept.created_at)) < UNDER_WAY;
            if kept.request != request || !under_way || Instant::now() >= patience {
                return answer(ctx, kept, &request);
            }
        } else if Instant::now() >= patience {
            return Err(Refusal::Conflict(UNDER_WAY_STILL.to_owned()));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOKS.1);
    }
}

fn answer(ctx: &Ctx, kept: idempotency::Kept, request: &str) -> Result<Claim, Refusal> {
    if kept.request != request {
        return Err(Refusal::Conflict("This Idempotency-Key came with another request before. Use a new key.".to_owned()));
    }
    match (kept.status.and_then(|status| u16::try_from(status).ok()), kept.answer) {
        (Some(status), Some(answer)) => Ok(Claim::Done(status, answer)),
        _ if ctx.clock.now().since(Millis(kept.created_at)) < UNDER_WAY => {
            Err(Refusal::Conflict(UNDER_WAY_STILL.to_owned()))
        }
        // The panel was ended in the middle of it. To do it again might double it, so that is for the sender to decide.
        _ => Err(Refusal::Conflict(
            "The first request with this Idempotency-Key was cut off, and it is not known whether it was carried out. See whether it was, and if not, ask with a new key."
                .to_owned(),
        )),
    }
}

/// Keeps the answer under the key.
pub async fn keep(ctx: &Ctx, actor: &Actor, key: &str, status: u16, answer: &str) -> Result<(), Refusal> {
    Ok(idempotency::keep(&ctx.db, &actor.user.id, key, status, answer).await?)
}

/// Frees the key of a request that changed nothing.
pub async fn free(ctx: &Ctx, actor: &Actor, key: &str) -> Result<(), Refusal> {
    Ok(idempotency::free(&ctx.db, &actor.user.id, key).await?)
}
