//! What every policy looks like, whatever the site: order, narrowness, names.

use std::collections::BTreeSet;

use ipnet::IpNet;
use site::flow::{Action, Direction, Family, Hook, Match};

use crate::{destinations, for_each_bastion, names};

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

/// What leaves by its own will may stand only behind every refusal. Exempt are what stays on the
/// machine, what answers, what finds neighbours, and what asks single hosts that the site names.
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
                        | Match::ListenerDiscovery(_)
                )
            });
            let single = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
            let hosts = destinations(rule).is_some_and(|list| list.iter().all(single));
            refused_all |= rule.action == Action::Accept && !harmless && !hosts;
        }
    });
}

/// A spoofed SYN can make an answer out of a connection that the bastion starts.
#[test]
fn what_belongs_to_a_connection_never_begins_one() {
    for_each_bastion(|site, _, _, policy| {
        for rule in policy.rules.iter().filter(|rule| rule.hook == Hook::Output) {
            let has = |fits: &dyn Fn(&Match) -> bool| rule.matches.iter().any(fits);
            let echo = has(&|m| matches!(m, Match::Icmp(_) | Match::Icmpv6(_)));
            if has(&|m| matches!(m, Match::Established(_))) && !echo {
                assert!(
                    rule.matches.contains(&Match::NotBareSyn),
                    "{site}: {}",
                    rule.name
                );
            }
        }
    });
}

/// Each accepting rule but loopback and the network's own messages names its ports and where it
/// stands in a connection: one forgotten condition would open the machine.
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
            let tcp = has(&|m| matches!(m, Match::TcpTo(_) | Match::TcpFrom(_)));
            let udp = has(&|m| matches!(m, Match::UdpTo(_) | Match::UdpFrom(_)));
            let both = has(&|m| matches!(m, Match::TcpOrUdpTo(_) | Match::TcpOrUdpFrom(_)));
            assert_eq!(
                [tcp, udp, both].iter().filter(|is| **is).count(),
                1,
                "{place}"
            );
            let belongs = has(&|m| matches!(m, Match::Established(_)));
            let from = has(&|m| matches!(m, Match::Source(_) | Match::SourceOutside(_)));
            let user = has(&|m| matches!(m, Match::User(_)));
            match (rule.hook, rule.flow.as_str()) {
                (_, "F7") => assert!(from || destinations(rule).is_some(), "{place}"),
                // Whoever comes in begins a connection from somewhere, or answers.
                (Hook::Input, _) => {
                    let begins = has(&|m| matches!(m, Match::New));
                    assert_ne!(begins, belongs, "{place}");
                    assert!(!begins || from, "{place}");
                }
                // What is let out belongs to a connection, or to a user.
                _ => assert_ne!(user, belongs, "{place}"),
            }
        }
    });
}

/// Answers are let in only from where the bastion may ask, and from no other port.
#[test]
fn answers_are_let_in_where_something_is_asked() {
    for_each_bastion(|site, _, _, policy| {
        for rule in policy.rules.iter().filter(|rule| rule.hook == Hook::Input) {
            if !rule.matches.contains(&Match::Established(Direction::Reply)) {
                continue;
            }
            let asks = policy.rules.iter().any(|other| {
                let user = other.matches.iter().any(|m| matches!(m, Match::User(_)));
                user && other.hook == Hook::Output && other.flow == rule.flow
            });
            assert!(asks, "{site}: {}", rule.name);
        }
    });
}

/// The users of the policy are those of its rules: a machine that lacks one cannot load it.
#[test]
fn users_are_those_that_the_rules_name() {
    for_each_bastion(|name, site, _, policy| {
        let mut expected = BTreeSet::new();
        if !site.outbound.resolvers.is_empty() {
            expected.insert("root");
        }
        if site.outbound.updates {
            expected.insert("_apt");
        }
        if !site.outbound.time_servers.is_empty() {
            expected.insert("systemd-timesync");
        }
        if site.outbound.resolved {
            expected.insert("systemd-resolve");
        }
        assert_eq!(policy.users(), expected, "{name}");
    });
}

/// A limit of nothing would shut everybody out, and two sets of one name count together.
#[test]
fn limits_let_something_through_and_count_apart() {
    for_each_bastion(|site, _, _, policy| {
        let mut sets = BTreeSet::new();
        for rule in &policy.rules {
            for condition in &rule.matches {
                let limit = match condition {
                    Match::Within(limit) | Match::Beyond(limit) => limit,
                    Match::SourceBeyond { set, limit, family } => {
                        assert!(sets.insert(set), "{site}: {}", rule.name);
                        assert!(
                            rule.name.ends_with(family.suffix()),
                            "{site}: {}",
                            rule.name
                        );
                        limit
                    }
                    _ => continue,
                };
                assert!(
                    limit.per_second > 0 && limit.burst > 0,
                    "{site}: {}",
                    rule.name
                );
            }
        }
        let position = |name: &str| names(policy).iter().position(|rule| *rule == name);
        for family in Family::ALL {
            // The limit for all stands behind that of each source: a full set notices nobody new.
            let source = position(&format!("f1-limit-source-{}", family.suffix()));
            let meters = position(&format!("f1-meters-{}", family.suffix()));
            assert!(source < position("f1-limit-total"), "{site}");
            assert!(meters.is_none_or(|meters| Some(meters) > position("f1-limit-total")));
            assert_eq!(source.is_some(), meters.is_some(), "{site}");
            // Nobody in the LAN is limited.
            for name in ["f2-readers", "f3-admin", "f3-console"] {
                let inside = position(&format!("{name}-{}", family.suffix()));
                let limits = names(policy)
                    .iter()
                    .position(|rule| rule.starts_with("f1-limit"));
                assert!(inside < limits, "{site}: {name}");
            }
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
