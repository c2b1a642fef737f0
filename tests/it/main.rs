//! The integration tests: one program, one file for each noun.
//!
//! Plain `cargo test` runs what needs no service; `./start.sh test` sets up the services and runs all of it.
#![allow(clippy::unwrap_used, reason = "in a test, a step that fails ends the test")]

mod accounts;
mod api;
#[allow(dead_code)]
mod app;
mod billing_web;
mod browser;
mod catalogue;
mod fake_node;
mod kill;
mod node;
mod pages;
mod program;
mod proxy;
mod rights;
mod servers;
mod servers_web;
#[allow(dead_code, reason = "each function waits for the first test that needs its service")]
mod services;
mod story;
mod tidy;
#[allow(dead_code)]
mod world;
