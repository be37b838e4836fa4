//! What a damaged card may hold: the journal opens, takes a group, and serves it.
#![no_main]

use bastion::journal::{Group, Journal, Place, Settings};
use libfuzzer_sys::fuzz_target;
use site::record::{ClockSource, Id, Page, Record};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("00000000000000000001.segment"), bytes).unwrap();
    let settings = Settings {
        keep_free: 0,
        reserve_bytes: 0,
        ..Settings::default()
    };
    let (mut journal, _) = Journal::open(folder.path(), settings, Place(1)).unwrap();
    let boot = Id([200; 16]);
    let mut group = Group::new(boot, 1);
    assert!(group.push(&Record::new(1, 0, "a/b", b"1"), 1));
    let committed = journal.append(&group).unwrap();
    journal.fix_clock(boot, 1, ClockSource::Synchronised).unwrap();
    let mut reader = journal.reader();
    let mut after = committed.first - 1;
    let served = reader.page(1, after, 1 << 16).unwrap();
    assert_eq!(Page::decode(&served.bytes).unwrap().last(), committed.last);
    // All of what is before it, too, leads to the end.
    after = 0;
    loop {
        let served = reader.page(1, after, 1 << 16).unwrap();
        if served.is_empty {
            break;
        }
        Page::decode(&served.bytes).unwrap();
        assert!(served.last > after);
        after = served.last;
    }
    assert_eq!(after, committed.last);
});
