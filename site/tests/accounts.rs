//! What the accounts of a site may do, and above all what none of them may.
//!
//! Whoever holds a meter's password holds it for ever: it is sent in clear. So each permission
//! is held against the topics of commands and of other meters.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use site::account::{Access, Account, HEALTH_TOPIC, Role, VERDICT_TOPIC};
use site::daemon::{FETCH_FILTER, HEAD_TOPIC, TICK_TOPIC, fetch_topic, page_topic};
use site::{Generation, Meter, Site};

/// Commands below a prefix, from the vendor's documentation, not from the project's own list.
const GEN1_COMMANDS: &[&str] = &[
    "command",
    "relay/0/command",
    "relay/1/command",
    "emeter/0/command",
    "emeter/2/command",
    "roller/0/command",
    "roller/0/command/pos",
    "light/0/command",
    "light/0/set",
    "color/0/command",
    "color/0/set",
    "white/0/command",
    "white/0/set",
];
const GEN2_COMMANDS: &[&str] = &["rpc", "command", "command/switch:0", "command/cover:0"];

/// Recorded topics: a meter that cannot say these is of no use.
const GEN1_READINGS: &[&str] = &[
    "online",
    "announce",
    "info",
    "emeter/0/power",
    "emeter/2/total_returned",
    "emeter_n/current",
    "relay/0",
    "relay/0/power",
    "relay/0/energy",
    "temperature",
];
const GEN2_READINGS: &[&str] = &["online", "status/em:0", "status/switch:0", "events/rpc"];

fn sites() -> Vec<(String, Site)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sites = Vec::new();
    for folder in ["examples", "tests/good"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let site = Site::parse(&name, &fs::read_to_string(&path).unwrap()).unwrap();
            sites.push((name, site));
        }
    }
    sites
}

/// Whether some topic fits both filters.
fn overlap(one: &str, other: &str) -> bool {
    fn levels(one: &[&str], other: &[&str]) -> bool {
        match (one, other) {
            ([], []) => true,
            // `a/#` fits `a` as well.
            (["#"], _) | (_, ["#"]) => true,
            ([a, one @ ..], [b, other @ ..]) => {
                (a == b || *a == "+" || *b == "+") && levels(one, other)
            }
            _ => false,
        }
    }
    let one: Vec<&str> = one.split('/').collect();
    let other: Vec<&str> = other.split('/').collect();
    levels(&one, &other)
}

#[track_caller]
fn check_overlap(one: &str, other: &str, expected: bool) {
    assert_eq!(overlap(one, other), expected, "{one} and {other}");
    assert_eq!(overlap(other, one), expected, "{other} and {one}");
}

/// A matcher that never matches would make every test below pass.
#[test]
fn filters_overlap_where_one_topic_fits_both() {
    check_overlap("a/b", "a/b", true);
    check_overlap("a/+", "a/b", true);
    check_overlap("a/+/c", "+/b/c", true);
    check_overlap("a/#", "a/b/c", true);
    check_overlap("a/#", "a", true);
    check_overlap("#", "a/b", true);
    check_overlap("a/b", "a/c", false);
    check_overlap("a/+", "a", false);
    check_overlap("a/+", "a/b/c", false);
    check_overlap("a/b/#", "a/c/#", false);
    check_overlap("ab/#", "a/#", false);
}

fn filters(account: &Account, access: Access) -> impl Iterator<Item = &str> {
    let fits = account.permissions.iter();
    fits.filter(move |permission| permission.access == access)
        .map(|permission| permission.topic.as_str())
}

fn below(meter: &Meter, topics: &[&str]) -> Vec<String> {
    let topics = topics.iter();
    topics
        .map(|topic| format!("{}/{topic}", meter.prefix))
        .collect()
}

fn commands(meter: &Meter) -> Vec<String> {
    below(
        meter,
        match meter.model.generation {
            Generation::One => GEN1_COMMANDS,
            Generation::TwoPlus => GEN2_COMMANDS,
        },
    )
}

fn readings(meter: &Meter) -> Vec<String> {
    below(
        meter,
        match meter.model.generation {
            Generation::One => GEN1_READINGS,
            Generation::TwoPlus => GEN2_READINGS,
        },
    )
}

/// Calls `check` with the site's name, each meter, its account, and all meters.
fn for_each_meter(check: impl Fn(&str, &Meter, &Account, &[Meter])) {
    for (name, site) in sites() {
        let accounts = Account::all(&site);
        for meter in &site.meters {
            let account = accounts.iter().find(|account| account.name == meter.id);
            check(&name, meter, account.unwrap(), &site.meters);
        }
    }
}

#[test]
fn a_meter_says_its_readings() {
    for_each_meter(|site, meter, account, _| {
        for topic in readings(meter)
            .into_iter()
            .chain(["shellies/announce".to_owned()])
        {
            assert!(
                filters(account, Access::Write).any(|filter| overlap(filter, &topic)),
                "{site}: {} cannot say {topic}",
                meter.id
            );
        }
    });
}

#[test]
fn a_meter_gives_no_commands_to_itself_or_others() {
    for_each_meter(|site, meter, account, all| {
        let forbidden = all.iter().flat_map(commands);
        for topic in forbidden.chain(["shellies/command".to_owned()]) {
            for filter in filters(account, Access::Write) {
                assert!(
                    !overlap(filter, &topic),
                    "{site}: {} may write {filter}, and so {topic}",
                    meter.id
                );
            }
        }
    });
}

/// What one meter may hear as a command, no meter may write, whatever the lists above say.
#[test]
fn what_meters_hear_no_meter_writes() {
    for (name, site) in sites() {
        let accounts = Account::all(&site);
        let meters = || {
            accounts
                .iter()
                .filter(|account| account.role == Role::Meter)
        };
        for heard in meters().flat_map(|account| filters(account, Access::Read)) {
            for written in meters().flat_map(|account| filters(account, Access::Write)) {
                assert!(!overlap(heard, written), "{name}: {heard} and {written}");
            }
        }
    }
}

#[test]
fn a_meter_has_nothing_to_do_with_another_meters_topics() {
    for_each_meter(|site, meter, account, all| {
        for other in all.iter().filter(|other| other.id != meter.id) {
            let tree = format!("{}/#", other.prefix);
            for permission in &account.permissions {
                assert!(
                    !overlap(&permission.topic, &tree),
                    "{site}: {} has {permission:?}, and so a part of {tree}",
                    meter.id
                );
            }
        }
    });
}

/// Two topics are shared by the vendor's design; all else stands below the literal prefix.
#[test]
fn a_meters_permissions_begin_with_its_own_prefix() {
    for_each_meter(|site, meter, account, _| {
        assert!(
            !meter.prefix.contains(['+', '#']),
            "{site}: {}",
            meter.prefix
        );
        let own = format!("{}/", meter.prefix);
        for access in [Access::Read, Access::Write] {
            let shared: Vec<_> = filters(account, access)
                .filter(|filter| !filter.starts_with(&own))
                .collect();
            let expected = match access {
                Access::Read => "shellies/command",
                Access::Write => "shellies/announce",
            };
            assert_eq!(shared, [expected], "{site}: {}", meter.id);
        }
        assert!(
            !account
                .permissions
                .iter()
                .any(|permission| overlap(&permission.topic, "$SYS/#")),
            "{site}: {}",
            meter.id
        );
    });
}

#[test]
fn a_meter_hears_its_commands() {
    for_each_meter(|site, meter, account, _| {
        let heard = ["command"].map(|topic| format!("{}/{topic}", meter.prefix));
        for topic in heard.into_iter().chain(["shellies/command".to_owned()]) {
            assert!(
                filters(account, Access::Read).any(|filter| overlap(filter, &topic)),
                "{site}: {} cannot hear {topic}",
                meter.id
            );
        }
    });
}

#[test]
fn readers_read_every_meter_and_write_nothing_but_their_own_requests() {
    for (name, site) in sites() {
        for account in Account::all(&site) {
            if account.role != Role::Reader {
                continue;
            }
            assert_eq!(
                filters(&account, Access::Write).collect::<Vec<_>>(),
                [fetch_topic(&account.name)],
                "{name}: {}",
                account.name
            );
            for topic in site.meters.iter().flat_map(readings) {
                assert!(
                    filters(&account, Access::Read).any(|filter| overlap(filter, &topic)),
                    "{name}: {} cannot read {topic}",
                    account.name
                );
            }
            for filter in filters(&account, Access::Read) {
                assert!(!overlap(filter, HEALTH_TOPIC), "{name}: {filter}");
                assert!(!overlap(filter, FETCH_FILTER), "{name}: {filter}");
                let page = overlap(filter, "bastion/v1/+/page");
                assert_eq!(
                    page,
                    filter == page_topic(&account.name),
                    "{name}: {filter}"
                );
            }
        }
    }
}

#[test]
fn the_health_account_has_one_topic_and_tells_readers_the_verdict() {
    for (name, site) in sites() {
        for account in Account::all(&site) {
            let about = format!("{name}: {}", account.name);
            let health = account.role == Role::Health;
            let may = |topic: &str, access: Access| {
                let filters = filters(&account, access);
                filters.into_iter().any(|filter| overlap(filter, topic))
            };
            for access in [Access::Read, Access::Write] {
                assert_eq!(may(HEALTH_TOPIC, access), health, "{about}");
            }
            assert_eq!(may(VERDICT_TOPIC, Access::Write), health, "{about}");
            let reader = account.role == Role::Reader;
            assert_eq!(may(VERDICT_TOPIC, Access::Read), reader, "{about}");
            let topics = account.permissions.iter();
            let mut topics = topics.map(|permission| permission.topic.as_str());
            assert!(
                !health || topics.all(|topic| [HEALTH_TOPIC, VERDICT_TOPIC].contains(&topic)),
                "{about}"
            );
        }
    }
}

/// Whoever forges a tick moves readings, and whoever forges a page invents them.
#[test]
fn ticks_heads_and_pages_are_written_by_the_bastions_own_programs_only() {
    for (name, site) in sites() {
        for account in Account::all(&site) {
            for filter in filters(&account, Access::Write) {
                let daemon = account.role == Role::Daemon;
                let (ticker, id) = (account.role == Role::Ticker, &account.name);
                assert_eq!(
                    overlap(filter, TICK_TOPIC),
                    ticker,
                    "{name}: {id}, {filter}"
                );
                for own in [HEAD_TOPIC, "bastion/v1/+/page"] {
                    assert!(daemon || !overlap(filter, own), "{name}: {id}, {filter}");
                }
            }
        }
    }
}

/// The daemon journals every meter's readings, and asks of meters only to say everything.
#[test]
fn the_daemon_hears_every_meter_and_commands_little() {
    for (name, site) in sites() {
        let accounts = Account::all(&site);
        let daemon = accounts.iter().find(|account| account.role == Role::Daemon);
        let daemon = daemon.unwrap();
        for topic in site.meters.iter().flat_map(readings) {
            assert!(
                filters(daemon, Access::Read).any(|filter| overlap(filter, &topic)),
                "{name}"
            );
        }
        for meter in &site.meters {
            let dangerous = ["rpc", "relay/0/command", "command/switch:0"];
            for topic in below(meter, &dangerous) {
                for filter in filters(daemon, Access::Write) {
                    assert!(!overlap(filter, &topic), "{name}: {filter}");
                }
            }
        }
    }
}

#[test]
fn account_names_are_unique() {
    for (name, site) in sites() {
        let accounts = Account::all(&site);
        let names: BTreeSet<&str> = accounts
            .iter()
            .map(|account| account.name.as_str())
            .collect();
        assert_eq!(names.len(), accounts.len(), "{name}");
        assert_eq!(
            accounts.len(),
            site.meters.len() + site.readers.len() + 3,
            "{name}"
        );
    }
}
