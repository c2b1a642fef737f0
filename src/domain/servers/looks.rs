//! Which of its own files a server would lose to other layers: only its node knows, and it is asked.
//!
//! Nobody waits for the answer: whoever asks is told that the node has been asked, and finds the answer when they ask again. All of this
//! may be lost at any time; then the node is asked once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use super::current_variables;
use crate::domain::{Ctx, Refusal, backups};
use crate::model::ids::{NodeId, ServerId};
use crate::model::layers::LayerRef;
use crate::model::servers::Server;
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::wire::agent::{OWN_FILES_MAX, ToNode};

/// Questions that are remembered; the oldest go first.
const LOOKS_MAX: usize = 1_000;
/// How long an answer counts, in milliseconds: the game may write more.
const FRESH: i64 = 30 * SECOND;
/// How long an answer is waited for before the node is asked anew, in milliseconds. It may have to fetch a layer for it.
const PATIENCE: i64 = 2 * MINUTE;
/// Longest path and longest reason that are kept, in characters.
const TEXT_MAX: usize = 500;

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnFiles {
    /// These, in order; at most [`OWN_FILES_MAX`].
    Known(Vec<String>),
    /// Its node has been asked.
    Asked,
    /// It cannot be known now; why, in words.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    node: NodeId,
    server: ServerId,
    layers: Vec<LayerRef>,
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Look {
    question: Question,
    at: Millis,
    answer: Option<(Millis, Result<Vec<String>, String>)>,
}

/// Questions by their numbers.
#[derive(Default)]
pub(in crate::domain) struct Looks(Mutex<(u64, HashMap<u64, Look>)>);

/// Asks the server's node, or gives its answer.
pub(super) async fn own_files(
    ctx: &Ctx,
    server: &Server,
    layers: &[LayerRef],
    own: &BTreeMap<String, String>,
) -> Result<OwnFiles, Refusal> {
    if backups::has_no_data(server) {
        return Ok(OwnFiles::Known(Vec::new()));
    }
    let there = Server { layers: layers.to_vec(), variables: own.clone(), ..server.clone() };
    let variables = current_variables(ctx, &there).await?;
    let question = Question { node: server.node.clone(), server: server.id.clone(), layers: layers.to_vec(), variables };
    let now = ctx.clock.now();
    let ask = {
        let Ok(mut looks) = ctx.looks.0.lock() else { return Ok(OwnFiles::Unknown("It cannot be looked up now.".to_owned())) };
        let known = looks.1.values().filter(|look| look.question == question).max_by_key(|look| look.at);
        match known {
            Some(Look { answer: Some((at, answer)), .. }) if now.since(*at) < FRESH => {
                return Ok(answer.clone().map_or_else(OwnFiles::Unknown, OwnFiles::Known));
            }
            Some(Look { answer: None, at, .. }) if now.since(*at) < PATIENCE => return Ok(OwnFiles::Asked),
            Some(_) | None => {}
        }
        looks.0 += 1;
        let ask = looks.0;
        if looks.1.len() >= LOOKS_MAX
            && let Some(oldest) = looks.1.iter().min_by_key(|(_, look)| look.at).map(|(ask, _)| *ask)
        {
            looks.1.remove(&oldest);
        }
        looks.1.insert(ask, Look { question: question.clone(), at: now, answer: None });
        ask
    };
    let Question { node, server, layers, variables } = question;
    if let Err(why) = ctx.engine.deliver(&node, ToNode::LookAtLayers { ask, server, layers, variables }) {
        if let Ok(mut looks) = ctx.looks.0.lock() {
            looks.1.remove(&ask);
        }
        return Ok(OwnFiles::Unknown(format!("Only its node knows, and cannot be asked now: {why}.")));
    }
    Ok(OwnFiles::Asked)
}

/// A node answers.
pub(in crate::domain) fn answered(ctx: &Ctx, node: &NodeId, ask: u64, own_files: Result<Vec<String>, String>) {
    let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect::<String>();
    let own_files = match own_files {
        Ok(paths) => Ok(paths.into_iter().take(OWN_FILES_MAX).map(cut).collect()),
        Err(why) => Err(cut(why)),
    };
    let Ok(mut looks) = ctx.looks.0.lock() else { return };
    if let Some(look) = looks.1.get_mut(&ask).filter(|look| look.question.node == *node) {
        look.answer = Some((ctx.clock.now(), own_files));
    }
}

/// Has this node been asked to look at this layer just now? Then it may fetch it.
pub(in crate::domain) fn looks_at(ctx: &Ctx, node: &NodeId, layer: &LayerRef) -> bool {
    let (now, Ok(looks)) = (ctx.clock.now(), ctx.looks.0.lock()) else { return false };
    let open = |look: &&Look| look.question.node == *node && look.answer.is_none() && now.since(look.at) < PATIENCE;
    looks.1.values().filter(open).any(|look| look.question.layers.contains(layer))
}
