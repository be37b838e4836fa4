//! Every trap is sprung by an answer, and the answers of machines that are fine spring none.
//!
//! `answers/` holds whole answers of the script in `facts`. They were composed after machines of
//! these kinds, in the exact form in which the script prints; what the script prints is tested
//! on the machine that runs the tests.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod script;
mod traps;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use deploy::facts::{self, Facts, FactsError, Sudo, Version};
use deploy::preflight::{self, Context, Finding, ProgramNeeds};
use proptest::prelude::*;
use site::Site;

/// The clock of the answers.
const NOW: u64 = 1_795_817_314;

const CONTEXT: Context = Context {
    program: ProgramNeeds::ARMV7,
    now: NOW,
    offline: false,
    take_over: false,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preflight/answers")
}

fn answer(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap()
}

fn example(name: &str) -> Site {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../site/examples");
    let file = format!("{name}.toml");
    Site::parse(&file, &fs::read_to_string(folder.join(&file)).unwrap()).unwrap()
}

fn home() -> Site {
    example("home")
}

fn findings(answer: &str, site: &Site, context: &Context) -> Vec<Finding> {
    let facts = Facts::parse(answer).unwrap();
    preflight::check(site, &site.bastions[0], &facts, context)
}

fn traps(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.trap).collect()
}

#[track_caller]
fn check(name: &str, expected: &[&str]) {
    let found = findings(&answer(name), &home(), &CONTEXT);
    assert_eq!(traps(&found), expected, "{name}: {found:#?}");
    for finding in &found {
        assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
        let shown = finding.to_string();
        assert!(
            !shown.trim_end_matches('\n').contains('\u{1b}'),
            "{shown:?}"
        );
    }
}

#[test]
fn a_fresh_pi_3_springs_no_trap() {
    check("pi3-bookworm", &[]);
}

#[test]
fn a_pi_5_with_trixie_and_a_64_bit_kernel_springs_no_trap() {
    check("pi5-trixie", &[]);
}

#[test]
fn a_bastion_that_is_in_place_springs_no_trap() {
    check("pi3-deployed", &[]);
}

#[test]
fn a_pi_1_is_refused_for_its_processor() {
    check("pi1-bookworm", &["armv6"]);
}

#[test]
fn a_64_bit_userland_is_refused_with_two_ways_out() {
    check("pi4-bookworm-64", &["64-bit-userland"]);
    let found = findings(&answer("pi4-bookworm-64"), &home(), &CONTEXT);
    assert!(found[0].remedy.contains("--target aarch64"), "{}", found[0]);
    assert!(
        found[0].remedy.contains("dpkg --add-architecture armhf"),
        "{}",
        found[0]
    );
}

#[test]
fn a_64_bit_userland_takes_the_64_bit_program() {
    let mut context = CONTEXT;
    context.program.machine = preflight::Machine::Aarch64;
    // As it is built: static. And one that asks for a library.
    for glibc in [None, CONTEXT.program.glibc] {
        context.program.glibc = glibc;
        assert_eq!(
            traps(&findings(&answer("pi4-bookworm-64"), &home(), &context)),
            [""; 0]
        );
        // A 64-bit kernel does not make a 64-bit userland.
        for name in ["pi3-bookworm", "pi5-trixie"] {
            let found = findings(&answer(name), &home(), &context);
            assert_eq!(traps(&found), ["architecture"], "{name}");
            assert!(found[0].what.contains("arm64"), "{}", found[0]);
            assert!(found[0].remedy.contains("without --target"), "{}", found[0]);
        }
    }
}

#[test]
fn bullseye_is_refused_for_its_library_and_firewall() {
    check("pi3-bullseye", &["glibc", "nft-old"]);
}

#[test]
fn buster_is_refused_for_its_age() {
    check(
        "pi2-buster",
        &["glibc", "systemd-old", "broker-old", "nft-old"],
    );
}

#[test]
fn an_overlay_root_is_refused() {
    check("pi3-overlay", &["overlay-root", "disk-low"]);
}

#[test]
fn docker_and_saved_rules_are_warned_about() {
    check("pi4-docker", &["docker", "saved-rules", "flush"]);
}

#[test]
fn a_machine_set_up_by_the_guide_is_warned_about() {
    check("pi3-guide", &["broker-files", "broker-in-use", "ufw"]);
}

#[test]
fn a_neglected_machine_hears_everything_at_once() {
    check(
        "zero2-neglected",
        &[
            "disk-full",
            "run-full",
            "clock-far-off",
            "packages-broken",
            "port-taken",
            "no-interface",
            "second-leg",
            "gateway",
            "sudo-password",
            "locked-out",
            "ssh-port",
            "memory-low",
            "power",
            "no-watchdog",
            "failed-units",
            "packages-locked",
            "gateway-v6",
        ],
    );
}

#[test]
fn a_container_is_refused() {
    check(
        "container",
        &[
            "architecture",
            "container",
            "overlay-root",
            "no-systemd",
            "no-sudo",
        ],
    );
}

#[test]
fn a_flat_site_takes_its_own_pi() {
    let answer = answer("pi3-bookworm")
        .replace("nameserver 192.168.2.1", "nameserver 192.168.178.1")
        .replace("192.168.2.1 ", "192.168.178.1 ")
        .replace("192.168.2.2", "192.168.178.5")
        .replace("192.168.1.10", "192.168.178.20");
    let answer: String = answer
        .lines()
        .filter(|line| !line.contains("2001:db8"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(
        traps(&findings(&answer, &example("flat"), &CONTEXT)),
        [""; 0]
    );
}

#[test]
fn facts_are_what_the_answers_say() {
    let facts = Facts::parse(&answer("pi3-deployed")).unwrap();
    assert_eq!(facts.user, "pi");
    assert_eq!(facts.sudo, Sudo::Yes);
    assert_eq!(facts.architecture, "armhf");
    assert_eq!(facts.arm, Some(7));
    assert_eq!(facts.glibc, Some(Version(2, 36, 0)));
    assert_eq!(facts.os_name, "Raspbian GNU/Linux 12 (bookworm)");
    assert_eq!(facts.systemd, Some(Version(252, 0, 0)));
    assert_eq!(facts.nft, Some(Version(1, 0, 6)));
    assert_eq!(facts.memory_kib, Some(946_480));
    assert_eq!(facts.clock, Some(NOW));
    assert_eq!(facts.clock_synchronised, Some(true));
    assert_eq!(
        facts.tables.as_deref(),
        Some(&["inet shelly_bastion".to_owned()][..])
    );
    assert_eq!(facts.chains.len(), 3);
    assert!(
        facts
            .chains
            .iter()
            .all(|chain| chain.drops && chain.table == "inet shelly_bastion")
    );
    assert_eq!(facts.units.len(), 22);
    assert!(facts.runs("mosquitto.service") && !facts.runs("ufw.service"));
    assert_eq!(facts.ssh_from.unwrap().0.to_string(), "192.168.1.10");
    assert_eq!(facts.ssh_ports, [22]);
    assert_eq!(facts.listeners.len(), 5);
    assert!(facts.forbids_programs("/run/shelly-bastion"));
    assert!(!facts.forbids_programs("/usr/local/sbin"));
    assert_eq!(facts.mount_of("/boot/firmware").unwrap().kind, "vfat");
    assert_eq!(facts.disk("/var/lib").unwrap().free_kib, 12_610_428);
    let deployed = facts.deployed.unwrap();
    assert_eq!(
        (deployed.site.as_str(), deployed.bastion.as_str()),
        ("home", "pi")
    );
    assert_eq!(facts.program.as_deref(), Some("0.1.0 (1a2b3c4d)"));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let good = answer("pi3-bookworm");
    let cut = &good[..good.len() / 2];
    assert!(matches!(Facts::parse(cut), Err(FactsError::CutShort(_))));
    assert!(matches!(
        Facts::parse("Permission denied"),
        Err(FactsError::NotOurs(_))
    ));
    let long = good + &" ".repeat(facts::LONGEST_ANSWER);
    assert!(matches!(Facts::parse(&long), Err(FactsError::TooLong(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Lines of a good answer, cut, swapped and spoilt.
    #[test]
    fn no_spoilt_answer_makes_it_panic(
        spoils in prop::collection::vec((0_usize..400, "\\PC{0,60}|[ =:/%@\\[\\]0-9a-f.]{0,40}"), 1..40),
    ) {
        static GOOD: LazyLock<(String, Site)> = LazyLock::new(|| (answer("pi3-deployed"), home()));
        let (good, home) = &*GOOD;
        let mut lines: Vec<&str> = good.lines().collect();
        let last = lines.pop().unwrap();
        for (at, text) in &spoils {
            let at = at % lines.len();
            if text.is_empty() { lines.remove(at.max(1)); } else { lines[at.max(1)] = text; }
        }
        lines.push(last);
        if let Ok(facts) = Facts::parse(&lines.join("\n")) {
            for finding in preflight::check(home, &home.bastions[0], &facts, &CONTEXT) {
                prop_assert!(finding.to_string().chars().all(|c| c == '\n' || !c.is_control()));
            }
        }
    }

    #[test]
    fn nothing_at_all_makes_it_panic(answer in "\\PC*", values in prop::collection::vec(any::<String>(), 0..20)) {
        let whole: String = values.iter().zip(["os", "disks", "addresses", "units", "routes", "listening"].iter().cycle())
            .map(|(value, name)| format!("== {name}\n {value}\n")).collect();
        let _ = Facts::parse(&answer);
        let facts = Facts::parse(&format!("shelly-bastion facts 1\n{whole}== end\n"));
        prop_assert!(facts.is_ok());
    }
}
