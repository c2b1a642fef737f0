//! What browsers see: pages, terminal colours made harmless, charts drawn on the server.
//!
//! Called by `cli`, which mounts it on a listener. Nothing in here decides what may be done or reads the database; it turns
//! finished values into HTML, and every word that came from a person is escaped on its way.

pub mod ansi;
pub mod charts;
pub mod pages;
