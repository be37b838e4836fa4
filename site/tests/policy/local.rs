//! Who may come from where, and what is refused outwards, follows from the site's networks.

use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::{Action, Hook, Match};
use site::network::{refused_v4, refused_v6};

use crate::{find, for_each_bastion, holds};

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
