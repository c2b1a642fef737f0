//! An archive on its way in: it goes to the object store and through every check at the same time, chunk by chunk, and becomes a version
//! only when both have come to their end. Nothing of it is held whole, in memory or on the panel's disk.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{VERSIONS_MAX, in_use, key, may_upload};
use crate::archives::{ArchiveError, Limits, check};
use crate::domain::{Actor, Ctx, Fields, Refusal};
use crate::model::ids::TemplateId;
use crate::model::templates::{Manifest, TemplateVersion, Version};
use crate::objects::{Body, ObjectError, Stored};
use crate::store::{Db, StoreError, panel, templates};

/// Chunks between the network and the check.
const CHUNKS: usize = 16;
/// Longest note, in characters.
const NOTE_MAX: usize = 500;

/// What comes with an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVersion {
    /// Its name, such as `1.4.2`.
    pub version: String,
    /// What is new in it.
    pub note: String,
}

/// Chunks as a blocking reader.
struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.now = chunk,
                None => return Ok(0),
            }
        }
        let take = self.now.len().min(into.len());
        self.now.copy_to_slice(&mut into[..take]);
        Ok(take)
    }
}

/// Gives every chunk to the checker on its way to the store; ends with an error as soon as nobody checks any more.
fn through(body: Body, checker: mpsc::Sender<Bytes>, most: u64) -> Body {
    let state = (body, Some(checker), 0_u64);
    let chunks = stream::unfold(Some(state), move |state| async move {
        let (mut body, checker, seen) = state?;
        let chunk = match body.next().await? {
            Ok(chunk) => chunk,
            Err(error) => return Some((Err(error), None)),
        };
        let seen = seen.saturating_add(chunk.len() as u64);
        if seen > most {
            return Some((Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large")), None));
        }
        // A checker that has seen enough to refuse the archive, or the archive's end, takes no more.
        let checker = match checker {
            Some(checker) if checker.send(chunk.clone()).await.is_ok() => Some(checker),
            Some(_) | None => return Some((Err(io::Error::new(io::ErrorKind::InvalidData, "refused")), None)),
        };
        Some((Ok(chunk), Some((body, checker, seen))))
    });
    chunks.boxed()
}

fn named(new: &NewVersion) -> Result<(Version, String), Refusal> {
    let mut fields = Fields::default();
    let version = new.version.trim().parse::<Version>().map_err(|why| fields.add("version", format!("Choose another name: {why}."))).ok();
    let note = new.note.trim();
    if note.chars().count() > NOTE_MAX || note.chars().any(|c| c.is_control() && c != '\n' && c != '\r') {
        fields.add("note", format!("A note has at most {NOTE_MAX} characters."));
    }
    fields.check()?;
    version.map(|version| (version, note.to_owned())).ok_or(Refusal::NotFound)
}

fn refused(message: impl ToString) -> Refusal {
    let mut fields = Fields::default();
    fields.add("file", message);
    Refusal::Invalid(fields)
}

fn not_stored(error: ObjectError) -> Refusal {
    match error {
        ObjectError::Body(cause) if cause.kind() == io::ErrorKind::FileTooLarge => refused("The archive is larger than this panel takes."),
        ObjectError::Body(_) => refused("The upload broke off before its end. Send it again."),
        other => {
            tracing::warn!(error = &other as &dyn std::error::Error, "an archive could not be stored");
            Refusal::Conflict(format!("The archive could not be stored: {other}."))
        }
    }
}

/// Takes an archive in as a new version.
///
/// # Errors
/// [`Refusal::Invalid`] at `version`, `note` or, with the entry's name, `file`; [`Refusal::Conflict`] where the version is there already
/// or the object store does not take it. Nothing usable is left of an archive that was refused.
pub async fn upload(ctx: &Ctx, actor: &Actor, id: &TemplateId, new: &NewVersion, body: Body) -> Result<TemplateVersion, Refusal> {
    may_upload(ctx, actor, id).await?;
    let (version, note) = named(new)?;
    let there =
        || Refusal::Conflict(format!("There is a version {version} already, and versions never change. Give this one another name."));
    if templates::version(&ctx.db, id, &version).await?.is_some() {
        return Err(there());
    }
    if is_full(&ctx.db, id).await? {
        return Err(full());
    }
    let key = key(id, &version, ctx.clock.now())?;
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let checking = tokio::task::spawn_blocking(move || {
        let mut read = Chunks { chunks, now: Bytes::new() };
        let manifest = check(&mut read, Limits::default())?;
        // What stands behind the archive's end is part of the object all the same.
        io::copy(&mut read, &mut io::sink()).map_err(ArchiveError::Source)?;
        Ok::<Manifest, ArchiveError>(manifest)
    });
    let stored = ctx.objects.put(&key, through(body, sender, ctx.policy.archive_bytes_max)).await;
    let checked = checking.await.map_err(|_| Refusal::Conflict("The archive could not be checked. Try again.".to_owned()))?;
    let (stored, manifest) = match (stored, checked) {
        (Ok(stored), Ok(manifest)) => (stored, manifest),
        (Ok(_), Err(why)) => {
            super::discard(ctx, key.as_str()).await;
            return Err(refused(format!("{why}.")));
        }
        // The check speaks first, but not where it only saw the end too soon.
        (Err(ObjectError::Body(cause)), Err(why)) if cause.kind() == io::ErrorKind::InvalidData => return Err(refused(format!("{why}."))),
        (Err(error), _) => return Err(not_stored(error)),
    };
    let row = row(ctx, actor, (id, version.clone()), note, (&key, stored), &manifest);
    let kept = keep(ctx, &row, &manifest).await;
    match kept {
        Ok(true) => Ok(row),
        Ok(false) => {
            super::discard(ctx, key.as_str()).await;
            Err(full())
        }
        Err(error) => {
            super::discard(ctx, key.as_str()).await;
            Err(if matches!(error, StoreError::Exists(_)) { there() } else { in_use(error, "this template") })
        }
    }
}

fn row(
    ctx: &Ctx,
    actor: &Actor,
    (id, version): (&TemplateId, Version),
    note: String,
    (key, stored): (&crate::objects::ObjectKey, Stored),
    manifest: &Manifest,
) -> TemplateVersion {
    TemplateVersion {
        template: id.clone(),
        version,
        sha256: stored.sha256,
        bytes: stored.bytes,
        unpacked: manifest.bytes,
        files: manifest.files,
        object_key: key.to_string(),
        note,
        created_at: ctx.clock.now(),
        created_by: actor.user.email.clone(),
    }
}

/// Has a template as many versions as it may have?
async fn is_full(db: &Db, id: &TemplateId) -> Result<bool, StoreError> {
    Ok(templates::versions(db, id, VERSIONS_MAX).await?.len() as u64 >= VERSIONS_MAX)
}

fn full() -> Refusal {
    Refusal::Conflict(format!("This template has {VERSIONS_MAX} versions, which is the most. Delete one that no server stands on."))
}

/// False: it has as many versions as it may have by now.
async fn keep(ctx: &Ctx, row: &TemplateVersion, manifest: &Manifest) -> Result<bool, StoreError> {
    let tx = ctx.db.begin().await?;
    panel::hold(&tx).await?;
    if is_full(&tx, &row.template).await? {
        return Ok(false);
    }
    templates::insert_version(&tx, row, manifest).await?;
    tx.commit().await.map(|()| true)
}
