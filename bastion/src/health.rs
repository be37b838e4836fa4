//! Whether a machine works after a change: its units run and keep running, the broker lets the
//! right one in and passes the right message, and `verify` holds.
//!
//! The same was asked before the change, so that a fault that was there already is not blamed on
//! it. What follows from the answer is left to [`crate::apply`].

use std::time::Duration;

use site::answer::Report;
use site::manifest::{Manifest, UnitState};

use crate::apply::applied;
use crate::host::Host;
use crate::units::{self, Unit};
use crate::verify::{self, Compared};

/// A broker with hundreds of accounts on a slow processor needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);
const ONE_LOOK: Duration = Duration::from_millis(500);
/// A unit that ends at once is started afresh after two seconds, which is seen at two moments that are
/// further apart, since each start has a name of its own.
const STEADY: Duration = Duration::from_millis(2500);

/// How it was before the change.
#[derive(Debug)]
pub(crate) struct Baseline {
    report: Report,
    /// Nothing of ours was in place to the end, so that only what is not ours can be an old fault.
    first: bool,
}

/// How it is after the change.
#[derive(Debug)]
pub(crate) struct Health {
    /// What `verify` found.
    pub(crate) report: Report,
    /// What the change is to blame for; empty when healthy.
    pub(crate) faults: Vec<String>,
}

/// Asks before the change, for which so much was compared already. The lock must be held.
pub(crate) fn before(host: &Host, compared: Compared) -> Baseline {
    Baseline {
        report: verify::report_after(host, compared),
        first: !matches!(applied(host), Ok(Some(_))),
    }
}

/// Asks after the change, until it is healthy or patience is over. The lock must be held.
pub(crate) fn after(host: &Host, manifest: &Manifest, before: &Baseline) -> Health {
    let end = host.system().now() + PATIENCE;
    let names: Vec<&str> = manifest
        .units
        .iter()
        .filter(|unit| unit.state == UnitState::Running)
        .map(|unit| unit.name.as_str())
        .collect();
    loop {
        let first = running(host, &names, end);
        let since = host.system().now();
        let report = verify::report(host);
        let asked_for = host.system().now().saturating_sub(since);
        host.system().pause(STEADY.saturating_sub(asked_for));
        let last = look(host, &names);
        let mut faults = blamed(before, &report);
        faults.extend(idle(&names, &last));
        faults.extend(moved(&names, &first, &last));
        if faults.is_empty() || host.system().now() > end {
            faults.sort();
            faults.dedup();
            return Health { report, faults };
        }
        host.system().pause(ONE_LOOK);
    }
}

/// Units at one moment.
struct Moment {
    units: Vec<Unit>,
    starts: Vec<String>,
}

/// Waits until all units run, or patience is over.
fn running(host: &Host, names: &[&str], end: Duration) -> Moment {
    loop {
        let now = look(host, names);
        if idle(names, &now).is_empty() || host.system().now() > end {
            return now;
        }
        host.system().pause(ONE_LOOK);
    }
}

fn look(host: &Host, names: &[&str]) -> Moment {
    // Before the units: one that falls over in between counts.
    let starts = units::starts(host, names);
    let units = if host.has_systemd() {
        units::look(host, names).ok()
    } else {
        None
    };
    Moment {
        starts,
        // Nothing is worse than not knowing: an empty answer counts as not running.
        units: units.unwrap_or_else(|| vec![Unit::default(); names.len()]),
    }
}

fn idle(names: &[&str], now: &Moment) -> Vec<String> {
    let pairs = names.iter().zip(&now.units);
    pairs
        .filter(|(_, unit)| !unit.is_active())
        .map(|(name, unit)| format!("unit {name}: is {}, shall run", unit.active))
        .collect()
}

fn moved(names: &[&str], first: &Moment, last: &Moment) -> Vec<String> {
    let pairs = names.iter().zip(first.starts.iter().zip(&last.starts));
    pairs
        .filter_map(|(name, (first, last))| match last.as_str() {
            // A timer starts nothing itself. Without a name two starts cannot be told apart.
            "" if name.ends_with(".service") => {
                Some(format!("unit {name}: systemd does not name its start"))
            }
            _ if first != last => Some(format!("unit {name}: does not keep running")),
            _ => None,
        })
        .collect()
}

/// What is not as it should be now and was so before, or was not ours before.
fn blamed(before: &Baseline, after: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for check in &after.checks {
        if check.verdict.is_well() {
            continue;
        }
        let old: Vec<&str> = before
            .report
            .checks
            .iter()
            .filter(|old| old.subject == check.subject && old.verdict == check.verdict)
            .flat_map(|old| old.detail.split("; "))
            .filter(|part| !before.first || verify::is_foreign(&check.subject, part))
            .collect();
        let new: Vec<&str> = check
            .detail
            .split("; ")
            .filter(|part| !old.contains(part))
            .collect();
        if !new.is_empty() {
            found.push(format!("{}: {}", check.subject, new.join("; ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use site::answer::State;
    use site::daemon::{REPORT_PATH, Report};

    use crate::daemon::shown::now_s;
    use crate::fake::{BROKER, Machine, journaling, two};
    use crate::transaction;

    /// What the daemon says from now on.
    fn says(machine: &Machine, connected: bool) {
        let report = Report {
            written_s: now_s(),
            connected,
            ..Report::default()
        };
        machine.write(REPORT_PATH, &serde_json::to_string(&report).unwrap());
    }

    fn confirm(machine: &Machine, release: &str) {
        transaction::confirm(&machine.host, release, false).unwrap();
    }

    #[test]
    fn a_daemon_that_does_not_journal_takes_the_change_back() {
        let machine = Machine::with_one();
        let back = machine.apply(&journaling("two"), "two", Some(60)).unwrap();
        assert_eq!(back.state, State::Back);
        assert_eq!(back.reason, "journal: the daemon does not run");

        says(&machine, false);
        let back = machine.apply(&journaling("two"), "two", Some(60)).unwrap();
        let reason = "journal: the daemon is not connected to the broker";
        assert_eq!((back.state, back.reason.as_str()), (State::Back, reason));

        says(&machine, true);
        let waits = machine.apply(&journaling("two"), "two", Some(60)).unwrap();
        assert_eq!(waits.state, State::Waiting);
    }

    #[test]
    fn a_unit_that_is_started_afresh_all_the_time_takes_the_change_back() {
        let machine = Machine::with_one();
        machine.fake.state().flaps = Some(BROKER.to_owned());
        let back = machine.apply(&two(), "two", Some(60)).unwrap();
        assert_eq!(back.state, State::Back);
        let reason = "unit mosquitto.service: does not keep running";
        assert_eq!(back.reason, reason);
    }

    #[test]
    fn a_service_whose_start_has_no_name_is_not_known_to_keep_running() {
        let machine = Machine::with_one();
        machine.fake.state().nameless = true;
        let back = machine.apply(&two(), "two", Some(60)).unwrap();
        assert_eq!(back.state, State::Back);
        let reason = "unit mosquitto.service: systemd does not name its start";
        assert!(back.reason.contains(reason), "{}", back.reason);
    }

    #[test]
    fn a_daemon_that_did_not_journal_before_is_not_blamed_on_the_change() {
        let machine = Machine::with_one();
        says(&machine, true);
        machine.apply(&journaling("two"), "two", Some(60)).unwrap();
        confirm(&machine, "two");
        says(&machine, false);
        let waits = machine
            .apply(&journaling("three"), "three", Some(60))
            .unwrap();
        assert_eq!(waits.state, State::Waiting, "{}", waits.reason);
    }
}
