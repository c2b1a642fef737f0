//! The node agent against a real Docker Engine, spoken to through its pipes as a panel does. Left out, by name, where no engine is wanted.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends the test")]

mod backups;
mod busybox;
pub mod site;

mod console;
mod engine;
mod faults;
mod firewall;
mod layers;
mod life;
mod registry;
mod volumes;
mod wake;
