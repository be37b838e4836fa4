//! What goes wrong: links that are cut, answers that are lost or hostile, two deployers at once.

use site::answer::State;

use crate::answers::{self, say};
use crate::machine::{Ended, Machine, eventually};

/// Kills the server's process of the connection that this runs in.
const CUT: &str = r#"
p=$$
while [ "$p" -gt 1 ]; do
  p=$(sed 's/.*) . //' "/proc/$p/stat" | cut -d' ' -f1)
  case $(cat "/proc/$p/comm") in sshd*) kill -9 "$p"; break ;; esac
done
"#;

#[test]
fn a_link_that_is_cut_before_the_change_changes_nothing() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write("stage/do.plan", CUT);
    machine.deployed(&["--yes"]).with(1);
    assert_eq!(machine.asked(), ["plan"]);
    eventually("the lock falls and staging goes", || {
        machine.left().is_empty()
    });
}

#[test]
fn a_link_that_is_cut_during_apply_is_confirmed_if_it_waits() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let install = machine.read("stage/do.apply");
    machine.write("stage/do.apply", &format!("{install}{CUT}"));
    say(
        &machine,
        "status",
        &answers::status(Some("@RELEASE@"), Some(("@RELEASE@", 50))),
    );
    // What verifies ran over the cut connection; in place is in place.
    let ended = machine.deployed(&["--yes"]);
    ended.says(&["it waits for the confirmation", "over a new connection"]);
    assert!(machine.asked().contains(&"confirm".to_owned()));
    ended.with(0);
}

#[test]
fn a_link_that_is_cut_during_apply_is_told_if_it_went_back() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.install();
    machine.write("stage/do.apply", CUT);
    let ended = machine.deployed(&["--yes", "--confirm-within", "10"]);
    ended
        .with(1)
        .says(&["nothing waits", "in place is release old"]);
    assert!(!machine.asked().contains(&"confirm".to_owned()));
}

#[test]
fn a_change_that_takes_longer_than_its_window_is_told_what_helps() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.install();
    machine.write("stage/do.apply", &format!("sleep 11\n{CUT}"));
    let ended = machine.deployed(&["--yes", "--confirm-within", "10"]);
    ended.with(1).says(&[
        "longer than the 10 s",
        "--confirm-within",
        "in place is release old",
    ]);
}

#[test]
fn without_a_new_connection_the_bastion_goes_back() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let mut waiting = answers::outcome(State::Waiting, "");
    waiting.seconds_left = Some(2);
    say(&machine, "apply", &waiting);
    // The policy lets nobody in anew; the way back does.
    let install = machine.read("stage/do.apply");
    let keys = machine.at("authorized_keys");
    let keys = keys.display();
    machine.write(
        "stage/do.apply",
        &format!(
            "{install}\nmv {keys} {keys}.away; (sleep 4; mv {keys}.away {keys}) >/dev/null 2>&1 &\n"
        ),
    );
    let ended = machine.deployed(&["--yes"]);
    ended.with(1).says(&[
        "no new connection came up within the window",
        "goes back to the state before by itself",
        "SSH answers; in place is release old",
    ]);
    assert!(!machine.asked().contains(&"confirm".to_owned()));
}

#[test]
fn a_confirmation_that_is_refused_is_a_failure() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write(
        "stage/do.confirm",
        "echo 'nothing waits' >&2; code=1; rm -f \"$STAGE/answer.confirm\"\n",
    );
    let ended = machine.deployed(&["--yes"]);
    ended
        .with(1)
        .says(&["nothing waits", "in place is release old"]);
}

#[test]
fn hostile_answers_are_bounded_and_neutralised() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write(
        "stage/do.plan",
        "yes '{\"format\":1,' | head -c 10000000; exit 0\n",
    );
    machine
        .deployed(&["--yes"])
        .with(1)
        .says(&["more than 8388608 bytes"]);
    machine.write(
        "stage/do.plan",
        "printf '\\033[2Jgone\\n' >&2; printf '\\033]0;x\\007'; exit 1\n",
    );
    let ended = machine.deployed(&["--yes"]);
    ended.with(1).says(&[r"\x1b[2Jgone"]);
    assert!(!ended.err.contains('\u{1b}') && !ended.out.contains('\u{1b}'));
    machine.write("stage/do.plan", "echo '{\"format\":99}'; exit 0\n");
    machine.deployed(&["--yes"]).with(1).says(&["`plan`"]);
    let deep = format!("printf '{}'; exit 0\n", "[".repeat(100_000));
    machine.write("stage/do.plan", &deep);
    machine
        .deployed(&["--yes"])
        .with(1)
        .says(&["not understood"]);
}

#[test]
fn the_second_deployer_is_told_who_is_at_it() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write(
        "stage/do.plan",
        ": >\"$STAGE/planning\"\nwhile [ ! -e \"$STAGE/go\" ]; do sleep 0.05; done\n",
    );
    let first = machine.start_deploying(&["--dry-run"]);
    eventually("the first one plans", || {
        machine.at("stage/planning").exists()
    });
    machine
        .deployed(&["--yes"])
        .with(1)
        .says(&["another deployment is under way", "since 20"]);
    machine.write("stage/go", "");
    let ended: Ended = first.wait_with_output().unwrap().into();
    ended.with(2);
    machine.deployed(&["--dry-run"]).with(2);
}

#[test]
fn a_killed_deployer_leaves_no_lock_and_no_staging() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write(
        "stage/do.plan",
        ": >\"$STAGE/planning\"\nwhile [ ! -e \"$STAGE/go\" ]; do sleep 0.05; done\n",
    );
    let mut first = machine.start_deploying(&["--yes"]);
    eventually("it plans", || machine.at("stage/planning").exists());
    assert!(!machine.left().is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    eventually("lock and staging are gone", || machine.left().is_empty());
    machine.write("stage/go", "");
    machine.deployed(&["--dry-run"]).with(2);
}

#[test]
fn an_interrupt_says_what_is_true_there() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let install = machine.read("stage/do.apply");
    machine.write(
        "stage/do.apply",
        &format!(
            "{install}\n: >\"$STAGE/applying\"\nwhile [ ! -e \"$STAGE/go\" ]; do sleep 0.05; done\n"
        ),
    );
    let child = machine.start_deploying(&["--yes"]);
    eventually("it applies", || machine.at("stage/applying").exists());
    let told = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    let ended: Ended = child.wait_with_output().unwrap().into();
    machine.write("stage/go", "");
    ended
        .with(1)
        .says(&["interrupted", "goes back to the state before by itself"]);
}

#[test]
fn a_login_that_is_refused_names_the_remedy() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write("authorized_keys", "");
    machine
        .deployed(&["--yes"])
        .with(1)
        .says(&["Permission denied", "ssh-copy-id"]);
}

#[test]
fn without_sudo_nothing_is_changed() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write("bin/sudo", "#!/bin/sh\nexit 1\n");
    machine.deployed(&["--yes"]).with(1).says(&["sudo"]);
    assert!(machine.asked().is_empty());
}
