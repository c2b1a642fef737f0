//! The integration tests: one program, one file for each noun.

mod proxy;
