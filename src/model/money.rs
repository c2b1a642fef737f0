//! Credits: 1 credit is 1 cent of the panel's currency, held as whole micro-credits. No floats touch money.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::time::{HOUR, Millis};

/// An amount in micro-credits; negative where it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Credits(pub i64);

/// Micro-credits in one credit.
pub const MICRO: i64 = 1_000_000;

impl Credits {
    /// Nothing.
    pub const ZERO: Credits = Credits(0);

    /// Whole credits.
    pub const fn whole(credits: i64) -> Credits {
        Credits(credits * MICRO)
    }
}

impl Add for Credits {
    type Output = Credits;
    fn add(self, other: Credits) -> Credits {
        Credits(self.0 + other.0)
    }
}

impl AddAssign for Credits {
    fn add_assign(&mut self, other: Credits) {
        self.0 += other.0;
    }
}

impl Sub for Credits {
    type Output = Credits;
    fn sub(self, other: Credits) -> Credits {
        Credits(self.0 - other.0)
    }
}

impl Neg for Credits {
    type Output = Credits;
    fn neg(self) -> Credits {
        Credits(-self.0)
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Credits>>(all: I) -> Credits {
        all.fold(Credits::ZERO, Add::add)
    }
}

/// Two places at least, more where the amount has them: `100.00`, `-0.375`.
impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, micro) = (self.0.unsigned_abs() / MICRO as u64, self.0.unsigned_abs() % MICRO as u64);
        let mut places = format!("{micro:06}");
        while places.len() > 2 && places.ends_with('0') {
            places.pop();
        }
        write!(f, "{sign}{whole}.{places}")
    }
}

/// The text is not an amount of credits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an amount: write it like 25 or 12.50")]
pub struct NotAnAmount;

impl FromStr for Credits {
    type Err = NotAnAmount;

    /// Digits, at most six places after a point, at most a thousand million credits.
    fn from_str(text: &str) -> Result<Credits, NotAnAmount> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 9 || places.len() > 6 || !digits(whole) || !digits(places) || text.ends_with('.') {
            return Err(NotAnAmount);
        }
        let whole: i64 = whole.parse().map_err(|_| NotAnAmount)?;
        let micro: i64 = format!("{places:0<6}").parse().map_err(|_| NotAnAmount)?;
        let amount = whole * MICRO + micro;
        Ok(Credits(if negative { -amount } else { amount }))
    }
}

/// What a run that began at `run_from` costs between `from` and `to` at `per_hour`.
///
/// Rounded down on the whole run, not on the piece: however a run is cut into charges, they add up to the same.
pub fn cost_of(per_hour: Credits, run_from: Millis, from: Millis, to: Millis) -> Credits {
    let until = |moment: Millis| i128::from(moment.since(run_from)) * i128::from(per_hour.0) / i128::from(HOUR);
    let piece = until(to) - until(from);
    Credits(i64::try_from(piece.max(0)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_as_they_are_written() {
        for (text, micro) in [("0", 0), ("25", 25_000_000), ("12.5", 12_500_000), ("-0.375", -375_000), ("0.000001", 1)] {
            assert_eq!(text.parse(), Ok(Credits(micro)), "{text}");
        }
        assert_eq!(Credits::whole(100).to_string(), "100.00");
        assert_eq!(Credits(-375_000).to_string(), "-0.375");
        for bad in ["", "-", ".", "1.", ".5", "1e3", "NaN", "１", "0.0000001", "12345678901"] {
            assert_eq!(bad.parse::<Credits>(), Err(NotAnAmount), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn however_a_run_is_cut_the_pieces_add_up(rate in 0i64..10_000_000, cuts in prop::collection::vec(0i64..HOUR * 30, 1..20)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let run = Millis(1_000);
            let mut at = run;
            let mut sum = Credits::ZERO;
            for cut in &cuts {
                sum += cost_of(Credits(rate), run, at, run + *cut);
                at = run + *cut;
            }
            prop_assert_eq!(sum, cost_of(Credits(rate), run, run, at));
        }
    }
}
