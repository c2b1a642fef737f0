//! Minecraft Java: the handshake says whether a client looks at the server list (status) or joins (login, transfer).
//!
//! Packets are length-prefixed with variable-length integers of seven bits a byte. Servers before 1.7 were pinged with `FE`, `FE 01` or
//! `FE 01 FA` and more, which some server lists still do; a handshake of 254 bytes begins with `FE 01` too, and with its number then.

use std::time::Duration;

use super::shown;

/// A game that joins gives up after 30 seconds without a word, so it gets one before.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// Longest handshake: the address may be 255 characters of up to four bytes, and mods append to it.
const HANDSHAKE_MAX: usize = 1_500;

/// What the first bytes of a client say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// Not enough yet.
    More,
    /// It asks for the server list's entry.
    Look(Look),
    /// It wants to play.
    Join,
    /// Not this game.
    Foreign,
}

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A status request; the handshake took so many bytes and named this version of the protocol.
    Status {
        /// Bytes of the handshake.
        used: usize,
        /// The client's version.
        protocol: i32,
    },
    /// The ping of versions before 1.7.
    Legacy,
}

/// A number, and how many bytes it took. `Ok(None)`: it goes on. `Err`: it is too long to be one.
fn number(bytes: &[u8]) -> Result<Option<(i32, usize)>, ()> {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value.cast_signed(), index + 1)));
        }
    }
    if bytes.len() >= 5 { Err(()) } else { Ok(None) }
}

/// A packet's inside, and how many bytes it took with its length.
fn packet(bytes: &[u8], most: usize) -> Result<Option<(&[u8], usize)>, ()> {
    let Some((length, start)) = number(bytes)? else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| ())?;
    if length == 0 || length > most {
        return Err(());
    }
    Ok(bytes.get(start..start + length).map(|inside| (inside, start + length)))
}

/// Reads what a client has sent so far.
pub fn greeting(bytes: &[u8]) -> Greeting {
    match bytes {
        [0xfe] | [0xfe, 0x01] => return Greeting::More,
        [0xfe, 0x01, 0xfa, ..] => return Greeting::Look(Look::Legacy),
        _ => {}
    }
    match packet(bytes, HANDSHAKE_MAX) {
        Ok(Some((inside, used))) => handshake(inside, used).unwrap_or(Greeting::Foreign),
        // A handshake's number is 0; whoever starts otherwise is told apart at once, not after the time has run out.
        Ok(None) => match number(bytes) {
            Ok(Some((_, start))) if bytes.get(start).is_some_and(|first| *first != 0) => Greeting::Foreign,
            Ok(_) | Err(()) => Greeting::More,
        },
        Err(()) => Greeting::Foreign,
    }
}

/// What a client has said that says no more.
pub fn greeting_of_silence(bytes: &[u8]) -> Greeting {
    match bytes {
        [0xfe] | [0xfe, 0x01] => Greeting::Look(Look::Legacy),
        _ => greeting(bytes),
    }
}

/// Heads that a proxy in front puts before what the client says.
pub fn is_proxy_header(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
}

fn handshake(inside: &[u8], used: usize) -> Option<Greeting> {
    let mut rest = inside.strip_prefix(&[0])?;
    let mut next = || -> Option<i32> {
        let (value, taken) = number(rest).ok()??;
        rest = rest.get(taken..)?;
        Some(value)
    };
    let protocol = next()?;
    let address = usize::try_from(next()?).ok()?;
    // The address, and two bytes of port.
    rest = rest.get(address.checked_add(2)?..)?;
    match number(rest).ok()?? {
        (1, 1) if rest.len() == 1 => Some(Greeting::Look(Look::Status { used, protocol })),
        (2 | 3, 1) if rest.len() == 1 => Some(Greeting::Join),
        _ => None,
    }
}

fn put_number(out: &mut Vec<u8>, value: i32) {
    let mut value = value.cast_unsigned();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A packet that holds one text.
fn text_packet(text: &str) -> Vec<u8> {
    let mut inside = vec![0];
    put_number(&mut inside, i32::try_from(text.len()).unwrap_or(0));
    inside.extend_from_slice(text.as_bytes());
    let mut out = Vec::new();
    put_number(&mut out, i32::try_from(inside.len()).unwrap_or(0));
    out.extend_from_slice(&inside);
    out
}

/// Ends a login with words for the player.
pub fn farewell(words: &str) -> Vec<u8> {
    text_packet(&serde_json::json!({ "text": shown(words) }).to_string())
}

/// Answers a look: the status once, then the ping that measures the time.
pub struct StatusTalk {
    look: Look,
    heard: Vec<u8>,
    words: String,
    told: bool,
    over: bool,
}

impl StatusTalk {
    /// `heard` is everything that the client has sent.
    pub fn new(look: Look, mut heard: Vec<u8>, words: &str) -> Self {
        if let Look::Status { used, .. } = look {
            heard.drain(..used.min(heard.len()));
        }
        Self { look, heard, words: shown(words), told: false, over: false }
    }

    /// Takes more of what the client sends.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
    }

    /// Nothing more will be said.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What to send now; may be empty.
    pub fn reply(&mut self) -> Vec<u8> {
        let Look::Status { protocol, .. } = self.look else {
            self.over = true;
            return self.legacy();
        };
        let mut out = Vec::new();
        while !self.over {
            let (inside, used) = match packet(&self.heard, 16) {
                Ok(Some((inside, used))) => (inside.to_vec(), used),
                Ok(None) => break,
                Err(()) => {
                    self.over = true;
                    break;
                }
            };
            self.heard.drain(..used);
            match inside.as_slice() {
                [0] if !self.told => {
                    self.told = true;
                    out.extend(text_packet(&self.status(protocol)));
                }
                [1, time @ ..] if time.len() == 8 => {
                    out.extend_from_slice(&[9, 1]);
                    out.extend_from_slice(time);
                    self.over = true;
                }
                _ => self.over = true,
            }
        }
        out
    }

    /// The client's own version is named, because another one would be shown as a fault.
    fn status(&self, protocol: i32) -> String {
        serde_json::json!({
            "version": { "name": "asleep", "protocol": protocol },
            "players": { "max": 0, "online": 0 },
            "description": { "text": self.words },
        })
        .to_string()
    }

    fn legacy(&self) -> Vec<u8> {
        let text = format!("\u{a7}1\0127\0asleep\0{}\00\00", self.words);
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut out = vec![0xff];
        out.extend_from_slice(&u16::try_from(units.len()).unwrap_or(0).to_be_bytes());
        out.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(intent: u8) -> Vec<u8> {
        let mut inside = vec![0, 0xff, 0x05, 9];
        inside.extend_from_slice(b"localhost");
        inside.extend_from_slice(&[0x63, 0xdd, intent]);
        let mut out = vec![u8::try_from(inside.len()).unwrap()];
        out.extend(inside);
        out
    }

    #[test]
    fn a_look_and_a_join_are_told_apart_whatever_the_pieces() {
        for (intent, expected) in [
            (1, Greeting::Look(Look::Status { used: 17, protocol: 767 })),
            (2, Greeting::Join),
            (3, Greeting::Join),
            (4, Greeting::Foreign),
        ] {
            let bytes = hello(intent);
            for cut in 0..bytes.len() {
                assert_eq!(greeting(&bytes[..cut]), Greeting::More, "{cut}");
            }
            assert_eq!(greeting(&bytes), expected);
            let mut more = bytes;
            more.extend_from_slice(&[1, 0]);
            assert_eq!(greeting(&more), expected);
        }
    }

    #[test]
    fn strangers_are_known_at_once() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"\x16\x03\x01\x02", b"\0", b"\xff\xff\xff\xff\xff\xff", b"\x02\0\0", b"\x05\x01"] {
            assert_eq!(greeting(bytes), Greeting::Foreign, "{bytes:?}");
        }
    }

    #[test]
    fn what_two_protocols_begin_alike_with_is_no_verdict() {
        for bytes in [&[0xfe][..], &[0xfe, 1]] {
            assert_eq!(greeting(bytes), Greeting::More, "{bytes:?}");
            assert_eq!(greeting_of_silence(bytes), Greeting::Look(Look::Legacy), "{bytes:?}");
        }
        assert_eq!(greeting(&[0xfe, 1, 0xfa, 0]), Greeting::Look(Look::Legacy));
        // A join of 254 bytes, whatever the pieces.
        let mut inside = vec![0, 0xff, 0x05];
        put_number(&mut inside, 246);
        inside.extend([b'a'; 246]);
        inside.extend_from_slice(&[0x63, 0xdd, 2]);
        let bytes = [&[0xfe, 1][..], &inside].concat();
        assert_eq!(bytes.len(), 256);
        for cut in 0..bytes.len() {
            assert_eq!(greeting(&bytes[..cut]), Greeting::More, "{cut}");
            assert_ne!(greeting_of_silence(&bytes[..cut]), Greeting::Join);
        }
        assert_eq!(greeting(&bytes), Greeting::Join);
    }

    #[test]
    fn a_proxys_header_is_known() {
        assert!(is_proxy_header(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"));
        assert!(is_proxy_header(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"));
        assert!(!is_proxy_header(b"\x10\0"));
    }

    #[test]
    fn a_look_gets_status_and_the_echo_of_its_ping_and_then_the_end() {
        let Greeting::Look(look) = greeting(&hello(1)) else { panic!() };
        let mut talk = StatusTalk::new(look, hello(1), "Echoes is asleep, join to wake");
        assert!(talk.reply().is_empty());
        talk.hear(&[1]);
        assert!(talk.reply().is_empty() && !talk.is_over());
        talk.hear(&[0]);
        let status = String::from_utf8_lossy(&talk.reply()).into_owned();
        assert!(status.contains("Echoes is asleep, join to wake") && status.contains("\"protocol\":767"), "{status}");
        talk.hear(&[9, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(talk.reply(), [9, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(talk.is_over());
    }

    #[test]
    fn numbers_survive_the_way_out_and_in() {
        for value in [0, 1, 127, 128, 767, 25_565, i32::MAX, -1] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(number(&out), Ok(Some((value, out.len()))));
        }
    }
}
