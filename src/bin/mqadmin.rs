//! `mqadmin`: the operator's tool. Everything is in [`rocketmq::tools`].

use std::io::{BufWriter, stderr, stdout};
use std::process::exit;

fn main() {
    let mut out = BufWriter::new(stdout().lock());
    exit(rocketmq::tools::run(std::env::args_os().skip(1), &mut out, &mut stderr().lock()));
}
