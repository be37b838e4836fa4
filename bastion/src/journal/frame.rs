//! Frames: what stands one after the other in a segment file, and finding them again when some of
//! them are damaged.
//!
//! A frame is a header of 40 bytes and a body:
//!
//! | Bytes | What |
//! |---|---|
//! | 0–3 | `SBJ1` |
//! | 4 | kind: 1 head of a segment, 2 group of records, 3 clock, 4 numbers without records |
//! | 5–7 | 0 |
//! | 8–15 | first sequence number |
//! | 16–19 | how many records |
//! | 20–23 | bytes of the body |
//! | 24–31 | checksum of the body |
//! | 32–39 | checksum of bytes 0–31 |
//!
//! Numbers are little-endian, checksums XXH3 with the journal's salt as seed (0 in the header of a
//! head, which holds the salt). The salt is secret: a message that looks like a frame is none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use site::record::{BlockWriter, checksum_with_seed};

const MAGIC: &[u8; 4] = b"SBJ1";
pub(super) const HEADER: usize = 40;
/// Bytes: the largest block, the packet ids, and what stands before them.
pub(super) const LARGEST_BODY: usize = BlockWriter::LARGEST_COMPRESSED + 2 * 4096 + 256;
const WINDOW: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head,
    Group,
    Clock,
    Lost,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Head => 1,
            Kind::Group => 2,
            Kind::Clock => 3,
            Kind::Lost => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) length: u32,
    body: u64,
}

impl Header {
    /// The number behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// A whole frame.
pub(super) fn encode(kind: Kind, first: u64, count: u32, body: &[u8], salt: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[kind.code(), 0, 0, 0]);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum_with_seed(salt, body).to_le_bytes());
    let seed = if kind == Kind::Head { 0 } else { salt };
    out.extend_from_slice(&checksum_with_seed(seed, &out).to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

/// The header, if it is an undamaged one.
fn decode(bytes: &[u8; HEADER], salt: u64) -> Option<Header> {
    let kind = match bytes {
        [b'S', b'B', b'J', b'1', 1, 0, 0, 0, ..] => Kind::Head,
        [b'S', b'B', b'J', b'1', 2, 0, 0, 0, ..] => Kind::Group,
        [b'S', b'B', b'J', b'1', 3, 0, 0, 0, ..] => Kind::Clock,
        [b'S', b'B', b'J', b'1', 4, 0, 0, 0, ..] => Kind::Lost,
        _ => return None,
    };
    let seed = if kind == Kind::Head { 0 } else { salt };
    let checksum = checksum_with_seed(seed, bytes.get(..32)?);
    let header = Header {
        kind,
        first: u64::from_le_bytes(number(bytes, 8)),
        count: u32::from_le_bytes(number(bytes, 16)),
        length: u32::from_le_bytes(number(bytes, 20)),
        body: u64::from_le_bytes(number(bytes, 24)),
    };
    let sound = checksum == u64::from_le_bytes(number(bytes, 32))
        && usize::try_from(header.length).is_ok_and(|length| length <= LARGEST_BODY);
    sound.then_some(header)
}

/// What stands at some place of a file.
#[derive(Debug)]
pub(super) enum Step<'b> {
    /// A whole frame at this place.
    Frame(u64, Header, &'b [u8]),
    /// A frame whose body is damaged, or ends behind the file's end.
    BadBody(Header),
    /// No frame; the next one was found behind it.
    Damage,
    /// No frame follows. `clean` when there is nothing but zeros, which are room for more.
    Tail { from: u64, clean: bool },
}

/// Walks through a file from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Where the next step begins.
    pub(super) at: u64,
    body: Vec<u8>,
}

impl Scanner {
    pub(super) fn new(at: u64) -> Scanner {
        Scanner {
            at,
            body: Vec::new(),
        }
    }

    /// The next step in a file of `end` bytes; nothing at its end. After a tail there is nothing.
    ///
    /// A head is checked with the salt that is inside it, so any salt reads it.
    pub(super) fn next(
        &mut self,
        file: &File,
        salt: u64,
        end: u64,
    ) -> io::Result<Option<Step<'_>>> {
        let from = self.at;
        if from >= end {
            return Ok(None);
        }
        match header_at(file, from, salt, end)? {
            Some(header) => {
                let start = from + HEADER as u64;
                let stop = start + u64::from(header.length);
                if stop > end {
                    self.at = end;
                    return Ok(Some(Step::BadBody(header)));
                }
                self.at = stop;
                self.body
                    .resize(usize::try_from(header.length).unwrap_or(0), 0);
                file.read_exact_at(&mut self.body, start)?;
                let salt = match header.kind {
                    Kind::Head => super::segment::salt_of(&self.body).unwrap_or(salt),
                    _ => salt,
                };
                Ok(Some(
                    if checksum_with_seed(salt, &self.body) == header.body {
                        Step::Frame(from, header, &self.body)
                    } else {
                        Step::BadBody(header)
                    },
                ))
            }
            None => {
                let (found, clean) = search(file, from, salt, end)?;
                self.at = found.unwrap_or(end);
                Ok(Some(match found {
                    Some(_) => Step::Damage,
                    None => Step::Tail { from, clean },
                }))
            }
        }
    }
}

fn header_at(file: &File, at: u64, salt: u64, end: u64) -> io::Result<Option<Header>> {
    if end.saturating_sub(at) < HEADER as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, at)?;
    Ok(decode(&bytes, salt))
}

/// The next good header behind `from`, and whether all that was passed over is zero.
fn search(file: &File, from: u64, salt: u64, end: u64) -> io::Result<(Option<u64>, bool)> {
    let mut window = vec![0; WINDOW];
    let mut at = from;
    let mut clean = true;
    while at < end {
        let size = usize::try_from(end - at).unwrap_or(WINDOW).min(WINDOW);
        let window = window.get_mut(..size).unwrap_or_default();
        file.read_exact_at(window, at)?;
        for (place, start) in window.windows(MAGIC.len()).enumerate() {
            let place = at + place as u64;
            if start == MAGIC && place > from && header_at(file, place, salt, end)?.is_some() {
                return Ok((Some(place), false));
            }
        }
        clean &= window.iter().all(|byte| *byte == 0);
        if size < WINDOW {
            break;
        }
        // A magic may lie across the border.
        at += (size - (MAGIC.len() - 1)) as u64;
    }
    Ok((None, clean))
}
