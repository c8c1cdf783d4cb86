//! `mqbroker`.
fn main() {}
