//! Money that comes in: a payment's row, how far it is, and what of it has gone back.

use super::ids::{PaymentId, UserId};
use super::money::Credits;
use super::time::{HOUR, MINUTE, Millis};

/// How a payment came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody paid at Stripe's page.
    Checkout,
    /// The saved card was charged because little was left.
    Automatic,
}

impl Kind {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Checkout => "checkout",
            Kind::Automatic => "automatic",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Checkout, Kind::Automatic].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far a payment is. Once paid it stays so, whatever is heard later: what goes back is kept beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of any money yet.
    Open,
    /// Done at Stripe's page, and the money is on its way.
    Coming,
    /// The credits are posted.
    Paid,
    /// It did not work.
    Failed,
    /// Nobody paid in time.
    Expired,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Open, State::Coming, State::Paid, State::Failed, State::Expired];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Coming => "coming",
            State::Paid => "paid",
            State::Failed => "failed",
            State::Expired => "expired",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A payment's row, made before Stripe is asked for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id: the idempotency key of what is asked for it, and the key of the entry that it makes.
    pub id: PaymentId,
    /// Who gets the credits.
    pub user: UserId,
    /// How it came about.
    pub kind: Kind,
    /// How much.
    pub cents: i64,
    /// In lower case, such as `eur`.
    pub currency: String,
    /// The card is kept, to be charged later.
    pub keep_card: bool,
    /// How far it is.
    pub state: State,
    /// Why it did not work; may be empty.
    pub why: String,
    /// `cs_...`
    pub session: Option<String>,
    /// `pi_...`
    pub intent: Option<String>,
    /// A page of Stripe's.
    pub receipt_url: Option<String>,
    /// Given back, of `cents`.
    pub refunded_cents: i64,
    /// Held back by the bank, of `cents`.
    pub disputed_cents: i64,
    /// How many entries have taken something back or given it again.
    pub turns: i64,
    /// When it was begun.
    pub created_at: Millis,
    /// When it was paid, or failed.
    pub done_at: Option<Millis>,
    /// Moves with every write.
    pub generation: i64,
    /// When it is looked at next; none: when something is heard.
    pub due_at: Option<Millis>,
    /// How often looking has failed in a row.
    pub attempts: u32,
}

impl Payment {
    /// The credits that it is worth: one for each cent.
    pub fn credits(&self) -> Credits {
        Credits::whole(self.cents)
    }

    /// What is to be changed so that as much has gone back as Stripe says: refunds first, disputes of the rest.
    pub fn turn(&self, refunded: i64, disputed: i64) -> (i64, i64) {
        let refunded = refunded.clamp(0, self.cents);
        let disputed = disputed.clamp(0, self.cents - refunded);
        (refunded - self.refunded_cents, disputed - self.disputed_cents)
    }
}

/// An amount of money, for people: `25.00 EUR`.
pub fn price(cents: i64, currency: &str) -> String {
    format!("{}.{:02} {}", cents / 100, cents % 100, currency.to_uppercase())
}

/// How long to wait before Stripe is asked again, after so many failures in a row: half a minute, doubling, at most six hours.
pub fn wait_after(attempts: u32) -> i64 {
    ((MINUTE / 2) << attempts.saturating_sub(1).min(10)).min(6 * HOUR)
}

/// Where an automatic top-up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoState {
    /// The saved card is charged when little is left.
    On,
    /// No card is saved yet: the next payment keeps it.
    Waiting,
    /// Off.
    Off,
}

impl AutoState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            AutoState::On => "on",
            AutoState::Waiting => "waiting",
            AutoState::Off => "off",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<AutoState> {
        [AutoState::On, AutoState::Waiting, AutoState::Off].into_iter().find(|state| state.as_str() == text)
    }
}

/// Somebody's choice to be topped up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTopUp {
    /// Whose.
    pub user: UserId,
    /// Where it stands.
    pub state: AutoState,
    /// When less than this is left.
    pub below: Credits,
    /// So much at a time.
    pub cents: i64,
    /// At most so much in a month (UTC).
    pub month_cents: i64,
    /// Why it was switched off; may be empty.
    pub why: String,
    /// The attempt under way.
    pub payment: Option<PaymentId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(refunded: i64, disputed: i64) -> Payment {
        Payment {
            id: PaymentId::from_random(&[1; 16]),
            user: UserId::from_random(&[1; 16]),
            kind: Kind::Checkout,
            cents: 1_000,
            currency: "eur".to_owned(),
            keep_card: false,
            state: State::Paid,
            why: String::new(),
            session: None,
            intent: None,
            receipt_url: None,
            refunded_cents: refunded,
            disputed_cents: disputed,
            turns: 0,
            created_at: Millis(0),
            done_at: None,
            generation: 0,
            due_at: None,
            attempts: 0,
        }
    }

    #[test]
    fn no_more_goes_back_than_has_come() {
        assert_eq!(payment(0, 0).turn(300, 0), (300, 0));
        assert_eq!(payment(300, 0).turn(300, 1_000), (0, 700));
        assert_eq!(payment(300, 700).turn(300, 0), (0, -700), "a dispute that was won");
        assert_eq!(payment(300, 0).turn(0, 0), (-300, 0), "a refund that failed");
        assert_eq!(payment(0, 0).turn(5_000, 5_000), (1_000, 0));
        assert_eq!(payment(0, 0).turn(-5, -5), (0, 0));
    }

    #[test]
    fn words_read_as_they_are_written_and_waits_grow_to_an_end() {
        assert!(State::ALL.into_iter().all(|state| State::parse(state.as_str()) == Some(state)));
        assert_eq!((wait_after(0), wait_after(1), wait_after(2), wait_after(99)), (MINUTE / 2, MINUTE / 2, MINUTE, 6 * HOUR));
    }
}
