//! What a server has on its node and shares with nobody there: public ports and a private network.

use crate::domain::{Ctx, Refusal};
use crate::model::games::{Game, GamePort};
use crate::model::ids::ServerId;
use crate::model::nodes::Node;
use crate::model::servers::{PublicPort, Server};
use crate::store::{StoreError, Tx, nodes, ports, servers};

/// Chooses free ones; [`reserve`] takes them. `before`: numbers that it has elsewhere, and keeps where they are free.
pub(super) async fn choose(ctx: &Ctx, tx: &Tx, node: &Node, game: &Game, before: &[PublicPort]) -> Result<(Vec<PublicPort>, u32), Refusal> {
    let taken = ports::taken(tx, &node.id).await?;
    let numbers = game.port_numbers();
    let (low, high) = node.net.ports.unwrap_or(ctx.policy.ports);
    let free = |port: &PublicPort| (low..=high).contains(&port.public) && taken.binary_search(&port.public).is_err();
    let same = |(inside, port): (&GamePort, &PublicPort)| (inside.port, inside.protocol) == (port.inside, port.protocol);
    let fits = before.len() == game.ports.len() && game.ports.iter().zip(before).all(same) && before.iter().all(free);
    let chosen = if fits {
        before.to_vec()
    } else {
        let first = first_free(&taken, (low, high), numbers.len())
            .ok_or_else(|| Refusal::Conflict("All public ports are given out. Whoever runs this panel can widen the range.".to_owned()))?;
        let public =
            |inside: u16| numbers.iter().zip(first..).find(|((number, _), _)| *number == inside).map_or(first, |(_, public)| public);
        let port =
            |port: &GamePort| PublicPort { name: port.name.clone(), public: public(port.port), inside: port.port, protocol: port.protocol };
        game.ports.iter().map(port).collect()
    };
    let subnet = free_subnet(ctx, tx, node)
        .await?
        .ok_or_else(|| Refusal::Conflict("All private networks are given out. Whoever runs this panel can widen the pool.".to_owned()))?;
    Ok((chosen, subnet))
}

/// The first private network that no server has and that nobody else uses on the machine.
async fn free_subnet(ctx: &Ctx, tx: &Tx, node: &Node) -> Result<Option<u32>, StoreError> {
    let pool = if node.net.subnets == 0 { ctx.policy.subnets } else { node.net.subnets };
    let given = servers::subnets(tx, &node.id, u64::from(pool) + 1).await?;
    Ok((0..pool).find(|number| given.binary_search(number).is_err() && !node.load.subnets_taken.contains(number)))
}

/// Gives a server that has no container another private network where its node says that somebody else uses its addresses.
pub(super) async fn leave_taken(ctx: &Ctx, tx: &Tx, server: &mut Server) -> Result<(), StoreError> {
    let Some(node) = nodes::by_id(tx, &server.node).await? else { return Ok(()) };
    if node.load.subnets_taken.contains(&server.subnet)
        && let Some(subnet) = free_subnet(ctx, tx, &node).await?
    {
        tracing::info!(server = %server.id, from = server.subnet, to = subnet, "its addresses are used by another network; it gets others");
        server.subnet = subnet;
    }
    Ok(())
}

/// Takes the ports; [`StoreError::Exists`] where somebody was faster.
pub(super) async fn reserve(tx: &Tx, node: &Node, chosen: &[PublicPort], server: &ServerId) -> Result<(), StoreError> {
    for port in chosen {
        ports::reserve(tx, &node.id, port.public, port.protocol, server).await?;
    }
    Ok(())
}

/// The first run of `count` free numbers. Games whose second port has to follow the first get what they expect.
fn first_free(taken: &[u16], (low, high): (u16, u16), count: usize) -> Option<u16> {
    let count = u16::try_from(count).ok()?;
    let mut first = low;
    for port in taken {
        if *port >= first && *port < first.checked_add(count)? {
            first = port.checked_add(1)?;
        }
    }
    (first.checked_add(count)? - 1 <= high).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::first_free;

    #[test]
    fn ports_are_given_out_in_runs_and_never_past_the_range() {
        let range = (25_000, 25_009);
        assert_eq!(first_free(&[], range, 3), Some(25_000));
        assert_eq!(first_free(&[25_000, 25_000, 25_002], range, 1), Some(25_001));
        assert_eq!(first_free(&[25_000, 25_002], range, 2), Some(25_003));
        assert_eq!(first_free(&[25_000, 25_005], range, 5), None);
        assert_eq!(first_free(&(25_000..=25_009).collect::<Vec<_>>(), range, 1), None);
        assert_eq!(first_free(&[], (65_534, 65_535), 3), None);
    }
}
