//! The fleet's ledger: what the database must hold afterwards, in SI units, one JSON object per
//! line. A line is written before the payload that carries its value is formatted, and its value
//! comes from the simulated physics, never from the formatted text.
//! Comparing it with the database is left to the lab.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A reading that was sent, or dropped before it could be.
    Entry(Entry),
    /// A stretch of time whose readings may not have arrived.
    Lost(Lost),
}

/// One expected reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The meter's id.
    pub device: String,
    /// `"0"`, `"a"`, `"total"`, or `null` where the measurement has no channels.
    pub channel: Option<String>,
    /// `power`, `energy` or `device`.
    pub measurement: String,
    /// The field with its unit, as `active_w` or `import_wh`.
    pub field: String,
    /// The value in the unit that the field names.
    pub value: Value,
    /// No earlier line of this run has this value for the same device, channel and field, nor
    /// does a later one with `unique` set.
    pub unique: bool,
    /// Wall time right before the write, in ns since 1970.
    pub at_ns: u64,
    /// False when the meter's queue was full and the reading was dropped: not to be expected.
    pub sent: bool,
}

/// Readings of one meter with `lost_from_ns <= at_ns <= lost_to_ns` may or may not have arrived:
/// the connection ended before the broker answered anything sent after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The meter's id.
    pub device: String,
    /// First doubtful instant, in ns since 1970.
    pub lost_from_ns: u64,
    /// Last doubtful instant, in ns since 1970.
    pub lost_to_ns: u64,
    /// What ended the connection.
    pub reason: String,
}

/// A value: number, truth or text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Truth(bool),
    /// A finite number.
    Number(f64),
    /// Text, as a firmware version.
    Text(String),
}

/// A reading before it has a time: everything of an [`Entry`] that the device itself knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// See [`Entry::channel`].
    pub channel: Option<&'static str>,
    /// See [`Entry::measurement`].
    pub measurement: &'static str,
    /// See [`Entry::field`].
    pub field: &'static str,
    /// See [`Entry::value`].
    pub value: Value,
    /// See [`Entry::unique`].
    pub unique: bool,
}

/// Why a ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be opened, read or written.
    #[error("cannot {action} the ledger {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is none of ours.
    #[error("the ledger {path}, line {line}, is neither an entry nor a loss")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What was expected.
        source: serde_json::Error,
    },
}

/// The ledger while the fleet runs.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Ledger {
    /// Starts an empty ledger, in place of whatever the file held.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, LedgerError> {
        let file = File::create(path).map_err(|source| LedgerError::File {
            action: "create",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Writes the lines of one burst and flushes them.
    ///
    /// # Errors
    /// When the file cannot be written: the run is then worth nothing.
    pub fn write(&mut self, lines: &[Line]) -> Result<(), LedgerError> {
        let mut write = || {
            for line in lines {
                serde_json::to_writer(&mut self.file, line)?;
                self.file.write_all(b"\n")?;
            }
            self.file.flush()
        };
        write().map_err(|source| LedgerError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads a whole ledger.
///
/// # Errors
/// When the file cannot be read or holds a line of another form.
pub fn read(path: &Path) -> Result<Vec<Line>, LedgerError> {
    let fault = |source| LedgerError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = BufReader::new(File::open(path).map_err(fault)?);
    file.lines()
        .enumerate()
        .map(|(index, text)| {
            serde_json::from_str(&text.map_err(fault)?).map_err(|source| LedgerError::Line {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

/// Wall time in ns since 1970; 0 for a clock set before that.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: Line, text: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        Ledger::create(file.path())
            .unwrap()
            .write(std::slice::from_ref(&line))
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(file.path()).unwrap(),
            format!("{text}\n")
        );
        assert_eq!(read(file.path()).unwrap(), [line]);
    }

    fn entry(value: Value) -> Line {
        let [device, measurement, field] = ["m", "power", "active_w"].map(str::to_owned);
        Line::Entry(Entry {
            device,
            channel: None,
            measurement,
            field,
            value,
            unique: true,
            at_ns: 7,
            sent: true,
        })
    }

    #[test]
    fn lines_are_written_as_documented_and_come_back_the_same() {
        let head =
            r#"{"device":"m","channel":null,"measurement":"power","field":"active_w","value":"#;
        let tail = r#","unique":true,"at_ns":7,"sent":true}"#;
        check(entry(Value::Number(-40.63)), &format!("{head}-40.63{tail}"));
        check(entry(Value::Number(63.0)), &format!("{head}63.0{tail}"));
        check(entry(Value::Truth(false)), &format!("{head}false{tail}"));
        check(
            entry(Value::Text("1.6.1".to_owned())),
            &format!("{head}\"1.6.1\"{tail}"),
        );
        // One watt-minute: seventeen digits, each of which has to survive.
        check(
            entry(Value::Number(1.0 / 60.0)),
            &format!("{head}0.016666666666666666{tail}"),
        );
        check(
            Line::Lost(Lost {
                device: "m".to_owned(),
                lost_from_ns: 1,
                lost_to_ns: 2,
                reason: "closed".to_owned(),
            }),
            r#"{"device":"m","lost_from_ns":1,"lost_to_ns":2,"reason":"closed"}"#,
        );
    }
}
