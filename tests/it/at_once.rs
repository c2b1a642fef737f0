//! Limits, keys and rights hold when many ask at the same moment, also of two panels on one PostgreSQL database.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use roost::domain::{Policy, servers, tokens};
use roost::model::tokens::Scopes;
use roost::model::users::Role;
use serde_json::json;

use crate::app::on_site;
use crate::world::{World, form, on_both_with};

/// Requests at the same moment, to each panel.
const AT_ONCE: usize = 40;

/// The panel, and on PostgreSQL a second one on the same database.
async fn panels(world: &World) -> Vec<std::sync::Arc<roost::domain::Ctx>> {
    let mut panels = vec![world.ctx.clone()];
    if world.url.starts_with("postgres") {
        panels.push(World::open(&world.url, world.clock.clone(), Policy { servers_max: 3, ..Policy::default() }).await.ctx);
    }
    panels
}

#[tokio::test]
async fn limits_by_counting_hold_when_many_ask_at_once() {
    let policy = Policy { servers_max: 3, ..Policy::default() };
    on_both_with("limits_by_counting_hold_when_many_ask_at_once", policy, |world| async move {
        let ada = world.player("ada@example.org").await;
        let panels = panels(&world).await;
        let asked = (0..AT_ONCE).flat_map(|_| &panels);
        let made = join_all(asked.clone().map(|ctx| tokens::create(ctx, &ada, "many", 1, Scopes::all()))).await;
        assert!(made.len() < 50 || made.iter().any(Result::is_err));
        let more = join_all(asked.clone().map(|ctx| tokens::create(ctx, &ada, "many", 1, Scopes::all()))).await;
        assert_eq!(made.iter().chain(&more).filter(|made| made.is_ok()).count(), 50);
        let form = form("Valley");
        let made = join_all(asked.map(|ctx| servers::create(ctx, &ada, &form))).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3);
    })
    .await;
}

#[tokio::test]
async fn all_with_one_key_answer_as_the_first() {
    on_site("all_with_one_key_answer_as_the_first", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let ada = app.program(&ada).await;
        let key = [("idempotency-key", "refused")];
        let body = json!({"name": "", "game": "demo", "plan": "small"});
        let ask = || ada.ask_with(Method::POST, "/api/servers", Some(body.clone()), &key);
        for answer in join_all((0..AT_ONCE).map(|_| ask())).await {
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn credits_with_one_key_are_given_once_and_a_key_with_another_content_is_refused() {
    on_site("credits_with_one_key_are_given_once_and_a_key_with_another_content_is_refused", |app| async move {
        let admin = app.account("admin@example.org", Role::Admin).await;
        let (ada, eve) = (app.world.player("ada@example.org").await, app.world.player("eve@example.org").await);
        let program = app.program(&admin).await;
        let path = |id: &roost::model::ids::UserId| format!("/api/users/{id}/credits");
        let before = roost::store::users::by_id(&app.world.ctx.db, &ada.user.id).await.unwrap().unwrap().balance;
        let key = [("idempotency-key", "gift")];
        let to = path(&ada.user.id);
        let ask = || program.ask_with(Method::POST, &to, Some(json!({"amount": "7"})), &key);
        for answer in join_all((0..AT_ONCE).map(|_| ask())).await {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        }
        let after = roost::store::users::by_id(&app.world.ctx.db, &ada.user.id).await.unwrap().unwrap().balance;
        assert_eq!(after.0 - before.0, roost::model::money::Credits::whole(7).0);
        for (id, amount, status) in [
            (&ada.user.id, "5", StatusCode::OK),
            (&ada.user.id, "5", StatusCode::OK),
            (&ada.user.id, "6", StatusCode::CONFLICT),
            (&eve.user.id, "5", StatusCode::CONFLICT),
        ] {
            let answer = program.post(&path(id), json!({"amount": amount, "request": "request0001"})).await;
            assert_eq!(answer.status, status, "{id} {amount}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_is_judged_by_the_proof_that_its_guard_has_seen() {
    on_site("a_page_is_judged_by_the_proof_that_its_guard_has_seen", |app| async move {
        let ada = app.player("ada@example.org").await;
        let basic = ("authorization", "Basic eDp5");
        let foreign = ada.send(Method::POST, "/auth/logout", &[basic, ("origin", "http://evil.example")], "").await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{}", foreign.text);
        assert_eq!(ada.send(Method::GET, "/dashboard", &[basic], "").await.status, StatusCode::OK);
        let token = ada.send(Method::GET, "/dashboard", &[("authorization", "Bearer x")], "").await;
        assert_eq!(token.status, StatusCode::SEE_OTHER, "a token is judged alone, and pages take none");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_tokens_socket_ends_on_every_panel() {
    on_site("a_revoked_tokens_socket_ends_on_every_panel", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let server = app.world.create(&ada, "Valley").await;
        for told in [true, false] {
            let program = app.program(&ada).await;
            let mut socket = program.socket(&format!("/servers/{}/live", server.id)).await.expect("open");
            socket.next().await.expect("a first look");
            for token in tokens::list(&app.world.ctx, &ada).await.unwrap() {
                if told {
                    tokens::revoke(&app.world.ctx, &ada, &token.id).await.unwrap();
                } else {
                    // As another panel does it, of which this one hears nothing.
                    roost::store::tokens::revoke(&app.world.ctx.db, &ada.user.id, &token.id).await.unwrap();
                }
            }
            let most = std::time::Duration::from_secs(if told { 2 } else { 5 });
            tokio::time::timeout(most, socket.end()).await.expect("it ends soon");
        }
    })
    .await;
}
