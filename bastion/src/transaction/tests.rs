//! Changes that are confirmed, not confirmed, taken back and put in place again; whole machines are
//! compared, as sets of paths, units and rules.

mod cut_short;
mod damaged;

use site::answer::{Event, State};

use super::record::{self, Found};
use super::{confirmed, run};
use crate::fake::{Machine, check_same, one, two};
use crate::history;
use crate::host::Host;
use crate::plan::Change;
use crate::release;

const WINDOW: Option<u64> = Some(600);

fn events(machine: &Machine) -> Vec<(String, Event)> {
    let history = history::read(&machine.host).unwrap();
    history
        .into_iter()
        .map(|entry| (entry.release, entry.event))
        .collect()
}

fn nothing_is_left(machine: &Machine) {
    let left: Vec<String> = machine
        .snapshot()
        .into_iter()
        .filter(|line| {
            line.contains("transaction") || line.contains("go-back") || line.contains("-new")
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

fn plan_is_empty(host: &Host, folder: &std::path::Path) -> bool {
    Change::of(host, folder).unwrap().plan.is_empty()
}

#[test]
fn a_confirmed_change_holds() {
    let machine = Machine::new();
    let folder = one();
    let planned = Change::of(&machine.host, folder.path()).unwrap().plan;
    let outcome = machine.apply(&folder, "one", WINDOW).unwrap();
    assert_eq!(outcome.state, State::Waiting, "{}", outcome.reason);
    assert!(
        outcome
            .seconds_left
            .is_some_and(|left| (500..=600).contains(&left))
    );
    assert_eq!(outcome.plan, planned, "the plan said something else");
    assert!(machine.fake.state().timer);
    let outcome = confirmed(&machine.host, "one").unwrap();
    assert_eq!(outcome.state, State::Confirmed);
    assert!(!machine.fake.state().timer);
    nothing_is_left(&machine);
    assert!(plan_is_empty(&machine.host, folder.path()));
    let one = || "one".to_owned();
    assert_eq!(
        events(&machine),
        [(one(), Event::Applied), (one(), Event::Confirmed)]
    );
    // Neither asking again nor the timer that fired too late changes anything.
    let before = machine.snapshot();
    assert_eq!(
        confirmed(&machine.host, "one").unwrap().state,
        State::Nothing
    );
    run(&machine.host, false).unwrap();
    assert_eq!(
        machine.apply(&folder, "again", WINDOW).unwrap().state,
        State::Nothing
    );
    check_same(&machine.snapshot(), &before, "nothing to do");
    assert_eq!(release::in_place(&machine.host).unwrap(), Some(one()));
}

#[test]
fn an_unconfirmed_change_goes_back_whole() {
    for (machine, folder) in [(Machine::new(), one()), (Machine::with_one(), two())] {
        let before = machine.snapshot();
        assert_eq!(
            machine.apply(&folder, "next", WINDOW).unwrap().state,
            State::Waiting
        );
        assert_ne!(machine.snapshot(), before);
        run(&machine.host, false).unwrap();
        check_same(&machine.snapshot(), &before, "after the timer");
        assert_eq!(
            events(&machine).last().unwrap(),
            &("next".to_owned(), Event::Back)
        );
        assert_eq!(confirmed(&machine.host, "next").unwrap().state, State::Back);
        // The second run of the timer, or of the boot, finds nothing.
        run(&machine.host, true).unwrap();
        check_same(&machine.snapshot(), &before, "after the second run");
    }
}

/// A fault of the machine that makes a change fail, and keeps nothing from being brought back.
#[track_caller]
fn check_taken_back(machine: &Machine, folder: &tempfile::TempDir, says: &str) {
    let before = machine.snapshot();
    let outcome = machine.apply(folder, "next", WINDOW).unwrap();
    assert_eq!(outcome.state, State::Back, "{}", outcome.reason);
    assert!(outcome.reason.contains(says), "{}", outcome.reason);
    check_same(&machine.snapshot(), &before, says);
    assert_eq!(
        events(machine).last().unwrap(),
        &("next".to_owned(), Event::Back)
    );
}

#[test]
fn what_does_not_work_is_taken_back_at_once() {
    let machine = Machine::new();
    machine
        .fake
        .state()
        .failing
        .push("systemctl mask".to_owned());
    check_taken_back(&machine, &one(), "systemctl mask --no-reload --quiet avahi");
    let machine = Machine::with_one();
    machine.fake.state().broken_settings = Some("settings of two".to_owned());
    check_taken_back(
        &machine,
        &two(),
        "unit mosquitto.service: is inactive, shall run",
    );
    let machine = Machine::with_one();
    machine.fake.state().refused_accounts = Some("a:2".to_owned());
    check_taken_back(&machine, &two(), "broker: refuses");
    assert_eq!(release::in_place(&machine.host).unwrap().unwrap(), "one");
}

/// It was so before, and the change is not to blame; but on a machine that is new to us,
/// everything of ours has to work.
#[test]
fn an_old_fault_is_not_blamed_on_the_change() {
    let machine = Machine::with_one();
    machine.fake.state().refused_accounts = Some(":1".to_owned());
    assert_eq!(
        machine.apply(&two(), "two", WINDOW).unwrap().state,
        State::Waiting
    );
    let machine = Machine::new();
    machine.fake.state().refused_accounts = Some(":".to_owned());
    check_taken_back(&machine, &one(), "broker: refuses");
}

#[test]
fn a_unit_that_cannot_be_brought_back_is_tried_again() {
    let machine = Machine::with_one();
    let before = machine.snapshot();
    machine
        .fake
        .state()
        .failing
        .push("systemctl restart".to_owned());
    let outcome = machine.apply(&two(), "two", WINDOW).unwrap();
    assert_eq!(outcome.state, State::Half, "{}", outcome.reason);
    let error = machine
        .apply(&two(), "two", WINDOW)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be brought back"), "{error}");
    machine.fake.state().failing.clear();
    run(&machine.host, false).unwrap();
    check_same(&machine.snapshot(), &before, "at the second try");
}

#[test]
fn while_one_waits_no_other_is_put_in_place() {
    let machine = Machine::with_one();
    assert_eq!(
        machine.apply(&two(), "two", WINDOW).unwrap().state,
        State::Waiting
    );
    let before = machine.snapshot();
    let error = machine
        .apply(&one(), "three", WINDOW)
        .unwrap_err()
        .to_string();
    assert!(error.contains("two waits for its confirmation"), "{error}");
    let error = confirmed(&machine.host, "three").unwrap_err().to_string();
    assert!(
        error.contains("two waits for its confirmation, not three"),
        "{error}"
    );
    check_same(&machine.snapshot(), &before, "refused");
}

/// systemd counts seconds from now on anew at each reload of its units, which a change does itself:
/// seen on the virtual Pi, where the window became longer by all that had gone before.
#[test]
fn a_reload_of_the_units_does_not_move_the_end_of_the_window() {
    let machine = Machine::with_one();
    machine.apply(&two(), "two", WINDOW).unwrap();
    let Found::Sound(record) = record::find(&machine.host) else {
        panic!("there is no record");
    };
    let log = machine.fake.state().log.clone();
    let armed = log.iter().rfind(|words| words.starts_with("systemd-run "));
    let armed = armed.unwrap();
    let at = format!(" --on-boot={}s ", record.deadline_s);
    assert!(armed.contains(&at), "{armed}");
    // Should that uptime go by during a reload.
    assert!(armed.contains(" --on-active=600s "), "{armed}");
}

#[test]
fn an_earlier_release_is_put_in_place_again() {
    let machine = Machine::with_one();
    let first = machine.snapshot();
    machine.apply(&two(), "two", WINDOW).unwrap();
    confirmed(&machine.host, "two").unwrap();
    let options = crate::apply::Options {
        release: None,
        confirm_within: WINDOW,
        by: "tester",
        event: Event::Applied,
        json: false,
    };
    let rollback = |id| crate::rollback::rollback(&machine.host, id, &options);
    let outcome = rollback(None).unwrap();
    assert_eq!(
        (outcome.state, outcome.release.as_str()),
        (State::Waiting, "one")
    );
    confirmed(&machine.host, "one").unwrap();
    let snapshot = || {
        let mut found = machine.snapshot();
        // Folders that are empty now are left where they are.
        found.retain(|line| !line.starts_with("/etc/two/"));
        found
    };
    check_same(&snapshot(), &first, "rolled back");
    assert_eq!(rollback(None).unwrap().release, "two");
    run(&machine.host, false).unwrap();
    check_same(&snapshot(), &first, "not confirmed");
    let error = rollback(Some("three")).unwrap_err().to_string();
    assert!(error.contains("there are: one, two"), "{error}");
    let tried: Vec<Event> = events(&machine)
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    use Event::{Applied, Back, Confirmed, Rollback};
    assert_eq!(
        tried,
        [
            Applied, Applied, Confirmed, Rollback, Confirmed, Rollback, Back
        ]
    );
}
