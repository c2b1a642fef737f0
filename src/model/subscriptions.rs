//! Subscriptions: how they stand, and what that means for their server.

use super::ids::{GameId, PlanId, ServerId, SubscriptionId, UserId};
use super::time::{DAY, Millis};

/// Stripe's word for how a subscription stands, and ours for one that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Its Checkout page is open.
    Opening,
    /// Paid.
    Active,
    /// On trial.
    Trialing,
    /// A payment failed and is tried again.
    PastDue,
    /// Tries have ended.
    Unpaid,
    /// Paused after a trial without a card.
    Paused,
    /// The first payment is not there yet.
    Incomplete,
    /// The first payment never came.
    IncompleteExpired,
    /// Over.
    Canceled,
    /// A word that is newer than this program.
    Other,
}

/// What a status means for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is paid and nothing is owed: as if it were not there.
    Waiting,
    /// The server's time is paid.
    Covered,
    /// Unpaid: the server expires, and comes back when it is paid.
    Lapsed,
    /// Over: the server expires, if it was covered.
    Over,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 10] = [
        Status::Opening,
        Status::Active,
        Status::Trialing,
        Status::PastDue,
        Status::Unpaid,
        Status::Paused,
        Status::Incomplete,
        Status::IncompleteExpired,
        Status::Canceled,
        Status::Other,
    ];

    /// As stored and as Stripe says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Opening => "opening",
            Status::Active => "active",
            Status::Trialing => "trialing",
            Status::PastDue => "past_due",
            Status::Unpaid => "unpaid",
            Status::Paused => "paused",
            Status::Incomplete => "incomplete",
            Status::IncompleteExpired => "incomplete_expired",
            Status::Canceled => "canceled",
            Status::Other => "other",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Status {
        Status::ALL.into_iter().find(|status| status.as_str() == text).unwrap_or(Status::Other)
    }

    /// What it means for the server; none: not known, so nothing is changed.
    pub fn standing(self) -> Option<Standing> {
        match self {
            Status::Opening | Status::Incomplete => Some(Standing::Waiting),
            Status::Active | Status::Trialing => Some(Standing::Covered),
            Status::PastDue | Status::Unpaid | Status::Paused => Some(Standing::Lapsed),
            Status::IncompleteExpired | Status::Canceled => Some(Standing::Over),
            Status::Other => None,
        }
    }
}

/// A subscription's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Our id.
    pub id: SubscriptionId,
    /// What it is for; may be gone.
    pub server: ServerId,
    /// Its name when the row was made.
    pub server_name: String,
    /// Who pays.
    pub user: UserId,
    /// Catalogue entry.
    pub game: GameId,
    /// The size that is paid for.
    pub plan: PlanId,
    /// The size that it is being moved to.
    pub plan_wanted: Option<PlanId>,
    /// A month's price.
    pub cents: i64,
    /// In lower case.
    pub currency: String,
    /// `cs_...` of its Checkout page.
    pub session: Option<String>,
    /// `sub_...`
    pub stripe: Option<String>,
    /// How it stood when Stripe was asked last.
    pub status: Status,
    /// Until when is paid.
    pub period_end: Option<Millis>,
    /// Ends with that.
    pub cancel_at_end: bool,
    /// Where an open invoice can be paid.
    pub pay_url: Option<String>,
    /// To be ended at Stripe: its server is gone, or goes on by the hour.
    pub end_wanted: bool,
    /// Since when its server is not paid, where it had been.
    pub lapsed_at: Option<Millis>,
    /// When its owner was told that the data go soon.
    pub warned_at: Option<Millis>,
    /// When the row was made.
    pub created_at: Millis,
    /// When it ended; an ended one never comes back.
    pub ended_at: Option<Millis>,
    /// What keeps it from being as it should, in words for its owner; may be empty.
    pub trouble: String,
    /// Moves with every write.
    pub generation: i64,
    /// When Stripe is asked next; none: never again.
    pub due_at: Option<Millis>,
    /// How often asking has failed in a row.
    pub attempts: u32,
}

/// So long before its data go the owner is told once more.
pub const WARNED_BEFORE: i64 = 2 * DAY;

/// What is to be done about an expired server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Nothing yet.
    Wait,
    /// Tell its owner that the data go at this moment, which is where the end stands from then on.
    Warn(Millis),
    /// The data go.
    End,
}

/// The rule of the grace. Nobody's data go unless they were told [`WARNED_BEFORE`] that (or as long as the whole grace is, where that is
/// shorter): a panel that was down meanwhile moves the end on.
pub fn grace(delete_after: Millis, warned_at: Option<Millis>, whole: i64, now: Millis) -> Grace {
    let notice = WARNED_BEFORE.min(whole);
    match warned_at {
        None if now < delete_after - notice => Grace::Wait,
        None => Grace::Warn(delete_after.max(now + notice)),
        Some(warned_at) if now >= delete_after && now >= warned_at + notice => Grace::End,
        Some(_) => Grace::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_as_they_are_written_and_new_ones_change_nothing() {
        assert!(Status::ALL.into_iter().all(|status| Status::parse(status.as_str()) == status));
        assert_eq!(Status::parse("something_of_2031").standing(), None);
    }

    #[test]
    fn nobodys_data_go_without_a_word_in_time() {
        let (end, week) = (Millis(100 * DAY), 7 * DAY);
        assert_eq!(grace(end, None, week, end - 3 * DAY), Grace::Wait);
        assert_eq!(grace(end, None, week, end - 2 * DAY), Grace::Warn(end));
        assert_eq!(grace(end, None, week, end + 5 * DAY), Grace::Warn(end + 7 * DAY), "the panel was down");
        assert_eq!(grace(end, Some(end - 2 * DAY), week, end - 1), Grace::Wait);
        assert_eq!(grace(end, Some(end - 2 * DAY), week, end), Grace::End);
        assert_eq!(grace(end, Some(end - DAY), week, end), Grace::Wait, "told late");
        assert_eq!(grace(end, None, DAY, end - DAY), Grace::Warn(end), "a short grace");
    }
}
