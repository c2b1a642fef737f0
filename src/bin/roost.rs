//! The panel and the node agent.
fn main() {}
