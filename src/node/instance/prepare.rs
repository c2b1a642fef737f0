//! Prepare: everything but the running game. Safe to break off anywhere and to do again.

use super::parts;
use super::worker::Worker;
use crate::model::ids::CommandId;
use crate::node::error::StepError;
use crate::node::record::{Answer, Intent};
use crate::wire::spec::InstanceSpec;

impl Worker {
    pub(super) async fn prepare(&mut self, command: &CommandId, spec: &InstanceSpec) -> Result<Answer, StepError> {
        parts::check(spec)?;
        if spec.server != self.record.server {
            return Err(StepError::Spec("it is about another server".to_owned()));
        }
        self.subnet(spec)?;
        if self.record.intent == Intent::Gone {
            self.revive().await?;
        }
        self.record.spec = Some(spec.clone());
        self.save().await?;
        self.ctx.firewall.ensure().await?;
        self.fetch_image(command, spec).await?;
        let ctx = std::sync::Arc::clone(&self.ctx);
        let _turn = ctx.turns.acquire().await;
        self.know_image(spec, true).await?;
        self.ensure_data(spec, Some(command)).await?;
        self.ensure_volumes(spec).await?;
        if self.record.intent == Intent::Absent {
            self.record.intent = Intent::Down;
            self.save().await?;
        }
        self.write_door_folder(spec).await?;
        self.tell_door().await;
        self.open_door_socket();
        self.ensure_network(spec).await?;
        self.ensure_door(spec).await?;
        self.ensure_game(spec).await?;
        self.look().await?;
        Ok(Answer::Prepared)
    }

    /// A pull can take minutes: a command of another kind ends it. Docker keeps the layers that are there.
    async fn fetch_image(&self, command: &CommandId, spec: &InstanceSpec) -> Result<(), StepError> {
        tokio::select! {
            () = self.instance.something_else_wanted() => Err(StepError::Superseded),
            fetched = self.ctx.game_image(&self.record.server, command, &spec.image) => fetched,
        }
    }

    /// A destroyed server's id is asked for again: it begins anew, with the generation kept.
    async fn revive(&mut self) -> Result<(), StepError> {
        self.record.intent = Intent::Absent;
        self.record.runs.clear();
        self.record.starts.clear();
        self.save().await?;
        let folder = self.instance.folder.clone();
        self.ctx.blocking("forget the old server", move || folder.forget()).await
    }
}
