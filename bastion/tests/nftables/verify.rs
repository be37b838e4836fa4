//! What `bastion verify` says of rules that are not the project's, and what its probes say.

use std::fs;
use std::process::Command;

use site::answer::{Check, Report, Verdict};
use site::manifest::{FLOWS_PATH, RULESET_PATH};
use tempfile::TempDir;

use crate::namespace::{DONE, USERS, inside, is_inside, nft, rendered};

/// What somebody types.
fn by_hand(command: &str) {
    nft(&[command]);
}

/// A machine with the rendered policy of the site `home`, in the folder and in the kernel.
fn machine() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(at("/run")).unwrap();
    fs::create_dir_all(at("/etc/shelly-bastion")).unwrap();
    fs::write(at("/etc/passwd"), USERS).unwrap();
    for path in [RULESET_PATH, FLOWS_PATH] {
        fs::copy(rendered("home", path), at(path)).unwrap();
    }
    load(&root);
    root
}

/// Puts the rendered policy into the kernel, as at a start.
fn load(root: &TempDir) {
    let output = Command::new(env!("CARGO_BIN_EXE_bastion"))
        .arg("--root")
        .arg(root.path())
        .arg("firewall")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What `bastion verify` says of some subjects: each whose name begins so.
fn verify(root: &TempDir, subject: &str) -> Vec<Check> {
    let output = Command::new(env!("CARGO_BIN_EXE_bastion"))
        .arg("--root")
        .arg(root.path())
        .args(["verify", "--json"])
        .output()
        .unwrap();
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report.checks.into_iter();
    checks
        .filter(|check| check.subject.starts_with(subject))
        .collect()
}

#[track_caller]
fn one(mut checks: Vec<Check>) -> (String, Verdict, String) {
    assert_eq!(checks.len(), 1, "{checks:?}");
    let check = checks.remove(0);
    (check.subject, check.verdict, check.detail)
}

#[test]
fn other_rules_in_the_path_are_listed_and_judged() {
    inside("verify::inside_other_rules_in_the_path_are_listed_and_judged");
}

#[test]
#[ignore = "the inner half of other_rules_in_the_path_are_listed_and_judged"]
fn inside_other_rules_in_the_path_are_listed_and_judged() {
    if !is_inside() {
        return;
    }
    let root = machine();
    let none = ("other rules".to_owned(), Verdict::Held, String::new());
    assert_eq!(one(verify(&root, "other rules")), none);

    let cases = [
        (
            "add table ip other; add chain ip other c { type filter hook output priority -5; }; \
             add chain ip other x; add rule ip other x tcp dport 80 counter accept; \
             add rule ip other c jump x; add rule ip other c reject",
            "other rules: ip other c (filter at output, priority -5)",
            "",
        ),
        (
            "add table ip other; add chain ip other c { type nat hook output priority 100; }",
            "other rules: ip other c (nat at output, priority 100)",
            "",
        ),
        (
            "add table ip other; add chain ip other c { type nat hook output priority 100; }; \
             add rule ip other c tcp dport 80 dnat to 192.168.1.2",
            "other rules: ip other c (nat at output, priority 100)",
            "dnat",
        ),
        (
            "add table inet other; add chain inet other c { type route hook output priority -150; }; \
             add rule inet other c meta mark set 7",
            "other rules: inet other c (route at output, priority -150)",
            "mangle",
        ),
        (
            "add table inet other; add chain inet other c { type filter hook prerouting priority -300; }; \
             add rule inet other c notrack",
            "other rules: inet other c (filter at prerouting, priority -300)",
            "notrack",
        ),
        (
            "add table netdev other; add chain netdev other c { type filter hook ingress device lo priority 0; }; \
             add rule netdev other c ip saddr 192.0.2.1 fwd to lo",
            "other rules: netdev other c (filter at ingress, priority 0)",
            "fwd",
        ),
        (
            "add table ip shelly_bastion; add chain ip shelly_bastion c { type filter hook input priority 0; }",
            "other rules: ip shelly_bastion c (filter at input, priority 0)",
            "",
        ),
    ];
    for (commands, subject, does) in cases {
        by_hand(commands);
        let (found, verdict, detail) = one(verify(&root, "other rules"));
        let family_and_table = subject.trim_start_matches("other rules: ");
        let family_and_table: Vec<&str> = family_and_table.split(' ').take(2).collect();
        by_hand(&format!("delete table {}", family_and_table.join(" ")));
        assert_eq!(found, subject);
        if does.is_empty() {
            assert_eq!((verdict, detail.as_str()), (Verdict::Held, ""), "{subject}");
        } else {
            let expected = format!("cannot tell whether it leads packets round our rules: {does}");
            assert_eq!(
                (verdict, detail),
                (Verdict::NotChecked, expected),
                "{subject}"
            );
        }
    }
    assert_eq!(one(verify(&root, "other rules")), none);
    // What of them may stay does not touch the comparison of our own rules.
    let (_, verdict, detail) = one(verify(&root, "firewall"));
    assert_eq!(verdict, Verdict::Held, "{detail}");
    println!("{DONE}");
}

#[test]
fn probes_show_that_each_user_is_refused() {
    inside("verify::inside_probes_show_that_each_user_is_refused");
}

/// The far end of a pair of interfaces answers for nobody, so what is let out finds silence.
#[test]
#[ignore = "the inner half of probes_show_that_each_user_is_refused"]
fn inside_probes_show_that_each_user_is_refused() {
    if !is_inside() {
        return;
    }
    for words in [
        "link set lo up",
        "link add near type veth peer name far",
        "address add 192.168.2.2/24 dev near",
        "link set near up",
        "link set far up",
        "route add default via 192.168.2.1",
        // A router that is not found makes the kernel say the same as a refusal, after a while.
        "neigh add 192.168.2.1 lladdr 02:00:00:00:00:01 dev near nud permanent",
    ] {
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {output:?}");
    }
    let root = machine();
    let folder = root.path().join("run/shelly-bastion-daemon");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(64000), Some(64000)).unwrap();
    let probes = || -> Vec<(String, Verdict)> {
        let checks = verify(&root, "probe").into_iter();
        checks.map(|check| (check.subject, check.verdict)).collect()
    };
    let all = |broken: &[&str]| -> Vec<(String, Verdict)> {
        let users = [
            "root",
            "nobody",
            "mosquitto",
            "_apt",
            "systemd-timesync",
            "systemd-resolve",
            "the daemon",
        ];
        let verdict = |user: &&str| match broken.contains(user) {
            true => Verdict::Broken,
            false => Verdict::Held,
        };
        let each = users
            .iter()
            .map(|user| (format!("probe as {user}"), verdict(user)));
        let counted = "probes are counted by our rules".to_owned();
        each.chain([(counted, Verdict::Held)]).collect()
    };
    assert_eq!(probes(), all(&[]));
    // A hole for one user, and one for another who has no name here.
    for (user, name) in [("65534", "nobody"), ("64000", "the daemon")] {
        by_hand(&format!(
            "insert rule inet shelly_bastion output meta skuid {user} accept"
        ));
        assert_eq!(probes(), all(&[name]), "{name}");
        load(&root);
    }
    assert_eq!(probes(), all(&[]));
    // Refused all the same, but not by our rules.
    by_hand(
        "add table inet other; add chain inet other c { type filter hook output priority -5; }; \
         add rule inet other c oifname near reject with icmpx admin-prohibited",
    );
    let mut expected = all(&[]);
    expected.last_mut().unwrap().1 = Verdict::Broken;
    assert_eq!(probes(), expected);
    by_hand("delete table inet other");
    // Without the table there is nothing that could count.
    by_hand("delete table inet shelly_bastion");
    let (subject, verdict, detail) = one(verify(&root, "probe"));
    assert_eq!((subject.as_str(), verdict), ("probes", Verdict::NotChecked));
    assert!(detail.starts_with("our table cannot be listed"), "{detail}");
    println!("{DONE}");
}
