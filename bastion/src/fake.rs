//! A machine for tests: a folder for its files, and systemd, nft and dpkg played in memory.
//!
//! It can be stopped dead before any step: from then on it does nothing at all, as after SIGKILL.

mod machine;
mod releases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use site::answer::Report;
use site::manifest::{MOSQUITTO_CONF_PATH, PASSWD_PATH};

pub(crate) use machine::{Machine, check_same};
pub(crate) use releases::{journaling, one, two};

use crate::host::Host;
use crate::system::{Answer, Call, System};

pub(crate) const BROKER: &str = "mosquitto.service";
pub(crate) const POLICY: &str = "shelly-bastion-policy.service";
pub(crate) const NEEDLESS: &str = "avahi-daemon.service";
const UNITS: &str = "/etc/systemd/system";

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Units that run.
    pub(crate) active: BTreeSet<String>,
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
    /// This unit ends and is started afresh whenever somebody waits.
    pub(crate) flaps: Option<String>,
    /// systemd leaves no name of a start.
    pub(crate) nameless: bool,
    /// Units that systemd was asked to show.
    pub(crate) shown: Vec<String>,
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

    /// Whether it is loaded, and whether it starts at boot.
    fn states(&self, unit: &str) -> (&'static str, &'static str) {
        let there = [UNITS, "/lib/systemd/system"]
            .iter()
            .any(|folder| self.at(&format!("{folder}/{unit}")).exists());
        let enabled = fs::symlink_metadata(self.wants(unit)).is_ok();
        match () {
            () if self.is_masked(unit) => ("masked", "masked"),
            () if !there => ("not-found", ""),
            () if enabled => ("loaded", "enabled"),
            () => ("loaded", "disabled"),
        }
    }

    fn begins(&self, state: &mut State, unit: &str) -> Result<()> {
        state.starts += 1;
        state.active.insert(unit.to_owned());
        let link = self.at(&format!("/run/systemd/units/invocation:{unit}"));
        fs::create_dir_all(link.parent().unwrap())?;
        let _ = fs::remove_file(&link);
        if state.nameless {
            return Ok(());
        }
        symlink(state.starts.to_string(), link)?;
        Ok(())
    }

    fn show(&self, state: &State, unit: &str) -> String {
        let (load, file) = self.states(unit);
        let run = state.active.contains(unit);
        format!(
            "LoadState={load}\nActiveState={}\nUnitFileState={file}\n",
            if run { "active" } else { "inactive" },
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
                "show" => {
                    state.shown.push((*unit).to_owned());
                    said.push(self.show(state, unit));
                }
                "list-units" if state.active.contains(*unit) => {
                    let (load, _) = self.states(unit);
                    said.push(format!("{unit} {load} active running It runs"));
                }
                "list-units" => {}
                "start" | "restart" if self.is_masked(unit) => failed = true,
                "start" if state.active.contains(*unit) => {}
                "start" | "restart" => {
                    state.active.remove(*unit);
                    let broken = state.broken_settings.as_deref();
                    if *unit != BROKER || !self.holds(MOSQUITTO_CONF_PATH, broken) {
                        self.begins(state, unit)?;
                    }
                }
                "reload" => failed |= !state.active.contains(*unit),
                "stop" if unit.ends_with(".timer") => state.timer = false,
                "stop" => drop(state.active.remove(*unit)),
                "reset-failed" => failed |= !state.active.contains(*unit),
                "is-active" => failed |= !state.timer,
                "mask" => {
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
            ["-j", "-t", "list", "ruleset"] => {
                let objects: Vec<&Value> = state.tables.values().flatten().collect();
                answer(true, &json!({"nftables": objects}).to_string())
            }
            ["-j", "list", "table", "inet", name] => {
                let objects = state.tables.get(*name).unwrap();
                answer(true, &json!({"nftables": objects}).to_string())
            }
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
        let reads = ["show", "is-active", "list", "list-units", "-c"];
        let reads = reads.iter().any(|word| call.arguments.contains(word));
        let changes = !reads && !call.program.starts_with("dpkg");
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
                let names = call.arguments.iter().skip_while(|word| **word != "--");
                let there = names.skip(1).filter(|name| !state.lacking.contains(**name));
                let lines = there.map(|name| format!("installed {name} 2.0.11\n"));
                Ok(answer(state.lacking.is_empty(), &lines.collect::<String>()))
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
        let mut state = self.state();
        state.clock += time;
        if let Some(unit) = state.flaps.clone() {
            self.begins(&mut state, &unit).unwrap();
        }
    }
}
