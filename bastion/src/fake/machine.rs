//! The machine that tests are given: set up as the distribution leaves it, stopped, cut off from
//! power, and compared as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use serde_json::Value;
use site::answer::{Event, Outcome};
use site::manifest::{MOSQUITTO_CONF_PATH, RULESET_PATH};
use tempfile::TempDir;

use super::{BROKER, Fake, NEEDLESS, POLICY, UNITS, one};
use crate::apply::{self, Options};
use crate::host::Host;
use crate::system::System;

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
            event: Event::Applied,
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
                let lock = name.starts_with("/run/shelly-bastion") && name.ends_with(".lock");
                // Another name for each start.
                if remembers || lock || name.starts_with("/run/systemd/units") {
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
        found.extend(state.active.iter().map(|unit| format!("runs {unit}")));
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
