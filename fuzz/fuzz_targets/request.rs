//! What a reader's stolen account may send to a bastion.
#![no_main]

use libfuzzer_sys::fuzz_target;
use site::record::Request;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
});
