//! What every function of the domain is given: database, clock, engine, policy, catalogue, and who acts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{Notify, broadcast};

use super::audit::Folded;
use super::games::Catalogue;
use super::limits::Limits;
use super::logs::LogHub;
use super::nodes::{LastBeat, LastReport};
use super::passwords::Hasher;
use super::recent::Recent;
use super::seals::Seals;
use super::second_factor::RelyingParty;
use super::servers::Looks;
use crate::engines::Engine;
use crate::identity::Providers;
use crate::mail::Mailer;
use crate::model::idleness::Rules;
use crate::model::ids::{NodeId, PanelId, ServerId, UserId};
use crate::model::money::Credits;
use crate::model::nodes::Node;
use crate::model::placing::Overcommit;
use crate::model::secrets::Secret;
use crate::model::servers::Server;
use crate::model::time::{Clock, DAY, MINUTE, Millis};
use crate::objects::ObjectStore;
use crate::payments::Stripe;
use crate::store::Db;

/// What an operator has set, as far as the domain asks.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Credits of a new account.
    pub signup_credits: Credits,
    /// May people top up freely? Only for demonstrations.
    pub demo_top_up: bool,
    /// May strangers register?
    pub open_registration: bool,
    /// When is a server quiet?
    pub idle: Rules,
    /// Idle minutes of a new server.
    pub idle_minutes: u32,
    /// First and last public port.
    pub ports: (u16, u16),
    /// How many /29 networks the pool of a node holds.
    pub subnets: u32,
    /// How much of what a node has may be promised.
    pub overcommit: Overcommit,
    /// Most servers of one account.
    pub servers_max: u32,
    /// Days that an API token lives at most.
    pub token_days_max: u32,
    /// Largest archive of a template, in bytes.
    pub archive_bytes_max: u64,
    /// The keys of sidecars that reach the panel itself are derived from it.
    pub webhook_secret: Secret,
    /// What the panel seals and signs for itself is sealed and signed with keys derived from it.
    pub secret_key: Secret,
    /// Where people reach the panel, such as `https://roost.example.org`.
    pub base_url: String,
    /// How credits and months are sold.
    pub sales: Sales,
}

/// How credits and months are sold.
#[derive(Debug, Clone)]
pub struct Sales {
    /// In lower case, such as `eur`. It has cents.
    pub currency: String,
    /// Amounts to choose from, in cents.
    pub amounts: Vec<i64>,
    /// Least and most of one payment, in cents.
    pub bounds: (i64, i64),
    /// So long the data of an unpaid server are kept, in milliseconds.
    pub grace: i64,
    /// Below this a balance is low, whatever runs.
    pub low: Credits,
}

impl Default for Sales {
    fn default() -> Sales {
        Sales {
            currency: "eur".to_owned(),
            amounts: vec![500, 1_000, 2_500, 5_000],
            bounds: (500, 50_000),
            grace: 7 * DAY,
            low: Credits::whole(5),
        }
    }
}

/// What holds where an operator has set nothing; the secret is random, so that nobody knows it.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            signup_credits: Credits::whole(100),
            demo_top_up: false,
            open_registration: true,
            idle: Rules { cpu_below_permille: 50, awake_at_least: 5 * MINUTE },
            idle_minutes: 15,
            ports: (25_000, 29_999),
            subnets: 8_192,
            overcommit: Overcommit { cpu: 800, memory: 300, disk: 200 },
            servers_max: 50,
            token_days_max: TOKEN_DAYS_MAX,
            archive_bytes_max: 8 << 30,
            webhook_secret: Secret::new(Ctx::random::<32>()),
            secret_key: Secret::new(Ctx::random::<32>()),
            base_url: "http://localhost:8000".to_owned(),
            sales: Sales::default(),
        }
    }
}

/// Days that an API token lives at most.
const TOKEN_DAYS_MAX: u32 = 366;

/// Something that pages may want to show anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A server's row or measurements.
    Server {
        /// Whose.
        owner: UserId,
        /// Which.
        server: ServerId,
        /// True: it is gone.
        gone: bool,
    },
    /// A balance.
    Balance(UserId),
    /// A node.
    Node,
    /// Somebody's rights or sessions ended: open sockets look again.
    Rights(UserId),
}

/// Changes that a slow listener may be behind; more, and it is told that it missed some.
const CHANGES: usize = 1_024;

/// Ended links that a slow listener may be behind; it asks anew when it has missed some.
const CUTS: usize = 64;

/// What the panel reaches outside of itself.
pub struct Outside {
    /// Where archives of templates and backups lie.
    pub objects: Arc<dyn ObjectStore>,
    /// Where servers run.
    pub engine: Arc<dyn Engine>,
    /// The way to the mail server, where one is set.
    pub mail: Option<Mailer>,
    /// Where people may sign in with an account from elsewhere.
    pub providers: Providers,
    /// The way to Stripe, where payments are taken.
    pub stripe: Option<Stripe>,
}

/// Everything that the domain needs.
pub struct Ctx {
    /// The database.
    pub db: Db,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where archives of templates and backups lie.
    pub objects: Arc<dyn ObjectStore>,
    /// Where servers run.
    pub engine: Arc<dyn Engine>,
    /// The way to the mail server, where one is set.
    pub mail: Option<Mailer>,
    /// The way to Stripe, where payments are taken.
    pub stripe: Option<Stripe>,
    /// Where people may sign in with an account from elsewhere.
    pub providers: Providers,
    /// Seals and signs what is for this panel alone.
    pub seals: Seals,
    /// Who this panel is towards passkeys.
    pub relying_party: RelyingParty,
    /// What the operator set.
    pub policy: Policy,
    /// This panel's id.
    pub panel: PanelId,
    /// The catalogue, as loaded at start.
    pub catalogue: RwLock<Arc<Catalogue>>,
    /// What changes, for live pages.
    pub changes: broadcast::Sender<Change>,
    /// Wakes the reconciler.
    pub nudge: Notify,
    /// Wakes the worker of backups.
    pub backups_nudge: Notify,
    /// Wakes the workers of payments and subscriptions.
    pub payments_nudge: Notify,
    /// Wakes the meter.
    pub billing_nudge: Notify,
    /// Nodes whose links have to end now.
    pub cut: broadcast::Sender<NodeId>,
    /// Logs of games, as far as somebody reads them.
    pub logs: LogHub,
    /// Limits of tries.
    pub limits: Limits,
    /// Lines of the audit that were not kept.
    pub(super) folded: Folded,
    /// Password hashes.
    pub hasher: Hasher,
    /// What each server's node said last, so that only changes are written. May be lost.
    pub(super) reports: Mutex<HashMap<ServerId, LastReport>>,
    /// When each node was heard last by this panel, so that its row is not read for every heartbeat. May be lost.
    pub(super) beats: Mutex<HashMap<NodeId, LastBeat>>,
    /// What nodes were asked about layers. May be lost.
    pub(super) looks: Looks,
    /// The nodes as they were read last, for the addresses on every page. May be lost.
    pub(super) nodes: Recent<(), Arc<Vec<Node>>>,
    /// Servers of somebody, as they were read last. May be lost.
    pub(super) servers: Recent<UserId, Arc<Vec<Server>>>,
    /// What sleeping has saved somebody, as it was added up last. May be lost.
    pub(super) savings: Recent<UserId, Credits>,
}

impl Ctx {
    /// Puts it together; the catalogue is loaded from the database.
    pub async fn new(db: Db, clock: Arc<dyn Clock>, outside: Outside, policy: Policy) -> Result<Arc<Ctx>, crate::store::StoreError> {
        let Outside { objects, engine, mail, stripe, providers } = outside;
        let panel = super::nodes::panel_id(&db).await?;
        let catalogue = Catalogue::load(&db).await?;
        Ok(Arc::new(Ctx {
            db,
            clock,
            objects,
            engine,
            mail,
            stripe,
            providers,
            seals: Seals::new(policy.secret_key.clone()),
            relying_party: RelyingParty::at(&policy.base_url),
            policy,
            panel,
            catalogue: RwLock::new(Arc::new(catalogue)),
            changes: broadcast::channel(CHANGES).0,
            nudge: Notify::new(),
            backups_nudge: Notify::new(),
            payments_nudge: Notify::new(),
            billing_nudge: Notify::new(),
            cut: broadcast::channel(CUTS).0,
            logs: LogHub::default(),
            limits: Limits::default(),
            folded: Folded::default(),
            hasher: Hasher::default(),
            reports: Mutex::default(),
            beats: Mutex::default(),
            looks: Looks::default(),
            nodes: Recent::default(),
            servers: Recent::default(),
            savings: Recent::default(),
        }))
    }

    /// The catalogue.
    pub fn games(&self) -> Arc<Catalogue> {
        self.catalogue.read().map(|catalogue| catalogue.clone()).unwrap_or_default()
    }

    /// A short word that tells this installation from others, the same for all panels of one database.
    pub fn installation(&self) -> String {
        super::digest(self.panel.as_str()).chars().take(8).collect()
    }

    /// Tells live pages; nobody listening is fine.
    pub(super) fn tell(&self, change: Change) {
        if let Change::Server { owner, .. } = &change {
            self.servers.forget(owner);
        }
        let _ = self.changes.send(change);
    }

    /// An id that sorts by time: of lines of histories and their like.
    pub(super) fn dated_id(now: Millis) -> String {
        Ctx::nth_dated_id(now, 0)
    }

    /// The same for several that are written at one moment: they sort by their number.
    pub(super) fn nth_dated_id(now: Millis, n: u8) -> String {
        format!("{:013}-{n:02x}{}", now.0, hex::encode(Ctx::random::<5>()))
    }

    /// Random bytes from the system.
    pub(super) fn random<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        // Without randomness of the system no id, token or salt is safe: better to stop than to go on.
        #[allow(clippy::expect_used)]
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        bytes
    }
}
