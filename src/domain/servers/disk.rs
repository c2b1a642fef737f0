//! The storage that a plan promises, held against what the node measures: the owner is warned in time, and a game that goes past it is
//! stopped before it takes the disk from its neighbours.

use std::sync::Arc;

use super::{Cause, find, update};
use crate::domain::{Actor, Change, Ctx, Refusal, mails};
use crate::model::accounts::Email;
use crate::model::disk::{DiskUse, ENOUGH_PERCENT, Room, files_allowed};
use crate::model::ids::ServerId;
use crate::model::mails::Mail;
use crate::model::servers::{Seen, Server, Wanted};
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::model::users::Right;
use crate::store::disk_use::Known;
use crate::store::{Tx, disk_use, servers, users};

/// Whoever starts a server that is past its limit has so long to free some space in it, in milliseconds.
const START_GRACE: i64 = 2 * MINUTE;
/// The same before its game answers, in milliseconds.
const STARTING_GRACE: i64 = 10 * MINUTE;
/// A measurement that says nothing new is kept all the same after so long, in milliseconds.
const KEPT_EVERY: i64 = 10 * MINUTE;
/// A change of less than this share, as a divisor, says nothing new.
const SMALL: u64 = 100;
/// A node's clock may be so far ahead, in milliseconds: a later moment counts as now.
const AHEAD_MAX: i64 = 10 * SECOND;

/// `412.0 MiB`
fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20)
}

/// Takes a measurement in that differs from the one before.
pub(in crate::domain) async fn note_disk(ctx: &Arc<Ctx>, id: &ServerId, measured: DiskUse) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let used = DiskUse { at: if measured.at.since(now) > AHEAD_MAX { now } else { measured.at }, ..measured };
    let Some(server) = servers::by_id(&ctx.db, id).await? else { return Ok(()) };
    let games = ctx.games();
    let Some((_, plan)) = games.plan(&server.game, &server.plan) else { return Ok(()) };
    let (storage, room) = (plan.storage_mib, used.room(plan.storage_mib));
    let known = disk_use::of(&ctx.db, id).await?;
    let told = match known.map_or(Room::Enough, |known| known.told) {
        _ if used.percent(storage) < ENOUGH_PERCENT && used.whole => Room::Enough,
        told => told.max(room),
    };
    let fresh = known.is_none_or(|known| known.used.room(storage) != room || is_news(&known, &used, told));
    if fresh {
        let tx = ctx.db.begin().await?;
        if servers::by_id(&tx, id).await?.is_none() {
            return Ok(());
        }
        disk_use::set(&tx, id, &Known { used, told }).await?;
        if told > known.map_or(Room::Enough, |known| known.told) {
            warn(ctx, &tx, &server, &used, storage, told, now).await?;
        }
        tx.commit().await?;
        ctx.tell(Change::Server { owner: server.owner.clone(), server: id.clone(), gone: false });
    }
    // Whoever starts it can do nothing before its game answers.
    let (from, grace) = match server.seen {
        Seen::Running { since } => (since.max(server.life.wanted_since), START_GRACE),
        Seen::Unknown | Seen::Absent | Seen::Asleep | Seen::Starting { .. } | Seen::Exited { .. } | Seen::Gone => {
            (server.life.wanted_since, STARTING_GRACE)
        }
    };
    let since_start = used.at.since(from);
    let crossed = known.is_none_or(|known| known.used.room(storage) != Room::Past);
    if room == Room::Past && server.life.wanted == Wanted::Running && (crossed || since_start >= grace) {
        stop(ctx, id, &used, storage).await?;
    }
    Ok(())
}

fn is_news(known: &Known, used: &DiskUse, told: Room) -> bool {
    let moved = |before: u64, now: u64| before.abs_diff(now) > before / SMALL;
    let changed = moved(known.used.bytes, used.bytes) || moved(known.used.files, used.files) || known.used.whole != used.whole;
    changed || known.told != told || used.at.since(known.used.at) >= KEPT_EVERY
}

/// What is used and allowed, in words.
fn words(used: &DiskUse, storage_mib: u32) -> String {
    let allowed = files_allowed(storage_mib);
    if !used.whole {
        return "Its files are more, or its folders deeper in each other, than can be counted.".to_owned();
    }
    format!("Its files take {} of the {storage_mib} MiB of its plan ({} of {allowed} files).", mebibytes(used.bytes), used.files)
}

/// Tells the owner, once until there is enough again.
async fn warn(ctx: &Ctx, tx: &Tx, server: &Server, used: &DiskUse, storage: u32, room: Room, now: Millis) -> Result<(), Refusal> {
    let (subject, what) = match room {
        Room::Enough => return Ok(()),
        Room::Low => (format!("{} is running out of storage", server.name), "Past its limit the server is stopped. Nothing is deleted."),
        Room::Past => (
            format!("{} was stopped: its storage is full", server.name),
            "The server is stopped while it is past its limit. Nothing is deleted.",
        ),
    };
    let Some(to) = users::by_id(tx, &server.owner).await?.and_then(|user| Email::parse(&user.email).ok()) else { return Ok(()) };
    let text = format!(
        "{} {what}\n\nDelete files that it does not need, restore an earlier backup, or choose a larger plan: {}/servers/{}",
        words(used, storage),
        ctx.policy.base_url,
        server.id
    );
    let mail = Mail { key: format!("disk:{}:{}:{}", server.id, room.as_str(), now.0), to, subject, text };
    mails::post(ctx, tx, &mail).await?;
    Ok(())
}

async fn stop(ctx: &Arc<Ctx>, id: &ServerId, used: &DiskUse, storage: u32) -> Result<(), Refusal> {
    let why = format!(
        "{} It was stopped, so that other servers keep their space. Restore an earlier backup or choose a larger plan; or start it, and free some space in it within two minutes.",
        words(used, storage)
    );
    tracing::info!(server = %id, bytes = used.bytes, files = used.files, storage_mib = storage, "a server is past its storage and is stopped");
    update(ctx, id, &Cause::new("storage", why), |server, now| {
        if server.life.wanted == Wanted::Running {
            server.life.want(Wanted::Stopped, now);
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// What a server's files take; none: its node has not said yet.
///
/// # Errors
/// [`Refusal::NotFound`] for whoever may not see the server.
pub async fn disk_of(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<Option<DiskUse>, Refusal> {
    find(ctx, actor, id, Right::SeeServer).await?;
    Ok(disk_use::of(&ctx.db, id).await?.map(|known| known.used))
}
