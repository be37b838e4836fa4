//! Keeps what could not be translated or stored, with the reason, ready to be read by a person or
//! replayed: one JSON object per line in `dead-letters.jsonl`.
//!
//! A record is on disk before its message is acknowledged. The space is bounded: a full file
//! becomes `dead-letters.old.jsonl`, and the one that had this name before is overwritten; how
//! many records went with it is counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use thiserror::Error;

/// Bytes of one file; there are two.
pub const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// A message that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Time of arrival in ns since 1970.
    pub time_ns: i64,
    /// The meter's id, if it is known.
    pub meter: Option<String>,
    /// The whole topic.
    pub topic: String,
    /// As it came.
    pub payload: Vec<u8>,
    /// Why, in words.
    pub reason: String,
}

/// How a letter is written. A payload that is no text is written in base64.
#[derive(Serialize)]
struct Record<'a> {
    time_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<&'a str>,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    reason: &'a str,
}

/// Letters could not be kept.
#[derive(Debug, Error)]
#[error("{action} {}: {source}", path.display())]
pub struct Failure {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file that is written, and its predecessor.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    file: File,
    size: u64,
    largest: u64,
    overwritten: u64,
}

impl DeadLetters {
    /// Opens the files in a folder, at most `largest` bytes each.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub fn open(folder: &Path, largest: u64) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(failed("making the folder", folder))?;
        let (file, size) = open(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            size,
            largest,
            overwritten: 0,
        })
    }

    /// Keeps letters; they are on disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take them. Then none counts as kept, though some may be there.
    pub fn keep(&mut self, letters: &[Letter]) -> Result<(), Failure> {
        let path = current(&self.folder);
        for letter in letters {
            let record = record(letter).map_err(failed("writing", &path))?;
            let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
            if self.size > 0 && self.size.saturating_add(length) > self.largest {
                self.turn_over()?;
            }
            self.file
                .write_all(&record)
                .map_err(failed("writing", &path))?;
            self.size = self.size.saturating_add(length);
        }
        self.file.sync_data().map_err(failed("syncing", &path))
    }

    /// How many records were overwritten since [`DeadLetters::open`].
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.overwritten
    }

    fn turn_over(&mut self) -> Result<(), Failure> {
        let (current, old) = (
            current(&self.folder),
            self.folder.join("dead-letters.old.jsonl"),
        );
        self.file.sync_data().map_err(failed("syncing", &current))?;
        let lost = match File::open(&old) {
            Ok(file) => lines(file).map_err(failed("counting", &old))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed("counting", &old)(error)),
        };
        fs::rename(&current, &old).map_err(failed("renaming", &current))?;
        self.overwritten += lost;
        (self.file, self.size) = open(&self.folder)?;
        Ok(())
    }
}

fn current(folder: &Path) -> PathBuf {
    folder.join("dead-letters.jsonl")
}

fn open(folder: &Path) -> Result<(File, u64), Failure> {
    let path = current(folder);
    let failed_to_open = || failed("opening", &path);
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed_to_open())?;
    let mut size = file.metadata().map_err(failed_to_open())?.len();
    if size > 0 {
        // A record torn by a power cut shall not swallow the next one.
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).map_err(failed_to_open())?;
        file.read_exact(&mut last).map_err(failed_to_open())?;
        if last != *b"\n" {
            file.write_all(b"\n").map_err(failed_to_open())?;
            size += 1;
        }
    }
    // The name itself must survive a power cut, too.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("syncing", folder))?;
    Ok((file, size))
}

fn record(letter: &Letter) -> io::Result<Vec<u8>> {
    let text = str::from_utf8(&letter.payload).ok();
    let record = Record {
        time_ns: letter.time_ns,
        meter: letter.meter.as_deref(),
        topic: &letter.topic,
        payload: text,
        payload_base64: text.is_none().then(|| STANDARD.encode(&letter.payload)),
        reason: &letter.reason,
    };
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    Ok(line)
}

fn lines(file: File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut count = 0;
    while reader.skip_until(b'\n')? > 0 {
        count += 1;
    }
    Ok(count)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
