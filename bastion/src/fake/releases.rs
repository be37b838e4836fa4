//! Releases for the played machine: folders as the deployer renders them, with little in them.

use std::fs;

use serde_json::json;
use site::daemon::SETTINGS_PATH;
use site::manifest::{
    FLOWS_PATH, FORMAT, FileEntry, MOSQUITTO_CONF_PATH, Manifest, PASSWD_PATH, PROGRAM_PATH,
    PackageEntry, RULESET_PATH, TABLE, UnitEntry, UnitState,
};
use tempfile::TempDir;

use super::{BROKER, NEEDLESS, POLICY, UNITS};
use crate::bundle::sha256;

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

/// A release with a daemon that journals; releases differ by their name.
pub(crate) fn journaling(name: &str) -> TempDir {
    folder(name, &[(SETTINGS_PATH, "0644")], "a:1\nb:1\n")
}

fn folder(content: &str, more: &[(&str, &str)], passwd: &str) -> TempDir {
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
