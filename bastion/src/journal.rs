//! The journal: every message of a meter, on disk as it came, until somebody took it or it is too old.
//!
//! What it guarantees, in the order in which a reader asks for it. Each has a test of its name in
//! `journal/tests/guarantees.rs`.
//!
//! 1. **A message acknowledged to the broker is on disk.** [`Journal::append`] returns after the
//!    group is synced, and only then its messages are acknowledged. A power cut costs at most the
//!    group that was open and what the broker had not delivered.
//! 2. **A time of arrival is given once and never changes.** It is stored with the record. The
//!    messages of one burst share one time; two of one topic never do (`site::burst`).
//! 3. **A restart of the daemon moves no reading by more than a second.** What waits in the broker
//!    is dated by the ticks around it (`clock::ticks`); for the first of it the journal remembers the
//!    latest time that it knew ([`Recovered::heard`]).
//! 4. **Wall time is fixed once per boot.** Records carry the time since their boot; the offset to
//!    wall time is written once and never changed. Until then they are not served.
//! 5. **Sequence numbers are never reused, and each that is missing is accounted for.** A copied
//!    journal has an identity of its own.
//! 6. **A message that the broker sends again is one record.** Packet ids are stored with the group
//!    ([`Recovered::resent`]).
//! 7. **Retention is by size, age and free space.** Trimming removes whole segments and works on a
//!    full disk; what a reader had not taken is counted for it.
//! 8. **Damage never keeps the daemon from starting,** and costs no more than the frames it is in.
//!
//! On disk, in a folder of its own (mode 0700): `identity`, segments named after their first number,
//! `reserve` (room that is given up when the disk is full), `readers` and `lock`. A segment is a
//! sequence of frames: see `frame`, `segment` for its head, `group` for the rest. Sessions, clocks
//! and requests are left to the daemon.

mod frame;
mod group;
mod identity;
mod index;
mod reader;
mod recover;
mod resent;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod write;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use site::record::{ClockSource, Dated, Id, LostWhy};

pub use group::{Group, content};
pub use identity::{Origin, Place};
pub use index::{Extent, ReaderState};
pub use reader::{Reader, Served};
pub use resent::{Resent, key};

use frame::Kind;
use index::Index;
use segment::Active;

/// What may be kept, and where that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes after which a new segment is begun.
    pub segment_bytes: u64,
    /// Bytes of all segments together.
    pub keep_bytes: u64,
    /// How long records are kept.
    pub keep_for: Duration,
    /// Bytes of the file system that are left to others.
    pub keep_free: u64,
    /// Bytes set aside, for going on when the disk is full.
    pub reserve_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_bytes: 8 << 20,
            keep_bytes: 4 << 30,
            keep_for: Duration::from_secs(90 * 24 * 3600),
            keep_free: 512 << 20,
            reserve_bytes: 16 << 20,
        }
    }
}

/// Something could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct Failure {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Failure {
    /// Whether the disk is full: worth trying again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure {
        action,
        path,
        source,
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// What was going on when the journal was written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the journal is new, or a copy.
    pub origin: Origin,
    /// Number of the broker's session then.
    pub session: u64,
    /// Up to here the broker is known to have the acknowledgements.
    pub settled: u64,
    /// The latest time that was known in the boot that wrote last, ns since it began.
    pub heard: Option<(Id, u64)>,
    /// Messages that the broker may send again, in the order of arrival: [`key`] of packet id and
    /// [`content`].
    pub resent: Vec<u64>,
    /// Places at which something was damaged.
    pub damaged: u64,
}

/// Numbers of a group that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Of its first record.
    pub first: u64,
    /// Of its last record.
    pub last: u64,
}

/// The writing end. There is one per folder.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    settings: Settings,
    index: Arc<Index>,
    active: Option<Active>,
    /// Numbers that must be accounted for before the next group.
    lost: Option<(u64, u64, LostWhy)>,
    /// An identity that could not be written yet.
    unwritten: Option<identity::Identity>,
    compressed: Vec<u8>,
    /// Wall time, once it is known: for the heads of segments.
    now_ns: u64,
    _lock: File,
}

impl Journal {
    /// Opens the journal of a folder, or begins one. `place` is where the folder lies.
    ///
    /// # Errors
    /// When the folder cannot be made, read or locked; never because of what is in it.
    pub fn open(
        folder: &Path,
        settings: Settings,
        place: Place,
    ) -> Result<(Journal, Recovered), Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("making", folder))?;
        let lock = lock(&folder.join("lock"))?;
        let segments = recover::segments(folder).map_err(failed("listing", folder))?;
        let salt = recover::salt(&segments);
        let (mut identity, origin) = identity::read(folder, place, salt);
        // The segments are what the salt must fit.
        identity.salt = salt.unwrap_or(identity.salt);
        let index = Arc::new(Index::default());
        let mut state = index.state();
        state.journal = identity.journal;
        state.salt = identity.salt;
        let found = recover::recover(segments, &mut state);
        state.readers = retention::read_readers(folder);
        // What a reader took was there, even if its end of the journal is gone.
        let taken = state.readers.values().map(|reader| reader.taken).max();
        let mut lost = found.lost;
        if let Some(taken) = taken.filter(|taken| *taken >= state.next) {
            let from = lost.map_or(state.next, |(from, _, _)| from);
            lost = Some((from, taken - from + 1, LostWhy::Damaged));
            state.next = taken + 1;
        }
        drop(state);
        let mut journal = Journal {
            folder: folder.to_owned(),
            settings,
            index,
            active: None,
            lost,
            unwritten: (origin != Origin::Same).then_some(identity),
            compressed: Vec::new(),
            now_ns: 0,
            _lock: lock,
        };
        if let Some((path, length, clean)) = found.end {
            // When this fails the next group begins a segment.
            journal.active = Active::reopen(&path, length, clean).ok();
        }
        journal.trim(None);
        // On a full disk both are tried again with the first group.
        drop(journal.write_identity());
        drop(journal.account());
        let recovered = Recovered {
            origin,
            session: found.session,
            settled: found.settled,
            heard: found.heard,
            resent: found.resent,
            damaged: found.damaged,
        };
        Ok((journal, recovered))
    }

    /// Writes a group; it is on disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take it, even after making room. Nothing counts as written then, and
    /// the same group may be tried again.
    pub fn append(&mut self, group: &Group) -> Result<Committed, Failure> {
        self.write_identity()?;
        self.account()?;
        let first = self.index.state().next;
        let count = group.count();
        let mut compressed = std::mem::take(&mut self.compressed);
        let body = group.encode(&mut compressed);
        self.compressed = compressed;
        let last = first.saturating_add(u64::from(count)).saturating_sub(1);
        self.write(Kind::Group, first, count, &body, |state| {
            state.heard(group.boot, first, group.heard_ns);
            state.next = last + 1;
        })?;
        Ok(Committed { first, last })
    }

    /// Fixes the wall time of a boot: `offset_ns` and a record's time make ns since 1970. Done once
    /// per boot; later calls change nothing. Earlier boots that ended without it get an estimate.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn fix_clock(
        &mut self,
        boot: Id,
        offset_ns: i64,
        source: ClockSource,
    ) -> Result<(), Failure> {
        self.write_identity()?;
        self.account()?;
        let mut dates = Vec::new();
        {
            let mut state = self.index.state();
            let next = state.next;
            // It may have no record yet, and still ends the ones before.
            state.heard(boot, next, 0);
            let place = state.boots.iter().rposition(|known| known.id == boot);
            let upto = place.map_or(0, |place| place + 1);
            let mut began_ns = offset_ns;
            for known in state.boots.iter().take(upto).rev() {
                let dated = known.dated.unwrap_or_else(|| {
                    let own = known.id == boot;
                    let ended = i64::try_from(known.last_ns).unwrap_or(i64::MAX);
                    let dated = Dated {
                        boot: known.id,
                        source: if own { source } else { ClockSource::Estimated },
                        offset_ns: if own {
                            offset_ns
                        } else {
                            began_ns.saturating_sub(ended)
                        },
                    };
                    dates.push(dated);
                    dated
                });
                began_ns = dated.offset_ns;
            }
        }
        for dated in dates {
            let next = self.index.state().next;
            let body = group::encode_clock(&dated);
            self.write(Kind::Clock, next, 0, &body, |state| state.date(dated))?;
        }
        Ok(())
    }

    /// The wall time of a boot: what is added to its times.
    #[must_use]
    pub fn clock(&self, boot: Id) -> Option<Dated> {
        self.index.state().dated(boot)
    }

    /// Numbers and sizes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.index.state().extent()
    }

    /// A reading end.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.index))
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = open.map_err(failed("opening", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(failed("locking", path)(io::Error::other(
            "another daemon writes this journal",
        ))),
        Err(fs::TryLockError::Error(error)) => Err(failed("locking", path)(error)),
    }
}
