//! The sidecar with a real game on loopback, and an agent on a unix socket that checks every signature with the real code.

mod door;
mod tcp;
mod udp;
