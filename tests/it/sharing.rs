//! Guests of a server: invited, let in, held to what they may do, sent away; every route of a server against every choice of rights.

use reqwest::{Method, StatusCode};
use roost::model::servers::Wanted;
use roost::model::shares::{Grant, Grants};
use roost::model::time::{DAY, SECOND};
use serde_json::json;

use crate::app::{App, on_site};

/// Routes of a server that ask for more than seeing it, and what they ask for; none: nobody but its owner.
const ASKS: [(&str, &str, Option<Grant>); 24] = [
    ("POST", "/servers/{id}/wake", Some(Grant::Power)),
    ("POST", "/servers/{id}/hibernate", Some(Grant::Power)),
    ("POST", "/servers/{id}/start", Some(Grant::Power)),
    ("POST", "/servers/{id}/stop", Some(Grant::Power)),
    ("POST", "/servers/{id}/restart", Some(Grant::Power)),
    ("POST", "/servers/{id}/retry", Some(Grant::Power)),
    ("POST", "/servers/{id}/console", Some(Grant::Console)),
    ("POST", "/servers/{id}/backup", Some(Grant::Files)),
    ("POST", "/servers/{id}/schedule", Some(Grant::Files)),
    ("POST", "/servers/{id}/undo-restore", Some(Grant::Files)),
    ("POST", "/servers/{id}/settings", Some(Grant::Settings)),
    ("POST", "/servers/{id}/layers", Some(Grant::Settings)),
    ("POST", "/servers/{id}/delete", None),
    ("GET", "/servers/{id}/sharing", None),
    ("POST", "/servers/{id}/sharing", None),
    ("POST", "/api/servers/{id}/wake", Some(Grant::Power)),
    ("POST", "/api/servers/{id}/stop", Some(Grant::Power)),
    ("PATCH", "/api/servers/{id}", Some(Grant::Settings)),
    ("PUT", "/api/servers/{id}/layers", Some(Grant::Settings)),
    ("POST", "/api/servers/{id}/backup", Some(Grant::Files)),
    ("DELETE", "/api/servers/{id}/schedule", Some(Grant::Files)),
    ("GET", "/api/servers/{id}/shares", None),
    ("POST", "/api/servers/{id}/shares", None),
    ("DELETE", "/api/servers/{id}", None),
];

/// Lets a guest do exactly this.
async fn share(app: &App, server: &roost::model::ids::ServerId, email: &str, grants: Grants) {
    let guest = app.actor(email).await.user.id;
    let (db, now) = (&app.world.ctx.db, app.world.ctx.clock.now());
    roost::store::shares::put(db, server, &guest, grants, now).await.expect("shared");
}

#[tokio::test]
async fn a_guest_may_do_what_was_chosen_and_nothing_else() {
    on_site("a_guest_may_do_what_was_chosen_and_nothing_else", |app| async move {
        let owner = app.world.player("ada@example.org").await;
        let guest = app.player("grace@example.org").await;
        let server = app.world.create(&owner, "Valley").await.id;
        for (method, route, _) in ASKS {
            let path = route.replace("{id}", server.as_str());
            let answer = guest.send(method.parse().unwrap(), &path, &[("origin", &guest.url)], "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {route} by a stranger");
        }
        for chosen in Grant::ALL {
            share(&app, &server, "grace@example.org", Grants::NONE.with(*chosen).seeing()).await;
            for path in ["/servers/{id}", "/servers/{id}/logs", "/servers/{id}/backups", "/api/servers/{id}", "/api/servers/{id}/events"] {
                let answer = guest.get(&path.replace("{id}", server.as_str())).await;
                assert_eq!(answer.status, StatusCode::OK, "{path} with {chosen:?}");
            }
            for (method, route, asks) in ASKS {
                let path = route.replace("{id}", server.as_str());
                let answer = guest.send(method.parse().unwrap(), &path, &[("origin", &guest.url)], "").await;
                let refused = answer.status == StatusCode::FORBIDDEN;
                assert_eq!(refused, asks != Some(*chosen), "{method} {route} with {chosen:?}: {} {}", answer.status, answer.text);
            }
        }
        assert_ne!(app.world.server(&server).await.expect("still there").life.wanted, Wanted::Deleted);
    })
    .await;
}

fn key_of(text: &str) -> String {
    let rest = text.split("/invitation?key=").nth(1).expect("a link");
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[tokio::test]
async fn an_invitation_counts_once_for_its_address_and_an_end_counts_at_once() {
    on_site("an_invitation_counts_once_for_its_address_and_an_end_counts_at_once", |app| async move {
        let (owner, ada) = {
            let ada = app.player("ada@example.org").await;
            (app.actor("ada@example.org").await, ada)
        };
        let server = app.world.create(&owner, "Valley of Echoes").await.id;
        let (grace, eve) = (app.player("grace@example.org").await, app.player("eve@example.org").await);
        let sharing = format!("/servers/{server}/sharing");
        for (email, shown) in [("", "Enter your e-mail"), ("nonsense", "does not look like"), ("ada@example.org", "owner’s own address")]
        {
            let answer = ada.post(&sharing, &[("email", email), ("grant.power", "on")]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
            answer.shows(shown);
        }
        let page = ada.post(&sharing, &[("email", "Grace@example.org"), ("grant.power", "on"), ("grant.console", "on")]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.shows("This panel sends no letters");
        let key = key_of(&page.text);
        assert!(!ada.get(&sharing).await.text.contains(&key), "it is shown once");
        // The letter waits for somebody to hand it over, and only admins can read it.
        let letters = roost::store::mails::newest(&app.world.ctx.db, 10).await.unwrap();
        assert_eq!((letters.len(), letters[0].mail.to.as_str()), (1, "grace@example.org"));
        assert!(letters[0].mail.text.contains(&key));

        let link = format!("/invitation?key={key}");
        let nobody = app.browser().get(&link).await;
        assert!(nobody.location().starts_with("/auth/login?next=%2Finvitation"), "{}", nobody.location());
        eve.get(&link).await.shows("You are signed in as");
        let answer = eve.post("/invitation", &[("key", &key)]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(eve.get(&format!("/servers/{server}")).await.status, StatusCode::NOT_FOUND);
        grace.get(&link).await.shows("Take it up");
        let answer = grace.post("/invitation", &[("key", &key)]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, format!("/servers/{server}").as_str()));
        assert_eq!(grace.post("/invitation", &[("key", &key)]).await.status, StatusCode::NOT_FOUND, "an invitation counts once");
        let dashboard = grace.get("/dashboard").await;
        dashboard.shows("Shared with you");
        dashboard.shows("Valley of Echoes");
        assert_eq!(grace.post(&format!("/servers/{server}/stop"), &[]).await.status, StatusCode::SEE_OTHER);

        // Sockets that are open end with the right to them.
        let mut socket = grace.socket(&format!("/servers/{server}/live")).await.expect("it opens");
        socket.until("Valley of Echoes").await;
        let guest = app.actor("grace@example.org").await.user.id;
        let answer = ada.post(&format!("{sharing}/guests/{guest}/remove"), &[]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        socket.end().await;
        assert_eq!(grace.get(&format!("/servers/{server}")).await.status, StatusCode::NOT_FOUND);
        assert!(!grace.get("/dashboard").await.text.contains("Valley of Echoes"));
    })
    .await;
}

#[tokio::test]
async fn invitations_end_by_time_by_hand_and_by_another_one() {
    on_site("invitations_end_by_time_by_hand_and_by_another_one", |app| async move {
        let owner = app.world.player("ada@example.org").await;
        let server = app.world.create(&owner, "Valley").await.id;
        let (program, grace) = (app.program(&owner).await, app.player("grace@example.org").await);
        let shares = format!("/api/servers/{server}/shares");
        let invite = json!({"email": "grace@example.org", "grants": ["power", "files"]});
        let made = program.post(&shares, invite.clone()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        assert_eq!(made.json()["grants"], json!(["see", "power", "files"]));
        let first = key_of(made.json()["link"].as_str().unwrap());
        let second = key_of(program.post(&shares, invite.clone()).await.json()["link"].as_str().unwrap());
        assert_eq!(grace.get(&format!("/invitation?key={first}")).await.status, StatusCode::NOT_FOUND, "the newer one counts");
        assert_eq!(grace.get(&format!("/invitation?key={second}")).await.status, StatusCode::OK);
        let list = program.get(&shares).await.json();
        assert_eq!(list["invitations"].as_array().unwrap().len(), 1);
        let id = list["invitations"][0]["id"].as_str().unwrap().to_owned();
        let back = program.ask(Method::DELETE, &format!("/api/servers/{server}/invitations/{id}"), None).await;
        assert_eq!(back.status, StatusCode::NO_CONTENT);
        assert_eq!(grace.post("/invitation", &[("key", &second)]).await.status, StatusCode::NOT_FOUND);
        let third = key_of(program.post(&shares, invite).await.json()["link"].as_str().unwrap());
        app.world.clock.pass(7 * DAY + SECOND);
        assert_eq!(app.log_in("grace@example.org").await.post("/invitation", &[("key", &third)]).await.status, StatusCode::NOT_FOUND);
        for (body, field) in [
            (json!({"email": "x@example.org", "grants": ["everything"]}), "grants"),
            (json!({"email": "x@example.org", "grants": []}), "grants"),
            (json!({"email": "x", "grants": ["see"]}), "email"),
            (json!({"email": "x@example.org", "grants": ["see"], "admin": true}), "admin"),
        ] {
            let owner = app.program(&owner).await;
            let answer = owner.post(&shares, body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
            assert!(answer.json()["errors"][field].is_string(), "{}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_guest_can_leave_and_what_they_wake_costs_the_owner() {
    on_site("a_guest_can_leave_and_what_they_wake_costs_the_owner", |app| async move {
        let owner = app.world.player("ada@example.org").await;
        let server = app.world.create(&owner, "Valley").await.id;
        let grace = app.player("grace@example.org").await;
        share(&app, &server, "grace@example.org", Grants::NONE.with(Grant::Power).seeing()).await;
        let page = grace.get(&format!("/servers/{server}")).await;
        page.shows("Leave it");
        page.lacks("/sharing\">");
        page.lacks("Save settings");
        let me = app.actor("grace@example.org").await.user.id;
        let answer = grace.post(&format!("/servers/{server}/sharing/guests/{me}/remove"), &[]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/dashboard"));
        assert_eq!(grace.get(&format!("/servers/{server}")).await.status, StatusCode::NOT_FOUND);
        // Nobody without credits of their own is held back, and nobody's but the owner's count.
        share(&app, &server, "grace@example.org", Grants::NONE.with(Grant::Power).seeing()).await;
        let admin = app.world.admin().await;
        let ctx = &app.world.ctx;
        roost::domain::billing::grant(ctx, &admin, "ada@example.org", "-100", "", "").await.expect("taken");
        let answer = grace.post(&format!("/servers/{server}/start"), &[]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    })
    .await;
}
