//! The rendered rulesets in a kernel, in a network namespace of their own.
//!
//! Needs root, `nft` and `unshare`; without them each test says that it was skipped. The tests
//! marked as ignored are the inner halves: they run in the namespace, and refuse to run elsewhere.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use bastion::firewall;
use bastion::host::Host;
use serde_json::Value;
use site::flow::{CONSOLE_SET_V4, CONSOLE_SET_V6};
use site::manifest::RULESET_PATH;

/// Names the namespace that must not be touched.
const OUTSIDE: &str = "BASTION_TEST_OUTSIDE";
/// What an inner half says at its end, so that one that did nothing is no pass.
const DONE: &str = "done in a namespace of its own";
const CHANGES: &str = "inside_every_change_is_found";
const TOTAL: &str = "inside_many_sources_together_begin_no_more_than_the_limit_for_all";
const SETS: &str = "inside_what_sets_hold_is_no_change";
/// The site of the rendered ruleset that has every rule is the last one.
const SITES: [&str; 3] = ["home", "flat", "everything"];
const FOREIGN: &str = "inside_other_tables_are_left_alone";

fn golden(site: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/tests/golden")
        .join(site)
        .join("bastion/files")
        .join(RULESET_PATH.trim_start_matches('/'))
}

fn ruleset(site: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden(site)).unwrap()).unwrap()
}

fn host() -> Host {
    Host::new("/")
}

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    link.to_str().unwrap().to_owned()
}

/// A list of users with all of whom a policy speaks: nft looks them up where it loads a ruleset.
/// It lies in the folder that the build keeps for tests.
static USERS: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("passwd");
    let users = "root:x:0:0::/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n\
                 systemd-timesync:x:997:997::/:/bin/false\nsystemd-resolve:x:996:996::/:/bin/false\n";
    fs::write(&path, users).unwrap();
    path
});

/// A command in a new network namespace, where a policy's users exist, or nothing where none
/// can be had.
fn unshare(test: &str) -> Option<Command> {
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
    command.arg("mount --bind \"$0\" /etc/passwd && mount -t sysfs sysfs /sys && exec \"$@\"");
    command.arg(&*USERS).env(OUTSIDE, namespace());
    Some(command)
}

#[track_caller]
fn check(mut command: Command, says: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(says),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs one of the inner halves.
fn inside(inner: &str) {
    if let Some(mut command) = unshare(inner) {
        command.arg(env::current_exe().unwrap());
        command.args(["--exact", inner, "--ignored", "--nocapture"]);
        check(command, DONE);
    }
}

/// Nothing here may ever touch the firewall of the machine that runs the tests.
fn is_inside() -> bool {
    env::var(OUTSIDE).is_ok_and(|outside| outside != namespace())
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nft_takes_every_rendered_ruleset() {
    for site in SITES {
        if let Some(mut command) = unshare("nft_takes_every_rendered_ruleset") {
            command.args(["nft", "-j", "-f"]).arg(golden(site));
            check(command, "");
        }
    }
}

#[test]
fn every_change_is_found() {
    inside(CHANGES);
}

#[test]
fn many_sources_together_begin_no_more_than_the_limit_for_all() {
    let there = |program: &str| {
        let found = Command::new(program).arg("--help").output();
        found.is_ok()
    };
    if !there("python3") || !there("ip") || !there("sysctl") {
        let why = "needs python3, ip and sysctl, of which one is missing";
        let _ = writeln!(std::io::stderr(), "skipped: {TOTAL}: {why}");
        return;
    }
    inside(TOTAL);
}

#[test]
fn what_sets_hold_is_no_change() {
    inside(SETS);
}

#[test]
fn other_tables_are_left_alone() {
    inside(FOREIGN);
}

#[test]
#[ignore = "the inner half of every_change_is_found"]
fn inside_every_change_is_found() {
    if !is_inside() {
        return;
    }
    for site in SITES {
        let ruleset = ruleset(site);
        let changes: &[(&str, &str)] = &[
            (
                "flush chain inet shelly_bastion forward",
                "rule refuse-forward is missing",
            ),
            (
                "add rule inet shelly_bastion input accept",
                "rule without a name",
            ),
            (
                "insert rule inet shelly_bastion output tcp dport 80 accept comment \"f9-replies\"",
                "rule f9-replies is there 2 times",
            ),
            (
                "add chain inet shelly_bastion more",
                "chain more is not ours",
            ),
            (
                "chain inet shelly_bastion output { policy accept; }",
                "chain output is",
            ),
            ("delete table inet shelly_bastion", "is not loaded"),
        ];
        for (change, says) in changes {
            firewall::check(&host(), &ruleset).unwrap();
            firewall::load(&host(), &ruleset).unwrap();
            assert_eq!(
                firewall::differences(&host(), &ruleset).unwrap(),
                Vec::<String>::new()
            );
            nft(&change.split(' ').collect::<Vec<_>>());
            let found = firewall::differences(&host(), &ruleset).unwrap().join("; ");
            assert!(found.contains(says), "{site}, {change}: {found:?}");
        }
        assert!(
            !nft(&["list", "tables"]).contains("shelly"),
            "something was left"
        );
    }
    println!("{DONE}");
}

/// How many packets a rule of the loaded policy has counted.
fn counted(name: &str) -> u64 {
    let listing = nft(&["-j", "list", "table", "inet", "shelly_bastion"]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let objects = listing.get("nftables").and_then(Value::as_array).unwrap();
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let mut rules = rules.filter(|rule| rule.get("comment").is_some_and(|there| there == name));
    let statements = rules.next().unwrap().get("expr").unwrap();
    let mut counters = statements.as_array().unwrap().iter();
    let counter = counters.find_map(|statement| statement.get("counter"));
    counter.unwrap().get("packets").unwrap().as_u64().unwrap()
}

/// Loopback is let in, so the packets go over a pair of interfaces whose other end is a machine
/// that puts another source into each.
#[test]
#[ignore = "the inner half of many_sources_together_begin_no_more_than_the_limit_for_all"]
fn inside_many_sources_together_begin_no_more_than_the_limit_for_all() {
    if !is_inside() {
        return;
    }
    const SENT: u64 = 3000;
    const AT_ONCE: u64 = 2000;
    const PER_SECOND: u64 = 100;
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
    };
    firewall::load(&host(), &ruleset("home")).unwrap();
    // The other end has no process of its own: its packets are written to the interface's peer.
    run(
        "ip",
        &[
            "link",
            "add",
            "near",
            "address",
            "02:00:00:00:00:01",
            "type",
            "veth",
            "peer",
            "name",
            "far",
            "address",
            "02:00:00:00:00:02",
        ],
    );
    run("ip", &["address", "add", "192.168.2.2/24", "dev", "near"]);
    run("ip", &["link", "set", "near", "up"]);
    run("ip", &["link", "set", "far", "up"]);
    run(
        "sysctl",
        &[
            "-q",
            "-w",
            "net.ipv4.conf.near.rp_filter=0",
            "net.ipv4.conf.all.rp_filter=0",
        ],
    );
    let begun = Instant::now();
    run("python3", &["-c", SENDING, &SENT.to_string()]);
    let counts = || (counted("f1-meters-v4"), counted("f1-limit-total"));
    // The kernel may still be at work on the last ones.
    while counts().0 + counts().1 < SENT && begun.elapsed().as_secs() < 60 {}
    let (let_in, held) = counts();
    let most = AT_ONCE + PER_SECOND * (begun.elapsed().as_secs() + 1);
    assert_eq!(let_in + held, SENT, "{let_in} let in, {held} held back");
    assert_eq!(counted("f1-limit-source-v4"), 0);
    assert!(
        let_in >= AT_ONCE && let_in <= most,
        "{let_in} let in, at most {most} may"
    );
    println!("{DONE}");
}

/// Sends so many SYNs from as many sources to the machine's interface, from its other end.
const SENDING: &str = r#"
import socket, struct, sys
near, far = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
def total(data):
    words = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while words >> 16:
        words = (words & 0xffff) + (words >> 16)
    return struct.pack("!H", ~words & 0xffff)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("far", 0))
to = socket.inet_aton("192.168.2.2")
for n in range(int(sys.argv[1])):
    source = socket.inet_aton("198.51.%d.%d" % (n // 250, n % 250 + 1))
    tcp = struct.pack("!HHIIBBHHH", 40000, 1883, 1, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + total(source + to + struct.pack("!HH", 6, 20) + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, n, 0, 64, 6, 0) + source + to
    ip = ip[:10] + total(ip) + ip[12:]
    s.send(near + far + b"\x08\x00" + ip + tcp)
"#;

/// The networks for which SSH is open for minutes come and go, and sources are counted: neither
/// is a change of the policy.
#[test]
#[ignore = "the inner half of what_sets_hold_is_no_change"]
fn inside_what_sets_hold_is_no_change() {
    if !is_inside() {
        return;
    }
    let ruleset = ruleset("everything");
    firewall::load(&host(), &ruleset).unwrap();
    for (set, network) in [
        (CONSOLE_SET_V4, "192.168.1.0/24"),
        (CONSOLE_SET_V6, "2001:db8:5a:1::/64"),
        ("f1_sources_v4", "192.0.2.1"),
    ] {
        let element = format!("{{ {network} timeout 10m }}");
        nft(&["add", "element", "inet", "shelly_bastion", set, &element]);
        assert!(nft(&["list", "set", "inet", "shelly_bastion", set]).contains("expires"));
    }
    assert_eq!(
        firewall::differences(&host(), &ruleset).unwrap(),
        Vec::<String>::new()
    );
    println!("{DONE}");
}

/// What is brought back after a change that does not hold is what was there, whoever made it.
#[test]
fn a_loaded_table_comes_back_as_it_was() {
    inside("inside_a_loaded_table_comes_back_as_it_was");
}

#[test]
#[ignore = "the inner half of a_loaded_table_comes_back_as_it_was"]
fn inside_a_loaded_table_comes_back_as_it_was() {
    if !is_inside() {
        return;
    }
    let rules = || nft(&["--stateless", "list", "ruleset"]);
    for site in SITES {
        firewall::load(&host(), &ruleset(site)).unwrap();
        // A person's own rule, which no file knows.
        nft(&["add rule inet shelly_bastion input tcp dport 2222 accept"]);
        nft(&["add element inet shelly_bastion f1_sources_v4 { 192.0.2.1 timeout 10m }"]);
        let before = rules();
        let saved = firewall::restorable(&host()).unwrap().unwrap();
        firewall::load(&host(), &ruleset("home")).unwrap();
        firewall::load(&host(), &saved).unwrap();
        assert!(before.contains("192.0.2.1"));
        nft(&["add element inet shelly_bastion f1_sources_v4 { 192.0.2.1 timeout 10m }"]);
        // What a set learnt carries the time that is left.
        let without_times = |rules: &str| {
            let lines = rules.lines().filter(|line| !line.contains("expires"));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(without_times(&rules()), without_times(&before), "{site}");
    }
    firewall::unload(&host()).unwrap();
    firewall::unload(&host()).unwrap();
    assert_eq!(firewall::restorable(&host()).unwrap(), None);
    assert_eq!(rules(), "");
    println!("{DONE}");
}

#[test]
fn the_boot_partition_opens_ssh_for_minutes() {
    inside("inside_the_boot_partition_opens_ssh_for_minutes");
}

#[test]
#[ignore = "the inner half of the_boot_partition_opens_ssh_for_minutes"]
fn inside_the_boot_partition_opens_ssh_for_minutes() {
    if !is_inside() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path.trim_start_matches('/'));
    for folder in ["run", "boot/firmware", "etc/shelly-bastion"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let bastion = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bastion"));
        command.arg("--root").arg(root.path()).args(arguments);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let key = at("/boot/firmware/shelly-bastion-open");
    for site in SITES {
        let flows = golden(site).with_file_name("flows.json");
        fs::copy(flows, at("/etc/shelly-bastion/flows.json")).unwrap();
        let rules = ruleset(site);
        firewall::load(&host(), &rules).unwrap();
        let set = || nft(&["list", "set", "inet", "shelly_bastion", CONSOLE_SET_V4]);
        let (code, said, _) = bastion(&["open", "--from-boot-file"]);
        assert_eq!(
            (code, said.as_str()),
            (0, "no file on the boot partition asks for SSH\n")
        );
        assert!(!set().contains("expires"));
        // Twice: the second begins the time anew.
        for _ in 0..2 {
            fs::write(&key, "").unwrap();
            let (code, said, complained) = bastion(&["open", "--from-boot-file"]);
            assert_eq!(code, 0, "{complained}");
            assert!(
                said.starts_with("SSH is open to 192.168.") && said.contains("for 10m"),
                "{said}"
            );
            assert!(!key.exists(), "it opens once");
            assert!(set().contains("timeout 10m expires"), "{}", set());
        }
        assert_eq!(
            firewall::differences(&host(), &rules).unwrap(),
            Vec::<String>::new()
        );
    }
    let (code, said, _) = bastion(&["history"]);
    assert_eq!(
        (code, said.matches("SSH opened to the LAN").count()),
        (0, 2 * SITES.len())
    );
    let (_, status, _) = bastion(&["status"]);
    assert!(status.contains("SSH to the whole LAN, for "), "{status}");
    // A folder cannot be removed as a file: then it stays closed, and says so.
    firewall::load(&host(), &ruleset("home")).unwrap();
    fs::create_dir(&key).unwrap();
    let (code, _, complained) = bastion(&["open", "--from-boot-file"]);
    assert_eq!(code, 1);
    assert!(
        complained.contains("cannot be removed, so SSH stays closed"),
        "{complained}"
    );
    // Tests are started from anywhere but the console.
    let (code, _, complained) = bastion(&["open", "--for", "5m"]);
    assert_eq!(code, 1);
    assert!(
        complained.contains("log in at the bastion's own screen"),
        "{complained}"
    );
    println!("{DONE}");
}

#[test]
#[ignore = "the inner half of other_tables_are_left_alone"]
fn inside_other_tables_are_left_alone() {
    if !is_inside() {
        return;
    }
    nft(&["add table inet other; add chain inet other c; add rule inet other c counter accept"]);
    nft(&["add table ip shelly_bastion; add chain ip shelly_bastion c"]);
    let other = || {
        nft(&["list", "table", "inet", "other"]) + &nft(&["list", "table", "ip", "shelly_bastion"])
    };
    let before = other();
    firewall::load(&host(), &ruleset("home")).unwrap();
    assert_eq!(
        firewall::differences(&host(), &ruleset("home")).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(other(), before);
    println!("{DONE}");
}
