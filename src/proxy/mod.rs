//! The sidecar: it stands at a server's public ports, sleeps beside the game and never dies with it.
//!
//! `roost-proxy` calls [`Proxy::bind`] and [`Proxy::run`]; so do the tests. For each server there is one [`gate::Gate`] (what is
//! known of the game, how to wake it, what goes through), for each port a [`tcp`] or [`udp`] route. What must stay true: a
//! container that is down is never sent a packet, because the first answer after it came up would then be late by up to a
//! second; no buffer, table or wait is without a bound ([`bounds::Bounds`]); agent and panel may come and go without any
//! open connection noticing.

pub mod activity;
pub mod agent;
pub mod bounds;
pub mod copy;
pub mod demo;
pub mod flight;
pub mod games;
pub mod gate;
pub mod log;
pub mod opening;
pub mod pipes;
pub mod serve;
pub mod sources;
pub mod tasks;
pub mod tcp;
pub mod udp;

pub use bounds::Bounds;
pub use serve::{Proxy, ProxyError};
