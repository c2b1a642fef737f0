//! The integration tests: one program, one file for each noun.

mod node;
mod proxy;
