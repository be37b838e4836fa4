//! The real program on a root folder of its own: killed at many moments, on a full disk, twice at
//! once. nft is the real one in a network namespace of its own; systemd is played by scripts.
//!
//! Needs root, `nft` and `unshare`; without them each test says that it was skipped. The tests
//! marked as ignored are the inner halves: they run in the namespace, and refuse to run elsewhere.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bastion::bundle::sha256;
use serde_json::{Value, json};
use site::answer::{Outcome, State};
use site::manifest::{
    FLOWS_PATH, FORMAT, FileEntry, MOSQUITTO_CONF_PATH, Manifest, PASSWD_PATH, RULESET_PATH, TABLE,
    UnitEntry, UnitState,
};
use tempfile::TempDir;

/// Names the namespace that must not be touched.
const OUTSIDE: &str = "BASTION_TEST_OUTSIDE";
/// What an inner half says at its end, so that one that did nothing is no pass.
const DONE: &str = "done in a namespace of its own";
/// Moments at which the program is killed.
const KILLS: u32 = 16;

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    link.to_str().unwrap().to_owned()
}

fn is_inside() -> bool {
    env::var(OUTSIDE).is_ok_and(|outside| outside != namespace())
}

/// Runs one of the inner halves in new namespaces, or says why not.
fn inside(inner: &str) {
    let unshare = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-n", "-m"]).arg(program).args(arguments);
        command.env(OUTSIDE, namespace());
        command.output()
    };
    let works = unshare(Path::new("nft"), &["list", "tables"]);
    if !works.is_ok_and(|output| output.status.success()) {
        // Not eprintln!: the test runner swallows what a passing test prints.
        let why = "no network namespace with nft (needs root, unshare, nftables)";
        let _ = writeln!(std::io::stderr(), "skipped: {inner}: {why}");
        return;
    }
    let own = env::current_exe().unwrap();
    let output = unshare(&own, &["--exact", inner, "--ignored", "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(DONE),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn killed_at_any_moment_it_goes_back() {
    inside("inside_killed_at_any_moment_it_goes_back");
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    inside("inside_a_full_disk_leaves_the_old_state");
}

#[test]
fn of_two_at_once_one_waits() {
    inside("inside_of_two_at_once_one_waits");
}

#[test]
fn a_client_that_goes_away_ends_nothing() {
    inside("inside_a_client_that_goes_away_ends_nothing");
}

/// A root folder with users, and scripts in place of systemd's programs.
struct Machine {
    root: PathBuf,
    _folder: Option<TempDir>,
}

impl Machine {
    fn new() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        Machine::at(root, Some(folder))
    }

    fn at(root: PathBuf, folder: Option<TempDir>) -> Machine {
        for path in ["etc/systemd/system", "run/systemd/system", "bin"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        let show = "printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n\
                    NRestarts=0\\nInvocationID=1\\n\\n'";
        let systemctl = format!(
            "#!/bin/sh\n[ \"$1\" = show ] || exit 0\nfor unit; do case $unit in *.service) {show};; esac; done\n"
        );
        let quiet = "#!/bin/sh\nexit 0\n".to_owned();
        for (name, script) in [("systemctl", systemctl), ("systemd-run", quiet)] {
            let path = root.join("bin").join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Machine {
            root,
            _folder: folder,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bastion"));
        let path = format!("{}/bin:{}", self.root.display(), env::var("PATH").unwrap());
        command.env("PATH", path).arg("--root").arg(&self.root);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    fn begin(&self, folder: &TempDir, id: &str) -> Child {
        self.command(&[
            "apply",
            folder.path().to_str().unwrap(),
            "--confirm-within",
            "600",
            "--release",
            id,
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
    }

    /// Every file but what remembers changes.
    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                let ours = "var/lib/shelly-bastion";
                if [
                    "run",
                    "bin",
                    &format!("{ours}/releases"),
                    &format!("{ours}/history.jsonl"),
                ]
                .contains(&name.as_str())
                {
                    continue;
                }
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                    continue;
                }
                let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
                let content = fs::read(&path).unwrap_or_default();
                found.insert(format!(
                    "{name} {mode:o} {}",
                    String::from_utf8_lossy(&content)
                ));
            }
        }
        found
    }
}

fn table() -> String {
    let output = Command::new("nft")
        .args(["--stateless", "list", "ruleset"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A rendered folder whose every file says which release it is of.
fn folder(release: &str, large: usize) -> TempDir {
    let rule = format!("rule-of-{release}");
    let ruleset = json!({"nftables": [
        {"add": {"table": {"family": "inet", "name": TABLE}}},
        {"delete": {"table": {"family": "inet", "name": TABLE}}},
        {"add": {"table": {"family": "inet", "name": TABLE}}},
        {"add": {"chain": {"family": "inet", "table": TABLE, "name": "input", "type": "filter",
                           "hook": "input", "prio": 0, "policy": "drop"}}},
        {"add": {"rule": {"family": "inet", "table": TABLE, "chain": "input", "comment": rule,
                          "expr": [{"accept": null}]}}},
    ]});
    let flows = json!({"rules": [{"name": rule, "flow": "F1", "says": "", "hook": "input",
                                  "matches": [], "action": "accept"}]});
    let own = format!("/etc/only/{release}");
    let files = [
        (RULESET_PATH, ruleset.to_string()),
        (FLOWS_PATH, flows.to_string()),
        (MOSQUITTO_CONF_PATH, format!("settings of {release}\n")),
        (PASSWD_PATH, format!("a:{release}\n")),
        (own.as_str(), "x".repeat(large)),
        (
            "/etc/systemd/system/mosquitto.service",
            format!("# {release}\n"),
        ),
    ];
    let manifest = Manifest {
        format: FORMAT,
        site: "home".to_owned(),
        bastion: "pi".to_owned(),
        version: release.to_owned(),
        files: files
            .iter()
            .map(|(path, content)| FileEntry {
                path: (*path).to_owned(),
                sha256: sha256(content.as_bytes()),
                mode: "0644".to_owned(),
                owner: "root".to_owned(),
                group: "root".to_owned(),
            })
            .collect(),
        packages: vec![],
        units: vec![UnitEntry {
            name: "mosquitto.service".to_owned(),
            state: UnitState::Running,
            restart_for: vec![MOSQUITTO_CONF_PATH.to_owned()],
            reload_for: vec![],
        }],
        accounts: vec!["a".to_owned()],
    };
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in &files {
        let path = folder
            .path()
            .join("files")
            .join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let manifest = serde_json::to_string(&manifest).unwrap();
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    folder
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

fn outcome(output: &Output) -> Outcome {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

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
