//! The query protocol of Source games (Valheim, Rust, ARK and many more): its queries are looks, everything else is a join.
//!
//! An answer goes only to whoever has sent back the challenge for its address, so that a forged address gets nine bytes
//! for its twenty-five and we amplify nothing.

use super::shown;

/// Marks a message outside of any connection.
const SINGLE: [u8; 4] = [0xff; 4];
const INFO: u8 = 0x54;
const INFO_TEXT: &[u8] = b"Source Engine Query\0";
const PLAYERS: u8 = 0x55;
const RULES: u8 = 0x56;
const CHALLENGE_ONLY: u8 = 0x57;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Info,
    Players,
    Rules,
    Challenge,
}

/// A look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    subject: Subject,
    /// The challenge sent back, if any.
    challenge: Option<[u8; 4]>,
}

/// Reads a datagram.
pub fn query(datagram: &[u8]) -> Option<Query> {
    let (kind, rest) = datagram.strip_prefix(&SINGLE)?.split_first()?;
    let (subject, rest) = match *kind {
        INFO => (Subject::Info, rest.strip_prefix(INFO_TEXT)?),
        PLAYERS => (Subject::Players, rest),
        RULES => (Subject::Rules, rest),
        CHALLENGE_ONLY => (Subject::Challenge, rest),
        _other_messages_join => return None,
    };
    match rest {
        [] => Some(Query { subject, challenge: None }),
        [a, b, c, d] => Some(Query { subject, challenge: Some([*a, *b, *c, *d]) }),
        _longer_is_no_query => None,
    }
}

/// The answer; `challenge` is the right one for this peer.
pub fn reply(query: Query, name: &str, words: &str, challenge: [u8; 4]) -> Vec<u8> {
    let mut out = SINGLE.to_vec();
    if query.challenge != Some(challenge) {
        out.push(0x41);
        out.extend_from_slice(&challenge);
        return out;
    }
    match query.subject {
        Subject::Challenge => {
            out.push(0x41);
            out.extend_from_slice(&challenge);
        }
        Subject::Players => out.extend_from_slice(&[0x44, 0]),
        Subject::Rules => out.extend_from_slice(&[0x45, 0, 0]),
        Subject::Info => {
            out.extend_from_slice(&[0x49, 17]);
            // Name, map, folder, game.
            for text in [&*format!("{name} {words}"), "asleep", "asleep", "asleep"] {
                out.extend_from_slice(shown(text).as_bytes());
                out.push(0);
            }
            // No Steam number; no players, places or bots; dedicated, on Linux, open, without VAC.
            out.extend_from_slice(&[0, 0, 0, 0, 0, b'd', b'l', 0, 0]);
            out.extend_from_slice(b"0\0");
            // No further parts.
            out.push(0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(challenge: &[u8]) -> Vec<u8> {
        [&SINGLE[..], &[INFO], INFO_TEXT, challenge].concat()
    }

    #[test]
    fn queries_are_looks_and_anything_else_is_not() {
        assert!(query(&info(&[])).is_some());
        assert!(query(&info(&[1, 2, 3, 4])).is_some());
        assert!(query(&[255, 255, 255, 255, PLAYERS, 255, 255, 255, 255]).is_some());
        for other in [&info(&[1])[..], b"", b"\xff\xff\xff\xff", b"\xff\xff\xff\xffq", b"hello", &info(&[0; 9])] {
            assert_eq!(query(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_the_right_challenge_gets_more_than_it_sent() {
        let challenge = [9, 8, 7, 6];
        for asked in [info(&[]), info(&[0xff; 4]), info(&[1, 2, 3, 4])] {
            let answer = reply(query(&asked).unwrap(), "Echoes", "is asleep", challenge);
            assert_eq!(answer, [255, 255, 255, 255, 0x41, 9, 8, 7, 6]);
        }
        let answer = reply(query(&info(&challenge)).unwrap(), "Echoes", "is asleep, join to wake", challenge);
        assert!(String::from_utf8_lossy(&answer).contains("Echoes is asleep, join to wake\0asleep\0"));
    }
}
