//! What the bastion's daemon is told and what it says: its settings as they are rendered, the topics
//! on which it meets readers and its ticker, and its report. Doing all that is left to `bastion`.

mod words;

use serde::{Deserialize, Serialize};

use crate::meter::{Generation, Meter, Source};
use crate::record::{ClockSource, Id};

/// The daemon's account: it hears every meter and serves every reader, on loopback only.
pub const DAEMON_ACCOUNT: &str = "bastion";
/// The ticker's account.
pub const TICKER_ACCOUNT: &str = "ticker";
/// Where the ticker says the time since boot, every second.
pub const TICK_TOPIC: &str = "bastion/v1/tick";
/// Where the daemon says that there is more, and why not.
pub const HEAD_TOPIC: &str = "bastion/v1/head";
/// What the daemon hears of its readers.
pub const FETCH_FILTER: &str = "bastion/v1/+/fetch";
/// The daemon's settings on a bastion: [`Settings`] as JSON. No secret.
pub const SETTINGS_PATH: &str = "/etc/shelly-bastion/daemon.json";
/// The daemon's password on a bastion.
pub const PASSWORD_PATH: &str = "/etc/shelly-bastion/bastion.password";
/// The ticker's password on a bastion.
pub const TICKER_PASSWORD_PATH: &str = "/etc/shelly-bastion/ticker.password";
/// The journal's folder on a bastion.
pub const JOURNAL_FOLDER: &str = "/var/lib/shelly-bastion-journal";
/// Where the daemon's [`Report`] lies on a bastion; in memory.
pub const REPORT_PATH: &str = "/run/shelly-bastion-daemon/report.json";
/// The version of the settings.
pub const FORMAT: u32 = 1;

/// Where a reader asks.
#[must_use]
pub fn fetch_topic(reader: &str) -> String {
    format!("bastion/v1/{reader}/fetch")
}

/// Where a reader is answered.
#[must_use]
pub fn page_topic(reader: &str) -> String {
    format!("bastion/v1/{reader}/page")
}

/// Who asks on this topic, if it is one for asking.
#[must_use]
pub fn asks(topic: &str) -> Option<&str> {
    topic
        .strip_prefix("bastion/v1/")?
        .strip_suffix("/fetch")
        .filter(|reader| !reader.contains('/'))
}

/// What the daemon must know of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// [`FORMAT`].
    pub format: u32,
    /// Port of the broker's loopback listener.
    pub port: u16,
    /// Folder of the journal.
    pub folder: String,
    /// Messages that the broker may send before the first is acknowledged.
    pub window: u16,
    /// Longest time, in ms, that a message waits for others before it is written.
    pub commit_ms: u64,
    /// What is kept.
    pub keep: Keep,
    /// Whether the machine's clock is right from the beginning: where nothing says when it is set.
    pub trust_clock: bool,
    /// After so many seconds without a synchronised clock, a reader's clock is taken.
    pub clock_patience_s: u64,
    /// Who is listened to.
    pub meters: Vec<Listened>,
    /// Who is served: names of accounts.
    pub readers: Vec<String>,
}

/// Retention of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Bytes of all segments together.
    pub bytes: u64,
    /// Days.
    pub days: u32,
    /// Bytes of the file system that are left to others.
    pub free_bytes: u64,
    /// Bytes set aside, for going on when the disk is full.
    pub reserve_bytes: u64,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep {
            bytes: 4 << 30,
            days: 90,
            free_bytes: 512 << 20,
            reserve_bytes: 16 << 20,
        }
    }
}

/// A meter, as far as the daemon is concerned with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listened {
    /// Its id, for the report.
    pub id: String,
    /// Its topics lie below this prefix.
    pub prefix: String,
    /// What it is asked for when it connects, on the topic `<prefix>/command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
}

/// Asking a meter to say everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The command.
    pub command: String,
    /// Again after so many seconds; none for once per connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u32>,
}

impl Listened {
    /// What follows from a meter's model. First-generation meters say everything by themselves, in
    /// every period. Later ones say only what changes, and a PM with a steady load says nothing for
    /// hours.
    #[must_use]
    pub fn of(meter: &Meter) -> Listened {
        let later = meter.model.generation == Generation::TwoPlus && meter.source == Source::Status;
        let steady = meter.model.name.contains("pmmini");
        Listened {
            id: meter.id.clone(),
            prefix: meter.prefix.clone(),
            ask: later.then(|| Ask {
                command: "status_update".to_owned(),
                every_s: steady.then_some(60),
            }),
        }
    }
}

/// What is said on [`HEAD_TOPIC`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// Identity of the journal.
    pub journal: Id,
    /// Number of the oldest record that is kept.
    pub oldest: u64,
    /// Number of the newest record that is served.
    pub newest: u64,
    /// Why records that are there are not served; empty when all are.
    pub waiting: String,
}

/// What the daemon says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Seconds since boot when this was written.
    pub written_s: u64,
    /// Whether the broker is connected, and has granted what was subscribed to.
    pub connected: bool,
    /// Connections since the daemon started.
    pub connections: u64,
    /// How often the broker had forgotten the session.
    pub sessions_lost: u64,
    /// Seconds since the ticker's last tick, or since the broker was connected if that was later; none
    /// before the first connection.
    pub tick_s: Option<u64>,
    /// The journal.
    pub journal: JournalReport,
    /// What was counted since the daemon started.
    pub counted: Counted,
    /// Meters, by id.
    pub meters: Vec<MeterReport>,
    /// Readers, by name.
    pub readers: Vec<ReaderReport>,
}

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Its identity.
    pub identity: Id,
    /// Number of the oldest record that is kept.
    pub oldest: u64,
    /// Number of the newest record.
    pub newest: u64,
    /// Number of the newest record that is served.
    pub served: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Seconds since the last record; none before the first of this boot.
    pub age_s: Option<u64>,
    /// Why the wall time of this boot is known; none as long as it is not.
    pub clock: Option<ClockSource>,
    /// Places found damaged at the last start.
    pub damaged: u64,
    /// Records trimmed since the daemon started.
    pub trimmed: u64,
    /// Why nothing can be written; empty when all is well.
    pub problem: String,
}

/// Messages, counted since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// On disk.
    pub recorded: u64,
    /// Sent again by the broker, and recorded already.
    pub sent_again: u64,
    /// Retained messages, which are no arrivals.
    pub retained: u64,
    /// On topics of no known meter.
    pub foreign: u64,
    /// Too large, and cut.
    pub cut: u64,
    /// Dated by the ticks around them.
    pub dated_by_ticks: u64,
    /// Ticks.
    pub ticks: u64,
    /// Requests that were no requests, or of nobody known, or too many.
    pub requests_refused: u64,
    /// Pages sent.
    pub pages: u64,
}

/// A meter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterReport {
    /// Its id.
    pub id: String,
    /// Seconds since its last message; none when there was none since the daemon started.
    pub seen_s: Option<u64>,
    /// Messages since the daemon started.
    pub messages: u64,
}

/// A reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderReport {
    /// Its name.
    pub name: String,
    /// All up to this number is stored there.
    pub taken: u64,
    /// Records that were trimmed before it took them.
    pub missed: u64,
}
