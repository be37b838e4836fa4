//! The cursor of one bastion on disk: replaced whole, and synced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use site::record::Cursor;
use tracing::warn;

/// How often it is written at most. An older one costs only work.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
    cursor: Option<Cursor>,
    saved: Option<Cursor>,
    at: Option<Instant>,
}

impl CursorFile {
    /// The file for a bastion, and what is in it. A damaged one counts as none.
    pub(super) fn open(folder: &Path, bastion: &str) -> (CursorFile, Option<Cursor>) {
        let name: String = bastion
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let path = folder.join(format!("cursor-{name}.json"));
        let known = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(|error| {
                    warn!(path = %path.display(), %error, "no cursor: reading begins at the oldest record");
                })
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(path = %path.display(), %error, "no cursor: reading begins at the oldest record");
                None
            }
        };
        let file = CursorFile {
            path,
            cursor: known,
            saved: known,
            at: None,
        };
        (file, known)
    }

    pub(super) fn set(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Writes it, if it has changed and the last time is not too short ago.
    pub(super) fn save_now_and_then(&mut self) {
        if self.at.is_none_or(|at| at.elapsed() >= EVERY) {
            self.at = Some(Instant::now());
            if let Err(problem) = self.save() {
                warn!(path = %self.path.display(), %problem, "the cursor cannot be kept");
            }
        }
    }

    /// Writes it, if it has changed; it is on disk when this returns.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let Some(cursor) = self.cursor.filter(|_| self.cursor != self.saved) else {
            return Ok(());
        };
        let new = self.path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&cursor)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.saved = Some(cursor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use site::record::Id;

    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, known) = CursorFile::open(folder.path(), "192.168.2.2");
        assert_eq!(known, None);
        let cursor = Cursor {
            journal: Id([3; 16]),
            sequence: u64::MAX,
            digest: u64::MAX - 1,
        };
        file.set(cursor);
        file.save_now_and_then();
        file.set(Cursor {
            sequence: 7,
            ..cursor
        });
        file.save_now_and_then();
        let (_, known) = CursorFile::open(folder.path(), "192.168.2.2");
        assert_eq!(known, Some(cursor), "the second one came too soon");
        file.save().unwrap();
        let (_, known) = CursorFile::open(folder.path(), "192.168.2.2");
        assert_eq!(known.map(|cursor| cursor.sequence), Some(7));
        fs::write(folder.path().join("cursor-192-168-2-2.json"), "{").unwrap();
        let (_, known) = CursorFile::open(folder.path(), "192.168.2.2");
        assert_eq!(known, None);
    }
}
