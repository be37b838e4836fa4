//! What is said at the end: what changed, what `verify` found, and what to do next. And the tables
//! of `status` and `history`. All of it is made safe to show.

use comfy_table::{Table, presets};
use site::answer::{Entry, Event, Plan, Report, Status, Verdict};
use site::{Bastion, Site};

use crate::shown;

/// Longest list of failed checks.
const CHECKS_SHOWN: usize = 40;

/// Of hundreds, those that are silent for longest; `bastion journal` there has all.
const MOST_METERS: usize = 20;

/// What a plan changes, in few words: `2 packages, 14 files, 7 accounts added, firewall`.
#[must_use]
pub fn counts(plan: &Plan) -> String {
    let accounts = &plan.accounts;
    let parts = [
        (plan.packages.len(), "package", ""),
        (plan.files.len(), "file", ""),
        (plan.units.len(), "unit", ""),
        (accounts.added.len(), "account", " added"),
        (accounts.removed.len(), "account", " removed"),
        (accounts.password.len(), "password", ""),
        (plan.repairs.len(), "repair", ""),
    ];
    let mut words: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, how)| {
            let many = if count == 1 { "" } else { "s" };
            format!("{count} {what}{many}{how}")
        })
        .collect();
    if plan.firewall.is_some() {
        words.push("firewall".to_owned());
    }
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.join(", ")
}

/// `46 held, 0 broken, 1 not checked`.
#[must_use]
pub fn verdict(report: &Report) -> String {
    let count = |verdict| {
        let all = report.checks.iter();
        all.filter(|check| check.verdict == verdict).count()
    };
    let mut words = format!(
        "{} held, {} broken",
        count(Verdict::Held),
        count(Verdict::Broken)
    );
    let unknown = count(Verdict::NotChecked);
    if unknown > 0 {
        words.push_str(&format!(", {unknown} not checked"));
    }
    words
}

/// Whether there were checks, and all of them held.
#[must_use]
pub fn all_held(report: &Report) -> bool {
    report.verdict() == Verdict::Held
}

/// The checks that did not hold, one per line.
#[must_use]
pub fn not_held(report: &Report) -> String {
    let lines: Vec<String> = report
        .checks
        .iter()
        .filter(|check| !check.verdict.is_well())
        .map(|check| {
            let word = match check.verdict {
                Verdict::Broken => "broken",
                _ => "not checked",
            };
            shown::line(&format!("  {word}: {}: {}", check.subject, check.detail))
        })
        .collect();
    shown::text(&lines.join("\n"), CHECKS_SHOWN)
}

/// What a person does after the first deployment.
#[must_use]
pub fn next_steps(site: &Site, bastion: &Bastion, secrets: &std::path::Path) -> String {
    let address = bastion
        .addresses
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (host, port) = (&site.public.host, site.public.port);
    format!(
        "Next:\n\
         \x20 - keep a copy of {} in a safe place: with it and the site file a blank card is the same bastion again\n\
         \x20 - router: forward TCP {port} from outside to {address} port 1883\n\
         \x20 - each meter: server {host}:{port}, user = its id, password from the secrets file\n\
         \x20 - `cargo xtask deploy status` tells how it is, at any time",
        secrets.display()
    )
}

/// The table of `status`.
#[must_use]
pub fn status(name: &str, status: &Status) -> String {
    let mut table = plain();
    let mut row = |what: &str, is: String| {
        table.add_row([what.to_owned(), shown::line(&is)]);
    };
    row("bastion", name.to_owned());
    row("version", status.version.clone());
    row(
        "release",
        status
            .release
            .clone()
            .unwrap_or_else(|| "none yet".to_owned()),
    );
    if let Some((release, left)) = &status.waiting {
        row("waiting", format!("{release}, goes back in {left} s"));
    }
    let clock = match status.clock_synchronised {
        Some(true) => "synchronised",
        Some(false) => "NOT synchronised",
        None => "nobody could tell whether synchronised",
    };
    row("clock", format!("{}, {clock}", status.clock));
    row("up", duration(status.uptime_s));
    if status.restart_due {
        row(
            "restart",
            "due: upgraded packages are in use only after one; on the Pi: sudo reboot".to_owned(),
        );
    }
    let (free, total) = status.disk;
    row("disk", format!("{} of {} free", bytes(free), bytes(total)));
    for (unit, state) in status.units.iter().take(50) {
        row(unit, state.clone());
    }
    row("verify", verdict(&status.verify));
    if let Some(verified) = &status.verified {
        row("by itself", verified.to_string());
    }
    if let Some(journal) = &status.journal {
        for (name, words) in journal.rows(status.uptime_s, MOST_METERS) {
            row(&format!("journal: {name}"), words);
        }
    }
    if let Some(entry) = &status.last {
        row(
            "last",
            format!("{} {}: {}", entry.at, word(entry.event), entry.release),
        );
    }
    if let Some(left) = status.open_s {
        row(
            "SSH",
            format!("open to the whole LAN for {}", duration(left)),
        );
    }
    let mut page = table.to_string();
    let faults = not_held(&status.verify);
    if !faults.is_empty() {
        page.push_str(&format!("\n{faults}"));
    }
    page
}

/// The table of `history`, newest first.
#[must_use]
pub fn history(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing was deployed there yet".to_owned();
    }
    let mut table = plain();
    table.set_header(["when", "what", "release", "by", "version", "why"]);
    for entry in entries.iter().rev().take(200) {
        let by = if entry.by.is_empty() {
            "the bastion itself"
        } else {
            &entry.by
        };
        let cells = [
            &entry.at,
            word(entry.event),
            &entry.release,
            by,
            &entry.version,
            &entry.reason,
        ];
        table.add_row(cells.map(shown::line));
    }
    table.to_string()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn word(event: Event) -> &'static str {
    match event {
        Event::Applied => "applied",
        Event::Confirmed => "confirmed",
        Event::Back => "went back",
        Event::Rollback => "rolled back",
        Event::Opened => "SSH opened",
    }
}

fn bytes(count: u64) -> String {
    const GIB: u64 = 1 << 30;
    if count >= GIB {
        format!("{}.{} GiB", count / GIB, count % GIB * 10 / GIB)
    } else {
        format!("{} MiB", count >> 20)
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use site::answer::{AccountChange, Check, PackageChange};

    use super::*;

    #[test]
    fn a_plan_in_few_words() {
        let plan = Plan {
            packages: vec![PackageChange {
                name: "mosquitto".to_owned(),
                installed: None,
                at_least: None,
            }],
            accounts: AccountChange {
                added: vec!["a".to_owned(), "b".to_owned()],
                ..AccountChange::default()
            },
            ..Plan::default()
        };
        assert_eq!(counts(&plan), "1 package, 2 accounts added");
        assert_eq!(counts(&Plan::default()), "nothing");
    }

    fn report(verdicts: &[Verdict]) -> Report {
        let check = |&verdict| Check {
            subject: "unit \u{1b}[31m".to_owned(),
            verdict,
            detail: "off".to_owned(),
        };
        Report {
            checks: verdicts.iter().map(check).collect(),
        }
    }

    #[test]
    fn a_report_that_checked_nothing_is_no_pass() {
        assert!(!all_held(&report(&[])));
        assert!(all_held(&report(&[Verdict::Held])));
        let mixed = report(&[Verdict::Held, Verdict::Broken, Verdict::NotChecked]);
        assert!(!all_held(&mixed));
        assert_eq!(verdict(&mixed), "1 held, 1 broken, 1 not checked");
        assert_eq!(
            not_held(&mixed),
            "  broken: unit \\x1b[31m: off\n  not checked: unit \\x1b[31m: off"
        );
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3 * 3600 + 120), "3 h 2 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
