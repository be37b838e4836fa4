//! What the collector did so far: one log line, and `status.json` in the state folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::{info, warn};

use crate::config::Origin;
use crate::source::Tally;

/// Counted since the process began. Messages, unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Taken from the source, those that came again included.
    pub received: u64,
    /// That became at least one point.
    pub readings: u64,
    /// On topics that carry no readings.
    pub not_readings: u64,
    /// Dropped because the same sample is read from the meter's other source.
    pub other_source: u64,
    /// Readings without a single value.
    pub without_value: u64,
    /// Readings that could not be read.
    pub not_understood: u64,
    /// Among the dead letters, for whatever reason.
    pub set_aside: u64,
    /// Dead letters overwritten for want of space.
    pub letters_overwritten: u64,
    /// Stored or set aside, and confirmed to the source.
    pub confirmed: u64,
    /// Lines in the database.
    pub points_written: u64,
    /// Lines that the database refused; their messages are set aside.
    pub points_refused: u64,
    /// What the source counts.
    #[serde(flatten)]
    pub source: Tally,
}

/// Where it is said.
#[derive(Debug)]
pub struct Status {
    site: String,
    source: &'static str,
    time_of: &'static str,
    started: SystemTime,
    path: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    site: &'a str,
    source: &'a str,
    /// Whose clock dates the readings.
    time_of: &'a str,
    version: &'a str,
    started_s: u64,
    written_s: u64,
    #[serde(flatten)]
    counters: &'a Counters,
}

impl Status {
    /// Status of a collector that starts now.
    #[must_use]
    pub fn new(site: &str, origin: &Origin, state: &Path) -> Self {
        let (source, time_of) = match origin {
            Origin::Broker(_) => ("broker", "receipt by the collector"),
            Origin::Journals(_) => ("journal", "arrival at the bastion"),
        };
        Self {
            site: site.to_owned(),
            source,
            time_of,
            started: SystemTime::now(),
            path: state.join("status.json"),
        }
    }

    /// Logs the counters and replaces the file. A file that cannot be written is no reason to
    /// stop collecting.
    pub fn report(&self, counters: &Counters, now: SystemTime) {
        info!(
            connected = counters.source.connected,
            received = counters.received,
            readings = counters.readings,
            not_readings = counters.not_readings,
            other_source = counters.other_source,
            without_value = counters.without_value,
            set_aside = counters.set_aside,
            confirmed = counters.confirmed,
            points_written = counters.points_written,
            retained = counters.source.retained,
            redelivered = counters.source.redelivered,
            sessions_lost = counters.source.sessions_lost,
            trimmed = counters.source.trimmed,
            damaged = counters.source.damaged,
            "so far"
        );
        if let Err(error) = self.replace(counters, now) {
            warn!(path = %self.path.display(), %error, "the status file cannot be written");
        }
    }

    fn replace(&self, counters: &Counters, now: SystemTime) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&Written {
            site: &self.site,
            source: self.source,
            time_of: self.time_of,
            version: env!("CARGO_PKG_VERSION"),
            started_s: seconds(self.started),
            written_s: seconds(now),
            counters,
        })?;
        text.push(b'\n');
        let new = self.path.with_extension("json.new");
        fs::write(&new, text)?;
        fs::rename(new, &self.path)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
