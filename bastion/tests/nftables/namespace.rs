//! A network namespace for each test, and how its two halves find each other.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use bastion::host::Host;
use serde_json::Value;
use site::manifest::{EARLY_PATH, RULESET_PATH};

/// Names the namespace that must not be touched.
const OUTSIDE: &str = "BASTION_TEST_OUTSIDE";
/// What an inner half says at its end, so that one that did nothing is no pass.
pub(crate) const DONE: &str = "done in a namespace of its own";
/// The site of the rendered ruleset that has every rule is the last one.
pub(crate) const SITES: [&str; 3] = ["home", "flat", "everything"];

pub(crate) fn golden(site: &str) -> PathBuf {
    rendered(site, RULESET_PATH)
}

/// The rules that are loaded before the network.
pub(crate) fn golden_early(site: &str) -> PathBuf {
    rendered(site, EARLY_PATH)
}

pub(crate) fn rendered(site: &str, path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/tests/golden")
        .join(site)
        .join("bastion/files")
        .join(path.trim_start_matches('/'))
}

pub(crate) fn ruleset(site: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden(site)).unwrap()).unwrap()
}

pub(crate) fn host() -> Host {
    Host::new("/")
}

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    link.to_str().unwrap().to_owned()
}

/// Users with all of whom a policy speaks, and whom `verify` tries.
pub(crate) const USERS: &str = "root:x:0:0::/root:/bin/sh\n\
    _apt:x:42:65534::/nonexistent:/bin/false\n\
    mosquitto:x:101:103::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
    systemd-timesync:x:997:997::/:/bin/false\nsystemd-resolve:x:996:996::/:/bin/false\n";

/// nft looks users up where it loads a ruleset. It lies in the folder that the build keeps for
/// tests.
static PASSWD: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("passwd");
    fs::write(&path, USERS).unwrap();
    path
});

/// A command in a new network namespace, where a policy's users exist, or nothing where none
/// can be had.
pub(crate) fn unshare(test: &str) -> Option<Command> {
    let works = Command::new("unshare")
        .args(["-n", "-m", "nft", "list", "tables"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        // Not eprintln!: the test runner swallows what a passing test prints, and a skipped check must be seen.
        let why = "no network namespace with nft (needs root, unshare, nftables)";
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-c"]);
    // Devices of this namespace, and a place for locks of its own.
    command.arg(
        "mount --bind \"$0\" /etc/passwd && mount -t sysfs sysfs /sys && \
         mount -t tmpfs tmpfs /run && exec \"$@\"",
    );
    command.arg(&*PASSWD).env(OUTSIDE, namespace());
    Some(command)
}

#[track_caller]
pub(crate) fn check(mut command: Command, says: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(says),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether programs are there; a test that needs one says that it is skipped.
pub(crate) fn has(test: &str, programs: &[&str]) -> bool {
    let missing = |program: &&&str| Command::new(program).arg("--help").output().is_err();
    let found = programs.iter().find(missing);
    if let Some(program) = found {
        let _ = writeln!(std::io::stderr(), "skipped: {test}: there is no {program}");
    }
    found.is_none()
}

/// Runs one of the inner halves.
pub(crate) fn inside(inner: &str) {
    if let Some(mut command) = unshare(inner) {
        command.arg(env::current_exe().unwrap());
        command.args(["--exact", inner, "--ignored", "--nocapture"]);
        check(command, DONE);
    }
}

/// Nothing here may ever touch the firewall of the machine that runs the tests.
pub(crate) fn is_inside() -> bool {
    env::var(OUTSIDE).is_ok_and(|outside| outside != namespace())
}

pub(crate) fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many packets a rule of a loaded table has counted.
pub(crate) fn counted(family: &str, table: &str, name: &str) -> u64 {
    let listing = nft(&["-j", "list", "table", family, table]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let objects = listing.get("nftables").and_then(Value::as_array).unwrap();
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let mut rules = rules.filter(|rule| rule.get("comment").is_some_and(|there| there == name));
    let statements = rules.next().unwrap().get("expr").unwrap();
    let mut counters = statements.as_array().unwrap().iter();
    let counter = counters.find_map(|statement| statement.get("counter"));
    counter.unwrap().get("packets").unwrap().as_u64().unwrap()
}
