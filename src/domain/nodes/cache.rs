//! A node's cache of templates: where its layers come from, dev mode, purging.

use std::time::Duration;

use crate::domain::servers::looks_at;
use crate::domain::{Actor, Change, Ctx, Refusal};
use crate::model::ids::{NodeId, TemplateId};
use crate::model::layers::LayerRef;
use crate::model::users::Right;
use crate::objects::{ObjectKey, Verb};
use crate::store::{nodes, templates};
use crate::wire::agent::ToNode;

/// How long an address is good for: long enough to begin, and for what has to be taken up again there is a new one.
const URL_LASTS: Duration = Duration::from_mins(15);

/// The address of a layer's archive, for a node on which a server stands on it; or why there is none, in words.
pub(super) async fn layer_url(ctx: &Ctx, node: &NodeId, layer: &LayerRef) -> Result<String, String> {
    let (template, version) = (&layer.template, &layer.version);
    let stands =
        templates::stands_on(&ctx.db, node, template, version).await.map_err(|_| "the panel's database does not answer".to_owned())?;
    if !stands && !looks_at(ctx, node, layer) {
        tracing::error!(%node, %template, %version, "a node asked for a layer that none of its servers stands on; refused");
        return Err("no server of this node stands on it".to_owned());
    }
    let row = templates::version(&ctx.db, template, version).await.map_err(|_| "the panel's database does not answer".to_owned())?;
    let row = row.filter(|row| row.sha256 == layer.sha256).ok_or_else(|| "there is no such version any more".to_owned())?;
    let key: ObjectKey = row.object_key.parse().map_err(|_| "its archive has no usable name".to_owned())?;
    ctx.objects.sign(Verb::Get, &key, URL_LASTS).await.map_err(|error| {
        tracing::warn!(%key, error = &error as &dyn std::error::Error, "no address could be signed");
        error.to_string()
    })
}

/// May somebody switch this node?
pub async fn may_drive(ctx: &Ctx, actor: &Actor, id: &NodeId) -> Result<(), Refusal> {
    if !actor.may_at_all(Right::SeeNodes) {
        return Err(Refusal::NotFound);
    }
    nodes::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    if actor.may_at_all(Right::DriveNodes) { Ok(()) } else { Err(Refusal::Forbidden) }
}

/// Has a node fetch every layer anew, or use its cache again. A node that is away learns of it when it is back.
pub async fn set_dev_mode(ctx: &Ctx, actor: &Actor, id: &NodeId, on: bool) -> Result<(), Refusal> {
    may_drive(ctx, actor, id).await?;
    nodes::set_dev_mode(&ctx.db, id, on).await?;
    ctx.nodes.forget(&());
    if ctx.engine.deliver(id, ToNode::SetDevMode { on }).is_err() {
        tracing::info!(node = %id, on, "the node learns of its dev mode when it is back");
    }
    ctx.tell(Change::Node);
    Ok(())
}

/// Has a node remove templates from its cache, all or some; what came of it is in its next heartbeat.
///
/// # Errors
/// [`Refusal::Conflict`] where the node is away.
pub async fn purge(ctx: &Ctx, actor: &Actor, id: &NodeId, templates: Option<Vec<TemplateId>>) -> Result<(), Refusal> {
    may_drive(ctx, actor, id).await?;
    let away = |_| Refusal::Conflict("The node is not connected, so its cache cannot be purged now. Try again when it is back.".to_owned());
    ctx.engine.deliver(id, ToNode::PurgeCache { templates }).map_err(away)
}
