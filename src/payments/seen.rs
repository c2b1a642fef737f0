//! What Stripe says of a thing, in our own few words.

use stripe_shared::{
    CheckoutSession, CheckoutSessionMode, CheckoutSessionPaymentStatus, CheckoutSessionStatus, Dispute, DisputeStatus, PaymentIntent,
    Subscription,
};

use crate::model::subscriptions::Status;
use crate::model::time::{Millis, SECOND};

/// How far a Checkout session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its page can be paid at.
    Open,
    /// Done, and the money is on its way (bank debits and the like).
    Complete,
    /// Done and paid.
    Paid,
    /// Done, and nothing was to be paid: a discount took all of the price.
    Free,
    /// Nobody paid in time, or it was called off.
    Expired,
}

/// A Checkout session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSeen {
    /// `cs_...`
    pub id: String,
    /// Its page, while it can be paid at.
    pub url: Option<String>,
    /// How far it is.
    pub state: SessionState,
    /// A single payment, no subscription.
    pub one_off: bool,
    /// The id of our row, as we gave it.
    pub reference: Option<String>,
    /// `cus_...`
    pub customer: Option<String>,
    /// What is to be paid, taxes on top of our price not counted, in the currency that we asked in: where the payer sees another
    /// one, what Stripe has converted it from.
    pub cents: Option<i64>,
    /// The currency that we asked in, in lower case.
    pub currency: String,
    /// Real money?
    pub livemode: bool,
    /// `pi_...`, of a single payment.
    pub intent: Option<String>,
    /// `sub_...`, of a subscription.
    pub subscription: Option<String>,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentState {
    /// The money has come.
    Succeeded,
    /// On its way.
    Processing,
    /// The card's owner has to do something.
    NeedsOwner,
    /// Declined, or called off.
    Failed,
}

impl IntentState {
    /// From Stripe's word.
    pub fn parse(word: &str) -> IntentState {
        match word {
            "succeeded" => IntentState::Succeeded,
            "requires_action" | "requires_confirmation" => IntentState::NeedsOwner,
            "canceled" | "requires_payment_method" => IntentState::Failed,
            _processing => IntentState::Processing,
        }
    }
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentSeen {
    /// `pi_...`
    pub id: String,
    /// How far it is.
    pub state: IntentState,
    /// The id of our row, as we gave it.
    pub reference: Option<String>,
    /// `cus_...`
    pub customer: Option<String>,
    /// What is to be paid, in the currency of the payment, which may be the payer's own.
    pub cents: i64,
    /// What has come of it.
    pub received_cents: i64,
    /// In lower case.
    pub currency: String,
    /// Real money?
    pub livemode: bool,
    /// `pm_...` that was used.
    pub method: Option<String>,
    /// Stripe's word for why it failed.
    pub why: Option<String>,
    /// The receipt's page.
    pub receipt: Option<String>,
    /// Given back so far, all refunds together.
    pub refunded_cents: i64,
    /// Its owner has told their bank that they did not want it; what became of that is asked for apart.
    pub disputed: bool,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeSeen {
    /// `dp_...` or `du_...`
    pub id: String,
    /// What it is about.
    pub cents: i64,
    /// Does the bank hold the money back by now?
    pub withdrawn: bool,
}

/// What a subscription is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSeen {
    /// `si_...`
    pub id: String,
    /// The product of its price.
    pub product: String,
    /// A month's price.
    pub cents: Option<i64>,
    /// Until when is paid.
    pub period_end: Millis,
}

/// An invoice that was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidSeen {
    /// `in_...`
    pub id: String,
    /// How much came in.
    pub cents: i64,
    /// In lower case.
    pub currency: String,
    /// When.
    pub at: Millis,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSeen {
    /// `sub_...`
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// `cus_...`
    pub customer: String,
    /// The id of our row, as we gave it.
    pub reference: Option<String>,
    /// The panel that made it, as we gave it.
    pub panel: Option<String>,
    /// The server that it is for, as we gave it.
    pub server: Option<String>,
    /// Since when it is there.
    pub started_at: Millis,
    /// Ends with the period that is paid.
    pub cancel_at_end: bool,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Collecting is paused by the operator.
    pub paused: bool,
    /// What it is for; we make them with one item.
    pub item: Option<ItemSeen>,
    /// A page at which an open invoice can be paid.
    pub pay_url: Option<String>,
    /// The newest invoice, if it is paid.
    pub paid: Option<PaidSeen>,
    /// Real money?
    pub livemode: bool,
}

fn millis(secs: i64) -> Millis {
    Millis(secs.saturating_mul(SECOND))
}

/// `converted` without its share of the taxes, of which `tax` are in `total`.
pub(super) fn untaxed(converted: i64, tax: i64, total: Option<i64>) -> i64 {
    let Some(total) = total.filter(|total| *total > 0) else { return converted };
    let tax = i128::from(converted) * i128::from(tax) / i128::from(total);
    converted - i64::try_from(tax).unwrap_or_default()
}

impl From<CheckoutSession> for CheckoutSeen {
    fn from(session: CheckoutSession) -> CheckoutSeen {
        let state = match (session.status, session.payment_status) {
            (Some(CheckoutSessionStatus::Expired), _) => SessionState::Expired,
            (Some(CheckoutSessionStatus::Complete), CheckoutSessionPaymentStatus::Paid) => SessionState::Paid,
            (Some(CheckoutSessionStatus::Complete), CheckoutSessionPaymentStatus::NoPaymentRequired) => SessionState::Free,
            (Some(CheckoutSessionStatus::Complete), _) => SessionState::Complete,
            (_, _) => SessionState::Open,
        };
        let currency = session.currency.map(|currency| currency.to_string()).unwrap_or_default();
        let tax = session.total_details.map_or(0, |details| details.amount_tax);
        // Versions before 2025-03-31 tell amounts as the payer sees them, and beside them what those were converted from.
        let (cents, currency) = match session.currency_conversion {
            Some(from) => (Some(untaxed(from.amount_total, tax, session.amount_total)), from.source_currency.to_string()),
            None => (session.amount_total.map(|total| total - tax), currency),
        };
        CheckoutSeen {
            id: session.id.as_str().to_owned(),
            url: session.url,
            state,
            one_off: session.mode == CheckoutSessionMode::Payment,
            reference: session.client_reference_id,
            customer: session.customer.map(|customer| customer.id().as_str().to_owned()),
            cents,
            currency,
            livemode: session.livemode,
            intent: session.payment_intent.map(|intent| intent.id().as_str().to_owned()),
            subscription: session.subscription.map(|subscription| subscription.id().as_str().to_owned()),
        }
    }
}

impl From<PaymentIntent> for IntentSeen {
    fn from(intent: PaymentIntent) -> IntentSeen {
        let charge = intent.latest_charge.as_ref().and_then(|charge| charge.as_object());
        IntentSeen {
            id: intent.id.as_str().to_owned(),
            state: IntentState::parse(intent.status.as_str()),
            reference: intent.metadata.get("payment").cloned(),
            customer: intent.customer.as_ref().map(|customer| customer.id().as_str().to_owned()),
            cents: intent.amount,
            received_cents: intent.amount_received,
            currency: intent.currency.to_string(),
            livemode: intent.livemode,
            method: intent.payment_method.as_ref().map(|method| method.id().as_str().to_owned()),
            why: intent.last_payment_error.as_ref().and_then(|error| error.code.as_ref().map(|code| code.as_str().to_owned())),
            receipt: charge.and_then(|charge| charge.receipt_url.clone()),
            refunded_cents: charge.map_or(0, |charge| charge.amount_refunded),
            disputed: charge.is_some_and(|charge| charge.disputed),
        }
    }
}

impl From<&Dispute> for DisputeSeen {
    fn from(dispute: &Dispute) -> DisputeSeen {
        let withdrawn = match &dispute.status {
            DisputeStatus::Lost | DisputeStatus::NeedsResponse | DisputeStatus::UnderReview => true,
            // A warning moves no money yet, and a won one has moved it back.
            DisputeStatus::Prevented
            | DisputeStatus::WarningClosed
            | DisputeStatus::WarningNeedsResponse
            | DisputeStatus::WarningUnderReview
            | DisputeStatus::Won
            | DisputeStatus::Unknown(_) => false,
            _newer => false,
        };
        DisputeSeen { id: dispute.id.as_str().to_owned(), cents: dispute.amount, withdrawn }
    }
}

impl From<Subscription> for SubscriptionSeen {
    fn from(subscription: Subscription) -> SubscriptionSeen {
        let text = |name: &str| subscription.metadata.get(name).cloned();
        let item = subscription.items.data.first().map(|item| ItemSeen {
            id: item.id.as_str().to_owned(),
            product: item.price.product.id().as_str().to_owned(),
            cents: item.price.unit_amount,
            period_end: millis(item.current_period_end),
        });
        let invoice = subscription.latest_invoice.as_ref().and_then(|invoice| invoice.as_object());
        let open = invoice.filter(|invoice| invoice.status == Some(stripe_shared::InvoiceStatus::Open));
        let paid = invoice.filter(|invoice| invoice.status == Some(stripe_shared::InvoiceStatus::Paid));
        let paid = paid.and_then(|invoice| {
            let at = invoice.status_transitions.paid_at.unwrap_or(invoice.created);
            Some(PaidSeen {
                id: invoice.id.as_ref()?.as_str().to_owned(),
                cents: invoice.amount_paid,
                currency: invoice.currency.to_string(),
                at: millis(at),
            })
        });
        SubscriptionSeen {
            paid,
            id: subscription.id.as_str().to_owned(),
            status: Status::parse(subscription.status.as_str()),
            customer: subscription.customer.id().as_str().to_owned(),
            reference: text("subscription"),
            panel: text("panel"),
            server: text("server"),
            started_at: millis(subscription.start_date),
            cancel_at_end: subscription.cancel_at_period_end || subscription.cancel_at.is_some(),
            ended_at: subscription.ended_at.map(millis),
            paused: subscription.pause_collection.is_some(),
            item,
            pay_url: open.and_then(|invoice| invoice.hosted_invoice_url.clone()),
            livemode: subscription.livemode,
        }
    }
}
