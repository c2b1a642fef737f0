//! What things are: ids, money, times, states, rules.
//!
//! Every other room names this one; it names nobody. No input or output, no async and no clock in here: a rule is a
//! function of what it is given, so that each can be tested over everything it could be given.

pub mod accounts;
pub mod addresses;
pub mod backups;
pub mod checksum;
pub mod disk;
pub mod figures;
pub mod games;
pub mod idleness;
pub mod ids;
pub mod layers;
pub mod ledger;
pub mod life;
pub mod mails;
pub mod money;
pub mod nodes;
pub mod payments;
pub mod placing;
pub mod secrets;
pub mod servers;
mod sets;
pub mod shares;
pub mod subscriptions;
pub mod templates;
pub mod time;
pub mod tokens;
pub mod users;
pub mod variables;
