//! What Stripe does: on request, and when people, banks and time act.

use serde_json::{Value, json};

use super::{Card, Inner, Peer, Shared, objects, refusal};

/// A month, in seconds.
const MONTH: i64 = 30 * 86_400;

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn number(fields: &[(String, String)], name: &str) -> i64 {
    field(fields, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn map(fields: &[(String, String)], name: &str) -> Value {
    let inside = |known: &str| known.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    fields.iter().filter_map(|(known, value)| Some((inside(known)?, Value::from(value.as_str())))).collect::<serde_json::Map<_, _>>().into()
}

impl Inner {
    pub(super) fn carry_out(&mut self, asked: &str, path: &str, fields: &[(String, String)], shared: &Shared) -> (u16, Value) {
        let now = shared.clock.now().0 / 1_000;
        let id =
            path.split('/').find(|part| part.contains('_') && *part != "payment_intents" && *part != "billing_portal").unwrap_or_default();
        let expands = |what: &str| fields.iter().any(|(name, value)| name.starts_with("expand") && value == what);
        match asked.replace(id, if id.is_empty() { "" } else { "*" }).as_str() {
            "POST /v1/customers" => {
                let id = self.id("cus");
                let made = objects::customer(&id, field(fields, "email").unwrap_or_default(), now);
                self.customers.insert(id, made.clone());
                (200, made)
            }
            "POST /v1/products" => {
                let id = self.id("prod");
                let made = objects::product(&id, field(fields, "name").unwrap_or_default(), now);
                self.products.insert(id, made.clone());
                (200, made)
            }
            "POST /v1/checkout/sessions" => (200, self.open(fields, shared, now)),
            "GET /v1/checkout/sessions/*" => found(self.sessions.get(id).cloned()),
            "POST /v1/checkout/sessions/*/expire" => {
                let Some(session) = self.sessions.get_mut(id).filter(|session| session["status"] == "open") else {
                    return refusal(400, "invalid_request_error", "resource_missing");
                };
                (session["status"], session["url"]) = ("expired".into(), Value::Null);
                (200, session.clone())
            }
            "POST /v1/payment_intents" => self.charge_saved(fields, now),
            "GET /v1/payment_intents/*" => {
                let mut intent = self.intents.get(id).cloned();
                if let Some(intent) = intent.as_mut().filter(|_| expands("latest_charge"))
                    && let Some(charge) = intent["latest_charge"].as_str().and_then(|charge| self.charges.get(charge))
                {
                    intent["latest_charge"] = charge.clone();
                }
                found(intent)
            }
            "GET /v1/payment_intents" => {
                let of = |intent: &&Value| intent["customer"].as_str() == field(fields, "customer");
                let data: Vec<Value> = self.intents.values().rev().filter(of).cloned().collect();
                (200, objects::list(&data, "/v1/payment_intents", false))
            }
            "GET /v1/disputes" => {
                let of = |dispute: &&Value| dispute["payment_intent"].as_str() == field(fields, "payment_intent");
                let data: Vec<Value> = self.disputes.values().filter(of).cloned().collect();
                (200, objects::list(&data, "/v1/disputes", false))
            }
            "GET /v1/subscriptions/*" => {
                let mut subscription = self.subscriptions.get(id).cloned();
                if let Some(subscription) = subscription.as_mut().filter(|_| expands("latest_invoice"))
                    && let Some(invoice) = subscription["latest_invoice"].as_str().and_then(|invoice| self.invoices.get(invoice))
                {
                    subscription["latest_invoice"] = invoice.clone();
                }
                found(subscription)
            }
            "GET /v1/subscriptions" => {
                let all: Vec<Value> = self.subscriptions.values().rev().cloned().collect();
                let after = field(fields, "starting_after");
                let begin = after.map_or(0, |after| all.iter().position(|one| one["id"] == after).map_or(all.len(), |at| at + 1));
                (200, objects::list(&all[begin..], "/v1/subscriptions", false))
            }
            "POST /v1/subscriptions/*" => self.change(id, fields),
            "DELETE /v1/subscriptions/*" => {
                let Some(subscription) = self.subscriptions.get_mut(id).filter(|one| one["status"] != "canceled") else {
                    return refusal(404, "invalid_request_error", "resource_missing");
                };
                end(subscription, now);
                (200, subscription.clone())
            }
            "POST /v1/billing_portal/sessions" => {
                let id = self.id("bps");
                (
                    200,
                    json!({"id": id, "object": "billing_portal.session", "configuration": "bpc_1", "created": now,
                    "customer": field(fields, "customer"), "flow": null, "livemode": false, "locale": null, "on_behalf_of": null,
                    "return_url": field(fields, "return_url"), "url": format!("{}/portal", shared.url)}),
                )
            }
            _unknown => refusal(404, "invalid_request_error", "resource_missing"),
        }
    }

    fn open(&mut self, fields: &[(String, String)], shared: &Shared, now: i64) -> Value {
        let id = self.id("cs");
        let cents = number(fields, "line_items[0][price_data][unit_amount]") * number(fields, "line_items[0][quantity]");
        let particular = json!({"mode": field(fields, "mode"), "customer": field(fields, "customer"),
            "client_reference_id": field(fields, "client_reference_id"), "expires_at": number(fields, "expires_at"),
            "success_url": field(fields, "success_url"), "cancel_url": field(fields, "cancel_url"), "metadata": map(fields, "metadata"),
            "amount_subtotal": cents, "amount_total": cents, "currency": field(fields, "line_items[0][price_data][currency]"),
            "url": format!("{}/pay/{id}", shared.url)});
        let session = objects::session(&id, &particular, now);
        // What Stripe keeps to itself until it is paid.
        let mut kept = session.clone();
        kept["_"] = json!({"product": field(fields, "line_items[0][price_data][product]"), "keep": field(fields, "payment_intent_data[setup_future_usage]"),
            "intent": map(fields, "payment_intent_data[metadata]"), "subscription": map(fields, "subscription_data[metadata]")});
        self.sessions.insert(id, kept);
        session
    }

    fn charge_saved(&mut self, fields: &[(String, String)], now: i64) -> (u16, Value) {
        let method = field(fields, "payment_method").unwrap_or_default();
        let card = self.cards.get(method).copied().unwrap_or(Card::Good);
        let particular = json!({"amount": number(fields, "amount"), "currency": field(fields, "currency"), "customer": field(fields, "customer"),
            "payment_method": method, "metadata": map(fields, "metadata"), "description": field(fields, "description")});
        let id = self.id("pi");
        let mut intent = objects::intent(&id, &particular, now);
        let code = match card {
            Card::Good => {
                self.money_came(&mut intent, now);
                self.intents.insert(id, intent.clone());
                return (200, intent);
            }
            Card::Declined => "insufficient_funds",
            Card::AsksOwner => "authentication_required",
        };
        intent["status"] = "requires_payment_method".into();
        self.intents.insert(id, intent.clone());
        let error = json!({"type": "card_error", "code": if card == Card::AsksOwner { code } else { "card_declined" }, "decline_code": code,
            "message": "Your card was declined.", "payment_intent": intent});
        (402, json!({"error": error}))
    }

    fn money_came(&mut self, intent: &mut Value, now: i64) {
        let charge = self.id("ch");
        (intent["status"], intent["amount_received"], intent["latest_charge"]) =
            ("succeeded".into(), intent["amount"].clone(), charge.clone().into());
        let receipt = format!("https://pay.stripe.com/receipts/{charge}");
        self.charges.insert(charge.clone(), objects::charge(&charge, intent, &receipt, now));
    }

    fn change(&mut self, id: &str, fields: &[(String, String)]) -> (u16, Value) {
        let Some(subscription) = self.subscriptions.get_mut(id).filter(|one| one["status"] != "canceled") else {
            return refusal(404, "invalid_request_error", "resource_missing");
        };
        if let Some(end) = field(fields, "cancel_at_period_end") {
            subscription["cancel_at_period_end"] = (end == "true").into();
        }
        if let Some(product) = field(fields, "items[0][price_data][product]") {
            let item = &mut subscription["items"]["data"][0];
            if item["id"].as_str() != field(fields, "items[0][id]") {
                return refusal(400, "invalid_request_error", "resource_missing");
            }
            item["price"]["product"] = product.into();
            item["price"]["unit_amount"] = number(fields, "items[0][price_data][unit_amount]").into();
        }
        (200, subscription.clone())
    }
}

fn found(thing: Option<Value>) -> (u16, Value) {
    thing.map_or_else(
        || refusal(404, "invalid_request_error", "resource_missing"),
        |mut thing| {
            if let Some(fields) = thing.as_object_mut() {
                fields.remove("_");
            }
            (200, thing)
        },
    )
}

fn end(subscription: &mut Value, now: i64) {
    (subscription["status"], subscription["ended_at"], subscription["canceled_at"]) = ("canceled".into(), now.into(), now.into());
}

impl Peer {
    /// Before it is paid, the page comes to another amount: a discount, taxes, the payer's own currency. In the shape of either version.
    pub fn reprice(&self, session: &str, change: impl Fn(&mut Value)) {
        change(self.inner().sessions.get_mut(session).expect("a session"));
    }

    /// What a payment came to in the payer's own currency.
    pub fn charged_in(&self, intent: &str, cents: i64, currency: &str) {
        let mut inner = self.inner();
        let one = inner.intents.get_mut(intent).expect("a payment");
        (one["amount"], one["amount_received"], one["currency"]) = (cents.into(), cents.into(), currency.into());
        let charge = one["latest_charge"].as_str().expect("a charge").to_owned();
        let one = inner.charges.get_mut(&charge).expect("a charge");
        (one["amount"], one["amount_captured"], one["currency"]) = (cents.into(), cents.into(), currency.into());
    }

    /// Somebody pays at a session's page with this card; gives what is to be told.
    pub fn pay(&self, session: &str) -> Value {
        let now = self.now();
        let mut inner = self.inner();
        let mut paid = inner.sessions.get(session).cloned().expect("a session");
        assert_eq!(paid["status"], "open", "its page is open");
        (paid["status"], paid["payment_status"], paid["url"]) = ("complete".into(), "paid".into(), Value::Null);
        if paid["mode"] == "payment" {
            let id = inner.id("pi");
            let method = format!("pm_{}", inner.count);
            let particular = json!({"amount": paid["amount_total"], "currency": paid["currency"], "customer": paid["customer"],
                "payment_method": method, "metadata": paid["_"]["intent"], "setup_future_usage": paid["_"]["keep"]});
            let mut intent = objects::intent(&id, &particular, now);
            inner.money_came(&mut intent, now);
            inner.intents.insert(id.clone(), intent);
            paid["payment_intent"] = id.into();
        } else {
            let id = inner.id("sub");
            let product = paid["_"]["product"].as_str().expect("a product").to_owned();
            let currency = paid["currency"].as_str().expect("a currency").to_owned();
            let cents = paid["amount_total"].as_i64().expect("a price");
            let item = inner.id("si");
            let item = objects::item(&item, &id, (&product, &currency, cents), (now, now + MONTH));
            let mut subscription = objects::subscription(&id, &paid["customer"], &paid["_"]["subscription"], &item, &currency, now);
            let invoice = inner.id("in");
            subscription["latest_invoice"] = invoice.clone().into();
            let whole = objects::invoice(&invoice, &subscription, cents, ("paid", "https://invoice.stripe.com/i/x"), now);
            inner.invoices.insert(invoice, whole);
            inner.subscriptions.insert(id.clone(), subscription);
            paid["subscription"] = id.into();
        }
        inner.sessions.insert(session.to_owned(), paid.clone());
        drop(inner);
        found(Some(paid)).1
    }

    /// Nobody paid in time.
    pub fn expire(&self, session: &str) -> Value {
        let mut inner = self.inner();
        let one = inner.sessions.get_mut(session).expect("a session");
        (one["status"], one["url"]) = ("expired".into(), Value::Null);
        found(Some(one.clone())).1
    }

    /// Done at its page, and the money is on its way.
    pub fn pay_slowly(&self, session: &str) -> Value {
        let mut inner = self.inner();
        let one = inner.sessions.get_mut(session).expect("a session");
        (one["status"], one["url"]) = ("complete".into(), Value::Null);
        found(Some(one.clone())).1
    }

    /// The operator refunds a part of a payment; gives the charge.
    pub fn refund(&self, intent: &str, cents: i64) -> Value {
        let now = self.now();
        let mut inner = self.inner();
        let charge = inner.intents[intent]["latest_charge"].as_str().expect("a charge").to_owned();
        let refund = json!({"id": inner.id("re"), "object": "refund", "amount": cents, "charge": charge, "payment_intent": intent, "status": "succeeded", "created": now});
        inner.refunds.entry(charge.clone()).or_default().push(refund);
        let one = inner.charges.get_mut(&charge).expect("a charge");
        let all = one["amount_refunded"].as_i64().unwrap_or_default() + cents;
        assert!(all <= one["amount"].as_i64().unwrap_or_default(), "no more than was paid");
        (one["amount_refunded"], one["refunded"]) = (all.into(), (all == one["amount"].as_i64().unwrap_or_default()).into());
        one.clone()
    }

    /// The bank takes a payment back; gives the dispute.
    pub fn dispute(&self, intent: &str) -> Value {
        let now = self.now();
        let mut inner = self.inner();
        let charge = inner.intents[intent]["latest_charge"].as_str().expect("a charge").to_owned();
        let id = inner.id("dp");
        let one = inner.charges.get_mut(&charge).expect("a charge");
        one["disputed"] = true.into();
        let mut dispute = objects::dispute(&id, one, now);
        dispute["amount"] = (one["amount"].as_i64().unwrap_or_default() - one["amount_refunded"].as_i64().unwrap_or_default()).into();
        inner.disputes.insert(id, dispute.clone());
        dispute
    }

    /// A dispute is decided.
    pub fn decide(&self, dispute: &str, status: &str) -> Value {
        let mut inner = self.inner();
        let one = inner.disputes.get_mut(dispute).expect("a dispute");
        one["status"] = status.into();
        one.clone()
    }

    /// A month's payment fails, or works after all, or nobody tries any more: gives subscription and invoice.
    pub fn invoice(&self, subscription: &str, paid: bool, status: &str) -> (Value, Value) {
        let now = self.now();
        let mut inner = self.inner();
        let id = inner.id("in");
        let mut one = inner.subscriptions.get(subscription).cloned().expect("a subscription");
        let cents = one["items"]["data"][0]["price"]["unit_amount"].as_i64().unwrap_or_default();
        let url = format!("https://invoice.stripe.com/i/{id}");
        let invoice = objects::invoice(&id, &one, cents, (if paid { "paid" } else { "open" }, &url), now);
        (one["status"], one["latest_invoice"]) = (status.into(), id.clone().into());
        if paid {
            let item = &mut one["items"]["data"][0];
            (item["current_period_start"], item["current_period_end"]) = (now.into(), (now + MONTH).into());
        }
        inner.invoices.insert(id, invoice.clone());
        inner.subscriptions.insert(subscription.to_owned(), one.clone());
        (one, invoice)
    }

    /// A subscription is over.
    pub fn end(&self, subscription: &str) -> Value {
        let now = self.now();
        let mut inner = self.inner();
        let one = inner.subscriptions.get_mut(subscription).expect("a subscription");
        end(one, now);
        one.clone()
    }
}
