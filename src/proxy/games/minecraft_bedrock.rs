//! Minecraft Bedrock: an unconnected ping is a look, everything else (the open-connection request first) is a join.

use super::shown;

/// Sixteen bytes that mark `RakNet`'s unconnected messages.
const MAGIC: [u8; 16] = [0x00, 0xff, 0xff, 0x00, 0xfe, 0xfe, 0xfe, 0xfe, 0xfd, 0xfd, 0xfd, 0xfd, 0x12, 0x34, 0x56, 0x78];
const UNCONNECTED_PING: u8 = 0x01;
/// As the first, for servers with a free place only.
const UNCONNECTED_PING_OPEN: u8 = 0x02;
const UNCONNECTED_PONG: u8 = 0x1c;

/// A look: the client's time, to be sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping([u8; 8]);

/// Reads a datagram.
pub fn ping(datagram: &[u8]) -> Option<Ping> {
    let (kind, rest) = datagram.split_first()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let looks = matches!(*kind, UNCONNECTED_PING | UNCONNECTED_PING_OPEN) && rest.starts_with(&MAGIC);
    looks.then_some(Ping(*time))
}

/// Answers a look. Semicolons separate the parts of the sign, so there are none in the texts.
pub fn pong(ping: Ping, name: &str, words: &str, server: u64) -> Vec<u8> {
    let clean = |text: &str| shown(text).replace(';', ",");
    // Edition; first line; protocol; version; players; places; id; second line; mode; mode's number.
    let sign = format!("MCPE;{};0;asleep;0;0;{server};{};Survival;1;", clean(&format!("{name} {words}")), clean(name));
    let mut out = vec![UNCONNECTED_PONG];
    out.extend_from_slice(&ping.0);
    out.extend_from_slice(&server.to_be_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u16::try_from(sign.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(sign.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8) -> Vec<u8> {
        let mut out = vec![kind, 1, 2, 3, 4, 5, 6, 7, 8];
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 8]);
        out
    }

    #[test]
    fn a_ping_is_a_look_and_an_open_connection_request_is_not() {
        assert_eq!(ping(&datagram(1)), Some(Ping([1, 2, 3, 4, 5, 6, 7, 8])));
        let mut request = vec![0x05];
        request.extend_from_slice(&MAGIC);
        request.push(11);
        for other in [&request[..], &datagram(3), &datagram(1)[..20], &[], &[1]] {
            assert_eq!(ping(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_answer_has_the_time_and_the_sign() {
        let pong = pong(Ping([1, 2, 3, 4, 5, 6, 7, 8]), "A;B", "is asleep", 9);
        assert_eq!(pong[..9], [0x1c, 1, 2, 3, 4, 5, 6, 7, 8]);
        let length = usize::from(u16::from_be_bytes([pong[33], pong[34]]));
        assert_eq!(pong.len(), 35 + length);
        assert!(String::from_utf8_lossy(&pong[35..]).starts_with("MCPE;A,B is asleep;0;asleep;0;0;9;A,B;"));
    }
}
