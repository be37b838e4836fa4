//! `bastion journal`: the daemon's last report, for people and as it is written.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use site::daemon::Report;
use site::record::ClockSource;

use crate::clock::{Clock as _, MachineClock};
use crate::host::read_text;

/// Seconds after which a report is no longer the state of things.
const OLD: u64 = 30;

/// Prints the report; exit code 0 when the daemon runs and journals, 1 when it does not.
///
/// # Errors
/// When there is no report, or it is none.
pub fn run(report: &Path, json: bool) -> Result<ExitCode> {
    let text = read_text(report)
        .context("is the daemon running? systemctl status shelly-bastion-daemon")?;
    let read: Report =
        serde_json::from_str(&text).with_context(|| format!("reading {}", report.display()))?;
    if json {
        print!("{text}");
    } else {
        let now_s = MachineClock::new(true).boot_ns() / 1_000_000_000;
        print!("{}", words(&read, now_s));
    }
    let well = read.connected && read.journal.problem.is_empty();
    Ok(ExitCode::from(u8::from(!well)))
}

fn words(report: &Report, now_s: u64) -> String {
    let (journal, counted) = (&report.journal, &report.counted);
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let age = now_s.saturating_sub(report.written_s);
    if age > OLD {
        line("report", format!("{age} s old: the daemon does not run"));
    }
    let broker = if report.connected {
        "connected"
    } else {
        "not connected"
    };
    line(
        "broker",
        format!("{broker}; sessions lost: {}", report.sessions_lost),
    );
    let records = (journal.newest + 1).saturating_sub(journal.oldest);
    line("journal", format!("{}", journal.identity));
    line(
        "records",
        format!(
            "{records} ({} to {}), {} KiB; trimmed since the start: {}, damaged places: {}",
            journal.oldest,
            journal.newest,
            journal.bytes / 1024,
            journal.trimmed,
            journal.damaged
        ),
    );
    let last = journal
        .age_s
        .map_or("none yet".to_owned(), |age| format!("{age} s ago"));
    line("last", last);
    let clock = match journal.clock {
        None => "not set; newer records wait for it",
        Some(ClockSource::Synchronised) => "set by the time service",
        Some(ClockSource::Reader) => "taken from a reader, since nobody set the machine's own",
        Some(ClockSource::Estimated) => "estimated",
    };
    line("clock", clock.to_owned());
    if !journal.problem.is_empty() {
        line("problem", journal.problem.clone());
    }
    line(
        "counted",
        format!(
            "{} recorded, {} of them dated by ticks; {} sent again, {} retained, {} foreign, {} cut",
            counted.recorded,
            counted.dated_by_ticks,
            counted.sent_again,
            counted.retained,
            counted.foreign,
            counted.cut
        ),
    );
    line(
        "served",
        format!(
            "{} pages; {} requests refused",
            counted.pages, counted.requests_refused
        ),
    );
    for reader in &report.readers {
        let behind = journal.newest.saturating_sub(reader.taken);
        line(
            "reader",
            format!("{}: {behind} behind, {} missed", reader.name, reader.missed),
        );
    }
    for meter in &report.meters {
        let seen = meter
            .seen_s
            .map_or("not seen".to_owned(), |age| format!("seen {age} s ago"));
        line(
            "meter",
            format!("{}: {seen}, {} messages", meter.id, meter.messages),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use site::daemon::{JournalReport, MeterReport, ReaderReport};

    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), now_s: u64, expected: &[&str]) {
        let mut report = Report {
            written_s: 100,
            connected: true,
            journal: JournalReport {
                oldest: 11,
                newest: 30,
                age_s: Some(2),
                clock: Some(ClockSource::Synchronised),
                ..JournalReport::default()
            },
            meters: vec![MeterReport {
                id: "shellyem-D3B45C".to_owned(),
                seen_s: None,
                messages: 0,
            }],
            readers: vec![ReaderReport {
                name: "collector".to_owned(),
                taken: 25,
                missed: 4,
            }],
            ..Report::default()
        };
        change(&mut report);
        let words = words(&report, now_s);
        for part in expected {
            assert!(words.contains(part), "{words}\ndoes not contain {part}");
        }
    }

    #[test]
    fn a_person_reads_how_it_stands() {
        let well = [
            "broker     connected",
            "records    20 (11 to 30)",
            "last       2 s ago",
            "clock      set by the time service",
            "collector: 5 behind, 4 missed",
            "shellyem-D3B45C: not seen",
        ];
        check(|_| {}, 101, &well);
        check(
            |report| report.journal.clock = None,
            101,
            &["clock      not set"],
        );
        check(
            |_| {},
            200,
            &["report     100 s old: the daemon does not run"],
        );
        let problem = "writing /x: no space left";
        check(
            |report| report.journal.problem = problem.to_owned(),
            101,
            &[problem],
        );
    }
}
