//! Any text as an expression, before the first zero, evaluated over the properties behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq::filter::{Dialect, compile};

fuzz_target!(|text: &str| {
    let (expression, properties) = text.split_once('\0').unwrap_or((text, "a\u{1}5\u{2}b\u{1}x"));
    for dialect in [Dialect::V4, Dialect::V5] {
        if let Ok(compiled) = compile(expression, dialect) {
            let _ = compiled.evaluate(properties);
        }
    }
});
