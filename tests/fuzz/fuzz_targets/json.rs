//! Any bytes as JSON; what is read and written is the same when it is read and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq::common::json::{Json, Style};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(json) = Json::parse(bytes) {
        for style in [Style::Fastjson, Style::Standard, Style::Pretty] {
            let text = json.write(style);
            let again = Json::parse(text.as_bytes()).expect("what we wrote");
            assert_eq!(again.write(style), text);
        }
        json.write(Style::Browser);
    }
});
