//! A root folder with users, and scripts in place of systemd's programs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A root folder with users, and scripts in place of systemd's programs.
pub(super) struct Machine {
    pub(super) root: PathBuf,
    _folder: Option<TempDir>,
}

impl Machine {
    pub(super) fn new() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        Machine::at(root, Some(folder))
    }

    pub(super) fn at(root: PathBuf, folder: Option<TempDir>) -> Machine {
        let folders = [
            "etc/systemd/system",
            "run/systemd/system",
            "run/systemd/units",
            "bin",
        ];
        for path in folders {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        // The broker runs, and was started once.
        let start = root.join("run/systemd/units/invocation:mosquitto.service");
        symlink("1", start).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        let show = "printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n\\n'";
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

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bastion"));
        let path = format!("{}/bin:{}", self.root.display(), env::var("PATH").unwrap());
        command.env("PATH", path).arg("--root").arg(&self.root);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(super) fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    pub(super) fn begin(&self, folder: &TempDir, id: &str) -> Child {
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
    pub(super) fn files(&self) -> BTreeSet<String> {
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

pub(super) fn table() -> String {
    let output = Command::new("nft")
        .args(["--stateless", "list", "ruleset"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
