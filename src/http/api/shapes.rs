//! What the API says, field by field. Times are RFC 3339 in UTC, credits are decimal text, ids are text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::domain::nodes::Invited;
use crate::model::games::{EnvRule, Game, Plan};
use crate::model::ids::NodeId;
use crate::model::layers::LayerRef;
use crate::model::ledger::Entry;
use crate::model::nodes::{CacheLoad, Node};
use crate::model::servers::Server;
use crate::model::time::Millis;
use crate::model::users::User;

/// A moment as text.
pub(in crate::http) fn moment(at: Millis) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}

/// What an account proves itself with.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct Credentials {
    /// E-mail address.
    pub email: String,
    /// At least 10 characters.
    pub password: String,
}

/// What a login takes.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct Proofs {
    /// E-mail address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// Of an app, or a recovery code: asked for where the account has a second factor.
    pub code: Option<String>,
}

/// An account.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct UserShape {
    pub id: String,
    pub email: String,
    /// `player`, `viewer`, `operator` or `admin`.
    pub role: &'static str,
    /// Credits; left out where the token does not cover billing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
    pub created_at: String,
}

impl UserShape {
    pub fn of(user: &User) -> UserShape {
        UserShape {
            id: user.id.to_string(),
            email: user.email.clone(),
            role: user.role.as_str(),
            balance: Some(user.balance.to_string()),
            created_at: moment(user.created_at),
        }
    }
}

/// A token that lives for a day, and whose it is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Login {
    /// For `Authorization: Bearer`.
    pub token: String,
    pub user: UserShape,
}

/// What somebody fills in to make a server.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct NewServer {
    /// 1 to 60 characters.
    pub name: String,
    /// Id of a game.
    pub game: String,
    /// Id of one of its plans.
    pub plan: String,
    /// What the game declares, by name.
    pub env: Option<BTreeMap<String, String>>,
    /// Sleep by itself? Yes, unless said otherwise.
    pub auto_sleep: Option<bool>,
    /// Minutes of quiet before that, 1 to 1440.
    pub idle_minutes: Option<u32>,
    /// Only on nodes of this region.
    pub region: Option<String>,
    /// Only on nodes that have all of these tags.
    pub tags: Option<Vec<String>>,
    /// What its data are laid out of, the lowest first.
    pub layers: Option<Vec<NewLayer>>,
    /// Its own values for variables in text files of its layers.
    pub variables: Option<BTreeMap<String, String>>,
    /// `hour`, unless said otherwise, or `month`: it waits until its owner has paid for it on its page.
    pub billing: Option<String>,
}

/// A layer of a new server.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct NewLayer {
    /// Id of a template.
    pub template: String,
    /// One of its versions; the newest unless said otherwise.
    pub version: Option<String>,
}

/// What is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct ServerChanges {
    pub name: Option<String>,
    pub auto_sleep: Option<bool>,
    pub idle_minutes: Option<u32>,
    pub env: Option<BTreeMap<String, String>>,
}

/// A public port.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PortShape {
    pub name: String,
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// Where to join.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AddressShape {
    pub host: String,
    /// The port to join.
    pub port: Option<u16>,
    pub ports: Vec<PortShape>,
}

/// A server.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ServerShape {
    pub id: String,
    pub name: String,
    pub game: String,
    pub plan: String,
    /// `running`, `asleep`, `stopped`, `expired` or `deleted`.
    pub wanted: &'static str,
    /// `requested`, `preparing`, `starting`, `running`, `stopping`, `sleeping`, `stopped`, `expired`, `failed` or `destroyed`.
    pub phase: &'static str,
    pub phase_since: String,
    /// Progress, or what went wrong; may be empty.
    pub status_message: String,
    /// When a failed step is tried again by itself.
    pub next_try: Option<String>,
    pub address: AddressShape,
    pub node: String,
    /// Is the node heard of? If not, the rest is how it was last seen.
    pub node_online: bool,
    pub last_seen: Option<String>,
    pub env: BTreeMap<String, String>,
    pub auto_sleep: bool,
    pub idle_minutes: u32,
    /// Connected, where known.
    pub players: Option<u32>,
    /// Credits of a running hour.
    pub per_hour: String,
    pub created_at: String,
    /// Only on nodes of this region; empty: anywhere.
    pub region: String,
    /// Only on nodes that have all of these tags.
    pub tags: Vec<String>,
    /// What its data are laid out of, the lowest first.
    pub layers: Vec<LayerShape>,
}

/// A layer that a server stands on.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LayerShape {
    /// Id of a template.
    pub template: String,
    pub version: String,
}

impl LayerShape {
    /// A list of them.
    pub fn list(layers: &[LayerRef]) -> Vec<LayerShape> {
        layers.iter().map(|layer| LayerShape { template: layer.template.to_string(), version: layer.version.to_string() }).collect()
    }
}

impl ServerShape {
    /// Of a server on a node; the game tells which variables are secret.
    pub fn of(server: &Server, game: Option<&Game>, node: Option<&Node>, now: Millis) -> ServerShape {
        let life = &server.life;
        let secret = |name: &str| game.is_none_or(|game| game.env.iter().any(|var| var.secret && var.name == name));
        let ports =
            server.ports.iter().map(|port| PortShape { name: port.name.clone(), port: port.public, protocol: port.protocol.as_str() });
        ServerShape {
            id: server.id.to_string(),
            name: server.name.clone(),
            game: server.game.to_string(),
            plan: server.plan.to_string(),
            wanted: life.wanted.as_str(),
            phase: life.phase.as_str(),
            phase_since: moment(life.phase_since),
            status_message: life.trouble.as_ref().map_or_else(|| life.message.clone(), |trouble| trouble.what.clone()),
            next_try: life.trouble.as_ref().and_then(|trouble| trouble.next_try).map(moment),
            address: AddressShape {
                host: node.map(|node| node.public_host.clone()).unwrap_or_default(),
                port: server.ports.first().map(|port| port.public),
                ports: ports.collect(),
            },
            node: server.node.to_string(),
            node_online: node.is_some_and(|node| node.online(now)),
            last_seen: server.seen_at.map(moment),
            env: server.env.iter().filter(|(name, _)| !secret(name)).map(|(name, value)| (name.clone(), value.clone())).collect(),
            auto_sleep: server.auto_sleep,
            idle_minutes: server.idle_minutes,
            players: server.players,
            per_hour: server.per_hour.to_string(),
            created_at: moment(server.created_at),
            region: server.region.clone(),
            tags: server.tags.clone(),
            layers: LayerShape::list(&server.layers),
        }
    }
}

/// A list.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Servers {
    pub servers: Vec<ServerShape>,
}

/// A size of a game.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PlanShape {
    pub id: String,
    pub name: String,
    pub players: String,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    pub memory_mib: u32,
    pub storage_mib: u32,
    /// Credits of a running hour.
    pub per_hour: String,
}

impl PlanShape {
    pub fn of(plan: &Plan) -> PlanShape {
        PlanShape {
            id: plan.id.to_string(),
            name: plan.name.clone(),
            players: plan.players.clone(),
            cpu_millis: plan.cpu_millis,
            memory_mib: plan.memory_mib,
            storage_mib: plan.storage_mib,
            per_hour: plan.per_hour.to_string(),
        }
    }
}

/// A variable that can be set.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EnvShape {
    pub name: String,
    pub label: String,
    pub help: String,
    /// Empty for secrets.
    pub default: String,
    pub required: bool,
    pub secret: bool,
    /// `text`, `word`, `integer` or `choice`.
    pub kind: &'static str,
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub options: Vec<String>,
}

/// A game.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GameShape {
    pub id: String,
    pub name: String,
    pub summary: String,
    pub env: Vec<EnvShape>,
    pub plans: Vec<PlanShape>,
}

impl GameShape {
    pub fn of(game: &Game) -> GameShape {
        let var = |var: &crate::model::games::EnvVar| {
            let (kind, min, max, options) = match &var.rule {
                EnvRule::Text { max } => ("text", None, Some(i64::from(*max)), Vec::new()),
                EnvRule::Word { min, max } => ("word", Some(i64::from(*min)), Some(i64::from(*max)), Vec::new()),
                EnvRule::Integer { min, max } => ("integer", Some(*min), Some(*max), Vec::new()),
                EnvRule::Choice { options } => ("choice", None, None, options.clone()),
            };
            EnvShape {
                name: var.name.clone(),
                label: var.label.clone(),
                help: var.help.clone(),
                default: if var.secret { String::new() } else { var.default.clone() },
                required: var.required,
                secret: var.secret,
                kind,
                min,
                max,
                options,
            }
        };
        GameShape {
            id: game.id.to_string(),
            name: game.name.clone(),
            summary: game.summary.clone(),
            env: game.env.iter().filter(|each| each.editable).map(var).collect(),
            plans: game.plans.iter().map(PlanShape::of).collect(),
        }
    }
}

/// The catalogue.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Games {
    pub games: Vec<GameShape>,
}

/// The sizes of a game.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Plans {
    pub plans: Vec<PlanShape>,
}

/// A line of a log.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LineShape {
    /// Grows; as text, because it is larger than what many programs can hold exactly.
    pub seq: String,
    pub text: String,
}

/// The last lines.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Lines {
    pub lines: Vec<LineShape>,
    /// What the game has begun to write behind the last line and not ended, such as a question.
    pub open: Option<String>,
}

/// An entry of a history.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EventShape {
    pub id: String,
    pub at: String,
    pub who: String,
    /// Such as `wanted running`, `phase sleeping`.
    pub what: String,
    pub why: String,
}

/// A page of a history, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Events {
    pub events: Vec<EventShape>,
    /// For `?before=`; none: there are no older ones.
    pub next: Option<String>,
}

/// An entry of the ledger.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EntryShape {
    pub key: String,
    pub at: String,
    /// Negative where it was taken.
    pub amount: String,
    /// `signup`, `charge`, `grant` or `demonstration`.
    pub kind: &'static str,
    pub server: Option<String>,
    pub server_name: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub note: String,
}

impl EntryShape {
    pub fn of(entry: &Entry) -> EntryShape {
        let (server, server_name) = entry.server.as_ref().map(|(id, name)| (id.to_string(), name.clone())).unzip();
        let (from, to) = entry.span.map(|(from, to)| (moment(from), moment(to))).unzip();
        EntryShape {
            key: entry.key.clone(),
            at: moment(entry.at),
            amount: entry.amount.to_string(),
            kind: entry.kind.as_str(),
            server,
            server_name,
            from,
            to,
            note: entry.note.clone(),
        }
    }
}

/// A page of the ledger, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Entries {
    pub transactions: Vec<EntryShape>,
    /// For `?behind=`; none: there are no older ones.
    pub next: Option<String>,
}

/// A machine.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeShape {
    pub id: String,
    pub name: String,
    pub public_host: String,
    /// `invited`, `joined`, `revoked`.
    pub standing: &'static str,
    pub region: String,
    pub tags: Vec<String>,
    /// Most servers at once; none: no limit.
    pub slots: Option<u32>,
    /// Version of the agent.
    pub agent: String,
    /// Version of the agent's messages.
    pub messages: Option<u32>,
    pub certificate_until: Option<String>,
    /// How far its clock is ahead of the panel's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// Why it was last turned away; none: it was let in since.
    pub refused: Option<String>,
    pub refused_at: Option<String>,
    pub draining: bool,
    pub dev_mode: bool,
    /// Its cache of templates: `way`, `hits`, `misses`, `layers`, `purged`; none: not known yet.
    #[schema(value_type = Option<Object>)]
    pub cache: Option<CacheLoad>,
    pub online: bool,
    pub seen_at: Option<String>,
    /// Why no server can be started there.
    pub trouble: Option<String>,
    pub trouble_since: Option<String>,
    pub engine: String,
    pub system: String,
    pub cpu_millis: u32,
    pub cpu_millis_used: u32,
    pub memory_mib: u32,
    pub memory_mib_used: u32,
    pub disk_mib: u32,
    pub disk_mib_free: u32,
}

impl NodeShape {
    pub fn of(node: &Node, now: Millis) -> NodeShape {
        NodeShape {
            id: node.id.to_string(),
            name: node.called().to_owned(),
            public_host: node.public_host.clone(),
            standing: node.standing.as_str(),
            region: node.region.clone(),
            tags: node.tags.clone(),
            slots: node.slots,
            agent: node.agent.clone(),
            messages: node.wire,
            certificate_until: node.certificate.as_ref().map(|held| moment(held.until)),
            clock_ahead_ms: node.skew,
            refused: node.refused.as_ref().map(|(why, _)| why.clone()),
            refused_at: node.refused.as_ref().map(|(_, at)| moment(*at)),
            draining: node.draining,
            cache: node.load.cache.clone(),
            dev_mode: node.dev_mode,
            online: node.online(now),
            seen_at: node.seen_at.map(moment),
            trouble: node.load.trouble.clone(),
            trouble_since: node.trouble_since.map(moment),
            engine: node.specs.engine.clone(),
            system: node.specs.system.clone(),
            cpu_millis: node.specs.cpu_millis,
            cpu_millis_used: node.load.cpu_millis,
            memory_mib: node.specs.memory_mib,
            memory_mib_used: node.load.memory_mib,
            disk_mib: node.specs.disk_mib,
            disk_mib_free: node.load.disk_free_mib,
        }
    }
}

/// All machines.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Nodes {
    pub nodes: Vec<NodeShape>,
}

/// A server of a machine.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeServerShape {
    pub id: String,
    pub name: String,
    pub game: String,
    pub phase: &'static str,
}

impl NodeServerShape {
    pub fn of(server: &Server) -> NodeServerShape {
        NodeServerShape {
            id: server.id.to_string(),
            name: server.name.clone(),
            game: server.game.to_string(),
            phase: server.life.phase.as_str(),
        }
    }
}

/// For whom a token is.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "describes what a body may hold")]
pub(in crate::http) struct NewNodeToken {
    /// As people will call the machine.
    pub name: Option<String>,
    pub region: Option<String>,
    /// Id of a node that is known and comes again; then without `name` and `region`.
    pub node: Option<String>,
}

/// A token by which a machine joins.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeTokenShape {
    pub id: String,
    pub node: NodeShape,
    /// The whole token; never shown again.
    pub token: String,
    /// What to run on the machine.
    pub command: String,
    pub expires_at: String,
}

impl NodeTokenShape {
    pub fn of(invited: &Invited, command: String, token: String, now: Millis) -> NodeTokenShape {
        let node = NodeShape::of(&invited.node, now);
        NodeTokenShape { id: invited.token.id.to_string(), node, token, command, expires_at: moment(invited.token.expires_at) }
    }
}

/// The node of a server, out of all.
pub(in crate::http) fn node_of<'a>(nodes: &'a [Node], id: &NodeId) -> Option<&'a Node> {
    nodes.iter().find(|node| node.id == *id)
}

/// What a refusal looks like: RFC 9457, `application/problem+json`.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "describes what `problem` writes")]
pub(in crate::http) struct ProblemShape {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub request_id: String,
    /// A message for each field that cannot be used.
    pub errors: BTreeMap<String, String>,
}
