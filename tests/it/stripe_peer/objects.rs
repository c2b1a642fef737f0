//! Whole objects, in the shapes of the version that the panel asks in.

use serde_json::{Value, json};

/// A list.
pub fn list(data: &[Value], url: &str, has_more: bool) -> Value {
    json!({"object": "list", "data": data, "has_more": has_more, "url": url})
}

pub fn customer(id: &str, email: &str, now: i64) -> Value {
    json!({"id": id, "object": "customer", "address": null, "balance": 0, "created": now, "currency": null, "default_source": null,
        "delinquent": false, "description": null, "email": email, "invoice_prefix": "ABC", "livemode": false, "metadata": {}, "name": null,
        "next_invoice_sequence": 1, "phone": null, "preferred_locales": [], "shipping": null, "tax_exempt": "none", "test_clock": null,
        "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null}})
}

pub fn product(id: &str, name: &str, now: i64) -> Value {
    json!({"id": id, "object": "product", "active": true, "created": now, "default_price": null, "description": null, "images": [],
        "livemode": false, "marketing_features": [], "metadata": {}, "name": name, "package_dimensions": null, "shippable": null,
        "statement_descriptor": null, "tax_code": null, "type": "service", "unit_label": null, "updated": now, "url": null})
}

/// A Checkout session; what is particular to it comes from its request.
pub fn session(id: &str, particular: &Value, now: i64) -> Value {
    let mut whole = json!({"id": id, "object": "checkout.session", "adaptive_pricing": null, "after_expiration": null,
        "allow_promotion_codes": null, "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
        "billing_address_collection": null, "client_secret": null, "consent": null, "consent_collection": null, "created": now,
        "currency_conversion": null, "custom_fields": [],
        "custom_text": {"after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null},
        "customer_creation": null, "customer_details": null, "customer_email": null, "discounts": [], "invoice": null,
        "invoice_creation": null, "livemode": false, "locale": null, "payment_intent": null, "payment_link": null,
        "payment_method_collection": "if_required", "payment_method_configuration_details": null, "payment_method_options": {},
        "payment_method_types": ["card"], "payment_status": "unpaid", "phone_number_collection": {"enabled": false}, "recovered_from": null,
        "saved_payment_method_options": null, "setup_intent": null, "shipping_address_collection": null, "shipping_cost": null,
        "shipping_options": [], "status": "open", "submit_type": null, "subscription": null, "ui_mode": "hosted_page"});
    merge(&mut whole, particular);
    whole
}

pub fn merge(whole: &mut Value, particular: &Value) {
    let (Some(whole), Some(particular)) = (whole.as_object_mut(), particular.as_object()) else { return };
    whole.extend(particular.clone());
}

pub fn intent(id: &str, particular: &Value, now: i64) -> Value {
    let mut whole = json!({"id": id, "object": "payment_intent", "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": 0,
        "application": null, "application_fee_amount": null, "automatic_payment_methods": null, "canceled_at": null,
        "cancellation_reason": null, "capture_method": "automatic", "client_secret": format!("{id}_secret_x"),
        "confirmation_method": "automatic", "created": now, "description": null, "last_payment_error": null, "latest_charge": null,
        "livemode": false, "metadata": {}, "next_action": null, "on_behalf_of": null, "payment_method": null, "payment_method_options": {},
        "payment_method_types": ["card"], "processing": null, "receipt_email": null, "review": null, "setup_future_usage": null,
        "shipping": null, "source": null, "statement_descriptor": null, "statement_descriptor_suffix": null, "status": "succeeded",
        "transfer_data": null, "transfer_group": null});
    merge(&mut whole, particular);
    whole
}

pub fn charge(id: &str, intent: &Value, receipt: &str, now: i64) -> Value {
    json!({"id": id, "object": "charge", "amount": intent["amount"], "amount_captured": intent["amount"], "amount_refunded": 0,
        "application": null, "application_fee": null, "application_fee_amount": null, "balance_transaction": "txn_1",
        "billing_details": {"address": {"city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null},
            "email": null, "name": null, "phone": null, "tax_id": null},
        "calculated_statement_descriptor": "ROOST", "captured": true, "created": now, "currency": intent["currency"],
        "customer": intent["customer"], "description": null, "disputed": false, "failure_balance_transaction": null, "failure_code": null,
        "failure_message": null, "fraud_details": {}, "livemode": false, "metadata": {}, "on_behalf_of": null, "outcome": null, "paid": true,
        "payment_intent": intent["id"], "payment_method": intent["payment_method"], "payment_method_details": null, "radar_options": {},
        "receipt_email": null, "receipt_number": null, "receipt_url": receipt, "refunded": false, "review": null, "shipping": null,
        "source_transfer": null, "statement_descriptor": null, "statement_descriptor_suffix": null, "status": "succeeded",
        "transfer_data": null, "transfer_group": null})
}

pub fn dispute(id: &str, charge: &Value, now: i64) -> Value {
    json!({"id": id, "object": "dispute", "amount": charge["amount"], "balance_transactions": [], "charge": charge["id"], "created": now,
        "currency": charge["currency"], "enhanced_eligibility_types": [],
        "evidence": {"access_activity_log": null, "billing_address": null, "cancellation_policy": null, "cancellation_policy_disclosure": null,
            "cancellation_rebuttal": null, "customer_communication": null, "customer_email_address": null, "customer_name": null,
            "customer_purchase_ip": null, "customer_signature": null, "duplicate_charge_documentation": null,
            "duplicate_charge_explanation": null, "duplicate_charge_id": null, "enhanced_evidence": {}, "product_description": null,
            "receipt": null, "refund_policy": null, "refund_policy_disclosure": null, "refund_refusal_explanation": null,
            "service_date": null, "service_documentation": null, "shipping_address": null, "shipping_carrier": null, "shipping_date": null,
            "shipping_documentation": null, "shipping_tracking_number": null, "uncategorized_file": null, "uncategorized_text": null},
        "evidence_details": {"due_by": now + 604_800, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0},
        "is_charge_refundable": false, "livemode": false, "metadata": {}, "payment_intent": charge["payment_intent"],
        "payment_method_details": null, "reason": "general", "status": "needs_response"})
}

pub fn item(id: &str, subscription: &str, (product, currency, cents): (&str, &str, i64), (from, to): (i64, i64)) -> Value {
    let recurring = json!({"interval": "month", "interval_count": 1, "meter": null, "trial_period_days": null, "usage_type": "licensed"});
    json!({"id": id, "object": "subscription_item", "billing_thresholds": null, "created": from, "current_period_start": from,
        "current_period_end": to, "discounts": [], "metadata": {}, "quantity": 1, "subscription": subscription, "tax_rates": [],
        "plan": {"id": "price_1", "object": "plan", "active": true, "amount": cents, "amount_decimal": cents.to_string(),
            "billing_scheme": "per_unit", "created": from, "currency": currency, "interval": "month", "interval_count": 1, "livemode": false,
            "metadata": {}, "meter": null, "nickname": null, "product": product, "tiers_mode": null, "transform_usage": null,
            "trial_period_days": null, "usage_type": "licensed"},
        "price": {"id": "price_1", "object": "price", "active": true, "billing_scheme": "per_unit", "created": from, "currency": currency,
            "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {}, "nickname": null, "product": product,
            "recurring": recurring, "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null, "type": "recurring",
            "unit_amount": cents, "unit_amount_decimal": cents.to_string()}})
}

pub fn subscription(id: &str, customer: &Value, metadata: &Value, item: &Value, currency: &str, now: i64) -> Value {
    json!({"id": id, "object": "subscription", "application": null, "application_fee_percent": null,
        "automatic_tax": {"disabled_reason": null, "enabled": false, "liability": null}, "billing_cycle_anchor": now,
        "billing_cycle_anchor_config": null, "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}},
        "billing_schedules": [], "billing_thresholds": null, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "cancellation_details": {"comment": null, "feedback": null, "reason": null}, "collection_method": "charge_automatically",
        "created": now, "currency": currency, "customer": customer, "days_until_due": null, "default_payment_method": null,
        "default_source": null, "default_tax_rates": [], "description": null, "discounts": [], "ended_at": null,
        "invoice_settings": {"account_tax_ids": null, "issuer": {"type": "self"}},
        "items": list(std::slice::from_ref(item), "/v1/subscription_items", false), "latest_invoice": null, "livemode": false,
        "metadata": metadata, "next_pending_invoice_item_invoice": null, "on_behalf_of": null, "pause_collection": null,
        "payment_settings": {"payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off"},
        "pending_invoice_item_interval": null, "pending_setup_intent": null, "pending_update": null, "schedule": null, "start_date": now,
        "status": "active", "test_clock": null, "transfer_data": null, "trial_end": null, "trial_settings": null, "trial_start": null})
}

pub fn invoice(id: &str, subscription: &Value, cents: i64, (status, url): (&str, &str), now: i64) -> Value {
    let paid = if status == "paid" { cents } else { 0 };
    let parent = json!({"type": "subscription_details", "quote_details": null,
        "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"], "subscription_proration_date": null}});
    json!({"id": id, "object": "invoice", "account_country": "DE", "account_name": "A panel", "account_tax_ids": null, "amount_due": cents,
        "amount_overpaid": 0, "amount_paid": paid, "amount_remaining": cents - paid, "amount_shipping": 0, "application": null,
        "attempt_count": 1, "attempted": true, "auto_advance": true,
        "automatic_tax": {"disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null},
        "automatically_finalizes_at": null, "billing_reason": "subscription_cycle", "collection_method": "charge_automatically",
        "created": now, "currency": subscription["currency"], "custom_fields": null, "customer": subscription["customer"],
        "customer_address": null, "customer_email": null, "customer_name": null, "customer_phone": null, "customer_shipping": null,
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_payment_method": null, "default_source": null,
        "default_tax_rates": [], "description": null, "discounts": [], "due_date": null, "effective_at": now, "ending_balance": 0,
        "footer": null, "from_invoice": null, "hosted_invoice_url": url, "invoice_pdf": url, "issuer": {"type": "self"},
        "last_finalization_error": null, "latest_revision": null, "lines": list(&[], "/v1/invoices/x/lines", false), "livemode": false,
        "metadata": {}, "next_payment_attempt": null, "number": "ABC-0001", "on_behalf_of": null, "parent": parent,
        "payment_settings": {"default_mandate": null, "payment_method_options": null, "payment_method_types": null}, "period_end": now,
        "period_start": now, "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "receipt_number": null,
        "rendering": null, "shipping_cost": null, "shipping_details": null, "starting_balance": 0, "statement_descriptor": null,
        "status": status,
        "status_transitions": {"finalized_at": now, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null},
        "subtotal": cents, "subtotal_excluding_tax": cents, "test_clock": null, "total": cents, "total_discount_amounts": [],
        "total_excluding_tax": cents, "total_pretax_credit_amounts": [], "total_taxes": [], "webhooks_delivered_at": now})
}
