//! The daemon's report as the rest of this program reads it. Whoever takes the daemon over writes
//! what he likes there, and root reads it: so it is bounded, no link is followed, and nothing is
//! left in it that a terminal would obey. Words for it are left to
//! `site::daemon`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Mode, OFlags};
use site::daemon::Report;

/// Bytes of a report: thousands of meters.
const LONGEST: u64 = 1 << 20;
/// Characters of one text in it.
const LONGEST_TEXT: usize = 200;
/// Meters of a report, and readers.
const MOST: usize = 4000;
/// Seconds without a tick.
const SILENT: u64 = 10;

/// The report; none when there is none.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn report(path: &Path) -> Result<Option<Report>> {
    let name = || format!("reading {}", path.display());
    // A pipe in its place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(name),
    };
    let about = file.metadata().with_context(name)?;
    ensure!(about.is_file(), "{} is no file", path.display());
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .with_context(name)?;
    let read: u64 = bytes.len().try_into().unwrap_or(u64::MAX);
    ensure!(
        read <= LONGEST,
        "{} is longer than any report",
        path.display()
    );
    // The library's words may quote what it read.
    let parsed: Option<Report> = serde_json::from_slice(&bytes).ok();
    let report = parsed.with_context(|| format!("{} is no report", path.display()))?;
    Ok(Some(made_safe(report)))
}

fn made_safe(mut report: Report) -> Report {
    report.meters.truncate(MOST);
    report.readers.truncate(MOST);
    clean(&mut report.journal.problem);
    for meter in &mut report.meters {
        clean(&mut meter.id);
    }
    for reader in &mut report.readers {
        clean(&mut reader.name);
    }
    report
}

fn clean(text: &mut String) {
    let plain = |character: char| {
        if character.is_control() || character == ';' {
            '?'
        } else {
            character
        }
    };
    *text = text.chars().take(LONGEST_TEXT).map(plain).collect();
}

/// What is not as it should be, in words that stay the same as long as it stays the same; `now_s`
/// is in seconds since boot.
pub(crate) fn fault(report: Option<&Report>, now_s: u64) -> Option<String> {
    let Some(report) = report.filter(|report| !report.is_old(now_s)) else {
        return Some("the daemon does not run".to_owned());
    };
    let mut faults = Vec::new();
    if !report.connected {
        faults.push("the daemon is not connected to the broker".to_owned());
    } else if report.tick_s.is_some_and(|silent| silent > SILENT) {
        faults.push("the ticker does not tick".to_owned());
    }
    if !report.journal.problem.is_empty() {
        faults.push(format!("nothing is written: {}", report.journal.problem));
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use site::daemon::{JournalReport, MeterReport};

    use super::*;

    fn well() -> Report {
        Report {
            written_s: 100,
            connected: true,
            tick_s: Some(1),
            ..Report::default()
        }
    }

    #[track_caller]
    fn check_fault(change: impl FnOnce(&mut Report), expected: Option<&str>) {
        let mut report = well();
        change(&mut report);
        assert_eq!(fault(Some(&report), 105).as_deref(), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            fault(None, 1).as_deref(),
            Some("the daemon does not run"),
            "without a report"
        );
        check_fault(|_| {}, None);
        check_fault(
            |report| report.written_s = 50,
            Some("the daemon does not run"),
        );
        check_fault(
            |report| report.connected = false,
            Some("the daemon is not connected to the broker"),
        );
        check_fault(
            |report| report.tick_s = Some(11),
            Some("the ticker does not tick"),
        );
        check_fault(|report| report.tick_s = None, None);
        check_fault(
            |report| {
                report.connected = false;
                report.journal.problem = "no room".to_owned();
            },
            Some("the daemon is not connected to the broker; nothing is written: no room"),
        );
    }

    #[test]
    fn what_a_taken_daemon_writes_is_bounded_and_obeyed_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        assert_eq!(report(&path).unwrap(), None);
        let hostile = Report {
            journal: JournalReport {
                problem: "\u{1b}[2J; and".repeat(1000),
                ..JournalReport::default()
            },
            meters: vec![
                MeterReport {
                    id: "\u{9b}31m".to_owned(),
                    ..MeterReport::default()
                };
                5000
            ],
            ..well()
        };
        fs::write(&path, serde_json::to_vec(&hostile).unwrap()).unwrap();
        let read = report(&path).unwrap().unwrap();
        assert_eq!(read.meters.len(), MOST);
        assert_eq!(read.meters[0].id, "?31m");
        assert!(read.journal.problem.starts_with("?[2J? and?"));
        assert_eq!(read.journal.problem.chars().count(), LONGEST_TEXT);

        fs::write(&path, " ".repeat(1 << 21)).unwrap();
        let error = report(&path).unwrap_err().to_string();
        assert!(error.contains("longer"), "{error}");
        fs::write(&path, "\"of somebody else\"").unwrap();
        let error = format!("{:#}", report(&path).unwrap_err());
        assert!(!error.contains("somebody"), "{error}");
    }

    #[test]
    fn a_link_or_a_pipe_in_its_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, path) = (folder.path().join("secret"), folder.path().join("link"));
        fs::write(&secret, serde_json::to_vec(&well()).unwrap()).unwrap();
        assert!(report(&secret).is_ok());
        symlink(&secret, &path).unwrap();
        assert!(report(&path).is_err());
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR).unwrap();
        let error = report(&pipe).unwrap_err().to_string();
        assert!(error.contains("is no file"), "{error}");
    }
}
