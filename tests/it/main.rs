//! The integration tests: one program, one file for each noun.
//!
//! Plain `cargo test` runs what needs no service; `./start.sh test` sets up the services and runs all of it.

mod catalogue;
mod pages;
#[allow(dead_code, reason = "each function waits for the first test that needs its service")]
mod services;
mod tidy;
