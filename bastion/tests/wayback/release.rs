//! Rendered folders as a deployment brings them, and what the program answers.

use std::fs;
use std::process::Output;

use bastion::bundle::sha256;
use serde_json::json;
use site::answer::Outcome;
use site::manifest::{
    FLOWS_PATH, FORMAT, FileEntry, MOSQUITTO_CONF_PATH, Manifest, PASSWD_PATH, RULESET_PATH, TABLE,
    UnitEntry, UnitState,
};
use tempfile::TempDir;

/// A rendered folder whose every file says which release it is of.
pub(super) fn folder(release: &str, large: usize) -> TempDir {
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

pub(super) fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

pub(super) fn outcome(output: &Output) -> Outcome {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
