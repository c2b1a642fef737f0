//! Brings a backup here: downloaded, compared and unpacked into a folder beside the data, in one pass.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::DropGuard;

use super::unpack::unpack;
use super::{BackupError, Course};
use crate::archives::remove::remove;
use crate::model::backups::BackupRef;
use crate::model::ids::{CommandId, ServerId};
use crate::node::ctx::Ctx;
use crate::node::download::{self, Failed, ReadError, Wanted, download};
use crate::wire::agent::UrlFor;

/// For whom, and where to.
#[derive(Debug, Clone)]
pub struct Bring {
    /// Whose.
    pub server: ServerId,
    /// Which.
    pub backup: BackupRef,
    /// For the words on the way.
    pub command: Option<CommandId>,
    /// Made anew, and removed where it fails.
    pub folder: PathBuf,
    /// Most bytes that the server's plan has room for; none: it is not held against the plan.
    pub most: Option<u64>,
}

impl ReadError for BackupError {
    fn is_of_disk(&self) -> bool {
        matches!(self, BackupError::Disk { .. } | BackupError::Full)
    }

    fn of_source(source: io::Error) -> BackupError {
        BackupError::Damaged(source.to_string())
    }
}

/// Makes the folder hold all that is in the backup, or says why not; then there is no folder. Nobody writes to it when this ends.
pub async fn bring(ctx: &Ctx, bring: Bring, course: Arc<Course>) -> Result<(), BackupError> {
    let folder = bring.folder.clone();
    // Goes with the thread, or with the work that never began one.
    let over = course.read_over.clone().drop_guard();
    course.expect(bring.backup.unpacked.max(1));
    let work = fetch(ctx, &bring, &course, over);
    let told = super::telling(ctx, &bring.server, bring.command.as_ref(), &course, "bringing the backup here", work);
    let either = async {
        tokio::select! {
            biased;
            () = course.cancel.cancelled() => Err(BackupError::BrokenOff),
            brought = told => brought,
        }
    };
    let brought = super::within(&course, either).await;
    if brought.is_err() {
        // A thread that nobody gives anything more ends by itself, and holds on to the folder until then.
        course.read_over.cancelled().await;
        let removed = tokio::task::spawn_blocking(move || remove(&folder)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(server = %bring.server, %error, "what is left of a backup cannot be removed");
        }
    }
    course.let_go.cancel();
    brought
}

async fn fetch(ctx: &Ctx, bring: &Bring, course: &Arc<Course>, over: DropGuard) -> Result<(), BackupError> {
    let (folder, bytes, most) = (bring.folder.clone(), bring.backup.unpacked, bring.most);
    let checked = tokio::task::spawn_blocking(move || super::room::check(&folder, bytes, most)).await;
    checked.unwrap_or_else(|error| Err(BackupError::disk("see how full the disk is")(io::Error::other(error))))?;
    let client = download::client().map_err(BackupError::disk("make connections"))?;
    let of = UrlFor::Backup { server: bring.server.clone(), backup: bring.backup.id.clone() };
    let address = || ctx.urls.ask(of.clone()).boxed();
    let wanted = Wanted { name: bring.backup.id.as_str(), bytes: bring.backup.bytes, address: &address };
    let (folder, most, shared) = (bring.folder.clone(), bring.backup.unpacked, Arc::clone(course));
    let arrived = download(&client, &wanted, move |read| {
        let _over = over;
        unpack(read, &folder, most, &shared)
    });
    let arrived = arrived.await.map_err(|failed| match failed {
        Failed::Url(words) => BackupError::Url(words),
        Failed::Gone => BackupError::Gone,
        Failed::Broken(words) => BackupError::Download(words),
        Failed::Read(error) => error,
    })?;
    let BackupRef { bytes, sha256, .. } = bring.backup;
    if arrived.bytes != bytes {
        return Err(BackupError::Wrong(format!("it has another length than {bytes} bytes")));
    }
    if arrived.sha256 != sha256 {
        return Err(BackupError::Wrong(format!("its checksum is {} and not {}", arrived.sha256.short(), sha256.short())));
    }
    arrived.read
}
