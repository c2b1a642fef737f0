//! Sidecars that reach the panel itself, where they share no folder with an agent (Kubernetes): the same signed requests that
//! an agent answers through its socket.
//!
//! Each server's key is derived from the panel's webhook secret, so that one server's sidecar signs for nobody else and any
//! panel on the same database believes it. A request is believed once.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::servers::{Cause, door_verdict, update};
use super::{Ctx, Refusal, billing};
use crate::model::ids::ServerId;
use crate::model::secrets::Secret;
use crate::model::servers::{Phase, Server, Wanted};
use crate::store::{nonces, servers};
use crate::wire::door::{ActivityReport, BODY_BYTES_MAX, DoorState, GameIs, Verdict, WakeAnswer, WakeRequest, Word};
use crate::wire::wake::Signed;

/// Longest address of a client that is kept, in characters.
const CLIENT_MAX: usize = 64;

/// Why a sidecar is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// Not believed, or no such server: which of the two is not told.
    #[error("the request is not believed")]
    NotBelieved,
    /// Signed, and makes no sense.
    #[error("the request makes no sense")]
    Nonsense,
    /// Larger than any request of a sidecar.
    #[error("the request is too large")]
    TooLarge,
    /// The panel could not do its part.
    #[error("the panel could not look")]
    Refused(#[from] Refusal),
}

impl From<crate::store::StoreError> for Unheard {
    fn from(error: crate::store::StoreError) -> Self {
        Unheard::Refused(error.into())
    }
}

/// The key that a server's sidecar signs with towards this panel: HMAC-SHA256 of its id under the webhook secret.
pub fn key(ctx: &Ctx, server: &ServerId) -> Secret {
    let derived = Hmac::<Sha256>::new_from_slice(ctx.policy.webhook_secret.bytes()).map(|mut mac| {
        mac.update(b"door\n");
        mac.update(server.as_str().as_bytes());
        mac.finalize().into_bytes().to_vec()
    });
    // HMAC takes keys of any length; were that to change, a random key believes nobody.
    Secret::new(derived.unwrap_or_else(|_| Ctx::random::<32>().to_vec()))
}

/// Whose request this is, if it is believed; its nonce is used up by that.
async fn believed(ctx: &Ctx, whose: &str, signed: &Signed<'_>) -> Result<Server, Unheard> {
    if signed.body.len() > BODY_BYTES_MAX {
        return Err(Unheard::TooLarge);
    }
    let id: ServerId = whose.parse().map_err(|_| Unheard::NotBelieved)?;
    let now = ctx.clock.now();
    if let Err(disbelief) = signed.check(key(ctx, &id).bytes(), now) {
        tracing::warn!(server = %id, %disbelief, "a sidecar's request was not believed");
        return Err(Unheard::NotBelieved);
    }
    let server = servers::by_id(&ctx.db, &id).await?.ok_or(Unheard::NotBelieved)?;
    if !nonces::remember(&ctx.db, &id, signed.nonce, now).await? {
        tracing::warn!(server = %id, "a sidecar's request came twice");
        return Err(Unheard::NotBelieved);
    }
    Ok(server)
}

fn read<'a, T: serde::Deserialize<'a>>(server: &Server, body: &'a [u8], whose: impl Fn(&T) -> &ServerId) -> Result<T, Unheard> {
    serde_json::from_slice::<T>(body).ok().filter(|said| *whose(said) == server.id).ok_or(Unheard::Nonsense)
}

async fn state(ctx: &Ctx, server: &Server) -> Result<DoorState, Unheard> {
    let left = billing::left(&ctx.db, &server.owner, ctx.clock.now()).await?;
    let game = match server.life.phase {
        Phase::Running => GameIs::Up,
        Phase::Starting => GameIs::Starting,
        Phase::Requested
        | Phase::Preparing
        | Phase::Stopping
        | Phase::Sleeping
        | Phase::Stopped
        | Phase::Expired
        | Phase::Failed
        | Phase::Destroyed => GameIs::Down,
    };
    Ok(DoorState { game, name: server.name.clone(), wake: door_verdict(server, left), word: Word::default() })
}

/// Somebody is at the door of a server: it is woken where traffic may wake it. A step that is still to come (preparing) is
/// answered with `started: false`, and the sidecar asks again.
pub async fn wake(ctx: &Arc<Ctx>, whose: &str, signed: Signed<'_>) -> Result<WakeAnswer, Unheard> {
    let server = believed(ctx, whose, &signed).await?;
    let request: WakeRequest = read(&server, signed.body, |request: &WakeRequest| &request.server)?;
    let state_before = state(ctx, &server).await?;
    if state_before.wake != Verdict::Allowed {
        tracing::info!(server = %server.id, client = %request.client, "a wake was refused");
        return Ok(WakeAnswer { started: false, state: state_before });
    }
    let client: String = request.client.chars().filter(|c| !c.is_control()).take(CLIENT_MAX).collect();
    let cause = Cause::new(format!("a player at {client}"), "Woken by traffic.");
    let woken = update(ctx, &server.id, &cause, |server, now| {
        if server.life.wanted == Wanted::Asleep {
            server.life.want(Wanted::Running, now);
        }
        Ok(())
    });
    let server = woken.await?.ok_or(Unheard::NotBelieved)?;
    let state = state(ctx, &server).await?;
    Ok(WakeAnswer { started: state.game != GameIs::Down, state })
}

/// How busy a door is: somebody at it keeps the server awake, whatever its CPU says. That nobody is there puts nothing to sleep.
pub async fn activity(ctx: &Arc<Ctx>, whose: &str, signed: Signed<'_>) -> Result<DoorState, Unheard> {
    let server = believed(ctx, whose, &signed).await?;
    let report: ActivityReport = read(&server, signed.body, |report: &ActivityReport| &report.server)?;
    let players = report.connections.saturating_add(report.sessions);
    if players > 0 && server.life.phase == Phase::Running {
        let mut quiet = server.quiet;
        quiet.since = None;
        servers::note_quiet(&ctx.db, &server.id, quiet, Some(players)).await?;
    }
    state(ctx, &server).await
}
