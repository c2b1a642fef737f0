//! What a node says of a server, taken into its row.

use std::sync::Arc;

use super::update::Updated;
use super::{Cause, note, update};
use crate::domain::{Ctx, Refusal, billing};
use crate::model::ids::{CommandId, NodeId, ServerId};
use crate::model::life::Step;
use crate::model::servers::{Phase, Seen, Server, Wanted};
use crate::model::time::{MINUTE, Millis};
use crate::store::servers;
use crate::wire::agent::{Event, EventKind, InstanceReport};

/// Progress moves a step's deadline on by this, in milliseconds.
const PROGRESS_BUYS: i64 = 10 * MINUTE;
/// What is said of a game that runs and does not answer.
const SILENT: &str = "The game runs, and does not answer. Look at its log; a restart may help.";
/// Longest text of a node that is kept, in characters.
const TEXT_MAX: usize = 500;

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// Takes an event in. The caller has checked that the server is on this node.
pub(in crate::domain) async fn absorb_event(ctx: &Arc<Ctx>, node: &NodeId, event: &Event) -> Result<(), Refusal> {
    let who = format!("node {node}");
    match &event.kind {
        EventKind::Accepted | EventKind::Log { .. } => Ok(()),
        EventKind::Note { text } => noted(ctx, &who, event, text).await,
        EventKind::Progress { text, percent } => progress(ctx, event, text, *percent).await,
        EventKind::Prepared(report) | EventKind::Running(report) | EventKind::Stopped(report) | EventKind::Exited(report) => {
            absorb(ctx, &who, &event.server, report, event.command.as_ref()).await.map(drop)
        }
        EventKind::Destroyed => {
            let mut cause = Cause::new(who, "");
            cause.answered.clone_from(&event.command);
            let answered = event.command.as_ref();
            update(ctx, &event.server, &cause, |server, now| {
                see(server, Seen::Gone, now);
                server.spec_seen.clear();
                finish(server, answered);
                Ok(())
            })
            .await
            .map(drop)
        }
        EventKind::Busy { players } => busy(ctx, event, *players).await,
        EventKind::Failed { reason, retryable, report } => failed(ctx, &who, event, reason, *retryable, report.as_ref()).await,
        EventKind::BackedUp(_) | EventKind::Restored(_) => Ok(()),
        EventKind::Wake { client, started, .. } => woken(ctx, event, client, *started).await,
    }
}

/// Keeps a node's note in the server's history.
async fn noted(ctx: &Arc<Ctx>, who: &str, event: &Event, text: &str) -> Result<(), Refusal> {
    match servers::by_id(&ctx.db, &event.server).await? {
        Some(server) => note(ctx, &server, who, "note", &cut(text)).await,
        None => Ok(()),
    }
}

/// Takes a line of a heartbeat in.
pub(in crate::domain) async fn absorb_report(ctx: &Arc<Ctx>, node: &NodeId, report: &InstanceReport) -> Result<Updated, Refusal> {
    absorb(ctx, &format!("node {node}"), &report.server, report, None).await
}

async fn absorb(
    ctx: &Arc<Ctx>,
    who: &str,
    id: &ServerId,
    report: &InstanceReport,
    answered: Option<&CommandId>,
) -> Result<Updated, Refusal> {
    let mut cause = Cause::new(who, "");
    cause.report = Some(report.clone());
    cause.answered = answered.cloned();
    if let (Seen::Exited { code: 0, .. }, _) = (report.seen, answered) {
        "The game ended by itself, as if it had been told to.".clone_into(&mut cause.why);
    }
    if woke_itself(ctx, id, report).await? {
        "a player".clone_into(&mut cause.who);
        "Woken by traffic while the panel was away.".clone_into(&mut cause.why);
    }
    let player = cause.who == "a player";
    if report.silent_since.is_some()
        && let Some(server) = servers::by_id(&ctx.db, id).await?.filter(|server| server.life.message != SILENT)
    {
        note(ctx, &server, who, "note", SILENT).await?;
    }
    update(ctx, id, &cause, |server, now| {
        if player && server.life.wanted == Wanted::Asleep {
            server.life.want(Wanted::Running, now);
        }
        report.revision.clone_into(&mut server.spec_seen);
        ended(server, report.seen, now);
        see(server, reported(report), now);
        finish(server, answered);
        silence(server, report.silent_since);
        Ok(())
    })
    .await
}

/// Shows that a game which runs does not answer, or answers again.
fn silence(server: &mut Server, since: Option<Millis>) {
    if !matches!(server.seen, Seen::Running { .. }) || server.life.doing.is_some() {
        return;
    }
    let message = if since.is_some() { SILENT } else { "" };
    message.clone_into(&mut server.life.message);
}

/// Did the node wake it on its own since the panel last had its say, and may it?
async fn woke_itself(ctx: &Ctx, id: &ServerId, report: &InstanceReport) -> Result<bool, Refusal> {
    let (Some(woken_at), Seen::Starting { .. } | Seen::Running { .. }) = (report.woken_at, report.seen) else { return Ok(false) };
    let Some(server) = servers::by_id(&ctx.db, id).await? else { return Ok(false) };
    let newer = server.life.wanted == Wanted::Asleep && woken_at > server.life.wanted_since;
    Ok(newer && billing::may_run(ctx, &server).await?)
}

/// What a report says. That nothing is left counts only as the answer to a removal: a report may have crossed with a command, or tell of
/// an earlier stay on the same node.
fn reported(report: &InstanceReport) -> Seen {
    if report.seen == Seen::Gone { Seen::Absent } else { report.seen }
}

fn see(server: &mut Server, seen: Seen, now: Millis) {
    if server.seen != seen {
        server.seen = seen;
        server.seen_at = Some(now);
    }
    match seen {
        Seen::Running { .. } => {}
        Seen::Unknown | Seen::Absent | Seen::Asleep | Seen::Starting { .. } | Seen::Exited { .. } | Seen::Gone => {
            server.quiet.since = None;
            server.players = None;
        }
    }
}

/// A game that ended by itself: on purpose if it had been running and says so with code 0, else it is a crash.
fn ended(server: &mut Server, seen: Seen, now: Millis) {
    let (Seen::Exited { code, oom, at }, Wanted::Running) = (seen, server.life.wanted) else { return };
    if server.seen == seen {
        return;
    }
    let answered = matches!(server.seen, Seen::Running { .. });
    if code == 0 && !oom && answered {
        server.life.want(Wanted::Asleep, now);
        return;
    }
    let what = if oom {
        "The game used more memory than its plan allows and was ended by the kernel. Choose a larger plan, or fewer players, mods or a smaller world.".to_owned()
    } else if answered {
        format!("The game crashed with exit code {code}. The last lines of its log say more.")
    } else {
        format!("The game ended with exit code {code} before it answered. The last lines of its log say more.")
    };
    server.life.crashed(at, what, now);
}

/// The step under way is over if this is the answer to it.
fn finish(server: &mut Server, answered: Option<&CommandId>) {
    if answered.is_some() && server.life.doing.as_ref().map(|doing| &doing.command) == answered {
        server.life.doing = None;
    }
}

async fn progress(ctx: &Arc<Ctx>, event: &Event, text: &str, percent: Option<u8>) -> Result<(), Refusal> {
    let message = match percent {
        Some(percent) => format!("{} ({}%)", cut(text), percent.min(100)),
        None => cut(text),
    };
    update(ctx, &event.server, &Cause::new("", ""), |server, now| {
        if let Some(doing) = server.life.doing.as_mut().filter(|doing| Some(&doing.command) == event.command.as_ref()) {
            if doing.step == Step::Prepare {
                doing.deadline = doing.deadline.max(now + PROGRESS_BUYS);
            }
            server.life.message.clone_from(&message);
        }
        Ok(())
    })
    .await
    .map(drop)
}

async fn busy(ctx: &Arc<Ctx>, event: &Event, players: u32) -> Result<(), Refusal> {
    let mut cause = Cause::new("auto-sleep", format!("It stays awake: {players} connected at the moment of stopping."));
    cause.answered.clone_from(&event.command);
    update(ctx, &event.server, &cause, |server, now| {
        finish(server, event.command.as_ref());
        if server.life.wanted == Wanted::Asleep && server.life.gently {
            server.life.want(Wanted::Running, now);
            server.life.show(Phase::Running, now);
        }
        Ok(())
    })
    .await
    .map(drop)
}

async fn failed(
    ctx: &Arc<Ctx>,
    who: &str,
    event: &Event,
    reason: &str,
    retryable: bool,
    report: Option<&InstanceReport>,
) -> Result<(), Refusal> {
    let mut cause = Cause::new(who, "");
    cause.report = report.cloned();
    cause.answered.clone_from(&event.command);
    update(ctx, &event.server, &cause, |server, now| {
        let crashes = server.life.crashes.len();
        if let Some(report) = report {
            report.revision.clone_into(&mut server.spec_seen);
            ended(server, report.seen, now);
            see(server, reported(report), now);
        }
        let ours = server.life.doing.as_ref().is_some_and(|doing| Some(&doing.command) == event.command.as_ref());
        if ours && server.life.crashes.len() == crashes {
            server.life.failed(cut(reason), retryable, now);
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Somebody knocked. The node has started it already where it was allowed; here that is made the owner's wish, or taken back.
async fn woken(ctx: &Arc<Ctx>, event: &Event, client: &str, started: bool) -> Result<(), Refusal> {
    let Some(server) = servers::by_id(&ctx.db, &event.server).await? else { return Ok(()) };
    let pays = billing::may_run(ctx, &server).await?;
    if !started || !pays {
        tracing::info!(server = %event.server, client, "a wake was refused");
        ctx.nudge.notify_one();
        return Ok(());
    }
    let cause = Cause::new(format!("a player at {}", cut(client)), "Woken by traffic.");
    update(ctx, &event.server, &cause, |server, now| {
        if server.life.wanted == Wanted::Asleep {
            server.life.want(Wanted::Running, now);
        }
        Ok(())
    })
    .await
    .map(drop)
}
