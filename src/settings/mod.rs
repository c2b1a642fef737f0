//! Settings: from the environment and an optional `roost.toml`, one struct for each section, checked at start.
//!
//! The names are the same in both places, upper case in the environment and lower case in the file; the environment wins.
//! A key that nobody knows, or a value that cannot be, stops the start and is named.

mod host;
mod identity;
pub mod link;
mod mail;
mod objects;
mod payments;
pub mod secrets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::Value;

pub use host::Hosts;
pub use mail::Mail;
pub use objects::Objects;
pub use payments::Payments;

use crate::identity::Setup;
use crate::model::addresses::before_a_port;
use crate::model::money::Credits;
use crate::model::placing::Overcommit;
use crate::model::secrets::Secret;

/// Least and most of what may be promised, in percent.
const PROMISE: (u32, u32) = (10, 10_000);
/// Fewest characters of a secret that somebody sets.
const SECRET_MIN: usize = 16;

/// The whole of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Web pages and API.
    pub web: Web,
    /// Where things are kept.
    pub data: Data,
    /// Where templates and backups are kept.
    pub objects: Objects,
    /// The node inside the panel, or the agent of this machine.
    pub node: Node,
    /// Between panel and nodes.
    pub link: link::Link,
    /// Credits.
    pub credits: Money,
    /// Letters.
    pub mail: Mail,
    /// Where people may sign in with an account from elsewhere.
    pub providers: Vec<Setup>,
    /// Payments.
    pub payments: Payments,
    /// Sleeping and reconciling.
    pub life: Life,
    /// What the program says of itself.
    pub log: Log,
}

/// Web pages and API.
#[derive(Debug, Clone)]
pub struct Web {
    /// `LISTEN`: address and port. `[::]` takes IPv4 as well.
    pub listen: SocketAddr,
    /// `BACKEND_URL`: how people reach the panel.
    pub backend_url: String,
    /// The host of `BACKEND_URL`; an IPv6 address in brackets.
    pub host: String,
    /// `ALLOWED_HOSTS`: host names that requests may name.
    pub hosts: Hosts,
    /// `SECURE_COOKIES`: only over HTTPS; follows `BACKEND_URL` where unset.
    pub secure_cookies: bool,
    /// `TRUST_FORWARDED_FOR`: a proxy of ours stands in front and sets `X-Forwarded-For`.
    pub trust_forwarded_for: bool,
    /// `CONNECTIONS_PER_ADDRESS`: most open connections of one address; without effect behind a proxy of ours.
    pub connections_per_address: u32,
    /// `REQUESTS_PER_MINUTE`: most requests of one token or session, and five times as many of one address; 0: no limit.
    pub requests_per_minute: u32,
    /// `MAX_BODY_BYTES`: largest request.
    pub max_body_bytes: usize,
    /// `OPEN_REGISTRATION`: strangers may make accounts.
    pub open_registration: bool,
    /// `SERVERS_MAX`: most servers of one account.
    pub servers_max: u32,
    /// `WEBHOOK_SECRET`: sidecars that reach the panel itself sign with keys derived from it; none: made and kept.
    pub webhook_secret: Option<Secret>,
    /// `SECRET_KEY`: what the panel seals and signs for itself depends on it; none: made and kept.
    pub secret_key: Option<Secret>,
}

/// Where things are kept.
#[derive(Debug, Clone)]
pub struct Data {
    /// `DATA_DIR`: folder of all that is kept.
    pub dir: PathBuf,
    /// `DATABASE_URL`: `sqlite://path` or `postgres://...`.
    pub database_url: String,
    /// `GAMES_DIR`: games of one's own, a file each, read beside those that come with Roost; one of the same id replaces it.
    pub games_dir: PathBuf,
}

/// The node inside the panel.
#[derive(Debug, Clone)]
pub struct Node {
    /// `EMBEDDED_NODE`: run one at all.
    pub embedded: bool,
    /// `PUBLIC_HOST`: host name or address that players use.
    pub public_host: String,
    /// It was set, and does not just follow `BACKEND_URL`.
    pub public_host_is_set: bool,
    /// `BIND_HOST`: address that public ports listen on.
    pub bind_host: String,
    /// `PORT_RANGE`: first and last public port.
    pub ports: (u16, u16),
    /// `SUBNET_POOL`: private networks of servers are /29s out of this.
    pub subnet_pool: String,
    /// How many /29s the pool holds.
    pub subnets: u32,
    /// `PROMISE_CPU`, `PROMISE_MEMORY`, `PROMISE_DISK`: how much of what a node has may be promised to its servers, in percent.
    pub overcommit: Overcommit,
    /// `GAME_FIREWALL`: keep games away from private addresses.
    pub firewall: bool,
    /// `PROXY_BINARY`: the static sidecar program.
    pub proxy_binary: PathBuf,
    /// `HOLD_SECS`: longest wait of a player at the door.
    pub hold_secs: u32,
}

/// Credits.
#[derive(Debug, Clone)]
pub struct Money {
    /// `SIGNUP_CREDITS`: what a new account gets.
    pub signup: Credits,
    /// `DEMO_TOP_UP`: everybody may top up freely.
    pub demo_top_up: bool,
    /// `BILLING_INTERVAL`.
    pub billing_every: Duration,
}

/// Sleeping and reconciling.
#[derive(Debug, Clone)]
pub struct Life {
    /// `RECONCILE_INTERVAL`.
    pub reconcile_every: Duration,
    /// `AUTO_SLEEP_INTERVAL`.
    pub auto_sleep_every: Duration,
    /// `IDLE_MINUTES`: of a new server.
    pub idle_minutes: u32,
    /// `IDLE_CPU_PERCENT`: below this share of its plan a game is quiet.
    pub idle_cpu_percent: u32,
    /// `AWAKE_MINUTES`: a server that woke stays awake at least this long.
    pub awake_minutes: u32,
}

/// What the program says of itself.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG_FORMAT`: `json` or `text`.
    pub json: bool,
    /// `LOG_LEVEL`: a filter such as `info` or `roost=debug,info`.
    pub level: String,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{file} cannot be read as settings")]
    File {
        /// Which.
        file: String,
        /// Where and why.
        #[source]
        source: Box<figment::Error>,
    },
    /// Nobody knows this key.
    #[error("{0} is not a setting; the README lists them all")]
    Unknown(String),
    /// The value does not fit.
    #[error("{name} is \"{value}\", and should be {expected}")]
    Bad {
        /// Which.
        name: String,
        /// What it is.
        value: String,
        /// What it should be.
        expected: String,
    },
}

/// Reads settings and remembers which were asked for, so that the rest can be refused.
struct Reader {
    file: BTreeMap<String, Value>,
    env: BTreeMap<String, String>,
}

impl Reader {
    fn text(&mut self, name: &str, default: &str) -> String {
        let from_file = self.file.remove(&name.to_lowercase()).map(|value| match value {
            Value::String(_, text) => text,
            Value::Bool(_, yes) => yes.to_string(),
            Value::Num(_, number) => number.to_i128().map(|n| n.to_string()).or(number.to_f64().map(|n| n.to_string())).unwrap_or_default(),
            other => format!("{other:?}"),
        });
        self.env.remove(name).filter(|value| !value.is_empty()).or(from_file).unwrap_or_else(|| default.to_owned())
    }

    fn secret(&mut self, name: &str) -> Result<Option<Secret>, SettingsError> {
        let value = self.text(name, "");
        match value.len() {
            0 => Ok(None),
            1..SECRET_MIN => Err(bad(name, "(hidden)", &format!("at least {SECRET_MIN} characters long"))),
            _ => Ok(Some(Secret::new(value))),
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: &str, expected: &str) -> Result<T, SettingsError> {
        let value = self.text(name, default);
        value.parse().map_err(|_| bad(name, &value, expected))
    }

    fn number(&mut self, name: &str, default: &str, (low, high): (u32, u32)) -> Result<u32, SettingsError> {
        let value = self.text(name, default);
        let expected = || format!("a whole number from {low} to {high}");
        value.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(|| bad(name, &value, &expected()))
    }

    fn yes(&mut self, name: &str, default: bool) -> Result<bool, SettingsError> {
        let value = self.text(name, if default { "true" } else { "false" });
        match value.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(bad(name, &value, "true or false")),
        }
    }

    /// `30s`, `5m`, `1h`, or seconds without a letter; up to a day.
    fn span(&mut self, name: &str, default: &str) -> Result<Duration, SettingsError> {
        let value = self.text(name, default);
        let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
        let factor = match unit {
            "" | "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3_600),
            _ => None,
        };
        let secs = digits.parse::<u64>().ok().zip(factor).map(|(number, factor)| number.saturating_mul(factor));
        secs.filter(|secs| (1..=86_400).contains(secs))
            .map(Duration::from_secs)
            .ok_or_else(|| bad(name, &value, "a time such as 30s, 5m or 1h, from one second to a day"))
    }
}

fn bad(name: &str, value: &str, expected: &str) -> SettingsError {
    let hidden = ["URL", "KEY", "SECRET"].iter().any(|word| name.contains(word));
    let value = if hidden { "(hidden)" } else { value };
    SettingsError::Bad { name: name.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
}

impl Settings {
    /// Reads `file`, if it is there, and the given environment.
    pub fn read(file: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Settings, SettingsError> {
        let shown = file.display().to_string();
        let file =
            Figment::from(Toml::file(file)).extract().map_err(|error| SettingsError::File { file: shown, source: Box::new(error) })?;
        let mut reader = Reader { file, env: env.into_iter().collect() };
        let data = Data::read(&mut reader);
        let web = Web::read(&mut reader)?;
        let settings = Settings {
            node: Node::read(&mut reader, &web)?,
            link: link::Link::read(&mut reader, &web)?,
            credits: Money::read(&mut reader)?,
            mail: Mail::read(&mut reader, &web)?,
            providers: identity::read(&mut reader)?,
            payments: Payments::read(&mut reader)?,
            life: Life::read(&mut reader)?,
            log: Log::read(&mut reader)?,
            objects: Objects::read(&mut reader, &data.dir)?,
            web,
            data,
        };
        match reader.file.into_keys().next() {
            Some(unknown) => Err(SettingsError::Unknown(unknown)),
            None => Ok(settings),
        }
    }
}

impl Data {
    fn read(reader: &mut Reader) -> Data {
        let dir = reader.text("DATA_DIR", "data");
        let database_url = reader.text("DATABASE_URL", &format!("sqlite://{dir}/roost.db"));
        let games_dir = reader.text("GAMES_DIR", &format!("{dir}/games")).into();
        Data { dir: dir.into(), database_url, games_dir }
    }
}

impl Web {
    fn read(reader: &mut Reader) -> Result<Web, SettingsError> {
        let backend_url = reader.text("BACKEND_URL", "http://localhost:8000").trim_end_matches('/').to_owned();
        let Some(host) = host::host(&backend_url) else {
            return Err(SettingsError::Bad {
                name: "BACKEND_URL".to_owned(),
                value: backend_url,
                expected: "an address such as https://panel.example.org".to_owned(),
            });
        };
        let hosts = Hosts::read(&reader.text("ALLOWED_HOSTS", ""), &host);
        Ok(Web {
            listen: reader.parsed("LISTEN", "[::]:8000", "an address and port such as 0.0.0.0:8000")?,
            host,
            hosts,
            secure_cookies: reader.yes("SECURE_COOKIES", backend_url.starts_with("https://"))?,
            trust_forwarded_for: reader.yes("TRUST_FORWARDED_FOR", false)?,
            connections_per_address: reader.number("CONNECTIONS_PER_ADDRESS", "256", (1, 100_000))?,
            requests_per_minute: reader.number("REQUESTS_PER_MINUTE", "3000", (0, 1_000_000))?,
            max_body_bytes: reader.number("MAX_BODY_BYTES", "65536", (1_024, 16 << 20))? as usize,
            open_registration: reader.yes("OPEN_REGISTRATION", true)?,
            servers_max: reader.number("SERVERS_MAX", "50", (1, 10_000))?,
            webhook_secret: reader.secret("WEBHOOK_SECRET")?,
            secret_key: reader.secret("SECRET_KEY")?,
            backend_url,
        })
    }
}

impl Node {
    fn read(reader: &mut Reader, web: &Web) -> Result<Node, SettingsError> {
        let range = reader.text("PORT_RANGE", "25000-29999");
        let ports = range.split_once('-').and_then(|(low, high)| Some((low.parse::<u16>().ok()?, high.parse::<u16>().ok()?)));
        let ports = ports.filter(|(low, high)| *low >= 1_024 && low <= high);
        let ports = ports.ok_or_else(|| bad("PORT_RANGE", &range, "two ports from 1024 up, such as 25000-29999"))?;
        let subnet_pool = reader.text("SUBNET_POOL", "10.83.0.0/16");
        let bits = subnet_pool
            .split_once('/')
            .and_then(|(address, bits)| address.parse::<std::net::Ipv4Addr>().ok().zip(bits.parse::<u32>().ok()).map(|(_, bits)| bits));
        let bits = bits.filter(|bits| (8..=29).contains(bits));
        let bits = bits.ok_or_else(|| bad("SUBNET_POOL", &subnet_pool, "an IPv4 network of /8 to /29, such as 10.83.0.0/16"))?;
        let public_host = reader.text("PUBLIC_HOST", "");
        Ok(Node {
            embedded: reader.yes("EMBEDDED_NODE", true)?,
            public_host_is_set: !public_host.is_empty(),
            public_host: if public_host.is_empty() { web.host.clone() } else { before_a_port(&public_host) },
            bind_host: reader
                .parsed::<std::net::IpAddr>("BIND_HOST", "0.0.0.0", "an address of this machine, or 0.0.0.0 for all")?
                .to_string(),
            ports,
            subnets: 1 << (29 - bits).min(20),
            subnet_pool,
            overcommit: Overcommit {
                cpu: reader.number("PROMISE_CPU", "800", PROMISE)?,
                memory: reader.number("PROMISE_MEMORY", "300", PROMISE)?,
                disk: reader.number("PROMISE_DISK", "200", PROMISE)?,
            },
            firewall: reader.yes("GAME_FIREWALL", true)?,
            proxy_binary: reader.text("PROXY_BINARY", &beside_this_program("roost-proxy")).into(),
            hold_secs: reader.number("HOLD_SECS", "60", (5, 600))?,
        })
    }
}

fn beside_this_program(name: &str) -> String {
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    here.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

impl Money {
    fn read(reader: &mut Reader) -> Result<Money, SettingsError> {
        Ok(Money {
            signup: reader.parsed("SIGNUP_CREDITS", "100", "an amount of credits such as 100 or 12.50")?,
            demo_top_up: reader.yes("DEMO_TOP_UP", false)?,
            billing_every: reader.span("BILLING_INTERVAL", "1m")?,
        })
    }
}

impl Life {
    fn read(reader: &mut Reader) -> Result<Life, SettingsError> {
        Ok(Life {
            reconcile_every: reader.span("RECONCILE_INTERVAL", "30s")?,
            auto_sleep_every: reader.span("AUTO_SLEEP_INTERVAL", "5m")?,
            idle_minutes: reader.number("IDLE_MINUTES", "15", (1, 1_440))?,
            idle_cpu_percent: reader.number("IDLE_CPU_PERCENT", "5", (1, 100))?,
            awake_minutes: reader.number("AWAKE_MINUTES", "5", (0, 1_440))?,
        })
    }
}

impl Log {
    fn read(reader: &mut Reader) -> Result<Log, SettingsError> {
        let format = reader.text("LOG_FORMAT", "json");
        match format.as_str() {
            "json" | "text" => Ok(Log { json: format == "json", level: reader.text("LOG_LEVEL", "info") }),
            _ => Err(bad("LOG_FORMAT", &format, "json or text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(Path::new("/nonexistent/roost.toml"), pairs)
    }

    #[test]
    fn without_settings_the_defaults_of_the_design_hold() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.data.database_url, "sqlite://data/roost.db");
        assert_eq!(settings.node.ports, (25_000, 29_999));
        assert_eq!(settings.node.subnets, 8_192);
        assert_eq!(settings.credits.signup, Credits::whole(100));
        assert_eq!(settings.life.auto_sleep_every, Duration::from_mins(5));
        assert!(!settings.credits.demo_top_up && !settings.web.secure_cookies);
    }

    #[test]
    fn a_value_that_cannot_be_is_named() {
        let table = [
            ("LISTEN", "everywhere"),
            ("PORT_RANGE", "29999-25000"),
            ("SUBNET_POOL", "10.0.0.0/30"),
            ("SIGNUP_CREDITS", "many"),
            ("RECONCILE_INTERVAL", "0"),
            ("IDLE_CPU_PERCENT", "101"),
            ("DEMO_TOP_UP", "maybe"),
            ("BACKEND_URL", "panel.example.org"),
            ("LOG_FORMAT", "xml"),
        ];
        for (name, value) in table {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn the_file_is_read_the_environment_wins_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roost.toml");
        std::fs::write(&file, "idle_minutes = 30\nawake_minutes = 1\n").unwrap();
        let env = [("IDLE_MINUTES".to_owned(), "20".to_owned())];
        let settings = Settings::read(&file, env).unwrap();
        assert_eq!((settings.life.idle_minutes, settings.life.awake_minutes), (20, 1));
        std::fs::write(&file, "idle_minuets = 30\n").unwrap();
        let error = Settings::read(&file, []).unwrap_err().to_string();
        assert!(error.starts_with("idle_minuets is not a setting"), "{error}");
    }
}
