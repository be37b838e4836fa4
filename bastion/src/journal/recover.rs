//! Opening what is there: finds the end, cuts a torn tail, and learns what was going on.
//! Damage is passed over and counted; it never keeps the daemon from starting.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use site::record::{Id, LostWhy};

use super::frame::{HEADER, Kind, LARGEST_BODY, Scanner, Step};
use super::group::{ReadGroup, content, decode_clock, decode_lost};
use super::index::{Segment, State};
use super::resent::{self, key};
use super::segment::{Head, first};

/// Records whose packet ids are looked at again.
const MOST_RESENT: u64 = resent::MOST as u64;
/// Numbers that one group can have.
const ONE_GROUP: u64 = 4096;

/// What was found, beside the index.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where the newest segment ends, and whether there is nothing but zeros behind.
    pub(super) end: Option<(PathBuf, u64, bool)>,
    /// Numbers that must not be given again.
    pub(super) lost: Option<(u64, u64, LostWhy)>,
    pub(super) session: u64,
    pub(super) settled: u64,
    /// The boot that wrote last, and the latest time that it knew.
    pub(super) heard: Option<(Id, u64)>,
    /// Records that the broker may send again, in the order of arrival: see [`key`].
    pub(super) resent: Vec<u64>,
    /// Places where something was damaged.
    pub(super) damaged: u64,
}

/// Names and first numbers of all segments, the oldest first.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(first) = first(&path) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The head of a segment, if it is undamaged.
pub(super) fn head(path: &Path) -> Option<Head> {
    let file = File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    match Scanner::new(0).next(&file, 0, end).ok()?? {
        Step::Frame(0, header, body) if header.kind == Kind::Head => Head::decode(body).ok(),
        _ => None,
    }
}

/// The salt of whatever segment still tells it.
pub(super) fn salt(segments: &[(u64, PathBuf)]) -> Option<u64> {
    let mut newest_first = segments.iter().rev();
    newest_first.find_map(|(_, path)| head(path).map(|head| head.salt))
}

/// Fills the index from the files. Only the newest segments are read whole, and those before
/// them as far back as heads are damaged.
///
/// A damaged head costs nothing but this: the next one says the same and more.
pub(super) fn recover(segments: Vec<(u64, PathBuf)>, state: &mut State) -> Found {
    let mut found = Found::default();
    let mut begin = 0;
    for (place, (first, path)) in segments.iter().enumerate() {
        let length = fs::metadata(path).map_or(0, |about| about.len());
        let head = head(path).filter(|head| head.salt == state.salt);
        if let Some(head) = &head {
            begin = place;
            state.boots.clone_from(&head.boots);
        }
        state.segments.push_back(Segment {
            first: *first,
            length,
            path: path.clone(),
            begun_ns: head.map_or(0, |head| head.begun_ns),
        });
    }
    state.next = 1;
    let mut recent = Vec::new();
    // After a flood, what is not settled fills a segment, and may lie in three.
    for (first, path) in segments.iter().skip(begin.saturating_sub(2)) {
        state.next = state.next.max(*first);
        let mut walk = Walk::new(*first);
        let session = found.session;
        let walked = File::open(path).and_then(|file| walk.through(&file, state, &mut found));
        if found.session != session {
            recent.clear();
        }
        if walked.is_err() {
            found.damaged += 1;
        }
        found.end = Some((path.clone(), walk.end, walk.clean && walked.is_ok()));
        found.lost = None;
        state.next = state.next.max(walk.next);
        if walk.unsure > 0 {
            found.lost = Some((state.next, walk.unsure, LostWhy::Unfinished));
        }
        recent.push((path, walk.recent));
    }
    for (path, groups) in recent {
        if resent(path, &groups, &mut found).is_err() {
            found.damaged += 1;
        }
    }
    if let (Some((_, length, _)), Some(newest)) = (&found.end, state.segments.back_mut()) {
        newest.length = *length;
    }
    if let Some((from, count, _)) = found.lost {
        state.next = from.saturating_add(count);
    }
    found
}

/// A group whose messages the broker may send again.
struct Recent {
    at: u64,
    end: u64,
    count: u32,
}

struct Walk {
    next: u64,
    /// Behind the last good frame.
    end: u64,
    clean: bool,
    /// How many numbers may have been given behind `next`.
    unsure: u64,
    recent: VecDeque<Recent>,
    recent_records: u64,
}

impl Walk {
    fn new(first: u64) -> Walk {
        Walk {
            next: first,
            end: 0,
            clean: true,
            unsure: 0,
            recent: VecDeque::new(),
            recent_records: 0,
        }
    }

    fn through(&mut self, file: &File, state: &mut State, found: &mut Found) -> io::Result<()> {
        let end = file.metadata()?.len();
        let mut scanner = Scanner::new(0);
        loop {
            let step = scanner.next(file, state.salt, end)?;
            let Some(step) = step else { break };
            match step {
                Step::Frame(at, header, body) => {
                    let behind = at + HEADER as u64 + u64::from(header.length);
                    self.frame(at, &header, body, state, found);
                    self.end = behind;
                    self.clean = true;
                    self.unsure = 0;
                }
                Step::BadBody(header) => {
                    found.damaged += 1;
                    self.clean = false;
                    // Its numbers were given.
                    let after = header.end().max(self.next);
                    self.unsure = self.unsure.max(after - self.next);
                }
                Step::Damage => {
                    found.damaged += 1;
                    self.clean = false;
                }
                Step::Tail { clean: true, .. } => {}
                Step::Tail { from, clean: false } => {
                    found.damaged += 1;
                    self.clean = false;
                    // A frame takes more bytes than its header.
                    let frames = (end - from) / HEADER as u64 + 1;
                    self.unsure = self.unsure.max(frames.saturating_mul(ONE_GROUP));
                }
            }
        }
        Ok(())
    }

    fn frame(
        &mut self,
        at: u64,
        header: &super::frame::Header,
        body: &[u8],
        state: &mut State,
        found: &mut Found,
    ) {
        match header.kind {
            Kind::Head => {
                // Anywhere else it is a message that looks like one: its checksum holds no secret.
                if at == 0
                    && let Ok(head) = Head::decode(body)
                    && head.salt == state.salt
                    && head.boots.len() >= state.boots.len()
                {
                    state.boots = head.boots;
                }
            }
            Kind::Clock => {
                if let Ok(dated) = decode_clock(body) {
                    let next = state.next;
                    state.next = self.next;
                    state.date(dated);
                    state.next = next;
                }
            }
            Kind::Lost => {
                if let Ok((count, _)) = decode_lost(body) {
                    self.next = self.next.max(header.first.saturating_add(count));
                }
            }
            Kind::Group => {
                // A frame that counts from before was replaced by one that stands behind it.
                if header.first < self.next {
                    return;
                }
                self.next = header.end();
                let Ok(group) = ReadGroup::decode(header.count, body) else {
                    return;
                };
                state.heard(group.boot, header.first, group.heard_ns);
                found.heard = Some((group.boot, group.heard_ns));
                if group.session != found.session {
                    self.recent.clear();
                    self.recent_records = 0;
                }
                found.session = group.session;
                found.settled = group.settled;
                self.recent.push_back(Recent {
                    at,
                    end: header.end(),
                    count: header.count,
                });
                self.recent_records += u64::from(header.count);
                while let Some(oldest) = self.recent.front()
                    && (oldest.end <= found.settled + 1 || self.recent_records > MOST_RESENT)
                {
                    self.recent_records -= u64::from(oldest.count);
                    self.recent.pop_front();
                }
            }
        }
    }
}

/// Packet ids and contents of what was not settled in these groups of a segment.
fn resent(path: &Path, groups: &VecDeque<Recent>, found: &mut Found) -> io::Result<()> {
    let file = File::open(path)?;
    let (mut body, mut raw) = (Vec::new(), Vec::new());
    for recent in groups {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, recent.at)?;
        let length = header
            .get(20..24)
            .and_then(|bytes| bytes.first_chunk().copied());
        let length = usize::try_from(u32::from_le_bytes(length.unwrap_or([0; 4])));
        body.resize(length.unwrap_or(0).min(LARGEST_BODY), 0);
        file.read_exact_at(&mut body, recent.at + HEADER as u64)?;
        let Ok(group) = ReadGroup::decode(recent.count, &body) else {
            continue;
        };
        let Ok(records) = group.block.records(&mut raw) else {
            continue;
        };
        let first = recent.end - u64::from(recent.count);
        for ((id, record), number) in group.ids().zip(records).zip(first..) {
            if let Ok(record) = record
                && id != 0
                && number > found.settled
            {
                found.resent.push(key(id, content(&record)));
            }
        }
    }
    Ok(())
}
