//! Stripe, as far as Roost needs it: customers, Checkout, saved cards, subscriptions, the customer portal, and proof that a webhook is
//! Stripe's.
//!
//! Called by `domain`, outside of every database transaction. Requests go out at the API version that the library is made for, whatever
//! version the account's webhooks have. Each request that changes something carries an idempotency key that its caller derives from a row
//! of ours, and is sent again with that same key where Stripe is busy or silent: asked twice, even across a crash, it is done once.
//! Nothing that is secret or personal stands in an error or a log line.

mod event;
mod requests;
mod seen;
mod signature;

pub use event::{Event, NotAnEvent};
pub use requests::Visit;
pub use seen::{CheckoutSeen, DisputeSeen, IntentSeen, IntentState, ItemSeen, PaidSeen, SessionState, SubscriptionSeen};
pub use signature::{NotSigned, TOLERANCE_SECS, verify};

use std::future::Future;
use std::time::Duration;

use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError};

use crate::model::secrets::Secret;

/// Tries of one call.
const TRIES: u32 = 3;
/// First wait between tries; it doubles.
const WAIT: Duration = Duration::from_millis(300);
/// Longest wait for one answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How to reach Stripe.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// `sk_...` or `rk_...`.
    pub key: Secret,
    /// `whsec_...` of each endpoint whose webhooks are believed: two while one is being replaced.
    pub webhook_secrets: Vec<Secret>,
    /// Another place than Stripe's own, for tests.
    pub base: Option<String>,
    /// Longest wait for one answer.
    pub patience: Duration,
}

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Stripe is away, busy or silent: the same again, later.
    #[error("Stripe did not answer, or is busy")]
    Away,
    /// There is no such thing, or no longer.
    #[error("Stripe does not know it")]
    Unknown,
    /// The card was declined, or its owner has to be asked.
    #[error("the card was declined ({code})")]
    Declined {
        /// Stripe's word for it, such as `insufficient_funds` or `authentication_required`.
        code: String,
    },
    /// Stripe refuses the request; the same again is refused again.
    #[error("Stripe refused ({code})")]
    Refused {
        /// Stripe's word for it.
        code: String,
    },
    /// An answer that is not to be understood.
    #[error("Stripe's answer could not be read")]
    Unreadable,
}

impl Failure {
    /// May the same call work later?
    pub fn passes(&self) -> bool {
        match self {
            Failure::Away | Failure::Unreadable => true,
            Failure::Unknown | Failure::Declined { .. } | Failure::Refused { .. } => false,
        }
    }
}

/// A connection to Stripe.
pub struct Stripe {
    client: Client,
    webhook_secrets: Vec<Secret>,
    livemode: bool,
}

/// The settings do not make a connection.
#[derive(Debug, thiserror::Error)]
#[error("the settings of Stripe cannot be used: is STRIPE_SECRET_KEY whole, and STRIPE_API_BASE an address?")]
pub struct NoStripe;

impl Stripe {
    /// Makes one; nothing is asked yet.
    ///
    /// # Errors
    /// Where key or address cannot be used at all.
    pub fn new(config: StripeConfig) -> Result<Stripe, NoStripe> {
        let key = std::str::from_utf8(config.key.bytes()).map_err(|_| NoStripe)?;
        let livemode = key.starts_with("sk_live_") || key.starts_with("rk_live_");
        let mut builder =
            ClientBuilder::new(key).timeout(config.patience).app_info("Roost", Some(env!("CARGO_PKG_VERSION").to_owned()), None);
        if let Some(base) = config.base {
            builder = builder.url(if base.ends_with('/') { base } else { format!("{base}/") });
        }
        let client = builder.build().map_err(|_| NoStripe)?;
        Ok(Stripe { client, webhook_secrets: config.webhook_secrets, livemode })
    }

    /// Is it real money?
    pub fn livemode(&self) -> bool {
        self.livemode
    }

    /// The secrets that webhooks are signed with.
    pub fn webhook_secrets(&self) -> &[Secret] {
        &self.webhook_secrets
    }

    /// Sends a request that changes something, with the same key each time.
    async fn once<T, F>(&self, key: &str, send: impl Fn(RequestStrategy) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StripeError>>,
    {
        let key = IdempotencyKey::new(key).map_err(|_| Failure::Refused { code: "idempotency_key".to_owned() })?;
        self.again(|| send(RequestStrategy::Idempotent(key.clone()))).await
    }

    /// Sends a request that only asks.
    async fn ask<T, F>(&self, send: impl Fn(RequestStrategy) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StripeError>>,
    {
        self.again(|| send(RequestStrategy::Once)).await
    }

    async fn again<T, F>(&self, send: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StripeError>>,
    {
        let mut wait = WAIT;
        for _ in 1..TRIES {
            // On the heap: what the library holds while it waits weighs thousands of bytes.
            match Box::pin(send()).await.map_err(failure) {
                Err(Failure::Away) => tokio::time::sleep(wait).await,
                done => return done,
            }
            wait *= 2;
        }
        Box::pin(send()).await.map_err(failure)
    }
}

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripe").field("livemode", &self.livemode).finish_non_exhaustive()
    }
}

/// What an error of the library means. Its own text is not passed on: it shows whole objects.
fn failure(error: StripeError) -> Failure {
    match error {
        StripeError::Timeout | StripeError::ClientError(_) => Failure::Away,
        StripeError::JSONDeserialize(_) => Failure::Unreadable,
        StripeError::ConfigError(_) => Failure::Refused { code: "configuration".to_owned() },
        StripeError::Stripe(_, 409 | 424 | 429 | 500..=599) => Failure::Away,
        StripeError::Stripe(_, 404) => Failure::Unknown,
        StripeError::Stripe(said, status) => {
            let code = said.code.as_ref().map_or_else(|| said.type_.as_str().to_owned(), |code| code.as_str().to_owned());
            if status == 402 { Failure::Declined { code: said.decline_code.unwrap_or(code) } } else { Failure::Refused { code } }
        }
    }
}
