//! Settings of payments: Stripe's keys, what is sold and for how much, and how long unpaid servers are kept.

use super::{Reader, SettingsError, bad};
use crate::domain::Sales;
use crate::model::money::Credits;
use crate::model::secrets::Secret;
use crate::model::time::DAY;
use crate::payments::{NoStripe, PATIENCE, Stripe, StripeConfig};

/// Most amounts to choose from.
const AMOUNTS_MAX: usize = 8;
/// Least that Stripe takes in most currencies, and most of one payment, in cents.
const CENTS: (i64, i64) = (50, 1_000_000);
/// Currencies of which Stripe counts no cents, or thousandths. A credit is a cent, so they cannot be had.
const WITHOUT_CENTS: [&str; 22] = [
    "bhd", "bif", "clp", "djf", "gnf", "iqd", "jod", "jpy", "kmf", "krw", "kwd", "mga", "omr", "pyg", "rwf", "tnd", "ugx", "vnd", "vuv",
    "xaf", "xof", "xpf",
];

/// Payments.
#[derive(Debug, Clone)]
pub struct Payments {
    /// `STRIPE_SECRET_KEY`, `STRIPE_WEBHOOK_SECRET`, `STRIPE_API_BASE`; none: no payments are taken.
    stripe: Option<StripeConfig>,
    /// `CURRENCY`, `TOP_UP_AMOUNTS`, `TOP_UP_BOUNDS`, `GRACE_DAYS`, `LOW_BALANCE`.
    pub sales: Sales,
}

fn money(text: &str) -> Option<i64> {
    let places = text.split_once('.').map_or(0, |(_, places)| places.len());
    let cents = text.trim().parse::<Credits>().ok().filter(|_| places <= 2)?.0 / 10_000;
    (CENTS.0..=CENTS.1).contains(&cents).then_some(cents)
}

impl Payments {
    pub(super) fn read(reader: &mut Reader) -> Result<Payments, SettingsError> {
        let key = reader.secret("STRIPE_SECRET_KEY")?;
        let secrets = reader.text("STRIPE_WEBHOOK_SECRET", "");
        let base = Some(reader.text("STRIPE_API_BASE", "")).filter(|base| !base.is_empty());
        let secrets: Vec<Secret> = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty()).map(Secret::new).collect();
        if base.as_ref().is_some_and(|base| !base.starts_with("http://") && !base.starts_with("https://")) {
            return Err(bad("STRIPE_API_BASE", "", "an address such as https://api.stripe.com"));
        }
        let stripe = match key {
            Some(_) if secrets.is_empty() || secrets.iter().any(|secret| secret.bytes().len() < super::SECRET_MIN) => {
                return Err(bad(
                    "STRIPE_WEBHOOK_SECRET",
                    "",
                    "the signing secret of the webhook endpoint, whsec_..., for payments are heard of there",
                ));
            }
            Some(key) => Some(StripeConfig { key, webhook_secrets: secrets, base, patience: PATIENCE }),
            None => None,
        };
        Ok(Payments { stripe, sales: sales(reader)? })
    }

    /// The way to Stripe, where payments are taken.
    ///
    /// # Errors
    /// Where the settings cannot be used.
    pub fn stripe(&self) -> Result<Option<Stripe>, NoStripe> {
        self.stripe.clone().map(Stripe::new).transpose()
    }
}

fn sales(reader: &mut Reader) -> Result<Sales, SettingsError> {
    let currency = reader.text("CURRENCY", "eur").to_lowercase();
    let plain = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_lowercase());
    if !plain || WITHOUT_CENTS.contains(&currency.as_str()) {
        return Err(bad("CURRENCY", &currency, "a currency that has cents, such as eur or usd"));
    }
    let typed = reader.text("TOP_UP_AMOUNTS", "5,10,25,50");
    let amounts: Option<Vec<i64>> = typed.split(',').map(str::trim).map(money).collect();
    let amounts = amounts.filter(|amounts| amounts.len() <= AMOUNTS_MAX);
    let amounts = amounts.ok_or_else(|| bad("TOP_UP_AMOUNTS", &typed, "at most 8 amounts of money with commas, such as 5,10,25,50"))?;
    let typed = reader.text("TOP_UP_BOUNDS", "5-500");
    let bounds = typed.split_once('-').and_then(|(least, most)| Some((money(least.trim())?, money(most.trim())?)));
    let bounds = bounds.filter(|(least, most)| least <= most && amounts.iter().all(|amount| (least..=most).contains(&amount)));
    let bounds = bounds.ok_or_else(|| {
        bad("TOP_UP_BOUNDS", &typed, "the least and the most of one payment, such as 5-500, with every amount of TOP_UP_AMOUNTS between")
    })?;
    Ok(Sales {
        currency,
        amounts,
        bounds,
        grace: i64::from(reader.number("GRACE_DAYS", "7", (1, 365))?) * DAY,
        low: reader.parsed::<Credits>("LOW_BALANCE", "5", "an amount of credits such as 5")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(std::path::Path::new("/nonexistent/roost.toml"), pairs)
    }

    #[test]
    fn without_a_key_nothing_is_sold_and_with_one_webhooks_have_to_be_signed() {
        let settings = read(&[]).unwrap();
        assert!(settings.payments.stripe.is_none());
        assert_eq!(
            (settings.payments.sales.amounts.as_slice(), settings.payments.sales.grace),
            ([500, 1_000, 2_500, 5_000].as_slice(), 7 * DAY)
        );
        let (key, secret) = (("STRIPE_SECRET_KEY", "sk_test_0123456789"), ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789, whsec_9876543210"));
        let settings = read(&[key, secret]).unwrap();
        assert_eq!(settings.payments.stripe.as_ref().unwrap().webhook_secrets.len(), 2);
        assert!(!format!("{settings:?}").contains("0123456789"), "secrets are not shown");
        for (pairs, named) in [
            (vec![key], "STRIPE_WEBHOOK_SECRET"),
            (vec![key, ("STRIPE_WEBHOOK_SECRET", "short")], "STRIPE_WEBHOOK_SECRET"),
            (vec![("STRIPE_SECRET_KEY", "short")], "STRIPE_SECRET_KEY"),
            (vec![("STRIPE_API_BASE", "stripe")], "STRIPE_API_BASE"),
            (vec![("CURRENCY", "jpy")], "CURRENCY"),
            (vec![("CURRENCY", "euro")], "CURRENCY"),
            (vec![("TOP_UP_AMOUNTS", "5,x")], "TOP_UP_AMOUNTS"),
            (vec![("TOP_UP_AMOUNTS", "5.001")], "TOP_UP_AMOUNTS"),
            (vec![("TOP_UP_BOUNDS", "10-500")], "TOP_UP_BOUNDS"),
            (vec![("GRACE_DAYS", "0")], "GRACE_DAYS"),
            (vec![("LOW_BALANCE", "much")], "LOW_BALANCE"),
        ] {
            let error = read(&pairs).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
    }
}
