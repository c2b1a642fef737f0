//! From row and catalogue to what a node is told. Pure: the same row gives the same description and revision.

use crate::model::games::{Game, Plan};
use crate::model::money::Credits;
use crate::model::servers::{Server, Wanted};
use crate::wire::door::Verdict;
use crate::wire::spec::InstanceSpec;

/// May traffic wake it, and what are players told if not?
pub(super) fn wake_verdict(server: &Server, balance: Credits) -> Verdict {
    let refused = |reason: &str| Verdict::Refused { reason: reason.to_owned() };
    match server.life.wanted {
        Wanted::Running | Wanted::Asleep if balance > Credits::ZERO => Verdict::Allowed,
        Wanted::Running | Wanted::Asleep => refused("Its owner has run out of credits."),
        Wanted::Stopped => refused("Its owner has stopped it."),
        Wanted::Expired => refused("Its subscription has ended."),
        Wanted::Deleted => refused("It is being deleted."),
    }
}

/// Everything that a node has to know.
pub(super) fn instance_spec(server: &Server, game: &Game, plan: &Plan, wake: Verdict) -> InstanceSpec {
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
        door: game.door.clone(),
        wake,
    }
}
