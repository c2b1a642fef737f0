//! How often one source address may do something: a bounded table of counters.
//!
//! An IPv6 client owns at least a /64, so the /64 is the source. The limit is per address and never global, so that nobody
//! can use it to lock others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Counters of source addresses.
#[derive(Debug)]
pub struct Sources {
    span: Duration,
    per_span: u32,
    most: usize,
    seen: HashMap<u64, (Instant, u32)>,
}

impl Sources {
    /// Allows `per_span` times in `span` for each source and remembers `most` of them.
    pub fn new(span: Duration, per_span: u32, most: usize) -> Self {
        Self { span, per_span, most, seen: HashMap::new() }
    }

    /// Counts one more; false when it is one too many.
    pub fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let key = match source {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => u64::from(v4.to_bits()),
                // The highest bit keeps addresses of the two kinds apart; nobody owns less than a /64.
                None => (v6.to_bits() >> 64) as u64 | 1 << 63,
            },
        };
        if !self.seen.contains_key(&key) && self.seen.len() >= self.most {
            let span = self.span;
            self.seen.retain(|_, (since, _)| now.duration_since(*since) < span);
            if self.seen.len() >= self.most {
                // So many sources at once are a flood from many addresses; counting starts again rather than refusing everybody.
                self.seen.clear();
            }
        }
        let entry = self.seen.entry(key).or_insert((now, 0));
        if now.duration_since(entry.0) >= self.span {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 <= self.per_span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_limit_and_gets_it_back() {
        let mut sources = Sources::new(Duration::from_mins(1), 2, 3);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        assert!(sources.admit(a, start) && sources.admit(a, start));
        assert!(!sources.admit(a, start));
        assert!(sources.admit(b, start));
        assert!(sources.admit("::ffff:10.0.0.2".parse().unwrap(), start));
        assert!(!sources.admit(b, start));
        assert!(sources.admit(a, start + Duration::from_mins(1)));
    }

    #[test]
    fn one_network_of_the_new_kind_is_one_source_and_the_table_stays_small() {
        let mut sources = Sources::new(Duration::from_mins(1), 1, 3);
        let now = Instant::now();
        assert!(sources.admit("2001:db8::1".parse().unwrap(), now));
        assert!(!sources.admit("2001:db8::2".parse().unwrap(), now));
        for n in 0..100_u32 {
            assert!(sources.admit(IpAddr::V4(n.into()), now));
            assert!(sources.seen.len() <= 3);
        }
    }
}
