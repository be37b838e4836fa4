//! The program as a person meets it: messages and exit codes.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::EXAMPLE;

/// Settings with a password file of the given mode.
fn settings(folder: &std::path::Path, mode: u32) -> std::path::PathBuf {
    let password = folder.join("broker.password");
    std::fs::write(&password, "abcd-efgh\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap();
    let file = folder.join("collector.toml");
    let text = EXAMPLE.replace("/etc/collector/broker.password", password.to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    file
}

/// Runs a command on good settings (`{}` stands for the file); compares exit code and parts of
/// what it says.
#[track_caller]
fn check(mode: u32, arguments: &[&str], input: &str, code: i32, output: &str, errors: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), mode);
    let arguments = arguments
        .iter()
        .map(|argument| argument.replace("{}", file.to_str().unwrap()));
    let mut process = Command::new(env!("CARGO_BIN_EXE_collector"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have ended already.
    drop(process.stdin.take().unwrap().write_all(input.as_bytes()));
    let done = process.wait_with_output().unwrap();
    let said = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert_eq!(done.status.code(), Some(code), "{said:?}");
    assert!(said.0.contains(output), "{said:?}");
    assert!(said.1.contains(errors), "{said:?}");
}

#[test]
fn help_and_version() {
    check(0o600, &["--help"], "", 0, EXAMPLE.trim_end(), "");
    check(0o600, &["-h"], "", 0, "translate", "");
    check(0o600, &["--version"], "", 0, "collector 0.", "");
    check(0o600, &["run"], "", 2, "", "--config <FILE>");
    check(0o600, &["fly"], "", 2, "", "unrecognized subcommand");
}

#[test]
fn settings_are_checked() {
    check(
        0o600,
        &["check", "--config", "{}"],
        "",
        0,
        "collector.toml: in order; site: home, meters: 2",
        "",
    );
    check(
        0o644,
        &["check", "--config", "{}"],
        "",
        1,
        "",
        "collector.toml:8: bastion[1].password_file = ",
    );
    // One line for each mistake, beginning with the file.
    check(
        0o600,
        &["check", "--config", "/dev/null"],
        "",
        1,
        "",
        "site = \"home\" at the top of the file, above the first [table]\n/dev/null: state: ",
    );
    check(0o644, &["run", "--config", "{}"], "", 1, "", "chmod 600");
    check(
        0o600,
        &["run", "--config", "/nowhere"],
        "",
        1,
        "",
        "/nowhere: the whole file: cannot read it",
    );
}

#[test]
fn messages_are_translated() {
    let translate = ["translate", "--config", "{}"];
    let power = "shellies/shellyem-D3B45C/emeter/0/power";
    check(
        0o644,
        &translate,
        &format!("{power} -40.63\n"),
        0,
        "point=barn-supply,site=home active_w=-40.63 1",
        "",
    );
    check(
        0o600,
        &translate,
        "shellies/shellyem-D3B45C/relay/0 off\n\nother/x 1",
        0,
        "",
        "relay/0: no reading\nother/x: no meter of the settings\n",
    );
    check(
        0o600,
        &translate,
        &format!("{power} x\n{power} 5"),
        1,
        "active_w=5 ",
        "\"x\" is not a number",
    );
}
