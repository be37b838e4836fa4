//! A page: what a bastion answers to one request, in one MQTT message.
//!
//! Layout: `SBP`, version, fit, waiting, journal id (16), stream (8), after, oldest, newest,
//! number of boots, each with id (16), clock source and offset (signed); then parts until the end.
//! A part is a kind (1: a group of records; 2 and 3: numbers that carry no record, and why), its
//! first number and count, and for a group place of its boot, base time, length before compression
//! and the compressed block with its length.

use super::wire::{Taken, put_bytes, put_signed, put_unsigned};
use super::{Block, BlockWriter, ClockSource, Id, Malformed};

const MAGIC: &[u8; 3] = b"SBP";
/// The version that is written, and the only one that is read.
pub const PAGE_VERSION: u8 = 1;
/// Bytes. Below the broker's `max_packet_size`, and a block larger than the largest one.
pub const LARGEST_PAGE: usize = 224 * 1024;
/// A part has six bytes at least, so a page cannot hold more anyhow; a bound on memory.
const MOST_PARTS: usize = LARGEST_PAGE / 6;
const MOST_BOOTS: usize = 256;
const GROUP: u8 = 1;

/// Whether the cursor of a request belongs to this journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// It does, or there was none.
    Fits,
    /// It was made from a journal of another identity.
    OtherJournal,
    /// It is behind the newest record.
    Ahead,
    /// The record there is another one.
    OtherRecord,
}

/// Why records that are there are not served yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// All are served.
    No,
    /// The machine's clock is not set, and so nobody knows when they arrived.
    Clock,
}

/// Why numbers carry no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LostWhy {
    /// They stood in a group that is damaged or gone from the disk.
    Damaged,
    /// They may have been given to a group that was being written when the machine stopped; its
    /// messages were not acknowledged and got other numbers.
    Unfinished,
}

/// The wall time of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// Which boot.
    pub boot: Id,
    /// Where the offset comes from.
    pub source: ClockSource,
    /// Added to a record's time it gives ns since 1970.
    pub offset_ns: i64,
}

/// Records that were committed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Number of its first record; the others follow without gaps.
    pub first: u64,
    /// Its boot.
    pub dated: Dated,
    /// Its records.
    pub block: Block<'a>,
}

/// Numbers that carry no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Why.
    pub why: LostWhy,
}

/// What stands in a page, in the order of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Records.
    Group(Group<'a>),
    /// None.
    Lost(Lost),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<'a> {
    /// Whether the request's cursor fits; if not, there are no parts.
    pub fit: Fit,
    /// Why there is not more.
    pub waiting: Waiting,
    /// Of the journal.
    pub journal: Id,
    /// As the request said.
    pub stream: u64,
    /// The page goes on behind this number.
    pub after: u64,
    /// Number of the oldest record that is kept; `newest + 1` when there is none.
    pub oldest: u64,
    /// Number of the newest record that is served.
    pub newest: u64,
    /// What is in it.
    pub parts: Vec<Part<'a>>,
}

impl Page<'_> {
    /// The last number that the page speaks of; [`Page::after`] when it is empty.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.parts.last().map_or(self.after, |part| {
            let (first, count) = part.numbers();
            first.saturating_add(count).saturating_sub(1)
        })
    }
}

impl Part<'_> {
    /// First number and count.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        match self {
            Part::Group(group) => (group.first, u64::from(group.block.count)),
            Part::Lost(lost) => (lost.first, lost.count),
        }
    }
}

/// A page that is being made.
#[derive(Debug, Clone)]
pub struct PageWriter {
    head: Page<'static>,
    boots: Vec<Dated>,
    parts: Vec<u8>,
    last: u64,
}

impl PageWriter {
    /// An empty page; the parts of `head` are not looked at.
    #[must_use]
    pub fn new(head: Page<'static>) -> PageWriter {
        PageWriter {
            last: head.after,
            head,
            boots: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The last number that the page speaks of so far.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a block of so many compressed bytes may be added to a page of about `target` bytes.
    /// An empty page has room for each.
    #[must_use]
    pub fn has_room(&self, compressed: usize, target: usize) -> bool {
        let size = self.parts.len() + self.boots.len() * 32 + compressed + 64;
        self.is_empty() || (size <= target.min(LARGEST_PAGE) && self.boots.len() < MOST_BOOTS)
    }

    /// Adds records. Numbers must go up.
    pub fn group(&mut self, group: &Group) {
        let place = self.boots.iter().position(|boot| *boot == group.dated);
        let place = place.unwrap_or_else(|| {
            self.boots.push(group.dated);
            self.boots.len() - 1
        });
        let out = &mut self.parts;
        out.push(GROUP);
        put_unsigned(out, group.first);
        put_unsigned(out, u64::from(group.block.count));
        put_unsigned(out, u64::try_from(place).unwrap_or(u64::MAX));
        put_unsigned(out, group.block.base_ns);
        put_unsigned(out, u64::from(group.block.raw_length));
        put_bytes(out, group.block.compressed);
        self.last = group.first + u64::from(group.block.count) - 1;
    }

    /// Adds numbers without records. Numbers must go up.
    pub fn lost(&mut self, lost: &Lost) {
        self.parts.push(match lost.why {
            LostWhy::Damaged => 2,
            LostWhy::Unfinished => 3,
        });
        put_unsigned(&mut self.parts, lost.first);
        put_unsigned(&mut self.parts, lost.count);
        self.last = lost.first.saturating_add(lost.count).saturating_sub(1);
    }

    /// The page as it travels.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let head = &self.head;
        let mut out = Vec::with_capacity(128 + self.boots.len() * 32 + self.parts.len());
        out.extend_from_slice(MAGIC);
        out.push(PAGE_VERSION);
        out.push(match head.fit {
            Fit::Fits => 0,
            Fit::OtherJournal => 1,
            Fit::Ahead => 2,
            Fit::OtherRecord => 3,
        });
        out.push(match head.waiting {
            Waiting::No => 0,
            Waiting::Clock => 1,
        });
        out.extend_from_slice(&head.journal.0);
        out.extend_from_slice(&head.stream.to_le_bytes());
        put_unsigned(&mut out, head.after);
        put_unsigned(&mut out, head.oldest);
        put_unsigned(&mut out, head.newest);
        put_unsigned(
            &mut out,
            u64::try_from(self.boots.len()).unwrap_or(u64::MAX),
        );
        for boot in &self.boots {
            out.extend_from_slice(&boot.boot.0);
            out.push(boot.source.code());
            put_signed(&mut out, boot.offset_ns);
        }
        out.extend_from_slice(&self.parts);
        out
    }
}

impl<'a> Page<'a> {
    /// Reads a page.
    ///
    /// # Errors
    /// When it is none, of another version, larger than one may be, or contradicts itself. The
    /// blocks are checked when they are read.
    pub fn decode(bytes: &'a [u8]) -> Result<Page<'a>, Malformed> {
        if bytes.len() > LARGEST_PAGE {
            return Err(Malformed("larger than a page may be"));
        }
        let mut rest = Taken(bytes);
        if rest.array()? != *MAGIC {
            return Err(Malformed("it is no page"));
        }
        if rest.byte()? != PAGE_VERSION {
            return Err(Malformed("a page of another version: update the collector"));
        }
        let fit = match rest.byte()? {
            0 => Fit::Fits,
            1 => Fit::OtherJournal,
            2 => Fit::Ahead,
            3 => Fit::OtherRecord,
            _ => return Err(Malformed("unknown fit")),
        };
        let waiting = match rest.byte()? {
            0 => Waiting::No,
            1 => Waiting::Clock,
            _ => return Err(Malformed("unknown reason to wait")),
        };
        let mut page = Page {
            fit,
            waiting,
            journal: Id(rest.array()?),
            stream: rest.fixed()?,
            after: rest.unsigned()?,
            oldest: rest.unsigned()?,
            newest: rest.unsigned()?,
            parts: Vec::new(),
        };
        let count = rest.at_most(MOST_BOOTS, "too many boots")?;
        let mut boots = Vec::with_capacity(count);
        for _ in 0..count {
            boots.push(Dated {
                boot: Id(rest.array()?),
                source: ClockSource::from_code(rest.byte()?)?,
                offset_ns: rest.signed()?,
            });
        }
        let mut last = page.after;
        while !rest.is_empty() {
            if page.parts.len() >= MOST_PARTS {
                return Err(Malformed("too many parts"));
            }
            let part = part(&mut rest, &boots)?;
            let (first, count) = part.numbers();
            let end = first.checked_add(count);
            if first <= last || count == 0 {
                return Err(Malformed("numbers do not go up"));
            }
            last = end.ok_or(Malformed("numbers do not go up"))? - 1;
            page.parts.push(part);
        }
        Ok(page)
    }
}

fn part<'a>(rest: &mut Taken<'a>, boots: &[Dated]) -> Result<Part<'a>, Malformed> {
    let kind = rest.byte()?;
    let first = rest.unsigned()?;
    let count = rest.unsigned()?;
    let why = match kind {
        GROUP => None,
        2 => Some(LostWhy::Damaged),
        3 => Some(LostWhy::Unfinished),
        _ => return Err(Malformed("unknown part")),
    };
    if let Some(why) = why {
        return Ok(Part::Lost(Lost { first, count, why }));
    }
    let count = u32::try_from(count).ok();
    let count = count.filter(|count| *count <= BlockWriter::MOST);
    let place = rest.at_most(MOST_BOOTS, "no such boot")?;
    let dated = boots.get(place).copied().ok_or(Malformed("no such boot"))?;
    let base_ns = rest.unsigned()?;
    let raw_length = rest.at_most(BlockWriter::LARGEST, "a block is too large")?;
    let length = rest.at_most(BlockWriter::LARGEST_COMPRESSED, "a block is too large")?;
    Ok(Part::Group(Group {
        first,
        dated,
        block: Block {
            count: count.ok_or(Malformed("a group has too many records"))?,
            base_ns,
            raw_length: u32::try_from(raw_length).unwrap_or(u32::MAX),
            compressed: rest.bytes(length)?,
        },
    }))
}
