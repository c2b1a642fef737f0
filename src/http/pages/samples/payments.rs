//! Samples of paying: the billing page where payments are taken, servers by the month, the way to Stripe.

use super::{HOSTILE, LONG, NOW, frame};
use crate::http::pages::fields::{Choice, Field};
use crate::http::pages::moments::Moment;
use crate::http::pages::months::{MonthList, MonthPart, MonthRow, MonthState};
use crate::http::pages::payments::{AutoPart, DifferenceRow, OnwardPage, PayForm, Paying, PaymentList, PaymentRow, PaymentSaid};
use crate::model::time::{DAY, HOUR};

pub(super) fn pay_form(error: Option<String>) -> PayForm {
    let amounts =
        ["5", "10", "25", "50"].map(|value| Choice { value: value.to_owned(), label: format!("{value}.00 EUR"), chosen: value == "10" });
    PayForm {
        amount: Field::choice("amount", "How much", amounts.to_vec()).required(),
        own: Field::text("own", "Or another amount", if error.is_some() { HOSTILE } else { "" }, 9)
            .help("5.00 EUR to 500.00 EUR.")
            .error(error),
    }
}

fn payment(days: i64, amount: &str, state: &str, bad: bool, receipt: bool) -> PaymentRow {
    let receipt = receipt.then(|| "https://pay.stripe.com/receipts/payment/x".to_owned());
    PaymentRow { at: Moment::full(NOW - days * DAY), amount: amount.to_owned(), state: state.to_owned(), bad, receipt }
}

fn month(server: bool, name: &str, state: &'static str, bad: bool, next: Option<(&'static str, i64)>) -> MonthRow {
    MonthRow {
        server: server.then(|| "aaaaaaaa-mi-bbbbbb".to_owned()),
        name: name.to_owned(),
        price: "3.00 EUR".to_owned(),
        state,
        bad,
        next: next.map(|(word, hours)| (word, Moment::relative(NOW + hours * HOUR, NOW))),
    }
}

pub(super) fn paying(full: bool) -> Paying {
    let said = full.then(|| PaymentSaid {
        text: "Your payment of 25.00 EUR is being confirmed. The credits appear here as soon as it is.".to_owned(),
        bad: false,
        again: Some("/billing/return?payment=aaaa".to_owned()),
    });
    let rows = vec![
        payment(0, "25.00 EUR", "Paid", false, true),
        payment(3, "10.00 EUR", "Paid automatically, 4.00 EUR refunded", false, true),
        payment(9, "50.00 EUR", "Paid, 50.00 EUR held back by the bank", true, true),
        payment(12, "10.00 EUR", "Did not work automatically", true, false),
    ];
    let months = vec![
        month(true, "Valley of Echoes", "paid", false, Some(("Next payment", 400))),
        month(true, LONG, "a payment did not work", true, Some(("Next payment", -20))),
        month(false, HOSTILE, "ended", false, Some(("Ended", -700))),
    ];
    let state = if full { "On: 10.00 EUR when fewer than 100.00 credits are left." } else { "Off." };
    Paying {
        said,
        auto: AutoPart {
            state: state.to_owned(),
            on: full,
            refused: full,
            below: Field::amount("below", "When fewer are left than", "100").required(),
            amount: Field::text("auto-amount", "So much at a time, EUR", "10", 9).required(),
            most: Field::text("most", "At most in a month, EUR", "5", 9)
                .error(full.then(|| "At least as much as one top-up, and at most 10000.00 EUR a month.".to_owned()))
                .required(),
        },
        months: MonthList { rows: if full { months } else { Vec::new() } },
        payments: PaymentList { rows: if full { rows } else { Vec::new() }, portal: full },
        differences: if full {
            vec![DifferenceRow {
                what: format!("Subscription {HOSTILE} is not known to Stripe any more."),
                at: Moment::relative(NOW - HOUR, NOW),
            }]
        } else {
            Vec::new()
        },
    }
}

/// Every way in which a server stands by the month.
pub(super) fn months() -> [MonthPart; 5] {
    let plans = ["Regular, 6.00 EUR a month", "Large, 12.00 EUR a month"];
    let plans = plans.map(|label| Choice { value: label.to_lowercase(), label: label.to_owned(), chosen: label.starts_with('R') });
    let part = |mine, state| MonthPart {
        id: "aaaaaaaa-mi-bbbbbb".to_owned(),
        mine,
        plans: Some(Field::choice("plan", "Another plan", plans.to_vec()).required()),
        state,
    };
    let price = || "3.00 EUR".to_owned();
    let until = |days: i64| Some(Moment::relative(NOW + days * DAY, NOW));
    [
        part(true, MonthState::Offer { price: price(), opening: false }),
        part(true, MonthState::Offer { price: price(), opening: true }),
        part(true, MonthState::Covered { price: price(), until: until(20), ends: false, changing: false }),
        part(false, MonthState::Covered { price: price(), until: until(2), ends: true, changing: true }),
        part(
            true,
            MonthState::Unpaid {
                fresh: false,
                until: until(5),
                failed: true,
                pay_url: Some("https://invoice.stripe.com/i/x".to_owned()),
                price: Some(price()),
            },
        ),
    ]
}

impl OnwardPage {
    /// The way to Stripe.
    pub fn samples() -> Vec<(&'static str, OnwardPage)> {
        let what = "You pay there, and come back here when it is done.".to_owned();
        vec![("pay", OnwardPage { layout: frame("/billing"), what, url: format!("https://checkout.stripe.com/c/pay/{HOSTILE}") })]
    }
}
