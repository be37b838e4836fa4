//! Changes, ways back and confirmations that are stopped dead before each of their steps, by a
//! signal or by a power cut.

use site::answer::{Event, State};

use super::{WINDOW, confirmed, events, nothing_is_left, plan_is_empty, run};
use crate::fake::{Machine, check_same, one, two};
use crate::firewall;
use crate::release;
use crate::transaction::finish;

/// More steps than any change has; a loop that comes here has gone wrong.
const MOST_STEPS: usize = 1000;

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
            finish(&machine.host).unwrap();
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
