//! How the networks and machines of a site must fit together: who stands inside what,
//! and what must not overlap. What an address looks like is left to `form::value::host`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{BastionDraft, LanDraft, SiteDraft};
use super::{Endpoint, Placement};
use crate::form::{Fault, List, Page, Place, Written};

pub(super) fn check(page: &mut Page, site: &SiteDraft) {
    if let Some(public) = &site.public {
        bare_address(page, public);
    }
    if let Some(lan) = &site.lan {
        lan_itself(page, lan);
    }
    for bastion in &site.bastions {
        bastion_itself(page, bastion);
        if let Some(lan) = &site.lan {
            match bastion.placement.as_ref().map(|placement| placement.value) {
                Some(Placement::Dmz) => apart(page, bastion, lan),
                Some(Placement::Flat) => within(page, bastion, lan),
                None => {}
            }
            reachable(page, bastion, lan);
        }
    }
    among_bastions(page, &site.bastions);
}

/// A person's provider may change the address; the meters stand far away.
fn bare_address(page: &mut Page, public: &Written<Endpoint>) {
    if public.value.host.parse::<IpAddr>().is_ok() {
        let fault = Fault::new(
            "is a bare address: every meter must be visited when the provider changes it",
            "use a name that you can point elsewhere, such as one of a dynamic DNS service",
        );
        page.warning(&public.place, fault);
    }
}

fn lan_itself(page: &mut Page, lan: &LanDraft) {
    no_overlap(page, &lan.networks);
    once(page, &lan.admins);
    once(page, &lan.readers);
    for address in lan.admins.items.iter().chain(&lan.readers.items) {
        inside(page, address, &lan.networks, "lan.networks");
    }
}

fn bastion_itself(page: &mut Page, bastion: &BastionDraft) {
    let key = format!("{}.networks", bastion.place.key);
    no_overlap(page, &bastion.networks);
    one_per_family(page, &bastion.addresses, "a bastion has");
    one_per_family(page, &bastion.gateways, "the policy knows");
    once(page, &bastion.masquerades_as);
    if let Some(server) = &bastion.dhcp {
        let address = Written {
            value: IpAddr::V4(server.value),
            place: server.place.clone(),
        };
        inside(page, &address, &bastion.networks, &key);
        not_itself(page, &address, bastion, "the DHCP server's");
    }
    for address in &bastion.addresses.items {
        // An address whose family has no network is outside them all, so this says it.
        inside(page, address, &bastion.networks, &key);
        let v4 = address.value.is_ipv4();
        let gateways = &bastion.gateways;
        if gateways.whole
            && !gateways
                .items
                .iter()
                .any(|router| router.value.is_ipv4() == v4)
        {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let problem = format!("has no {family} gateway");
            let remedy = format!(
                "add the router's {family} address to {}.gateways",
                bastion.place.key
            );
            page.mistake(&address.place, Fault::new(problem, remedy));
        }
    }
    for router in bastion
        .gateways
        .items
        .iter()
        .chain(&bastion.masquerades_as.items)
    {
        let link_local = matches!(router.value, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !link_local {
            inside(page, router, &bastion.networks, &key);
        }
        not_itself(page, router, bastion, "the router's");
    }
}

fn not_itself(page: &mut Page, address: &Written<IpAddr>, bastion: &BastionDraft, whose: &str) {
    let mut own = bastion.addresses.items.iter();
    if own.any(|own| own.value == address.value) {
        let remedy = format!("write {whose} address");
        let fault = Fault::new("is the bastion's own address", remedy);
        page.mistake(&address.place, fault);
    }
}

/// In a DMZ nothing of the bastion's segment may be the LAN's.
fn apart(page: &mut Page, bastion: &BastionDraft, lan: &LanDraft) {
    for own in &bastion.networks.items {
        for inner in &lan.networks.items {
            if overlap(own.value, inner.value) {
                let problem = format!(
                    "overlaps {} of the LAN ({}), so this is no segment of its own",
                    inner.value,
                    inner.place.line_name()
                );
                let remedy = "write the network of the DMZ, or placement = \"flat\" if the bastion \
                              stands on the LAN";
                page.mistake(&own.place, Fault::new(problem, remedy));
            }
        }
    }
}

/// On a flat segment the bastion is one more machine of the LAN.
fn within(page: &mut Page, bastion: &BastionDraft, lan: &LanDraft) {
    for own in &bastion.networks.items {
        let known = lan
            .networks
            .items
            .iter()
            .any(|inner| inner.value == own.value);
        if lan.networks.whole && !known {
            let problem = "is none of the LAN's networks, where a bastion in placement flat stands";
            let remedy = format!(
                "write one of {}, or placement = \"dmz\" if the bastion has a segment of its own",
                listed(&lan.networks)
            );
            page.mistake(&own.place, Fault::new(problem, remedy));
        }
    }
    for other in lan.admins.items.iter().chain(&lan.readers.items) {
        if bastion
            .addresses
            .items
            .iter()
            .any(|own| own.value == other.value)
        {
            let problem = format!("is the address of the bastion ({})", bastion.place.key);
            page.mistake(
                &other.place,
                Fault::new(problem, "write another machine's address"),
            );
        }
    }
}

/// Who may come in must have an address of a family that the bastion has, too.
fn reachable(page: &mut Page, bastion: &BastionDraft, lan: &LanDraft) {
    let groups = [
        (
            &lan.admins,
            "an admin",
            "admins",
            "nobody could log in to it",
        ),
        (
            &lan.readers,
            "a reader",
            "readers",
            "nobody could fetch its readings",
        ),
    ];
    for (group, who, key, so) in groups {
        let known = group.whole && bastion.addresses.whole && !group.items.is_empty();
        let meets = group.items.iter().any(|item| {
            let v4 = item.value.is_ipv4();
            bastion
                .addresses
                .items
                .iter()
                .any(|own| own.value.is_ipv4() == v4)
        });
        if known && !meets {
            let place = Place {
                key: format!("{}.addresses", bastion.place.key),
                ..bastion.place.clone()
            };
            let problem = format!("holds no address of a family in which {who} has one: {so}");
            let remedy = format!("add an address of the same family here or to lan.{key}");
            page.mistake(&place, Fault::new(problem, remedy));
        }
    }
}

fn among_bastions(page: &mut Page, bastions: &[BastionDraft]) {
    let names = bastions.iter().filter_map(|bastion| bastion.name.as_ref());
    let names = names.map(|name| (name.value.to_ascii_lowercase(), &name.place));
    page.twice(names, |first| {
        let problem = format!(
            "is the name of another bastion already ({})",
            first.line_name()
        );
        Fault::new(problem, "give each bastion a name of its own")
    });
    let targets = bastions.iter().filter_map(|bastion| bastion.ssh.as_ref());
    page.twice(targets.map(|ssh| (&ssh.value, &ssh.place)), |first| {
        let problem = format!("leads to another bastion already ({})", first.line_name());
        Fault::new(problem, "give each bastion a destination of its own")
    });
    let addresses = bastions.iter().flat_map(|bastion| &bastion.addresses.items);
    page.twice(addresses.map(|own| (own.value, &own.place)), |first| {
        let problem = format!("is a bastion's address already ({})", first.line_name());
        Fault::new(problem, "give each bastion an address of its own")
    });
    for (index, bastion) in bastions.iter().enumerate() {
        let earlier = bastions
            .iter()
            .take(index)
            .flat_map(|other| &other.networks.items);
        for other in earlier {
            for own in &bastion.networks.items {
                if own.value != other.value && overlap(own.value, other.value) {
                    say_overlap(page, own, other);
                }
            }
        }
    }
}

/// Whether a machine's address lies in one of the networks, and is not the network's own.
fn inside(page: &mut Page, address: &Written<IpAddr>, networks: &List<IpNet>, key: &str) {
    let home = networks
        .items
        .iter()
        .find(|network| network.value.contains(&address.value));
    let fault = match home.map(|home| home.value) {
        None if networks.whole => Fault::new(
            format!("lies outside {key} ({})", listed(networks)),
            format!("correct the address, or add its network to {key}"),
        ),
        Some(network) if is_reserved(network, address.value) => Fault::new(
            format!("stands for the network {network} itself, not for a machine in it"),
            "write the machine's own address",
        ),
        _ => return,
    };
    page.mistake(&address.place, fault);
}

/// The first address of a network, and the last of an IPv4 one, belong to no machine
/// (RFC 919, RFC 4291 section 2.6.1), links of two or one addresses excepted (RFC 3021, RFC 6164).
fn is_reserved(network: IpNet, address: IpAddr) -> bool {
    let small = network
        .max_prefix_len()
        .saturating_sub(network.prefix_len())
        < 2;
    let last = address.is_ipv4() && address == network.broadcast();
    !small && (address == network.network() || last)
}

fn one_per_family(page: &mut Page, list: &List<IpAddr>, who: &str) {
    let items = list
        .items
        .iter()
        .map(|item| (item.value.is_ipv4(), &item.place));
    page.twice(items, |first| {
        let shown = first.shown.as_deref().unwrap_or_default();
        let problem = format!("is a second address of one family, beside {shown}");
        Fault::new(
            problem,
            format!("keep one of the two: {who} one of IPv4 and one of IPv6"),
        )
    });
}

pub(super) fn once<T: Ord>(page: &mut Page, list: &List<T>) {
    let items = list.items.iter().map(|item| (&item.value, &item.place));
    page.twice(items, |_| {
        Fault::new("is in this list already", "leave it out")
    });
}

fn no_overlap(page: &mut Page, networks: &List<IpNet>) {
    for (index, network) in networks.items.iter().enumerate() {
        for other in networks.items.iter().take(index) {
            if overlap(network.value, other.value) {
                say_overlap(page, network, other);
            }
        }
    }
}

fn say_overlap(page: &mut Page, network: &Written<IpNet>, other: &Written<IpNet>) {
    let problem = format!("overlaps {} ({})", other.value, other.place.line_name());
    let remedy = if network.value == other.value {
        "leave one of the two out"
    } else {
        "keep the larger one, or correct their lengths"
    };
    page.mistake(&network.place, Fault::new(problem, remedy));
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The first few of a list, for a message.
fn listed(networks: &List<IpNet>) -> String {
    let shown = networks
        .items
        .iter()
        .take(4)
        .map(|item| item.value.to_string());
    let more = (networks.items.len() > 4).then(|| "…".to_owned());
    shown.chain(more).collect::<Vec<_>>().join(", ")
}
