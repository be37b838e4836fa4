//! When secrets are written, and which passwords may change.

use std::fs;

use super::*;

const EXAMPLE: &str = include_str!("../../../site/examples/home.toml");
const METER: &str = "shellyem-D3B45C";

fn site() -> Site {
    Site::parse("home.toml", EXAMPLE).unwrap()
}

fn change(names: &[&str]) -> AccountChange {
    AccountChange {
        password: names.iter().map(|&name| name.to_owned()).collect(),
        ..AccountChange::default()
    }
}

fn load(folder: &Path, rotate: &[&str]) -> Result<Passwords, PasswordError> {
    let rotate: Vec<String> = rotate.iter().map(|&name| name.to_owned()).collect();
    Passwords::load(&folder.join("home.toml"), &site(), &rotate)
}

#[test]
fn nothing_is_written_before_a_plan_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut passwords = load(folder.path(), &[]).unwrap();
    assert!(passwords.are_new());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let words = passwords.keep("r").unwrap().unwrap();
    assert!(words.ends_with("home.secrets.toml"), "{words}");
    let again = load(folder.path(), &[]).unwrap();
    assert_eq!(again.secrets(), passwords.secrets());
    assert!(!again.are_new());
}

#[test]
fn a_clone_without_the_file_shuts_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = load(folder.path(), &[]).unwrap();
    let message = passwords
        .check(&change(&[METER, "check"]))
        .unwrap_err()
        .to_string();
    for part in [
        "2 existing accounts",
        METER,
        "home.secrets.toml is missing",
        "--rotate",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    passwords.check(&change(&[])).unwrap();
}

#[test]
fn a_rotation_is_of_the_named_account_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = load(folder.path(), &[]).unwrap();
    first.keep("r1").unwrap();
    let mut second = load(folder.path(), &[METER]).unwrap();
    second.check(&change(&[METER])).unwrap();
    assert!(second.check(&change(&[METER, "check"])).is_err());
    assert_ne!(
        second.secrets().password(METER).unwrap(),
        first.secrets().password(METER).unwrap()
    );
    assert_eq!(
        second.secrets().password("check").unwrap(),
        first.secrets().password("check").unwrap()
    );

    let words = second.keep("r2").unwrap().unwrap();
    assert!(words.contains("home.before-r2.secrets.toml"), "{words}");
    let copy = Secrets::load(&folder.path().join("home.before-r2.secrets.toml")).unwrap();
    assert_eq!(&copy, first.secrets());
    second.went_back().unwrap();
    assert_eq!(load(folder.path(), &[]).unwrap().secrets(), first.secrets());
}

#[test]
fn what_a_bastion_has_is_not_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), &[]).unwrap().keep("r1").unwrap();
    let mut passwords = load(folder.path(), &[METER]).unwrap();
    passwords.keep("r2").unwrap();
    passwords.are_in_use();
    passwords.went_back().unwrap();
    assert_eq!(
        load(folder.path(), &[]).unwrap().secrets(),
        passwords.secrets()
    );
}

#[test]
fn a_rotation_of_nobody_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = load(folder.path(), &["nobody"]).err().unwrap().to_string();
    assert!(
        message.contains("--rotate nobody") && message.contains(METER),
        "{message}"
    );
}
