//! The sidecar with a real game on loopback, and an agent on a unix socket that checks every signature with the real code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod door;
mod tcp;
mod udp;
