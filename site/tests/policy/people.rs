//! Admins, readers, routers and meters: who is let in, and to what.

use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::{CONSOLE_RULE_V4, CONSOLE_RULE_V6, CONSOLE_SET_V4, CONSOLE_SET_V6, Match};

use crate::{example, find, for_each_bastion, holds};

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

/// Who is in the set is let in only from where the LAN is, and to SSH only.
#[test]
fn the_console_opens_ssh_to_the_lan_and_to_nobody_else() {
    for_each_bastion(|name, site, _, policy| {
        for (rule, set, v4) in [
            (CONSOLE_RULE_V4, CONSOLE_SET_V4, true),
            (CONSOLE_RULE_V6, CONSOLE_SET_V6, false),
        ] {
            let fits = |network: &&IpNet| network.addr().is_ipv4() == v4;
            let lan: Vec<IpNet> = site.lan.networks.iter().filter(fits).copied().collect();
            let Some(rule) = find(policy, rule) else {
                assert!(lan.is_empty(), "{name}: {set}");
                continue;
            };
            assert_eq!(rule.matches.len(), 4, "{name}");
            assert_eq!(
                rule.matches[..2],
                [Match::New, Match::TcpTo(vec![22])],
                "{name}"
            );
            let Match::Source(from) = &rule.matches[2] else {
                panic!("{name}: {rule:?}");
            };
            assert!(lan.iter().all(|network| holds(from, *network)), "{name}");
            assert!(
                matches!(&rule.matches[3], Match::SourceInSet { set: there, .. } if there == set),
                "{name}"
            );
        }
    });
}
