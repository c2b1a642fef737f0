//! What the panel earns, by day and month, and whether the books balance.

use std::os::unix::fs::PermissionsExt;

use reqwest::StatusCode;
use roost::domain::{books, reports, savings};
use roost::model::money::Credits;
use roost::model::time::{DAY, HOUR, MINUTE};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::app::on_site;
use crate::world::{World, on_both};

/// A server runs for so many hours and falls asleep again; the books are brought up to date.
async fn run_hours(world: &mut World, server: &roost::model::ids::ServerId, hours: i64) {
    let owner = world.server(server).await.expect("there").owner;
    let user = roost::store::users::by_id(&world.ctx.db, &owner).await.unwrap().unwrap();
    let actor = roost::domain::Actor::of(user);
    let _already = roost::domain::servers::power(&world.ctx, &actor, server, roost::domain::servers::Power::Start).await;
    world.settle().await;
    for _ in 0..hours {
        world.clock.pass(HOUR);
        world.beat().await;
    }
    roost::domain::servers::power(&world.ctx, &actor, server, roost::domain::servers::Power::Stop).await.expect("stopped");
    world.settle().await;
    world.beat().await;
    roost::domain::billing::tick(&world.ctx).await.expect("charged");
}

#[tokio::test]
async fn a_report_adds_up_by_month_and_game_however_days_were_closed() {
    on_both("a_report_adds_up_by_month_and_game_however_days_were_closed", |mut world| async move {
        let admin = world.admin().await;
        let ada = world.player("ada@example.org").await;
        let server = world.create(&ada, "Valley").await.id;
        world.settle().await;
        run_hours(&mut world, &server, 4).await;
        let live = reports::report(&world.ctx, &admin).await.expect("a report");
        let (month, totals) = &live.months[0];
        assert_eq!(month.to_string(), "2026-01");
        assert_eq!(totals.used, Credits(2_000_000), "four hours at half a credit");
        assert_eq!(totals.granted, Credits::whole(200), "two new accounts");
        let by_game: Vec<_> = totals.used_by_game.iter().map(|(game, used)| (game.as_ref().map(ToString::to_string), *used)).collect();
        assert_eq!(by_game, [(Some("demo".to_owned()), Credits(2_000_000))]);
        assert_eq!(live.held, Credits(198_000_000));
        assert_eq!(reports::close_days(&world.ctx).await.expect("closed"), 0, "today is not over");

        world.clock.pass(DAY + HOUR);
        world.be_online().await;
        assert_eq!(reports::close_days(&world.ctx).await.expect("closed"), 1);
        assert_eq!(reports::close_days(&world.ctx).await.expect("closed"), 0, "a day is closed once");
        assert_eq!(reports::report(&world.ctx, &admin).await.expect("a report").months[0].1, live.months[0].1);

        // The game is known when the server is gone.
        roost::domain::servers::delete(&world.ctx, &ada, &server, None).await.expect("deleted");
        world.settle().await;
        assert!(world.server(&server).await.is_none());
        world.clock.pass(40 * DAY);
        reports::close_days(&world.ctx).await.expect("closed");
        let later = reports::report(&world.ctx, &admin).await.expect("a report");
        assert_eq!(later.months[0].1, reports::Totals::default());
        assert_eq!(later.months[1].1, live.months[0].1);
        assert!(reports::report(&world.ctx, &ada).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn sleeping_saves_what_being_awake_would_have_cost() {
    on_both("sleeping_saves_what_being_awake_would_have_cost", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let server = world.create(&ada, "Valley").await.id;
        world.settle().await;
        assert_eq!(savings::this_month(&world.ctx, &ada).await.unwrap(), Credits::ZERO);
        run_hours(&mut world, &server, 2).await;
        world.clock.pass(10 * HOUR);
        assert_eq!(savings::this_month(&world.ctx, &ada).await.unwrap(), Credits(5_000_000), "ten hours at half a credit");
    })
    .await;
}

async fn tamper(url: &str, sql: &'static str) {
    if url.starts_with("sqlite:") {
        let mut db = sqlx::SqliteConnection::connect(url).await.expect("it opens");
        db.execute(AssertSqlSafe(sql)).await.expect("it is done");
    } else {
        let mut db = sqlx::PgConnection::connect(url).await.expect("it opens");
        db.execute(AssertSqlSafe(sql)).await.expect("it is done");
    }
}

#[tokio::test]
async fn books_that_do_not_balance_are_told_loudly_by_night_and_by_the_doctor() {
    on_site("books_that_do_not_balance_are_told_loudly_by_night_and_by_the_doctor", |mut app| async move {
        app.world.admin().await;
        let ada = app.world.player("ada@example.org").await;
        let server = app.world.create(&ada, "Valley").await.id;
        app.world.settle().await;
        run_hours(&mut app.world, &server, 3).await;
        let ctx = app.world.ctx.clone();
        assert!(books::nightly(&ctx).await.unwrap(), "the first look");
        assert!(!books::nightly(&ctx).await.unwrap(), "once a night");
        assert_eq!(books::last(&ctx).await.unwrap().unwrap().wrong, Vec::<String>::new());
        doctor(&app.world.url, true, "every balance is the sum of its entries").await;

        tamper(&app.world.url, "UPDATE users SET balance = balance + 1 WHERE email = 'ada@example.org'").await;
        tamper(&app.world.url, "UPDATE transactions SET from_ms = from_ms - 60000 WHERE kind = 'charge'").await;
        app.world.clock.pass(DAY + MINUTE);
        assert!(books::nightly(&ctx).await.unwrap());
        let wrong = books::last(&ctx).await.unwrap().unwrap().wrong;
        assert!(wrong.iter().any(|line| line.contains("is not the sum of its entries")), "{wrong:?}");
        assert!(wrong.iter().any(|line| line.contains("overlaps another charge")), "{wrong:?}");
        let admin = app.log_in("admin@example.org").await;
        admin.get("/admin").await.shows("The books do not balance.");
        assert_eq!(admin.get("/admin/reports").await.status, StatusCode::OK);
        admin.get("/admin/reports.csv").await.shows("2026-01,used,");
        doctor(&app.world.url, false, "is not the sum of its entries").await;
    })
    .await;
}

async fn doctor(url: &str, well: bool, says: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("closed");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_roost"));
    command.arg("doctor").env_clear().env("DATABASE_URL", url).env("DATA_DIR", folder.path()).env("LOG_LEVEL", "off");
    let done = command.current_dir(folder.path()).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.success(), well, "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains(says), "{said}");
}
