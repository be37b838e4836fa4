//! The daemon's report in words, the same on the bastion and at the operator's machine. Making them
//! safe to show is left to who shows them.

use super::{MeterReport, Report};
use crate::record::ClockSource;

/// Seconds after which a report is no longer the state of things.
const OLD_S: u64 = 30;
/// Readers that are shown.
const MOST_READERS: usize = 50;

impl Report {
    /// Whether it is no longer the state of things, at `now_s` in seconds since boot.
    #[must_use]
    pub fn is_old(&self, now_s: u64) -> bool {
        now_s.saturating_sub(self.written_s) > OLD_S
    }

    /// What it says, each line with a word for what it is about; `now_s` is in seconds since boot.
    /// Of the meters, those come first that are silent for longest; the rest of many is counted.
    #[must_use]
    pub fn rows(&self, now_s: u64, most_meters: usize) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if self.is_old(now_s) {
            let age = now_s.saturating_sub(self.written_s);
            rows.push(("report", format!("{age} s old: the daemon does not run")));
        }
        let broker = if self.connected {
            "connected"
        } else {
            "NOT connected"
        };
        rows.push((
            "broker",
            format!(
                "{broker}; connections since the start: {}, sessions lost: {}",
                self.connections, self.sessions_lost
            ),
        ));
        let tick = ago(self.tick_s, "none yet");
        rows.push(("tick", tick));
        self.journal_rows(&mut rows);
        self.counted_rows(&mut rows);
        for reader in self.readers.iter().take(MOST_READERS) {
            let behind = self.journal.newest.saturating_sub(reader.taken);
            let words = format!("{}: {behind} behind, {} missed", reader.name, reader.missed);
            rows.push(("reader", words));
        }
        let mut meters: Vec<&MeterReport> = self.meters.iter().collect();
        meters.sort_by_key(|meter| std::cmp::Reverse(meter.seen_s.unwrap_or(u64::MAX)));
        for meter in meters.iter().take(most_meters) {
            let seen = match meter.seen_s {
                None => "not seen since the start".to_owned(),
                Some(age) => format!("seen {age} s ago"),
            };
            let words = format!("{}: {seen}, {} messages", meter.id, meter.messages);
            rows.push(("meter", words));
        }
        if let Some(more @ 1..) = meters.len().checked_sub(most_meters) {
            rows.push(("meters", format!("and {more} more, seen later than these")));
        }
        rows
    }

    fn journal_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        let journal = &self.journal;
        let records = journal
            .newest
            .saturating_add(1)
            .saturating_sub(journal.oldest);
        rows.push(("journal", journal.identity.to_string()));
        rows.push((
            "records",
            format!(
                "{records} ({} to {}), {} KiB; trimmed since the start: {}, damaged places: {}",
                journal.oldest,
                journal.newest,
                journal.bytes / 1024,
                journal.trimmed,
                journal.damaged
            ),
        ));
        rows.push(("last", ago(journal.age_s, "none yet")));
        let clock = match journal.clock {
            None if journal.served >= journal.newest => "not set; nothing waits for it",
            None => "not set; newer records wait for it",
            Some(ClockSource::Synchronised) => "set by the time service",
            Some(ClockSource::Reader) => "taken from a reader, since nobody set the machine's own",
            Some(ClockSource::Estimated) => "estimated",
        };
        rows.push(("clock", clock.to_owned()));
        if !journal.problem.is_empty() {
            rows.push(("problem", journal.problem.clone()));
        }
    }

    fn counted_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        let counted = &self.counted;
        rows.push((
            "counted",
            format!(
                "{} recorded, {} of them dated by ticks; {} sent again, {} cut; not recorded: {} \
                 retained, {} foreign",
                counted.recorded,
                counted.dated_by_ticks,
                counted.sent_again,
                counted.cut,
                counted.retained,
                counted.foreign
            ),
        ));
        rows.push((
            "served",
            format!(
                "{} pages; {} requests refused",
                counted.pages, counted.requests_refused
            ),
        ));
    }
}

fn ago(seconds: Option<u64>, never: &str) -> String {
    seconds.map_or(never.to_owned(), |age| format!("{age} s ago"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{JournalReport, ReaderReport};

    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), now_s: u64, expected: &[(&str, &str)]) {
        let meter = |id: &str, seen_s| MeterReport {
            id: id.to_owned(),
            seen_s,
            messages: 7,
        };
        let mut report = Report {
            written_s: 100,
            connected: true,
            connections: 2,
            journal: JournalReport {
                oldest: 11,
                newest: 30,
                age_s: Some(2),
                clock: Some(ClockSource::Synchronised),
                ..JournalReport::default()
            },
            meters: vec![
                meter("fresh", Some(3)),
                meter("never", None),
                meter("stale", Some(90)),
            ],
            readers: vec![ReaderReport {
                name: "collector".to_owned(),
                taken: 25,
                missed: 4,
            }],
            ..Report::default()
        };
        change(&mut report);
        let rows = report.rows(now_s, 2);
        for (name, part) in expected {
            let found = rows
                .iter()
                .any(|(row, words)| row == name && words.contains(part));
            assert!(found, "{rows:#?}\ndo not contain {name} {part}");
        }
    }

    #[test]
    fn a_person_reads_how_it_stands() {
        let well = [
            ("broker", "connected; connections since the start: 2"),
            ("tick", "none yet"),
            ("records", "20 (11 to 30)"),
            ("last", "2 s ago"),
            ("clock", "set by the time service"),
            ("reader", "collector: 5 behind, 4 missed"),
            ("meter", "never: not seen since the start, 7 messages"),
            ("meter", "stale: seen 90 s ago"),
            ("meters", "and 1 more"),
        ];
        check(|_| {}, 101, &well);
        check(
            |report| report.journal.clock = None,
            101,
            &[("clock", "not set")],
        );
        check(
            |_| {},
            200,
            &[("report", "100 s old: the daemon does not run")],
        );
        let problem = "writing /x: no space left";
        check(
            |report| report.journal.problem = problem.to_owned(),
            101,
            &[("problem", problem)],
        );
    }
}
