//! Pages and their parts: plain structs with finished values, one askama template each.
//!
//! Handlers fill them and send them; nothing here decides or asks. A part that changes by itself (`_name.html`) is a struct of
//! its own with a fixed element id, so that it can be sent alone over the page's WebSocket. Every page has `samples()`, which
//! one test renders and checks; the samples hold hostile names on purpose.

pub mod account;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod backups;
pub mod billing;
pub mod checks;
pub mod create;
pub mod dashboard;
pub mod errors;
pub mod fields;
pub mod gate;
pub mod layers;
pub mod layout;
pub mod live;
pub mod mails;
pub mod moments;
pub mod months;
pub mod node_cache;
pub mod node_load;
pub mod nodes;
pub mod payments;
pub mod phases;
pub mod placing;
pub mod reports;
pub mod samples;
pub mod security;
pub mod server_lists;
pub mod servers;
pub mod sharing;
pub mod templates;
pub mod users;

/// Marks templates as parts of others. What they print has been escaped by their own template.
macro_rules! html_parts {
    ($($part:ty),+ $(,)?) => {$(
        impl askama::filters::HtmlSafe for $part {}
    )+};
}
use html_parts;
