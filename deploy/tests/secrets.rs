//! The secrets file: made once, never changed, nobody else's, and never quoted.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use deploy::Secrets;
use deploy::secrets::SecretsError;
use site::Site;
use site::account::Account;
use tempfile::TempDir;

/// Stands for a password in every file that shall not be quoted.
const SECRET: &str = "tell-no-body-ever-what";

fn site(name: &str) -> Site {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../site/examples");
    Site::parse(name, &fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

fn names(site: &Site) -> Vec<String> {
    let accounts = Account::all(site).into_iter();
    accounts.map(|account| account.name).collect()
}

/// A secrets file with this content and mode in a folder of its own.
fn file(content: &str, mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home.secrets.toml");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn every_account_gets_a_password_once() {
    let mut secrets = Secrets::default();
    assert_eq!(
        secrets.complete(&site("flat.toml")).unwrap(),
        names(&site("flat.toml"))
    );
    let before = secrets.clone();
    assert_eq!(
        secrets.complete(&site("flat.toml")).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(secrets, before);

    // A site with more accounts, some of them the same.
    let home = site("home.toml");
    let added = secrets.complete(&home).unwrap();
    for name in names(&home) {
        let old = before.password(&name).ok();
        assert_eq!(old.is_none(), added.contains(&name), "{name}");
        if let Some(old) = old {
            assert_eq!(secrets.password(&name).unwrap(), old, "{name}");
            assert_eq!(
                secrets.passwd_line(&name).unwrap(),
                before.passwd_line(&name).unwrap()
            );
        }
    }
}

#[test]
fn passwords_are_five_groups_of_four_without_look_alikes() {
    let home = site("home.toml");
    let mut seen = Vec::new();
    // Forty rounds of eight accounts are 6400 letters: a letter that may come does come.
    for _ in 0..40 {
        let mut secrets = Secrets::default();
        for name in secrets.complete(&home).unwrap() {
            let password = secrets.password(&name).unwrap().expose().to_owned();
            let groups: Vec<&str> = password.split('-').collect();
            assert_eq!(
                groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
                [4; 5]
            );
            assert!(!seen.contains(&password), "{password} came twice");
            seen.push(password);
        }
    }
    let mut letters: Vec<char> = seen.concat().chars().filter(|c| *c != '-').collect();
    letters.sort_unstable();
    letters.dedup();
    let letters: String = letters.into_iter().collect();
    assert_eq!(letters, "23456789abcdefghjkmnpqrstuvwxyz");
}

#[test]
fn what_is_saved_is_loaded_and_its_owners_alone() {
    let (_folder, path) = file("old", 0o644);
    let mut secrets = Secrets::default();
    secrets.complete(&site("home.toml")).unwrap();
    secrets.save(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(Secrets::load(&path).unwrap(), secrets);
    let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "something was left beside the file");
}

#[test]
fn no_file_means_no_secrets_yet() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::load(&folder.path().join("none.secrets.toml")).unwrap();
    assert_eq!(secrets, Secrets::default());
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for exposed in [0o640, 0o604, 0o620, 0o601] {
        let (_folder, path) = file("", exposed);
        let error = Secrets::load(&path).unwrap_err();
        assert!(matches!(error, SecretsError::Exposed { mode, .. } if mode == exposed));
        let message = error.to_string();
        assert!(
            message.contains(&format!("chmod 0600 {}", path.display())),
            "{message}"
        );
    }
}

/// Neither the new file nor the old one is touched when the new one cannot be put in place.
#[test]
fn a_failed_save_leaves_what_was_there() {
    let mut secrets = Secrets::default();
    secrets.complete(&site("flat.toml")).unwrap();
    // A folder that is not there cannot be written, not even by root.
    let folder = tempfile::tempdir().unwrap();
    let error = secrets
        .save(&folder.path().join("none/home.secrets.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("none/home.secrets.toml"), "{error}");

    // Nor can a file take the place of a folder.
    let path = folder.path().join("home.secrets.toml");
    fs::create_dir_all(path.join("kept")).unwrap();
    secrets.save(&path).unwrap_err();
    assert!(path.join("kept").is_dir());
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        ["home.secrets.toml"],
        "the passwords were left behind"
    );
}

/// Root may write everywhere, so this shows something for other users only.
#[test]
fn an_unwritable_folder_keeps_the_old_file() {
    let mut secrets = Secrets::default();
    secrets.complete(&site("flat.toml")).unwrap();
    let (folder, path) = file("", 0o600);
    secrets.save(&path).unwrap();
    let old = fs::read_to_string(&path).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    secrets.complete(&site("home.toml")).unwrap();
    let saved = secrets.save(&path);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    match saved {
        Err(_) => assert_eq!(fs::read_to_string(&path).unwrap(), old),
        Ok(()) => assert_eq!(Secrets::load(&path).unwrap(), secrets),
    }
}

#[track_caller]
fn check_malformed(content: &str, says: &str) {
    let (_folder, path) = file(content, 0o600);
    let error = Secrets::load(&path).unwrap_err();
    let message = format!("{error} {error:?}");
    assert!(!message.contains(SECRET), "the secret is quoted: {message}");
    assert!(!message.contains("tell"), "a part of it is: {message}");
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.contains(says), "{message}");
}

#[test]
fn a_damaged_file_is_never_quoted() {
    let line = |number: usize| format!("line {number} is not as this program writes it");
    check_malformed(
        &format!("[accounts.a]\npassword = \"{SECRET}\nsalt = \"\""),
        &line(2),
    );
    check_malformed(&format!("[accounts]\na = \"{SECRET}\""), &line(2));
    check_malformed(&format!("accounts = \"{SECRET}\""), &line(1));
    check_malformed(&format!("[accounts.a]\n{SECRET} = 1"), &line(2));
    check_malformed(
        &format!("[accounts.a]\npassword = [\"{SECRET}\"]\nsalt = \"\""),
        &line(2),
    );
    check_malformed(
        &format!(
            "[accounts.a]\npassword = \"x\"\n\nsalt = \"\"\n\"{SECRET}\" = 1\n\"{SECRET}\" = 2"
        ),
        &line(6),
    );
    check_malformed(SECRET, &line(1));
    check_malformed(
        &format!("[accounts.a]\npassword = \"{SECRET}\"\nsalt = \"c2hvcnQ=\""),
        "the salt of account a is not 12 bytes of base64",
    );
    check_malformed(
        "[accounts.a]\npassword = \"\"\nsalt = \"ZmFrZS1zYWx0LTAy\"",
        "the password of account a is empty",
    );
}

#[test]
fn nothing_prints_a_password() {
    let mut secrets = Secrets::default();
    let names = secrets.complete(&site("home.toml")).unwrap();
    let printed = format!("{secrets:?}{secrets:#?}");
    assert!(printed.contains("***"));
    for name in names {
        let password = secrets.password(&name).unwrap();
        assert_eq!(format!("{password:?}"), "***");
        assert!(!printed.contains(password.expose()), "{name}");
    }
    let missing = secrets.password("nobody").unwrap_err().to_string();
    assert!(missing.contains("nobody"), "{missing}");
}

/// The answer was made by another implementation, Python's:
/// `b64encode(pbkdf2_hmac("sha512", b"fake-fake-fake-fake-cccc", b"fake-salt-02", 101))`.
#[test]
fn password_lines_are_what_mosquitto_reads() {
    let (_folder, path) = file(
        "[accounts.health]\npassword = \"fake-fake-fake-fake-cccc\"\nsalt = \"ZmFrZS1zYWx0LTAy\"",
        0o600,
    );
    let line = Secrets::load(&path).unwrap().passwd_line("health").unwrap();
    assert_eq!(
        line,
        "health:$7$101$ZmFrZS1zYWx0LTAy$\
         0pCxwpb9p/R6/y4fgFc/6TjZfJgpeN1iW0ThKj+CPQojjAge8CJ6k45ulF81sdA48vJPclMyqOs8HlCtc0xcbg=="
    );
}

#[test]
fn the_secrets_lie_beside_the_site_file_under_a_name_that_git_ignores() {
    let path = Secrets::path_beside(Path::new("sites/home.toml"));
    assert_eq!(path, Path::new("sites/home.secrets.toml"));
}
