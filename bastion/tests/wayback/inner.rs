//! The inner halves: each runs in namespaces of its own, and refuses to run elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use site::answer::State;

use super::machine::{Machine, table};
use super::release::{folder, outcome, path};
use super::{DONE, KILLS, is_inside};

#[test]
#[ignore = "the inner half of killed_at_any_moment_it_goes_back"]
fn inside_killed_at_any_moment_it_goes_back() {
    if !is_inside() {
        return;
    }
    let (one, two) = (folder("one", 10), folder("two", 10));
    let machine = Machine::new();
    machine.succeeds(&["apply", path(&one), "--release", "one"]);
    let (files, rules) = (machine.files(), table());
    let start = std::time::Instant::now();
    let output = machine.begin(&two, "two").wait_with_output().unwrap();
    assert_eq!(outcome(&output).state, State::Waiting);
    let whole = start.elapsed();
    machine.succeeds(&["go-back"]);
    let mut half = 0;
    for moment in 0..KILLS {
        let mut child = machine.begin(&two, "two");
        // The moment is what is tried here; nothing is waited for.
        std::thread::sleep(whole * moment / KILLS + Duration::from_millis(1));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        half += u32::from(machine.files() != files && !ended.status.success());
        machine.succeeds(&["go-back"]);
        let when = format!("killed at moment {moment} of {KILLS}");
        // What was cut before the record was whole is cleared away by the next change.
        let mut found = machine.files();
        found.retain(|name| !name.contains("transaction-new") && !name.contains("go-back"));
        let expected: BTreeSet<String> = files.clone();
        let more: Vec<_> = found.difference(&expected).collect();
        let less: Vec<_> = expected.difference(&found).collect();
        assert!(
            more.is_empty() && less.is_empty(),
            "{when}: {more:?} {less:?}"
        );
        machine.succeeds(&["plan", path(&one)]);
        assert_eq!(table(), rules, "{when}");
    }
    println!("{half} of {KILLS} kills left something to bring back");
    assert!(half > 0, "no kill came in between");
    let output = machine.begin(&two, "two").wait_with_output().unwrap();
    assert_eq!(outcome(&output).state, State::Waiting);
    machine.succeeds(&["confirm", "two"]);
    machine.succeeds(&["plan", path(&two)]);
    println!("{DONE}");
}

#[test]
#[ignore = "the inner half of a_full_disk_leaves_the_old_state"]
fn inside_a_full_disk_leaves_the_old_state() {
    if !is_inside() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(disk.path())
        .status()
        .unwrap();
    assert!(mounted.success());
    let machine = Machine::at(disk.path().to_owned(), None);
    let one = folder("one", 10);
    machine.succeeds(&["apply", path(&one), "--release", "one"]);
    let (files, rules) = (machine.files(), table());
    let mut refused = 0;
    // Room for the release, for the record too, for the new files too.
    for large in [1, 2, 3, 4, 5, 6, 8, 14] {
        let two = folder("two", large * 512 * 1024);
        // A program that was built for tests is large itself.
        let output = machine.begin(&two, "two").wait_with_output().unwrap();
        let waits = output.status.success();
        refused += u32::from(!waits);
        if waits {
            machine.succeeds(&["go-back"]);
        }
        let found = machine.files();
        let more: Vec<String> = found
            .difference(&files)
            .map(|name| name.chars().take(80).collect())
            .collect();
        let less: Vec<_> = files.difference(&found).collect();
        assert!(
            more.is_empty() && less.is_empty(),
            "{large}: {more:?} {less:?} {output:?}"
        );
        assert_eq!(table(), rules, "{large}");
        machine.succeeds(&["plan", path(&one)]);
        let _ = fs::remove_dir_all(machine.root.join("var/lib/shelly-bastion/releases/two"));
    }
    println!("refused {refused} of 8");
    assert!(refused > 0, "the disk was never full");
    assert!(
        Command::new("umount")
            .arg(disk.path())
            .status()
            .unwrap()
            .success()
    );
    println!("{DONE}");
}

#[test]
#[ignore = "the inner half of of_two_at_once_one_waits"]
fn inside_of_two_at_once_one_waits() {
    if !is_inside() {
        return;
    }
    let machine = Machine::new();
    let (two, three) = (folder("two", 10), folder("three", 10));
    machine.succeeds(&["apply", path(&folder("one", 10)), "--release", "one"]);
    let children = [machine.begin(&two, "two"), machine.begin(&three, "three")];
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    let [won, lost]: [Vec<&Output>; 2] = [true, false].map(|success| {
        outputs
            .iter()
            .filter(|output| output.status.success() == success)
            .collect()
    });
    let (&[won], &[lost]) = (won.as_slice(), lost.as_slice()) else {
        panic!("{outputs:?}");
    };
    let winner = outcome(won).release;
    let complaint = String::from_utf8_lossy(&lost.stderr);
    assert!(
        complaint.contains(&format!("{winner} waits for its confirmation")),
        "{complaint}"
    );
    machine.succeeds(&["confirm", &winner]);
    let history = machine.succeeds(&["history", "--json"]);
    let history: Vec<Value> = serde_json::from_slice(&history.stdout).unwrap();
    let events: Vec<&str> = history
        .iter()
        .map(|entry| entry.get("event").unwrap().as_str().unwrap())
        .collect();
    assert_eq!(events, ["applied", "applied", "confirmed"]);
    println!("{DONE}");
}

/// sudo hands SIGHUP on when the connection breaks, and nobody reads what is said.
#[test]
#[ignore = "the inner half of a_client_that_goes_away_ends_nothing"]
fn inside_a_client_that_goes_away_ends_nothing() {
    if !is_inside() {
        return;
    }
    let machine = Machine::new();
    let (one, two) = (folder("one", 10), folder("two", 10));
    machine.succeeds(&["apply", path(&one), "--release", "one"]);
    let mut child = machine.begin(&two, "two");
    drop((child.stdout.take(), child.stderr.take()));
    let transaction = machine.root.join("var/lib/shelly-bastion/transaction");
    while !transaction.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it began"
        );
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
    machine.succeeds(&["confirm", "two"]);
    machine.succeeds(&["plan", path(&two)]);
    println!("{DONE}");
}
