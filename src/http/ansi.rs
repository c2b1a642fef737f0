//! Terminal colours in a game's log, turned into escaped HTML with classes.
//!
//! A log line is written by whoever plays: it is hostile. Only text that went through `push_escaped` and the fixed class
//! names of this file reach the page; every sequence that is not about colour or weight is swallowed. Every span that is
//! opened is closed on the same line. Called by the log parts of the server page; the limit on a line's length is the
//! wire's (`LINE_BYTES_MAX`).

use std::fmt;

use askama::filters::HtmlSafe;
use vte::{Params, Parser, Perform};

/// One line as HTML. It can only be made from raw text by [`Line::render`], which is why the templates may trust it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line(String);

impl Line {
    /// Escapes a raw line and keeps its colours as `<span class>`.
    pub fn render(raw: &str) -> Line {
        let mut writer = Writer::default();
        Parser::new().advance(&mut writer, raw.as_bytes());
        writer.close();
        Line(writer.html)
    }

    /// The HTML.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Line {}
impl askama::FastWritable for Line {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(dest.write_str(&self.0)?)
    }
}

/// What the terminal's pen looks like; colours are 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pen {
    ink: Option<u8>,
    paper: Option<u8>,
    /// Bits of [`FLAGS`].
    flags: u8,
}

/// Weights and the like: the bit and the class of each.
const FLAGS: [(u8, &str); 5] = [(BOLD, "bold"), (DIM, "dim-ansi"), (ITALIC, "ital"), (UNDERLINE, "und"), (REVERSE, "rev")];
const BOLD: u8 = 1;
const DIM: u8 = 2;
const ITALIC: u8 = 4;
const UNDERLINE: u8 = 8;
const REVERSE: u8 = 16;

impl Pen {
    fn classes(self) -> Vec<String> {
        let (ink, paper) = if self.flags & REVERSE != 0 { (self.paper, self.ink) } else { (self.ink, self.paper) };
        let mut classes = Vec::new();
        classes.extend(ink.map(|n| format!("f{n}")));
        classes.extend(paper.map(|n| format!("g{n}")));
        classes.extend(FLAGS.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| (*name).to_owned()));
        classes
    }

    fn select(&mut self, params: &Params) {
        let mut groups = params.iter();
        while let Some(group) = groups.next() {
            match group {
                [0] | [] => *self = Pen::default(),
                [1] => self.flags |= BOLD,
                [2] => self.flags |= DIM,
                [3] => self.flags |= ITALIC,
                [4, ..] => self.flags |= UNDERLINE,
                [7] => self.flags |= REVERSE,
                [22] => self.flags &= !(BOLD | DIM),
                [23] => self.flags &= !ITALIC,
                [24] => self.flags &= !UNDERLINE,
                [27] => self.flags &= !REVERSE,
                [39] => self.ink = None,
                [49] => self.paper = None,
                [n @ 30..=37] => self.ink = u8::try_from(n - 30).ok(),
                [n @ 40..=47] => self.paper = u8::try_from(n - 40).ok(),
                [n @ 90..=97] => self.ink = u8::try_from(n - 82).ok(),
                [n @ 100..=107] => self.paper = u8::try_from(n - 92).ok(),
                [38, rest @ ..] => self.ink = extended(rest, &mut groups).or(self.ink),
                [48, rest @ ..] => self.paper = extended(rest, &mut groups).or(self.paper),
                _other => {}
            }
        }
    }
}

/// The colour after 38 or 48, written with colons in the same group or with semicolons in the following ones.
fn extended<'a>(rest: &[u16], groups: &mut impl Iterator<Item = &'a [u16]>) -> Option<u8> {
    let mut later = || groups.next().and_then(|group| group.first().copied());
    match rest {
        [5, n, ..] => from_256(*n),
        [2, r, g, b] | [2, _, r, g, b, ..] => Some(nearest([*r, *g, *b])),
        [] => match later()? {
            5 => from_256(later()?),
            2 => Some(nearest([later()?, later()?, later()?])),
            _other => None,
        },
        [..] => None,
    }
}

/// One of 256 colours as the nearest of 16: the page has a palette that can be read in both themes, and no other.
fn from_256(n: u16) -> Option<u8> {
    match n {
        0..=15 => u8::try_from(n).ok(),
        16..=231 => {
            let level = |step: u16| if step == 0 { 0 } else { 55 + 40 * step };
            let cube = n - 16;
            Some(nearest([level(cube / 36), level(cube / 6 % 6), level(cube % 6)]))
        }
        232..=255 => Some(nearest([8 + 10 * (n - 232); 3])),
        256.. => None,
    }
}

/// The usual 16 colours of terminals, to measure distance by.
const PALETTE: [[u16; 3]; 16] = [
    [0, 0, 0],
    [170, 0, 0],
    [0, 170, 0],
    [170, 85, 0],
    [0, 0, 170],
    [170, 0, 170],
    [0, 170, 170],
    [170, 170, 170],
    [85, 85, 85],
    [255, 85, 85],
    [85, 255, 85],
    [255, 255, 85],
    [85, 85, 255],
    [255, 85, 255],
    [85, 255, 255],
    [255, 255, 255],
];

fn nearest(rgb: [u16; 3]) -> u8 {
    let distance = |known: &[u16; 3]| -> u32 { rgb.iter().zip(known).map(|(a, b)| u32::from((*a).min(255).abs_diff(*b)).pow(2)).sum() };
    (0u8..).zip(&PALETTE).min_by_key(|(_, known)| distance(known)).map_or(7, |(n, _)| n)
}

#[derive(Default)]
struct Writer {
    html: String,
    pen: Pen,
    /// The pen of the open span; none is open while it is the default.
    open: Pen,
}

impl Writer {
    fn close(&mut self) {
        if self.open != Pen::default() {
            self.html.push_str("</span>");
            self.open = Pen::default();
        }
    }

    /// Spans are opened at the first character that needs them, so that a line of nothing but sequences stays empty.
    fn follow_pen(&mut self) {
        if self.open == self.pen {
            return;
        }
        self.close();
        if self.pen != Pen::default() {
            self.html.push_str("<span class=\"");
            self.html.push_str(&self.pen.classes().join(" "));
            self.html.push_str("\">");
            self.open = self.pen;
        }
    }
}

fn push_escaped(html: &mut String, c: char) {
    match c {
        '<' => html.push_str("&#60;"),
        '>' => html.push_str("&#62;"),
        '&' => html.push_str("&#38;"),
        '"' => html.push_str("&#34;"),
        '\'' => html.push_str("&#39;"),
        plain => html.push(plain),
    }
}

impl Perform for Writer {
    fn print(&mut self, c: char) {
        if !c.is_control() {
            self.follow_pen();
            push_escaped(&mut self.html, c);
        }
    }

    fn execute(&mut self, byte: u8) {
        if byte == b'\t' {
            self.follow_pen();
            self.html.push_str("    ");
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action == 'm' && intermediates.is_empty() && !ignore {
            self.pen.select(params);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(raw: &str) -> String {
        Line::render(raw).to_string()
    }

    #[test]
    fn colours_become_classes_and_text_is_escaped() {
        assert_eq!(html("plain"), "plain");
        assert_eq!(html("\x1b[31mred\x1b[0m done"), "<span class=\"f1\">red</span> done");
        assert_eq!(html("\x1b[1;92;44mx"), "<span class=\"f10 g4 bold\">x</span>");
        assert_eq!(html("<script>alert('&\"')"), "&#60;script&#62;alert(&#39;&#38;&#34;&#39;)");
    }

    #[test]
    fn wide_palettes_are_brought_down_to_sixteen() {
        assert_eq!(html("\x1b[38;5;196mx"), html("\x1b[38;2;255;0;0mx"));
        assert_eq!(html("\x1b[38:2::255:85:85mx"), "<span class=\"f9\">x</span>");
        assert_eq!(html("\x1b[38;5;9;4mx"), "<span class=\"f9 und\">x</span>");
        assert_eq!(html("\x1b[38;5;999mx"), "x");
    }

    #[test]
    fn what_is_not_colour_is_swallowed() {
        assert_eq!(html("\x1b]0;<title>\x07a\x1b[2Jb\x1b[10;10Hc\x08\r"), "abc");
        assert_eq!(html("a\tb"), "a    b");
        assert_eq!(html("\x1b[31m"), "");
    }

    /// Takes our own spans out and gives what is left.
    fn without_spans(html: &str) -> Option<String> {
        let mut rest = html;
        let mut text = String::new();
        let mut depth = 0u32;
        while let Some(at) = rest.find('<') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("</span>") {
                depth = depth.checked_sub(1)?;
                rest = after;
            } else {
                let (classes, after) = rest.strip_prefix("<span class=\"")?.split_once("\">")?;
                if classes.is_empty() || !classes.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b" -".contains(&b)) {
                    return None;
                }
                depth += 1;
                rest = after;
            }
        }
        text.push_str(rest);
        (depth == 0).then_some(text)
    }

    proptest! {
        #[test]
        fn whatever_a_game_prints_stays_text(raw in "(\\PC|[\\x00-\\x1f<>&\"']|\\x1b\\[[0-9;:]{0,12}[a-zA-Z]){0,80}") {
            let html = html(&raw);
            let text = without_spans(&html);
            prop_assert!(text.is_some(), "unbalanced or foreign markup: {html:?}");
            let text = text.unwrap_or_default();
            prop_assert!(!text.contains(['<', '>', '"', '\'']), "{text:?}");
            prop_assert!(text.chars().all(|c| !c.is_control()));
        }

        #[test]
        fn colours_never_eat_letters(words in prop::collection::vec(("[a-z]{1,8}", 30u8..38), 1..10)) {
            let raw = words.iter().map(|(word, colour)| format!("\x1b[{colour}m{word}\x1b[0m")).collect::<Vec<_>>().concat();
            let plain: String = words.iter().map(|(word, _)| word.as_str()).collect();
            prop_assert_eq!(without_spans(&html(&raw)), Some(plain));
        }
    }
}
