//! Messages that a source hands on together. What they are made of stays here until they are stored:
//! a message whose line the database refuses is written again, or set aside as it came.
//!
//! Those of a journal come in compressed blocks. A block is unpacked once, checked and translated;
//! what is kept of it is the compressed form, a quarter of it, from which it can be unpacked again.

use site::publication::Publication;
use site::record::{Block, Group, Malformed, Record, Records};

/// One message, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The whole topic.
    pub topic: &'a str,
    /// As it came.
    pub payload: &'a [u8],
    /// When it arrived, in ns since 1970.
    pub time_ns: i64,
    /// Bytes of topic and payload before the source cut them; none when all is here.
    pub cut_from: Option<u32>,
}

/// A message with memory of its own.
#[derive(Debug, Clone)]
pub struct Owned {
    publication: Publication,
    time_ns: i64,
}

impl Owned {
    /// A copy of a message.
    #[must_use]
    pub fn new(topic: &str, payload: &[u8], time_ns: i64) -> Owned {
        Owned {
            publication: Publication::new(topic, payload),
            time_ns,
        }
    }

    fn message(&self) -> Message<'_> {
        let (topic, payload) = self.publication.parts();
        Message {
            topic,
            payload,
            time_ns: self.time_ns,
            cut_from: None,
        }
    }
}

/// Messages in the order of arrival.
#[derive(Debug)]
pub enum Messages {
    /// Each for itself.
    Each(Vec<Owned>),
    /// A block of a journal.
    Packed(Packed),
}

impl Messages {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Messages::Each(messages) => messages.len(),
            Messages::Packed(packed) => packed.count.saturating_sub(packed.skipped),
        }
    }

    /// Shows each of them, in their order.
    pub fn each(&self, mut show: impl FnMut(Message<'_>)) {
        match self {
            Messages::Each(messages) => messages.iter().for_each(|owned| show(owned.message())),
            Messages::Packed(packed) => packed.each(show),
        }
    }

    /// Gives back the memory that is only needed while they are translated.
    pub fn pack(&mut self) {
        if let Messages::Packed(packed) = self {
            packed.raw = Vec::new();
        }
    }
}

/// A block whose records were all read once.
#[derive(Debug)]
pub struct Packed {
    compressed: Box<[u8]>,
    count: usize,
    /// So many at the beginning are known already.
    skipped: usize,
    raw_length: u32,
    base_ns: u64,
    offset_ns: i64,
    /// Unpacked; empty when it is not.
    raw: Vec<u8>,
}

impl Packed {
    /// Unpacks a group and reads all of it. The first `skipped` records are left out. Returns it with
    /// the digest of its last record.
    ///
    /// # Errors
    /// When anything in it makes no sense.
    pub fn check(group: &Group, skipped: u64) -> Result<(Packed, u64), Malformed> {
        let mut raw = Vec::new();
        let mut last = None;
        let mut count = 0;
        for record in group.block.records(&mut raw)? {
            let record = record?;
            arrived(&record, group.dated.offset_ns).ok_or(Malformed("a time that is none"))?;
            count += 1;
            last = Some(record);
        }
        let end = u64::from(group.block.count).saturating_sub(1);
        let number = group.first.saturating_add(end);
        let digest = last.map(|last| last.digest(number, &group.dated.boot));
        let digest = digest.ok_or(Malformed("a group ends too early"))?;
        let packed = Packed {
            // A copy of its own: the original shares a read buffer that would stay alive.
            compressed: group.block.compressed.into(),
            count,
            skipped: usize::try_from(skipped).unwrap_or(usize::MAX),
            raw_length: group.block.raw_length,
            base_ns: group.block.base_ns,
            offset_ns: group.dated.offset_ns,
            raw,
        };
        Ok((packed, digest))
    }

    /// Bytes of it while it is unpacked.
    #[must_use]
    pub fn raw_size(&self) -> usize {
        self.raw.len()
    }

    fn each(&self, show: impl FnMut(Message<'_>)) {
        let block = Block {
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
            base_ns: self.base_ns,
            raw_length: self.raw_length,
            compressed: &self.compressed,
        };
        if self.raw.is_empty() {
            // It was unpacked before, so that it can be again.
            if let Ok(records) = block.records(&mut Vec::new()) {
                self.show(records, show);
            }
        } else {
            self.show(block.unpacked(&self.raw), show);
        }
    }

    fn show(&self, records: Records, mut show: impl FnMut(Message<'_>)) {
        for record in records.skip(self.skipped).flatten() {
            show(Message {
                topic: record.topic,
                payload: record.payload,
                time_ns: arrived(&record, self.offset_ns).unwrap_or_default(),
                cut_from: record.cut_from,
            });
        }
    }
}

/// Wall time of a record; none when it is no time.
fn arrived(record: &Record, offset_ns: i64) -> Option<i64> {
    let time = i64::try_from(record.time_ns).ok()?;
    time.checked_add(offset_ns).filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use site::record::{BlockWriter, ClockSource, Dated, Id};

    use super::*;

    /// What of records with these times is shown, with the first ones skipped.
    #[track_caller]
    fn check(times: &[u64], offset_ns: i64, skipped: u64, expected: Option<&[i64]>) {
        let mut block = BlockWriter::default();
        for time in times {
            assert!(block.push(&Record::new(*time, 0, "a/b", &time.to_le_bytes())));
        }
        let mut compressed = Vec::new();
        let group = Group {
            first: 5,
            dated: Dated {
                boot: Id([7; 16]),
                source: ClockSource::Synchronised,
                offset_ns,
            },
            block: block.compress(&mut compressed),
        };
        let Ok((packed, digest)) = Packed::check(&group, skipped) else {
            return assert_eq!(expected, None);
        };
        let last = times.last().unwrap();
        let record = Record::new(*last, 0, "a/b", &last.to_le_bytes())
            .digest(4 + u64::try_from(times.len()).unwrap(), &group.dated.boot);
        assert_eq!(digest, record);
        let mut messages = Messages::Packed(packed);
        for _ in 0..2 {
            let mut shown = Vec::new();
            messages.each(|message| {
                assert_eq!(message.topic, "a/b");
                let time = i64::from_le_bytes(message.payload.try_into().unwrap());
                assert_eq!(message.time_ns, time + offset_ns);
                shown.push(message.time_ns);
            });
            assert_eq!(messages.count(), shown.len());
            assert_eq!(Some(shown.as_slice()), expected);
            // The same again when it has to be unpacked again.
            messages.pack();
        }
    }

    #[test]
    fn a_block_is_shown_the_same_each_time() {
        check(&[1, 5, 3], 100, 0, Some(&[101, 105, 103]));
        check(&[1, 5, 3], 100, 2, Some(&[103]));
    }

    #[test]
    fn a_time_that_is_none_spoils_the_block() {
        check(&[200, 5], -100, 0, None);
        check(&[u64::MAX], 0, 0, None);
    }
}
