//! Credits: what is left, what is being spent, and every entry of the ledger explained.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::Field;
use super::html_parts;
use super::layout::{Funds, Layout};
use super::moments::Moment;
use super::payments::{PayForm, Paying, PaymentSaid};
use crate::model::money::Credits;

/// `/billing`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "billing.html")]
pub struct BillingPage {
    /// Frame.
    pub layout: Layout,
    /// What is left and what costs.
    pub purse: Purse,
    /// What was added and taken.
    pub ledger: Ledger,
    /// How to get credits.
    pub top_up: TopUp,
    /// Payments, months and what is done by itself; none: no payments are taken.
    pub paying: Option<Paying>,
    /// For admins: posted to `/billing/grant`.
    pub grant: Option<GrantForm>,
    /// Sent along with either form, so that one that is sent twice counts once.
    pub request: String,
}

/// What is left and what costs; sent again when it changes.
#[derive(Debug, Clone, Template)]
#[template(path = "_purse.html")]
pub struct Purse {
    /// Credits left.
    pub balance: String,
    /// Their mood.
    pub funds: Funds,
    /// Cost of an hour as it is now.
    pub per_hour: String,
    /// How long the balance lasts at this rate; none: nothing costs.
    pub lasts: Option<String>,
    /// What costs now.
    pub running: Vec<RunningNow>,
}

/// One page of the ledger; the newest one is sent again when it changes.
#[derive(Debug, Clone, Template)]
#[template(path = "_ledger.html")]
pub struct Ledger {
    /// Newest first.
    pub entries: Vec<LedgerRow>,
    /// Earlier and later entries.
    pub pager: Pager,
}

html_parts!(Purse, Ledger);

/// A server that costs now.
#[derive(Debug, Clone)]
pub struct RunningNow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Price of a running hour.
    pub per_hour: String,
    /// Since when it runs.
    pub since: Moment,
}

/// How to get credits.
#[derive(Debug, Clone)]
pub enum TopUp {
    /// At Stripe's page: posted to `/billing/add-funds` with `amount` or `own`.
    Pay(PayForm),
    /// A demonstration: posted to `/billing/add-funds` with `amount`.
    Demo(Field),
    /// Somebody has to be asked.
    AskAdmin,
}

/// Credits for an account.
#[derive(Debug, Clone)]
pub struct GrantForm {
    /// Whose.
    pub email: Field,
    /// How many.
    pub amount: Field,
    /// Why, for the ledger.
    pub note: Field,
}

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    /// When it was posted.
    pub at: Moment,
    /// What for.
    pub what: LedgerWhat,
    /// Signed, all places: `-0.375`, `+100.00`.
    pub amount: String,
    /// True where credits were taken.
    pub taken: bool,
    /// Balance after it, with two places.
    pub balance: String,
    /// The same with all places.
    pub exact: String,
}

/// What an entry is for.
#[derive(Debug, Clone)]
pub enum LedgerWhat {
    /// A server ran.
    Ran {
        /// Its id, where it still has a page.
        id: Option<String>,
        /// Its name then.
        name: String,
        /// What it did.
        how: &'static str,
        /// Start of what is charged.
        from: Moment,
        /// End of what is charged.
        to: Moment,
    },
    /// Anything else, one sentence.
    Said(String),
}

impl BillingPage {
    /// What became of a payment that somebody comes back from.
    pub fn said(&self) -> Option<&PaymentSaid> {
        self.paying.as_ref()?.said.as_ref()
    }
}

impl Ledger {
    /// Figure spaces to stand behind an amount, so that the points of a column stand below each other.
    pub fn padding(&self, amount: &str) -> String {
        let places = |amount: &str| amount.split_once('.').map_or(0, |(_, places)| places.len());
        let most = self.entries.iter().map(|entry| places(&entry.amount)).max().unwrap_or(0);
        "\u{2007}".repeat(most.saturating_sub(places(amount)))
    }
}

/// An amount with its sign and all its places: `+100.00`, `-0.375`.
pub fn signed(amount: Credits) -> String {
    if amount.0 > 0 { format!("+{amount}") } else { amount.to_string().replace('-', "\u{2212}") }
}

/// Links to the neighbours of a page of a list.
#[derive(Debug, Clone, Default)]
pub struct Pager {
    /// Address of the newer entries.
    pub newer: Option<String>,
    /// Address of the older entries.
    pub older: Option<String>,
}
