//! Who has asked for what, and how far each may be served: the state of all readers, without I/O of
//! its own beyond the journal's.
//!
//! A reader has at most so many pages under way as it asked for; each page that it takes makes room
//! for another. One that begins again and again without taking anything is served ever more slowly:
//! what it does not take lies in the broker's memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use site::record::{Fit, Request};

use crate::journal::Reader;

/// Bytes of a page, about.
const TARGET: usize = 64 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One reader.
struct Stream {
    id: u64,
    /// What the next page begins behind.
    after: u64,
    /// Ends of pages that are under way, the oldest first.
    outstanding: VecDeque<u64>,
    window: usize,
    /// Where the reader is: the end of the last page that it took.
    base: u64,
    /// Pages sent and not one taken.
    fruitless: u32,
    /// A new stream that begins before this is not served.
    not_before: Option<Instant>,
    reader: Reader,
}

/// All readers that may be served.
pub(super) struct Streams {
    streams: BTreeMap<String, Option<Stream>>,
    journal: Reader,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Pages follow from [`Streams::next_page`].
    Go,
    /// This page says why not, or that there is nothing yet.
    Answer(Vec<u8>),
    /// Nothing: the reader is not known, or asks too often.
    Refused,
}

impl Streams {
    pub(super) fn new(readers: &[String], journal: Reader) -> Streams {
        Streams {
            streams: readers.iter().map(|name| (name.clone(), None)).collect(),
            journal,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }

    /// A reader asks.
    pub(super) fn asked(
        &mut self,
        name: &str,
        request: &Request,
        now: Instant,
    ) -> io::Result<Asked> {
        let Some(slot) = self.streams.get_mut(name) else {
            return Ok(Asked::Refused);
        };
        if let Some(stream) = slot
            && stream.id == request.stream
        {
            let ours = request.cursor.map(|cursor| cursor.sequence);
            let place = stream.outstanding.iter().position(|end| Some(*end) == ours);
            if let (Some(place), Some(end)) = (place, ours) {
                stream.outstanding.drain(..=place);
                stream.base = end;
                stream.fruitless = 0;
                stream.not_before = None;
            }
            stream.window = usize::from(request.pages);
            self.journal.taken(name, request.stored);
            return Ok(Asked::Go);
        }
        let fruitless = match slot {
            Some(stream) if stream.not_before.is_some_and(|until| now < until) => {
                return Ok(Asked::Refused);
            }
            Some(stream) if !stream.outstanding.is_empty() => stream.fruitless.saturating_add(1),
            Some(stream) => stream.fruitless,
            None => 0,
        };
        let mut reader = self.journal.clone();
        if let Some(cursor) = &request.cursor {
            let fit = reader.fit(cursor)?;
            if fit != Fit::Fits {
                return Ok(Asked::Answer(reader.misfit(request.stream, fit)));
            }
        }
        self.journal.taken(name, request.stored);
        let after = request.cursor.map_or(0, |cursor| cursor.sequence);
        let pause = SHORTEST_PAUSE
            .saturating_mul(1 << fruitless.min(10))
            .min(LONGEST_PAUSE);
        let empty = reader
            .page(request.stream, after, 0)
            .map(|page| page.is_empty.then_some(page.bytes))?;
        *slot = Some(Stream {
            id: request.stream,
            after,
            outstanding: VecDeque::new(),
            window: if fruitless > 1 {
                1
            } else {
                usize::from(request.pages)
            },
            base: after,
            fruitless,
            not_before: Some(now + pause),
            reader: self.journal.clone(),
        });
        // So that the reader knows that it was heard.
        Ok(empty.map_or(Asked::Go, Asked::Answer))
    }

    /// The next page for a reader, if it may have one and there is one. It counts as sent with
    /// [`Streams::sent`].
    pub(super) fn next_page(&mut self, name: &str) -> io::Result<Option<(Vec<u8>, u64)>> {
        let Some(Some(stream)) = self.streams.get_mut(name) else {
            return Ok(None);
        };
        if stream.outstanding.len() >= stream.window {
            return Ok(None);
        }
        let page = stream.reader.page(stream.id, stream.after, TARGET)?;
        Ok((!page.is_empty).then_some((page.bytes, page.last)))
    }

    /// A page that ends here is under way.
    pub(super) fn sent(&mut self, name: &str, last: u64) {
        if let Some(Some(stream)) = self.streams.get_mut(name) {
            stream.outstanding.push_back(last);
            stream.after = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use site::record::{ClockSource, Cursor, Id, Page, Record};

    use super::*;
    use crate::journal::{Group, Journal, Place, Settings};

    const BOOT: Id = Id([7; 16]);

    /// A journal of so many groups, each larger than a page.
    fn journal(folder: &std::path::Path, groups: u64) -> Journal {
        let (mut journal, _) = Journal::open(folder, Settings::default(), Place(1)).unwrap();
        journal
            .fix_clock(BOOT, 0, ClockSource::Synchronised)
            .unwrap();
        let mut random = 1_u64;
        for number in 0..groups {
            let mut group = Group::new(BOOT, 1);
            let payload: Vec<u8> = (0..60_000)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(number | 1);
                    random.to_le_bytes()[7]
                })
                .collect();
            assert!(group.push(&Record::new(number, 0, "a/b", &payload), 1));
            journal.append(&group).unwrap();
        }
        journal
    }

    fn request(stream: u64, pages: u8, at: Option<(Id, u64)>) -> Request {
        Request {
            stream,
            pages,
            stored: 0,
            clock_ns: None,
            cursor: at.map(|(journal, sequence)| Cursor {
                journal,
                sequence,
                digest: 0,
            }),
        }
    }

    /// Sends all that may be sent; the ends of the pages.
    fn drain(streams: &mut Streams) -> Vec<u64> {
        let mut ends = Vec::new();
        while let Some((bytes, last)) = streams.next_page("collector").unwrap() {
            assert_eq!(Page::decode(&bytes).unwrap().last(), last);
            streams.sent("collector", last);
            ends.push(last);
        }
        ends
    }

    fn ready(groups: u64) -> (tempfile::TempDir, Journal, Streams, Id) {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), groups);
        let streams = Streams::new(&["collector".to_owned()], journal.reader());
        let id = journal.extent().journal;
        (folder, journal, streams, id)
    }

    #[test]
    fn each_page_taken_makes_room_for_another() {
        let (_folder, _journal, mut streams, id) = ready(10);
        let now = Instant::now();
        let ask = |streams: &mut Streams, at| {
            streams.asked("collector", &request(5, 3, at), now).unwrap()
        };
        assert_eq!(ask(&mut streams, None), Asked::Go);
        assert_eq!(drain(&mut streams), [1, 2, 3]);
        assert_eq!(ask(&mut streams, Some((id, 2))), Asked::Go);
        assert_eq!(drain(&mut streams), [4, 5]);
        // The same again, and one that was never sent.
        ask(&mut streams, Some((id, 2)));
        ask(&mut streams, Some((id, 9)));
        assert!(drain(&mut streams).is_empty());
        ask(&mut streams, Some((id, 5)));
        assert_eq!(drain(&mut streams), [6, 7, 8]);
    }

    #[test]
    fn a_lost_page_is_asked_for_under_another_stream() {
        let (_folder, _journal, mut streams, id) = ready(10);
        let now = Instant::now();
        streams
            .asked("collector", &request(5, 3, None), now)
            .unwrap();
        assert_eq!(drain(&mut streams), [1, 2, 3]);
        streams
            .asked("collector", &request(5, 3, Some((id, 1))), now)
            .unwrap();
        let later = request(6, 3, Some((Id([1; 16]), 1)));
        assert!(matches!(
            streams.asked("collector", &later, now).unwrap(),
            Asked::Answer(_)
        ));
        let cursor = Request {
            cursor: None,
            ..later
        };
        assert_eq!(streams.asked("collector", &cursor, now).unwrap(), Asked::Go);
        assert_eq!(drain(&mut streams), [1, 2, 3]);
    }

    #[test]
    fn a_reader_that_takes_nothing_is_served_ever_more_slowly() {
        let (_folder, _journal, mut streams, _) = ready(40);
        let begin = Instant::now();
        let mut pages = 0;
        // A hundred requests a second for ten minutes, each of a new stream.
        for step in 0..60_000_u32 {
            let now = begin + Duration::from_millis(10) * step;
            let request = request(u64::from(step) + 1, 16, None);
            if streams.asked("collector", &request, now).unwrap() == Asked::Go {
                pages += drain(&mut streams).len();
            }
        }
        assert!((32..60).contains(&pages), "{pages}");
    }

    #[test]
    fn strangers_are_refused_and_an_empty_journal_answers() {
        let (_folder, mut journal, mut streams, _) = ready(0);
        let now = Instant::now();
        let asked = streams.asked("nobody", &request(5, 3, None), now).unwrap();
        assert_eq!(asked, Asked::Refused);
        let Asked::Answer(page) = streams
            .asked("collector", &request(5, 3, None), now)
            .unwrap()
        else {
            panic!("no answer");
        };
        let page = Page::decode(&page).unwrap();
        assert_eq!((page.oldest, page.newest, page.last()), (1, 0, 0));
        // What comes later is sent without being asked for again.
        assert!(drain(&mut streams).is_empty());
        let mut group = Group::new(BOOT, 1);
        assert!(group.push(&Record::new(1, 0, "a/b", b"1"), 1));
        journal.append(&group).unwrap();
        assert_eq!(drain(&mut streams), [1]);
    }
}
