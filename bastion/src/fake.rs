//! A machine for tests: a folder for its files, and systemd, nft and dpkg played in memory.
//!
//! It can be stopped dead before any step: from then on it does nothing at all, as after SIGKILL.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use site::answer::{Outcome, Report};
use site::manifest::{
    FLOWS_PATH, FORMAT, FileEntry, MOSQUITTO_CONF_PATH, Manifest, PASSWD_PATH, PROGRAM_PATH,
    PackageEntry, RULESET_PATH, TABLE, UnitEntry, UnitState,
};
use tempfile::TempDir;

use crate::apply::{self, Options};
use crate::bundle::sha256;
use crate::host::Host;
use crate::system::{Answer, Call, System};

pub(crate) const BROKER: &str = "mosquitto.service";
pub(crate) const POLICY: &str = "shelly-bastion-policy.service";
pub(crate) const NEEDLESS: &str = "avahi-daemon.service";
const UNITS: &str = "/etc/systemd/system";

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Units that run, with what changes at each start.
    pub(crate) active: BTreeMap<String, u64>,
    /// Commands that made each table.
    pub(crate) tables: BTreeMap<String, Vec<Value>>,
    /// Whether the timer that goes back runs.
    pub(crate) timer: bool,
    /// Packages that are not installed.
    pub(crate) lacking: BTreeSet<String>,
    /// Calls that begin so fail.
    pub(crate) failing: Vec<String>,
    /// The broker falls over when its settings hold this.
    pub(crate) broken_settings: Option<String>,
    /// The broker refuses when its accounts hold this.
    pub(crate) refused_accounts: Option<String>,
    /// Every call that changes something.
    pub(crate) log: Vec<String>,
    clock: Duration,
    starts: u64,
    steps: usize,
    dies_after: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Fake {
    root: PathBuf,
    state: Mutex<State>,
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn alive(&self, counts: bool) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if counts {
            state.steps += 1;
        }
        if state.dies_after.is_some_and(|last| state.steps > last) {
            bail!("dead");
        }
        Ok(state)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn holds(&self, path: &str, words: Option<&str>) -> bool {
        let content = fs::read_to_string(self.at(path)).unwrap_or_default();
        words.is_some_and(|words| content.contains(words))
    }

    fn is_masked(&self, unit: &str) -> bool {
        fs::read_link(self.at(&format!("{UNITS}/{unit}")))
            .is_ok_and(|target| target == Path::new("/dev/null"))
    }

    fn wants(&self, unit: &str) -> PathBuf {
        self.at(&format!("{UNITS}/multi-user.target.wants/{unit}"))
    }

    fn show(&self, state: &State, unit: &str) -> String {
        let there = [UNITS, "/lib/systemd/system"]
            .iter()
            .any(|folder| self.at(&format!("{folder}/{unit}")).exists());
        let enabled = fs::symlink_metadata(self.wants(unit)).is_ok();
        let (load, file) = match () {
            () if self.is_masked(unit) => ("masked", "masked"),
            () if !there => ("not-found", ""),
            () if enabled => ("loaded", "enabled"),
            () => ("loaded", "disabled"),
        };
        let run = state.active.get(unit);
        format!(
            "LoadState={load}\nActiveState={}\nUnitFileState={file}\nNRestarts=0\nInvocationID={}\n",
            if run.is_some() { "active" } else { "inactive" },
            run.copied().unwrap_or_default()
        )
    }

    fn systemctl(&self, state: &mut State, arguments: &[&str]) -> Result<Answer> {
        let words: Vec<&str> = arguments
            .iter()
            .copied()
            .filter(|word| !word.starts_with("--"))
            .collect();
        let (verb, units) = words.split_first().unwrap();
        let mut failed = false;
        let mut said = Vec::new();
        for unit in units {
            match *verb {
                "show" => said.push(self.show(state, unit)),
                "start" | "restart" if self.is_masked(unit) => failed = true,
                "start" if state.active.contains_key(*unit) => {}
                "start" | "restart" => {
                    state.starts += 1;
                    let number = state.starts;
                    state.active.remove(*unit);
                    let broken = state.broken_settings.as_deref();
                    if *unit != BROKER || !self.holds(MOSQUITTO_CONF_PATH, broken) {
                        state.active.insert((*unit).to_owned(), number);
                    }
                }
                "reload" => failed |= !state.active.contains_key(*unit),
                "stop" if unit.ends_with(".timer") => state.timer = false,
                "stop" => drop(state.active.remove(*unit)),
                "is-active" => failed |= !state.timer,
                "mask" => {
                    state.active.remove(*unit);
                    symlink("/dev/null", self.at(&format!("{UNITS}/{unit}")))?;
                }
                "unmask" => fs::remove_file(self.at(&format!("{UNITS}/{unit}")))?,
                "enable" => {
                    let link = self.wants(unit);
                    fs::create_dir_all(link.parent().unwrap())?;
                    symlink(format!("/lib/systemd/system/{unit}"), link)?;
                }
                "disable" => {
                    state.active.remove(*unit);
                    let _ = fs::remove_file(self.wants(unit));
                }
                _ => bail!("systemctl {verb} is not played"),
            }
        }
        Ok(answer(!failed, &said.join("\n")))
    }

    fn nft(state: &mut State, call: &Call<'_>) -> Answer {
        match call.arguments.as_slice() {
            ["-c", ..] => answer(true, ""),
            ["-j", "-f", "-"] => {
                let input: Value = serde_json::from_str(call.input.as_ref().unwrap()).unwrap();
                for command in input.get("nftables").unwrap().as_array().unwrap() {
                    change(&mut state.tables, command);
                }
                answer(true, "")
            }
            ["-j", "list", "tables"] => {
                let tables = state.tables.keys();
                let tables: Vec<Value> = tables
                    .map(|name| json!({"table": {"family": "inet", "name": name}}))
                    .collect();
                answer(true, &json!({"nftables": tables}).to_string())
            }
            ["-j", "list", "table", "inet", name] => {
                let objects = state.tables.get(*name).unwrap();
                answer(true, &json!({"nftables": objects}).to_string())
            }
            ["delete", "table", "inet", name] => answer(state.tables.remove(*name).is_some(), ""),
            other => panic!("nft {other:?} is not played"),
        }
    }
}

fn change(tables: &mut BTreeMap<String, Vec<Value>>, command: &Value) {
    let (verb, object) = command.as_object().unwrap().iter().next().unwrap();
    let (kind, fields) = object.as_object().unwrap().iter().next().unwrap();
    let key = if kind == "table" { "name" } else { "table" };
    let table = fields.get(key).unwrap().as_str().unwrap();
    match (verb.as_str(), kind.as_str()) {
        ("add", "table") => drop(tables.entry(table.to_owned()).or_default()),
        ("delete", "table") => drop(tables.remove(table).unwrap()),
        ("add", _) => tables.get_mut(table).unwrap().push(object.clone()),
        other => panic!("{other:?} is not played"),
    }
}

fn answer(success: bool, stdout: &str) -> Answer {
    Answer {
        code: Some(i32::from(!success)),
        stdout: stdout.to_owned(),
        stderr: if success { "" } else { "refused" }.to_owned(),
    }
}

impl System for Fake {
    fn run(&self, call: &Call<'_>) -> Result<Answer> {
        let words = call.to_string();
        let reads = ["show", "is-active", "list", "-c", "dpkg"];
        let changes = !reads.iter().any(|word| words.contains(word));
        let mut state = self.alive(changes)?;
        if changes {
            state.log.push(words.clone());
        }
        if state.failing.iter().any(|begin| words.starts_with(begin)) {
            return Ok(answer(false, ""));
        }
        match call.program {
            "systemctl" => self.systemctl(&mut state, &call.arguments),
            "systemd-run" => {
                state.timer = true;
                Ok(answer(true, ""))
            }
            "nft" => Ok(Fake::nft(&mut state, call)),
            "dpkg-query" => {
                let there = !state.lacking.contains(*call.arguments.last().unwrap());
                Ok(answer(there, if there { "installed 2.0.11\n" } else { "" }))
            }
            "dpkg" => Ok(answer(true, "")),
            other => bail!("{other} is not played"),
        }
    }

    fn step(&self) -> Result<()> {
        self.alive(true).map(drop)
    }

    fn own_program(&self) -> Result<Vec<u8>> {
        Ok(b"the program that goes back".to_vec())
    }

    fn ask_network(&self, _: &Host, report: &mut Report) {
        let refused = self.holds(PASSWD_PATH, self.state().refused_accounts.as_deref());
        report.add(
            "broker",
            Ok::<_, String>(refused.then(|| "refuses".to_owned())),
        );
    }

    fn now(&self) -> Duration {
        self.state().clock
    }

    fn pause(&self, time: Duration) {
        self.state().clock += time;
    }
}

/// A machine whose users all have the number of who runs the tests.
pub(crate) struct Machine {
    pub(crate) root: TempDir,
    pub(crate) host: Host,
    pub(crate) fake: Arc<Fake>,
}

impl Machine {
    /// As the distribution leaves it: the broker's package is there, and a service that nobody
    /// needs.
    pub(crate) fn new() -> Machine {
        // Syncing costs nothing there, and thousands of files are synced.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let own = fs::metadata(root.path()).unwrap();
        let users = |number: u32| {
            ["root", "mosquitto", "_apt"]
                .map(|name| format!("{name}:x:{number}:\n"))
                .concat()
        };
        let fake = Arc::new(Fake {
            root: root.path().to_owned(),
            state: Mutex::default(),
        });
        let host = Host::with_system(root.path(), Arc::clone(&fake) as Arc<dyn System>);
        let machine = Machine { root, host, fake };
        machine.write("/etc/passwd", &users(own.uid()));
        machine.write("/etc/group", &users(own.gid()));
        machine.write(MOSQUITTO_CONF_PATH, "as the package brings it\n");
        for unit in [BROKER, NEEDLESS] {
            machine.write(&format!("/lib/systemd/system/{unit}"), "[Service]\n");
        }
        for folder in ["/run/systemd/system", UNITS, "/usr/local/sbin"] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        for unit in [BROKER, NEEDLESS] {
            machine.host.run("systemctl", &["enable", unit]).unwrap();
            machine.host.run("systemctl", &["start", unit]).unwrap();
        }
        machine
    }

    /// With release `one` in place for good.
    pub(crate) fn with_one() -> Machine {
        let machine = Machine::new();
        machine.apply(&one(), "one", None).unwrap();
        machine
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.host.path(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn apply(
        &self,
        folder: &TempDir,
        id: &str,
        confirm_within: Option<u64>,
    ) -> Result<Outcome> {
        let options = Options {
            release: Some(id),
            confirm_within,
            by: "tester",
            event: site::answer::Event::Applied,
            json: false,
        };
        apply::apply(&self.host, folder.path(), &options)
    }

    /// Stops everything after so many steps from now on.
    pub(crate) fn die_after(&self, steps: usize) {
        let mut state = self.fake.state();
        state.steps = 0;
        state.dies_after = Some(steps);
    }

    /// Whether it was stopped; from now on everything works again.
    pub(crate) fn revive(&self) -> bool {
        let mut state = self.fake.state();
        let died = state
            .dies_after
            .take()
            .is_some_and(|last| state.steps > last);
        state.steps = 0;
        died
    }

    /// What a power cut and a start leave: no process, no table, no timer.
    pub(crate) fn power_cut(&self) {
        let mut state = self.fake.state();
        state.active.clear();
        state.tables.clear();
        state.timer = false;
    }

    /// The rest of a start: the policy's unit loads its file, and what is set to start starts.
    pub(crate) fn finish_start(&self) {
        let enabled = fs::read_dir(self.at(&format!("{UNITS}/multi-user.target.wants")));
        for unit in enabled.into_iter().flatten() {
            let unit = unit.unwrap().file_name().into_string().unwrap();
            let _ = self.host.ask("systemctl", &["start", &unit]);
            if unit == POLICY {
                let ruleset = fs::read(self.at(RULESET_PATH)).unwrap();
                let ruleset: Value = serde_json::from_slice(&ruleset).unwrap();
                crate::firewall::load(&self.host, &ruleset).unwrap();
            }
        }
    }

    /// Everything but what remembers changes: each path with its kind, mode and content; which
    /// units run; the loaded rules.
    pub(crate) fn snapshot(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = format!(
                    "/{}",
                    path.strip_prefix(self.root.path()).unwrap().display()
                );
                let remembers = ["history.jsonl", "releases", "transaction-damaged"]
                    .iter()
                    .any(|last| name == format!("/var/lib/shelly-bastion/{last}"));
                if remembers || name == "/run/shelly-bastion.lock" {
                    continue;
                }
                let about = fs::symlink_metadata(&path).unwrap();
                let mode = about.permissions().mode() & 0o7777;
                if about.is_symlink() {
                    found.insert(format!(
                        "{name} -> {}",
                        fs::read_link(&path).unwrap().display()
                    ));
                } else if about.is_dir() {
                    // The state folder comes with the first change, and stays.
                    if !name.starts_with("/var") {
                        found.insert(format!("{name}/ {mode:o}"));
                    }
                    open.push(path);
                } else {
                    let content = fs::read(&path).unwrap();
                    found.insert(format!(
                        "{name} {mode:o} {}",
                        String::from_utf8_lossy(&content)
                    ));
                }
            }
        }
        let state = self.fake.state();
        found.extend(state.active.keys().map(|unit| format!("runs {unit}")));
        found.insert(format!("rules {:?}", state.tables));
        found.insert(format!("timer {}", state.timer));
        found
    }
}

#[track_caller]
pub(crate) fn check_same(found: &BTreeSet<String>, expected: &BTreeSet<String>, when: &str) {
    let more: Vec<_> = found.difference(expected).collect();
    let less: Vec<_> = expected.difference(found).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "{when}: too much: {more:#?}, missing: {less:#?}"
    );
}

/// The first release: it has a file that the second has not.
pub(crate) fn one() -> TempDir {
    folder(
        "one",
        &[
            ("/etc/shelly-bastion/only-one", "0644"),
            ("/etc/one/only/here", "0600"),
        ],
        "a:1\nb:1\n",
    )
}

/// The second release: other contents, a new folder, another account.
pub(crate) fn two() -> TempDir {
    folder("two", &[("/etc/two/new/folder/file", "0640")], "a:2\nc:1\n")
}

pub(crate) fn folder(content: &str, more: &[(&str, &str)], passwd: &str) -> TempDir {
    let policy = format!("{UNITS}/{POLICY}");
    let rule = format!("rule-of-{content}");
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
    let mut files = vec![
        (RULESET_PATH, "0644", ruleset.to_string()),
        (FLOWS_PATH, "0644", flows.to_string()),
        (
            MOSQUITTO_CONF_PATH,
            "0644",
            format!("settings of {content}\n"),
        ),
        (PASSWD_PATH, "0640", passwd.to_owned()),
        (
            policy.as_str(),
            "0644",
            format!("[Unit]\nDescription={content}\n"),
        ),
    ];
    files.extend(
        more.iter()
            .map(|(path, mode)| (*path, *mode, format!("{content}\n"))),
    );
    files.push((PROGRAM_PATH, "0755", format!("program {content}\n")));
    let unit = |name: &str, state, restart_for: &[&str], reload_for: &[&str]| UnitEntry {
        name: name.to_owned(),
        state,
        restart_for: restart_for.iter().map(|path| (*path).to_owned()).collect(),
        reload_for: reload_for.iter().map(|path| (*path).to_owned()).collect(),
    };
    let manifest = Manifest {
        format: FORMAT,
        site: "home".to_owned(),
        bastion: "pi".to_owned(),
        version: format!("0.1.0 ({content})"),
        files: files
            .iter()
            .map(|(path, mode, content)| FileEntry {
                path: (*path).to_owned(),
                sha256: sha256(content.as_bytes()),
                mode: (*mode).to_owned(),
                owner: "root".to_owned(),
                group: "mosquitto".to_owned(),
            })
            .collect(),
        packages: vec![PackageEntry {
            name: "mosquitto".to_owned(),
            at_least: Some("2.0.11".to_owned()),
        }],
        units: vec![
            unit(POLICY, UnitState::Running, &[], &[]),
            unit(
                BROKER,
                UnitState::Running,
                &[MOSQUITTO_CONF_PATH],
                &[PASSWD_PATH],
            ),
            unit(NEEDLESS, UnitState::Off, &[], &[]),
        ],
        accounts: passwd
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect(),
    };
    let folder = tempfile::tempdir().unwrap();
    for (path, _, content) in &files {
        let path = folder
            .path()
            .join("files")
            .join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let manifest = serde_json::to_string_pretty(&manifest).unwrap();
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    folder
}
