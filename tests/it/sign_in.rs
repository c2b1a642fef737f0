//! Signing in with an account from elsewhere: what opens an account and what never does, over a peer that does wrong in every way.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use roost::domain::{Policy, sign_in as entry};
use roost::identity::{Fresh, Kind};
use roost::model::accounts::Email;
use roost::model::time::{MINUTE, SECOND};
use roost::model::users::Role;
use serde_json::{Value, json};

use crate::app::{Answer, App, Browser, PASSWORD, PATIENCE, on_site_abroad};
use crate::peer::{Fault, Peer, SILENCE, come_back, leave, refreshed, setup, sign_in};
use crate::world::{Abroad, HOME};

const ADA: &str = "ada@example.org";

async fn with_club<F: Future<Output = ()>>(test: &str, body: impl Fn(App, std::sync::Arc<Peer>) -> F) {
    with_club_under(test, Policy::default(), body).await;
}

async fn with_club_under<F: Future<Output = ()>>(test: &str, policy: Policy, body: impl Fn(App, std::sync::Arc<Peer>) -> F) {
    let peer = std::sync::Arc::new(Peer::start().await);
    let abroad = Abroad { setups: vec![peer.club()], smtp: None, stripe: None };
    on_site_abroad(test, policy, abroad, |app| body(app, peer.clone())).await;
}

fn ada() -> Value {
    json!({"email": ADA, "email_verified": true})
}

async fn is_in(browser: &Browser) -> bool {
    browser.get("/account").await.status == StatusCode::OK
}

async fn has_account(app: &App, email: &str) -> bool {
    let email = Email::parse(email).unwrap();
    roost::store::users::by_email(&app.world.ctx.db, &email).await.unwrap().is_some()
}

/// Shows the password once more.
async fn confirm(browser: &Browser) {
    let answer = browser.post("/account/confirm", &[("current", PASSWORD)]).await;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/account/security"), "{}", answer.text);
}

/// Links the account of the club to whoever is signed in.
async fn link(peer: &Peer, browser: &Browser, claims: Value) -> Answer {
    confirm(browser).await;
    let departure = refreshed(&browser.post("/account/providers/club/link", &[]).await);
    let code = peer.agree(&departure, claims);
    come_back(browser, "club", &departure, &code).await
}

#[tokio::test]
async fn somebody_new_gets_an_account_and_later_the_same_one() {
    with_club("somebody_new_gets_an_account_and_later_the_same_one", |app, peer| async move {
        let browser = app.browser();
        browser.get("/auth/login").await.shows("Continue with The club");
        browser.get("/auth/register").await.shows("Continue with The club");
        let departure = leave(&browser, "club", "?next=/billing").await;
        assert_eq!(departure.place, format!("{}/authorize", peer.url));
        assert_eq!(departure.asked["redirect_uri"], "http://localhost:8000/auth/club/callback");
        assert_eq!(departure.asked["scope"], "openid email profile");
        let code = peer.agree(&departure, ada());
        let answer = come_back(&browser, "club", &departure, &code).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/billing"), "{}", answer.text);
        let page = browser.get("/account").await;
        page.shows("Verified: letters about your account go here.");
        page.shows("100.00");
        let first = app.actor(ADA).await.user.id;
        browser.post("/auth/logout", &[]).await;
        // The address and the name may change: the account stays.
        let answer = sign_in(&peer, &browser, json!({"email": "other@example.org", "email_verified": true})).await;
        assert_eq!(answer.location(), "/dashboard", "{}", answer.text);
        browser.get("/account").await.shows(ADA);
        assert_eq!(app.actor(ADA).await.user.id, first);
        assert!(!has_account(&app, "other@example.org").await);
        assert!(peer.asked() <= 2, "its description is kept");
    })
    .await;
}

#[tokio::test]
async fn an_address_never_opens_an_account_that_is_there() {
    with_club("an_address_never_opens_an_account_that_is_there", |app, peer| async move {
        let owner = app.player(ADA).await;
        let browser = app.browser();
        let answer = sign_in(&peer, &browser, ada()).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        answer.shows("You have an account already");
        assert!(!is_in(&browser).await);
        // One that the provider has not verified, or that is typed, opens it no more than that.
        for claims in [json!({"email": ADA, "email_verified": false}), json!({"email": ADA}), json!({})] {
            let browser = app.browser();
            let answer = sign_in(&peer, &browser, claims).await;
            assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/auth/newcomer"));
            let refused = browser.post("/auth/newcomer", &[("email", ADA)]).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
            refused.shows("There is an account with this address.");
            assert!(!is_in(&browser).await);
        }
        // Whoever has the password links it, and from then on it opens the account.
        let answer = link(&peer, &owner, ada()).await;
        assert_eq!(answer.location(), "/account/security", "{}", answer.text);
        owner.get("/account/security").await.shows("Linked. It opens your account from now on.");
        let browser = app.browser();
        assert_eq!(sign_in(&peer, &browser, ada()).await.location(), "/dashboard");
        browser.get("/account").await.shows(ADA);
        let letters = roost::store::mails::newest(&app.world.ctx.db, 10).await.unwrap();
        assert_eq!(letters[0].mail.subject, "A way to log in was added");
    })
    .await;
}

#[tokio::test]
async fn whoever_comes_without_an_address_is_asked_for_one() {
    with_club("whoever_comes_without_an_address_is_asked_for_one", |app, peer| async move {
        let browser = app.browser();
        let departure = leave(&browser, "club", "?next=/billing").await;
        let code = peer.agree(&departure, json!({"preferred_username": "ada"}));
        assert_eq!(come_back(&browser, "club", &departure, &code).await.location(), "/auth/newcomer");
        browser.get("/auth/newcomer").await.shows("Which one is it?");
        assert_eq!(browser.post("/auth/newcomer", &[("email", "ada")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = browser.post("/auth/newcomer", &[("email", ADA)]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/billing"));
        assert_eq!(app.actor(ADA).await.user.email_verified_at, None, "nobody has verified it");
        assert_eq!(browser.get("/auth/newcomer").await.location(), "/auth/login", "asked once");
        // Too late is too late.
        let late = app.browser();
        sign_in(&peer, &late, json!({"sub": "bea-2"})).await;
        app.world.clock.pass(11 * MINUTE);
        assert_eq!(late.post("/auth/newcomer", &[("email", "bea@example.org")]).await.location(), "/auth/login");
        assert!(!has_account(&app, "bea@example.org").await);
    })
    .await;
}

#[tokio::test]
async fn nothing_that_fails_a_check_signs_anybody_in() {
    with_club("nothing_that_fails_a_check_signs_anybody_in", |app, peer| async move {
        let now = crate::world::START;
        let table: Vec<(Fault, Value, &str)> = vec![
            (Fault::None, json!({"nonce": "of another flow"}), "cannot be believed"),
            (Fault::None, json!({"nonce": null}), "cannot be believed"),
            (Fault::None, json!({"aud": "another client"}), "cannot be believed"),
            (Fault::None, json!({"azp": "another client"}), "cannot be believed"),
            (Fault::None, json!({"aud": [crate::peer::CLIENT.0, "another client"]}), "cannot be believed"),
            (Fault::None, json!({"aud": [crate::peer::CLIENT.0, "another client"], "azp": "another client"}), "cannot be believed"),
            (Fault::None, json!({"iss": "https://other.example"}), "cannot be believed"),
            (Fault::None, json!({"exp": now / 1_000 - 1}), "cannot be believed"),
            (Fault::None, json!({"sub": ""}), "cannot be believed"),
            (Fault::None, json!({"sub": "x".repeat(300)}), "cannot be believed"),
            (Fault::WrongKey, json!({}), "cannot be believed"),
            (Fault::Unsigned, json!({}), "cannot be believed"),
            (Fault::NoToken, json!({}), "cannot be believed"),
            (Fault::Refuses, json!({}), "did not go through with it"),
            (Fault::Fails, json!({}), "does not answer"),
            (Fault::Huge, json!({}), "does not answer"),
        ];
        for (fault, mut claims, says) in table {
            let browser = app.browser();
            let departure = leave(&browser, "club", "").await;
            claims["email"] = ADA.into();
            claims["email_verified"] = true.into();
            let code = peer.agree(&departure, claims.clone());
            peer.fault(fault);
            let answer = come_back(&browser, "club", &departure, &code).await;
            peer.fault(Fault::None);
            assert!(answer.status.is_client_error() || answer.status == StatusCode::BAD_GATEWAY, "{fault:?} {claims}: {}", answer.status);
            answer.shows(says);
            answer.shows("To the login");
            assert!(!is_in(&browser).await, "{fault:?} {claims}");
        }
        assert!(!has_account(&app, ADA).await);
        // Beside the token another person is described.
        peer.says(json!({"sub": "bea-2", "email": ADA, "email_verified": true}));
        let browser = app.browser();
        sign_in(&peer, &browser, json!({})).await.shows("cannot be believed");
        assert!(!is_in(&browser).await);
        // Described by the same, it counts.
        peer.says(json!({"sub": "ada-1", "email": ADA, "email_verified": "true"}));
        assert_eq!(sign_in(&peer, &browser, json!({})).await.location(), "/dashboard");
    })
    .await;
}

#[tokio::test]
async fn a_token_for_several_and_claims_in_odd_forms_are_as_good_as_others() {
    with_club("a_token_for_several_and_claims_in_odd_forms_are_as_good_as_others", |app, peer| async move {
        for (n, claims) in [
            json!({"aud": [crate::peer::CLIENT.0, "a project"], "azp": crate::peer::CLIENT.0}),
            json!({"aud": [crate::peer::CLIENT.0]}),
            json!({"updated_at": "2025-11-28T10:00:00Z"}),
        ]
        .into_iter()
        .enumerate()
        {
            let browser = app.browser();
            let mut claims = claims;
            (claims["sub"], claims["email"], claims["email_verified"]) =
                (format!("odd-{n}").into(), format!("odd-{n}@example.org").into(), true.into());
            let departure = leave(&browser, "club", "").await;
            let code = peer.agree(&departure, claims.clone());
            let answer = come_back(&browser, "club", &departure, &code).await;
            assert!(is_in(&browser).await, "{claims}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_flow_ends_once_in_the_browser_that_began_it_and_within_ten_minutes() {
    with_club("a_flow_ends_once_in_the_browser_that_began_it_and_within_ten_minutes", |app, peer| async move {
        let browser = app.browser();
        let ended = |answer: &Answer| {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
            answer.shows("This log-in has ended");
        };
        // Another site made somebody's browser come back with its own code: it never began this.
        let departure = leave(&browser, "club", "").await;
        let code = peer.agree(&departure, ada());
        let victim = app.browser();
        ended(&come_back(&victim, "club", &departure, &code).await);
        victim.follow("/auth/club").await;
        ended(&come_back(&victim, "club", &departure, &code).await);
        assert!(!is_in(&victim).await);
        // Whoever began it comes back, once.
        assert_eq!(come_back(&browser, "club", &departure, &code).await.location(), "/dashboard");
        browser.post("/auth/logout", &[]).await;
        ended(&come_back(&browser, "club", &departure, &code).await);
        for query in ["", "?state=", "?state=guessed&code=x", "?code=x", "?error=access_denied"] {
            ended(&browser.get(&format!("/auth/club/callback{query}")).await);
        }
        // Two tabs: both come back.
        let (one, two) = (leave(&browser, "club", "").await, leave(&browser, "club", "?next=/billing").await);
        let (first, second) = (peer.agree(&one, ada()), peer.agree(&two, ada()));
        assert_eq!(come_back(&browser, "club", &two, &second).await.location(), "/billing");
        assert_eq!(come_back(&browser, "club", &one, &first).await.location(), "/dashboard");
        browser.post("/auth/logout", &[]).await;
        // The codes of two flows are not exchanged: each was asked for with another proof.
        let (one, two) = (leave(&browser, "club", "").await, leave(&browser, "club", "").await);
        let second = peer.agree(&two, ada());
        come_back(&browser, "club", &one, &second).await.shows("did not go through with it");
        // Too late, by whichever clock.
        let departure = leave(&browser, "club", "").await;
        let code = peer.agree(&departure, ada());
        app.world.clock.pass(10 * MINUTE);
        ended(&come_back(&browser, "club", &departure, &code).await);
        assert!(!is_in(&browser).await);
    })
    .await;
}

#[tokio::test]
async fn a_person_who_says_no_and_a_provider_that_sends_back_are_told_what_to_do() {
    with_club("a_person_who_says_no_and_a_provider_that_sends_back_are_told_what_to_do", |app, _peer| async move {
        let browser = app.browser();
        for (error, says) in [
            ("access_denied", "You did not agree at The club"),
            ("server_error", "It says “server_error” and nothing more"),
            ("%3Cscript%3E", "It says “&#60;script&#62;” and nothing more"),
        ] {
            let departure = leave(&browser, "club", "").await;
            let state = &departure.asked["state"];
            let answer = browser.get(&format!("/auth/club/callback?error={error}&state={state}")).await;
            assert!(!answer.status.is_success());
            answer.shows(says);
        }
        assert_eq!(browser.get("/auth/nobody").await.status, StatusCode::NOT_FOUND);
        assert_eq!(browser.get("/auth/nobody/callback").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn another_site_can_neither_begin_a_log_in_nor_a_link() {
    with_club("another_site_can_neither_begin_a_log_in_nor_a_link", |app, peer| async move {
        let browser = app.browser();
        for headers in
            [&[("sec-fetch-site", "cross-site")][..], &[("referer", "https://evil.example/")], &[("sec-fetch-site", "same-site")], &[]]
        {
            let answer = browser.send(Method::GET, "/auth/club", headers, "").await;
            assert_eq!(answer.status, StatusCode::OK);
            answer.shows("Log in with The club?");
        }
        let typed = browser.send(Method::GET, "/auth/club", &[("sec-fetch-site", "none")], "").await;
        assert_eq!(typed.status, StatusCode::SEE_OTHER, "typed by hand");
        // Signed in, it leads nowhere but home: links begin on the account's own page, after the password.
        let owner = app.player(ADA).await;
        assert_eq!(owner.follow("/auth/club").await.location(), "/dashboard");
        let origin = app.url.clone();
        let foreign = owner.send(Method::POST, "/account/providers/club/link", &[("origin", "https://evil.example")], "").await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN);
        let bare = owner.send(Method::POST, "/account/providers/club/link", &[("origin", origin.as_str())], "").await;
        assert_eq!(bare.location(), "/account/confirm");
        // Where somebody else has signed in meanwhile, nothing is linked.
        confirm(&owner).await;
        let departure = refreshed(&owner.post("/account/providers/club/link", &[]).await);
        let code = peer.agree(&departure, ada());
        owner.post("/auth/logout", &[]).await;
        owner.post("/auth/register", &[("email", "bea@example.org"), ("password", PASSWORD)]).await;
        come_back(&owner, "club", &departure, &code).await.shows("This is not the account that you began with");
        let answer = sign_in(&peer, &app.browser(), json!({"email": "new@example.org", "email_verified": true})).await;
        assert_eq!(answer.location(), "/dashboard", "nothing was linked");
        assert!(has_account(&app, "new@example.org").await);
    })
    .await;
}

#[tokio::test]
async fn a_log_in_leads_back_to_this_site_only_and_under_a_new_session() {
    with_club("a_log_in_leads_back_to_this_site_only_and_under_a_new_session", |app, peer| async move {
        for next in ["//evil.example", "https://evil.example", "/%5Cevil.example", "%2F%2Fevil.example", "javascript:alert(1)"] {
            let browser = app.browser();
            let departure = leave(&browser, "club", &format!("?next={next}")).await;
            let code = peer.agree(&departure, ada());
            assert_eq!(come_back(&browser, "club", &departure, &code).await.location(), "/dashboard", "{next}");
            app.browser().get(&format!("/auth/login?next={next}")).await.lacks("evil.example");
        }
        // Whatever session a browser had, it has another one afterwards.
        let browser = app.player("eve@example.org").await;
        let session = |browser: &Browser| {
            let cookies = browser.cookies().unwrap();
            let all = cookies.to_str().unwrap().to_owned();
            all.split("; ").find(|pair| pair.starts_with("roost_session_")).unwrap().to_owned()
        };
        let before = session(&browser);
        browser.post("/auth/logout", &[]).await;
        assert_eq!(sign_in(&peer, &browser, ada()).await.location(), "/dashboard");
        assert_ne!(session(&browser), before);
        let old = app.browser().send(Method::GET, "/account", &[("cookie", &before)], "").await;
        assert_eq!(old.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn keys_that_change_are_read_again_and_a_silent_provider_holds_nobody_up() {
    with_club("keys_that_change_are_read_again_and_a_silent_provider_holds_nobody_up", |app, peer| async move {
        let browser = app.browser();
        assert_eq!(sign_in(&peer, &browser, ada()).await.location(), "/dashboard");
        browser.post("/auth/logout", &[]).await;
        peer.rotate();
        let answer = sign_in(&peer, &browser, ada()).await;
        assert_eq!(answer.location(), "/dashboard", "{}", answer.text);
        browser.post("/auth/logout", &[]).await;
        let departure = leave(&browser, "club", "").await;
        let code = peer.agree(&departure, ada());
        peer.fault(Fault::Hangs);
        let begin = Instant::now();
        let page = browser.get("/auth/login").await;
        assert!(page.status == StatusCode::OK && begin.elapsed().as_secs() < 2, "a page never waits for a provider");
        let answer = come_back(&browser, "club", &departure, &code).await;
        assert!(begin.elapsed() < SILENCE, "{:?}", begin.elapsed());
        answer.shows("does not answer");
        peer.fault(Fault::None);
        assert!(!is_in(&browser).await);
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_cannot_be_read_says_so_at_its_button_and_is_asked_again_later() {
    let test = "an_issuer_that_cannot_be_read_says_so_at_its_button_and_is_asked_again_later";
    let peer = std::sync::Arc::new(Peer::start().await);
    // Each reads its issuer for itself.
    let kind = || Kind::OpenId { issuer: peer.url.clone(), fresh: Fresh::Login };
    let other = Kind::OpenId { issuer: format!("{}/", peer.url.replace("127.0.0.1", "localhost")), fresh: Fresh::Login };
    let setups = vec![setup("hangs", kind()), setup("fails", kind()), setup("huge", kind()), setup("other", other)];
    on_site_abroad(test, Policy::default(), Abroad { setups, smtp: None, stripe: None }, |app| {
        let peer = peer.clone();
        async move {
            let browser = app.browser();
            for (key, fault) in [("hangs", Fault::Hangs), ("fails", Fault::Fails), ("huge", Fault::Huge)] {
                peer.fault(fault);
                let begin = Instant::now();
                let answer = browser.follow(&format!("/auth/{key}")).await;
                assert!(
                    answer.status == StatusCode::BAD_GATEWAY && begin.elapsed() < SILENCE,
                    "{key}: {} {:?}",
                    answer.status,
                    begin.elapsed()
                );
                answer.shows("does not answer");
            }
            // A crowd does not queue up behind its silence.
            let begin = Instant::now();
            let again = browser.follow("/auth/huge").await;
            assert!(again.status == StatusCode::BAD_GATEWAY && begin.elapsed().as_secs() < 2);
            peer.fault(Fault::None);
            let issuer = browser.follow("/auth/other").await;
            assert_eq!(issuer.status, StatusCode::FORBIDDEN, "it calls itself by another name than it is set up with");
            issuer.shows("cannot be believed");
            let begin = Instant::now();
            while browser.follow("/auth/huge").await.status != StatusCode::SEE_OTHER {
                assert!(begin.elapsed() < PATIENCE, "it is never asked again");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_came_by_a_provider_stands_in_the_audit() {
    with_club("who_came_by_a_provider_stands_in_the_audit", |app, peer| async move {
        assert_eq!(sign_in(&peer, &app.browser(), ada()).await.location(), "/dashboard");
        app.account("root@example.org", Role::Admin).await;
        let page = app.log_in("root@example.org").await.get("/admin/audit").await;
        page.shows("/auth/{provider}/callback");
        page.shows("auth/club");
        page.shows(ADA);
        page.lacks("code-");
    })
    .await;
}

#[tokio::test]
async fn who_is_suspended_or_a_stranger_where_none_may_come_does_not_get_in() {
    let closed = Policy { open_registration: false, ..Policy::default() };
    with_club_under("who_is_suspended_or_a_stranger_where_none_may_come_does_not_get_in", closed, |app, peer| async move {
        let browser = app.browser();
        let answer = sign_in(&peer, &browser, ada()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        answer.shows("No new accounts here");
        app.account(ADA, Role::Player).await;
        let owner = app.log_in(ADA).await;
        assert_eq!(link(&peer, &owner, ada()).await.location(), "/account/security");
        assert_eq!(sign_in(&peer, &browser, ada()).await.location(), "/dashboard");
        browser.post("/auth/logout", &[]).await;
        crate::second_factor::suspend(&app, ADA, "took the sun away").await;
        let answer = sign_in(&peer, &browser, ada()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        answer.shows("This account is suspended (took the sun away)");
        assert!(!is_in(&browser).await);
        let answer = browser.post("/auth/login", &[("email", ADA), ("password", PASSWORD)]).await;
        answer.shows("This account is suspended (took the sun away)");
        assert!(!is_in(&browser).await);
    })
    .await;
}

#[tokio::test]
async fn the_last_way_in_stays_until_there_is_a_password() {
    with_club("the_last_way_in_stays_until_there_is_a_password", |app, peer| async move {
        let browser = app.browser();
        sign_in(&peer, &browser, ada()).await;
        assert_eq!(browser.get("/account/security").await.location(), "/account/confirm");
        let page = browser.get("/account/confirm").await;
        page.shows("Log in at The club again");
        page.lacks("name=\"current\"");
        assert_eq!(browser.post("/account/confirm", &[("current", "")]).await.status, StatusCode::UNPROCESSABLE_ENTITY, "no password fits");
        // Only the account that is linked shows whose it is.
        let departure = refreshed(&browser.post("/account/confirm/club", &[]).await);
        assert_eq!(departure.asked["prompt"], "login");
        let code = peer.agree(&departure, json!({"sub": "bea-2"}));
        come_back(&browser, "club", &departure, &code).await.shows("This is not the account that you began with");
        let departure = refreshed(&browser.post("/account/confirm/club", &[]).await);
        let code = peer.agree(&departure, ada());
        assert_eq!(come_back(&browser, "club", &departure, &code).await.location(), "/account/security");
        browser.get("/account/security").await.shows("The last way in. Set a password");
        let refused = browser.post("/account/providers/club/unlink", &[]).await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        refused.shows("Choose a password first, then unlink it.");
        assert_eq!(browser.post("/account/security/password", &[("password", "short")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(browser.post("/account/security/password", &[("password", PASSWORD)]).await.location(), "/account/security");
        assert_eq!(browser.post("/account/security/password", &[("password", "another password")]).await.status, StatusCode::CONFLICT);
        let elsewhere = app.browser();
        assert_eq!(sign_in(&peer, &elsewhere, ada()).await.location(), "/dashboard");
        app.world.clock.pass(SECOND);
        assert_eq!(browser.post("/account/providers/club/unlink", &[]).await.location(), "/account/security");
        assert!(is_in(&browser).await && !is_in(&elsewhere).await, "who came by it is out");
        assert_eq!(sign_in(&peer, &app.browser(), ada()).await.status, StatusCode::CONFLICT, "it opens nothing any more");
        app.log_in(ADA).await;
        app.world.clock.pass(11 * MINUTE);
        assert_eq!(browser.post("/account/providers/club/link", &[]).await.location(), "/account/confirm", "asked again after a while");
    })
    .await;
}

#[tokio::test]
async fn one_account_elsewhere_opens_one_here_and_the_other_way_round() {
    with_club("one_account_elsewhere_opens_one_here_and_the_other_way_round", |app, peer| async move {
        let (owner, bea) = (app.player(ADA).await, app.player("bea@example.org").await);
        assert_eq!(link(&peer, &owner, ada()).await.location(), "/account/security");
        link(&peer, &bea, ada()).await.shows("This opens another account");
        link(&peer, &owner, json!({"sub": "ada-2"})).await.shows("The club is linked already");
        // Somebody else's address in their account at the provider changes nothing: the account is known by its number.
        let browser = app.browser();
        sign_in(&peer, &browser, json!({"email": "bea@example.org", "email_verified": true})).await;
        browser.get("/account").await.shows(ADA);
    })
    .await;
}

#[tokio::test]
async fn github_discord_and_many_tenants_say_who_somebody_is_in_their_own_ways() {
    let peer = std::sync::Arc::new(Peer::start().await);
    let (site, api) = (peer.url.clone(), peer.url.clone());
    let setups = vec![
        setup("github", Kind::GitHub { site: site.clone(), api: api.clone() }),
        setup("discord", Kind::Discord { site, api }),
        setup("microsoft", Kind::Microsoft { issuer: format!("{}/common/v2.0", peer.url) }),
    ];
    let abroad = Abroad { setups, smtp: None, stripe: None };
    let test = "github_discord_and_many_tenants_say_who_somebody_is_in_their_own_ways";
    on_site_abroad(test, Policy::default(), abroad, |app| {
        let peer = peer.clone();
        async move {
            let come = async |key: &str, info: Value, claims: Value| {
                let browser = app.browser();
                let departure = leave(&browser, key, "").await;
                peer.says(info);
                let code = peer.agree(&departure, claims);
                (come_back(&browser, key, &departure, &code).await, browser)
            };
            let emails = |verified: bool| json!([{"email": "old@example.org", "primary": false, "verified": true}, {"email": ADA, "primary": true, "verified": verified}]);
            let (answer, _) = come("github", json!({"id": 7, "login": "ada", "emails": emails(false)}), Value::Null).await;
            assert_eq!(answer.location(), "/auth/newcomer", "{}", answer.text);
            let (answer, browser) = come("github", json!({"id": 7, "login": "ada", "emails": emails(true)}), Value::Null).await;
            assert_eq!(answer.location(), "/dashboard", "{}", answer.text);
            browser.get("/account").await.shows(ADA);
            let info = |verified: bool| json!({"id": "77", "username": "bea", "email": "bea@example.org", "verified": verified});
            let (answer, _) = come("discord", info(false), Value::Null).await;
            assert_eq!(answer.location(), "/auth/newcomer", "{}", answer.text);
            let (answer, browser) = come("discord", info(true), Value::Null).await;
            assert_eq!(answer.location(), "/dashboard", "{}", answer.text);
            browser.get("/account").await.shows("bea@example.org");
            // A tenant signs for itself, and vouches for no address.
            let issuer = |tenant: &str| format!("{}/{tenant}/v2.0", peer.url);
            let claims = json!({"iss": issuer("t-1"), "tid": "t-1", "email": "cy@example.org", "email_verified": true});
            let (answer, _) = come("microsoft", Value::Null, claims).await;
            assert_eq!(answer.location(), "/auth/newcomer", "{}", answer.text);
            let claims = json!({"iss": issuer("t-2"), "tid": "t-1", "email": "cy@example.org"});
            let (answer, _) = come("microsoft", Value::Null, claims).await;
            answer.shows("cannot be believed");
        }
    })
    .await;
}

#[tokio::test]
async fn flows_of_one_address_are_limited_and_leave_nothing_behind() {
    with_club("flows_of_one_address_are_limited_and_leave_nothing_behind", |app, _peer| async move {
        let browser = app.browser();
        let mut refused = 0;
        for _ in 0..60 {
            refused += u32::from(browser.follow("/auth/club").await.status == StatusCode::TOO_MANY_REQUESTS);
        }
        assert!((10..=20).contains(&refused), "{refused}");
        let ctx = &app.world.ctx;
        let other = "192.0.2.7".parse().unwrap();
        entry::begin(ctx, "club", entry::Purpose::LogIn, "a browser", "", other).await.expect("nobody else suffers");
        assert!(entry::begin(ctx, "club", entry::Purpose::LogIn, "a browser", "", HOME).await.is_err());
        app.world.clock.pass(20 * MINUTE);
        roost::domain::servers::sweep(ctx).await.unwrap();
        let left = roost::store::sign_in_flows::sweep(&ctx.db, ctx.clock.now()).await.unwrap();
        assert_eq!(left, 0, "the sweep has taken them");
    })
    .await;
}
