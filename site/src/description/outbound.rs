//! What a bastion may ask of the outside: as written, and how it must fit the networks.

use std::net::IpAddr;

use super::Outbound;
use super::draft::{BastionDraft, SiteDraft};
use super::networks::once;
use crate::flow::Family;
use crate::form::value::host::{address, host};
use crate::form::{Fault, Key, List, Page, Place, Table, Written};
use crate::network::refused;

pub(super) struct OutboundDraft {
    place: Place,
    resolvers: List<IpAddr>,
    resolved: bool,
    time_servers: List<String>,
    updates: bool,
}

impl OutboundDraft {
    pub(super) fn read(page: &mut Page, mut table: Table) -> Self {
        let resolvers = Key("resolvers", "[\"192.168.2.1\"]");
        let servers = Key("time_servers", "[\"0.debian.pool.ntp.org\"]");
        let draft = Self {
            place: table.place.clone(),
            resolvers: page.optional_list(&mut table, resolvers, address),
            resolved: page.flag(&mut table, Key("resolved", "true")),
            time_servers: page.optional_list(&mut table, servers, host),
            updates: page.flag(&mut table, Key("updates", "true")),
        };
        page.finish(table);
        draft
    }

    pub(super) fn outbound(self) -> Outbound {
        Outbound {
            resolvers: self.resolvers.values(),
            resolved: self.resolved,
            time_servers: self.time_servers.values(),
            updates: self.updates,
        }
    }

    /// Time servers that are named by address.
    fn time_addresses(&self) -> Vec<Written<IpAddr>> {
        let servers = self.time_servers.items.iter();
        let address = |server: &Written<String>| {
            let value = server.value.parse().ok()?;
            let place = server.place.clone();
            Some(Written { value, place })
        };
        servers.filter_map(address).collect()
    }
}

pub(super) fn check(page: &mut Page, site: &SiteDraft) {
    public_addresses(page, &site.public_addresses);
    let Some(outbound) = &site.outbound else {
        return;
    };
    once(page, &outbound.resolvers);
    once(page, &outbound.time_servers);
    needs(page, site, outbound);
    for server in outbound
        .resolvers
        .items
        .iter()
        .chain(&outbound.time_addresses())
    {
        stands(page, site, server);
    }
}

/// A private one is refused already, and says that the site is seen under another.
fn public_addresses(page: &mut Page, addresses: &List<IpAddr>) {
    once(page, addresses);
    for address in &addresses.items {
        let family = if address.value.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        if refused(family).iter().any(|n| n.contains(&address.value)) {
            let problem = "is no public address: nobody on the Internet can reach it";
            let remedy = "write the address under which the site is seen from outside, or leave \
                          it out if it changes";
            page.mistake(&address.place, Fault::new(problem, remedy));
        }
    }
}

/// What is asked for by name needs somebody who knows names, and updates need IPv4.
fn needs(page: &mut Page, site: &SiteDraft, outbound: &OutboundDraft) {
    let by_name = outbound.time_servers.items.len() > outbound.time_addresses().len();
    if outbound.resolvers.whole && outbound.resolvers.items.is_empty() {
        let asked = match (outbound.updates, by_name) {
            (true, _) => "updates are fetched from hosts with names",
            (false, true) => "a time server is named by name",
            (false, false) if outbound.resolved => "resolved is true",
            (false, false) => return,
        };
        let place = Place {
            key: format!("{}.resolvers", outbound.place.key),
            ..outbound.place.clone()
        };
        let problem = format!("names no resolver, and {asked}");
        let remedy = "add a line such as resolvers = [\"192.168.2.1\"], most often the router";
        page.mistake(&place, Fault::new(problem, remedy));
    }
    for bastion in &site.bastions {
        let v4 = bastion.addresses.items.iter().any(|a| a.value.is_ipv4());
        if bastion.addresses.whole && !v4 && (outbound.updates || by_name) {
            let place = Place {
                key: format!("{}.addresses", bastion.place.key),
                ..bastion.place.clone()
            };
            let problem = "holds no IPv4 address, and updates and time servers by name are asked \
                           over IPv4 only";
            let remedy =
                "add an IPv4 address, or leave updates out and name time servers by address";
            page.mistake(&place, Fault::new(problem, remedy));
        }
    }
}

/// A named server is the one thing that a bastion may ask ahead of the refusals, so it had
/// better be the router.
fn stands(page: &mut Page, site: &SiteDraft, server: &Written<IpAddr>) {
    let same = |other: &&Written<IpAddr>| other.value == server.value;
    for bastion in &site.bastions {
        if bastion.addresses.items.iter().any(|own| same(&own)) {
            let problem = format!("is the address of a bastion ({})", bastion.place.key);
            let fault = Fault::new(problem, "write the address of another machine");
            page.mistake(&server.place, fault);
            return;
        }
    }
    let Some(lan) = &site.lan else {
        return;
    };
    let people = lan.admins.items.iter().chain(&lan.readers.items);
    if let Some(person) = people.into_iter().find(same) {
        let problem = format!(
            "is the machine of an admin or a reader ({}), which the bastion must not reach",
            person.place.line_name()
        );
        let fault = Fault::new(problem, "write the router's address");
        page.mistake(&server.place, fault);
        return;
    }
    // A gateway that is known by its link-local address may well be this one.
    let link_local =
        |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let routers = |bastion: &BastionDraft| {
        let mut gateways = bastion.gateways.items.iter();
        gateways.any(|router| same(&router) || server.value.is_ipv6() && link_local(router.value))
    };
    let own = site
        .bastions
        .iter()
        .flat_map(|bastion| &bastion.networks.items);
    let near = lan.networks.items.iter().chain(own);
    let near = near.map(|network| network.value);
    if near
        .into_iter()
        .any(|network| network.contains(&server.value))
        && !site.bastions.iter().any(routers)
    {
        let problem = "stands inside and is no gateway of a bastion: the bastion will be let to \
                       its port";
        let remedy = "write the router's address on the bastion's segment, if the router serves \
                      there";
        page.warning(&server.place, Fault::new(problem, remedy));
    }
}
