//! A commit group: messages that are written and acknowledged together, with what must be
//! remembered beside them; and its form on disk.
//!
//! Body of a group's frame: boot id (16), session, settled, heard, base time, bytes before
//! compression, one packet id (2) per record, and the compressed block. Body of a clock's frame:
//! boot id (16), source, offset (signed). Body of lost numbers: count and why.

use site::record::wire::{Taken, put_signed, put_unsigned};
use site::record::{
    Block, BlockWriter, ClockSource, Dated, Id, LostWhy, Malformed, Record, checksum,
};

/// Messages that are collected for one commit.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The boot to which the times belong.
    pub boot: Id,
    /// Number of the broker's session: packet ids of an earlier one say nothing.
    pub session: u64,
    /// All records up to this number are known to be acknowledged: the broker cannot send them again.
    pub settled: u64,
    /// The latest time known when the group was closed, ns since boot: what comes later arrived
    /// later.
    pub heard_ns: u64,
    /// The records.
    block: BlockWriter,
    /// The packet id under which each came; 0 for none.
    ids: Vec<u16>,
}

impl Group {
    /// An empty group of a boot and a session of the broker.
    #[must_use]
    pub fn new(boot: Id, session: u64) -> Group {
        Group {
            boot,
            session,
            ..Group::default()
        }
    }

    /// Adds a message with its packet id; false when there is no room. An empty group has room for
    /// every message.
    #[must_use]
    pub fn push(&mut self, record: &Record, packet: u16) -> bool {
        let taken = self.block.push(record);
        if taken {
            self.ids.push(packet);
            self.heard_ns = self.heard_ns.max(record.time_ns);
        }
        taken
    }

    /// How many messages are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.block.count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Takes the messages out; what is remembered beside them stays.
    pub fn clear(&mut self) {
        self.block.clear();
        self.ids.clear();
    }

    /// The body of its frame.
    pub(super) fn encode(&self, compressed: &mut Vec<u8>) -> Vec<u8> {
        let block = self.block.compress(compressed);
        let mut out = Vec::with_capacity(64 + 2 * self.ids.len() + block.compressed.len());
        out.extend_from_slice(&self.boot.0);
        put_unsigned(&mut out, self.session);
        put_unsigned(&mut out, self.settled);
        put_unsigned(&mut out, self.heard_ns);
        put_unsigned(&mut out, block.base_ns);
        put_unsigned(&mut out, u64::from(block.raw_length));
        for id in &self.ids {
            out.extend_from_slice(&id.to_le_bytes());
        }
        out.extend_from_slice(block.compressed);
        out
    }
}

/// A group as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadGroup<'a> {
    pub(super) boot: Id,
    pub(super) session: u64,
    pub(super) settled: u64,
    pub(super) heard_ns: u64,
    pub(super) block: Block<'a>,
    ids: &'a [u8],
}

impl<'a> ReadGroup<'a> {
    pub(super) fn decode(count: u32, body: &'a [u8]) -> Result<ReadGroup<'a>, Malformed> {
        let mut rest = Taken(body);
        let boot = Id(rest.array()?);
        let session = rest.unsigned()?;
        let settled = rest.unsigned()?;
        let heard_ns = rest.unsigned()?;
        let base_ns = rest.unsigned()?;
        let raw_length = u32::try_from(rest.unsigned()?);
        let ids = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        Ok(ReadGroup {
            boot,
            session,
            settled,
            heard_ns,
            ids: rest.bytes(ids)?,
            block: Block {
                count,
                base_ns,
                raw_length: raw_length.map_err(|_| Malformed("a block is too large"))?,
                compressed: rest.0,
            },
        })
    }

    /// The packet id of each record.
    pub(super) fn ids(&self) -> impl Iterator<Item = u16> + 'a {
        self.ids
            .as_chunks()
            .0
            .iter()
            .copied()
            .map(u16::from_le_bytes)
    }
}

/// Topic and payload as one number.
#[must_use]
pub fn content(record: &Record) -> u64 {
    let mut all = Vec::with_capacity(record.topic.len() + record.payload.len() + 5);
    all.extend_from_slice(record.topic.as_bytes());
    all.push(0);
    all.extend_from_slice(&record.cut_from.unwrap_or(0).to_le_bytes());
    all.extend_from_slice(record.payload);
    checksum(&all)
}

pub(super) fn encode_clock(dated: &Dated) -> Vec<u8> {
    let mut out = dated.boot.0.to_vec();
    out.push(dated.source.code());
    put_signed(&mut out, dated.offset_ns);
    out
}

pub(super) fn decode_clock(body: &[u8]) -> Result<Dated, Malformed> {
    let mut rest = Taken(body);
    Ok(Dated {
        boot: Id(rest.array()?),
        source: ClockSource::from_code(rest.byte()?)?,
        offset_ns: rest.signed()?,
    })
}

pub(super) fn encode_lost(count: u64, why: LostWhy) -> Vec<u8> {
    let mut out = Vec::new();
    put_unsigned(&mut out, count);
    out.push(u8::from(why == LostWhy::Unfinished));
    out
}

pub(super) fn decode_lost(body: &[u8]) -> Result<(u64, LostWhy), Malformed> {
    let mut rest = Taken(body);
    let count = rest.unsigned()?;
    let why = match rest.byte()? {
        0 => LostWhy::Damaged,
        _ => LostWhy::Unfinished,
    };
    Ok((count, why))
}
