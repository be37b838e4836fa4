//! What holds for the policy of every site, and that `docs/security.md` names the same rules.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use site::flow::{Action, Direction, Hook, Match, Policy, Rule};
use site::network::{refused_v4, refused_v6};
use site::{Bastion, Site};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every site file of the tests and examples that is right.
fn sites() -> Vec<(String, Site)> {
    let mut sites = Vec::new();
    for folder in [folder("examples"), folder("tests/good")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let site = Site::parse(&name, &fs::read_to_string(&path).unwrap()).unwrap();
            sites.push((name, site));
        }
    }
    assert!(sites.len() > 2, "where are the examples?");
    sites
}

fn for_each_bastion(check: impl Fn(&str, &Site, &Bastion, &Policy)) {
    for (name, site) in sites() {
        for bastion in &site.bastions {
            check(&name, &site, bastion, &Policy::of(&site, bastion));
        }
    }
}

fn example(name: &str) -> (Site, Policy) {
    let text = fs::read_to_string(folder("examples").join(name)).unwrap();
    let site = Site::parse(name, &text).unwrap();
    let policy = Policy::of(&site, site.bastions.first().unwrap());
    (site, policy)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.rules.iter().map(|rule| rule.name.as_str()).collect()
}

fn find<'a>(policy: &'a Policy, name: &str) -> Option<&'a Rule> {
    policy.rules.iter().find(|rule| rule.name == name)
}

#[test]
fn every_hook_refuses_by_default() {
    for_each_bastion(|site, _, _, policy| {
        for hook in Hook::ALL {
            assert!(policy.refuses_by_default(hook), "{site}: {}", hook.name());
            let last = policy.rules.iter().rfind(|rule| rule.hook == hook).unwrap();
            let without = policy.without(&last.name).unwrap();
            assert!(!without.refuses_by_default(hook), "{site}: {}", last.name);
        }
    });
}

/// What leaves by its own will may stand only behind every refusal. Three kinds of packet are
/// none of that: what stays on the machine, what answers, and the search for neighbours.
#[test]
fn nothing_is_let_out_ahead_of_a_refusal() {
    for_each_bastion(|site, _, _, policy| {
        let mut refused_all = false;
        for rule in policy.rules.iter().filter(|rule| rule.hook == Hook::Output) {
            let named_refusal = rule.action != Action::Accept && !rule.matches.is_empty();
            assert!(!(refused_all && named_refusal), "{site}: {}", rule.name);
            let harmless = rule.matches.iter().any(|condition| {
                matches!(
                    condition,
                    Match::Loopback
                        | Match::Established(Direction::Reply)
                        | Match::NeighbourDiscovery(_)
                )
            });
            refused_all |= rule.action == Action::Accept && !harmless;
        }
    });
}

/// A spoofed SYN can make an answer out of a connection that the bastion starts.
#[test]
fn answers_never_begin_a_connection() {
    for_each_bastion(|site, _, _, policy| {
        for rule in policy.rules.iter().filter(|rule| rule.hook == Hook::Output) {
            if rule.matches.contains(&Match::Established(Direction::Reply)) {
                assert!(
                    rule.matches.contains(&Match::NotBareSyn),
                    "{site}: {}",
                    rule.name
                );
            }
        }
    });
}

/// Each accepting rule but loopback and neighbour discovery names its ports and where it stands
/// in a connection: one forgotten condition would open the machine.
#[test]
fn what_is_accepted_is_narrow() {
    for_each_bastion(|site, _, _, policy| {
        for rule in &policy.rules {
            if rule.action != Action::Accept || ["F0", "F8"].contains(&rule.flow.as_str()) {
                continue;
            }
            let has = |fits: &dyn Fn(&Match) -> bool| rule.matches.iter().any(fits);
            let place = format!("{site}: {}", rule.name);
            assert_ne!(rule.hook, Hook::Forward, "{place}");
            assert!(
                has(&|m| matches!(m, Match::TcpTo(_) | Match::TcpFrom(_))),
                "{place}"
            );
            let begins = has(&|m| matches!(m, Match::New));
            assert_ne!(
                begins,
                has(&|m| matches!(m, Match::Established(_))),
                "{place}"
            );
            assert_eq!(
                begins,
                has(&|m| matches!(m, Match::Source(_) | Match::SourceOutside(_))),
                "{place}"
            );
            assert!(!begins || rule.hook == Hook::Input, "{place}");
        }
    });
}

#[test]
fn lists_of_networks_have_one_family_and_are_never_empty() {
    for_each_bastion(|site, _, _, policy| {
        for rule in &policy.rules {
            for condition in &rule.matches {
                let (Match::Source(list) | Match::SourceOutside(list) | Match::Destination(list)) =
                    condition
                else {
                    continue;
                };
                let v4 = rule.name.ends_with("-v4");
                assert!(v4 || rule.name.ends_with("-v6"), "{site}: {}", rule.name);
                assert!(!list.is_empty(), "{site}: {}", rule.name);
                for network in list {
                    assert_eq!(network.addr().is_ipv4(), v4, "{site}: {}", rule.name);
                    let overlaps = |other: &&IpNet| {
                        *other != network && (other.contains(network) || network.contains(*other))
                    };
                    assert_eq!(list.iter().find(overlaps), None, "{site}: {}", rule.name);
                }
            }
        }
    });
}

#[test]
fn names_are_unique_and_without_takes_exactly_one() {
    for_each_bastion(|site, _, _, policy| {
        let names = names(policy);
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(unique.len(), names.len(), "{site}");
        for (index, name) in names.iter().enumerate() {
            let mut expected = policy.rules.clone();
            expected.remove(index);
            assert_eq!(
                policy.without(name).unwrap().rules,
                expected,
                "{site}: {name}"
            );
        }
        assert_eq!(policy.without("f1-meter"), None);
    });
}

/// Whether one of the networks of a list holds the whole network.
fn holds(list: &[IpNet], network: IpNet) -> bool {
    list.iter().any(|candidate| candidate.contains(&network))
}

#[test]
fn meters_come_from_the_internet_only() {
    for_each_bastion(|name, site, bastion, policy| {
        let private: Vec<IpNet> = refused_v4()
            .into_iter()
            .map(|range| IpNet::V4(range.network))
            .chain(
                refused_v6()
                    .into_iter()
                    .map(|range| IpNet::V6(range.network)),
            )
            .collect();
        for v4 in [true, false] {
            let suffix = if v4 { "v4" } else { "v6" };
            let Some(rule) = find(policy, &format!("f1-meters-{suffix}")) else {
                let serves = |address: &IpAddr| address.is_ipv4() == v4;
                assert!(!bastion.addresses.iter().any(serves), "{name}: {suffix}");
                continue;
            };
            let outside = rule.matches.iter().find_map(|condition| match condition {
                Match::SourceOutside(list) => Some(list),
                _ => None,
            });
            let local = [&site.lan.networks, &bastion.networks, &private];
            for network in local.into_iter().flatten() {
                if network.addr().is_ipv4() == v4 {
                    assert!(holds(outside.unwrap(), *network), "{name}: {network}");
                }
            }
            assert!(rule.matches.contains(&Match::TcpFromAtLeast(1024)));
        }
    });
}

#[test]
fn whatever_is_local_is_refused_outwards() {
    for_each_bastion(|name, site, bastion, policy| {
        let refused: Vec<IpNet> = policy
            .rules
            .iter()
            .filter(|rule| rule.hook == Hook::Output && rule.action != Action::Accept)
            .filter_map(|rule| match rule.matches.as_slice() {
                [Match::Destination(list)] => Some(list.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        for network in site.lan.networks.iter().chain(&bastion.networks) {
            assert!(holds(&refused, *network), "{name}: {network}");
        }
        let router = [&bastion.gateways, &bastion.masquerades_as];
        for address in router.into_iter().flatten() {
            assert!(holds(&refused, IpNet::from(*address)), "{name}: {address}");
        }
    });
}

#[test]
fn a_router_that_masquerades_is_let_in_where_the_site_names_it() {
    let (_, flat) = example("flat.toml");
    let rule = find(&flat, "f1-router-v4").unwrap();
    assert_eq!(
        rule.matches,
        [
            Match::New,
            Match::TcpTo(vec![1883]),
            Match::Source(vec!["192.168.178.1/32".parse().unwrap()]),
        ]
    );
    let (_, home) = example("home.toml");
    assert_eq!(find(&home, "f1-router-v4"), None);
}

#[test]
fn admins_and_readers_open_their_own_port_and_no_other() {
    let (site, home) = example("home.toml");
    let hosts = |addresses: &[IpAddr], v4: bool| -> Vec<IpNet> {
        let fits = addresses.iter().filter(|address| address.is_ipv4() == v4);
        fits.map(|address| IpNet::from(*address)).collect()
    };
    for (suffix, v4) in [("v4", true), ("v6", false)] {
        for (name, port, addresses) in [
            ("f3-admin", 22, &site.lan.admins),
            ("f2-readers", 1883, &site.lan.readers),
        ] {
            let rule = find(&home, &format!("{name}-{suffix}")).unwrap();
            assert_eq!(
                rule.matches,
                [
                    Match::New,
                    Match::TcpTo(vec![port]),
                    Match::Source(hosts(addresses, v4)),
                ]
            );
        }
    }
}

/// The words in back-ticks in the columns `Rule` of a page's tables.
fn named_rules(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut column = None;
    for line in page.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            column = None;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(index) = column else {
            column = Some(cells.iter().position(|cell| *cell == "Rule"));
            continue;
        };
        if let Some(cell) = index.and_then(|index: usize| cells.get(index)) {
            let words = cell.split('`').skip(1).step_by(2);
            names.extend(words.map(str::to_owned));
        }
    }
    names
}

#[test]
fn the_security_page_names_every_rule_and_no_other() {
    let page = fs::read_to_string(folder("../docs/security.md")).unwrap();
    let mut rules = BTreeSet::new();
    for_each_example(|policy| {
        rules.extend(names(policy).into_iter().map(str::to_owned));
    });
    // Rules come for both families; no example has a router that masquerades IPv6.
    let families = |name: &String| {
        let other = name.strip_suffix("-v4").map(|name| format!("{name}-v6"));
        other.into_iter().chain([name.clone()]).collect::<Vec<_>>()
    };
    let rules: BTreeSet<String> = rules.iter().flat_map(families).collect();
    let named = named_rules(&page);
    let only_in = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(only_in(&rules, &named), "", "not on the page");
    assert_eq!(only_in(&named, &rules), "", "in no policy");
}

fn for_each_example(mut visit: impl FnMut(&Policy)) {
    for name in ["home.toml", "flat.toml"] {
        visit(&example(name).1);
    }
}
