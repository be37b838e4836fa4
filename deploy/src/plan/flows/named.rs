//! What a policy names beside the site file: who was let in by name so far, and what was refused.
//! It comes from a bastion, and may name more than anybody wants to read.

use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::{Action, Hook, MQTT_PORT, Match, Policy, SSH_PORT};

/// More than any policy of this project names.
const MOST_NAMED: usize = 40;

/// Single addresses that are let in by name, with the port.
pub(super) fn sources(policy: Option<&Policy>) -> Vec<(IpAddr, u16)> {
    let mut named = Vec::new();
    for rule in rules(policy, Hook::Input).filter(|rule| rule.action == Action::Accept) {
        let ports = rule.matches.iter().find_map(|condition| match condition {
            Match::TcpTo(ports) => Some(ports),
            _ => None,
        });
        let sources = rule.matches.iter().find_map(|condition| match condition {
            Match::Source(networks) => Some(networks),
            _ => None,
        });
        let (Some(ports), Some(sources)) = (ports, sources) else {
            continue;
        };
        for port in [SSH_PORT, MQTT_PORT] {
            if ports.contains(&port) {
                let single = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
                let hosts = sources.iter().filter(single).take(MOST_NAMED);
                named.extend(hosts.map(|network| (network.addr(), port)));
            }
        }
        if named.len() >= MOST_NAMED {
            break;
        }
    }
    named.sort_unstable();
    named.dedup();
    named.truncate(MOST_NAMED);
    named
}

/// Networks that are named as destinations.
pub(super) fn destinations(policy: Option<&Policy>) -> Vec<IpNet> {
    let mut named: Vec<IpNet> = rules(policy, Hook::Output)
        .flat_map(|rule| &rule.matches)
        .filter_map(|condition| match condition {
            Match::Destination(networks) => Some(networks),
            _ => None,
        })
        .flatten()
        .copied()
        .take(MOST_NAMED)
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

fn rules(policy: Option<&Policy>, hook: Hook) -> impl Iterator<Item = &site::flow::Rule> {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    rules.iter().filter(move |rule| rule.hook == hook)
}
