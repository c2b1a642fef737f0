//! Samples of the pages about servers.

use super::{HOSTILE, LONG, NOW, PICTURES, RIGHT_TO_LEFT, frame, layers, staff};
use crate::http::pages::backups::{BackupRow, BackupsPart};
use crate::http::pages::create::{ByField, CreateForm, CreatePage, GameChoice};
use crate::http::pages::dashboard::{Dashboard, ServerCard, Summary};
use crate::http::pages::layout::Notice;
use crate::http::pages::live::{EventRow, EventRows, LogLines, ServerHead, ServerStats};
use crate::http::pages::moments::Moment;
use crate::http::pages::months::MonthPart;
use crate::http::pages::servers::{DeleteForm, LayersPart, LogPage, ServerPage, SettingsForm};
use crate::model::backups::{Reason, State};
use crate::model::disk::DiskUse;
use crate::model::games::{EnvRule, EnvVar, Game, GamePort, Plan, Protocol, Ready, Stop};
use crate::model::idleness::{Quiet, Rules, Sample};
use crate::model::ids::UserId;
use crate::model::life::{Life, Trouble};
use crate::model::money::Credits;
use crate::model::servers::{Phase, PublicPort, Seen, Server, Wanted};
use crate::model::time::{DAY, HOUR, MINUTE, SECOND};
use crate::wire::agent::LogLine;

/// An id out of letters; nothing else is asked of it here.
fn id<Id: std::str::FromStr>(text: &str) -> Option<Id> {
    text.parse().ok()
}

fn var(name: &str, label: &str, help: &str, default: &str, rule: EnvRule) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        label: label.to_owned(),
        help: help.to_owned(),
        default: default.to_owned(),
        editable: true,
        required: name == "EULA",
        secret: name == "RCON_PASSWORD",
        rule,
    }
}

fn choice(options: &[&str]) -> EnvRule {
    EnvRule::Choice { options: options.iter().map(|option| (*option).to_owned()).collect() }
}

fn plan(name: &str, players: &str, size: u32) -> Option<Plan> {
    Some(Plan {
        id: id(&name.to_lowercase())?,
        name: name.to_owned(),
        players: players.to_owned(),
        cpu_millis: 500 + 500 * size,
        memory_mib: 1_024 * size,
        storage_mib: 10_240 * size,
        month_cents: 300 * size,
        per_hour: Credits(i64::from(size) * 500_000),
    })
}

fn game(game_id: &str, name: &str, summary: &str) -> Option<Game> {
    let port = |name: &str, port, protocol| GamePort { name: name.to_owned(), port, protocol };
    Some(Game {
        id: id(game_id)?,
        name: name.to_owned(),
        summary: summary.to_owned(),
        join_hint: "In Minecraft choose Multiplayer, Add Server, and enter {address}.".to_owned(),
        image: "sample".to_owned(),
        args: vec![],
        data_path: "/data".to_owned(),
        read_only: true,
        user: None,
        capabilities: vec![],
        ports: vec![port("game", 25_565, Protocol::Tcp), port("query", 25_565, Protocol::Udp)],
        ready: Ready::TcpAccept { port: 25_565 },
        ready_within_secs: 600,
        stop: Stop { command: Some("stop".to_owned()), signal: "SIGTERM".to_owned(), wait_secs: 30 },
        save: None,
        tty: false,
        door: None,
        env: vec![
            var("EULA", "Do you agree to the Minecraft EULA?", "Needed to run the game.", "FALSE", choice(&["TRUE", "FALSE"])),
            var("DIFFICULTY", "Difficulty", "", "normal", choice(&["peaceful", "easy", "normal", "hard"])),
            var("VERSION", "Version", "A version number, or LATEST.", "LATEST", EnvRule::Text { max: 20 }),
            var("MAX_PLAYERS", "Most players", "", "20", EnvRule::Integer { min: 1, max: 200 }),
            var("LEVEL_TYPE", "World", "", "default", choice(&["default", "flat", "amplified", "large_biomes", "single"])),
            var("RCON_PASSWORD", "Console password", "Kept secret; not shown again.", "", EnvRule::Text { max: 64 }),
        ],
        plans: [plan("Small", "2-5", 1), plan("Medium", "5-15", 2), plan("Large", "15-30", 4)].into_iter().flatten().collect(),
    })
}

fn games() -> Vec<Game> {
    let all = [
        ("demo", "Demo chat room", "A small chat room from a program of our own. Nothing to download: awake in a second."),
        ("minecraft-java", "Minecraft Java", "Build, dig and survive with friends on computers."),
        ("minecraft-bedrock", "Minecraft Bedrock", "The same world on phones, consoles and Windows."),
        ("valheim", "Valheim", "Vikings, boats and trolls for up to ten."),
        ("rust", "Rust", "Survive the others. Hungry for memory."),
        ("ark", "ARK: Survival Evolved", "Tame dinosaurs, lose them, tame them again."),
        ("satisfactory", "Satisfactory", "One more conveyor belt before bed."),
    ];
    all.into_iter().filter_map(|(id, name, summary)| game(id, name, summary)).collect()
}

/// A server of a name in a phase.
pub(super) fn server(n: u8, name: &str, phase: Phase, wanted: Wanted) -> Option<Server> {
    let owner = UserId::from_random(&[n; 16]);
    let game = id("minecraft-java")?;
    let since = NOW - i64::from(n) * 7 * MINUTE - 40 * SECOND;
    let seen = if phase == Phase::Running { Seen::Running { since } } else { Seen::Asleep };
    let port = |name: &str, protocol| PublicPort { name: name.to_owned(), public: 25_000 + u16::from(n), inside: 25_565, protocol };
    Some(Server {
        id: crate::model::ids::ServerId::new(&owner, &game, [n; 6]),
        owner,
        name: name.to_owned(),
        game,
        plan: id("medium")?,
        node: crate::model::ids::NodeId::local(),
        env: [("EULA".to_owned(), "TRUE".to_owned())].into(),
        ports: vec![port("game", Protocol::Tcp), port("query", Protocol::Udp)],
        subnet: 0,
        per_hour: Credits(500_000),
        auto_sleep: true,
        idle_minutes: 15,
        life: Life {
            generation: 1,
            wanted,
            wanted_since: since,
            gently: false,
            restart_before: None,
            phase,
            phase_since: since,
            message: String::new(),
            doing: None,
            trouble: None,
            attempts: 0,
            crashes: vec![],
        },
        spec_seen: String::new(),
        seen,
        seen_at: Some(NOW - 5 * SECOND),
        quiet: Quiet { since: Some(NOW - 3 * MINUTE), measured_at: Some(NOW) },
        players: None,
        created_at: NOW - 9 * DAY,
        delete_after: None,
        region: String::new(),
        tags: Vec::new(),
        pending: None,
        covered: false,
        expired_from: None,
        layers: Vec::new(),
        layers_before: Vec::new(),
        variables: std::collections::BTreeMap::new(),
    })
}

fn pulling() -> Option<Server> {
    let mut server = server(4, RIGHT_TO_LEFT, Phase::Preparing, Wanted::Running)?;
    "Fetching itzg/minecraft-server: 12 of 18 layers, 66% of 512 MB".clone_into(&mut server.life.message);
    server.life.phase_since = NOW - 48 * SECOND;
    Some(server)
}

fn failed(name: &str, retried: bool) -> Option<Server> {
    let mut server = server(5, name, Phase::Failed, Wanted::Running)?;
    server.life.phase_since = NOW - 4 * MINUTE;
    server.life.trouble = Some(Trouble {
        what: "The kernel ended the game because it used more than its 2 GiB of memory. Choose a bigger plan or fewer players.".to_owned(),
        since: NOW - 4 * MINUTE,
        next_try: retried.then_some(NOW + 32 * SECOND),
    });
    Some(server)
}

fn fleet() -> Vec<Server> {
    let plain = [
        server(1, "Valley of Echoes", Phase::Running, Wanted::Running),
        server(2, "Sunday Builders", Phase::Sleeping, Wanted::Asleep),
        server(3, PICTURES, Phase::Starting, Wanted::Running),
        pulling(),
        failed(LONG, true),
        server(6, HOSTILE, Phase::Stopping, Wanted::Asleep),
        server(7, "Old world", Phase::Stopped, Wanted::Stopped),
        server(8, "Second home", Phase::Sleeping, Wanted::Asleep),
    ];
    plain.into_iter().flatten().collect()
}

impl Dashboard {
    /// Full, out of credits, hostile, and empty.
    pub fn samples() -> Vec<(&'static str, Dashboard)> {
        let Some(game) = game("minecraft-java", "Minecraft Java", "") else { return vec![] };
        let page = |layout, servers: Vec<Server>, balance, demo, silent| Dashboard {
            layout,
            summary: Summary::of(&servers, balance, Credits::whole(5), demo),
            cards: servers.iter().map(|server| ServerCard::of(server, &game, "play.example.org", Some(2), silent, NOW)).collect(),
            shared: server(9, RIGHT_TO_LEFT, Phase::Sleeping, Wanted::Asleep)
                .filter(|_| !demo)
                .map(|server| ServerCard { action: None, ..ServerCard::of(&server, &game, "play.example.org", None, false, NOW) })
                .into_iter()
                .collect(),
            saved: (!demo).then(|| "182.50".to_owned()),
        };
        let mut welcome = frame("/dashboard");
        welcome.notice = Some(Notice::done("Sunday Builders is falling asleep."));
        let mut demo = frame("/dashboard");
        demo.demo_credits = true;
        let asleep = |n, name| server(n, name, Phase::Sleeping, Wanted::Asleep);
        vec![
            ("usual", page(frame("/dashboard"), fleet().into_iter().take(3).collect(), Credits(98_250_000), false, false)),
            ("all", page(welcome, fleet(), Credits(98_250_000), false, false)),
            ("low", page(demo.clone(), fleet().into_iter().take(2).collect(), Credits(3_250_000), true, false)),
            (
                "out",
                page(
                    staff("/dashboard"),
                    [asleep(2, HOSTILE), asleep(3, LONG)].into_iter().flatten().collect(),
                    Credits::ZERO,
                    false,
                    true,
                ),
            ),
            ("empty", page(frame("/dashboard"), vec![], Credits::whole(100), false, false)),
        ]
    }
}

impl CreatePage {
    /// Nothing chosen, a game chosen, refused.
    pub fn samples() -> Vec<(&'static str, CreatePage)> {
        let games = games();
        let Some(chosen) = games.get(1) else { return vec![] };
        let choices = |chosen: &str| games.iter().map(|game| GameChoice::of(game, game.id.as_str() == chosen)).collect::<Vec<_>>();
        let typed: ByField =
            [("name", HOSTILE), ("plan", "huge"), ("idle_minutes", "-3"), ("env.VERSION", "${HOME}\"'<b>"), ("env.EULA", "FALSE")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let errors: ByField = [
            ("name", "A name has at most 60 characters."),
            ("plan", "There is no such size. Choose one of these."),
            ("idle_minutes", "Choose from 1 to 1440 minutes."),
            ("env.EULA", "Do you agree to the Minecraft EULA? must be Yes."),
            ("env.VERSION", "Version cannot contain line breaks or control characters"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let [fresh, filled, wrong] = layers::forms();
        let with = |form: CreateForm, layers| Some(CreateForm { layers: Some(layers), ..form });
        let plain = || CreateForm::of(chosen, "eur", &ByField::new(), &ByField::new());
        let mut poor = CreateForm::of(chosen, "eur", &ByField::new(), &ByField::new());
        poor.warning = Some("You are out of credits: the server is made, and sleeps until there are some.".to_owned());
        let page = |layout, chosen: &str, form| CreatePage { layout, games: choices(chosen), form };
        vec![
            ("choose", page(frame("/servers/create"), "", None)),
            ("form", page(frame("/servers/create"), "minecraft-java", Some(CreateForm { months: true, ..plain() }))),
            ("refused", page(staff("/servers/create"), "minecraft-java", Some(CreateForm::of(chosen, "eur", &typed, &errors)))),
            ("layers", page(frame("/servers/create"), "minecraft-java", with(plain(), fresh))),
            ("layers-filled", page(frame("/servers/create"), "minecraft-java", with(plain(), filled))),
            (
                "layers-refused",
                page(frame("/servers/create"), "minecraft-java", with(CreateForm::of(chosen, "eur", &typed, &errors), wrong)),
            ),
            ("poor", page(frame("/servers/create"), "minecraft-java", Some(poor))),
        ]
    }
}

fn used(server: &Server) -> DiskUse {
    let mib = if server.life.phase == Phase::Stopped { 11_000 } else { 9_400 };
    DiskUse { bytes: mib << 20, files: 1_203, whole: true, at: NOW }
}

fn measured(server: &Server) -> Vec<Sample> {
    if server.life.phase != Phase::Running {
        return vec![];
    }
    let wave = |n: i64| u32::try_from(300 + (n * 37) % 211 + if n % 29 < 4 { 500 } else { 0 }).unwrap_or(0);
    let sample = |n: i64| Sample {
        at: NOW - HOUR + n * 30 * SECOND,
        cpu_millis: Some(wave(n)),
        memory_mib: Some(900 + wave(n) / 20 + u32::try_from(n * 4).unwrap_or(0)),
        players: Some(2),
    };
    (20..120).filter(|n| !(60..70).contains(n)).map(sample).collect()
}

fn log() -> Vec<LogLine> {
    let lines = [
        "[init] Running as uid=1000 gid=1000 with /data as 'drwxrwxr-x 2 1000 1000 4096 /data'",
        "\u{1b}[36m[14:04:58 INFO]\u{1b}[0m: Starting minecraft server version 1.21.4",
        "\u{1b}[36m[14:04:58 INFO]\u{1b}[0m: Loading properties",
        "\u{1b}[33m[14:04:59 WARN]\u{1b}[0m: Ambiguity between arguments [teleport, destination] and [teleport, targets]",
        "\u{1b}[36m[14:05:02 INFO]\u{1b}[0m: Preparing level \"world\"",
        "\u{1b}[36m[14:05:06 INFO]\u{1b}[0m: \u{1b}[32mDone (7.412s)!\u{1b}[0m For help, type \"help\"",
        "\u{1b}[36m[14:05:09 INFO]\u{1b}[0m: ada joined the game",
        "\u{1b}[36m[14:05:10 INFO]\u{1b}[0m: <ada> \u{1b}[1;35m<script>alert('log')</script>\u{1b}[0m & \"quotes\"",
        "\u{1b}[1;31m[14:05:11 ERROR]\u{1b}[0m: Can't keep up! Is the server overloaded? Running 2041ms or 40 ticks behind, which is a long line that has to be broken somewhere so that nobody has to scroll sideways for ever",
        "\u{1b}[30mblack\u{1b}[31mred\u{1b}[32mgreen\u{1b}[33myellow\u{1b}[34mblue\u{1b}[35mmagenta\u{1b}[36mcyan\u{1b}[37mwhite \u{1b}[90mblack\u{1b}[91mred\u{1b}[92mgreen\u{1b}[93myellow\u{1b}[94mblue\u{1b}[95mmagenta\u{1b}[96mcyan\u{1b}[97mwhite\u{1b}[0m \u{1b}[7mreverse\u{1b}[0m \u{1b}[41mpaper\u{1b}[0m",
    ];
    (1_795_183_500_000_000_000u64..).zip(lines).map(|(seq, text)| LogLine { seq, text: text.to_owned() }).collect()
}

fn history(words: &str) -> EventRows {
    let row = |minutes: i64, sign, what: &str, who: &str| EventRow {
        at: Moment::relative(NOW - minutes * MINUTE, NOW),
        sign,
        what: what.to_owned(),
        who: who.to_owned(),
    };
    EventRows {
        rows: vec![
            row(7, "sun", "Awake after 8 s", "woken by a player from 203.0.113.7"),
            row(8, "dawn", "Waking up", "somebody joined on port 25001"),
            row(66, "moon", "Asleep", "quiet for 15 minutes"),
            row(190, "alert", "Crashed with exit code 1, started again", ""),
            row(300, "again", &format!("Renamed to {words}"), "ada@example.org"),
            row(9 * 24 * 60, "plus", "Made", "ada@example.org"),
        ],
    }
}

/// Each way to stand by the month with another phase, so that all of them are shown.
fn month(server: &Server) -> MonthPart {
    let [offer, opening, covered, ends, unpaid] = super::payments::months();
    match server.life.phase {
        Phase::Running => covered,
        Phase::Sleeping => ends,
        Phase::Starting => opening,
        Phase::Expired | Phase::Failed => unpaid,
        Phase::Requested | Phase::Preparing | Phase::Stopping | Phase::Stopped | Phase::Destroyed => offer,
    }
}

impl ServerPage {
    /// Awake, asleep, fetching, in trouble, refused, seen by somebody who may only look.
    pub fn samples() -> Vec<(&'static str, ServerPage)> {
        let all = [
            ("awake", server(1, "Valley of Echoes", Phase::Running, Wanted::Running)),
            ("asleep", server(2, "Sunday Builders", Phase::Sleeping, Wanted::Asleep)),
            ("fetching", pulling()),
            ("waking", server(1, PICTURES, Phase::Starting, Wanted::Running)),
            ("retrying", failed(HOSTILE, true)),
            ("failed", failed(LONG, false)),
            ("stopped", server(7, "Old world", Phase::Stopped, Wanted::Stopped)),
        ];
        let mut pages: Vec<_> = all.into_iter().filter_map(|(what, server)| Some((what, ServerPage::sample(&server?)?))).collect();
        pages.extend(
            server(2, HOSTILE, Phase::Sleeping, Wanted::Asleep)
                .and_then(|server| ServerPage::sample_refused(&server))
                .map(|page| ("refused", page)),
        );
        pages.extend(
            server(1, "Somebody else’s", Phase::Running, Wanted::Running)
                .and_then(|server| ServerPage::sample_looking(&server))
                .map(|page| ("looking", page)),
        );
        pages
    }

    fn sample(server: &Server) -> Option<ServerPage> {
        let game = game("minecraft-java", "Minecraft Java", "")?;
        let rules = Rules { cpu_below_permille: 50, awake_at_least: 5 * MINUTE };
        let loses = ["its world and every file in its folder (1.2 GiB)", "its address play.example.org:25001", "its log and settings"];
        let lines = if server.life.phase == Phase::Stopped { vec![] } else { log() };
        Some(ServerPage {
            layout: frame("/servers/x"),
            head: ServerHead::of(server, &game, "play.example.org", Some(8 * SECOND), true, false, NOW),
            stats: ServerStats::of(server, game.plan(&server.plan)?, &measured(server), Some(&used(server)), rules, NOW),
            log: LogLines::whole(&lines, true, "Overwrite the old world? [y/N] "),
            may_type: server.life.phase == Phase::Running,
            may_share: true,
            leave: None,
            events: history(&server.name),
            layers: (server.life.phase == Phase::Running).then(|| LayersPart {
                rows: layers::standing(),
                waits: Some(Moment::relative(NOW - MINUTE, NOW)),
                may_change: true,
            }),
            backups: BackupsPart {
                last: super::backups::backup(2, Reason::Schedule, State::Done, MINUTE).map(|backup| BackupRow::of(&backup, NOW)),
                count: 3,
                next: (server.life.phase == Phase::Running).then(|| Moment::relative(NOW + HOUR, NOW)),
            },
            month: Some(month(server)),
            settings: Some(SettingsForm::of(server, &game, None, &ByField::new())),
            delete: Some(DeleteForm::of(loses.map(str::to_owned).to_vec(), "", None)),
        })
    }

    fn sample_refused(server: &Server) -> Option<ServerPage> {
        let game = game("minecraft-java", "Minecraft Java", "")?;
        let errors = ByField::from([("name".to_owned(), "Give the server a name.".to_owned())]);
        let mut page = ServerPage::sample(server)?;
        page.layout = staff("/servers/x");
        page.settings = Some(SettingsForm::of(server, &game, Some(&ByField::new()), &errors));
        page.delete = Some(DeleteForm::of(vec![HOSTILE.to_owned()], HOSTILE, Some("That is not its name.".to_owned())));
        page.head.no_wake = Some("It cannot wake: you are out of credits.".to_owned());
        Some(page)
    }

    fn sample_looking(server: &Server) -> Option<ServerPage> {
        let mut page = ServerPage::sample(server)?;
        page.head.actions.clear();
        page.head.last_seen = Some(Moment::relative(NOW - 4 * MINUTE, NOW));
        page.layers = Some(LayersPart { rows: vec![], waits: None, may_change: false });
        page.backups = BackupsPart { last: None, count: 0, next: None };
        (page.settings, page.delete, page.may_type, page.may_share) = (None, None, false, false);
        page.leave = Some("aaaaaaaaaaaaaaaa".to_owned());
        Some(page)
    }
}

impl LogPage {
    /// With lines and without.
    pub fn samples() -> Vec<(&'static str, LogPage)> {
        let page = |name: &str, lines: &[LogLine]| LogPage {
            layout: frame("/servers/x"),
            id: "aaaaaaaa-mi-bbbbbb".to_owned(),
            name: name.to_owned(),
            log: LogLines::whole(lines, false, ""),
            why_empty: "Its machine cannot be reached right now, so there is no log to show.".to_owned(),
        };
        vec![("lines", page(HOSTILE, &log())), ("empty", page("Sunday Builders", &[]))]
    }
}
