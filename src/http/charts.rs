//! Small charts drawn on the server: one line over the last hour or day, as SVG with a sentence beside it.
//!
//! No styles and no numbers of somebody else's making reach the page: only coordinates made here. A missing measurement is a
//! gap in the line, never a zero.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;

use crate::model::time::{DAY, HOUR, MINUTE, Millis};

/// Width of the drawing in its own units.
pub const WIDTH: i64 = 360;
/// Height of the drawing in its own units.
pub const HEIGHT: i64 = 80;
/// A measurement older than this, in milliseconds, is not the one of now.
const FRESH: i64 = 3 * MINUTE;
/// Most points that are drawn; more are thinned out to the highest of each column, so that a peak never disappears.
pub const POINTS_MAX: usize = 180;

/// How far a chart looks back.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// In milliseconds.
    length: i64,
    /// Two measurements further apart than this, in milliseconds, are not joined by a line.
    gap: i64,
    /// `the last hour`.
    words: &'static str,
    /// What stands at the beginning and in the middle of the axis.
    axis: [&'static str; 2],
}

/// The last hour, measured every few seconds.
pub const LAST_HOUR: Span = Span { length: HOUR, gap: 3 * MINUTE, words: "the last hour", axis: ["1 h ago", "30 min"] };
/// The last hour, measured every minute: one that is missing is seen.
pub const LAST_HOUR_BY_MINUTE: Span = Span { gap: MINUTE + MINUTE / 2, ..LAST_HOUR };
/// The last day, measured every minute; a column is 8 minutes wide.
pub const LAST_DAY: Span = Span { length: DAY, gap: 3 * MINUTE, words: "the last 24 hours", axis: ["24 h ago", "12 h"] };

/// A chart of one quantity over the last hour or day.
#[derive(Debug, Clone, Template)]
#[template(path = "_chart.html")]
pub struct Chart {
    /// What it shows: `CPU`.
    pub title: String,
    /// The last value with its unit, or `not measured`.
    pub now: String,
    /// The most that is possible: `of 2 cores`.
    pub limit: String,
    /// What the top edge stands for: `100%`.
    pub top: String,
    /// The whole chart as one sentence.
    pub alt: String,
    /// The line, as the `d` of a path.
    pub line: String,
    /// The area under it, as the `d` of a path.
    pub area: String,
    /// What stands at the beginning and in the middle of the axis.
    pub axis: [&'static str; 2],
}

impl HtmlSafe for Chart {}

/// What is drawn and how it is said.
#[derive(Debug, Clone, Copy)]
pub struct Quantity<'a> {
    /// What it is: `CPU`.
    pub title: &'a str,
    /// The value at the top edge.
    pub max: u32,
    /// Puts a value into words: `12%`.
    pub say: fn(u32, u32) -> String,
    /// The most that is possible, in words: `of 2 cores`.
    pub limit: &'a str,
}

impl Chart {
    /// Draws the last hour before `now`. `points` are in order of time.
    pub fn of(quantity: Quantity<'_>, points: &[(Millis, Option<u32>)], now: Millis) -> Chart {
        Chart::over(LAST_HOUR, quantity, points, now)
    }

    /// Draws what lies in a span before `now`. `points` are in order of time.
    pub fn over(span: Span, quantity: Quantity<'_>, points: &[(Millis, Option<u32>)], now: Millis) -> Chart {
        let from = now - span.length;
        let columns = thin(points, span, now);
        let values: Vec<u32> = columns.iter().map(|column| column.highest).collect();
        let say = |value: u32| (quantity.say)(value, quantity.max);
        let last = points.iter().rev().find(|(at, _)| now.since(*at) < FRESH).and_then(|(_, value)| *value);
        let last_words = last.map_or_else(|| "not measured".to_owned(), say);
        let alt = match (values.iter().min(), values.iter().max()) {
            (Some(low), Some(high)) => {
                format!("{} over {}: between {} and {}, now {last_words}.", quantity.title, span.words, say(*low), say(*high))
            }
            (_, _) => format!("{} over {}: no measurements.", quantity.title, span.words),
        };
        let (line, area) = draw(&columns, from, span, quantity.max.max(1));
        Chart {
            title: quantity.title.to_owned(),
            now: last_words,
            limit: quantity.limit.to_owned(),
            top: say(quantity.max),
            alt,
            line,
            area,
            axis: span.axis,
        }
    }
}

/// Measurements that are drawn as one point: those of a piece of time without a gap between them.
struct Column {
    first: Millis,
    last: Millis,
    highest: u32,
}

fn thin(points: &[(Millis, Option<u32>)], span: Span, now: Millis) -> Vec<Column> {
    let from = now - span.length;
    let mut columns: Vec<Column> = Vec::new();
    let width = span.length / i64::try_from(POINTS_MAX).unwrap_or(180);
    for (at, value) in points.iter().filter(|(at, _)| *at >= from && *at <= now) {
        let Some(value) = *value else { continue };
        match columns.last_mut() {
            Some(column) if column.first.since(from) / width == at.since(from) / width && at.since(column.last) <= span.gap => {
                (column.highest, column.last) = (column.highest.max(value), *at);
            }
            Some(_) | None => columns.push(Column { first: *at, last: *at, highest: value }),
        }
    }
    columns
}

fn draw(columns: &[Column], from: Millis, span: Span, max: u32) -> (String, String) {
    let (mut line, mut area) = (String::new(), String::new());
    let mut previous: Option<(Millis, i64)> = None;
    for column in columns {
        let x = column.first.since(from) * WIDTH / span.length;
        let y = HEIGHT - 1 - i64::from(column.highest.min(max)) * (HEIGHT - 2) / i64::from(max);
        match previous {
            Some((before, _)) if column.first.since(before) <= span.gap => {
                let _ = write!(line, "L{x} {y}");
                let _ = write!(area, "L{x} {y}");
            }
            Some((_, end)) => {
                let _ = write!(line, "M{x} {y}");
                let _ = write!(area, "L{end} {HEIGHT}ZM{x} {HEIGHT}L{x} {y}");
            }
            None => {
                let _ = write!(line, "M{x} {y}");
                let _ = write!(area, "M{x} {HEIGHT}L{x} {y}");
            }
        }
        previous = Some((column.last, x));
    }
    if let Some((_, end)) = previous {
        let _ = write!(area, "L{end} {HEIGHT}Z");
    }
    (line, area)
}

/// Thousandths of a core as a share of what the plan allows.
pub fn say_share(value: u32, max: u32) -> String {
    format!("{}%", u64::from(value) * 100 / u64::from(max.max(1)))
}

/// A number as it is.
pub fn say_number(value: u32, _max: u32) -> String {
    value.to_string()
}

/// A share that is given in percent.
pub fn say_percent(value: u32, _max: u32) -> String {
    format!("{value}%")
}

/// Mebibytes.
pub fn say_mebibytes(value: u32, _max: u32) -> String {
    if value < 1_024 { format!("{value} MiB") } else { format!("{}.{} GiB", value / 1_024, value % 1_024 * 10 / 1_024) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{MINUTE, SECOND};

    const CPU: Quantity<'_> = Quantity { title: "CPU", max: 1_000, say: say_share, limit: "of 1 core" };
    const NOW: Millis = Millis(10 * HOUR);

    #[test]
    fn a_gap_in_the_measurements_is_a_gap_in_the_line() {
        let points = [(NOW - 30 * MINUTE, Some(0)), (NOW - 29 * MINUTE, Some(1_000)), (NOW - MINUTE, Some(500))];
        let chart = Chart::of(CPU, &points, NOW);
        assert_eq!(chart.line, "M180 79L186 1M354 40");
        assert_eq!(chart.area, "M180 80L180 79L186 1L186 80ZM354 80L354 40L354 80Z");
        assert_eq!(chart.alt, "CPU over the last hour: between 0% and 100%, now 50%.");
    }

    #[test]
    fn nothing_measured_is_said_and_not_drawn_as_zero() {
        let chart = Chart::of(CPU, &[(NOW, None), (NOW - 2 * HOUR, Some(1))], NOW);
        assert_eq!((chart.line.as_str(), chart.now.as_str()), ("", "not measured"));
        assert_eq!(chart.alt, "CPU over the last hour: no measurements.");
    }

    #[test]
    fn a_day_of_minutes_is_one_line_and_an_hour_without_a_panel_is_a_gap() {
        const AWAKE: Quantity<'_> = Quantity { title: "Awake", max: 10, say: say_number, limit: "of 10" };
        let now = Millis(2 * DAY);
        let points: Vec<_> = (0..1_440).map(|n| (now - DAY + n * MINUTE, Some(5))).collect();
        let chart = Chart::over(LAST_DAY, AWAKE, &points, now);
        assert_eq!((chart.line.matches('M').count(), chart.axis[0]), (1, "24 h ago"));
        assert_eq!(chart.alt, "Awake over the last 24 hours: between 5 and 5, now 5.");
        let without = |from: i64, minutes: i64| {
            let gone = from..from + minutes;
            let broken: Vec<_> = points.iter().copied().filter(|(at, _)| !gone.contains(&(at.since(now - DAY) / MINUTE))).collect();
            Chart::over(LAST_DAY, AWAKE, &broken, now).line.matches('M').count()
        };
        assert_eq!((without(7 * 60, 60), without(7 * 60 + 1, 4), without(7 * 60 + 6, 4)), (2, 2, 2), "wherever its columns begin");
        assert_eq!(without(7 * 60, 1), 1, "a minute in a day is not seen");
    }

    #[test]
    fn a_minute_without_a_sample_is_a_gap_in_an_hour_of_minutes() {
        let points: Vec<_> = (0..60).filter(|n| *n != 30).map(|n| (NOW - HOUR + n * MINUTE, Some(500))).collect();
        let chart = Chart::over(LAST_HOUR_BY_MINUTE, CPU, &points, NOW);
        assert_eq!((chart.line.matches('M').count(), chart.top.as_str()), (2, "100%"));
    }

    #[test]
    fn many_points_are_thinned_without_losing_a_peak() {
        let points: Vec<_> = (0..720).map(|n| (NOW - HOUR + n * 5 * SECOND, Some(if n == 333 { 900 } else { 10 }))).collect();
        let chart = Chart::of(CPU, &points, NOW);
        assert!(chart.line.matches(['M', 'L']).count() <= POINTS_MAX + 1);
        assert!(chart.alt.contains("90%"), "{}", chart.alt);
    }
}
