//! The integration tests: one program, one file for each noun.
//!
//! Plain `cargo test` runs what needs no service; `./start.sh test` sets up the services and runs all of it.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, reason = "in a test, a step that fails ends the test")]

mod accounts;
mod admin_web;
mod api;
#[allow(dead_code)]
mod app;
mod at_once;
mod backups;
mod billing_web;
mod books;
mod browser;
mod business;
mod catalogue;
mod doors;
mod drill;
mod dump;
mod embedded;
mod fake_node;
mod full_disk;
mod hostile;
mod join;
mod kill;
mod laid_out;
mod layers_web;
mod leftovers;
#[allow(dead_code)]
mod linked;
mod listener;
mod machines;
mod node;
mod nodes_web;
mod objects;
mod operator;
mod pages;
#[allow(dead_code)]
mod paying;
mod payments;
mod peer;
mod people;
mod placing;
mod program;
mod proxy;
mod recovery;
mod rights;
mod second_factor;
mod servers;
mod servers_web;
#[allow(dead_code, reason = "each function waits for the first test that needs its service")]
mod services;
mod sharing;
mod sign_in;
mod sign_in_web;
mod starting;
mod storage;
mod story;
mod strangers;
#[allow(dead_code)]
mod stripe_peer;
mod subscriptions;
mod templates;
mod tidy;
#[allow(dead_code)]
mod world;
