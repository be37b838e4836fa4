//! The steps of a deployment, as they should go, and how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use deploy::Secrets;
use sha2::{Digest as _, Sha256};
use site::answer::{Event, Outcome, Planned, State, Verdict};
use site::manifest::Manifest;

use crate::answers::{self, say};
use crate::machine::Machine;

#[test]
fn a_first_deployment_carries_everything_and_confirms_anew() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let ended = machine.deployed(&["--yes"]);
    ended.with(0).says(&[
        "connect",
        "transfer",
        "apply",
        "confirm",
        "2 held, 0 broken",
        "Next:",
    ]);
    assert_eq!(machine.asked(), ["plan", "apply", "confirm", "verify"]);

    // Whole, and as the manifest says.
    let manifest: Manifest = serde_json::from_str(&machine.read("stage/manifest.json")).unwrap();
    let carried = machine.read("stage/carried");
    for file in &manifest.files {
        let line = format!("{}  ./files{}", file.sha256, file.path);
        assert!(carried.contains(&line), "{line} is not in\n{carried}");
    }
    assert_eq!(carried.lines().count(), manifest.files.len() + 1);

    // The release is named for its manifest.
    let text = fs::read(machine.at("stage/manifest.json")).unwrap();
    let digest = Sha256::digest(&text);
    let digits: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let release = machine.read("stage/release");
    assert!(release.trim().ends_with(&digits), "{release} {digits}");

    let secrets = machine.at("home.secrets.toml");
    assert_eq!(
        fs::metadata(&secrets).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(Secrets::load(&secrets).unwrap().password("check").is_ok());
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_second_run_sends_no_program_and_changes_nothing() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.deployed(&["--yes"]).with(0);
    say(&machine, "plan", &answers::empty_plan());
    machine.write("stage/log", "");
    // The staged program is a copy of the installed one.
    machine
        .deployed(&[])
        .with(0)
        .says(&["the program is there already", "nothing to do"]);
    assert_eq!(machine.asked(), ["plan", "verify"]);
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_the_bastion_verified_by_itself_is_not_asked_again() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let held = Some(answers::report(&[Verdict::Held; 5]));
    let applied = Outcome {
        verify: held.clone(),
        ..answers::outcome(State::Waiting, "")
    };
    say(&machine, "apply", &applied);
    let ended = machine.deployed(&["--yes"]);
    ended.with(0).says(&["5 held, 0 broken"]);
    assert_eq!(machine.asked(), ["plan", "apply", "confirm"]);

    let planned = |verify| Planned {
        plan: answers::empty_plan(),
        verify,
    };
    say(&machine, "plan", &planned(held));
    machine.write("stage/log", "");
    let ended = machine.deployed(&[]);
    ended.with(0).says(&["5 held, 0 broken", "nothing to do"]);
    assert_eq!(machine.asked(), ["plan"]);

    let broken = Some(answers::report(&[Verdict::Held, Verdict::Broken]));
    say(&machine, "plan", &planned(broken));
    let ended = machine.deployed(&[]);
    ended.with(3).says(&["1 held, 1 broken", "broken: check 1"]);
}

#[test]
fn a_dry_run_leaves_nothing_anywhere() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine
        .deployed(&["--dry-run"])
        .with(2)
        .says(&["mosquitto.conf"]);
    assert_eq!(machine.asked(), ["plan"]);
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
    assert!(!machine.at("home.secrets.toml").exists());
    say(&machine, "plan", &answers::empty_plan());
    machine.deployed(&["--dry-run"]).with(0);
}

#[test]
fn nothing_is_lent_to_the_other_side() {
    let Some(machine) = Machine::start() else {
        return;
    };
    // The person's configuration asks for agent and X11 forwarding, and there is an agent.
    let agent = std::process::Command::new("ssh-agent")
        .args(["-a"])
        .arg(machine.at("agent"))
        .arg("-D")
        .stdout(std::process::Stdio::null())
        .spawn();
    let Ok(mut agent) = agent else {
        crate::machine::skipped("no ssh-agent here");
        return;
    };
    crate::machine::eventually("the agent is there", || machine.at("agent").exists());
    let program = machine.at("stand-in").display().to_string();
    let mut command = machine.deploy(&["--yes", "--program", &program]);
    let ended: crate::machine::Ended = command
        .env("SSH_AUTH_SOCK", machine.at("agent"))
        .env("DISPLAY", ":7")
        .output()
        .unwrap()
        .into();
    let _ = agent.kill();
    let _ = agent.wait();
    ended.with(0);
    for command in ["plan", "apply", "confirm"] {
        let env = machine.read(&format!("stage/env.{command}"));
        assert!(env.contains("SSH_CONNECTION="), "{env}");
        for lent in ["SSH_AUTH_SOCK", "DISPLAY"] {
            assert!(!env.contains(lent), "{command}: {env}");
        }
    }
    // Confirmed over another connection than applied.
    let connection = |command: &str| {
        let env = machine.read(&format!("stage/env.{command}"));
        let line = env.lines().find(|line| line.starts_with("SSH_CONNECTION="));
        line.unwrap().to_owned()
    };
    assert_eq!(connection("plan"), connection("apply"));
    assert_ne!(connection("apply"), connection("confirm"));
}

#[test]
fn without_a_person_or_yes_nothing_is_changed() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.deployed(&[]).with(1).says(&["--yes"]);
    assert_eq!(machine.asked(), ["plan"]);
    assert!(!machine.at("home.secrets.toml").exists());
}

#[test]
fn what_does_not_hold_is_said_with_a_code_of_its_own() {
    let Some(machine) = Machine::start() else {
        return;
    };
    say(
        &machine,
        "verify",
        &answers::report(&[Verdict::Held, Verdict::Broken]),
    );
    machine
        .deployed(&["--yes"])
        .with(3)
        .says(&["1 held, 1 broken", "broken: check 1"]);
}

#[test]
fn several_bastions_stop_at_the_first_failure() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let site = machine.read("home.toml");
    let first = site.find("[[bastion]]").unwrap();
    let end = site.find("[outbound]").unwrap();
    let table = site.get(first..end).unwrap();
    let mut more = String::new();
    for (name, number) in [("barn", "3"), ("mill", "4")] {
        let other = table
            .replace("name = \"pi\"", &format!("name = \"{name}\""))
            .replace("@127.0.0.1\"", &format!("@{name}\""))
            .replace("192.168.2.2\"", &format!("192.168.2.{number}\""))
            .replace("5a:2::2\"", &format!("5a:2::{number}\""));
        more.push_str(&other);
    }
    let site = format!(
        "{}{more}{}",
        site.get(..end).unwrap(),
        site.get(end..).unwrap()
    );
    machine.write("home.toml", &site);
    say(
        &machine,
        "apply",
        &answers::outcome(State::Back, "no login"),
    );
    machine
        .deployed(&["pi", "barn", "mill", "--yes"])
        .with(1)
        .says(&[
            "bastion pi",
            "no login",
            "not done for this reason: barn, mill",
        ]);
    machine
        .deployed(&["nobody", "--yes"])
        .with(1)
        .says(&["pi, barn, mill"]);
}

#[test]
fn history_status_and_rollback() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.install();
    let entries = [
        answers::entry("r1", Event::Confirmed, ""),
        answers::entry("r2", Event::Back, "no \u{1b}[31mlogin"),
    ];
    say(&machine, "history", &entries);
    let ended: crate::machine::Ended = machine.deploy(&["history"]).output().unwrap().into();
    ended
        .with(0)
        .says(&["confirmed", "went back", r"no \x1b[31mlogin"]);
    let ended: crate::machine::Ended = machine.deploy(&["status"]).output().unwrap().into();
    ended
        .with(0)
        .says(&["release", "old", "1 held, 0 broken", "8.0 GiB of 16.0 GiB"]);
    machine.write("stage/release", "r1");
    let mut back = answers::outcome(State::Waiting, "");
    back.plan.accounts.password = vec!["shellyem-1".to_owned()];
    say(&machine, "rollback", &back);
    let mut command = machine.deploy(&["rollback", "r1", "--yes"]);
    let ended: crate::machine::Ended = command.output().unwrap().into();
    ended.with(0).says(&[
        "release r1 is in place",
        "have the passwords of that release again: shellyem-1;",
        "before-<release>.secrets.toml",
    ]);
    let log = machine.read("stage/log");
    assert!(log.contains("rollback r1 --confirm-within 60"), "{log}");
    assert!(log.contains("confirm r1"), "{log}");
}

/// A folder in memory where no program may run, as `/run` is on most systems.
struct NoPrograms(std::path::PathBuf);

impl NoPrograms {
    fn mount(folder: std::path::PathBuf) -> Option<NoPrograms> {
        fs::create_dir_all(&folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "noexec,nosuid,nodev,size=16m", "tmpfs"])
            .arg(&folder)
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(NoPrograms(folder));
        }
        crate::machine::skipped("nothing can be mounted here; run as root");
        None
    }
}

impl Drop for NoPrograms {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-R")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn where_no_program_may_run_the_release_gets_a_mount_of_its_own() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let Some(_run) = NoPrograms::mount(machine.at("root/run")) else {
        return;
    };
    machine.write("stage/do.plan", "cat /proc/mounts >\"$STAGE/mounts\"\n");
    machine.deployed(&["--dry-run"]).with(2);
    let incoming = format!(
        "{}/shelly-bastion/incoming tmpfs",
        machine.at("root/run").display()
    );
    let during = machine.read("stage/mounts");
    assert!(during.contains(&incoming), "{during}");
    let after = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!after.contains(&incoming), "{after}");
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
    machine.deployed(&["--yes"]).with(0);
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
}
