//! A rendered folder is taken whole and sound, or not at all.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use bastion::bundle::{Bundle, sha256};
use site::manifest::{APPLIED_PATH, FORMAT, FileEntry, Manifest};
use tempfile::TempDir;

const CONTENT: &str = "content\n";

fn entry(path: &str) -> FileEntry {
    FileEntry {
        path: path.to_owned(),
        sha256: sha256(CONTENT.as_bytes()),
        mode: "0640".to_owned(),
        owner: "root".to_owned(),
        group: "root".to_owned(),
    }
}

fn manifest(files: Vec<FileEntry>) -> Manifest {
    Manifest {
        format: FORMAT,
        site: "home".to_owned(),
        bastion: "pi".to_owned(),
        version: "0.1.0".to_owned(),
        files,
        packages: vec![],
        units: vec![],
        accounts: vec![],
    }
}

/// A folder with a manifest, and with `etc/a` and `etc/b` among its files.
fn folder(manifest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    let files = folder.path().join("files/etc");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("a"), CONTENT).unwrap();
    fs::write(files.join("b"), CONTENT).unwrap();
    folder
}

fn json(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).unwrap()
}

#[track_caller]
fn refused(folder: &Path, says: &[&str]) {
    let error = format!("{:#}", Bundle::read(folder).unwrap_err());
    for word in says {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[track_caller]
fn check(files: Vec<FileEntry>, says: &[&str]) {
    refused(folder(&json(&manifest(files))).path(), says);
}

#[test]
fn a_sound_folder_is_read_in_the_manifests_order() {
    let folder = folder(&json(&manifest(vec![entry("/etc/b"), entry("/etc/a")])));
    let bundle = Bundle::read(folder.path()).unwrap();
    let paths: Vec<&str> = bundle
        .files
        .iter()
        .map(|file| file.entry.path.as_str())
        .collect();
    assert_eq!(paths, ["/etc/b", "/etc/a"]);
    assert_eq!(bundle.files.first().unwrap().mode, 0o640);
    assert_eq!(bundle.content("/etc/a").unwrap(), CONTENT.as_bytes());
    let error = bundle.content("/etc/c").unwrap_err().to_string();
    assert!(error.contains("/etc/c"), "{error}");
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = folder(&json(&manifest(vec![entry("/etc/a")])));
    fs::write(folder.path().join("files/etc/a"), "contend\n").unwrap();
    refused(
        folder.path(),
        &["files/etc/a is damaged", "copy the folder again"],
    );
}

#[test]
fn a_missing_file_is_named() {
    check(vec![entry("/etc/a"), entry("/etc/c")], &["files/etc/c"]);
}

#[test]
fn a_file_named_twice_is_refused() {
    check(
        vec![entry("/etc/a"), entry("/etc/a")],
        &["manifest names /etc/a twice"],
    );
}

#[test]
fn a_path_has_one_spelling_and_stays_in_the_tree() {
    for path in [
        "/etc/../etc/a",
        "/../etc/a",
        "/etc/..",
        "/etc/./a",
        "/etc//a",
        "//etc/a",
        "/etc/a/",
        "/",
        "",
        "etc/a",
        "/etc/a\0",
    ] {
        check(vec![entry(path)], &["no plain absolute path"]);
    }
}

#[test]
fn the_place_of_the_manifest_is_not_a_files() {
    check(vec![entry(APPLIED_PATH)], &[APPLIED_PATH]);
}

#[test]
fn a_mode_is_octal_and_permissions_only() {
    for mode in [
        "",
        "rw-r--r--",
        "0888",
        "4755",
        "1777",
        "-644",
        "0o644",
        "99999999999",
    ] {
        let file = FileEntry {
            mode: mode.to_owned(),
            ..entry("/etc/a")
        };
        check(vec![file], &["/etc/a", "the mode", mode]);
    }
}

#[test]
fn another_format_is_refused() {
    let other = Manifest {
        format: FORMAT + 1,
        ..manifest(vec![])
    };
    refused(
        folder(&json(&other)).path(),
        &["format 3", "update the program"],
    );
}

#[test]
fn what_is_no_manifest_is_refused() {
    refused(folder("").path(), &["manifest.json"]);
    refused(folder("[]").path(), &["manifest.json"]);
    let unknown = json(&manifest(vec![])).replacen('{', "{\"more\":1,", 1);
    refused(folder(&unknown).path(), &["manifest.json", "more"]);
    let empty = tempfile::tempdir().unwrap();
    refused(empty.path(), &["manifest.json", "No such file"]);
}
