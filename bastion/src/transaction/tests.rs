//! Changes that are confirmed, not confirmed, interrupted at every step, and undone from a damaged
//! record; whole machines are compared, as sets of paths, units and rules.

use std::fs;

use site::answer::{Event, State};
use site::manifest::{MOSQUITTO_CONF_PATH, RULESET_PATH};

use super::{confirmed, record, run};
use crate::fake::{BROKER, Machine, NEEDLESS, check_same, one, two};
use crate::firewall;
use crate::history;
use crate::host::Host;
use crate::plan::Change;
use crate::release;

const WINDOW: Option<u64> = Some(600);
/// More steps than any change has; a loop that comes here has gone wrong.
const MOST_STEPS: usize = 1000;

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
fn a_plan_on_a_fresh_machine_works_without_its_packages() {
    let machine = Machine::new();
    machine.write("/etc/passwd", "root:x:0:\n");
    machine.write("/etc/group", "root:x:0:\n");
    machine.fake.state().lacking.insert("mosquitto".to_owned());
    fs::remove_file(machine.at(&format!("/lib/systemd/system/{BROKER}"))).unwrap();
    machine.fake.state().active.remove(BROKER);
    let folder = one();
    let change = Change::of(&machine.host, folder.path()).unwrap();
    assert_eq!(change.plan.packages.len(), 1);
    assert!(change.plan.files.len() > 7, "{:?}", change.plan.files);
    let units: Vec<String> = change
        .plan
        .units
        .iter()
        .map(|unit| unit.name.clone())
        .collect();
    assert_eq!(units, [NEEDLESS, "shelly-bastion-policy.service", BROKER]);
    let before = machine.snapshot();
    let error = machine
        .apply(&folder, "one", WINDOW)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("packages are lacking: mosquitto 2.0.11 or later"),
        "{error}"
    );
    check_same(&machine.snapshot(), &before, "refused");
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
    check_taken_back(&machine, &one(), "systemctl mask --now --quiet avahi");
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

/// The heart of it: stopped dead before any step, the timer brings the whole state before back.
#[test]
fn a_change_cut_short_at_any_step_goes_back_whole() {
    for fresh in [true, false] {
        let (next, mut stopped) = if fresh { (one(), 0) } else { (two(), 0) };
        for steps in 0..MOST_STEPS {
            let machine = if fresh {
                Machine::new()
            } else {
                Machine::with_one()
            };
            let before = machine.snapshot();
            machine.die_after(steps);
            let outcome = machine.apply(&next, "next", WINDOW);
            if !machine.revive() {
                assert_eq!(outcome.unwrap().state, State::Waiting);
                break;
            }
            stopped += 1;
            run(&machine.host, false).unwrap();
            machine.fake.state().timer = false;
            super::finish(&machine.host).unwrap();
            // Left by a comparison before the change; the next one clears it away.
            firewall::remove_reference(&machine.host).unwrap();
            let mut found = machine.snapshot();
            leave_out_unarmed(&mut found);
            check_same(&found, &before, &format!("after step {steps}"));
        }
        eprintln!("stopped at each of {stopped} steps");
        assert!(stopped > 50, "only {stopped} steps");
    }
}

/// Killed before the record is whole, or while it is armed, the unit at boot may lie there: it
/// does nothing without a record, and the next change writes it anew.
fn leave_out_unarmed(found: &mut std::collections::BTreeSet<String>) {
    found.retain(|line| !line.contains("shelly-bastion-go-back.service"));
    found.retain(|line| !line.starts_with("/etc/systemd/system/sysinit.target.wants/"));
}

#[test]
fn a_change_cut_by_a_power_cut_at_any_step_starts_into_the_old_state() {
    for steps in 0..MOST_STEPS {
        let machine = Machine::with_one();
        let before = machine.snapshot();
        machine.die_after(steps);
        let outcome = machine.apply(&two(), "two", WINDOW);
        let stopped = machine.revive();
        machine.power_cut();
        run(&machine.host, true).unwrap();
        machine.finish_start();
        let mut found = machine.snapshot();
        leave_out_unarmed(&mut found);
        check_same(&found, &before, &format!("after step {steps}"));
        if !stopped {
            assert_eq!(outcome.unwrap().state, State::Waiting);
            break;
        }
    }
}

#[test]
fn going_back_may_be_cut_short_at_any_step() {
    for at_boot in [false, true] {
        for steps in 0..MOST_STEPS {
            let machine = Machine::with_one();
            let before = machine.snapshot();
            assert_eq!(
                machine.apply(&two(), "two", WINDOW).unwrap().state,
                State::Waiting
            );
            if at_boot {
                machine.power_cut();
            }
            machine.die_after(steps);
            let done = run(&machine.host, at_boot);
            let stopped = machine.revive();
            if stopped && at_boot {
                machine.power_cut();
            }
            run(&machine.host, at_boot).unwrap();
            if at_boot {
                machine.finish_start();
            }
            check_same(&machine.snapshot(), &before, &format!("after step {steps}"));
            let last = events(&machine).pop().unwrap();
            assert_eq!(last, ("two".to_owned(), Event::Back), "after step {steps}");
            if !stopped {
                done.unwrap();
                break;
            }
        }
    }
}

#[test]
fn a_confirmation_cut_short_at_any_step_is_old_or_new() {
    let mut held = 0;
    for steps in 0..MOST_STEPS {
        let machine = Machine::with_one();
        let old = machine.snapshot();
        assert_eq!(
            machine.apply(&two(), "two", WINDOW).unwrap().state,
            State::Waiting
        );
        machine.die_after(steps);
        let _ = confirmed(&machine.host, "two");
        let stopped = machine.revive();
        // Nobody confirms again: the timer decides.
        run(&machine.host, false).unwrap();
        nothing_is_left(&machine);
        if plan_is_empty(&machine.host, two().path()) {
            held += 1;
            assert_eq!(events(&machine).last().unwrap().1, Event::Confirmed);
        } else {
            check_same(&machine.snapshot(), &old, &format!("after step {steps}"));
            assert_eq!(held, 0, "taken back after it was confirmed");
        }
        if !stopped {
            break;
        }
    }
    assert!(held > 2);
}

#[test]
fn the_next_apply_repairs_what_was_cut_short() {
    for steps in (0..MOST_STEPS).step_by(3) {
        let machine = Machine::with_one();
        machine.die_after(steps);
        let _ = machine.apply(&two(), "two", WINDOW);
        if !machine.revive() {
            break;
        }
        let outcome = machine.apply(&two(), "two", None).unwrap();
        assert!(matches!(outcome.state, State::Confirmed | State::Nothing));
        assert!(
            plan_is_empty(&machine.host, two().path()),
            "after step {steps}"
        );
        assert_eq!(release::in_place(&machine.host).unwrap().unwrap(), "two");
    }
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

#[test]
fn one_damaged_copy_of_the_record_is_no_harm() {
    for copy in record::COPIES {
        let machine = Machine::with_one();
        let before = machine.snapshot();
        machine.apply(&two(), "two", WINDOW).unwrap();
        let path = machine.at(super::record::FOLDER).join(copy);
        let length = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        run(&machine.host, false).unwrap();
        check_same(&machine.snapshot(), &before, copy);
    }
}

type Damage = fn(&std::path::Path);

/// Whatever became of the record, the new rules must not stay: they may keep everybody out.
#[test]
fn with_a_damaged_record_the_old_rules_come_back() {
    let damage: [(&str, Damage); 3] = [
        ("zeroed", |path| {
            let length = fs::metadata(path).unwrap().len();
            fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }),
        ("cut", |path| {
            let content = fs::read(path).unwrap();
            fs::write(path, content.get(..content.len() / 2).unwrap()).unwrap();
        }),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, damage) in damage {
        for at_boot in [false, true] {
            for safe_too in [false, true] {
                let machine = Machine::with_one();
                let old = fs::read(machine.at(RULESET_PATH)).unwrap();
                let old_table = format!("{:?}", machine.fake.state().tables);
                machine.apply(&two(), "two", WINDOW).unwrap();
                let folder = machine.at(super::record::FOLDER);
                record::COPIES
                    .iter()
                    .for_each(|copy| damage(&folder.join(copy)));
                if safe_too {
                    for entry in fs::read_dir(folder.join("safe")).unwrap() {
                        damage(&entry.unwrap().path());
                    }
                }
                if at_boot {
                    machine.power_cut();
                }
                run(&machine.host, at_boot).unwrap_err();
                let loaded = format!("{:?}", machine.fake.state().tables);
                match (safe_too, at_boot) {
                    (false, false) => assert_eq!(loaded, old_table, "{what}"),
                    _ => assert_eq!(loaded, "{}", "{what}"),
                }
                if safe_too {
                    assert!(
                        !machine.at(RULESET_PATH).exists(),
                        "{what}: the new rules stay"
                    );
                } else {
                    assert_eq!(fs::read(machine.at(RULESET_PATH)).unwrap(), old, "{what}");
                }
                // The next apply puts all of it right.
                let outcome = machine.apply(&one(), "one", WINDOW).unwrap();
                assert_eq!(outcome.state, State::Waiting, "{what}: {}", outcome.reason);
                confirmed(&machine.host, "one").unwrap();
                assert!(plan_is_empty(&machine.host, one().path()));
                nothing_is_left(&machine);
            }
        }
    }
}

#[test]
fn what_cannot_be_brought_back_keeps_nothing_else_from_it() {
    let machine = Machine::with_one();
    let before = machine.snapshot();
    machine.apply(&two(), "two", WINDOW).unwrap();
    let folder = machine.at(record::FOLDER).join("before");
    let saved: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let settings = saved
        .iter()
        .find(|path| fs::read_to_string(path).unwrap() == "settings of one\n")
        .unwrap();
    fs::write(settings, "damage").unwrap();
    let error = run(&machine.host, false).unwrap_err().to_string();
    assert!(error.contains(MOSQUITTO_CONF_PATH), "{error}");
    assert!(
        machine.at(record::FOLDER).exists(),
        "the record is kept for the next try"
    );
    fs::write(settings, "settings of one\n").unwrap();
    run(&machine.host, false).unwrap();
    check_same(&machine.snapshot(), &before, "after the second try");
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
