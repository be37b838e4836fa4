//! A journaled message, and the forms in which it travels: blocks on disk and in pages, pages
//! from a bastion to a collector, requests the other way.
//!
//! Pure encoding and decoding. Whatever is decoded here may come from a taken bastion or a damaged
//! card: lengths are bounded before anything is allocated, and nonsense is an error, never a panic.
//! Files are left to the bastion's journal, and what a payload means to the collector.
//!
//! All whole numbers of varying size are LEB128, those with a sign in zigzag; fixed ones are
//! little-endian.

mod block;
mod page;
mod request;
pub mod wire;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use block::{Block, BlockWriter, Records};
pub use page::{
    Dated, Fit, Group, LARGEST_PAGE, Lost, LostWhy, PAGE_VERSION, Page, PageWriter, Part, Waiting,
};
pub use request::{MOST_PAGES, REQUEST_VERSION, Request};
pub use wire::Malformed;
use wire::put_unsigned;

/// Bytes of topic and payload together. The largest payload recorded, a whole `info`, has under
/// 4 KiB; of a larger message only the beginning is kept, and the record says so.
pub const LARGEST_RECORD: usize = 64 * 1024;

/// Bytes of a topic that are kept of a message that is too large.
const CUT_TOPIC: usize = 256;
/// Bytes of a payload that are kept of a message that is too large.
const CUT_PAYLOAD: usize = 1024;

/// Sixteen random bytes, shown as hex: of a journal, or of a boot of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id(pub [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Id, Malformed> {
        text.parse()
    }
}

impl std::str::FromStr for Id {
    type Err = Malformed;

    /// Hex digits; hyphens, as the kernel writes its boot id, are passed over.
    fn from_str(text: &str) -> Result<Id, Malformed> {
        let mut id = Id::default();
        let mut digits = text.trim().chars().filter(|letter| *letter != '-');
        for byte in &mut id.0 {
            for _ in 0..2 {
                let digit = digits.next().and_then(|letter| letter.to_digit(16));
                let digit = digit.and_then(|digit| u8::try_from(digit).ok());
                *byte = (*byte << 4) | digit.ok_or(Malformed("an id is 32 hex digits"))?;
            }
        }
        match digits.next() {
            None => Ok(id),
            Some(_) => Err(Malformed("an id is 32 hex digits")),
        }
    }
}

/// One message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Time of arrival in ns since the machine started, time in suspend included.
    pub time_ns: u64,
    /// The message arrived at most so many ms before or after `time_ns`. 0 when the arrival was
    /// seen; more when it waited in the broker and was dated by the ticks around it.
    pub spread_ms: u32,
    /// Bytes of topic and payload before they were cut; none when all is here.
    pub cut_from: Option<u32>,
    /// The whole topic.
    pub topic: &'a str,
    /// As it came.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record of a message. One that is larger than [`LARGEST_RECORD`] is cut.
    #[must_use]
    pub fn new(time_ns: u64, spread_ms: u32, topic: &'a str, payload: &'a [u8]) -> Record<'a> {
        let whole = Record {
            time_ns,
            spread_ms,
            cut_from: None,
            topic,
            payload,
        };
        let size = topic.len().saturating_add(payload.len());
        if size <= LARGEST_RECORD {
            return whole;
        }
        Record {
            cut_from: Some(u32::try_from(size).unwrap_or(u32::MAX)),
            topic: topic
                .get(..topic.floor_char_boundary(CUT_TOPIC))
                .unwrap_or(""),
            payload: payload.get(..CUT_PAYLOAD).unwrap_or(payload),
            ..whole
        }
    }

    /// A number that hardly any other record has: with it a cursor finds out that the journal is
    /// not the one that it was made from.
    #[must_use]
    pub fn digest(&self, sequence: u64, boot: &Id) -> u64 {
        let mut all = Vec::with_capacity(64 + self.topic.len() + self.payload.len());
        all.extend_from_slice(&sequence.to_le_bytes());
        all.extend_from_slice(&boot.0);
        all.extend_from_slice(&self.time_ns.to_le_bytes());
        put_unsigned(
            &mut all,
            u64::try_from(self.topic.len()).unwrap_or(u64::MAX),
        );
        all.extend_from_slice(self.topic.as_bytes());
        all.extend_from_slice(self.payload);
        checksum(&all)
    }
}

/// XXH3 of 64 bits: finds damage; it is no signature.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// [`checksum`] with a seed.
#[must_use]
pub fn checksum_with_seed(seed: u64, bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// How the wall time of a boot was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The machine's own clock, once its time service had set it.
    Synchronised,
    /// A reader's clock, since the machine's own was never set.
    Reader,
    /// The boot ended without either: it is taken to have ended when the next one began.
    Estimated,
}

impl ClockSource {
    /// As a byte.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ClockSource::Synchronised => 0,
            ClockSource::Reader => 1,
            ClockSource::Estimated => 2,
        }
    }

    /// From a byte.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_code(code: u8) -> Result<ClockSource, Malformed> {
        match code {
            0 => Ok(ClockSource::Synchronised),
            1 => Ok(ClockSource::Reader),
            2 => Ok(ClockSource::Estimated),
            _ => Err(Malformed("unknown clock source")),
        }
    }
}

/// Where a reader is in a journal: all up to this record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Of which journal.
    pub journal: Id,
    /// Number of the last record that is stored.
    pub sequence: u64,
    /// [`Record::digest`] of that record.
    pub digest: u64,
}

#[cfg(test)]
mod tests;
