//! Paying: the form, what was paid, what is paid by itself, and the page on the way to Stripe's.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::Field;
use super::html_parts;
use super::layout::Layout;
use super::moments::Moment;
use super::months::MonthList;

/// How much to pay.
#[derive(Debug, Clone)]
pub struct PayForm {
    /// One of a few amounts.
    pub amount: Field,
    /// Or another one.
    pub own: Field,
}

/// What the billing page shows where payments are taken.
#[derive(Debug, Clone)]
pub struct Paying {
    /// What became of a payment that somebody comes back from.
    pub said: Option<PaymentSaid>,
    /// Top-ups that happen by themselves.
    pub auto: AutoPart,
    /// Servers that are paid by the month.
    pub months: MonthList,
    /// What was paid.
    pub payments: PaymentList,
    /// For admins: where the two sides do not agree.
    pub differences: Vec<DifferenceRow>,
}

/// What became of a payment.
#[derive(Debug, Clone)]
pub struct PaymentSaid {
    /// One or two sentences.
    pub text: String,
    /// It did not work.
    pub bad: bool,
    /// Where to look again.
    pub again: Option<String>,
}

/// Where the two sides do not agree.
#[derive(Debug, Clone)]
pub struct DifferenceRow {
    /// In words.
    pub what: String,
    /// When it was seen last.
    pub at: Moment,
}

/// What was paid.
#[derive(Debug, Clone, Template)]
#[template(path = "billing/_payments.html")]
pub struct PaymentList {
    /// Newest first.
    pub rows: Vec<PaymentRow>,
    /// There is something to see at Stripe's portal: posted to `/billing/portal`.
    pub portal: bool,
}

/// A payment.
#[derive(Debug, Clone)]
pub struct PaymentRow {
    /// When it was begun.
    pub at: Moment,
    /// `25.00 EUR`
    pub amount: String,
    /// What became of it.
    pub state: String,
    /// It did not work.
    pub bad: bool,
    /// Stripe's receipt.
    pub receipt: Option<String>,
}

/// Top-ups that happen by themselves: posted to `/billing/auto`.
#[derive(Debug, Clone, Template)]
#[template(path = "billing/_auto.html")]
pub struct AutoPart {
    /// How it stands, one or two sentences.
    pub state: String,
    /// It can be switched off.
    pub on: bool,
    /// Something was refused: the form is open.
    pub refused: bool,
    /// When less than this is left.
    pub below: Field,
    /// So much at a time.
    pub amount: Field,
    /// At most so much in a month.
    pub most: Field,
}

html_parts!(PaymentList, AutoPart);

/// The way to a page of Stripe's. Forms of this site lead nowhere else, so a page of our own hands the browser on.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "billing/onward.html")]
pub struct OnwardPage {
    /// Frame.
    pub layout: Layout,
    /// What happens there.
    pub what: String,
    /// Its address.
    pub url: String,
}
