//! What the writer and its readers both know: segments, numbers, and the wall time of each boot.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use site::record::{Dated, Id, Waiting};

use super::segment::Boot;

/// One segment file.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Number of its first record.
    pub(super) first: u64,
    /// Committed bytes.
    pub(super) length: u64,
    pub(super) path: PathBuf,
    /// Wall time when it was begun; 0 when that is not known.
    pub(super) begun_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) journal: Id,
    pub(super) salt: u64,
    /// The oldest first; the last one is written.
    pub(super) segments: VecDeque<Segment>,
    /// The number that the next record gets.
    pub(super) next: u64,
    /// In the order of their first records.
    pub(super) boots: Vec<Boot>,
    /// How far each reader has come.
    pub(super) readers: BTreeMap<String, ReaderState>,
    pub(super) trimmed: u64,
}

/// What is remembered of a reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReaderState {
    /// All up to this number is stored there.
    pub taken: u64,
    /// Records that were trimmed before it took them.
    pub missed: u64,
}

/// Shared by the writer and its readers.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<State>);

/// Numbers of a journal at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which journal.
    pub journal: Id,
    /// Number of the oldest record that is kept.
    pub oldest: u64,
    /// Number of the newest record that is committed; `oldest - 1` when there is none.
    pub newest: u64,
    /// Number of the newest record that is served.
    pub served: u64,
    /// Why the two differ.
    pub waiting: Waiting,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Records trimmed since the daemon started.
    pub trimmed: u64,
}

impl Index {
    /// Nothing panics while it holds the lock, so a poisoned one holds good data.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn oldest(&self) -> u64 {
        self.segments
            .front()
            .map_or(self.next, |segment| segment.first)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    pub(super) fn extent(&self) -> Extent {
        let (oldest, newest) = (self.oldest(), self.next.saturating_sub(1));
        // Boots whose records are all trimmed hold nothing up.
        let ends = self.boots.iter().skip(1).map(|boot| boot.first);
        let undated = self
            .boots
            .iter()
            .zip(ends.chain([self.next]))
            .find(|(boot, end)| boot.dated.is_none() && *end > oldest && *end > boot.first);
        let served = undated.map_or(newest, |(boot, _)| boot.first.max(oldest).saturating_sub(1));
        Extent {
            journal: self.journal,
            oldest,
            newest,
            served,
            waiting: match undated {
                Some(_) => Waiting::Clock,
                None => Waiting::No,
            },
            bytes: self.bytes(),
            trimmed: self.trimmed,
        }
    }

    pub(super) fn dated(&self, boot: Id) -> Option<Dated> {
        self.boots
            .iter()
            .rev()
            .find(|known| known.id == boot)?
            .dated
    }

    /// A boot of which something was heard at this time.
    pub(super) fn heard(&mut self, boot: Id, first: u64, heard_ns: u64) {
        match self.boots.iter_mut().rev().find(|known| known.id == boot) {
            Some(known) => known.last_ns = known.last_ns.max(heard_ns),
            None => self.boots.push(Boot {
                id: boot,
                first,
                last_ns: heard_ns,
                dated: None,
            }),
        }
    }

    /// Fixes the wall time of a boot, unless it is fixed already.
    pub(super) fn date(&mut self, dated: Dated) {
        let next = self.next;
        self.heard(dated.boot, next, 0);
        if let Some(boot) = self
            .boots
            .iter_mut()
            .rev()
            .find(|boot| boot.id == dated.boot)
        {
            boot.dated.get_or_insert(dated);
        }
    }

    /// A reader cannot have taken what was never there: that would only spoil the numbers.
    pub(super) fn taken(&mut self, reader: &str, taken: u64) {
        let newest = self.next.saturating_sub(1);
        let known = self.readers.entry(reader.to_owned()).or_default();
        known.taken = taken.min(newest);
    }

    /// Forgets boots whose records are all gone.
    pub(super) fn forget_boots(&mut self) {
        let oldest = self.oldest();
        let ends: Vec<u64> = self.boots.iter().skip(1).map(|boot| boot.first).collect();
        let gone = ends.iter().take_while(|end| **end <= oldest).count();
        self.boots.drain(..gone);
    }

    /// The segment in which a number lies, and the first number of the one behind it.
    pub(super) fn segment_of(&self, number: u64) -> Option<(Segment, Option<u64>)> {
        let behind = self
            .segments
            .partition_point(|segment| segment.first <= number);
        let place = behind.checked_sub(1)?;
        let next = self.segments.get(behind).map(|segment| segment.first);
        Some((self.segments.get(place)?.clone(), next))
    }
}
