//! A deployment shuts no meter out, and shows no secret.

use std::fs;

use deploy::Secrets;
use site::answer::{AccountChange, Plan};

use crate::answers::{self, say};
use crate::machine::{Machine, eventually};

const METER: &str = "shellyem-D3B45C";

fn changing_plan() -> Plan {
    Plan {
        accounts: AccountChange {
            password: vec![METER.to_owned()],
            ..AccountChange::default()
        },
        ..answers::plan()
    }
}

#[test]
fn a_change_of_password_is_refused_unless_asked_for() {
    let Some(machine) = Machine::start() else {
        return;
    };
    say(&machine, "plan", &changing_plan());
    machine
        .deployed(&["--yes"])
        .with(1)
        .says(&[METER, "--rotate", "home.secrets.toml is missing"]);
    assert_eq!(machine.asked(), ["plan"]);
    assert!(!machine.at("home.secrets.toml").exists());
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
    machine.deployed(&["--yes", "--rotate", METER]).with(0);
}

#[test]
fn a_rotation_that_did_not_hold_is_taken_back() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.deployed(&["--yes"]).with(0);
    let before = machine.read("home.secrets.toml");
    say(&machine, "plan", &changing_plan());
    say(
        &machine,
        "apply",
        &answers::outcome(site::answer::State::Back, "no login"),
    );
    machine
        .deployed(&["--yes", "--rotate", METER])
        .with(1)
        .says(&["no login"]);
    assert_eq!(machine.read("home.secrets.toml"), before);
}

#[test]
fn no_secret_is_in_any_command_line_or_output() {
    let Some(machine) = Machine::start() else {
        return;
    };
    // Held open during apply, so that every process can be looked at.
    let install = machine.read("stage/do.apply");
    let go = machine.at("stage/go");
    let wait = format!(
        "{install}\n: >\"$STAGE/applying\"\nwhile [ ! -e {} ]; do sleep 0.05; done\n",
        go.display()
    );
    machine.write("stage/do.apply", &wait);
    let child = machine.start_deploying(&["--yes"]);
    eventually("apply is under way", || {
        machine.at("stage/applying").exists()
    });
    let secrets = Secrets::load(&machine.at("home.secrets.toml")).unwrap();
    let mut words: Vec<String> = ["check", "collector", METER]
        .iter()
        .map(|name| secrets.password(name).unwrap().expose().to_owned())
        .collect();
    words.extend(["check", METER].map(|name| {
        let line = secrets.passwd_line(name).unwrap();
        line.rsplit('$').next().unwrap().to_owned()
    }));
    let mut seen = 0;
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(line) = fs::read(entry.unwrap().path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        seen += usize::from(line.contains("ssh_config"));
        for word in &words {
            assert!(!line.contains(word.as_str()), "a secret is in {line:?}");
        }
    }
    assert!(seen > 1, "the scan has to see the deployer and its ssh");
    machine.write("stage/go", "");
    let ended: crate::machine::Ended = child.wait_with_output().unwrap().into();
    ended.with(0);
    for word in &words {
        assert!(!ended.out.contains(word.as_str()) && !ended.err.contains(word.as_str()));
        assert!(!machine.read("stage/log").contains(word.as_str()));
    }
}
