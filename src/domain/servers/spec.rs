//! From row and catalogue to what a node is told. Pure: the same row gives the same description and revision.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::games::{Game, Plan};
use crate::model::money::Credits;
use crate::model::servers::{Pending, Server, Wanted};
use crate::wire::door::Verdict;
use crate::wire::spec::InstanceSpec;

/// May traffic wake it, and what are players told if not? `left`: what its owner can still spend.
pub(in crate::domain) fn wake_verdict(server: &Server, left: Credits) -> Verdict {
    let refused = |reason: &str| Verdict::Refused { reason: reason.to_owned() };
    match server.life.wanted {
        Wanted::Asleep if matches!(server.pending, Some(Pending::Leaving { .. })) => {
            refused("It is moving to another machine. Try again in a minute.")
        }
        Wanted::Running | Wanted::Asleep if server.covered || left > Credits::ZERO => Verdict::Allowed,
        Wanted::Running | Wanted::Asleep => refused("Its owner has run out of credits."),
        Wanted::Stopped => refused("Its owner has stopped it."),
        Wanted::Expired => refused("Its subscription is not paid."),
        Wanted::Deleted => refused("It is being deleted."),
    }
}

/// Has the node confirmed this very description?
pub(super) fn is_current(server: &Server, spec: &InstanceSpec) -> bool {
    spec.revision() == server.spec_seen
}

/// Everything that a node has to know, as row, catalogue and balance stand now.
pub(super) fn current_spec(server: &Server, game: &Game, plan: &Plan, left: Credits, region: &str) -> InstanceSpec {
    let wake = wake_verdict(server, left);
    let layers = match &server.pending {
        Some(Pending::Layers { .. }) => server.layers_before.clone(),
        Some(Pending::Leaving { .. } | Pending::Arriving { .. }) | None => server.layers.clone(),
    };
    InstanceSpec {
        server: server.id.clone(),
        name: server.name.clone(),
        image: game.image.clone(),
        args: game.args.clone(),
        env: server.env.clone(),
        data_path: game.data_path.clone(),
        user: game.user.clone(),
        capabilities: game.capabilities.clone(),
        ports: server.ports.clone(),
        cpu_millis: plan.cpu_millis,
        memory_mib: plan.memory_mib,
        storage_mib: plan.storage_mib,
        subnet: server.subnet,
        ready: game.ready.clone(),
        ready_within_secs: game.ready_within_secs,
        stop: game.stop.clone(),
        tty: game.tty,
        door: game.door.clone(),
        wake,
        variables: if layers.is_empty() { BTreeMap::new() } else { variables_of(server, game, region) },
        layers,
        read_only: game.read_only,
        origin: match &server.pending {
            Some(Pending::Arriving { origin, .. }) => Some(origin.clone()),
            Some(Pending::Layers { .. } | Pending::Leaving { .. }) | None => None,
        },
    }
}

/// What stands for `${NAME}` in text files of its layers: what every server has, and its own.
pub(super) fn variables_of(server: &Server, game: &Game, region: &str) -> BTreeMap<String, String> {
    // Inside its container a game listens at its own port; the public one leads there.
    let port = game.ports.first().map_or_else(String::new, |port| port.port.to_string());
    let built_in = [
        ("INSTANCE_ID", server.id.to_string()),
        ("PORT", port),
        ("SERVER_NAME", server.name.clone()),
        ("SEED", seed(server)),
        ("LOCALE", "en".to_owned()),
        ("NODE_NAME", server.node.to_string()),
        ("REGION", region.to_owned()),
        ("ENVIRONMENT", "prod".to_owned()),
    ];
    let mut all: BTreeMap<String, String> = built_in.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(server.variables.clone());
    all
}

/// A number that stays the same for a server and that no other has.
fn seed(server: &Server) -> String {
    let digest = Sha256::digest(server.id.as_str());
    let number = digest.iter().take(7).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number.to_string()
}
