//! A server's data: a folder of its own, or its own folder on top of layers of templates, mounted as Docker's volume or laid out in it.
//!
//! Made while the game does not run. What the game wrote stays; what gives way to a new layer is told.

use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use super::parts::{game_name, volume_name};
use super::worker::Worker;
use crate::model::ids::CommandId;
use crate::node::docker::NewMount;
use crate::node::error::StepError;
use crate::node::layers::{Layers, Prepared, Request};
use crate::node::record;
use crate::wire::agent::EventKind;
use crate::wire::spec::InstanceSpec;

/// Names in one sentence to the owner.
const NAMED_MAX: usize = 8;

/// How the data come into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Of the layers, variables and owner that it was made of.
    made_of: String,
    /// Options of the overlay; none: the folder itself is mounted.
    overlay: Option<String>,
}

fn inputs(spec: &InstanceSpec) -> String {
    let text = format!("{:?}\n{:?}\n{:?}", spec.layers, spec.variables, spec.user);
    hex::encode(&Sha256::digest(text)[..12])
}

fn some<T: std::fmt::Display>(all: impl ExactSizeIterator<Item = T>) -> String {
    let count = all.len();
    let mut text = all.take(NAMED_MAX).map(|each| each.to_string()).collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        text = format!("{text} and {} more", count - NAMED_MAX);
    }
    text
}

impl Worker {
    /// Are the data as this description wants them, as far as known? Without a look at the disk: a wake has no time for one.
    pub(super) fn data_is_made(&self, spec: &InstanceSpec) -> bool {
        self.data.as_ref().is_some_and(|data| data.made_of == inputs(spec))
    }

    /// Makes the data as the description wants them. A game that runs keeps what it has until its next start.
    pub(super) async fn ensure_data(&mut self, spec: &InstanceSpec, command: Option<&CommandId>) -> Result<(), StepError> {
        if self.data_is_made(spec) {
            return Ok(());
        }
        let game = self.ctx.engine.inspect(&game_name(&spec.server)).await?;
        if game.as_ref().is_some_and(|game| game.running) {
            return Ok(());
        }
        self.break_off_reading().await;
        self.settle().await?;
        let home = self.instance.folder.home();
        let origin = self.expect_origin(spec).await?;
        if spec.layers.is_empty() && !Layers::laid_out(&home) {
            self.make_data_folder(spec).await?;
            self.bring_origin(origin, command).await?;
            self.data = Some(Data { made_of: inputs(spec), overlay: None });
            return Ok(());
        }
        if game.is_some() {
            // A container that does not run may still hold on to a volume that has to be made anew.
            self.ctx.engine.remove(&game_name(&spec.server)).await?;
            self.game_made = None;
        }
        self.make_data_folder(spec).await?;
        let owner = self.data_owner(spec);
        let request = Request { home, layers: spec.layers.clone(), variables: spec.variables.clone(), owner };
        let prepared = tokio::select! {
            () = self.instance.something_else_wanted() => return Err(StepError::Superseded),
            prepared = async { Ok::<_, StepError>(self.ctx.layers().await?.prepare(request).await?) } => prepared?,
        };
        self.tell_of(&prepared).await;
        self.bring_origin(origin, command).await?;
        let overlay = prepared.volume_options();
        self.ensure_volume(spec, overlay.as_deref()).await?;
        self.data = Some(Data { made_of: inputs(spec), overlay });
        Ok(())
    }

    async fn ensure_volume(&self, spec: &InstanceSpec, overlay: Option<&str>) -> Result<(), StepError> {
        let name = volume_name(&spec.server);
        let there = self.ctx.engine.volume(&name).await?;
        match (there, overlay) {
            (Some(options), Some(wanted)) if options == wanted => return Ok(()),
            (Some(_), _) => self.ctx.engine.remove_volume(&name).await?,
            (None, _) => {}
        }
        if let Some(options) = overlay {
            self.ctx.engine.create_overlay(&name, options, self.labels("data", "")).await?;
        }
        Ok(())
    }

    /// Says what its owner should know.
    async fn tell_of(&self, prepared: &Prepared) {
        let mut notes = Vec::new();
        if !prepared.unknown_variables.is_empty() {
            let names = some(prepared.unknown_variables.iter().map(|unknown| format!("${{{}}} in {}", unknown.name, unknown.path)));
            notes.push(format!("Variables that nobody knows were left as they are: {names}."));
        }
        if !prepared.replaced.is_empty() {
            notes.push(format!("Files of its own gave way to new layers: {}.", some(prepared.replaced.iter())));
        }
        if !prepared.outdated.is_empty() {
            let names = some(prepared.outdated.iter());
            notes.push(format!("Files with variables keep their old values, because the server has changed them: {names}."));
        }
        for text in notes {
            self.ctx.tell(&self.record.server, None, EventKind::Note { text }).await;
        }
    }

    /// What the game sees are layers and its own folder on top of them.
    pub(super) fn lies_on_layers(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.overlay.is_some())
    }

    /// How the data are mounted.
    pub(super) fn data_mount(&self, spec: &InstanceSpec) -> NewMount {
        let overlay = self.data.as_ref().and_then(|data| data.overlay.as_ref());
        let source = match overlay {
            Some(_) => volume_name(&spec.server),
            None => self.instance.folder.data().to_string_lossy().into_owned(),
        };
        NewMount { source, target: spec.data_path.clone(), read_only: false, volume: overlay.is_some() }
    }

    /// What the container's revision has to tell beside its plan: other layers are another container.
    pub(super) fn data_made_of(&self) -> String {
        let data = self.data.as_ref().filter(|data| data.overlay.is_some());
        data.map(|data| data.made_of.clone()).unwrap_or_default()
    }

    async fn make_data_folder(&self, spec: &InstanceSpec) -> Result<(), StepError> {
        let (folder, owner) = (self.instance.folder.data(), self.data_owner(spec));
        let make = move || {
            record::make_private(&folder)?;
            let is = std::fs::symlink_metadata(&folder)?;
            match owner {
                // Only the folder itself: what is in it is the game's own affair.
                Some((uid, gid)) if (is.uid(), is.gid()) != (uid, gid) => std::os::unix::fs::lchown(&folder, Some(uid), Some(gid)),
                Some(_) | None => Ok(()),
            }
        };
        self.ctx.blocking("make the data folder", make).await
    }
}
