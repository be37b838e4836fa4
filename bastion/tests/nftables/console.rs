//! Opening SSH for minutes, and what sets hold.

use std::fs;
use std::process::Command;

use bastion::firewall;
use site::flow::{CONSOLE_SET_V4, CONSOLE_SET_V6};

use crate::namespace::{DONE, SITES, golden, host, inside, is_inside, nft, ruleset};

#[test]
fn what_sets_hold_is_no_change() {
    inside("console::inside_what_sets_hold_is_no_change");
}

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

#[test]
fn the_boot_partition_opens_ssh_for_minutes() {
    inside("console::inside_the_boot_partition_opens_ssh_for_minutes");
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
