//! Addresses, interface and routes against those of the site.

use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::RESOLVER_USER;
use site::{Bastion, Placement, Site};

use super::{Finding, list, refuse, warn};
use crate::facts::{Address, Facts};

pub(super) fn check(site: &Site, bastion: &Bastion, facts: &Facts, findings: &mut Vec<Finding>) {
    let here: Vec<&Address> = facts
        .addresses
        .iter()
        .filter(|address| address.interface == bastion.interface)
        .collect();
    if here.is_empty() {
        let mut there: Vec<&str> = facts
            .addresses
            .iter()
            .map(|address| address.interface.as_str())
            .filter(|name| *name != "lo")
            .collect();
        there.dedup();
        findings.push(refuse(
            "no-interface",
            format!(
                "there is no interface {} with an address; there is {}",
                bastion.interface,
                list(&there)
            ),
            "correct interface = \"…\" of the bastion in the site file, or plug the cable in"
                .to_owned(),
        ));
    } else {
        for address in &bastion.addresses {
            own_address(bastion, *address, &here, findings);
        }
        for address in &here {
            strange_network(bastion, address, findings);
        }
        lease(bastion, &here, findings);
    }
    second_leg(site, bastion, facts, !here.is_empty(), findings);
    for gateway in &bastion.gateways {
        route(bastion, *gateway, facts, findings);
    }
    services(site, facts, findings);
    carrier(site, bastion, facts, findings);
}

/// Names and time: what the policy lets out is what the site names, and nothing else.
fn services(site: &Site, facts: &Facts, findings: &mut Vec<Finding>) {
    let outbound = &site.outbound;
    if outbound.time_servers.is_empty() {
        findings.push(warn(
            "no-time",
            "the site names no time servers, so nobody may ask for the time; a Pi has no clock of its own, and \
             begins anywhere after each boot"
                .to_owned(),
            "add time_servers = [\"0.debian.pool.ntp.org\"] to [outbound] of the site file, or the router's address"
                .to_owned(),
        ));
    }
    // The machine's own resolver service asks in the name of its programs.
    let service = facts.resolvers.iter().any(IpAddr::is_loopback);
    if outbound.resolved && !facts.users.iter().any(|user| user == RESOLVER_USER) {
        findings.push(refuse(
            "no-resolver-user",
            format!("the site says resolved = true, and there is no user {RESOLVER_USER}: the policy would not load"),
            "take resolved out of [outbound] of the site file; or on the Pi: sudo apt-get install systemd-resolved"
                .to_owned(),
        ));
    } else if service && !outbound.resolved && !outbound.resolvers.is_empty() {
        findings.push(warn(
            "resolver-service",
            "names are asked for by a resolver service on the machine, which the policy does not let out".to_owned(),
            "add resolved = true to [outbound] of the site file, if it is systemd-resolved".to_owned(),
        ));
    }
    let strangers: Vec<IpAddr> = facts
        .resolvers
        .iter()
        .copied()
        .filter(|address| !address.is_loopback() && !outbound.resolvers.contains(address))
        .collect();
    let known = facts
        .resolvers
        .iter()
        .any(|address| outbound.resolvers.contains(address));
    if !strangers.is_empty() && !known && !outbound.resolvers.is_empty() {
        findings.push(warn(
            "resolver",
            format!(
                "it asks {} for names, and the site lets it ask {} alone: it will find no name any more",
                list(&strangers),
                list(&outbound.resolvers)
            ),
            "correct resolvers of [outbound] in the site file, or the resolver that the router's DHCP gives out"
                .to_owned(),
        ));
    }
}

fn own_address(bastion: &Bastion, address: IpAddr, here: &[&Address], findings: &mut Vec<Finding>) {
    if here.iter().any(|there| there.network.addr() == address) {
        return;
    }
    let same: Vec<IpAddr> = here
        .iter()
        .map(|there| there.network.addr())
        .filter(|there| there.is_ipv4() == address.is_ipv4())
        .collect();
    let what = format!(
        "{address} is not an address of {}, which has {}",
        bastion.interface,
        list(&same)
    );
    let remedy = format!(
        "reserve {address} for the Pi in the router's DHCP and reboot the Pi, or correct addresses of the bastion \
         in the site file"
    );
    findings.push(if address.is_ipv4() {
        refuse("address", what, remedy)
    } else {
        // The policy holds without it; only nobody comes by IPv6.
        warn("address-v6", what, remedy)
    });
}

/// A lease that cannot be renewed ends hours after everybody has gone home.
fn lease(bastion: &Bastion, here: &[&Address], findings: &mut Vec<Finding>) {
    let leased = here
        .iter()
        .find(|address| address.dynamic && address.network.addr().is_ipv4());
    if let Some(address) = leased
        && bastion.dhcp.is_none()
    {
        let router = bastion.gateways.iter().find(|router| router.is_ipv4());
        let router = router.map_or_else(|| "ADDRESS".to_owned(), ToString::to_string);
        findings.push(refuse(
            "lease",
            format!(
                "{} comes by DHCP, and the site names no DHCP server: the policy would not let the lease be renewed, \
                 and the address would be lost within hours",
                address.network.addr()
            ),
            format!("add dhcp = \"{router}\" to the bastion in the site file, if the router is the DHCP server"),
        ));
    }
}

fn strange_network(bastion: &Bastion, address: &Address, findings: &mut Vec<Finding>) {
    let there = address.network.addr();
    let within = |network: &IpNet| network.contains(&there);
    if !address.global || there.is_loopback() || bastion.networks.iter().any(within) {
        return;
    }
    let what = format!(
        "{} has the address {}, outside the bastion's networks ({})",
        bastion.interface,
        address.network,
        list(&bastion.networks)
    );
    let remedy = "add its network to networks of the bastion in the site file, so that hosts there are out of \
                  reach; or take the address away"
        .to_owned();
    findings.push(if there.is_ipv4() {
        refuse("address-outside", what, remedy)
    } else {
        warn("address-outside-v6", what, remedy)
    });
}

/// A cable in the LAN beside the one in the DMZ makes the segment worthless. Where the site's own
/// interface is not there, another is perhaps the same under another name, and nobody should be
/// told to take it down.
fn second_leg(
    site: &Site,
    bastion: &Bastion,
    facts: &Facts,
    is_second: bool,
    findings: &mut Vec<Finding>,
) {
    let of_containers = |name: &str| {
        ["docker", "br-", "veth", "virbr", "podman"]
            .iter()
            .any(|kind| name.starts_with(kind))
    };
    for address in &facts.addresses {
        let name = &address.interface;
        if *name == bastion.interface || name == "lo" || !address.global || of_containers(name) {
            continue;
        }
        let there = address.network;
        let in_lan = site
            .lan
            .networks
            .iter()
            .any(|network| network.contains(&there.addr()));
        let off = if name.starts_with("wl") {
            "on the Pi: sudo nmcli radio wifi off, or dtoverlay=disable-wifi in config.txt"
                .to_owned()
        } else {
            format!("on the Pi: sudo nmcli device disconnect {name}, or pull its cable")
        };
        if in_lan && bastion.placement == Placement::Dmz {
            findings.push(refuse(
                "second-leg",
                format!("{name} stands in the LAN with {there}: a bastion in a segment of its own must not"),
                off,
            ));
        } else if is_second {
            findings.push(warn(
                "other-interface",
                format!(
                    "it is connected by {name} ({there}) too, which the site file does not name"
                ),
                off,
            ));
        }
    }
}

fn route(bastion: &Bastion, gateway: IpAddr, facts: &Facts, findings: &mut Vec<Finding>) {
    let v4 = gateway.is_ipv4();
    let routes: Vec<IpAddr> = facts
        .routes
        .iter()
        .map(|route| route.via)
        .filter(|via| via.is_ipv4() == v4)
        .collect();
    if routes.contains(&gateway) {
        return;
    }
    let remedy = "correct gateways of the bastion in the site file, or the router's address in the Pi's network \
                  settings; on the Pi: ip route; ip -6 route"
        .to_owned();
    let family = if v4 { "IPv4" } else { "IPv6" };
    let what = if routes.is_empty() {
        format!("there is no {family} default route, and the site file says {gateway}")
    } else {
        format!(
            "the {family} default route leads to {}, and the site file says {gateway}: whatever is not handed to \
             the router is refused",
            list(&routes)
        )
    };
    if v4 {
        findings.push(refuse("gateway", what, remedy));
    } else if bastion.addresses.iter().any(IpAddr::is_ipv6) {
        findings.push(warn("gateway-v6", what, remedy));
    }
}

/// Behind a carrier's translation no meter can come in, whatever the router forwards.
fn carrier(site: &Site, bastion: &Bastion, facts: &Facts, findings: &mut Vec<Finding>) {
    const REMEDY: &str = "ask the provider for a public IPv4 address, or let meters come over IPv6; compare the \
                          router's WAN address with what a site such as ifconfig.co shows";
    let shared = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(_) => false,
    };
    let private = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    if let Ok(address) = site.public.host.parse::<IpAddr>() {
        if shared(address) {
            findings.push(warn(
                "carrier-nat",
                format!("public = {address} is an address that a carrier shares (100.64.0.0/10): no meter reaches it"),
                REMEDY.to_owned(),
            ));
            return;
        }
        if private(address) {
            findings.push(warn(
                "public-private",
                format!(
                    "public = {address} is a private address: no meter reaches it from the Internet"
                ),
                "write the name or address that the Internet knows into public of the site file"
                    .to_owned(),
            ));
        }
    }
    let upstream = facts.routes.iter().map(|route| route.via);
    if let Some(address) = upstream
        .chain(bastion.addresses.iter().copied())
        .find(|address| shared(*address))
    {
        findings.push(warn(
            "carrier-nat",
            format!("{address} is an address that a carrier shares (100.64.0.0/10): meters on the Internet do not \
                     get through"),
            REMEDY.to_owned(),
        ));
    }
}
