//! No room left: under the panel's database, and under a node's data. What is there stays, what is refused says why, and everything
//! goes on by itself once there is room again.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use roost::domain::{Policy, billing, servers};
use roost::model::servers::{Phase, Seen};
use roost::model::time::{DAY, HOUR};
use roost::store::ledger;
use roost::wire::agent::{EventKind, FromNode};
use serde_json::json;

use crate::app::App;
use crate::node::site::{PATIENCE, Site, docker_is_wanted, prepare};
use crate::services;
use crate::world::{TestClock, World};

/// Creations that fit into what the database has set aside before its disk must grow.
const TRIES: usize = 300;

#[tokio::test]
async fn a_full_disk_under_the_database_is_explained_and_nothing_is_lost() {
    let Some(disk) = services::small_disk("a_full_disk_under_the_database_is_explained_and_nothing_is_lost", 6) else { return };
    let url = format!("sqlite://{}/roost.db", disk.path().display());
    let policy = Policy { servers_max: 1_000, ..Policy::default() };
    let mut app = App::start(World::open(&url, Arc::new(TestClock::default()), policy).await).await;
    let ada = app.world.player("ada@example.org").await;
    let (program, browser) = (app.program(&ada).await, app.log_in("ada@example.org").await);
    let first = app.world.create(&ada, "Valley of Echoes").await;
    app.world.settle().await;
    app.world.clock.pass(HOUR);
    app.world.beat().await;

    disk.fill();
    let mut made = 1;
    let refused = loop {
        assert!(made < TRIES, "the disk never became full");
        let body = json!({"name": format!("Hill {made}"), "game": "demo", "plan": "small"});
        let answer = program.ask(Method::POST, "/api/servers", Some(body)).await;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        made += 1;
    };
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert!(refused.text.contains("disk of this panel is full"), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "60");
    let page = browser.get("/dashboard").await;
    assert_eq!(page.status, StatusCode::OK, "pages are still shown");
    page.shows("Valley of Echoes");
    assert_eq!(browser.get(&format!("/servers/{}", first.id)).await.status, StatusCode::OK);
    let log_in = [("email", "ada@example.org"), ("password", crate::app::PASSWORD)];
    let mut refused_log_in = app.browser().post("/auth/login", &log_in).await;
    for _ in 0..TRIES {
        if refused_log_in.status != StatusCode::SEE_OTHER {
            break;
        }
        refused_log_in = app.browser().post("/auth/login", &log_in).await;
    }
    assert_eq!(refused_log_in.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused_log_in.text);
    refused_log_in.shows("disk of this panel is full");
    // Whoever is signed in reads on, also when the end of the session is to be moved on.
    app.world.clock.pass(2 * DAY);
    assert_eq!(browser.get("/dashboard").await.status, StatusCode::OK);
    app.world.clock.pass(-2 * DAY);
    let billed = billing::tick(&app.world.ctx).await;
    assert!(billed.is_err_and(|refusal| refusal.is_full() && refusal.is_busy()), "it is tried again with the next tick");

    disk.free();
    assert_eq!(servers::list(&app.world.ctx, &ada).await.expect("listed").len(), made, "nothing is half made");
    let body = json!({"name": "The last", "game": "demo", "plan": "small"});
    assert_eq!(program.ask(Method::POST, "/api/servers", Some(body)).await.status, StatusCode::CREATED);
    app.world.settle().await;
    assert_eq!(app.world.server(&first.id).await.expect("there").life.phase, Phase::Running);
    billing::tick(&app.world.ctx).await.expect("billed");
    let sum = ledger::sum_of_user(&app.world.ctx.db, &ada.user.id).await.expect("summed");
    assert_eq!(sum.to_string(), "99.50", "the hour is charged once");
    assert!(ledger::out_of_balance(&app.world.ctx.db, 10).await.expect("checked").is_empty());
    let ctx = app.world.ctx.clone();
    drop(app);
    ctx.db.close().await;
}

#[tokio::test]
async fn a_full_disk_under_a_nodes_data_is_explained_and_a_retry_works_once_there_is_room() {
    let test = "a_full_disk_under_a_nodes_data_is_explained_and_a_retry_works_once_there_is_room";
    if !docker_is_wanted(test) {
        return;
    }
    let Some(disk) = services::small_disk(test, 8) else { return };
    let mut site = Site::new(false);
    site.config.data_dir = disk.path().join("node");
    site.switch_on();
    site.welcome().await;
    let (plays, _) = site.prepared().await;
    site.start(&plays.server).await;

    disk.fill();
    let trouble = site.until("trouble", |message| match message {
        FromNode::Heartbeat { load, .. } => load.trouble.clone(),
        FromNode::RegisterNode { .. } | FromNode::WantUrl { .. } | FromNode::LayersLook { .. } | FromNode::Event(_) => None,
    });
    assert!(trouble.await.contains("is nearly full: 0 MiB of 8 MiB are left"));
    let late = site.demo();
    let EventKind::Failed { reason, retryable: true, .. } = site.ask(&late.server, prepare(&late)).await else { panic!("it should fail") };
    assert!(reason.contains("The disk is full: free some space on the node"), "{reason}");
    // Who plays goes on playing, and the end of that run is told although it cannot be written down.
    let running = site.report("running", &plays.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(()));
    tokio::time::timeout(PATIENCE, running).await.expect("the game plays on");
    let stopped = site.put_to_sleep(&plays.server).await;
    assert!(stopped.runs.len() == 1 && stopped.runs[0].to.is_some(), "{stopped:?}");

    disk.free();
    site.prepare(&late).await;
    site.start(&late.server).await;
    // A kill now reads from the disk what was written once there was room.
    site.start(&plays.server).await;
    site.put_to_sleep(&plays.server).await;
    site.kill();
    site.switch_on();
    site.welcome().await;
    let runs = site.report("both runs", &plays.server, |report| (report.seen == Seen::Asleep).then(|| report.runs.clone())).await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[0], stopped.runs[0]);
}
