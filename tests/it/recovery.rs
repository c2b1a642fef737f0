//! Letters with links: a new password, an address that is verified, and what an admin hands over. The letters go to a real mail server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use reqwest::{Method, StatusCode};
use roost::domain::{Actor, Policy, Refusal, mails, sign_in};
use roost::model::accounts::Email;
use roost::model::mails::Mail;
use roost::model::time::{DAY, HOUR, MINUTE, SECOND};
use roost::model::users::Role;
use roost::store::identities::{self, Identity};
use roost::store::mails as outbox;

use crate::app::{App, Browser, PASSWORD, PATIENCE, on_site, on_site_abroad};
use crate::second_factor::{set_up, suspend};
use crate::services;
use crate::world::Abroad;

const ADA: &str = "ada@example.org";
const NEW: &str = "another password";

/// A real mail server, and the folder that it puts letters into.
struct MailServer {
    child: Child,
    folder: tempfile::TempDir,
    url: String,
}

impl MailServer {
    fn start(program: &Path) -> MailServer {
        let folder = tempfile::tempdir().expect("a folder");
        let port = services::free_port(&services::LISTENERS);
        let child = Command::new(program)
            .args(["-n", "-c", "aiosmtpd.handlers.Mailbox"])
            .args(["-l", &format!("127.0.0.1:{port}")])
            .arg(folder.path().join("box"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the mail server starts");
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "the mail server does not answer");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        MailServer { child, folder, url: format!("smtp://127.0.0.1:{port}") }
    }

    /// Letters that have come, as they are on the wire.
    fn letters(&self) -> Vec<String> {
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("a letter");
        let files = std::fs::read_dir(self.folder.path().join("box/new")).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        files.into_iter().map(|file| read(file.expect("a file").path())).collect()
    }

    fn empty(&self) {
        for file in std::fs::read_dir(self.folder.path().join("box/new")).expect("the box") {
            std::fs::remove_file(file.expect("a file").path()).expect("removed");
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of the link in a letter, put together again where the mail programs broke its lines.
fn link(letter: &str) -> String {
    let whole = letter.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=");
    let from = whole.find("http://localhost:8000/auth/").unwrap_or_else(|| panic!("no link: {letter}"));
    let to = whole[from..].find(char::is_whitespace).map_or(whole.len(), |end| from + end);
    whole[from..to].trim_start_matches("http://localhost:8000").to_owned()
}

async fn with_mail<F: Future<Output = ()>>(test: &str, body: impl Fn(App, std::sync::Arc<MailServer>) -> F) {
    let Some(program) = services::smtp(test) else { return };
    let server = std::sync::Arc::new(MailServer::start(&program));
    let abroad = Abroad { setups: Vec::new(), smtp: Some(server.url.clone()), stripe: None };
    on_site_abroad(test, Policy::default(), abroad, |app| {
        // The second database begins with an empty box.
        if server.folder.path().join("box/new").exists() {
            server.empty();
        }
        body(app, server.clone())
    })
    .await;
}

/// Sends what is due; gives the one letter of it.
async fn one_letter(app: &App, server: &MailServer) -> String {
    mails::tick(&app.world.ctx).await.expect("sent");
    let letters = server.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    server.empty();
    letters.into_iter().next().expect("one")
}

async fn wait_posted(app: &App, number: usize) {
    let begin = Instant::now();
    while outbox::due(&app.world.ctx.db, app.world.ctx.clock.now(), 50).await.expect("read").len() < number {
        assert!(begin.elapsed() < PATIENCE, "no letter is written");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn ask(browser: &Browser, email: &str) -> crate::app::Answer {
    browser.post("/auth/forgot", &[("email", email)]).await
}

#[tokio::test]
async fn a_letter_brings_a_new_password_once_and_every_session_and_token_ends() {
    with_mail("a_letter_brings_a_new_password_once_and_every_session_and_token_ends", |app, server| async move {
        let ada = app.player(ADA).await;
        let program = app.program(&app.actor(ADA).await).await;
        one_letter(&app, &server).await;
        let browser = app.browser();
        app.world.clock.pass(SECOND);
        let said = ask(&browser, " ADA@example.org ").await;
        said.shows("If there is an account with the address ada@example.org");
        wait_posted(&app, 1).await;
        let waiting = outbox::newest(&app.world.ctx.db, 1).await.unwrap();
        assert!(waiting[0].mail.text.contains("{link}") && !waiting[0].mail.text.contains("token="), "no secret lies in the outbox");
        let letter = one_letter(&app, &server).await;
        for part in ["Subject: A new password", "To: ada@example.org", "From: Roost <roost@example.org>"] {
            assert!(letter.contains(part), "{letter}");
        }
        let gone = outbox::newest(&app.world.ctx.db, 1).await.unwrap();
        assert!(gone[0].sent_at.is_some() && gone[0].mail.text.is_empty(), "what went is not kept");
        let path = link(&letter);
        browser.get(&path).await.shows("For the account ada@example.org.");
        let token = path.split_once("token=").unwrap().1;
        let short = browser.post("/auth/reset", &[("token", token), ("password", "short")]).await;
        assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
        short.shows("id=\"password-error\"");
        let answer = browser.post("/auth/reset", &[("token", token), ("password", NEW)]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/dashboard"), "{}", answer.text);
        browser.get("/account").await.shows("Verified: letters about your account go here.");
        assert_eq!(ada.get("/account").await.status, StatusCode::SEE_OTHER);
        assert_eq!(program.get("/api/me").await.status, StatusCode::UNAUTHORIZED);
        let old = app.browser().post("/auth/login", &[("email", ADA), ("password", PASSWORD)]).await;
        assert_eq!(old.status, StatusCode::UNPROCESSABLE_ENTITY);
        // It works once.
        let again = app.browser();
        assert_eq!(again.get(&path).await.status, StatusCode::GONE);
        let answer = again.post("/auth/reset", &[("token", token), ("password", "a third password")]).await;
        assert_eq!(answer.status, StatusCode::GONE);
        answer.shows("This link has ended");
        assert_eq!(again.get("/account").await.status, StatusCode::SEE_OTHER);
        assert!(one_letter(&app, &server).await.contains("Your password was changed"));
    })
    .await;
}

#[tokio::test]
async fn a_link_ends_with_its_hour_with_a_newer_one_and_with_every_change_to_it() {
    with_mail("a_link_ends_with_its_hour_with_a_newer_one_and_with_every_change_to_it", |app, server| async move {
        app.player(ADA).await;
        one_letter(&app, &server).await;
        let browser = app.browser();
        let next = async || {
            ask(&browser, ADA).await;
            wait_posted(&app, 1).await;
            link(&one_letter(&app, &server).await)
        };
        let (first, second) = (next().await, next().await);
        assert_eq!(browser.get(&first).await.status, StatusCode::GONE, "a newer one was sent");
        assert_eq!(browser.get(&second).await.status, StatusCode::OK);
        let token = second.split_once("token=").unwrap().1;
        let (id, signature) = token.split_once('.').unwrap();
        let turned: String = signature.chars().rev().collect();
        for forged in
            ["", ".", "x", id, &format!("{id}."), &format!("{id}.00"), &format!("{id}.{turned}"), &format!("x{token}"), &"x".repeat(5_000)]
        {
            let answer = browser.post("/auth/reset", &[("token", forged), ("password", NEW)]).await;
            assert_eq!(answer.status, StatusCode::GONE, "{forged:.80}");
        }
        assert_eq!(browser.post("/auth/verify", &[("token", token)]).await.location(), "/auth/login", "it is for one thing");
        app.world.clock.pass(HOUR);
        assert_eq!(browser.get(&second).await.status, StatusCode::GONE);
        // A letter that waited too long for the mail server does not go with a dead link.
        ask(&browser, ADA).await;
        wait_posted(&app, 1).await;
        app.world.clock.pass(2 * HOUR);
        assert_eq!(mails::tick(&app.world.ctx).await.unwrap(), 0);
        let posted = outbox::newest(&app.world.ctx.db, 1).await.unwrap();
        assert!(posted[0].due_at.is_none() && posted[0].trouble.contains("ended"), "{posted:?}");
    })
    .await;
}

#[tokio::test]
async fn unknown_addresses_get_the_same_answer_and_no_letter() {
    with_mail("unknown_addresses_get_the_same_answer_and_no_letter", |app, server| async move {
        let known_browser = app.player(ADA).await;
        app.player("eve@example.org").await;
        mails::tick(&app.world.ctx).await.unwrap();
        server.empty();
        suspend(&app, "eve@example.org", "").await;
        let browser = app.browser();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for n in 0..4 {
            let begin = Instant::now();
            let there = ask(&browser, ADA).await;
            known.push(begin.elapsed());
            let email = format!("nobody{n}@example.org");
            let begin = Instant::now();
            let nowhere = ask(&browser, &email).await;
            unknown.push(begin.elapsed());
            assert_eq!(there.text.replace(ADA, "?"), nowhere.text.replace(&email, "?"));
            assert_eq!(there.status, nowhere.status);
        }
        known.sort();
        unknown.sort();
        // Both are answered before anybody looks; what is left of a difference is noise.
        let apart = known[1].abs_diff(unknown[1]);
        assert!(apart.as_millis() < 25, "{known:?} {unknown:?}");
        assert_eq!(ask(&browser, ADA).await.status, StatusCode::TOO_MANY_REQUESTS, "one address");
        assert_eq!(ask(&browser, "eve@example.org").await.status, StatusCode::OK, "and no other");
        assert_eq!(ask(&known_browser, ADA).await.status, StatusCode::OK, "what strangers ask for keeps its owner from nothing");
        wait_posted(&app, 1).await;
        mails::tick(&app.world.ctx).await.unwrap();
        assert!(server.letters().iter().all(|letter| letter.contains("To: ada@example.org")), "nobody else gets one");
        assert_eq!(ask(&browser, "ada").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

#[tokio::test]
async fn registering_tells_nobody_whether_an_address_is_known_where_letters_are_sent() {
    with_mail("registering_tells_nobody_whether_an_address_is_known_where_letters_are_sent", |app, server| async move {
        app.player(ADA).await;
        mails::tick(&app.world.ctx).await.unwrap();
        server.empty();
        let register = |email: &'static str| {
            let browser = app.browser();
            async move {
                let begin = Instant::now();
                let answer = browser.post("/auth/register", &[("email", email), ("password", PASSWORD)]).await;
                (answer, begin.elapsed())
            }
        };
        let (known, known_took) = register(ADA).await;
        let (unknown, unknown_took) = register("bea@example.org").await;
        assert_eq!((known.status, unknown.status), (StatusCode::OK, StatusCode::OK));
        assert_eq!(known.text.replace(ADA, "?"), unknown.text.replace("bea@example.org", "?"));
        assert!(known.headers.get("set-cookie").is_none() && unknown.headers.get("set-cookie").is_none());
        assert!(known_took.abs_diff(unknown_took).as_millis() < 60, "{known_took:?} {unknown_took:?}");
        let body = format!("{{\"email\":\"{ADA}\",\"password\":\"{PASSWORD}\"}}");
        let json = app.browser().send(Method::POST, "/auth/register", &[("content-type", "application/json")], body).await;
        assert_eq!((json.status, json.text.as_str()), (StatusCode::ACCEPTED, ""));
        wait_posted(&app, 1).await;
        mails::tick(&app.world.ctx).await.unwrap();
        let letters = server.letters();
        assert!(letters.iter().any(|letter| letter.contains("To: ada@example.org") && letter.contains("You have an account already")));
        assert!(letters.iter().any(|letter| letter.contains("To: bea@example.org") && letter.contains("Is this your address?")));
        app.log_in("bea@example.org").await;
    })
    .await;
}

#[tokio::test]
async fn a_new_password_does_not_stand_in_for_the_second_factor() {
    with_mail("a_new_password_does_not_stand_in_for_the_second_factor", |app, server| async move {
        let ada = app.player(ADA).await;
        one_letter(&app, &server).await;
        let (_, codes) = set_up(&app, &ada).await;
        mails::tick(&app.world.ctx).await.unwrap();
        server.empty();
        let browser = app.browser();
        ask(&browser, ADA).await;
        wait_posted(&app, 1).await;
        let path = link(&one_letter(&app, &server).await);
        let token = path.split_once("token=").unwrap().1;
        let answer = browser.post("/auth/reset", &[("token", token), ("password", NEW)]).await;
        assert_eq!(answer.location(), "/auth/second");
        assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER, "not in yet");
        assert_eq!(app.actor(ADA).await.user.email_verified_at, None, "whose the address is shows with the second step");
        assert_eq!(browser.post("/auth/second", &[("code", &codes[0])]).await.location(), "/dashboard");
    })
    .await;
}

#[tokio::test]
async fn whoever_has_the_letters_takes_back_an_account_that_another_made_with_the_address() {
    with_mail("whoever_has_the_letters_takes_back_an_account_that_another_made_with_the_address", |app, server| async move {
        // Somebody makes an account with an address that is not theirs, and prepares to come back into it.
        let squatter = app.player(ADA).await;
        let verify = link(&one_letter(&app, &server).await);
        let user = app.actor(ADA).await.user.id;
        let back_door = Identity {
            issuer: "https://login.example.org".to_owned(),
            subject: "eve".to_owned(),
            provider: "club".to_owned(),
            user: user.clone(),
            label: "eve".to_owned(),
            created_at: app.world.ctx.clock.now(),
            used_at: None,
        };
        assert!(identities::insert(&app.world.ctx.db, &back_door).await.unwrap());
        // The click of the address's owner vouches for nothing: they are not signed in to that account.
        let owner = app.browser();
        assert!(owner.get(&verify).await.location().starts_with("/auth/login?next="));
        assert_eq!(app.actor(ADA).await.user.email_verified_at, None);
        ask(&owner, ADA).await;
        wait_posted(&app, 1).await;
        let path = link(&one_letter(&app, &server).await);
        app.world.clock.pass(SECOND);
        let token = path.split_once("token=").unwrap().1;
        let answer = owner.post("/auth/reset", &[("token", token), ("password", NEW)]).await;
        assert_eq!(answer.location(), "/dashboard");
        assert!(identities::of_user(&app.world.ctx.db, &user, 9).await.unwrap().is_empty(), "no way back in is left");
        assert_eq!(squatter.get("/account").await.status, StatusCode::SEE_OTHER);
        assert!(app.actor(ADA).await.user.email_verified_at.is_some());
    })
    .await;
}

#[tokio::test]
async fn an_address_is_verified_by_whoever_is_signed_in_and_has_the_letter() {
    with_mail("an_address_is_verified_by_whoever_is_signed_in_and_has_the_letter", |app, server| async move {
        let ada = app.player(ADA).await;
        ada.get("/account").await.shows("Not verified yet.");
        let first = link(&one_letter(&app, &server).await);
        assert_eq!(ada.post("/account/verify", &[]).await.location(), "/account");
        let second = link(&one_letter(&app, &server).await);
        let token = |path: &str| path.split_once("token=").unwrap().1.to_owned();
        assert_eq!(ada.post("/auth/verify", &[("token", &token(&first))]).await.status, StatusCode::GONE, "a newer one was sent");
        let eve = app.player("eve@example.org").await;
        one_letter(&app, &server).await;
        assert_eq!(eve.post("/auth/verify", &[("token", &token(&second))]).await.status, StatusCode::GONE, "not hers");
        ada.get(&second).await.shows("You are logged in as ada@example.org.");
        assert_eq!(app.actor(ADA).await.user.email_verified_at, None, "looking is not enough: programs open links as well");
        assert_eq!(ada.post("/auth/verify", &[("token", &token(&second))]).await.location(), "/account");
        ada.get("/account").await.shows("Your address is verified.");
        assert_eq!(ada.post("/account/verify", &[]).await.status, StatusCode::CONFLICT);
        // A day is enough.
        assert_eq!(eve.post("/account/verify", &[]).await.location(), "/account");
        let late = link(&one_letter(&app, &server).await);
        app.world.clock.pass(DAY);
        assert_eq!(eve.post("/auth/verify", &[("token", &token(&late))]).await.status, StatusCode::GONE);
    })
    .await;
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_tried_again_until_it_takes_the_letter() {
    let test = "a_mail_server_that_is_away_is_tried_again_until_it_takes_the_letter";
    let Some(program) = services::smtp(test) else { return };
    let server = MailServer::start(&program);
    let abroad = |url: &str| Abroad { setups: Vec::new(), smtp: Some(url.to_owned()), stripe: None };
    let nowhere = format!("smtp://127.0.0.1:{}", services::free_port(&services::LISTENERS));
    on_site_abroad(test, Policy::default(), abroad(&nowhere), |app| async move {
        let ctx = &app.world.ctx;
        let post = async |key: &str, to: &str| {
            let mail = Mail {
                key: key.to_owned(),
                to: Email::parse(to).unwrap(),
                subject: "Grüße – 你好".to_owned(),
                text: "Ein Wörtchen.\n".to_owned(),
            };
            let tx = ctx.db.begin().await.unwrap();
            let new = mails::post(ctx, &tx, &mail).await.unwrap();
            tx.commit().await.unwrap();
            new
        };
        assert!(post("a:1", ADA).await);
        assert!(!post("a:1", "eve@example.org").await, "a key goes out once");
        assert_eq!(mails::tick(ctx).await.unwrap(), 0);
        let waits = outbox::newest(&ctx.db, 1).await.unwrap().remove(0);
        assert!(waits.attempts == 1 && waits.due_at == Some(ctx.clock.now() + MINUTE) && !waits.trouble.is_empty(), "{waits:?}");
        assert_eq!(mails::tick(ctx).await.unwrap(), 0);
        assert_eq!(outbox::newest(&ctx.db, 1).await.unwrap()[0].attempts, 1, "not before its time");
        app.world.clock.pass(MINUTE);
        mails::tick(ctx).await.unwrap();
        assert_eq!(outbox::newest(&ctx.db, 1).await.unwrap()[0].attempts, 2);
    })
    .await;
    on_site_abroad(test, Policy::default(), abroad(&server.url), |app| {
        if server.folder.path().join("box/new").exists() {
            server.empty();
        }
        let server = &server;
        async move {
            let ctx = &app.world.ctx;
            let mail = Mail {
                key: "b:1".to_owned(),
                to: Email::parse(ADA).unwrap(),
                subject: "Grüße – 你好".to_owned(),
                text: "Ein Wörtchen.\n".to_owned(),
            };
            let tx = ctx.db.begin().await.unwrap();
            mails::post(ctx, &tx, &mail).await.unwrap();
            tx.commit().await.unwrap();
            // Two panels at once send it once.
            let (one, two) = tokio::join!(mails::tick(ctx), mails::tick(ctx));
            assert_eq!(one.unwrap() + two.unwrap(), 1);
            let letters = server.letters();
            assert_eq!(letters.len(), 1);
            assert!(
                letters[0].contains("Subject: =?utf-8?") && letters[0].contains("Content-Type: text/plain; charset=utf-8"),
                "{}",
                letters[0]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_mail_server_an_admin_hands_the_link_over() {
    on_site("without_a_mail_server_an_admin_hands_the_link_over", |app| async move {
        let ada = app.player(ADA).await;
        let browser = app.browser();
        browser.get("/auth/forgot").await.shows("Write to whoever runs it");
        ask(&browser, ADA).await;
        assert_eq!(outbox::due(&app.world.ctx.db, app.world.ctx.clock.now(), 9).await.unwrap().len(), 0, "no letter waits for nobody");
        let user = app.actor(ADA).await.user;
        let admin = app.account("root@example.org", Role::Admin).await;
        for role in [Role::Player, Role::Viewer, Role::Operator] {
            let other = Actor::of(roost::model::users::User { role, ..admin.user.clone() });
            assert!(matches!(sign_in::make_reset_link(&app.world.ctx, &other, &user.id).await, Err(Refusal::Forbidden)));
        }
        let url = sign_in::make_reset_link(&app.world.ctx, &admin, &user.id).await.unwrap();
        let path = url.strip_prefix("http://localhost:8000").unwrap();
        app.world.clock.pass(DAY - SECOND);
        browser.get(path).await.shows("For the account ada@example.org.");
        let token = path.split_once("token=").unwrap().1;
        let answer = browser.post("/auth/reset", &[("token", token), ("password", NEW)]).await;
        assert_eq!(answer.location(), "/dashboard", "{}", answer.text);
        assert_eq!(ada.get("/account").await.status, StatusCode::SEE_OTHER);
        assert_eq!(app.actor(ADA).await.user.email_verified_at, None, "no letter has reached anybody");
        assert_eq!(browser.get(path).await.status, StatusCode::GONE);
    })
    .await;
}
