//! One test for each guarantee of the journal that it keeps by itself; those that need the daemon
//! are shown in `daemon` and `tests/daemon`.

use site::record::{Cursor, Fit, Waiting};

use super::*;

/// 1. That a process killed while it writes keeps what it was told is on disk: `tests/journal.rs`.
#[test]
fn a_message_that_was_appended_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    drop(written(folder.path(), 40, 25));
    let (journal, recovered) = open(folder.path());
    assert_eq!(recovered.origin, Origin::Same);
    assert_eq!(recovered.damaged, 0);
    let all = read(&journal, 0);
    assert_eq!(all.records, expected(1..1001, 0));
    assert_eq!(all.lost, []);
    assert!(
        segments(folder.path()).len() > 2,
        "one segment shows little"
    );
}

/// 2.
#[test]
fn a_time_of_arrival_is_given_once_and_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = written(folder.path(), 2, 5);
    let before = read(&journal, 0);
    // A step of the clock, and a later wish of somebody else.
    journal.fix_clock(BOOT, 999, ClockSource::Reader).unwrap();
    assert_eq!(read(&journal, 0), before);
    drop(journal);
    let (mut journal, _) = open(folder.path());
    journal
        .fix_clock(BOOT, 999, ClockSource::Synchronised)
        .unwrap();
    assert_eq!(read(&journal, 0), before);
}

/// 4.
#[test]
fn records_are_served_once_their_boot_has_a_wall_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    write(&mut journal, 3, 5);
    let extent = journal.extent();
    assert_eq!((extent.newest, extent.served), (15, 0));
    assert_eq!(extent.waiting, Waiting::Clock);
    assert_eq!(read(&journal, 0), Read::default());
    journal
        .fix_clock(BOOT, 500, ClockSource::Synchronised)
        .unwrap();
    assert_eq!(journal.extent().waiting, Waiting::No);
    assert_eq!(read(&journal, 0).records, expected(1..16, 500));
}

/// 4. A machine in 1970 that is switched off before anybody set its clock.
#[test]
fn a_boot_that_never_had_a_clock_ended_when_the_next_one_began() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    journal.append(&group(1..4)).unwrap();
    drop(journal);
    let (mut journal, recovered) = open(folder.path());
    assert_eq!(recovered.heard, Some((BOOT, 3_000_000)));
    let next = Id([8; 16]);
    let mut later = group(4..6);
    later.boot = next;
    journal.append(&later).unwrap();
    assert_eq!(journal.extent().served, 0);
    journal
        .fix_clock(next, 1_000_000_000, ClockSource::Synchronised)
        .unwrap();
    assert_eq!(journal.clock(BOOT).unwrap().source, ClockSource::Estimated);
    let began = 1_000_000_000 - 3_000_000;
    let all = [expected(1..4, began), expected(4..6, 1_000_000_000)].concat();
    assert_eq!(read(&journal, 0).records, all);
    drop(journal);
    let (journal, _) = open(folder.path());
    assert_eq!(read(&journal, 0).records, all, "after a restart");
}

/// 5.
#[test]
fn numbers_go_on_after_a_restart_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    drop(written(folder.path(), 3, 7));
    for restart in 1..20 {
        let (mut journal, _) = open(folder.path());
        write(&mut journal, 1, 7);
        assert_eq!(journal.extent().newest, (3 + restart) * 7);
    }
    let (journal, _) = open(folder.path());
    let all = read(&journal, 0);
    assert_eq!((all.records, all.lost), (expected(1..155, 0), vec![]));
}

/// 5.
#[test]
fn a_copied_journal_has_an_identity_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let journal = written(folder.path(), 2, 5);
    let (identity, before) = (journal.extent().journal, read(&journal, 0));
    drop(journal);
    // Another machine, or another card.
    let (journal, recovered) = Journal::open(folder.path(), settings(), Place(2)).unwrap();
    assert_eq!(recovered.origin, Origin::Copy);
    assert_ne!(journal.extent().journal, identity);
    assert_eq!(read(&journal, 0), before);
    let second = journal.extent().journal;
    drop(journal);
    let (journal, recovered) = Journal::open(folder.path(), settings(), Place(2)).unwrap();
    assert_eq!(
        (recovered.origin, journal.extent().journal),
        (Origin::Same, second)
    );
    drop(journal);
    // A folder restored from a copy on the same machine.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let (journal, recovered) = Journal::open(copy.path(), settings(), Place(2)).unwrap();
    assert_eq!(recovered.origin, Origin::Copy);
    assert_eq!(read(&journal, 0), before);
}

/// 5. An older copy put in place bit by bit keeps its identity; the digest tells.
#[test]
fn a_cursor_that_does_not_fit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = written(folder.path(), 4, 5);
    let mut reader = journal.reader();
    let cursor = |sequence, digest| Cursor {
        journal: journal.extent().journal,
        sequence,
        digest,
    };
    let payload = 13.to_string();
    let record = Record::new(
        13_000_000,
        0,
        "shellies/meter-3/emeter/0/power",
        payload.as_bytes(),
    );
    let digest = record.digest(13, &BOOT);
    assert_eq!(reader.fit(&cursor(13, digest)).unwrap(), Fit::Fits);
    assert_eq!(
        reader.fit(&cursor(13, digest + 1)).unwrap(),
        Fit::OtherRecord
    );
    assert_eq!(reader.fit(&cursor(12, digest)).unwrap(), Fit::OtherRecord);
    assert_eq!(reader.fit(&cursor(21, 0)).unwrap(), Fit::Ahead);
    assert_eq!(reader.fit(&cursor(0, 0)).unwrap(), Fit::Fits);
    let other = Cursor {
        journal: Id([1; 16]),
        ..cursor(13, digest)
    };
    assert_eq!(reader.fit(&other).unwrap(), Fit::OtherJournal);
    let misfit = reader.misfit(3, Fit::OtherJournal);
    let page = Page::decode(&misfit).unwrap();
    assert_eq!(
        (page.fit, page.stream, page.parts.len()),
        (Fit::OtherJournal, 3, 0)
    );
}

/// Keys of the messages that [`group`] makes.
fn keys(numbers: std::ops::Range<u64>) -> Vec<u64> {
    let key_of = |number: u64| {
        let topic = format!("shellies/meter-{}/emeter/0/power", number % 5);
        let payload = number.to_string();
        // The time is not part of it.
        let record = Record::new(5, 0, &topic, payload.as_bytes());
        key(u16::try_from(number + 1).unwrap(), content(&record))
    };
    numbers.map(key_of).collect()
}

/// 6.
#[test]
fn packet_ids_of_what_may_come_again_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    write(&mut journal, 40, 25);
    let mut last = group(1001..1004);
    last.settled = 900;
    journal.append(&last).unwrap();
    drop(journal);
    let (mut journal, recovered) = open(folder.path());
    assert_eq!((recovered.session, recovered.settled), (1, 900));
    assert_eq!(recovered.resent, keys(901..1004));
    // Another session of the broker: ids of the one before say nothing.
    let mut other = group(1004..1006);
    other.session = 2;
    journal.append(&other).unwrap();
    drop(journal);
    let (_, recovered) = open(folder.path());
    assert_eq!((recovered.session, recovered.resent), (2, keys(1004..1006)));
}

/// 7.
#[test]
fn what_is_trimmed_unread_is_counted_for_each_reader() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = written(folder.path(), 40, 25);
    journal.reader().taken("ahead", 1000);
    journal.reader().taken("behind", 60);
    journal.settings.keep_bytes = 5 * 1024;
    let removed = journal.trim(None);
    let extent = journal.extent();
    assert!(removed > 100, "{extent:?}");
    assert_eq!(extent.oldest, removed + 1);
    assert!(extent.bytes <= 5 * 1024);
    assert_eq!(journal.readers()["ahead"].missed, 0);
    assert_eq!(journal.readers()["behind"].missed, removed - 60);
    assert_eq!(read(&journal, 0).records, expected(removed + 1..1001, 0));
    journal.save_readers().unwrap();
    drop(journal);
    let (journal, _) = open(folder.path());
    assert_eq!(journal.readers()["behind"].missed, removed - 60);
    assert_eq!(read(&journal, 0).records, expected(removed + 1..1001, 0));
}

/// 7.
#[test]
fn records_are_kept_for_so_long_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = written(folder.path(), 0, 0);
    let second = 1_000_000_000;
    for number in 0..40 {
        // Segments note when they were begun.
        assert_eq!(journal.trim(Some(1000 * second + number * 60 * second)), 0);
        write(&mut journal, 1, 25);
    }
    let removed = journal.trim(Some(1000 * second + 80 * 60 * second));
    assert!(removed > 100, "{removed}");
    let begun = journal.index.state().segments[1].begun_ns;
    assert!(begun > 1000 * second + 20 * 60 * second, "{begun}");
    // A clock that is not known trims nothing.
    assert_eq!(journal.trim(None), 0);
}

/// 7.
#[test]
fn the_newest_segment_is_never_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = written(folder.path(), 40, 25);
    journal.settings.keep_free = u64::MAX;
    journal.trim(None);
    assert_eq!(segments(folder.path()).len(), 1);
    let all = read(&journal, 0);
    assert!(!all.records.is_empty());
    assert_eq!(all.numbers().last(), Some(&1000));
}

#[test]
fn two_daemons_do_not_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (_journal, _) = open(folder.path());
    let error = Journal::open(folder.path(), settings(), PLACE).unwrap_err();
    assert!(error.to_string().contains("another daemon"), "{error}");
}
