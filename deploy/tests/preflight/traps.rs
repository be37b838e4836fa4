//! Each trap alone: one thing made wrong on a machine that is fine, and this trap, no other, says
//! so. The machine as it was springs none, which the tests beside this one show. What is made wrong is
//! listed in `cases`.

mod cases;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{CONTEXT, answer, findings, home, traps};
use cases::CASES;

/// An answer with one section's lines replaced.
fn with(answer: &str, section: &str, lines: &str) -> String {
    let head = format!("== {section}\n");
    let start = answer.find(&head).unwrap() + head.len();
    let end = start + answer[start..].find("\n== ").unwrap();
    let lines: String = lines.lines().map(|line| format!(" {line}\n")).collect();
    format!("{}{lines}{}", &answer[..start], &answer[end..])
}

#[test]
fn each_trap_is_sprung_alone() {
    let good = answer("pi3-bookworm");
    for case in CASES {
        let wrong = case
            .wrong
            .iter()
            .fold(good.clone(), |answer, (section, lines)| {
                with(&answer, section, lines)
            });
        let found = findings(&wrong, &home(), &CONTEXT);
        let mut expected = vec![case.trap];
        expected.extend(case.with);
        expected.sort_unstable();
        let mut names = traps(&found);
        names.sort_unstable();
        assert_eq!(names, expected, "{:?}: {found:#?}", case.wrong);
    }
}

#[test]
fn a_public_address_that_no_meter_reaches_is_warned_about() {
    let good = answer("pi3-bookworm");
    for (host, trap) in [
        ("100.127.3.4", "carrier-nat"),
        ("192.168.0.4", "public-private"),
        ("198.51.100.4", ""),
        ("100.128.0.1", ""),
    ] {
        let mut site = home();
        host.clone_into(&mut site.public.host);
        let expected: Vec<&str> = [trap].into_iter().filter(|trap| !trap.is_empty()).collect();
        assert_eq!(traps(&findings(&good, &site, &CONTEXT)), expected, "{host}");
    }
}

#[test]
fn what_the_policy_would_not_let_out_is_told_before() {
    let good = answer("pi3-bookworm");
    let mut site = home();
    site.bastions[0].dhcp = None;
    assert_eq!(traps(&findings(&good, &site, &CONTEXT)), ["lease"]);
    let mut site = home();
    site.outbound.time_servers.clear();
    assert_eq!(traps(&findings(&good, &site, &CONTEXT)), ["no-time"]);
    let mut site = home();
    site.outbound.resolved = true;
    assert_eq!(
        traps(&findings(&good, &site, &CONTEXT)),
        ["no-resolver-user"]
    );
    let with_service = with(&good, "users", "_apt\nsystemd-timesync\nsystemd-resolve");
    assert_eq!(traps(&findings(&with_service, &site, &CONTEXT)), [""; 0]);
}

#[test]
fn another_bastion_is_taken_over_when_asked() {
    let answer = with(
        &answer("pi3-deployed"),
        "manifest",
        "\"site\": \"farm\",\n\"bastion\": \"pi\"",
    );
    assert_eq!(
        traps(&findings(&answer, &home(), &CONTEXT)),
        ["other-bastion"]
    );
    let mut asked = CONTEXT;
    asked.take_over = true;
    assert_eq!(traps(&findings(&answer, &home(), &asked)), [""; 0]);
}

#[test]
fn packages_that_are_carried_along_need_no_source_and_no_clock() {
    let answer = answer("pi3-bookworm");
    let mut offline = CONTEXT;
    offline.offline = true;
    for (section, lines) in [
        ("sources", "0"),
        (
            "packages",
            "mosquitto:\n  Installed: (none)\n  Candidate: (none)",
        ),
    ] {
        let without = with(&answer, section, lines);
        assert_eq!(
            traps(&findings(&without, &home(), &offline)),
            [""; 0],
            "{section}"
        );
    }
    let early = with(
        &with(&answer, "clock", "12"),
        "clock-state",
        "NTPSynchronized=no",
    );
    assert_eq!(traps(&findings(&early, &home(), &offline)), ["clock-off"]);
}

/// The page names every trap that is tested, and every trap that it names is tested.
#[test]
fn the_page_names_the_traps() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/preflight.md");
    let page = fs::read_to_string(page).unwrap();
    let named: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut tested: BTreeSet<&str> = CASES.iter().map(|case| case.trap).collect();
    tested.extend(["public-private", "lease", "no-time", "no-resolver-user"]);
    assert_eq!(named, tested);
    assert!(named.len() >= 25, "{}", named.len());
}
