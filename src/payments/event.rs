//! A webhook's content, read leniently: accounts send events of whatever API version they are set to, and fields come and go between
//! versions. An event tells what has happened to which thing; only a Checkout session and a payment, whose few fields that matter have
//! been the same since they exist, are taken from it, and everything else is asked for anew at our own version.

use serde_json::Value;

use super::seen::{CheckoutSeen, IntentSeen, IntentState, PaidSeen, SessionState, untaxed};
use crate::model::time::{Millis, SECOND};

/// Longest id that is read.
const ID_MAX: usize = 255;

/// The body is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is no event of Stripe")]
pub struct NotAnEvent;

/// What has happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// `evt_...`: unique.
    pub id: String,
    /// Such as `checkout.session.completed`.
    pub kind: String,
    /// Is it about real money?
    pub livemode: bool,
    object: Value,
}

/// An id, whether it stands alone or the whole thing stands in its place.
fn id_of(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value["id"].as_str())?;
    (!text.is_empty() && text.len() <= ID_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

impl Event {
    /// Reads a body that has been verified.
    ///
    /// # Errors
    /// Where it is no event.
    pub fn read(body: &[u8]) -> Result<Event, NotAnEvent> {
        let mut value: Value = serde_json::from_slice(body).map_err(|_| NotAnEvent)?;
        let kind = value["type"].as_str().filter(|kind| kind.len() <= ID_MAX).ok_or(NotAnEvent)?.to_owned();
        let (id, livemode) = (id_of(&value["id"]).ok_or(NotAnEvent)?, value["livemode"].as_bool().ok_or(NotAnEvent)?);
        let object = value["data"]["object"].take();
        if object.is_object() { Ok(Event { id, kind, livemode, object }) } else { Err(NotAnEvent) }
    }

    fn id(&self, field: &str) -> Option<String> {
        id_of(&self.object[field])
    }

    fn word(&self, field: &str) -> &str {
        self.object[field].as_str().unwrap_or_default()
    }

    /// The id of the thing itself.
    pub fn object_id(&self) -> Option<String> {
        id_of(&self.object)
    }

    /// The subscription that it is about. An invoice names it at its top before version 2025-03-31, and in its parent since.
    pub fn subscription(&self) -> Option<String> {
        if self.word("object") == "subscription" {
            return self.object_id();
        }
        let lines = &self.object["lines"]["data"];
        let of_line = || lines.as_array()?.iter().find_map(|line| id_of(&line["subscription"]));
        self.id("subscription").or_else(|| id_of(&self.object["parent"]["subscription_details"]["subscription"])).or_else(of_line)
    }

    /// An invoice that was paid; its fields are the same in every version.
    pub fn paid(&self) -> Option<PaidSeen> {
        (self.word("object") == "invoice" && self.word("status") == "paid").then_some(())?;
        let at = self.object["status_transitions"]["paid_at"].as_i64().or_else(|| self.object["created"].as_i64())?;
        let (cents, currency) = (self.object["amount_paid"].as_i64()?, self.word("currency").to_owned());
        Some(PaidSeen { id: self.object_id()?, cents, currency, at: Millis(at.checked_mul(SECOND)?) })
    }

    /// The payment that a refund, charge or dispute is about.
    pub fn payment_intent(&self) -> Option<String> {
        if self.word("object") == "payment_intent" { self.object_id() } else { self.id("payment_intent") }
    }

    /// The session, and the id of our row, of an event about a Checkout session that cannot be read otherwise.
    pub fn session(&self) -> Option<(String, Option<String>)> {
        Some((self.object_id()?, self.id("client_reference_id")))
    }

    /// A Checkout session as it was at the event's moment.
    pub fn checkout(&self) -> Option<CheckoutSeen> {
        let state = match (self.word("status"), self.word("payment_status")) {
            ("expired", _) => SessionState::Expired,
            ("open", _) => SessionState::Open,
            ("complete", "paid") => SessionState::Paid,
            ("complete", "no_payment_required") => SessionState::Free,
            ("complete", _) => SessionState::Complete,
            _other => return None,
        };
        (self.word("object") == "checkout.session").then_some(())?;
        let (total, from) = (self.object["amount_total"].as_i64(), &self.object["currency_conversion"]);
        let tax = self.object["total_details"]["amount_tax"].as_i64().unwrap_or_default();
        let (cents, currency) = match (from["amount_total"].as_i64(), from["source_currency"].as_str()) {
            (Some(converted), Some(source)) => (Some(untaxed(converted, tax, total)), source.to_owned()),
            _ours => (total.map(|total| total.saturating_sub(tax)), self.word("currency").to_owned()),
        };
        Some(CheckoutSeen {
            id: self.object_id()?,
            url: None,
            state,
            one_off: self.word("mode") == "payment",
            reference: self.id("client_reference_id"),
            customer: self.id("customer"),
            cents,
            currency,
            livemode: self.livemode,
            intent: self.id("payment_intent"),
            subscription: self.id("subscription"),
        })
    }

    /// A payment as it was at the event's moment.
    pub fn intent(&self) -> Option<IntentSeen> {
        (self.word("object") == "payment_intent").then_some(())?;
        Some(IntentSeen {
            id: self.object_id()?,
            state: IntentState::parse(self.word("status")),
            reference: id_of(&self.object["metadata"]["payment"]),
            customer: self.id("customer"),
            cents: self.object["amount"].as_i64()?,
            received_cents: self.object["amount_received"].as_i64().unwrap_or_default(),
            currency: self.word("currency").to_owned(),
            livemode: self.livemode,
            method: self.id("payment_method"),
            why: id_of(&self.object["last_payment_error"]["code"]),
            receipt: None,
            refunded_cents: 0,
            disputed: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &Value) -> Event {
        let body = serde_json::json!({"id": "evt_1", "type": "x", "livemode": false, "data": {"object": object}});
        Event::read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_subscription_is_found_in_invoices_of_either_shape() {
        let old = serde_json::json!({"object": "invoice", "id": "in_1", "subscription": "sub_1"});
        let new = serde_json::json!({"object": "invoice", "id": "in_1", "parent": {"subscription_details": {"subscription": "sub_1"}}});
        let whole = serde_json::json!({"object": "invoice", "id": "in_1", "subscription": {"id": "sub_1"}});
        let line =
            serde_json::json!({"object": "invoice", "id": "in_1", "subscription": null, "lines": {"data": [{"subscription": "sub_1"}]}});
        let own = serde_json::json!({"object": "subscription", "id": "sub_1"});
        for object in [old, new, whole, line, own] {
            assert_eq!(event(&object).subscription().as_deref(), Some("sub_1"), "{object}");
        }
        assert_eq!(event(&serde_json::json!({"object": "invoice", "id": "in_1"})).subscription(), None);
    }

    #[test]
    fn what_is_no_event_is_refused_and_odd_fields_are_nothing() {
        for bad in ["", "[]", "{}", "{\"id\":\"evt_1\"", "{\"id\":\"evt_1\",\"type\":\"x\",\"livemode\":false,\"data\":{\"object\":5}}"] {
            assert!(Event::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let odd = event(&serde_json::json!({"object": "checkout.session", "id": "cs_1", "status": "complete", "payment_status": "paid",
            "amount_total": "500", "customer": 5, "currency": null, "mode": []}));
        let seen = odd.checkout().unwrap();
        assert_eq!((seen.cents, seen.customer, seen.currency.as_str(), seen.one_off), (None, None, "", false));
    }
}
