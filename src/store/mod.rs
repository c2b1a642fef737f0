//! The only room that knows SQL. A file holds one noun: its table, its private row, and plain functions on [`Db`].
//!
//! One statement serves both databases. Whatever must happen together happens in one [`Tx`], which is short, never waits
//! for a network, and rolls back when it is dropped.

pub mod account_links;
pub mod audit;
pub mod backups;
pub mod challenges;
pub mod commands;
pub mod covers;
mod db;
pub mod disk_use;
pub mod dump;
pub mod events;
pub mod figures;
pub mod games;
pub mod idempotency;
pub mod identities;
pub mod ledger;
pub mod mails;
pub mod node_samples;
pub mod node_tokens;
pub mod nodes;
pub mod nonces;
pub mod panel;
pub mod passkeys;
pub mod payments;
pub mod placements;
pub mod ports;
pub mod recovery_codes;
pub mod reports;
pub mod restores;
pub mod samples;
pub mod schedules;
pub mod server_lists;
pub mod servers;
pub mod sessions;
pub mod shares;
pub mod sign_in_flows;
pub mod starts;
pub mod stripe;
pub mod subscriptions;
pub mod templates;
pub mod tokens;
pub mod top_ups;
pub mod totp;
pub mod usage;
pub mod users;

pub use db::{Db, StoreError, Tx};
