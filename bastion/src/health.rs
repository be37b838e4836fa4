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
use crate::verify;

/// A broker with hundreds of accounts on a slow processor needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);
const ONE_LOOK: Duration = Duration::from_millis(500);
/// A unit that ends at once is started afresh after two seconds, which is seen by looking for longer
/// than that: at two moments or at many, since each start has a name of its own.
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

/// Asks before the change. The lock must be held.
pub(crate) fn before(host: &Host) -> Baseline {
    Baseline {
        report: verify::report(host),
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
        let (steady, mut faults) = steady(host, &names, end);
        let report = verify::report(host);
        faults.extend(blamed(before, &report));
        // While we asked the broker, somebody may have fallen over.
        faults.extend(moved(&names, &steady, &look(host, &names)));
        if faults.is_empty() || host.system().now() > end {
            faults.sort();
            faults.dedup();
            return Health { report, faults };
        }
        host.system().pause(ONE_LOOK);
    }
}

/// Waits until all units run and nobody is started afresh any more, and says who is not steady
/// when patience is over.
fn steady(host: &Host, names: &[&str], end: Duration) -> (Vec<Unit>, Vec<String>) {
    let mut last = look(host, names);
    let mut since = host.system().now();
    let mut looked_at = since;
    loop {
        let mut faults = idle(names, &last);
        let long_enough = looked_at.saturating_sub(since) >= STEADY;
        if (long_enough && faults.is_empty()) || names.is_empty() {
            return (last, faults);
        }
        host.system().pause(ONE_LOOK);
        looked_at = host.system().now();
        let now = look(host, names);
        let moved = moved(names, &last, &now);
        if !moved.is_empty() || !faults.is_empty() {
            since = host.system().now();
        }
        if host.system().now() > end {
            faults.extend(moved);
            return (now, faults);
        }
        last = now;
    }
}

fn look(host: &Host, names: &[&str]) -> Vec<Unit> {
    if !host.has_systemd() {
        return vec![Unit::default(); names.len()];
    }
    // Nothing is worse than not knowing: an empty answer counts as not running.
    units::show(host, names, &[]).unwrap_or_else(|_| vec![Unit::default(); names.len()])
}

fn idle(names: &[&str], units: &[Unit]) -> Vec<String> {
    let pairs = names.iter().zip(units);
    pairs
        .filter(|(_, unit)| !unit.is_active())
        .map(|(name, unit)| format!("unit {name}: is {}, shall run", unit.active))
        .collect()
}

fn moved(names: &[&str], before: &[Unit], now: &[Unit]) -> Vec<String> {
    let pairs = names.iter().zip(before.iter().zip(now));
    pairs
        .filter(|(_, (before, now))| {
            before.restarts != now.restarts || before.invocation != now.invocation
        })
        .map(|(name, _)| format!("unit {name}: does not keep running"))
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
    use crate::fake::{Machine, journaling};
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
