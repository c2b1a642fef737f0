//! Times as pages show them: relative words, the exact moment on hover, and a form that the browser can keep fresh.
//!
//! Used by every page. The words here and in `static/roost.js` are the same, so that nothing changes when the script takes
//! over; without a script the page still says what was true when it was made.

use std::fmt;

use askama::filters::HtmlSafe;
use time::OffsetDateTime;

use crate::model::time::{DAY, HOUR, MINUTE, Millis, SECOND};

/// How a moment is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `3 min ago`, `in 12 min`.
    Relative,
    /// `3 min`: how long it has lasted.
    Lasting,
    /// `14:05`.
    Clock,
    /// `20 Nov 2026, 14:05`.
    Full,
}

/// A moment, ready to be shown as a `<time>` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    at: Millis,
    now: Millis,
    form: Form,
}

impl Moment {
    /// `3 min ago` or `in 12 min`.
    pub fn relative(at: Millis, now: Millis) -> Moment {
        Moment { at, now, form: Form::Relative }
    }

    /// How long something has lasted: `3 min`.
    pub fn lasting(since: Millis, now: Millis) -> Moment {
        Moment { at: since, now, form: Form::Lasting }
    }

    /// The time of day: `14:05`.
    pub fn clock(at: Millis) -> Moment {
        Moment { at, now: at, form: Form::Clock }
    }

    /// Day and time: `20 Nov 2026, 14:05`.
    pub fn full(at: Millis) -> Moment {
        Moment { at, now: at, form: Form::Full }
    }

    /// Only the words, for places where no element can stand.
    pub fn plain(&self) -> String {
        OffsetDateTime::from_unix_timestamp(self.at.0.div_euclid(SECOND)).map(|date| self.words(date)).unwrap_or_default()
    }

    /// The moment itself.
    pub fn at(&self) -> Millis {
        self.at
    }

    fn words(&self, date: OffsetDateTime) -> String {
        match self.form {
            Form::Relative if self.at.0 > self.now.0 => format!("in {}", ahead(self.at.since(self.now))),
            Form::Relative if self.now.since(self.at) < 5 * SECOND => "just now".to_owned(),
            Form::Relative => format!("{} ago", span(self.now.since(self.at))),
            Form::Lasting => span(self.now.since(self.at)),
            Form::Clock => format!("{:02}:{:02}", date.hour(), date.minute()),
            Form::Full => format!("{}, {:02}:{:02}", day(date), date.hour(), date.minute()),
        }
    }
}

/// A length of time in one or two units: `12 s`, `3 min`, `2 h 5 min`, `4 days`.
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < MINUTE {
        format!("{} s", ms / SECOND)
    } else if ms < HOUR {
        format!("{} min", ms / MINUTE)
    } else if ms < DAY {
        let minutes = ms % HOUR / MINUTE;
        if minutes == 0 { format!("{} h", ms / HOUR) } else { format!("{} h {minutes} min", ms / HOUR) }
    } else if ms < 2 * DAY {
        "1 day".to_owned()
    } else {
        format!("{} days", ms / DAY)
    }
}

/// The same of a time that lies ahead, rounded up: 6 days and 23 hours are `7 days`.
fn ahead(ms: i64) -> String {
    let unit = match ms {
        DAY.. => DAY,
        MINUTE.. => MINUTE,
        _ => SECOND,
    };
    span(ms.saturating_add(unit - 1) / unit * unit)
}

/// The day of a moment as forms send it: `2026-11-20`, UTC.
pub fn date(at: Millis) -> String {
    let date = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(SECOND)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// The first millisecond of a day that a form sent.
pub fn parse_date(text: &str) -> Option<Millis> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u8>().ok()?, parts.next()?.parse().ok()?);
    let date = time::Date::from_calendar_date(year, month.try_into().ok()?, day).ok()?;
    Some(Millis(date.midnight().assume_utc().unix_timestamp() * SECOND))
}

fn day(date: OffsetDateTime) -> String {
    let month = date.month().to_string();
    format!("{} {} {}", date.day(), month.get(..3).unwrap_or_default(), date.year())
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = OffsetDateTime::from_unix_timestamp(self.at.0.div_euclid(SECOND)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let form = match self.form {
            Form::Relative => "relative",
            Form::Lasting => "lasting",
            Form::Clock => "clock",
            Form::Full => "full",
        };
        let (hour, minute, second) = date.to_hms();
        write!(
            f,
            "<time datetime=\"{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z\" data-as=\"{form}\" \
             title=\"{}, {hour:02}:{minute:02}:{second:02} UTC\">{}</time>",
            date.year(),
            u8::from(date.month()),
            date.day(),
            day(date),
            self.words(date),
        )
    }
}

// Every part of it is a number or a fixed word.
impl HtmlSafe for Moment {}
impl askama::FastWritable for Moment {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ahead_is_rounded_up() {
        for (ms, words) in [
            (7 * DAY - 1, "7 days"),
            (7 * DAY, "7 days"),
            (30 * DAY - HOUR, "30 days"),
            (HOUR - 1, "1 h"),
            (HOUR + 1, "1 h 1 min"),
            (MINUTE - 1, "1 min"),
            (1, "1 s"),
        ] {
            assert_eq!(ahead(ms), words, "{ms}");
        }
    }

    #[test]
    fn lengths_of_time_are_said_in_at_most_two_units() {
        for (ms, words) in [
            (-5, "0 s"),
            (59 * SECOND, "59 s"),
            (MINUTE, "1 min"),
            (HOUR, "1 h"),
            (2 * HOUR + 5 * MINUTE, "2 h 5 min"),
            (DAY, "1 day"),
            (9 * DAY + HOUR, "9 days"),
        ] {
            assert_eq!(span(ms), words);
        }
    }

    #[test]
    fn a_moment_carries_its_exact_time() {
        let at = Millis(1_795_183_512_000);
        let html = Moment::relative(at, at + 3 * MINUTE).to_string();
        assert!(html.starts_with("<time datetime=\"20"), "{html}");
        assert!(html.contains("data-as=\"relative\"") && html.contains(" UTC\">3 min ago</time>"), "{html}");
        assert!(Moment::relative(at + 12 * MINUTE, at).to_string().contains(">in 12 min<"));
        assert!(Moment::relative(at, at + SECOND).to_string().contains(">just now<"));
        assert!(Moment::lasting(at, at + SECOND).to_string().contains(">1 s<"));
        assert!(Moment::full(Millis(0)).to_string().contains(">1 Jan 1970, 00:00<"));
    }
}
