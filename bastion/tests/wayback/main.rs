//! The real program on a root folder of its own: killed at many moments, on a full disk, twice at
//! once. nft is the real one in a network namespace of its own; systemd is played by scripts.
//!
//! Needs root, `nft` and `unshare`; without them each test says that it was skipped. The tests
//! marked as ignored are the inner halves: they run in the namespace, and refuse to run elsewhere.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod inner;
mod machine;
mod release;

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// Names the namespace that must not be touched.
const OUTSIDE: &str = "BASTION_TEST_OUTSIDE";
/// What an inner half says at its end, so that one that did nothing is no pass.
const DONE: &str = "done in a namespace of its own";
/// Moments at which the program is killed.
const KILLS: u32 = 16;

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    link.to_str().unwrap().to_owned()
}

fn is_inside() -> bool {
    env::var(OUTSIDE).is_ok_and(|outside| outside != namespace())
}

/// Runs one of the inner halves in new namespaces, or says why not.
fn inside(inner: &str) {
    let unshare = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-n", "-m"]).arg(program).args(arguments);
        command.env(OUTSIDE, namespace());
        command.output()
    };
    let works = unshare(Path::new("nft"), &["list", "tables"]);
    if !works.is_ok_and(|output| output.status.success()) {
        // Not eprintln!: the test runner swallows what a passing test prints.
        let why = "no network namespace with nft (needs root, unshare, nftables)";
        let _ = writeln!(std::io::stderr(), "skipped: {inner}: {why}");
        return;
    }
    let own = env::current_exe().unwrap();
    let output = unshare(&own, &["--exact", inner, "--ignored", "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(DONE),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn killed_at_any_moment_it_goes_back() {
    inside("inner::inside_killed_at_any_moment_it_goes_back");
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    inside("inner::inside_a_full_disk_leaves_the_old_state");
}

#[test]
fn of_two_at_once_one_waits() {
    inside("inner::inside_of_two_at_once_one_waits");
}

#[test]
fn a_client_that_goes_away_ends_nothing() {
    inside("inner::inside_a_client_that_goes_away_ends_nothing");
}
