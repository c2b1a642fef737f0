//! Docker's timestamps: RFC 3339 with nanoseconds, in UTC as Docker writes them. Log lines and runs are measured with them.
//!
//! Only the form that Docker uses is read; anything else is none, never a guess.

use crate::model::time::Millis;

/// Nanoseconds since 1970 of `2026-01-31T12:00:00.123456789Z`. None: not such a text, or Docker's `0001-01-01`, its word for never.
pub fn nanos(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?.strip_suffix('Z')?;
    let fraction = match rest.strip_prefix('.') {
        None if rest.is_empty() => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{digits:0<9}").parse().ok()?
        }
        None | Some(_) => return None,
    };
    if !(1970..=2400).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction)
}

/// Days from 1970-01-01, by the civil calendar. `year` is at least 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Counting years from March puts the leap day at a year's end.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (y / 400, y % 400);
    let of_year = (153 * m + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The same moment in milliseconds.
pub fn millis(text: &str) -> Option<Millis> {
    nanos(text).and_then(|ns| i64::try_from(ns / 1_000_000).ok()).map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_stamps_are_read_to_the_nanosecond() {
        assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanos("2000-02-29T23:59:59.5Z"), Some(951_868_799_500_000_000));
        assert_eq!(nanos("2026-11-20T13:31:41.123456789Z"), Some(1_795_181_501_123_456_789));
        assert_eq!(millis("2026-11-20T13:31:41.123456789Z"), Some(Millis(1_795_181_501_123)));
    }

    #[test]
    fn never_and_nonsense_are_no_moment() {
        for odd in ["0001-01-01T00:00:00Z", "", "2026-11-20", "2026-11-20T13:31:41+01:00", "2026-13-20T13:31:41Z", "x026-11-20T13:31:41Z"] {
            assert_eq!(nanos(odd), None, "{odd}");
        }
    }
}
