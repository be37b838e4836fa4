//! The script that looks, run on this machine: what it prints, and that it changes nothing.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use deploy::facts::{self, Facts, Sudo, Version};

use crate::folder;

/// The script itself, as it runs on a machine: read from standard input, as over SSH.
fn look(shell: &[&str]) -> String {
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .arg("-s")
        .env("SSH_CONNECTION", "192.168.1.10 51422 192.168.2.2 22")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut script = child.stdin.take().unwrap();
    script.write_all(facts::SCRIPT.as_bytes()).unwrap();
    drop(script);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(complaints, "", "the script complains");
    String::from_utf8(output.stdout).unwrap()
}

/// What this machine answers.
static HERE: LazyLock<String> = LazyLock::new(|| look(&["sh"]));

#[test]
fn the_script_looks_at_this_machine() {
    let answer = &*HERE;
    assert!(
        answer.len() < facts::LONGEST_ANSWER,
        "{} bytes",
        answer.len()
    );
    let facts = Facts::parse(answer).unwrap();
    let uname = Command::new("uname").arg("-m").output().unwrap();
    assert_eq!(facts.machine, String::from_utf8_lossy(&uname.stdout).trim());
    assert!(!facts.user.is_empty());
    assert_ne!(facts.sudo, Sudo::Unknown);
    assert!(facts.clock.unwrap() > 1_700_000_000);
    assert!(facts.memory_kib.unwrap() > 0);
    assert!(facts.disk("/").unwrap().total_kib > 0, "{:?}", facts.disks);
    assert!(facts.mount_of("/").is_some(), "{:?}", facts.mounts);
    assert_eq!(facts.ssh_from.unwrap().2, 22);
    if Path::new("/etc/debian_version").exists() {
        assert!(!facts.architecture.is_empty());
        assert!(facts.glibc.unwrap() >= Version(2, 28, 0));
        assert!(
            facts
                .package("libc6")
                .is_some_and(|package| package.installed.is_some())
        );
    } else {
        skipped("what Debian alone has; this is another system");
    }
}

#[test]
fn every_answer_has_the_sections_of_the_script() {
    // Root's answers come together, in whatever place.
    let sections = |answer: &str| {
        let lines = answer.lines().filter(|line| line.starts_with("== "));
        let mut sections: Vec<String> = lines.map(str::to_owned).collect();
        sections.sort();
        sections
    };
    let here = sections(&HERE);
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let answer = fs::read_to_string(&path).unwrap();
        assert_eq!(sections(&answer), here, "{}", path.display());
    }
}

#[test]
fn the_script_runs_in_other_small_shells_too() {
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        if Command::new(shell[0]).arg("-c").arg(":").output().is_err() {
            skipped(&format!("{} is not installed", shell[0]));
            continue;
        }
        assert!(!Facts::parse(&look(shell)).unwrap().machine.is_empty());
    }
}

#[test]
fn the_script_writes_nothing() {
    for word in [
        "rm ",
        "mv ",
        "tee ",
        "mkdir",
        "touch",
        "install ",
        "apt-get update",
        " dd if",
    ] {
        let writes = facts::SCRIPT
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .any(|line| line.contains(word));
        assert!(!writes, "{word:?} stands in the script");
    }
    let redirections = facts::SCRIPT
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('>').skip(1))
        .filter(|target| !target.starts_with("/dev/null") && !target.starts_with("&1"));
    assert_eq!(redirections.count(), 0);
}

/// Says that a check was skipped.
fn skipped(why: &str) {
    // Not eprintln!: the test runner swallows what a passing test prints.
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
