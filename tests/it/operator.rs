//! An operator's day in a real browser: two machines with real Docker, a real S3 server and PostgreSQL. Templates are uploaded, a server
//! is made of them, backed up, restored and undone; dev mode and purge; its machine is emptied, and it lives on at the other one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fantoccini::Locator;
use reqwest::Method;

use crate::browser::{SOON, Window};
use crate::machines::{Agent, node};
use crate::program::{Api, Program, docker, port};
use crate::services;
use crate::templates::tar;
use crate::world::Database;

/// Longest wait for what machines do.
const DONE: Duration = Duration::from_mins(1);
const EMAIL: &str = "ada@example.org";

/// A player in the room of the demo: what was said before, and a line of their own.
fn visit(address: &str, say: Option<&str>) -> String {
    let mut stream = TcpStream::connect(address).expect("the door opens");
    stream.set_read_timeout(Some(DONE)).expect("set");
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let mut heard = String::new();
    let begin = Instant::now();
    while !heard.contains("Welcome") {
        assert!(reader.read_line(&mut heard).expect("it speaks") > 0 && begin.elapsed() < DONE, "the door closed: {heard}");
    }
    stream.write_all(format!("{}\n", say.unwrap_or("I only look")).as_bytes()).expect("said");
    // Its own line comes back last: all that was said before stands above it.
    while !heard.contains(say.unwrap_or("I only look")) {
        assert!(reader.read_line(&mut heard).expect("it speaks") > 0, "the door closed: {heard}");
    }
    heard
}

/// Clicks a button that asks once more, and says yes.
async fn click_and_agree(window: &Window, css: &str) {
    window.click(css).await;
    let begin = Instant::now();
    while window.client.accept_alert().await.is_err() {
        assert!(begin.elapsed() < SOON, "{css} never asks");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Loads a page again until it says something: for pages that are no live ones.
async fn reloads_until(window: &Window, path: &str, css: &str, text: &str) -> String {
    let begin = Instant::now();
    loop {
        window.go(path).await;
        let said = window.text(css).await;
        if said.contains(text) {
            return said;
        }
        assert!(begin.elapsed() < DONE, "{css} of {path} never says {text:?}: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn choose(window: &Window, css: &str, value: &str) {
    let field = window.client.wait().at_most(SOON).for_element(Locator::Css(css)).await.unwrap_or_else(|_| panic!("no field {css}"));
    field.select_by_value(value).await.unwrap_or_else(|error| panic!("{css} has no {value}: {error}"));
}

/// Makes a template and uploads an archive as its first version.
async fn template(window: &Window, folder: &Path, name: &str, files: &[(&str, &str)]) {
    window.go("/templates").await;
    window.fill("#new input[name=name]", name).await;
    window.click("#new input[name=kind][value=custom] + span").await;
    window.click("#new button.ink").await;
    window.sees("h1", name, SOON).await;
    let archive = folder.join(format!("{name}.tar"));
    std::fs::write(&archive, tar(files)).expect("written");
    window.fill("form[enctype='multipart/form-data'] input[name=version]", "1").await;
    let file = window.client.find(Locator::Css("input[type=file]")).await.expect("a place for the archive");
    file.send_keys(&archive.display().to_string()).await.expect("chosen");
    window.click("form[enctype='multipart/form-data'] button.ink").await;
    window.sees(".notice", "The version is checked and can be used.", SOON).await;
}

/// A machine joins, as its page says.
async fn join(window: &Window, api: &Api, agent: &mut Agent) {
    window.go("/nodes/add").await;
    window.fill("input[name=name]", "Second").await;
    window.click("form[action='/nodes/add'] button.ink").await;
    let page = window.sees("main", "roost-join-1/", SOON).await;
    let begin = page.find("roost-join-1/").expect("a token");
    let token: String = page[begin..].chars().take_while(|c| !c.is_whitespace() && *c != '\'').collect();
    let joined = agent.join(&token);
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    agent.start();
    node(api, "second", "online", |node| node["online"] == true && node["engine"] != "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_uploads_templates_restores_a_backup_and_empties_a_machine_in_a_browser() {
    let test = "an_operator_uploads_templates_restores_a_backup_and_empties_a_machine_in_a_browser";
    let (Some(engine), Some(browser), Some(postgres), Some(s3)) =
        (services::docker(test), services::browser(test), services::postgres(test), services::s3(test))
    else {
        return;
    };
    let (database, s3) = (Database::make(&postgres).await, crate::laid_out::s3(&s3));
    let listen = format!("127.0.0.1:{}", services::free_port(&services::LISTENERS));
    let mut settings = vec![("NODE_LISTEN", listen.clone()), ("NODE_ADDRESS", listen), ("DATABASE_URL", database.url.clone())];
    settings.extend(s3.settings());
    let program = Program::start(&engine, &settings.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let api = Api::admin(&program, EMAIL).await;
    let window = Window::open(&browser, &program.url, 1280).await;
    window.go("/auth/login").await;
    window.fill("input[name=email]", EMAIL).await;
    window.fill("input[name=password]", "correct horse battery").await;
    window.click("form[action^='/auth/login'] button").await;
    window.sees("h1", "", SOON).await;
    let mut agent = Agent::nth(&engine, 3);
    join(&window, &api, &mut agent).await;

    // Two templates, and a server made of them.
    template(&window, program.folder.path(), "Base", &[("motd", "nobody"), ("base", "x")]).await;
    template(&window, program.folder.path(), "Words", &[("motd", "Welcome to ${SERVER_NAME}")]).await;
    window.go("/servers/create?game=demo").await;
    window.fill("input[name=name]", "Valley of Echoes").await;
    choose(&window, "#layer-0", "base@1").await;
    choose(&window, "#layer-1", "words@1").await;
    window.click("form#form button.warm").await;
    window.sees("#title", "Valley of Echoes", SOON).await;
    let id = window.path().await.trim_start_matches("/servers/").to_owned();
    api.remember(std::slice::from_ref(&id));
    window.sees("#head .state", "Awake", DONE).await;
    let server = api.wait_phase(&id, "running", DONE).await;
    let (from, to) = if server["node"] == "second" { ("second", "local") } else { ("local", "second") };
    assert!(docker(&["cp", &format!("roost-{id}-game:/data/motd"), "-"]).contains("Welcome to Valley of Echoes"));
    let address = |server: &serde_json::Value| format!("127.0.0.1:{}", port(server));
    visit(&address(&server), Some("a castle stands here"));

    // A backup, which is tried, restored and undone; the page is not loaded again for any of it.
    window.go(&format!("/servers/{id}")).await;
    window.click("#backups a.more").await;
    window.click("form[action$='/backup'] button").await;
    window.sees("#shelf", "Never tried out", DONE).await;
    window.click("form[action$='/try'] button").await;
    window.sees("#shelf", "and all of it was right", DONE).await;
    visit(&address(&server), Some("the castle is a ruin"));
    window.click("#shelf a[href*='restore=']").await;
    window.click("#confirm button.ink").await;
    window.sees("#shelf", "The data were replaced", DONE).await;
    api.wait_phase(&id, "running", DONE).await;
    let heard = visit(&address(&server), None);
    assert!(heard.contains("a castle stands here") && !heard.contains("ruin"), "{heard}");
    click_and_agree(&window, "form[action$='/undo-restore'] button").await;
    window.sees(".notice", "The data from before are being put back.", SOON).await;
    let begin = Instant::now();
    loop {
        let shelf = api.ask(Method::GET, &format!("/api/servers/{id}/backups"), None).await.1;
        if shelf["last_restore"]["kind"] == "undo" && shelf["last_restore"]["state"] == "done" {
            break;
        }
        assert!(begin.elapsed() < DONE, "{shelf}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    api.wait_phase(&id, "running", DONE).await;
    let heard = visit(&address(&server), None);
    assert!(heard.contains("the castle is a ruin"), "{heard}");

    // The machine's cache: dev mode, and a purge that keeps what the server is made of.
    window.go(&format!("/nodes/{from}")).await;
    window.click("form[action$='/dev-mode'] button").await;
    window.sees(".notice", "Dev mode is on", SOON).await;
    reloads_until(&window, &format!("/nodes/{from}"), "#cache", "Dev mode is on: every layer is fetched anew").await;
    window.click("form[action$='/dev-mode'] button").await;
    window.sees(".notice", "Dev mode is off", SOON).await;
    window.click("form[action$='/purge-cache'] input[name=all] + button").await;
    let purged = reloads_until(&window, &format!("/nodes/{from}"), "#cache [role=status]", "stayed").await;
    assert!(purged.contains("base") && purged.contains("words"), "{purged}");

    // The machine is emptied: the server leaves when it sleeps, and wakes elsewhere with all that it had.
    click_and_agree(&window, "form[action$='/drain'] button").await;
    window.sees("#emptying", "1 server awake or being worked on", SOON).await;
    assert_eq!(api.power(&id, "hibernate").await.0, 202);
    window.sees("#emptying", "No server lives here any more.", DONE).await;
    let begin = Instant::now();
    while docker(&["ps", "-a", "--format", "{{.Names}} {{.Label \"roost.node\"}}"]).contains(&format!("roost-{id}-game {from}")) {
        assert!(begin.elapsed() < DONE, "the machine before keeps its container");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let moved = api.wait_phase(&id, "sleeping", DONE).await;
    assert_eq!(moved["node"], to, "{moved}");
    let heard = visit(&address(&moved), None);
    assert!(heard.contains("a castle stands here") && heard.contains("the castle is a ruin"), "{heard}");
    assert!(docker(&["cp", &format!("roost-{id}-game:/data/motd"), "-"]).contains("Welcome to Valley of Echoes"));
    reloads_until(&window, &format!("/servers/{id}"), "#events", "Moved to").await;

    assert_eq!(api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await.0, 202);
    api.wait_gone(&id, DONE).await;
    drop((window, agent, program));
    database.drop().await;
}
