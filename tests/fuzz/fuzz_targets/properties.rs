//! Any text as message properties and as a property file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq::common::config::PropertyFile;
use rocketmq::common::properties::{Properties, find};

fuzz_target!(|text: &str| {
    let properties = Properties::parse(text);
    let encoded = properties.encode();
    assert_eq!(Properties::parse(&encoded), properties);
    for (name, _) in properties.iter().take(20) {
        find(text, name);
    }
    for entry in PropertyFile::parse(text).entries {
        assert!(entry.line > 0);
    }
});
