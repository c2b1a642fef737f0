//! The catalogue: games, their ports, environment, readiness, way to stop, and the plans they come in.
//!
//! Read from `seeds/` at start, kept in the database, and copied into every `wire::spec::InstanceSpec`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{GameId, PlanId};
use super::money::Credits;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// A port on which the game listens inside its container. One number may stand twice, once for each protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GamePort {
    /// What it is for: `game`, `query`, `rcon`.
    pub name: String,
    /// 1 to 65535.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// How to know that the game can be played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ready {
    /// A TCP port accepts.
    TcpAccept {
        /// Inside the container.
        port: u16,
    },
    /// A datagram is answered.
    UdpAnswer {
        /// Inside the container.
        port: u16,
        /// What to send, in hexadecimal.
        send_hex: String,
    },
    /// A line of the log contains this text.
    LogLine {
        /// Plain text, not a pattern.
        contains: String,
    },
}

/// How the game is asked to end, before it is killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// A line for its standard input, such as `stop` or `quit`; sent first where there is one.
    #[serde(default)]
    pub command: Option<String>,
    /// The signal, such as `SIGTERM` or `SIGINT`.
    #[serde(default = "sigterm")]
    pub signal: String,
    /// Seconds until it is killed, 1 to 600.
    pub wait_secs: u32,
}

fn sigterm() -> String {
    "SIGTERM".to_owned()
}

/// How a running game is made to write everything down before its data are archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Lines for its standard input, in order, such as `save-off` and `save-all flush`.
    pub before: Vec<String>,
    /// What a line of its log contains once all is written; none: `wait_secs` are waited out.
    #[serde(default)]
    pub done: Option<String>,
    /// Longest wait for that, in seconds, 1 to 120.
    pub wait_secs: u32,
    /// Lines for its standard input once the data are read, such as `save-on`.
    #[serde(default)]
    pub after: Vec<String>,
}

/// What an environment variable may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EnvRule {
    /// Text without control characters.
    Text {
        /// Most characters.
        max: u32,
    },
    /// ASCII letters, digits, `-`, `_` and `.` only: for values that an image's own scripts put on a command line, unquoted.
    Word {
        /// Fewest characters, where it is not empty.
        #[serde(default)]
        min: u32,
        /// Most characters.
        max: u32,
    },
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One of these.
    Choice {
        /// The values, in the order to show them.
        options: Vec<String>,
    },
}

/// A variable that the game declares. What it does not declare cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Name in the container's environment.
    pub name: String,
    /// For the form.
    pub label: String,
    /// One sentence, may be empty.
    #[serde(default)]
    pub help: String,
    /// The value where the player chose none.
    pub default: String,
    /// False: fixed by the operator, not shown on the form.
    #[serde(default)]
    pub editable: bool,
    /// True: the player must agree or fill in; an empty value is refused.
    #[serde(default)]
    pub required: bool,
    /// True: never shown again, not even to its owner.
    #[serde(default)]
    pub secret: bool,
    /// What it may hold.
    pub rule: EnvRule,
}

/// Why a value is refused, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvRefused {
    /// No such variable in this game.
    #[error("{0} is not a setting of this game")]
    Unknown(String),
    /// A control character, NUL and line breaks among them.
    #[error("{0} cannot contain line breaks or control characters")]
    Control(String),
    /// Longer than allowed.
    #[error("{0} can be at most {1} characters long")]
    TooLong(String, u32),
    /// Shorter than it must be.
    #[error("{0} has at least {1} characters")]
    TooShort(String, u32),
    /// Something other than what a word is made of.
    #[error("{0} can only contain letters without accents, digits, dots, hyphens and underscores")]
    NotAWord(String),
    /// Not a whole number in the range.
    #[error("{0} is a whole number from {1} to {2}")]
    NotInRange(String, i64, i64),
    /// Not among the options.
    #[error("{0} is one of: {1}")]
    NotAnOption(String, String),
    /// Empty, and must not be.
    #[error("{0} must be filled in")]
    Required(String),
}

impl EnvVar {
    /// Checks one value.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn check(&self, value: &str) -> Result<(), EnvRefused> {
        let label = || self.label.clone();
        if value.chars().any(char::is_control) {
            return Err(EnvRefused::Control(label()));
        }
        if value.is_empty() {
            return if self.required { Err(EnvRefused::Required(label())) } else { Ok(()) };
        }
        match &self.rule {
            EnvRule::Text { max } if value.chars().count() > *max as usize => Err(EnvRefused::TooLong(label(), *max)),
            EnvRule::Text { .. } => Ok(()),
            EnvRule::Word { .. } if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                Err(EnvRefused::NotAWord(label()))
            }
            EnvRule::Word { max, .. } if value.len() > *max as usize => Err(EnvRefused::TooLong(label(), *max)),
            EnvRule::Word { min, .. } if value.len() < *min as usize => Err(EnvRefused::TooShort(label(), *min)),
            EnvRule::Word { .. } => Ok(()),
            EnvRule::Integer { min, max } => match value.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(()),
                Ok(_) | Err(_) => Err(EnvRefused::NotInRange(label(), *min, *max)),
            },
            EnvRule::Choice { options } if options.iter().any(|option| option == value) => Ok(()),
            EnvRule::Choice { options } => Err(EnvRefused::NotAnOption(label(), options.join(", "))),
        }
    }
}

/// A size of a game: limits and prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Such as `starter`.
    pub id: PlanId,
    /// For people.
    pub name: String,
    /// For how many players, such as `2-5`.
    pub players: String,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB of memory.
    pub memory_mib: u32,
    /// MiB of disk.
    pub storage_mib: u32,
    /// Price of a month in cents; used by subscriptions.
    pub month_cents: u32,
    /// Micro-credits for a running hour.
    pub per_hour: Credits,
}

/// An entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Game {
    /// Such as `minecraft-java`.
    pub id: GameId,
    /// For people.
    pub name: String,
    /// One or two sentences for the create form.
    pub summary: String,
    /// How to join, one sentence; `{address}`, `{host}` and `{port}` stand for the address and its parts.
    pub join_hint: String,
    /// Image reference for the engine. `roost/demo:<version>` is the built-in one and is made, never pulled.
    pub image: String,
    /// Arguments, where the image's own command is not wanted.
    #[serde(default)]
    pub args: Vec<String>,
    /// Folder of the data inside the container.
    pub data_path: String,
    /// `uid:gid` that owns the data folder, where the image does not run as root.
    #[serde(default)]
    pub user: Option<String>,
    /// Capabilities that the image cannot do without, out of a short allowed list (`CHOWN`, `SETUID`, `SETGID`, `DAC_OVERRIDE`, `FOWNER`).
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// It writes nowhere but into its data folder and a small `/tmp`: the rest of its container is read-only. False, unless said: what
    /// it writes elsewhere counts as its storage, and is lost when its container is made anew.
    #[serde(default)]
    pub read_only: bool,
    /// At least one; the first is the one to join.
    pub ports: Vec<GamePort>,
    /// How to know that it can be played.
    pub ready: Ready,
    /// Longest time from start to ready, in seconds; installation on the first start included.
    pub ready_within_secs: u32,
    /// How it ends.
    pub stop: Stop,
    /// How it writes everything down while it runs. None: it is held still for a moment while its data are read.
    #[serde(default)]
    pub save: Option<Save>,
    /// It runs in a terminal: for programs that keep their words to themselves for minutes, or read no lines, where they have none. What it
    /// writes is then one stream, and what is typed stands in its log.
    #[serde(default)]
    pub tty: bool,
    /// Sidecar's protocol helper, such as `minecraft-java`, where looking can be told from joining. None: any traffic wakes.
    #[serde(default)]
    pub door: Option<String>,
    /// Variables, in the order of the form.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Sizes, smallest first; at least one.
    pub plans: Vec<Plan>,
}

impl Game {
    /// The plan with this id.
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == *id)
    }

    /// Checks what a player chose and fills in the rest.
    ///
    /// # Errors
    /// Every refusal, each with the name of its variable.
    pub fn environment(&self, chosen: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<(String, EnvRefused)>> {
        let mut refused = Vec::new();
        for name in chosen.keys() {
            if !self.env.iter().any(|var| var.editable && var.name == *name) {
                let short: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                refused.push((name.clone(), EnvRefused::Unknown(short)));
            }
        }
        let mut all = BTreeMap::new();
        for var in &self.env {
            let value = chosen.get(&var.name).filter(|_| var.editable).unwrap_or(&var.default);
            match var.check(value) {
                Ok(()) => drop(all.insert(var.name.clone(), value.clone())),
                Err(why) => refused.push((var.name.clone(), why)),
            }
        }
        if refused.is_empty() { Ok(all) } else { Err(refused) }
    }

    /// The distinct port numbers in their order, each with its protocols: what needs one public number each.
    pub fn port_numbers(&self) -> Vec<(u16, Vec<Protocol>)> {
        let mut numbers: Vec<(u16, Vec<Protocol>)> = Vec::new();
        for port in &self.ports {
            match numbers.iter_mut().find(|(number, _)| *number == port.port) {
                Some((_, protocols)) => protocols.push(port.protocol),
                None => numbers.push((port.port, vec![port.protocol])),
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password() -> EnvVar {
        EnvVar {
            name: "PASSWORD".to_owned(),
            label: "Password".to_owned(),
            help: String::new(),
            default: String::new(),
            editable: true,
            required: true,
            secret: true,
            rule: EnvRule::Word { min: 5, max: 8 },
        }
    }

    #[test]
    fn a_word_keeps_its_length_and_cannot_carry_a_second_argument() {
        let label = || "Password".to_owned();
        for (value, expected) in [
            ("abcde", Ok(())),
            ("a-b_c.9Z", Ok(())),
            ("", Err(EnvRefused::Required(label()))),
            ("abcd", Err(EnvRefused::TooShort(label(), 5))),
            ("abcdefghi", Err(EnvRefused::TooLong(label(), 8))),
            ("abc def", Err(EnvRefused::NotAWord(label()))),
            ("pass\u{e9}s", Err(EnvRefused::NotAWord(label()))),
            ("${HOME}", Err(EnvRefused::NotAWord(label()))),
            ("a\0bcde", Err(EnvRefused::Control(label()))),
        ] {
            assert_eq!(password().check(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_variable_reads_as_it_is_written_and_unknown_keys_are_refused() {
        let text = serde_json::to_string(&password()).unwrap();
        assert_eq!(serde_json::from_str::<EnvVar>(&text).unwrap(), password());
        let more = text.replacen('{', "{\"colour\":1,", 1);
        assert!(serde_json::from_str::<EnvVar>(&more).unwrap_err().to_string().contains("colour"));
    }
}
