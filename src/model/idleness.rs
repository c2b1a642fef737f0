//! When is a server quiet enough to be put to sleep?
//!
//! A server is quiet while its CPU is below the threshold and nobody is connected. Quiet has to be measured without a gap:
//! a missing measurement starts the count again, so that a broken meter never puts anybody's game to sleep.

use serde::{Deserialize, Serialize};

use super::time::{MINUTE, Millis, SECOND};

/// One measurement of a running game.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, by the node's clock.
    pub at: Millis,
    /// Share of one core, in thousandths: 1000 is one core fully used. None: it could not be measured.
    pub cpu_millis: Option<u32>,
    /// MiB in use, caches not counted. None: it could not be measured.
    pub memory_mib: Option<u32>,
    /// Open TCP connections and live UDP sessions at the sidecar. None: the sidecar has not reported.
    pub players: Option<u32>,
}

/// Since when has it been quiet, as far as measured?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Quiet {
    /// Start of the unbroken quiet.
    pub since: Option<Millis>,
    /// Last measurement that counted.
    pub measured_at: Option<Millis>,
}

/// Longest silence between two measurements that still counts as unbroken.
pub const GAP_MAX: i64 = 90 * SECOND;

/// What an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Below this share of the plan's CPU, in thousandths, the game is quiet: 50 is 5%.
    pub cpu_below_permille: u32,
    /// A server that woke stays awake at least this long, in milliseconds.
    pub awake_at_least: i64,
}

impl Quiet {
    /// Takes one measurement of a game whose plan allows `plan_cpu_millis`.
    #[must_use]
    pub fn observe(self, sample: &Sample, plan_cpu_millis: u32, rules: Rules) -> Quiet {
        let (Some(cpu), Some(players)) = (sample.cpu_millis, sample.players) else {
            return Quiet { since: None, measured_at: self.measured_at };
        };
        let busy = players > 0 || u64::from(cpu) * 1_000 >= u64::from(rules.cpu_below_permille) * u64::from(plan_cpu_millis);
        let unbroken = self.measured_at.is_some_and(|last| sample.at.since(last) <= GAP_MAX && sample.at >= last);
        let since = match (busy, self.since) {
            (true, _) => None,
            (false, Some(since)) if unbroken => Some(since),
            (false, _) => Some(sample.at),
        };
        Quiet { since, measured_at: Some(sample.at) }
    }

    /// When it would fall asleep if it stayed as quiet as it is. None: it is not quiet, or not measured lately.
    pub fn sleeps_at(self, awake_since: Millis, idle_minutes: u32, rules: Rules, now: Millis) -> Option<Millis> {
        let since = self.since?;
        let fresh = self.measured_at.is_some_and(|last| now.since(last) <= GAP_MAX);
        let quiet_until = since + i64::from(idle_minutes) * MINUTE;
        fresh.then(|| quiet_until.max(awake_since + rules.awake_at_least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { cpu_below_permille: 50, awake_at_least: 5 * MINUTE };

    fn sample(at: i64, cpu: Option<u32>, players: Option<u32>) -> Sample {
        Sample { at: Millis(at), cpu_millis: cpu, memory_mib: Some(1), players }
    }

    fn after(samples: &[Sample]) -> Quiet {
        samples.iter().fold(Quiet::default(), |quiet, sample| quiet.observe(sample, 1_000, RULES))
    }

    #[test]
    fn a_player_or_a_busy_core_ends_the_quiet() {
        let still = sample(0, Some(49), Some(0));
        assert_eq!(after(&[still]).since, Some(Millis(0)));
        assert_eq!(after(&[still, sample(SECOND, Some(0), Some(1))]).since, None);
        assert_eq!(after(&[still, sample(SECOND, Some(50), Some(0))]).since, None);
    }

    #[test]
    fn a_missing_measurement_never_counts_as_quiet() {
        let still = sample(0, Some(0), Some(0));
        assert_eq!(after(&[still, sample(SECOND, None, Some(0))]).since, None);
        assert_eq!(after(&[still, sample(SECOND, Some(0), None)]).since, None);
        assert_eq!(after(&[still, sample(GAP_MAX + 1, Some(0), Some(0))]).since, Some(Millis(GAP_MAX + 1)));
        let old = after(&[still]);
        assert_eq!(old.sleeps_at(Millis(0), 1, RULES, Millis(GAP_MAX + 1)), None);
    }

    #[test]
    fn a_server_that_just_woke_stays_awake() {
        let quiet = after(&[sample(0, Some(0), Some(0))]);
        assert_eq!(quiet.sleeps_at(Millis(0), 1, RULES, Millis(1)), Some(Millis(5 * MINUTE)));
        assert_eq!(quiet.sleeps_at(Millis(0), 15, RULES, Millis(1)), Some(Millis(15 * MINUTE)));
    }
}
