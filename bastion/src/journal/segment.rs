//! Segment files: their names, what stands at their head, and writing to the newest one.
//!
//! Room is made ahead in zeros, so that a commit rewrites a block or two and no metadata. Under load,
//! when groups are large, they make their own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use site::record::wire::{Taken, put_signed, put_unsigned};
use site::record::{ClockSource, Dated, Id, Malformed};

use super::frame::{self, Kind};

const ENDING: &str = ".segment";
/// Bytes of room made at once.
const ROOM: u64 = 64 * 1024;
/// A frame of so many bytes makes its own room: zeros ahead of it would only be written twice.
const LARGE: u64 = ROOM / 4;
/// Boots that a head can name.
pub(super) const MOST_BOOTS: usize = 2000;

pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{ENDING}"))
}

/// The first number of a segment, from its name.
pub(super) fn first(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// A boot of the machine, as far as the journal knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: Id,
    /// Number of its first record.
    pub(super) first: u64,
    /// The latest time that is known of it, ns since it began.
    pub(super) last_ns: u64,
    /// Its wall time, once that is fixed.
    pub(super) dated: Option<Dated>,
}

/// What stands at the head of a segment: all that is needed when the ones before it are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) salt: u64,
    /// Wall time when the segment was begun, ns since 1970; 0 when it was not known.
    pub(super) begun_ns: u64,
    /// All boots that have records.
    pub(super) boots: Vec<Boot>,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.boots.len() * 48);
        out.extend_from_slice(&self.salt.to_le_bytes());
        put_unsigned(&mut out, self.begun_ns);
        // The newest ones, should there ever be more.
        let skipped = self.boots.len().saturating_sub(MOST_BOOTS);
        for boot in self.boots.iter().skip(skipped) {
            out.extend_from_slice(&boot.id.0);
            put_unsigned(&mut out, boot.first);
            put_unsigned(&mut out, boot.last_ns);
            match boot.dated {
                None => out.push(u8::MAX),
                Some(dated) => {
                    out.push(dated.source.code());
                    put_signed(&mut out, dated.offset_ns);
                }
            }
        }
        out
    }

    pub(super) fn decode(body: &[u8]) -> Result<Head, Malformed> {
        let mut rest = Taken(body);
        let mut head = Head {
            salt: u64::from_le_bytes(rest.array()?),
            begun_ns: rest.unsigned()?,
            boots: Vec::new(),
        };
        while !rest.is_empty() {
            let id = Id(rest.array()?);
            let (first, last_ns) = (rest.unsigned()?, rest.unsigned()?);
            let [code] = rest.array()?;
            let dated = match code {
                u8::MAX => None,
                code => Some(Dated {
                    boot: id,
                    source: ClockSource::from_code(code)?,
                    offset_ns: rest.signed()?,
                }),
            };
            head.boots.push(Boot {
                id,
                first,
                last_ns,
                dated,
            });
        }
        Ok(head)
    }
}

/// The salt at the beginning of a head.
pub(super) fn salt_of(body: &[u8]) -> Option<u64> {
    body.first_chunk().copied().map(u64::from_le_bytes)
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    file: File,
    /// Bytes that are committed.
    pub(super) length: u64,
    /// Bytes of the file.
    room: u64,
}

impl Active {
    /// Begins a segment. A file of that name is one in which nothing was ever committed.
    pub(super) fn create(folder: &Path, first: u64, head: &Head) -> io::Result<Active> {
        let path = path(folder, first);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut active = Active {
            file,
            length: 0,
            room: 0,
        };
        let frame = frame::encode(Kind::Head, first, 0, &head.encode(), head.salt);
        let written = active.append(&frame);
        // The name must be on disk before anything in it counts.
        let named = written.and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = named {
            // A file without a head would only be in the way.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        Ok(active)
    }

    /// Goes on in a segment behind its last good frame. What stands behind it is cut.
    pub(super) fn reopen(path: &Path, length: u64, clean: bool) -> io::Result<Active> {
        let file = File::options().read(true).write(true).open(path)?;
        if !clean {
            file.set_len(length)?;
            file.sync_all()?;
        }
        let room = file.metadata()?.len();
        Ok(Active { file, length, room })
    }

    /// Writes a frame; it is on disk when this returns. After an error nothing counts as written.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.length + frame.len() as u64;
        if end > self.room && frame.len() as u64 >= LARGE {
            return self.extend(frame, end);
        }
        if end > self.room {
            let room = end.div_ceil(ROOM) * ROOM;
            if let Err(error) = self.grow(room) {
                // What could be written of the zeros is room all the same.
                self.room = self.file.metadata()?.len();
                return Err(error);
            }
        }
        self.file.write_all_at(frame, self.length)?;
        self.file.sync_data()?;
        self.length = end;
        Ok(())
    }

    /// Writes a frame that reaches beyond the end of the file.
    fn extend(&mut self, frame: &[u8], end: u64) -> io::Result<()> {
        let written = self.file.write_all_at(frame, self.length);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // A part of it may be there, and must not look like a frame that was damaged. Cutting
            // works on a full disk.
            self.file.set_len(self.length)?;
            self.room = self.length;
            return Err(error);
        }
        self.room = end;
        self.length = end;
        Ok(())
    }

    fn grow(&mut self, room: u64) -> io::Result<()> {
        let zeros = [0; 4096];
        while self.room < room {
            let size = usize::try_from(room - self.room).unwrap_or(zeros.len());
            let part = zeros.get(..size).unwrap_or(&zeros);
            self.file.write_all_at(part, self.room)?;
            self.room += part.len() as u64;
        }
        self.file.sync_all()
    }

    /// Gives back the room that was made ahead: nothing more will be written here.
    pub(super) fn close(self) {
        // If it fails, the zeros stay; they do no harm.
        drop(self.file.set_len(self.length));
    }
}
