//! Makes a backup: the archive is written by a thread and stored part by part, at addresses that the panel gives.
//!
//! At most three parts are in memory: one that fills, one that waits, one that is sent. A part that does not arrive is sent again, to a
//! new address each time; nothing lies on this disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::archive::{self, Written};
use super::hold::{HELD_MAX, Hold};
use super::{BackupError, Course, Order};
use crate::model::backups::Archived;
use crate::node::ctx::Ctx;
use crate::node::download;
use crate::wire::agent::UrlFor;

/// Parts that wait to be sent.
const QUEUE: usize = 1;
/// Tries of one part.
const TRIES: u32 = 8;
/// Wait before the second try; each further one is three times as long.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest time for one part: slower than this is no way to store anything.
const PART_WITHIN: Duration = Duration::from_mins(5);

/// Makes it and says what is stored. When this ends, nothing is held or read any more, whatever came of it.
pub async fn back_up(ctx: &Ctx, order: Order, course: Arc<Course>) -> Result<Archived, BackupError> {
    let work = in_turn(ctx, &order, &course);
    super::telling(ctx, &order.server, Some(&order.command), &course, "backing up", work).await
}

async fn in_turn(ctx: &Ctx, order: &Order, course: &Arc<Course>) -> Result<Archived, BackupError> {
    let bytes = {
        let _turn = turn(&ctx.measured, course).await?;
        let (measured, shared) = (order.clone(), Arc::clone(course));
        joined(tokio::task::spawn_blocking(move || archive::measure(&measured, &shared))).await?
    };
    let _turn = turn(if bytes < super::SMALL_BYTES { &ctx.small_backups } else { &ctx.large_backups }, course).await?;
    super::within(course, Box::pin(in_time(ctx, order, course))).await
}

async fn turn<'a>(places: &'a Semaphore, course: &Course) -> Result<Option<SemaphorePermit<'a>>, BackupError> {
    tokio::select! {
        biased;
        () = course.cancel.cancelled() => Err(BackupError::BrokenOff),
        // They are never closed.
        turn = places.acquire() => Ok(turn.ok()),
    }
}

async fn in_time(ctx: &Ctx, order: &Order, course: &Arc<Course>) -> Result<Archived, BackupError> {
    let mut hold = Hold::new(ctx, order);
    let begun = hold.begin(&course.cancel).await;
    let made = match begun {
        Ok(()) => read_and_send(ctx, order, course, &mut hold).await,
        Err(error) => Err(error.into()),
    };
    hold.end().await;
    let (written, parts) = made?;
    let left_out = (written.left_out > 0).then(|| format!("Left out: {} sockets, pipes or devices", written.left_out));
    let notes: Vec<String> = written.changed.words().into_iter().chain(left_out).chain(hold.note.take()).collect();
    Ok(Archived {
        backup: order.backup.clone(),
        bytes: written.bytes,
        sha256: written.sha256,
        entries: written.entries,
        unpacked: written.unpacked,
        parts,
        note: (!notes.is_empty()).then(|| notes.join(". ")),
    })
}

/// The game is let go as soon as all is read, or it was held for long enough.
async fn read_and_send(ctx: &Ctx, order: &Order, course: &Arc<Course>, hold: &mut Hold<'_>) -> Result<(Written, Vec<String>), BackupError> {
    let (to, parts) = mpsc::channel(QUEUE);
    let (shared, copy) = (Arc::clone(course), order.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let _over = shared.read_over.clone().drop_guard();
        archive::write(&copy, &shared, to)
    });
    let holding = async {
        if hold.is_paused() {
            let over = tokio::time::timeout(HELD_MAX, course.read_over.cancelled()).await.is_ok();
            if !over {
                hold.note = Some(format!("The game was held still for {} seconds and went on while the rest was read", HELD_MAX.as_secs()));
            }
            hold.end().await;
        }
        course.read_over.cancelled().await;
        hold.end().await;
        course.let_go.cancel();
    };
    let both = async { tokio::join!(send_all(ctx, order, parts), holding) };
    let sent = tokio::select! {
        biased;
        () = course.cancel.cancelled() => Err(BackupError::BrokenOff),
        (sent, ()) = both => sent,
    };
    // Without anybody who takes its parts it ends at the next one, if not before.
    let written = joined(thread).await;
    let parts = sent?;
    Ok((written?, parts))
}

async fn joined<T>(thread: tokio::task::JoinHandle<Result<T, BackupError>>) -> Result<T, BackupError> {
    let lost = |error| Err(BackupError::Disk { what: "finish the archive", source: std::io::Error::other(error) });
    thread.await.unwrap_or_else(lost)
}

async fn send_all(ctx: &Ctx, order: &Order, mut parts: mpsc::Receiver<Bytes>) -> Result<Vec<String>, BackupError> {
    let client = download::uploader().map_err(BackupError::disk("make connections"))?;
    let mut tags = Vec::new();
    while let Some(part) = parts.recv().await {
        let number = u32::try_from(tags.len() + 1).unwrap_or(u32::MAX);
        tags.push(send(ctx, order, &client, number, part).await?);
    }
    Ok(tags)
}

/// Stores one part and gives its `ETag`.
async fn send(ctx: &Ctx, order: &Order, client: &reqwest::Client, number: u32, part: Bytes) -> Result<String, BackupError> {
    let (mut wait, mut tries) = (WAIT_FIRST, 1);
    loop {
        let of = UrlFor::BackupPart { server: order.server.clone(), backup: order.backup.clone(), number };
        let failed = match ctx.urls.ask(of).await {
            Ok(url) => match put(client, url, part.clone()).await {
                Ok(tag) => return Ok(tag),
                Err(words) => BackupError::Store { number, words },
            },
            Err(words) => BackupError::Url(words),
        };
        if tries >= TRIES {
            return Err(failed);
        }
        tracing::info!(server = %order.server, number, error = %failed, "a part of a backup is sent again");
        tokio::time::sleep(wait).await;
        (wait, tries) = ((wait * 3).min(WAIT_MAX), tries + 1);
    }
}

async fn put(client: &reqwest::Client, url: String, part: Bytes) -> Result<String, String> {
    let answer = client.put(url).timeout(PART_WITHIN).body(part).send().await.map_err(download::words)?;
    if !answer.status().is_success() {
        return Err(format!("the object store answered {}", answer.status()));
    }
    let tag = answer.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok());
    tag.map(str::to_owned).ok_or_else(|| "the object store did not say what it stored".to_owned())
}
