//! What Stripe's published API takes, as far as the panel asks for it: for each request the parameters that are known, those that are
//! required, and what they look like.

use axum::http::HeaderMap;

use super::{KEY, text};

/// The version that the library is made for; Stripe answers in its shapes.
pub const VERSION: &str = "2026-09-30.endive";

/// What a value looks like.
#[derive(Clone, Copy)]
enum Looks {
    /// `prefix_...`, of visible ASCII.
    Id(&'static str),
    /// A whole number, not negative.
    Cents,
    /// A moment in seconds, from half an hour to a day ahead.
    SoonSecs,
    /// One of these.
    Word(&'static [&'static str]),
    /// Three lower-case letters.
    Currency,
    /// An address.
    Address,
    /// 1 to 500 characters.
    Text,
    /// 1 to 100.
    Limit,
}
use Looks::{Address, Cents, Currency, Id, Limit, SoonSecs, Text, Word};

struct Rule {
    method: &'static str,
    /// `*` stands for an id.
    path: &'static str,
    /// `name!` is required; `[]` stands for any place in a list; a name that ends with `.` is a map of words.
    fields: &'static [(&'static str, Looks)],
}

const YES: Looks = Word(&["true", "false"]);

const RULES: &[Rule] = &[
    Rule { method: "POST", path: "/v1/customers", fields: &[("email", Text), ("metadata.", Text)] },
    Rule { method: "POST", path: "/v1/products", fields: &[("name!", Text), ("metadata.", Text)] },
    Rule {
        method: "POST",
        path: "/v1/checkout/sessions",
        fields: &[
            ("mode!", Word(&["payment", "subscription", "setup"])),
            ("customer", Id("cus")),
            ("client_reference_id", Text),
            ("expires_at", SoonSecs),
            ("success_url!", Address),
            ("cancel_url", Address),
            ("metadata.", Text),
            ("adaptive_pricing[enabled]!", Word(&["false"])),
            ("line_items[][quantity]!", Cents),
            ("line_items[][price_data][currency]!", Currency),
            ("line_items[][price_data][unit_amount]!", Cents),
            ("line_items[][price_data][product]", Id("prod")),
            ("line_items[][price_data][product_data][name]", Text),
            ("line_items[][price_data][recurring][interval]", Word(&["day", "week", "month", "year"])),
            ("payment_intent_data[metadata].", Text),
            ("payment_intent_data[setup_future_usage]", Word(&["off_session", "on_session"])),
            ("subscription_data[metadata].", Text),
        ],
    },
    Rule { method: "GET", path: "/v1/checkout/sessions/*", fields: &[("expand[]", Text)] },
    Rule { method: "POST", path: "/v1/checkout/sessions/*/expire", fields: &[] },
    Rule {
        method: "POST",
        path: "/v1/payment_intents",
        fields: &[
            ("amount!", Cents),
            ("currency!", Currency),
            ("customer", Id("cus")),
            ("payment_method", Id("pm")),
            ("confirm", YES),
            ("off_session", Word(&["true", "false", "one_off", "recurring"])),
            ("description", Text),
            ("metadata.", Text),
        ],
    },
    Rule { method: "GET", path: "/v1/payment_intents/*", fields: &[("expand[]", Text)] },
    Rule { method: "GET", path: "/v1/payment_intents", fields: &[("customer", Id("cus")), ("limit", Limit)] },
    Rule { method: "GET", path: "/v1/disputes", fields: &[("payment_intent", Id("pi")), ("limit", Limit)] },
    Rule { method: "GET", path: "/v1/subscriptions/*", fields: &[("expand[]", Text)] },
    Rule {
        method: "GET",
        path: "/v1/subscriptions",
        fields: &[
            ("status", Word(&["all", "ended", "active", "canceled", "incomplete", "past_due", "trialing", "unpaid"])),
            ("limit", Limit),
            ("starting_after", Id("sub")),
        ],
    },
    Rule {
        method: "POST",
        path: "/v1/subscriptions/*",
        fields: &[
            ("cancel_at_period_end", YES),
            ("proration_behavior", Word(&["create_prorations", "none", "always_invoice"])),
            ("items[][id]", Id("si")),
            ("items[][price_data][currency]", Currency),
            ("items[][price_data][product]", Id("prod")),
            ("items[][price_data][unit_amount]", Cents),
            ("items[][price_data][recurring][interval]", Word(&["day", "week", "month", "year"])),
        ],
    },
    Rule { method: "DELETE", path: "/v1/subscriptions/*", fields: &[] },
    Rule { method: "POST", path: "/v1/billing_portal/sessions", fields: &[("customer!", Id("cus")), ("return_url", Address)] },
];

fn fits(rule: &str, path: &str) -> bool {
    let (rule, path): (Vec<&str>, Vec<&str>) = (rule.split('/').collect(), path.split('/').collect());
    rule.len() == path.len() && rule.iter().zip(&path).all(|(rule, part)| (*rule == "*" && part.contains('_')) || rule == part)
}

fn looks(value: &str, looks: Looks, now: i64) -> bool {
    let number = || value.parse::<i64>().ok();
    match looks {
        Id(prefix) => value.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_') && rest.bytes().all(|b| b.is_ascii_graphic())),
        Cents => number().is_some_and(|number| number >= 0),
        SoonSecs => number().is_some_and(|at| (now + 1_800..=now + 86_400).contains(&at)),
        Word(words) => words.contains(&value),
        Currency => value.len() == 3 && value.bytes().all(|b| b.is_ascii_lowercase()),
        Address => value.starts_with("http://") || value.starts_with("https://"),
        Text => (1..=500).contains(&value.len()),
        Limit => number().is_some_and(|number| (1..=100).contains(&number)),
    }
}

/// Places in lists do not matter: `a[0][b]` is `a[][b]`.
fn placeless(name: &str) -> String {
    let mut out = String::new();
    for part in name.split('[') {
        let inside = part.trim_end_matches(']');
        if out.is_empty() {
            out.push_str(part);
        } else if inside.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str("[]");
        } else {
            out.push('[');
            out.push_str(part);
        }
    }
    out
}

/// Whatever Stripe would not take of a request.
pub(super) fn check(method: &str, path: &str, headers: &HeaderMap, fields: &[(String, String)], now: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    if text(headers, "authorization") != format!("Bearer {KEY}") {
        wrong.push("the key is missing".to_owned());
    }
    if text(headers, "stripe-version") != VERSION {
        wrong.push(format!("the version is {:?}", text(headers, "stripe-version")));
    }
    let key = text(headers, "idempotency-key");
    if method == "POST" && (key.is_empty() || key.len() > 255) {
        wrong.push(format!("the idempotency key is {key:?}"));
    }
    let Some(rule) = RULES.iter().find(|rule| rule.method == method && fits(rule.path, path)) else {
        wrong.push("there is no such request".to_owned());
        return wrong;
    };
    let names: Vec<String> = fields.iter().map(|(name, _)| placeless(name)).collect();
    for (name, (_, value)) in names.iter().zip(fields) {
        let known = rule.fields.iter().find(|(known, _)| match known.strip_suffix('.') {
            Some(map) => name.strip_prefix(map).is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']')),
            None => known.trim_end_matches('!') == name,
        });
        match known {
            None => wrong.push(format!("{name} is not known")),
            Some((_, how)) if !looks(value, *how, now) => wrong.push(format!("{name} is {value:?}")),
            Some(_) => {}
        }
    }
    let required = rule.fields.iter().filter_map(|(name, _)| name.strip_suffix('!'));
    wrong.extend(required.filter(|name| !names.iter().any(|there| there == name)).map(|name| format!("{name} is missing")));
    wrong
}
