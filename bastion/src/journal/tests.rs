//! Journals in folders of their own, written and read back.

mod damage;
mod disk;
mod guarantees;

use std::path::Path;
use std::time::Duration;

use site::record::{Id, LostWhy, Page, Part, Record};

use super::*;

const BOOT: Id = Id([7; 16]);
const PLACE: Place = Place(1);
const TARGET: usize = 64 * 1024;

/// Small segments, so that tests have several.
fn settings() -> Settings {
    Settings {
        segment_bytes: 2 * 1024,
        keep_bytes: 1 << 30,
        keep_for: Duration::from_secs(3600),
        keep_free: 0,
        reserve_bytes: 0,
    }
}

fn open(folder: &Path) -> (Journal, Recovered) {
    Journal::open(folder, settings(), PLACE).unwrap()
}

/// A group of messages with consecutive numbers as payloads, at a second for each group.
fn group(numbers: std::ops::Range<u64>) -> Group {
    let mut group = Group::new(BOOT, 1);
    for number in numbers {
        let payload = number.to_string();
        let topic = format!("shellies/meter-{}/emeter/0/power", number % 5);
        let record = Record::new(number * 1_000_000, 0, &topic, payload.as_bytes());
        assert!(group.push(&record, u16::try_from(number % 60_000 + 1).unwrap()));
    }
    group
}

/// Writes `groups` groups of `size` messages behind those that are there; message n has number n.
fn write(journal: &mut Journal, groups: u64, size: u64) {
    for _ in 0..groups {
        let next = journal.extent().newest + 1;
        let committed = journal.append(&group(next..next + size)).unwrap();
        assert_eq!((committed.first, committed.last), (next, next + size - 1));
    }
}

/// All that is served behind a number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// Number, wall time and payload.
    records: Vec<(u64, i64, String)>,
    lost: Vec<(u64, u64, LostWhy)>,
    pages: usize,
}

impl Read {
    fn numbers(&self) -> Vec<u64> {
        self.records.iter().map(|(number, _, _)| *number).collect()
    }
}

fn read(journal: &Journal, after: u64) -> Read {
    let mut reader = journal.reader();
    let mut all = Read::default();
    let mut raw = Vec::new();
    let mut after = after;
    loop {
        let served = reader.page(5, after, TARGET).unwrap();
        if served.is_empty {
            return all;
        }
        all.pages += 1;
        let page = Page::decode(&served.bytes).unwrap();
        assert_eq!(page.last(), served.last);
        for part in &page.parts {
            match part {
                Part::Lost(lost) => all.lost.push((lost.first, lost.count, lost.why)),
                Part::Group(group) => {
                    let records = group.block.records(&mut raw).unwrap();
                    for (record, number) in records.zip(group.first..) {
                        let record = record.unwrap();
                        let time = i64::try_from(record.time_ns).unwrap();
                        let payload = String::from_utf8(record.payload.to_vec()).unwrap();
                        all.records
                            .push((number, time + group.dated.offset_ns, payload));
                    }
                }
            }
        }
        assert!(served.last > after, "a page that leads nowhere");
        after = served.last;
    }
}

/// The records of the given numbers, as [`group`] makes them, at an offset of wall time.
fn expected(numbers: std::ops::Range<u64>, offset: i64) -> Vec<(u64, i64, String)> {
    numbers
        .map(|number| {
            let time = i64::try_from(number * 1_000_000).unwrap();
            (number, time + offset, number.to_string())
        })
        .collect()
}

/// A journal with dated records from 1 to `groups * size`.
fn written(folder: &Path, groups: u64, size: u64) -> Journal {
    let (mut journal, _) = open(folder);
    journal
        .fix_clock(BOOT, 0, ClockSource::Synchronised)
        .unwrap();
    write(&mut journal, groups, size);
    journal
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    recover::segments(folder)
        .unwrap()
        .into_iter()
        .map(|(_, path)| path)
        .collect()
}
