//! The host key is always checked.

use std::process::Command;

use crate::machine::{Ended, Machine, key};

#[test]
fn an_unknown_host_is_refused_with_its_fingerprint() {
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.write("known_hosts", "");
    machine.deployed(&["--yes"]).with(1).says(&[
        "not known",
        "SHA256:",
        "--new-host",
        "ssh_host_ed25519_key",
    ]);
    assert!(machine.asked().is_empty());
    assert_eq!(machine.read("known_hosts"), "");
}

#[test]
fn a_changed_key_is_refused_with_both_fingerprints() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let known = machine.read("known_hosts");
    key(&machine.at("other"));
    let name = known.split(' ').next().unwrap();
    let other = format!("{name} {}", machine.read("other.pub"));
    machine.write("known_hosts", &other);
    let ended = machine.deployed(&["--yes"]);
    ended.with(1).says(&[
        "not the one that is known",
        &print(&machine, "host"),
        &print(&machine, "other"),
    ]);
    assert!(machine.asked().is_empty());
    // Nobody is there to look, and --yes is no look.
    machine
        .deployed(&["--yes", "--new-host"])
        .with(1)
        .says(&["not answered by --yes"]);
    assert_eq!(machine.read("known_hosts"), other);
}

#[test]
fn a_new_key_is_taken_in_after_a_typed_yes() {
    let Some(machine) = Machine::start() else {
        return;
    };
    let known = machine.read("known_hosts");
    let Some(refused) = typed(&machine, "no") else {
        return;
    };
    refused
        .with(1)
        .says(&["Is this the machine?", "not taken in"]);
    key(&machine.at("other"));
    let name = known.split(' ').next().unwrap();
    machine.write(
        "known_hosts",
        &format!("{name} {}", machine.read("other.pub")),
    );
    let Some(taken) = typed(&machine, "yes") else {
        return;
    };
    taken
        .with(0)
        .says(&[&print(&machine, "host"), &print(&machine, "other")]);
    let now = machine.read("known_hosts");
    let host = machine.read("host.pub");
    assert!(now.contains(host.split(' ').nth(1).unwrap()), "{now}");
    let other = machine.read("other.pub");
    assert!(!now.contains(other.split(' ').nth(1).unwrap()), "{now}");
    machine.deployed(&["--yes"]).with(0);
}

/// A deployment on a terminal, where a person types a word.
fn typed(machine: &Machine, word: &str) -> Option<Ended> {
    if Command::new("script").arg("--version").output().is_err() {
        crate::machine::skipped("no `script` to have a terminal (apt-get install bsdutils)");
        return None;
    }
    if word == "no" {
        machine.write("known_hosts", "");
    }
    let program = machine.at("stand-in").display().to_string();
    let command = machine.deploy(&["--new-host", "--yes", "--program", &program]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut typing = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &line.join(" "),
            "/dev/null",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = typing.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, format!("{word}\n").as_bytes()).unwrap();
    // The end of input would be typed as well, so it comes last.
    let ended = typing.wait_with_output().unwrap().into();
    drop(stdin);
    Some(ended)
}

fn print(machine: &Machine, name: &str) -> String {
    let said = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(machine.at(&format!("{name}.pub")))
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}
