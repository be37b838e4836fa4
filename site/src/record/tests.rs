//! What is written is read back, and nonsense is an error.

use proptest::collection::vec;
use proptest::prelude::*;

use super::wire::{Taken, put_signed};
use super::*;

fn dated(number: u8) -> Dated {
    Dated {
        boot: Id([number; 16]),
        source: ClockSource::Synchronised,
        offset_ns: i64::from(number) - 3,
    }
}

fn head(after: u64) -> Page<'static> {
    Page {
        fit: Fit::Fits,
        waiting: Waiting::Clock,
        journal: Id([9; 16]),
        stream: 77,
        after,
        oldest: 1,
        newest: 5000,
        parts: Vec::new(),
    }
}

type Message = (u64, u32, String, Vec<u8>);

fn message() -> impl Strategy<Value = Message> {
    let topic = proptest::string::string_regex("[a-zß/0-9]{0,40}").unwrap();
    (
        0..u64::MAX / 4,
        0..2000_u32,
        topic,
        vec(any::<u8>(), 0..300),
    )
}

/// Writes messages into blocks of a page, reads them back, and compares.
#[track_caller]
fn check_page(groups: &[Vec<Message>]) -> Vec<u8> {
    let mut writer = PageWriter::new(head(10));
    let mut compressed = Vec::new();
    let mut first = 11;
    for (number, messages) in groups.iter().enumerate() {
        let mut block = BlockWriter::default();
        for (time_ns, spread_ms, topic, payload) in messages {
            assert!(block.push(&Record::new(*time_ns, *spread_ms, topic, payload)));
        }
        let block = block.compress(&mut compressed);
        assert!(writer.has_room(block.compressed.len(), LARGEST_PAGE));
        writer.group(&Group {
            first,
            dated: dated(u8::try_from(number % 3).unwrap()),
            block,
        });
        first = writer.last() + 1;
        let lost = Lost {
            first,
            count: 2,
            why: LostWhy::Unfinished,
        };
        writer.lost(&lost);
        first += 2;
    }
    let bytes = writer.finish();
    let page = Page::decode(&bytes).unwrap();
    assert_eq!(
        (page.stream, page.newest, page.waiting),
        (77, 5000, Waiting::Clock)
    );
    assert_eq!(page.last(), first - 1);
    let mut raw = Vec::new();
    let mut read = Vec::new();
    for part in &page.parts {
        if let Part::Group(group) = part {
            let records = group.block.records(&mut raw).unwrap();
            read.push(
                records
                    .map(|record| {
                        let record = record.unwrap();
                        let (topic, payload) = (record.topic.to_owned(), record.payload.to_vec());
                        (record.time_ns, record.spread_ms, topic, payload)
                    })
                    .collect::<Vec<Message>>(),
            );
        }
    }
    assert_eq!(read, groups);
    bytes
}

/// Reads everything that bytes may hold.
fn read_all(bytes: &[u8]) -> usize {
    let mut raw = Vec::new();
    let mut records = 0;
    if let Ok(page) = Page::decode(bytes) {
        for part in &page.parts {
            if let Part::Group(group) = part
                && let Ok(found) = group.block.records(&mut raw)
            {
                records += found.filter(Result::is_ok).count();
            }
        }
    }
    records
}

proptest! {
    #[test]
    fn pages_are_read_back(groups in vec(vec(message(), 1..20), 0..6)) {
        check_page(&groups);
    }

    #[test]
    fn any_bytes_are_a_page_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
        let _ = Request::decode(&bytes);
    }

    /// Random bytes hardly get past the first check; a good page with a few wrong bytes does.
    #[test]
    fn damaged_pages_are_pages_or_errors(
        groups in vec(vec(message(), 1..5), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = check_page(&groups);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn requests_are_read_back(
        stream in any::<u64>(),
        pages in 1..=MOST_PAGES,
        stored in any::<u64>(),
        cursor in proptest::option::of((any::<[u8; 16]>(), any::<u64>(), any::<u64>())),
        clock_ns in proptest::option::of(any::<u64>()),
    ) {
        let cursor = cursor.map(|(journal, sequence, digest)| Cursor {
            journal: Id(journal),
            sequence,
            digest,
        });
        let request = Request { stream, pages, stored, cursor, clock_ns };
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn numbers_are_read_back(number in any::<u64>(), signed in any::<i64>()) {
        let mut out = Vec::new();
        put_unsigned(&mut out, number);
        put_signed(&mut out, signed);
        let mut rest = Taken(&out);
        prop_assert_eq!(rest.unsigned(), Ok(number));
        prop_assert_eq!(rest.signed(), Ok(signed));
        prop_assert!(rest.is_empty());
    }
}

#[test]
fn a_number_is_not_longer_than_sixty_four_bits() {
    assert!(Taken(&[0xff; 9]).unsigned().is_err());
    assert!(Taken(&[0xff; 11]).unsigned().is_err());
    let mut largest = [0xff; 10];
    largest[9] = 1;
    assert_eq!(Taken(&largest).unsigned(), Ok(u64::MAX));
    largest[9] = 2;
    assert!(Taken(&largest).unsigned().is_err());
}

#[test]
fn a_message_that_is_too_large_is_cut_and_says_so() {
    let topic = "ß".repeat(200);
    let payload = vec![7; LARGEST_RECORD];
    let record = Record::new(1, 0, &topic, &payload);
    assert_eq!(
        record.cut_from,
        Some(u32::try_from(payload.len() + 400).unwrap())
    );
    assert_eq!((record.topic.len(), record.payload.len()), (256, 1024));
    let mut block = BlockWriter::default();
    assert!(block.push(&record));
    let (mut compressed, mut raw) = (Vec::new(), Vec::new());
    let block = block.compress(&mut compressed);
    let read = block.records(&mut raw).unwrap().next().unwrap().unwrap();
    assert_eq!(read, record);
}

#[test]
fn the_largest_records_fit_into_a_block_and_a_page() {
    let payload: Vec<u8> = (0..LARGEST_RECORD - 5)
        .map(|number| u8::try_from(number * number % 251).unwrap())
        .collect();
    let record = Record::new(u64::MAX, u32::MAX, "a/b/c", &payload);
    assert_eq!(record.cut_from, None);
    let mut block = BlockWriter::default();
    assert!(block.push(&record));
    assert!(
        !block.push(&record),
        "two of them are more than a block takes"
    );
    let mut compressed = Vec::new();
    let block = block.compress(&mut compressed);
    let mut writer = PageWriter::new(head(0));
    writer.group(&Group {
        first: 1,
        dated: dated(1),
        block,
    });
    assert!(writer.finish().len() < LARGEST_PAGE);
}

#[test]
fn a_block_that_promises_more_than_it_may_hold_is_refused() {
    let block = Block {
        count: 1,
        base_ns: 0,
        raw_length: u32::MAX,
        compressed: &[],
    };
    assert!(block.records(&mut Vec::new()).is_err());
}

#[test]
fn an_id_is_written_as_the_kernel_writes_it_or_without_hyphens() {
    let id: Id = "3e0de1d5-26ae-4a3c-a1f2-0f5b0f3f7c11".parse().unwrap();
    assert_eq!(id.to_string(), "3e0de1d526ae4a3ca1f20f5b0f3f7c11");
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in [
        "",
        "3e",
        "3e0de1d526ae4a3ca1f20f5b0f3f7c1",
        "3e0de1d526ae4a3ca1f20f5b0f3f7c110",
        "zz",
    ] {
        assert!(bad.parse::<Id>().is_err(), "{bad}");
    }
}
