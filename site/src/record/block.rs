//! Records one after the other, compressed: the unit in which they lie on disk and travel.
//!
//! Before compression a record is: difference of its time to the one before (signed), flags
//! (1: spread follows, 2: cut), then spread, uncut size, length and bytes of topic and of payload.

use super::wire::{Taken, put_bytes, put_signed, put_unsigned};
use super::{LARGEST_RECORD, Malformed, Record};

const SPREAD: u8 = 1;
const CUT: u8 = 2;

/// Records that are being collected.
#[derive(Debug, Clone, Default)]
pub struct BlockWriter {
    raw: Vec<u8>,
    count: u32,
    base_ns: u64,
    last_ns: u64,
}

/// Compressed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// How many.
    pub count: u32,
    /// The time from which the first one's difference counts, ns since boot.
    pub base_ns: u64,
    /// Bytes before compression.
    pub raw_length: u32,
    /// LZ4, one block without a frame.
    pub compressed: &'a [u8],
}

impl BlockWriter {
    /// Bytes before compression.
    pub const LARGEST: usize = 128 * 1024;
    /// Records.
    pub const MOST: u32 = 4096;
    /// What a record takes beside topic and payload, at most.
    const OVERHEAD: usize = 10 + 1 + 5 + 5 + 3 + 3;
    /// Compressed bytes: LZ4 may make a block longer by a 255th.
    pub const LARGEST_COMPRESSED: usize = Self::LARGEST + Self::LARGEST / 255 + 64;

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes before compression.
    #[must_use]
    pub fn raw_length(&self) -> usize {
        self.raw.len()
    }

    /// The latest time in it, ns since boot; 0 when there is nothing.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Adds a record, if there is room for it. An empty block has room for every record.
    #[must_use]
    pub fn push(&mut self, record: &Record) -> bool {
        let size = record.topic.len() + record.payload.len() + Self::OVERHEAD;
        if self.count >= Self::MOST || self.raw.len() + size > Self::LARGEST {
            return false;
        }
        if self.is_empty() {
            self.base_ns = record.time_ns;
            self.last_ns = record.time_ns;
        }
        let difference = i128::from(record.time_ns) - i128::from(self.last_ns);
        let Ok(difference) = i64::try_from(difference) else {
            // Three hundred years apart: begin another block.
            return false;
        };
        put_signed(&mut self.raw, difference);
        let spread = if record.spread_ms > 0 { SPREAD } else { 0 };
        let cut = if record.cut_from.is_some() { CUT } else { 0 };
        self.raw.push(spread | cut);
        if record.spread_ms > 0 {
            put_unsigned(&mut self.raw, u64::from(record.spread_ms));
        }
        if let Some(size) = record.cut_from {
            put_unsigned(&mut self.raw, u64::from(size));
        }
        put_bytes(&mut self.raw, record.topic.as_bytes());
        put_bytes(&mut self.raw, record.payload);
        self.last_ns = record.time_ns;
        self.count += 1;
        true
    }

    /// Compresses what is in it into `out`, which is cleared first.
    pub fn compress<'a>(&self, out: &'a mut Vec<u8>) -> Block<'a> {
        out.clear();
        out.resize(lz4_flex::block::get_maximum_output_size(self.raw.len()), 0);
        // The room is what the library asked for, so that this cannot fail.
        let length = lz4_flex::block::compress_into(&self.raw, out).unwrap_or(0);
        out.truncate(length);
        Block {
            count: self.count,
            base_ns: self.base_ns,
            raw_length: u32::try_from(self.raw.len()).unwrap_or(u32::MAX),
            compressed: out,
        }
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.count = 0;
        self.base_ns = 0;
        self.last_ns = 0;
    }
}

impl Block<'_> {
    /// Decompresses into `raw`, whose former content is gone, and reads from there.
    ///
    /// # Errors
    /// When the block is no block, or larger than one may be. Each record is checked as it is read.
    pub fn records<'r>(&self, raw: &'r mut Vec<u8>) -> Result<Records<'r>, Malformed> {
        let length = usize::try_from(self.raw_length).unwrap_or(usize::MAX);
        if length > BlockWriter::LARGEST || self.count > BlockWriter::MOST || self.count == 0 {
            return Err(Malformed("a block is larger than one may be"));
        }
        raw.clear();
        raw.resize(length, 0);
        let written = lz4_flex::block::decompress_into(self.compressed, raw);
        if !matches!(written, Ok(written) if written == length) {
            return Err(Malformed("a block does not decompress"));
        }
        Ok(self.unpacked(raw))
    }

    /// Reads again what [`Block::records`] decompressed.
    #[must_use]
    pub fn unpacked<'r>(&self, raw: &'r [u8]) -> Records<'r> {
        Records {
            rest: Taken(raw),
            left: self.count,
            time_ns: self.base_ns,
        }
    }
}

/// Reads records in their order. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Records<'r> {
    rest: Taken<'r>,
    left: u32,
    time_ns: u64,
}

impl<'r> Records<'r> {
    fn record(&mut self) -> Result<Record<'r>, Malformed> {
        let rest = &mut self.rest;
        let difference = rest.signed()?;
        let time = self.time_ns.checked_add_signed(difference);
        self.time_ns = time.ok_or(Malformed("a time lies before the boot"))?;
        let flags = rest.byte()?;
        if flags & !(SPREAD | CUT) != 0 {
            return Err(Malformed("unknown flags"));
        }
        let number = |rest: &mut Taken<'r>, flag: u8| match flags & flag {
            0 => Ok(None),
            _ => u32::try_from(rest.unsigned()?)
                .map(Some)
                .map_err(|_| Malformed("a number is too large")),
        };
        let spread_ms = number(rest, SPREAD)?.unwrap_or(0);
        let cut_from = number(rest, CUT)?;
        let length = rest.at_most(LARGEST_RECORD, "a topic is too long")?;
        let topic =
            str::from_utf8(rest.bytes(length)?).map_err(|_| Malformed("a topic is no text"))?;
        let room = LARGEST_RECORD.saturating_sub(length);
        let length = rest.at_most(room, "a payload is too long")?;
        let payload = rest.bytes(length)?;
        if self.left == 0 && !rest.is_empty() {
            return Err(Malformed("something stands behind the last record"));
        }
        Ok(Record {
            time_ns: self.time_ns,
            spread_ms,
            cut_from,
            topic,
            payload,
        })
    }
}

impl<'r> Iterator for Records<'r> {
    type Item = Result<Record<'r>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}
