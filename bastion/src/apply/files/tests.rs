//! Files of a bundle, installed into a folder that stands for a machine.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use site::answer::{FileAction, FileChange};
use site::manifest::{APPLIED_PATH, FORMAT, FileEntry, Manifest};
use tempfile::TempDir;

use super::{forget, install, outdated, record};
use crate::bundle::{Bundle, BundleFile, sha256};
use crate::host::Host;
use crate::say;

/// A machine whose users all have the number of who runs the tests.
struct Machine {
    root: TempDir,
    host: Host,
}

impl Machine {
    fn new() -> Machine {
        let root = tempfile::tempdir().unwrap();
        let own = fs::metadata(root.path()).unwrap();
        let line = |name: &str, number: u32| format!("{name}:x:{number}:\n");
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let write = |file: &str, number| {
            let text = line("other", 4711) + &line("root", number) + &line("mosquitto", number);
            fs::write(etc.join(file), text).unwrap();
        };
        write("passwd", own.uid());
        write("group", own.gid());
        let host = Host::new(root.path());
        Machine { root, host }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.host.path(path)
    }

    /// Every file of the machine but its lists of users.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(self.root.path()).unwrap();
                    found.push(format!("/{}", path.display()));
                }
            }
        }
        found.retain(|path| !["/etc/passwd", "/etc/group"].contains(&path.as_str()));
        found.sort();
        found
    }
}

const A: &str = "/etc/broker/a";
const B: &str = "/etc/new/folder/b";

fn file(path: &str, mode: u32, content: &str) -> BundleFile {
    BundleFile {
        entry: FileEntry {
            path: path.to_owned(),
            sha256: sha256(content.as_bytes()),
            mode: format!("{mode:04o}"),
            owner: "root".to_owned(),
            group: "mosquitto".to_owned(),
        },
        mode,
        content: content.as_bytes().to_vec(),
    }
}

fn bundle(files: Vec<BundleFile>) -> Bundle {
    Bundle {
        manifest: Manifest {
            format: FORMAT,
            site: "home".to_owned(),
            bastion: "pi".to_owned(),
            version: "0.1.0".to_owned(),
            files: files.iter().map(|file| file.entry.clone()).collect(),
            packages: vec![],
            units: vec![],
            accounts: vec![],
        },
        files,
    }
}

fn two() -> Bundle {
    bundle(vec![file(A, 0o640, "new a\n"), file(B, 0o600, "new b\n")])
}

/// What is to be done, as text.
fn plan(machine: &Machine, bundle: &Bundle) -> Vec<String> {
    let files = outdated(&machine.host, bundle).unwrap();
    files.iter().map(say::file).collect()
}

fn new_file(path: &str) -> FileChange {
    FileChange {
        path: path.to_owned(),
        action: FileAction::New,
        before: None,
        attributes: None,
    }
}

/// All the steps of a run in their order.
fn apply(machine: &Machine, bundle: &Bundle) {
    let files = outdated(&machine.host, bundle).unwrap();
    forget(&machine.host).unwrap();
    install(&machine.host, bundle, &files).unwrap();
    record(&machine.host, bundle).unwrap();
}

#[track_caller]
fn check_file(path: &Path, content: &str, mode: u32) {
    let found = fs::symlink_metadata(path).unwrap();
    assert!(found.is_file(), "{} is no plain file", path.display());
    assert_eq!(found.permissions().mode() & 0o7777, mode);
    assert_eq!(fs::read_to_string(path).unwrap(), content);
}

/// Sets a machine up, spoils one thing, and expects the plan to name it and a run to mend it.
#[track_caller]
fn check_mended(spoil: impl Fn(&Machine), expected: &str) {
    let machine = Machine::new();
    apply(&machine, &two());
    assert_eq!(plan(&machine, &two()), Vec::<String>::new());
    spoil(&machine);
    assert_eq!(plan(&machine, &two()), [expected]);
    apply(&machine, &two());
    check_file(&machine.at(A), "new a\n", 0o640);
    check_file(&machine.at(B), "new b\n", 0o600);
    assert_eq!(plan(&machine, &two()), Vec::<String>::new());
    // Nothing of ours stays beside the files.
    assert!(
        machine
            .files()
            .iter()
            .all(|path| !path.contains("shelly-bastion-new"))
    );
}

#[test]
fn an_empty_machine_gets_files_folders_and_modes() {
    let machine = Machine::new();
    let missing = [A, B, APPLIED_PATH].map(|path| format!("{path}: is missing"));
    assert_eq!(plan(&machine, &two()), missing);
    apply(&machine, &two());
    check_file(&machine.at(A), "new a\n", 0o640);
    check_file(&machine.at(B), "new b\n", 0o600);
    assert_eq!(machine.files(), [A, B, APPLIED_PATH]);
    assert_eq!(plan(&machine, &two()), Vec::<String>::new());
}

#[test]
fn what_was_changed_is_mended() {
    check_mended(
        |machine| fs::write(machine.at(A), "other\n").unwrap(),
        "/etc/broker/a: content differs",
    );
    check_mended(
        |machine| fs::remove_file(machine.at(B)).unwrap(),
        "/etc/new/folder/b: is missing",
    );
    check_mended(
        |machine| {
            let open = fs::Permissions::from_mode(0o644);
            fs::set_permissions(machine.at(B), open).unwrap();
        },
        "/etc/new/folder/b: mode is 0644, expected 0600",
    );
    check_mended(
        |machine| fs::write(machine.at(APPLIED_PATH), "{}").unwrap(),
        "/etc/shelly-bastion/manifest.json: content differs",
    );
}

#[test]
fn a_symlink_is_replaced_and_what_it_names_is_not_touched() {
    for content in ["elsewhere\n", "new a\n"] {
        let machine = Machine::new();
        apply(&machine, &two());
        let elsewhere = machine.at("/etc/elsewhere");
        fs::write(&elsewhere, content).unwrap();
        fs::remove_file(machine.at(A)).unwrap();
        symlink(&elsewhere, machine.at(A)).unwrap();
        assert_eq!(plan(&machine, &two()).len(), 1);
        apply(&machine, &two());
        check_file(&machine.at(A), "new a\n", 0o640);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), content);
    }
}

/// Whoever could place a link where the new file is written would choose what is overwritten.
#[test]
fn a_link_in_place_of_the_new_file_is_not_followed() {
    let machine = Machine::new();
    let elsewhere = machine.at("/etc/elsewhere");
    fs::write(&elsewhere, "kept\n").unwrap();
    fs::create_dir(machine.at("/etc/broker")).unwrap();
    symlink(&elsewhere, machine.at("/etc/broker/a.shelly-bastion-new")).unwrap();
    apply(&machine, &two());
    check_file(&machine.at(A), "new a\n", 0o640);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept\n");
}

#[test]
fn when_one_file_cannot_be_written_none_is_replaced() {
    let machine = Machine::new();
    apply(&machine, &bundle(vec![file(A, 0o640, "old a\n")]));
    // A file stands where a folder is needed.
    fs::write(machine.at("/etc/new"), "in the way\n").unwrap();
    let before = machine.files();
    let files = [A, B].map(new_file);
    let error = format!("{:#}", install(&machine.host, &two(), &files).unwrap_err());
    assert!(error.contains("/etc/new/folder/b"), "{error}");
    check_file(&machine.at(A), "old a\n", 0o640);
    assert_eq!(machine.files(), before, "something was left behind");
}

#[test]
fn when_a_file_cannot_be_replaced_nothing_is_left_beside_it() {
    let machine = Machine::new();
    fs::create_dir_all(machine.at(A).join("a folder in its place")).unwrap();
    let error = format!("{:#}", outdated(&machine.host, &two()).unwrap_err());
    assert!(error.contains(A), "{error}");
    let files = [A, B].map(new_file);
    let error = format!("{:#}", install(&machine.host, &two(), &files).unwrap_err());
    assert!(error.contains("replacing") && error.contains(A), "{error}");
    assert_eq!(machine.files(), Vec::<String>::new());
}

/// The manifest goes before the first change and comes back after the last, so a run that was
/// cut short between them is seen by the next although every file is as it should be.
#[test]
fn a_run_that_was_cut_short_is_not_forgotten() {
    let machine = Machine::new();
    apply(&machine, &two());
    forget(&machine.host).unwrap();
    forget(&machine.host).unwrap();
    let files = outdated(&machine.host, &two()).unwrap();
    install(&machine.host, &two(), &files).unwrap();
    let expected = format!("{APPLIED_PATH}: is missing");
    assert_eq!(plan(&machine, &two()), [expected]);
}

/// A package that is installed first may bring it, so a plan goes on without.
#[test]
fn an_unknown_owner_is_planned_with_and_stops_before_anything_is_written() {
    let machine = Machine::new();
    fs::write(machine.at("/etc/group"), "root:x:0:\n").unwrap();
    let files = outdated(&machine.host, &two()).unwrap();
    assert_eq!(files.len(), 3);
    let error = format!("{:#}", install(&machine.host, &two(), &files).unwrap_err());
    assert!(
        error.contains("/etc/group has no entry mosquitto; a package"),
        "{error}"
    );
    assert_eq!(machine.files(), Vec::<String>::new());
    fs::create_dir(machine.at("/etc/broker")).unwrap();
    fs::write(machine.at(A), "new a\n").unwrap();
    let planned = plan(&machine, &two());
    let expected =
        format!("{A}: owner shall be root:mosquitto, whom this machine does not know yet");
    assert_eq!(planned.first(), Some(&expected));
}

/// What everybody may read is shown before it is replaced, and nothing else.
#[test]
fn only_what_everybody_may_read_is_shown() {
    for (mode, existing, shown) in [
        (0o644, 0o644, true),
        (0o644, 0o600, false),
        (0o600, 0o644, false),
        (0o640, 0o640, false),
    ] {
        let machine = Machine::new();
        fs::create_dir(machine.at("/etc/broker")).unwrap();
        fs::write(machine.at(A), "old a\n").unwrap();
        fs::set_permissions(machine.at(A), fs::Permissions::from_mode(existing)).unwrap();
        let files = outdated(&machine.host, &bundle(vec![file(A, mode, "new a\n")])).unwrap();
        let change = files.first().unwrap();
        assert_eq!(change.action, FileAction::Content);
        assert_eq!(change.before.as_deref(), shown.then_some("old a\n"));
    }
}

#[test]
fn what_the_release_before_had_is_removed() {
    let machine = Machine::new();
    apply(&machine, &two());
    let one = bundle(vec![file(A, 0o640, "new a\n")]);
    assert_eq!(
        plan(&machine, &one),
        [
            format!("{B}: is needed no more"),
            format!("{APPLIED_PATH}: content differs")
        ]
    );
    apply(&machine, &one);
    assert_eq!(machine.files(), [A, APPLIED_PATH]);
    assert_eq!(plan(&machine, &one), Vec::<String>::new());
}

#[test]
fn the_owner_is_set_and_repaired() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the_owner_is_set_and_repaired: only root gives files away"
        );
        return;
    }
    let machine = Machine::new();
    fs::write(machine.at("/etc/group"), "root:x:0:\nmosquitto:x:4712:\n").unwrap();
    apply(&machine, &two());
    let owner = |path| {
        let found = fs::metadata(machine.at(path)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(owner(A), (0, 4712));
    std::os::unix::fs::chown(machine.at(A), Some(4711), None).unwrap();
    let expected = format!("{A}: owner is 4711:4712, expected 0:4712");
    assert_eq!(plan(&machine, &two()), [expected]);
    apply(&machine, &two());
    assert_eq!(owner(A), (0, 4712));
}
