//! What every page shares: who is signed in, the notice of the last action, and where in the menu we are.
//!
//! A handler makes one [`Layout`] for each request and gives it to its page.

use askama::Template;

use super::html_parts;
use crate::model::money::Credits;
use crate::model::time::Millis;

/// Version of the files under `/static`, part of their addresses so that they can be cached for ever.
pub const ASSETS: &str = env!("CARGO_PKG_VERSION");

/// The frame around a page.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Who is looking, if signed in.
    pub me: Option<Me>,
    /// What the last action did.
    pub notice: Option<Notice>,
    /// Path of this page, such as `/dashboard`; marks the menu.
    pub path: String,
    /// The panel's clock; the script counts on from it, whatever the visitor's own clock says. 0: not known.
    pub now: Millis,
    /// People can give themselves credits: this is a demonstration, and every page says so.
    pub demo_credits: bool,
}

impl Layout {
    /// True where the menu's entry `prefix` leads to this page.
    pub fn at(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// True on the operators' pages.
    pub fn operates(&self) -> bool {
        ["/admin", "/nodes", "/templates"].into_iter().any(|prefix| self.at(prefix))
    }

    /// True where this program carries htmx; without it, pages do without scripts of others.
    pub fn vendored(&self) -> bool {
        crate::http::assets::vendored()
    }

    /// See [`ASSETS`].
    pub fn assets(&self) -> &'static str {
        ASSETS
    }
}

/// Who is looking.
#[derive(Debug, Clone)]
pub struct Me {
    /// Shown in the header.
    pub email: String,
    /// Sees the operators' pages.
    pub is_staff: bool,
    /// Sees what only admins see.
    pub is_admin: bool,
    /// Credits in the header.
    pub balance: BalanceBadge,
}

/// How much is left, as a mood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funds {
    /// Enough.
    Fine,
    /// Less than a day of what runs now, or less than the low mark.
    Low,
    /// Nothing: everything that costs sleeps.
    Out,
}

impl Funds {
    /// Judges a balance against what is being spent in an hour; below `low` it is low whatever runs.
    pub fn of(balance: Credits, per_hour: Credits, low: Credits) -> Funds {
        if balance <= Credits::ZERO {
            Funds::Out
        } else if balance < low || balance.0 < per_hour.0.saturating_mul(24) {
            Funds::Low
        } else {
            Funds::Fine
        }
    }

    /// Class of the badge.
    pub fn class(self) -> &'static str {
        match self {
            Funds::Fine => "fine",
            Funds::Low => "low",
            Funds::Out => "out",
        }
    }
}

/// The balance in the header; sent again when it changes.
#[derive(Debug, Clone, Template)]
#[template(path = "_balance.html")]
pub struct BalanceBadge {
    /// Such as `98.25`.
    pub balance: String,
    /// With all places.
    pub exact: String,
    /// Its mood.
    pub funds: Funds,
}

impl BalanceBadge {
    /// From an amount and what is being spent in an hour; below `low` it is low whatever runs.
    pub fn of(balance: Credits, per_hour: Credits, low: Credits) -> BalanceBadge {
        BalanceBadge { balance: amount(balance), exact: balance.to_string(), funds: Funds::of(balance, per_hour, low) }
    }
}

html_parts!(BalanceBadge);

/// An amount with exactly two places, rounded towards less, so that columns line up: `98.25`. The ledger shows all places.
pub fn amount(credits: Credits) -> String {
    let cents = credits.0.div_euclid(10_000);
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// How a notice is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It was done.
    Done,
    /// It was not done.
    Refused,
}

/// What the last action did.
#[derive(Debug, Clone)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// One sentence.
    pub text: String,
}

impl Notice {
    /// Something was done.
    pub fn done(text: impl Into<String>) -> Notice {
        Notice { tone: Tone::Done, text: text.into() }
    }

    /// Something was not done.
    pub fn refused(text: impl Into<String>) -> Notice {
        Notice { tone: Tone::Refused, text: text.into() }
    }

    /// Class of the box.
    pub fn class(&self) -> &'static str {
        match self.tone {
            Tone::Done => "done",
            Tone::Refused => "refused",
        }
    }

    /// Sign in the box.
    pub fn sign(&self) -> &'static str {
        match self.tone {
            Tone::Done => "check",
            Tone::Refused => "alert",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_marks_the_page_and_what_lies_under_it() {
        let layout = Layout { path: "/nodes/local".to_owned(), ..Layout::default() };
        assert!(layout.at("/nodes") && layout.at("/nodes/local") && !layout.at("/node") && !layout.at("/dashboard"));
    }

    #[test]
    fn a_balance_is_never_shown_higher_than_it_is() {
        for (micro, shown) in [(98_259_999, "98.25"), (0, "0.00"), (-1, "-0.01"), (500_000, "0.50"), (-1_500_000, "-1.50")] {
            assert_eq!(amount(Credits(micro)), shown);
        }
    }

    #[test]
    fn funds_are_low_before_they_are_out() {
        assert_eq!(Funds::of(Credits::whole(100), Credits::whole(1), Credits::whole(5)), Funds::Fine);
        assert_eq!(Funds::of(Credits::whole(20), Credits::whole(1), Credits::whole(5)), Funds::Low);
        assert_eq!(Funds::of(Credits::whole(4), Credits::ZERO, Credits::whole(5)), Funds::Low);
        assert_eq!(Funds::of(Credits::ZERO, Credits::ZERO, Credits::whole(5)), Funds::Out);
    }
}
