//! What is lacking, what apt is asked for, and that nothing but the files is used when they came.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use site::manifest::PackageEntry;
use tempfile::TempDir;

use super::{carried, from_files, lacking, lists_are_fresh, run, words};
use crate::fake;
use crate::host::Host;
use crate::system::{Answer, Call, System};

/// A machine with dpkg and apt; versions are numbers.
#[derive(Debug, Default)]
struct Apt {
    installed: Mutex<BTreeMap<String, u32>>,
    /// What an `install` brings.
    brings: u32,
    calls: Mutex<Vec<String>>,
    /// Installing fails until the sources were asked.
    stale: bool,
}

impl System for Apt {
    fn run(&self, call: &Call<'_>) -> Result<Answer> {
        let last = *call.arguments.last().unwrap();
        let done = |success: bool, stdout: String| {
            Ok(Answer {
                code: Some(i32::from(!success)),
                stdout,
                stderr: String::new(),
            })
        };
        match call.program {
            "dpkg-query" => {
                let installed = self.installed.lock().unwrap();
                let names = call
                    .arguments
                    .iter()
                    .skip_while(|word| **word != "--")
                    .skip(1);
                let lines = names.map(|name| {
                    let version = installed.get(*name)?;
                    Some(format!("installed {name} {version}\n"))
                });
                let lines: Vec<Option<String>> = lines.collect();
                let all = lines.iter().all(Option::is_some);
                done(all, lines.into_iter().flatten().collect())
            }
            "dpkg" => {
                let number = |index: usize| call.arguments.get(index).unwrap().parse::<u32>();
                done(number(1).unwrap() >= number(3).unwrap(), String::new())
            }
            // A package's file is named NAME_VERSION.deb.
            "dpkg-deb" => {
                let file = call.arguments.get(1).unwrap().rsplit('/').next().unwrap();
                let (name, version) = file.trim_end_matches(".deb").split_once('_').unwrap();
                let field = if last == "Package" { name } else { version };
                done(true, format!("{field}\n"))
            }
            "apt-get" => {
                let mut calls = self.calls.lock().unwrap();
                let asked = calls.iter().any(|call| call.ends_with("update"));
                calls.push(call.arguments.join(" "));
                assert!(call.shown, "a person waits for it");
                assert!(
                    call.environment
                        .contains(&("DEBIAN_FRONTEND", "noninteractive"))
                );
                if last == "update" {
                    return done(true, String::new());
                }
                if self.stale && !asked {
                    return done(false, String::new());
                }
                self.installed
                    .lock()
                    .unwrap()
                    .insert(last.to_owned(), self.brings);
                done(true, String::new())
            }
            other => panic!("{other} is not played"),
        }
    }
}

fn machine(apt: Apt) -> (TempDir, Host, Arc<Apt>) {
    let root = tempfile::tempdir().unwrap();
    let apt = Arc::new(apt);
    let host = Host::with_system(root.path(), Arc::clone(&apt) as Arc<dyn System>);
    (root, host, apt)
}

/// A folder whose only package is `mosquitto`, version 20011 or later.
fn folder() -> TempDir {
    let folder = fake::one();
    let path = folder.path().join("manifest.json");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"2.0.11\"", "\"20011\"");
    fs::write(&path, text).unwrap();
    folder
}

fn calls(apt: &Apt) -> Vec<String> {
    let calls = apt.calls.lock().unwrap();
    let short = calls.iter().map(|call| match call.split_once("install ") {
        Some((_, rest)) => format!("install {rest}"),
        None => call.rsplit(' ').next().unwrap().to_owned(),
    });
    short.collect()
}

const INSTALL: &str = "install --yes --no-install-recommends mosquitto";

#[test]
fn what_lacks_is_fetched_from_the_sources() {
    let (_root, host, apt) = machine(Apt {
        brings: 20018,
        ..Apt::default()
    });
    run(&host, folder().path()).unwrap();
    assert_eq!(calls(&apt), ["update", INSTALL]);
    let all = apt.calls.lock().unwrap().join("\n");
    assert!(all.contains("Dpkg::Options::=--force-confold"), "{all}");
    drop(all);
    run(&host, folder().path()).unwrap();
    assert_eq!(calls(&apt).len(), 2, "apt was asked although nothing lacks");
}

#[test]
fn sources_are_asked_again_when_they_moved_on() {
    for (stale, expected) in [
        (false, vec![INSTALL]),
        (true, vec![INSTALL, "update", INSTALL]),
    ] {
        let (root, host, apt) = machine(Apt {
            brings: 20018,
            stale,
            ..Apt::default()
        });
        let lists = root.path().join("var/lib/apt/lists");
        fs::create_dir_all(&lists).unwrap();
        assert!(!lists_are_fresh(&host), "there is no list");
        fs::write(lists.join("deb_main_binary-armhf_Packages"), "").unwrap();
        assert!(lists_are_fresh(&host));
        run(&host, folder().path()).unwrap();
        assert_eq!(calls(&apt), expected);
    }
}

#[test]
fn sources_that_are_too_old_are_named() {
    let (_root, host, _) = machine(Apt {
        brings: 15,
        ..Apt::default()
    });
    let error = run(&host, folder().path()).unwrap_err().to_string();
    assert!(
        error.contains("mosquitto 20011 or later (is 15)"),
        "{error}"
    );
}

#[test]
fn files_that_came_along_are_enough() {
    let (_root, host, apt) = machine(Apt::default());
    let folder = folder();
    let packages = folder.path().join("packages");
    fs::create_dir(&packages).unwrap();
    for name in [
        "mosquitto_20018.deb",
        "libcjson_1.deb",
        "old_3.deb",
        "SHA256SUMS",
    ] {
        fs::write(packages.join(name), "").unwrap();
    }
    apt.installed.lock().unwrap().insert("old".to_owned(), 4);
    let found = carried(&host, folder.path()).unwrap();
    let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["libcjson_1.deb", "mosquitto_20018.deb"]);
    from_files(&host, &found).unwrap();
    let calls = apt.calls.lock().unwrap();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert!(call.contains("Dir::Etc::SourceList=/dev/null"), "{call}");
    assert!(call.contains("Dir::Etc::SourceParts=/dev/null"), "{call}");
}

#[test]
fn a_version_is_compared_only_where_one_is_asked_for() {
    let (_root, host, apt) = machine(Apt::default());
    let mut manifest = crate::bundle::Bundle::read(folder().path())
        .unwrap()
        .manifest;
    manifest.packages.push(PackageEntry {
        name: "nftables".to_owned(),
        at_least: None,
    });
    let lacking = |apt: &[(&str, u32)], to: &Apt| {
        let installed = apt
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version));
        *to.installed.lock().unwrap() = installed.collect();
        words(&lacking(&host, &manifest).unwrap())
    };
    assert_eq!(lacking(&[], &apt), "mosquitto 20011 or later, nftables");
    assert_eq!(lacking(&[("mosquitto", 20011), ("nftables", 1)], &apt), "");
    assert_eq!(
        lacking(&[("mosquitto", 20010), ("nftables", 1)], &apt),
        "mosquitto 20011 or later (is 20010)"
    );
}
