//! What panel, node and sidecar say to each other: messages, their version, and signatures.
//!
//! Messages are JSON with a `type`. The embedded node gets the same messages over an in-memory pipe.

#[cfg(feature = "panel")]
pub mod agent;
pub mod door;
#[cfg(feature = "panel")]
pub mod link;
#[cfg(feature = "panel")]
pub mod spec;
pub mod wake;
