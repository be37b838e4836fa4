//! A request for pages, and at the same time what its reader has taken.
//!
//! A reader draws a random number, its stream, and asks for what lies behind its cursor; the
//! bastion answers with pages one after the other, at most so many as the request allows. Each page
//! taken is said by another request of the same stream whose cursor is that page's end, and so more
//! may follow. What gets lost is asked for again under a new stream. Asking twice does no harm.
//!
//! Layout: `SBR`, version, stream (8), number of pages, stored (8), flags (1: cursor, 2: clock), then
//! journal id (16), number (8) and digest (8) of the cursor, and the reader's clock in ns since 1970 (8).

use super::wire::Taken;
use super::{Cursor, Id, Malformed};

const MAGIC: &[u8; 3] = b"SBR";
/// The version that is written, and the only one that is read.
pub const REQUEST_VERSION: u8 = 1;
/// Pages of one reader that may be under way: what it does not take lies in the broker's memory.
pub const MOST_PAGES: u8 = 16;

/// What a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Drawn at random when the reader begins, or begins again.
    pub stream: u64,
    /// How many pages may be under way, 1 to [`MOST_PAGES`].
    pub pages: u8,
    /// All up to this number is stored where the reader keeps it, and may be trimmed without a loss.
    pub stored: u64,
    /// All up to here was taken; nothing to begin at the oldest.
    pub cursor: Option<Cursor>,
    /// The reader's clock, ns since 1970, for a bastion whose own is never set.
    pub clock_ns: Option<u64>,
}

impl Request {
    /// The request as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(MAGIC);
        out.push(REQUEST_VERSION);
        out.extend_from_slice(&self.stream.to_le_bytes());
        out.push(self.pages);
        out.extend_from_slice(&self.stored.to_le_bytes());
        out.push(u8::from(self.cursor.is_some()) | (u8::from(self.clock_ns.is_some()) << 1));
        if let Some(cursor) = &self.cursor {
            out.extend_from_slice(&cursor.journal.0);
            out.extend_from_slice(&cursor.sequence.to_le_bytes());
            out.extend_from_slice(&cursor.digest.to_le_bytes());
        }
        if let Some(clock) = self.clock_ns {
            out.extend_from_slice(&clock.to_le_bytes());
        }
        out
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Request, Malformed> {
        let mut rest = Taken(bytes);
        if rest.array()? != *MAGIC {
            return Err(Malformed("it is no request"));
        }
        if rest.byte()? != REQUEST_VERSION {
            return Err(Malformed("a request of another version"));
        }
        let stream = rest.fixed()?;
        let pages = rest.byte()?;
        if !(1..=MOST_PAGES).contains(&pages) {
            return Err(Malformed("no such number of pages"));
        }
        let stored = rest.fixed()?;
        let flags = rest.byte()?;
        if flags > 3 {
            return Err(Malformed("unknown flags"));
        }
        let cursor = match flags & 1 {
            0 => None,
            _ => Some(Cursor {
                journal: Id(rest.array()?),
                sequence: rest.fixed()?,
                digest: rest.fixed()?,
            }),
        };
        let clock_ns = match flags & 2 {
            0 => None,
            _ => Some(rest.fixed()?),
        };
        if !rest.is_empty() {
            return Err(Malformed("something stands behind the request"));
        }
        Ok(Request {
            stream,
            pages,
            stored,
            cursor,
            clock_ns,
        })
    }
}
