//! What a taken bastion may send to a collector.
#![no_main]

use libfuzzer_sys::fuzz_target;
use site::record::{Page, Part};

fuzz_target!(|bytes: &[u8]| {
    let Ok(page) = Page::decode(bytes) else { return };
    let mut raw = Vec::new();
    let mut last = page.after;
    for part in &page.parts {
        let (first, count) = part.numbers();
        assert!(first > last && count > 0);
        last = first + (count - 1);
        if let Part::Group(group) = part
            && let Ok(records) = group.block.records(&mut raw)
        {
            assert!(records.count() as u64 <= count);
        }
    }
    assert_eq!(page.last(), last);
});
