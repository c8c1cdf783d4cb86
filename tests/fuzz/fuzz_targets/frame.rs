//! Any bytes as frames; what is understood can be written, and is then understood again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq::remoting::frame;

const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((command, used))) = frame::decode(rest, LIMIT) {
        assert!(0 < used && used <= rest.len());
        rest = &rest[used..];
        let mut again = Vec::new();
        if frame::encode(&command, &mut again).is_ok() {
            let (second, used) =
                frame::decode(&again, usize::MAX).expect("what we wrote").expect("all of it");
            assert_eq!(
                (used, second.code, second.opaque),
                (again.len(), command.code, command.opaque)
            );
        }
    }
});
