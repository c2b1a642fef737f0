//! `roost serve`: the panel, its workers, and a node inside it.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::embedded::Embedded;
use super::node;
use super::system::{Strangers, SystemClock, raise_descriptors};
use crate::domain::{Ctx, Outside, Policy, games, nodes, users};
use crate::engines::docker::DockerEngine;
use crate::http::link::LinkSettings;
use crate::http::listener::{self, Bounds, Waits};
use crate::http::{self, Machines, Telemetry, WebSettings};
use crate::identity::Providers;
use crate::model::idleness::Rules;
use crate::model::ids::NodeId;
use crate::model::secrets::Secret;
use crate::model::time::{Clock, DAY, MINUTE};
use crate::objects::ObjectStore;
use crate::objects::folder::FolderStore;
use crate::objects::s3::S3Store;
use crate::settings::{Objects, Settings, secrets};
use crate::store::Db;
use crate::trust::{self, Authority};
use crate::workers::{self, Periods, Runner};

/// The catalogue's files, in the program.
#[derive(rust_embed::RustEmbed)]
#[folder = "seeds/games"]
struct Seeds;

/// How often durations of requests are summed up; each stays in memory until then.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long a certificate of a node lives, in milliseconds; it is renewed when two thirds are over.
const CERTIFICATE_LIVES: i64 = 30 * DAY;

/// Runs until it is told to stop.
pub fn run(settings: Settings, file: PathBuf) -> anyhow::Result<()> {
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime did not start")?;
    runtime.block_on(serve(settings, file))
}

fn policy(settings: &Settings, webhook_secret: Secret, secret_key: Secret) -> Policy {
    Policy {
        signup_credits: settings.credits.signup,
        demo_top_up: settings.credits.demo_top_up,
        open_registration: settings.web.open_registration,
        idle: Rules {
            cpu_below_permille: settings.life.idle_cpu_percent * 10,
            awake_at_least: i64::from(settings.life.awake_minutes) * MINUTE,
        },
        idle_minutes: settings.life.idle_minutes,
        ports: settings.node.ports,
        subnets: settings.node.subnets,
        servers_max: settings.web.servers_max,
        overcommit: settings.node.overcommit,
        webhook_secret,
        secret_key,
        base_url: settings.web.backend_url.clone(),
        sales: settings.payments.sales.clone(),
        ..Policy::default()
    }
}

/// The games that come with Roost, and behind them the operator's own.
fn game_files(own: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files: Vec<(String, String)> = Seeds::iter()
        .filter(|name| name.ends_with(".toml"))
        .filter_map(|name| Some((name.to_string(), String::from_utf8_lossy(&Seeds::get(&name)?.data).into_owned())))
        .collect();
    if own.is_dir() {
        for entry in std::fs::read_dir(own).with_context(|| format!("the folder {} cannot be read", own.display()))? {
            let path = entry.context("a file of a game cannot be read")?.path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
                files.push((path.display().to_string(), text));
            }
        }
    }
    Ok(files)
}

async fn serve(settings: Settings, file: PathBuf) -> anyhow::Result<()> {
    let dir = &settings.data.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("the data folder {} cannot be made", dir.display()))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).context("the data folder cannot be closed to others")?;
    let db = Db::open(&settings.data.database_url).await.context("the database cannot be opened; is DATABASE_URL right?")?;
    games::seed(&db, game_files(&settings.data.games_dir)?).await.context("the catalogue cannot be read")?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Arc::new(DockerEngine::default());
    let webhook_secret =
        secrets::kept(dir, secrets::WEBHOOK, settings.web.webhook_secret.as_ref()).context("the webhook secret cannot be kept")?;
    let secret_key = secrets::kept(dir, secrets::KEY, settings.web.secret_key.as_ref()).context("the secret key cannot be kept")?;
    let (objects, object_routes) = objects(&settings, clock.clone()).await?;
    let stripe = settings.payments.stripe().context("payments cannot be taken")?;
    let mail = settings.mail.mailer().context("SMTP_URL or MAIL_FROM cannot be used")?;
    let providers =
        Providers::new(settings.providers.clone(), &settings.web.backend_url).context("signing in from elsewhere cannot be set up")?;
    let outside = Outside { objects, engine: engine.clone(), mail, stripe, providers };
    let ctx = Ctx::new(db, clock.clone(), outside, policy(&settings, webhook_secret, secret_key));
    let ctx = ctx.await.context("the panel cannot start")?;
    let mut runner = Runner::default();
    let local = NodeId::local();
    nodes::introduce(&ctx, &local, &settings.node.public_host).await.context("the node cannot be made known")?;
    if settings.node.embedded {
        let alone = node::alone_soon(dir).await?;
        let embedded = Embedded { ctx: ctx.clone(), engine: engine.clone(), settings: file, alone, stop: runner.stop_token() };
        runner.task("node", embedded.keep());
    }
    workers::start(
        &mut runner,
        &ctx,
        Periods {
            reconcile: settings.life.reconcile_every,
            auto_sleep: settings.life.auto_sleep_every,
            billing: settings.credits.billing_every,
        },
    );

    let strangers = Strangers::now();
    let machines = open_door(&mut runner, &ctx, &settings, engine, strangers.nodes).await?;
    let listener = listen(settings.web.listen)
        .await
        .with_context(|| format!("{} cannot be listened on; is another program there?", settings.web.listen))?;
    let setup = users::setup_secret(&ctx).await.context("the setup link cannot be made")?;
    greet(&settings, setup.as_deref());
    let bounds = bounds(&settings, strangers.web);
    let web = web_settings(&settings, machines, bounds, runner.stop_token());
    let telemetry = web.telemetry.clone();
    runner.every("telemetry", UPKEEP_EVERY, move || {
        telemetry.upkeep();
        std::future::ready(Ok(()))
    });
    let router = http::router(ctx.clone(), web).merge(object_routes);
    let stop = runner.stop_token();
    runner.task("http", listener::serve(listener, router, bounds, Waits::default(), stop));
    let ordered = runner.run(told_to_stop()).await;
    ctx.db.close().await;
    anyhow::ensure!(ordered, "a part of the panel ended on its own; its log says which and why");
    Ok(())
}

/// Listens at an address; where that is every address of IPv6 and this machine has none, at every one of IPv4.
async fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(at).await {
        Err(error) if at.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        bound => bound,
    }
}

/// The object store, and the routes at which a folder answers; a bucket answers for itself.
async fn objects(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<(Arc<dyn ObjectStore>, axum::Router)> {
    match &settings.objects {
        Objects::S3(config) => Ok((Arc::new(S3Store::new(config)), axum::Router::new())),
        Objects::Folder(folder) => {
            let secret =
                secrets::kept(&settings.data.dir, secrets::OBJECTS, None).context("the secret of the object folder cannot be kept")?;
            let store = FolderStore::open(folder, &settings.web.backend_url, secret.bytes(), clock).await;
            let store = Arc::new(store.with_context(|| format!("the object folder {} cannot be opened", folder.display()))?);
            Ok((store.clone(), crate::objects::serve::routes(store)))
        }
    }
}

/// Listens for machines, where that is wanted; gives what their tokens carry.
async fn open_door(
    runner: &mut Runner,
    ctx: &Arc<Ctx>,
    settings: &Settings,
    engine: Arc<DockerEngine>,
    strangers: usize,
) -> anyhow::Result<Option<Machines>> {
    let Some(listen) = settings.link.listen else { return Ok(None) };
    let authority = Authority::open(&settings.data.dir.join(trust::FOLDER), ctx.clock.now().0 / 1_000)
        .context("the authority for nodes is not there")?;
    let authority = Arc::new(authority);
    if nodes::note_authority(ctx, &authority.fingerprint()).await.context("the authority for nodes cannot be noted")? {
        tracing::error!(
            "the authority for nodes is another one than before: machines that joined do not trust it. Restore the folder ca from a backup, or let them join again"
        );
    }
    let listener = self::listen(listen).await.with_context(|| {
        format!("{listen} cannot be listened on for nodes; is another program there? NODE_LISTEN names another place, or is off")
    })?;
    let port = listener.local_addr().context("the listener for nodes has no address")?.port();
    let machines = Machines { address: settings.link.reached_at(port), authority: authority.fingerprint() };
    let stop = runner.stop_token();
    let door = LinkSettings {
        authority,
        connect: Arc::new(move |node| engine.connect(node)),
        certificate_lives: CERTIFICATE_LIVES,
        strangers,
        stop: stop.clone(),
    };
    let ctx = ctx.clone();
    runner.task("nodes", async move {
        if let Err(error) = http::link::serve(ctx, listener, door).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the door for nodes could not be opened");
        }
        stop.cancelled().await;
    });
    Ok(Some(machines))
}

/// Behind a proxy of one's own every connection is the proxy's. Elsewhere nobody gets more than a quarter of all places.
fn bounds(settings: &Settings, all: usize) -> Bounds {
    let most = settings.web.connections_per_address as usize;
    Bounds { all, of_address: (!settings.web.trust_forwarded_for).then(|| most.min(all / 4).max(1)) }
}

fn web_settings(settings: &Settings, machines: Option<Machines>, bounds: Bounds, stop: CancellationToken) -> WebSettings {
    WebSettings {
        sockets_max: bounds.all / 2,
        machines,
        secure_cookies: settings.web.secure_cookies,
        allowed_hosts: settings.web.hosts.names.clone(),
        any_address: settings.web.hosts.addresses,
        requests_per_minute: settings.web.requests_per_minute,
        trust_forwarded_for: settings.web.trust_forwarded_for,
        max_body_bytes: settings.web.max_body_bytes,
        backend_url: settings.web.backend_url.clone(),
        telemetry: Telemetry::for_the_process(),
        stop,
    }
}

/// Says where the panel is. Whoever started it may have closed its output; that is no reason to stop.
fn greet(settings: &Settings, setup: Option<&str>) {
    let mut lines = format!("Roost is at {}\n", settings.web.backend_url);
    if let Some(secret) = setup {
        let link = format!("{}/auth/register?setup={secret}", settings.web.backend_url);
        lines.extend(["There is no admin yet. This link makes the first one, once:\n  ", &link, "\n"]);
    }
    if settings.credits.demo_top_up {
        lines += "DEMO_TOP_UP is on: everybody can give themselves credits. Only for demonstrations.\n";
    }
    let _ = std::io::stdout().write_all(lines.as_bytes());
    // Where systemd started the program it learns that the panel is up; elsewhere this does nothing.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

pub(super) async fn told_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
