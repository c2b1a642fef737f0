//! The catalogue that is shipped: every file under `seeds/games/` reads into the model, keeps its own rules, and still says what the
//! product was asked to offer (images, ports, plans and prices).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use roost::model::games::{EnvRule, Game, Protocol, Ready};
use roost::model::money::{Credits, MICRO};

/// Capabilities that a node lets a game keep at most.
const CAPABILITIES: [&str; 5] = ["CHOWN", "SETUID", "SETGID", "DAC_OVERRIDE", "FOWNER"];
/// Helpers of the sidecar that tell looking from joining.
const DOORS: [&str; 3] = ["minecraft-java", "minecraft-bedrock", "source-query"];

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/games");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Game {
    let text = fs::read_to_string(path).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn games() -> Vec<Game> {
    files().iter().map(|path| read(path)).collect()
}

fn game(id: &str) -> Game {
    games().into_iter().find(|game| game.id.as_str() == id).unwrap_or_else(|| panic!("no game {id}"))
}

#[test]
fn every_file_is_named_after_its_game_and_nothing_stands_twice() {
    for path in files() {
        let game = read(&path);
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{}.toml", game.id));
        let plans: BTreeSet<_> = game.plans.iter().map(|plan| plan.id.clone()).collect();
        assert_eq!(plans.len(), game.plans.len(), "{}: a plan stands twice", game.id);
        let names: BTreeSet<_> = game.env.iter().map(|var| var.name.clone()).collect();
        assert_eq!(names.len(), game.env.len(), "{}: a variable stands twice", game.id);
        let ports: BTreeSet<_> = game.ports.iter().map(|port| (port.port, port.protocol)).collect();
        assert_eq!(ports.len(), game.ports.len(), "{}: a port stands twice", game.id);
    }
}

#[test]
fn every_game_can_be_joined_waited_for_and_ended() {
    for game in games() {
        let id = &game.id;
        assert!(!game.ports.is_empty() && game.ports.iter().all(|port| port.port > 0 && !port.name.is_empty()), "{id}: ports");
        let names = |part| game.join_hint.contains(part);
        assert!(names("{address}") || (names("{host}") && names("{port}")), "{id}: the way to join does not name the address");
        assert!(game.summary.ends_with('.') && game.summary.len() <= 160, "{id}: summary");
        assert!((30..=3600).contains(&game.ready_within_secs), "{id}: ready_within_secs");
        assert!((1..=600).contains(&game.stop.wait_secs) && game.stop.signal.starts_with("SIG"), "{id}: stop");
        assert!(game.data_path.starts_with('/') && game.data_path.len() > 1 && !game.data_path.contains(".."), "{id}: data_path");
        assert!(game.capabilities.iter().all(|name| CAPABILITIES.contains(&name.as_str())), "{id}: capabilities");
        assert!(game.door.as_deref().is_none_or(|door| DOORS.contains(&door)), "{id}: door");
        let listens = |port, protocol| game.ports.iter().any(|one| one.port == port && one.protocol == protocol);
        match &game.ready {
            Ready::TcpAccept { port } => assert!(listens(*port, Protocol::Tcp), "{id}: ready on a port that it does not have"),
            Ready::UdpAnswer { port, send_hex } => {
                assert!(listens(*port, Protocol::Udp), "{id}: ready on a port that it does not have");
                assert!(!hex::decode(send_hex).unwrap().is_empty(), "{id}: an empty question");
            }
            Ready::LogLine { contains } => assert!(!contains.is_empty(), "{id}: any line would do"),
        }
    }
}

#[test]
fn defaults_keep_their_own_rules_and_only_what_the_player_must_say_is_left_empty() {
    for game in games() {
        for var in &game.env {
            let (id, name) = (&game.id, &var.name);
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{id}: {name}");
            assert!(!var.label.is_empty() && (var.help.is_empty() || var.help.ends_with('.')), "{id}: {name}");
            let left_to_the_player = var.editable && var.required && var.default.is_empty();
            assert_eq!(var.check(&var.default).is_err(), left_to_the_player, "{id}: default of {name}");
            assert!(!var.secret || var.default.is_empty(), "{id}: {name} is a secret that everyone can read here");
            match &var.rule {
                EnvRule::Text { max } => assert!((1..=200).contains(max), "{id}: {name}"),
                EnvRule::Word { min, max } => assert!(min <= max && (1..=64).contains(max), "{id}: {name}"),
                EnvRule::Integer { min, max } => assert!(min <= max, "{id}: {name}"),
                EnvRule::Choice { options } => assert!(!options.is_empty(), "{id}: {name}"),
            }
        }
    }
}

#[test]
fn plans_grow_and_every_running_hour_costs_half_a_credit() {
    for game in games() {
        assert!(!game.plans.is_empty(), "{}: no plan", game.id);
        for plan in &game.plans {
            assert_eq!(plan.per_hour, Credits(MICRO / 2), "{} {}", game.id, plan.id);
            assert!(plan.cpu_millis >= 100 && plan.memory_mib >= 16 && plan.storage_mib >= 16, "{} {}", game.id, plan.id);
        }
        let size = |n: usize| (game.plans[n].cpu_millis, game.plans[n].memory_mib, game.plans[n].month_cents);
        assert!((1..game.plans.len()).all(|n| size(n - 1) < size(n)), "{}: plans are not in order of size", game.id);
    }
}

#[test]
fn the_demo_needs_nothing_from_outside() {
    let demo = game("demo");
    assert_eq!(demo.image, "roost/demo:1");
    assert_eq!(demo.port_numbers(), [(7777, vec![Protocol::Tcp, Protocol::Udp])]);
    assert_eq!(demo.ready, Ready::TcpAccept { port: 7777 });
    let env = demo.environment(&[("START_DELAY_MS".to_owned(), "60000".to_owned())].into()).unwrap();
    assert_eq!(env.keys().collect::<Vec<_>>(), ["MOTD", "START_DELAY_MS"]);
    assert!(demo.environment(&[("START_DELAY_MS".to_owned(), "60001".to_owned())].into()).is_err());
}

/// What the product was asked to offer: id, image, ports, and per plan cores, GiB of memory, GiB of disk and cents a month.
type Asked = (&'static str, &'static str, &'static [(u16, Protocol)], &'static [(&'static str, &'static str, u32, u32, u32, u32)]);

#[test]
fn the_catalogue_offers_what_was_asked_for() {
    use Protocol::{Tcp, Udp};
    let asked: [Asked; 5] = [
        (
            "minecraft-java",
            "itzg/minecraft-server:latest",
            &[(25565, Tcp)],
            &[("starter", "2-5", 2, 2, 10, 300), ("standard", "5-15", 3, 4, 25, 600), ("performance", "15-30", 4, 8, 50, 1200)],
        ),
        (
            "minecraft-bedrock",
            "itzg/minecraft-bedrock-server:latest",
            &[(19132, Udp)],
            &[("starter", "2-5", 1, 1, 5, 200), ("standard", "5-10", 2, 2, 10, 400)],
        ),
        (
            "valheim",
            "lloesche/valheim-server:latest",
            &[(2456, Udp), (2457, Udp)],
            &[("starter", "2-4", 2, 4, 10, 500), ("standard", "4-8", 3, 6, 20, 800)],
        ),
        (
            "rust",
            "didstopia/rust-server:latest",
            &[(28015, Udp), (28016, Tcp)],
            &[("starter", "10-25", 3, 6, 20, 800), ("standard", "25-50", 4, 10, 40, 1500)],
        ),
        (
            "ark",
            "hermsi/ark-server:latest",
            &[(7777, Udp), (27015, Udp), (27020, Tcp)],
            &[("starter", "5-10", 4, 8, 30, 1200), ("standard", "10-25", 6, 12, 60, 2000)],
        ),
    ];
    for (id, image, ports, plans) in asked {
        let game = game(id);
        assert_eq!(game.image, image);
        let have: Vec<_> = game.ports.iter().map(|port| (port.port, port.protocol)).collect();
        assert_eq!(&have[..ports.len()], ports, "{id}");
        let have: Vec<_> = game
            .plans
            .iter()
            .map(|p| (p.id.as_str(), p.players.as_str(), p.cpu_millis, p.memory_mib, p.storage_mib, p.month_cents))
            .collect();
        let want: Vec<_> = plans
            .iter()
            .map(|(id, players, cores, memory, disk, cents)| (*id, *players, cores * 1000, memory * 1024, disk * 1024, *cents))
            .collect();
        assert_eq!(have, want, "{id}");
    }
    let satisfactory = game("satisfactory");
    assert_eq!(satisfactory.image, "wolveix/satisfactory-server:latest");
    assert_eq!((satisfactory.ports[0].port, satisfactory.ports[0].protocol), (7777, Udp));
    assert!(satisfactory.plans[0].memory_mib >= 8 * 1024 && satisfactory.plans[0].cpu_millis >= 4000);
    assert_eq!(games().len(), asked.len() + 2, "a game more than this test knows");
}

#[test]
fn environment_that_was_asked_for_is_there() {
    let accepts = |id: &str, name: &str, value: &str| {
        let game = game(id);
        let var = game.env.iter().find(|var| var.name == name).unwrap_or_else(|| panic!("{id} has no {name}"));
        assert_eq!(var.check(value), Ok(()), "{id}: {name}={value}");
    };
    accepts("minecraft-java", "EULA", "TRUE");
    accepts("minecraft-java", "TYPE", "PAPER");
    accepts("minecraft-bedrock", "EULA", "TRUE");
    accepts("valheim", "SERVER_PUBLIC", "false");
    let short = game("valheim").env.iter().find(|var| var.name == "SERVER_PASS").unwrap().check("four");
    assert!(short.is_err(), "a password that the game itself would refuse");
    assert_eq!(game("minecraft-java").environment(&[].into()).unwrap_err()[0].0, "EULA", "the licence is the player's to accept");
}
