//! How far a journal has come, read from its files as docs/journal.md describes them, so that
//! nobody has to be asked, who would have to answer.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::Result;

const HEADER: usize = 40;

/// The end of a journal.
#[derive(Debug)]
pub(crate) struct Progress {
    folder: PathBuf,
    /// Name of the segment that is being read, and where its next frame begins.
    segment: Option<(PathBuf, u64)>,
    newest: u64,
}

impl Progress {
    pub(crate) fn new(folder: PathBuf) -> Progress {
        Progress {
            folder,
            segment: None,
            newest: 0,
        }
    }

    /// Number of the newest record.
    pub(crate) fn newest(&mut self) -> Result<u64> {
        loop {
            self.read()?;
            let mut segments: Vec<PathBuf> = fs::read_dir(&self.folder)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|end| end == "segment"))
                .collect();
            segments.sort();
            let now = self.segment.as_ref().map(|(path, _)| path.clone());
            match segments.into_iter().find(|path| Some(path) > now.as_ref()) {
                Some(next) => self.segment = Some((next, 0)),
                None => return Ok(self.newest),
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        let Some((path, at)) = &mut self.segment else {
            return Ok(());
        };
        let file = File::open(path)?;
        let mut header = [0; HEADER];
        while file.read_exact_at(&mut header, *at).is_ok() && header.starts_with(b"SBJ1") {
            let number = |from: usize, length: usize| {
                let bytes = header.iter().skip(from).take(length).rev();
                bytes.fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
            };
            if header.get(4) == Some(&2) {
                self.newest = self.newest.max(number(8, 8) + number(16, 4) - 1);
            }
            *at += HEADER as u64 + number(20, 4);
        }
        Ok(())
    }
}
