//! What is asked of Stripe, one function for each request.

use std::collections::HashMap;

use stripe::StripeRequest;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::subscription::{
    CancelSubscription, ListSubscription, ListSubscriptionStatus, RetrieveSubscription, UpdateSubscription, UpdateSubscriptionItems,
    UpdateSubscriptionItemsPriceData, UpdateSubscriptionItemsPriceDataRecurring, UpdateSubscriptionItemsPriceDataRecurringInterval,
    UpdateSubscriptionProrationBehavior,
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAdaptivePricing, CreateCheckoutSessionLineItems, CreateCheckoutSessionLineItemsPriceData,
    CreateCheckoutSessionLineItemsPriceDataRecurring, CreateCheckoutSessionLineItemsPriceDataRecurringInterval,
    CreateCheckoutSessionPaymentIntentData, CreateCheckoutSessionPaymentIntentDataSetupFutureUsage, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, ProductData, RetrieveCheckoutSession,
};
use stripe_core::customer::CreateCustomer;
use stripe_core::dispute::ListDispute;
use stripe_core::payment_intent::{CreatePaymentIntent, ListPaymentIntent, RetrievePaymentIntent};
use stripe_product::product::CreateProduct;
use stripe_shared::CheckoutSessionMode;

use stripe_types::Currency;

use super::{CheckoutSeen, DisputeSeen, Failure, IntentSeen, Stripe, SubscriptionSeen};

/// Things of one page of a list: the most that Stripe gives.
const PAGE: i64 = 100;

/// Who pays, and where the browser goes afterwards.
#[derive(Debug, Clone)]
pub struct Visit<'a> {
    /// `cus_...`
    pub customer: &'a str,
    /// The id of our row.
    pub reference: &'a str,
    /// When its page can no longer be paid at, in seconds since 1970.
    pub expires_at: i64,
    /// Where the browser comes back to when it is done.
    pub success_url: &'a str,
    /// Where it comes back to when it is not.
    pub cancel_url: &'a str,
}

fn words<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Stripe {
    /// Makes a customer for an account; gives `cus_...`.
    pub async fn customer(&self, key: &str, email: &str, user: &str) -> Result<String, Failure> {
        let request = CreateCustomer::new().email(email).metadata(words([("user", user)]));
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.id.as_str().to_owned())
    }

    /// Makes the product of a plan; gives `prod_...`.
    pub async fn product(&self, key: &str, name: &str, game: &str, plan: &str) -> Result<String, Failure> {
        let request = CreateProduct::new(name).metadata(words([("game", game), ("plan", plan)]));
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.id.as_str().to_owned())
    }

    /// Paid in the panel's own currency: what is charged is what the page of ours said.
    fn visit(visit: &Visit<'_>) -> CreateCheckoutSession {
        let mut own_currency = CreateCheckoutSessionAdaptivePricing::new();
        own_currency.enabled = Some(false);
        CreateCheckoutSession::new()
            .adaptive_pricing(own_currency)
            .customer(visit.customer)
            .client_reference_id(visit.reference)
            .expires_at(visit.expires_at)
            .success_url(visit.success_url)
            .cancel_url(visit.cancel_url)
    }

    /// Opens a Checkout page for credits. `keep_card`: so that it can be charged later without its owner.
    pub async fn sell_credits(
        &self,
        key: &str,
        visit: &Visit<'_>,
        (cents, currency): (i64, &str),
        keep_card: bool,
    ) -> Result<CheckoutSeen, Failure> {
        let mut price = CreateCheckoutSessionLineItemsPriceData::new(stripe_currency(currency)?);
        price.product_data = Some(ProductData::new("Credits for game servers"));
        price.unit_amount = Some(cents);
        let mut line = CreateCheckoutSessionLineItems::new();
        line.price_data = Some(price);
        line.quantity = Some(1);
        let mut intent = CreateCheckoutSessionPaymentIntentData::new();
        intent.metadata = Some(words([("payment", visit.reference)]));
        intent.setup_future_usage = keep_card.then_some(CreateCheckoutSessionPaymentIntentDataSetupFutureUsage::OffSession);
        let request = Self::visit(visit)
            .mode(CheckoutSessionMode::Payment)
            .line_items(vec![line])
            .payment_intent_data(intent)
            .metadata(words([("payment", visit.reference)]));
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.into())
    }

    /// Opens a Checkout page for a month's price, again and again. `about`: words that come back with the subscription.
    pub async fn sell_month(
        &self,
        key: &str,
        visit: &Visit<'_>,
        product: &str,
        (cents, currency): (i64, &str),
        about: [(&str, &str); 3],
    ) -> Result<CheckoutSeen, Failure> {
        let mut price = CreateCheckoutSessionLineItemsPriceData::new(stripe_currency(currency)?);
        price.product = Some(product.to_owned());
        price.unit_amount = Some(cents);
        price.recurring =
            Some(CreateCheckoutSessionLineItemsPriceDataRecurring::new(CreateCheckoutSessionLineItemsPriceDataRecurringInterval::Month));
        let mut line = CreateCheckoutSessionLineItems::new();
        line.price_data = Some(price);
        line.quantity = Some(1);
        let mut data = CreateCheckoutSessionSubscriptionData::new();
        data.metadata = Some(words(about));
        let request = Self::visit(visit)
            .mode(CheckoutSessionMode::Subscription)
            .line_items(vec![line])
            .subscription_data(data)
            .metadata(words(about));
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.into())
    }

    /// How a Checkout session stands.
    pub async fn checkout(&self, session: &str) -> Result<CheckoutSeen, Failure> {
        let request = RetrieveCheckoutSession::new(session);
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.into())
    }

    /// Calls a Checkout session off.
    pub async fn call_off(&self, session: &str) -> Result<(), Failure> {
        let request = ExpireCheckoutSession::new(session);
        let key = format!("call-off:{session}");
        self.once(&key, |how| request.customize().request_strategy(how).send(&self.client)).await.map(drop)
    }

    /// Charges a saved card without its owner. The same key charges once.
    pub async fn charge_card(
        &self,
        key: &str,
        (customer, method): (&str, &str),
        (cents, currency): (i64, &str),
        reference: &str,
    ) -> Result<IntentSeen, Failure> {
        let request = CreatePaymentIntent::new(cents, stripe_currency(currency)?)
            .customer(customer)
            .payment_method(method)
            .confirm(true)
            .off_session(stripe_core::payment_intent::CreatePaymentIntentOffSession::Bool(true))
            .description("Credits for game servers")
            .metadata(words([("payment", reference)]));
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.into())
    }

    /// How a payment stands, with what has been given back of it.
    pub async fn intent(&self, intent: &str) -> Result<IntentSeen, Failure> {
        let request = RetrievePaymentIntent::new(intent).expand(vec!["latest_charge".to_owned()]);
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.into())
    }

    /// The last payments of a customer, newest first.
    pub async fn intents_of(&self, customer: &str) -> Result<Vec<IntentSeen>, Failure> {
        let request = ListPaymentIntent::new().customer(customer).limit(PAGE);
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.data.into_iter().map(Into::into).collect())
    }

    /// Everything that was disputed of a payment.
    pub async fn disputes(&self, intent: &str) -> Result<Vec<DisputeSeen>, Failure> {
        let request = ListDispute::new().payment_intent(intent).limit(PAGE);
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.data.iter().map(Into::into).collect())
    }

    /// How a subscription stands.
    pub async fn subscription(&self, id: &str) -> Result<SubscriptionSeen, Failure> {
        let request = RetrieveSubscription::new(id).expand(vec!["latest_invoice".to_owned()]);
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.into())
    }

    /// Subscriptions of any state, newest first, behind `after`; and whether there are more.
    pub async fn subscriptions(&self, after: Option<&str>) -> Result<(Vec<SubscriptionSeen>, bool), Failure> {
        let mut request = ListSubscription::new().status(ListSubscriptionStatus::All).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        let seen = self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok((seen.data.into_iter().map(Into::into).collect(), seen.has_more))
    }

    /// Moves a subscription to another product and price; the difference of the running month is settled with the next invoice.
    pub async fn change_price(
        &self,
        key: &str,
        (subscription, item): (&str, &str),
        product: &str,
        (cents, currency): (i64, &str),
    ) -> Result<SubscriptionSeen, Failure> {
        let recurring = UpdateSubscriptionItemsPriceDataRecurring::new(UpdateSubscriptionItemsPriceDataRecurringInterval::Month);
        let mut price = UpdateSubscriptionItemsPriceData::new(stripe_currency(currency)?, product, recurring);
        price.unit_amount = Some(cents);
        let mut line = UpdateSubscriptionItems::new();
        line.id = Some(item.to_owned());
        line.price_data = Some(price);
        let request = UpdateSubscription::new(subscription)
            .items(vec![line])
            .proration_behavior(UpdateSubscriptionProrationBehavior::CreateProrations);
        let seen = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.into())
    }

    /// Has a subscription end with the month that is paid, or not.
    pub async fn end_with_period(&self, key: &str, subscription: &str, end: bool) -> Result<SubscriptionSeen, Failure> {
        let request = UpdateSubscription::new(subscription).cancel_at_period_end(end);
        let seen = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(seen.into())
    }

    /// Ends a subscription at once.
    pub async fn end_now(&self, subscription: &str) -> Result<(), Failure> {
        let request = CancelSubscription::new(subscription);
        // Asked twice it is known no more, which is as good; a DELETE takes no key.
        self.ask(|how| request.customize().request_strategy(how).send(&self.client)).await.map(drop)
    }

    /// A page of Stripe's at which a customer sees invoices and changes the card.
    pub async fn portal(&self, key: &str, customer: &str, return_url: &str) -> Result<String, Failure> {
        let request = CreateBillingPortalSession::new().customer(customer).return_url(return_url);
        let made = self.once(key, |how| request.customize().request_strategy(how).send(&self.client)).await?;
        Ok(made.url)
    }
}

fn stripe_currency(text: &str) -> Result<Currency, Failure> {
    text.parse().map_err(|_| Failure::Refused { code: "currency".to_owned() })
}
