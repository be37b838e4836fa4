//! The program as a person meets it: help, messages and exit codes.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

/// What it says on stdout and on stderr, after the exit code.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bastion"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_is_an_answer() {
    let commands = [
        "plan", "packages", "apply", "confirm", "rollback", "history", "status", "verify", "open",
    ];
    let (_, overview, _) = run(&["--help"]);
    for command in commands {
        assert!(overview.contains(command), "{overview}");
        let arguments = [command, "--help"];
        let (code, said, complained) = run(&arguments);
        assert_eq!((code, complained.as_str()), (0, ""), "{arguments:?}");
        assert!(said.contains("Usage: bastion"), "{said}");
    }
    let (_, said, _) = run(&["apply", "--help"]);
    assert!(said.contains("Exit code: 0 done"), "{said}");
    let (code, said, _) = run(&["--version"]);
    assert_eq!(code, 0);
    let hash =
        option_env!("SHELLY_BASTION_GIT").map_or_else(String::new, |hash| format!(" ({hash})"));
    assert_eq!(
        said,
        format!("bastion {}{hash}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// Exit code 2 means "something would change" or "could not tell", never a slip of the finger.
#[test]
fn a_wrong_command_line_is_a_failure() {
    for arguments in [
        &[][..],
        &["install"],
        &["apply"],
        &["apply", "--dryrun", "folder"],
        &["verify", "folder"],
        &["plan"],
        &["confirm"],
        &["open"],
        &["open", "--for", "10m", "--from-boot-file"],
    ] {
        let (code, said, complained) = run(arguments);
        assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}");
        assert!(complained.contains("Usage: bastion"), "{complained}");
    }
}

#[test]
fn a_time_that_makes_no_sense_is_named() {
    for (arguments, says) in [
        (
            &["apply", "folder", "--confirm-within", "5"][..],
            "5 is not in 10..=3600",
        ),
        (&["open", "--for", "10"], "--for <TIME>"),
        (&["open", "--for", "10h"], "--for takes up to 1h"),
    ] {
        let (code, said, complained) = run(arguments);
        assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}");
        assert!(complained.contains(says), "{complained}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    for arguments in [
        &["apply", "/nonexistent"][..],
        &["apply", "--dry-run", "/nonexistent"],
        &["plan", "/nonexistent"],
        &["packages", "/nonexistent"],
        &["apply", "/nonexistent", "--confirm-within", "60", "--json"],
    ] {
        let (code, said, complained) = run(arguments);
        assert_eq!((code, said.as_str()), (1, ""));
        assert_eq!(
            complained,
            "bastion: reading /nonexistent: reading /nonexistent/manifest.json: \
             No such file or directory (os error 2)\n"
        );
    }
}
