//! The reading end: pages for one reader after the other. It reads committed bytes only, from files
//! of its own, and never holds the writer up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use site::record::{Cursor, Dated, Fit, Group, Id, Lost, LostWhy, Page, PageWriter};

use super::frame::{Header, Kind, Scanner, Step};
use super::group::{ReadGroup, decode_lost};
use super::index::{Extent, Index, ReaderState};

/// A page that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// As it travels.
    pub bytes: Vec<u8>,
    /// The last number that it speaks of.
    pub last: u64,
    /// Whether it speaks of none.
    pub is_empty: bool,
}

/// Reads a journal. Clones begin anew. Remembers where it was, so that one page after the other is cheap.
#[derive(Debug)]
pub struct Reader {
    index: Arc<Index>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    scanner: Scanner,
    /// The number behind all that was read.
    next: u64,
}

/// What is done after a frame.
enum Then {
    GoOn,
    Stop,
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        Reader::new(Arc::clone(&self.index))
    }
}

impl Reader {
    pub(super) fn new(index: Arc<Index>) -> Reader {
        Reader { index, open: None }
    }

    /// Numbers and sizes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.index.state().extent()
    }

    /// The wall time of a boot: what is added to its times.
    #[must_use]
    pub fn clock(&self, boot: Id) -> Option<Dated> {
        self.index.state().dated(boot)
    }

    /// Readers and how far they have come.
    #[must_use]
    pub fn readers(&self) -> BTreeMap<String, ReaderState> {
        self.index.state().readers.clone()
    }

    /// Notes how far a reader has come: all up to `taken` is stored there.
    pub fn taken(&self, reader: &str, taken: u64) {
        self.index.state().taken(reader, taken);
    }

    /// Whether a cursor belongs to this journal. Of a record that was trimmed nobody knows, and it
    /// counts as one that fits.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn fit(&mut self, cursor: &Cursor) -> io::Result<Fit> {
        let extent = self.extent();
        if cursor.journal != extent.journal {
            return Ok(Fit::OtherJournal);
        }
        if cursor.sequence > extent.newest {
            return Ok(Fit::Ahead);
        }
        if cursor.sequence < extent.oldest {
            return Ok(Fit::Fits);
        }
        Ok(match self.digest(cursor.sequence)? {
            Some(digest) if digest != cursor.digest => Fit::OtherRecord,
            // What is damaged cannot be compared.
            _ => Fit::Fits,
        })
    }

    /// The digest of one record, if it is there.
    fn digest(&mut self, number: u64) -> io::Result<Option<u64>> {
        let state = self.index.state();
        let salt = state.salt;
        let Some((segment, _)) = state.segment_of(number) else {
            return Ok(None);
        };
        drop(state);
        let Some(file) = open(&segment.path)? else {
            return Ok(None);
        };
        let (mut scanner, mut raw) = (Scanner::new(0), Vec::new());
        while let Some(step) = scanner.next(&file, salt, segment.length)? {
            let Step::Frame(_, header, body) = step else {
                continue;
            };
            if header.kind != Kind::Group || header.end() <= number {
                continue;
            }
            let Some(place) = number.checked_sub(header.first) else {
                return Ok(None);
            };
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let group = ReadGroup::decode(header.count, body).ok();
            return Ok(group.and_then(|group| {
                let mut records = group.block.records(&mut raw).ok()?;
                let record = records.nth(place)?.ok()?;
                Some(record.digest(number, &group.boot))
            }));
        }
        Ok(None)
    }

    /// The page behind `after`, of about `target` bytes: committed groups whose wall time is known.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn page(&mut self, stream: u64, after: u64, target: usize) -> io::Result<Served> {
        let extent = self.extent();
        let mut next = after.saturating_add(1).max(extent.oldest);
        let mut writer = self.begin(stream, next, &extent)?;
        while next <= extent.served {
            let (segment, behind) = {
                let state = self.index.state();
                match state.segment_of(next) {
                    Some(found) => found,
                    // Trimmed in the meantime.
                    None => break,
                }
            };
            if !self.enter(&segment.path, next)? {
                break;
            }
            match self.segment(&mut next, &extent, segment.length, target, &mut writer)? {
                Then::Stop => break,
                Then::GoOn => {}
            }
            // The end of a segment: what is missing up to the next one is gone.
            let Some(behind) = behind else { break };
            lose(&mut writer, &mut next, behind, LostWhy::Damaged);
            self.open = None;
        }
        let (last, is_empty) = (writer.last(), writer.is_empty());
        Ok(Served {
            bytes: writer.finish(),
            last,
            is_empty,
        })
    }

    /// An empty page that begins before `next`, or before the group in whose midst that is.
    fn begin(&mut self, stream: u64, next: u64, extent: &Extent) -> io::Result<PageWriter> {
        let mut after = next - 1;
        if self.open.as_ref().is_none_or(|open| open.next != next) {
            after = self
                .start_of(next)?
                .map_or(after, |first| after.min(first - 1));
        }
        Ok(PageWriter::new(Page {
            fit: Fit::Fits,
            waiting: extent.waiting,
            journal: extent.journal,
            stream,
            after,
            oldest: extent.oldest,
            newest: extent.served,
            parts: Vec::new(),
        }))
    }

    /// The page that says that a cursor does not fit.
    #[must_use]
    pub fn misfit(&self, stream: u64, fit: Fit) -> Vec<u8> {
        let extent = self.extent();
        PageWriter::new(Page {
            fit,
            waiting: extent.waiting,
            journal: extent.journal,
            stream,
            after: 0,
            oldest: extent.oldest,
            newest: extent.served,
            parts: Vec::new(),
        })
        .finish()
    }

    /// Finds the group in which a number lies and stands before it; its first number.
    fn start_of(&mut self, number: u64) -> io::Result<Option<u64>> {
        self.open = None;
        let state = self.index.state();
        let salt = state.salt;
        let Some((segment, _)) = state.segment_of(number) else {
            return Ok(None);
        };
        drop(state);
        let Some(file) = open(&segment.path)? else {
            return Ok(None);
        };
        let mut open = Open {
            path: segment.path,
            file,
            scanner: Scanner::new(0),
            next: number,
        };
        loop {
            let at = open.scanner.at;
            let header = match open.scanner.next(&open.file, salt, segment.length)? {
                None => break,
                Some(Step::Frame(_, header, _) | Step::BadBody(header)) => header,
                Some(_) => continue,
            };
            if header.kind == Kind::Group && header.end() > number {
                open.scanner.at = at;
                self.open = Some(open);
                return Ok(Some(header.first));
            }
        }
        open.scanner.at = 0;
        self.open = Some(open);
        Ok(None)
    }

    /// Opens a segment, unless it is open at this number already.
    fn enter(&mut self, path: &PathBuf, next: u64) -> io::Result<bool> {
        if let Some(open) = &self.open
            && open.path == *path
            && open.next == next
        {
            return Ok(true);
        }
        self.open = open(path)?.map(|file| Open {
            path: path.clone(),
            file,
            scanner: Scanner::new(0),
            next,
        });
        Ok(self.open.is_some())
    }

    /// Takes what fits from the open segment.
    fn segment(
        &mut self,
        next: &mut u64,
        extent: &Extent,
        length: u64,
        target: usize,
        writer: &mut PageWriter,
    ) -> io::Result<Then> {
        let index = Arc::clone(&self.index);
        let salt = index.state().salt;
        let Some(open) = &mut self.open else {
            return Ok(Then::Stop);
        };
        loop {
            let at = open.scanner.at;
            let Some(step) = open.scanner.next(&open.file, salt, length)? else {
                return Ok(Then::GoOn);
            };
            let (header, body) = match step {
                Step::Frame(_, header, body) => (header, Some(body)),
                Step::BadBody(header) => (header, None),
                Step::Damage | Step::Tail { .. } => continue,
            };
            if numbers(&header, body).is_none_or(|(_, end)| end <= *next) {
                continue;
            }
            let then = frame(&header, body, next, extent, target, writer, &index);
            open.next = *next;
            if matches!(then, Then::Stop) {
                open.scanner.at = at;
                return Ok(Then::Stop);
            }
        }
    }
}

/// First number of a frame and the one behind its last; nothing when it has none.
fn numbers(header: &Header, body: Option<&[u8]>) -> Option<(u64, u64)> {
    match (header.kind, body) {
        (Kind::Group, _) => Some((header.first, header.end())),
        (Kind::Lost, Some(body)) => {
            let (count, _) = decode_lost(body).ok()?;
            Some((header.first, header.first.saturating_add(count)))
        }
        _ => None,
    }
}

fn frame(
    header: &Header,
    body: Option<&[u8]>,
    next: &mut u64,
    extent: &Extent,
    target: usize,
    writer: &mut PageWriter,
    index: &Index,
) -> Then {
    let Some((first, end)) = numbers(header, body) else {
        return Then::GoOn;
    };
    if end.saturating_sub(1) > extent.served {
        return Then::Stop;
    }
    if let (Kind::Lost, Some(Ok((_, why)))) = (header.kind, body.map(decode_lost)) {
        lose(writer, next, first, LostWhy::Damaged);
        lose(writer, next, end, why);
        return Then::GoOn;
    }
    let group = body.and_then(|body| ReadGroup::decode(header.count, body).ok());
    let dated = group.and_then(|group| index.state().dated(group.boot));
    let (Some(group), Some(dated)) = (group, dated) else {
        lose(writer, next, end, LostWhy::Damaged);
        return Then::GoOn;
    };
    if !writer.has_room(group.block.compressed.len(), target) {
        return Then::Stop;
    }
    lose(writer, next, first, LostWhy::Damaged);
    writer.group(&Group {
        first,
        dated,
        block: group.block,
    });
    *next = end;
    Then::GoOn
}

/// Accounts for the numbers before `end`.
fn lose(writer: &mut PageWriter, next: &mut u64, end: u64, why: LostWhy) {
    if let Some(count) = end.checked_sub(*next).filter(|count| *count > 0) {
        writer.lost(&Lost {
            first: *next,
            count,
            why,
        });
        *next = end;
    }
}

/// A segment that is gone was trimmed, and is no error.
fn open(path: &PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
