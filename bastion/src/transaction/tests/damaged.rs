//! Ways back from a record that is damaged, cut or gone.

use std::fs;

use site::answer::State;
use site::manifest::{MOSQUITTO_CONF_PATH, RULESET_PATH};

use super::{WINDOW, confirmed, nothing_is_left, plan_is_empty, run};
use crate::fake::{Machine, check_same, one, two};
use crate::transaction::record;

#[test]
fn one_damaged_copy_of_the_record_is_no_harm() {
    for copy in record::COPIES {
        let machine = Machine::with_one();
        let before = machine.snapshot();
        machine.apply(&two(), "two", WINDOW).unwrap();
        let path = machine.at(record::FOLDER).join(copy);
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
                let folder = machine.at(record::FOLDER);
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
