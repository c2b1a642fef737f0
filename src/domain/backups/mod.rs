//! Backups of servers: made by hand, by a schedule, before a change of layers and for a move; downloaded, tried, restored, undone.
//!
//! Pages and API call the functions of this file; workers call [`tick`]; what nodes answer goes to `answers`. A backup is a row that
//! somebody wants made and that is tried until it is done or given up, so that any process may be killed at any time. What must stay
//! true: a row that is done has its object, whole; an object without a row goes; data give way only to what was checked whole, and
//! can be had back.
//!
//! | file | what it does |
//! | --- | --- |
//! | `run` | what happens by itself: told to nodes, put together, tried again, thrown away |
//! | `answers` | what nodes say of them, and the addresses that they ask for |
//! | `restores` | out of a backup, and back |
//! | `times` | schedules |

mod answers;
mod restores;
mod run;
mod times;

use std::sync::Arc;
use std::time::Duration;

use super::servers::{find, note};
use super::{Actor, Change, Ctx, Refusal};
use crate::model::backups::{Backup, KEPT_MAX, Reason, Restore, Schedule, State, kept_bytes, undoable};
use crate::model::ids::{BackupId, ServerId};
use crate::model::servers::{Server, Wanted};
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::objects::{ObjectError, Verb};
use crate::store::{Db, backups, restores as restore_rows, schedules, users};

pub(super) use answers::{take, url};
pub use restores::{restore, undo};
pub(super) use run::hand_on;
pub use run::tick;
pub use times::{KEEP_MAX, Plan, ZONES_SHOWN, remove_schedule, set_schedule, times, zones};

/// Rows of one server that are looked at.
const ROWS_MAX: u64 = 100;
/// Restores of one server that are looked at.
const RESTORES_MAX: u64 = 20;
/// How long the address of a download is good for.
const DOWNLOAD_LASTS: Duration = Duration::from_mins(10);
/// So many backups from before changes of layers stay.
const LAYERS_KEPT: u32 = 5;
/// So many backups of moves stay.
const MOVES_KEPT: u32 = 1;
/// All archives of a server together take at most so many times the storage of its plan: of those that are made by themselves the oldest
/// go, and by hand none is made past it.
const KEPT_PLANS: u64 = 10;
/// Said where a server has no data.
const NO_DATA: &str = "It has no data yet: it has never been prepared. Start it once.";

/// Everything that a page shows.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// Newest first.
    pub backups: Vec<Backup>,
    /// The last restore, whatever came of it.
    pub last: Option<Restore>,
    /// The restore that can be undone.
    pub undo: Option<Restore>,
    /// When backups are made by themselves.
    pub schedule: Option<Schedule>,
}

impl Shelf {
    /// A backup or a restore is under way.
    pub fn busy(&self) -> bool {
        let restores = self.last.as_ref().is_some_and(|last| last.ended_at.is_none());
        restores || self.backups.iter().any(|backup| backup.state.is_open())
    }
}

/// All of a server.
pub async fn shelf(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<Shelf, Refusal> {
    find(ctx, actor, id, Right::SeeServer).await?;
    let restores = restore_rows::of_server(&ctx.db, id, RESTORES_MAX).await?;
    Ok(Shelf {
        backups: backups::of_server(&ctx.db, id, ROWS_MAX).await?,
        undo: undoable(&restores, ctx.clock.now()).cloned(),
        last: restores.into_iter().next(),
        schedule: schedules::of_server(&ctx.db, id).await?,
    })
}

/// Nothing of it is on any node.
pub(super) fn has_no_data(server: &Server) -> bool {
    server.is_unseen()
}

/// A row that wants to be made from `at` on.
pub(super) fn wanted(server: &Server, reason: Reason, by: &str, at: Millis) -> Backup {
    Backup {
        id: BackupId::from_random(&Ctx::random::<16>()),
        server: server.id.clone(),
        owner: server.owner.clone(),
        node: server.node.clone(),
        reason,
        by: by.to_owned(),
        state: State::Waiting,
        command: None,
        upload: None,
        archived: None,
        message: String::new(),
        attempts: 0,
        created_at: at,
        due_at: at,
        done_at: None,
        verified_at: None,
    }
}

/// Has a backup made now.
///
/// # Errors
/// [`Refusal::Conflict`] when one is being made, when there are no data, or when too many are kept.
pub async fn make(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId) -> Result<Backup, Refusal> {
    let server = find(ctx, actor, id, Right::BackUpServer).await?;
    let conflict = |why: String| Err(Refusal::Conflict(why));
    if server.life.wanted == Wanted::Deleted {
        return conflict("It is being deleted.".to_owned());
    }
    if has_no_data(&server) {
        return conflict(NO_DATA.to_owned());
    }
    let tx = ctx.db.begin().await?;
    users::hold(&tx, &server.owner).await?;
    let all = backups::of_server(&tx, id, ROWS_MAX).await?;
    if all.iter().any(|backup| backup.state.is_open()) {
        return conflict("A backup of it is being made already. Wait until that one is done.".to_owned());
    }
    if all.iter().filter(|backup| backup.state == State::Done).count() >= KEPT_MAX as usize {
        return conflict(format!("It has {KEPT_MAX} backups, which is the most for one server. Delete one that you do not need."));
    }
    let (kept, most) = (kept_bytes(&all), most_kept(ctx, &server));
    if kept >= most {
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        return conflict(format!(
            "Its backups take {} MB, and {} MB are the most for its plan. Delete one that you do not need.",
            mb(kept),
            mb(most)
        ));
    }
    let backup = wanted(&server, Reason::Hand, &actor.user.email, ctx.clock.now());
    backups::insert(&tx, &backup).await?;
    tx.commit().await?;
    tell(ctx, &backup);
    ctx.backups_nudge.notify_one();
    Ok(backup)
}

/// Most bytes of all archives of a server. A plan that is not in the catalogue any more bounds nothing.
fn most_kept(ctx: &Ctx, server: &Server) -> u64 {
    ctx.games()
        .plan(&server.game, &server.plan)
        .map_or(u64::MAX, |(_, plan)| (u64::from(plan.storage_mib) << 20).saturating_mul(KEPT_PLANS))
}

/// One of a server's, for whoever may do this with the server.
async fn of(ctx: &Ctx, actor: &Actor, id: &ServerId, backup: &BackupId, right: Right) -> Result<(Server, Backup), Refusal> {
    let server = find(ctx, actor, id, right).await?;
    let backup = backups::by_id(&ctx.db, backup).await?.filter(|backup| backup.server == server.id);
    Ok((server, backup.ok_or(Refusal::NotFound)?))
}

/// The address of the archive, for a short time.
///
/// # Errors
/// [`Refusal::Conflict`] where it is not done, or the object store does not give one.
pub async fn download(ctx: &Ctx, actor: &Actor, id: &ServerId, backup: &BackupId) -> Result<String, Refusal> {
    let (_, backup) = of(ctx, actor, id, backup, Right::HandleData).await?;
    if backup.state != State::Done {
        return Err(Refusal::Conflict("This backup is not done, so there is nothing to download.".to_owned()));
    }
    let key = backup.object_key().parse().map_err(|_| Refusal::NotFound)?;
    ctx.objects.head(&key).await.map_err(|error| unusable(&error))?;
    ctx.objects.sign(Verb::Get, &key, DOWNLOAD_LASTS).await.map_err(|error| unusable(&error))
}

fn unusable(error: &ObjectError) -> Refusal {
    Refusal::Conflict(match error {
        ObjectError::Missing(_) => {
            "Its archive is no longer in the object store: somebody has removed it there. Delete this backup.".to_owned()
        }
        other => format!("The backup cannot be reached now: {other}."),
    })
}

/// Deletes one, with its archive; one that is being made is given up.
pub async fn remove(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, backup: &BackupId) -> Result<(), Refusal> {
    let (server, backup) = of(ctx, actor, id, backup, Right::HandleData).await?;
    if restores::uses(ctx, &server.id, &backup.id).await? {
        return Err(Refusal::Conflict("The server is being restored from this backup. Wait until that has ended.".to_owned()));
    }
    forget(ctx, &backup).await?;
    if backup.state.is_open() {
        run::given_up(ctx, &backup, "The backup was deleted before it was done.").await?;
    }
    Ok(())
}

/// Removes the row, and the object by and by.
async fn forget(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    if let Some(command) = &backup.command {
        crate::store::commands::answered(&tx, command, now).await?;
    }
    backups::throw_away(&tx, backup, now).await?;
    backups::delete(&tx, &backup.id).await?;
    tx.commit().await?;
    tell(ctx, backup);
    ctx.backups_nudge.notify_one();
    Ok(())
}

/// Throws the archives of a server away whose row is about to go, and with it its backups.
pub(super) async fn throw_all_away(db: &Db, server: &ServerId, now: Millis) -> Result<(), crate::store::StoreError> {
    // More than this a server cannot have: those that are kept, and those that failed lately.
    for backup in backups::of_server(db, server, 10 * ROWS_MAX).await? {
        backups::throw_away(db, &backup, now).await?;
    }
    Ok(())
}

/// Live pages show it anew.
fn tell(ctx: &Ctx, backup: &Backup) {
    ctx.tell(Change::Server { owner: backup.owner.clone(), server: backup.server.clone(), gone: false });
}
