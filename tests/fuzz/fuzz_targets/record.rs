//! Any bytes as a record, as a batch, and as what a pull brings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq::common::record::{read_batch, read_messages, read_record};

fuzz_target!(|bytes: &[u8]| {
    for verify in [true, false] {
        if let Ok(record) = read_record(bytes, verify) {
            assert!(record.total_size as usize <= bytes.len());
            record.to_message().offset_message_id();
        }
    }
    let _ = read_batch(bytes);
    let _ = read_messages(bytes);
});
