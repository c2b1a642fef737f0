//! Servers by the month: the part of a server's page, and the list on the billing page.

use askama::Template;

use super::fields::Field;
use super::html_parts;
use super::moments::Moment;

/// By the month, on a server's page.
#[derive(Debug, Clone, Template)]
#[template(path = "billing/_month.html")]
pub struct MonthPart {
    /// The server.
    pub id: String,
    /// It is the visitor who pays.
    pub mine: bool,
    /// How it stands.
    pub state: MonthState,
    /// To which plans it can be moved; posted to `/servers/{id}/plan`.
    pub plans: Option<Field>,
}

/// How it stands.
#[derive(Debug, Clone)]
pub enum MonthState {
    /// By the hour, and it can be had by the month.
    Offer {
        /// `3.00 EUR`
        price: String,
        /// A page of Stripe's is open for it, or a payment is on its way.
        opening: bool,
    },
    /// Paid.
    Covered {
        /// `3.00 EUR`
        price: String,
        /// Until when.
        until: Option<Moment>,
        /// It ends then.
        ends: bool,
        /// A change of plan waits for Stripe.
        changing: bool,
    },
    /// Not paid any more; the data are kept for a while.
    Unpaid {
        /// Until when.
        until: Option<Moment>,
        /// It has never been paid, and has never run.
        fresh: bool,
        /// A payment failed, where it did not end.
        failed: bool,
        /// Where an open invoice can be paid.
        pay_url: Option<String>,
        /// `3.00 EUR`; none: it cannot be had by the month any more.
        price: Option<String>,
    },
}

/// Servers that are paid by the month.
#[derive(Debug, Clone, Template)]
#[template(path = "billing/_months.html")]
pub struct MonthList {
    /// Newest first.
    pub rows: Vec<MonthRow>,
}

/// A subscription.
#[derive(Debug, Clone)]
pub struct MonthRow {
    /// The server, where it still has a page.
    pub server: Option<String>,
    /// Its name.
    pub name: String,
    /// `3.00 EUR`
    pub price: String,
    /// How it stands, in a word or two.
    pub state: &'static str,
    /// Something has to be done about it.
    pub bad: bool,
    /// What comes next: `Next payment`, `Ends`, `Ended`.
    pub next: Option<(&'static str, Moment)>,
}

html_parts!(MonthPart, MonthList);
