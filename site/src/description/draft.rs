//! The tables of a site file with every value good by itself and its place beside it.
//! How the values fit together is checked in `networks` and `meters`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::outbound::OutboundDraft;
use super::system::SystemDraft;
use super::{Bastion, Database, Endpoint, Lan, Placement, Reader, ReaderKind, Site};
use crate::form::meter::MeterDraft;
use crate::form::value::host::{address, endpoint, interface, network, router, ssh, url, v4};
use crate::form::value::{choice, word};
use crate::form::{Key, List, Page, Place, Table, Written};

/// No household has more bastions or reading programs.
const MOST_MACHINES: usize = 64;

const ADMINS: Key = Key("admins", "[\"192.168.1.10\"]");
const READERS: Key = Key("readers", "[\"192.168.1.20\"]");
const NETWORKS: Key = Key("networks", "[\"192.168.1.0/24\"]");
const NAME: Key = Key("name", "\"home\"");

/// What is absent was missing or bad, and has been noted.
pub(super) struct SiteDraft {
    name: Option<Written<String>>,
    pub(super) public: Option<Written<Endpoint>>,
    pub(super) lan: Option<LanDraft>,
    pub(super) bastions: Vec<BastionDraft>,
    pub(super) outbound: Option<OutboundDraft>,
    system: SystemDraft,
    pub(super) public_addresses: List<IpAddr>,
    database: Option<DatabaseDraft>,
    pub(super) readers: Vec<ReaderDraft>,
    pub(super) meters: Vec<MeterDraft>,
}

pub(super) struct LanDraft {
    pub(super) networks: List<IpNet>,
    pub(super) admins: List<IpAddr>,
    pub(super) readers: List<IpAddr>,
}

pub(super) struct BastionDraft {
    /// Of the whole table.
    pub(super) place: Place,
    pub(super) name: Option<Written<String>>,
    pub(super) ssh: Option<Written<String>>,
    pub(super) placement: Option<Written<Placement>>,
    interface: Option<Written<String>>,
    pub(super) addresses: List<IpAddr>,
    pub(super) networks: List<IpNet>,
    pub(super) gateways: List<IpAddr>,
    pub(super) masquerades_as: List<IpAddr>,
    pub(super) dhcp: Option<Written<Ipv4Addr>>,
}

struct DatabaseDraft {
    url: Option<Written<String>>,
    name: Option<Written<String>>,
}

pub(super) struct ReaderDraft {
    pub(super) name: Option<Written<String>>,
    pub(super) kind: Option<Written<ReaderKind>>,
}

impl SiteDraft {
    pub(super) fn read(page: &mut Page, mut top: Table) -> Self {
        let name = page.required(&mut top, NAME, word);
        let public = Key("public", "\"meters.example.net:1883\"");
        let public = page.required(&mut top, public, endpoint);
        let seen_as = Key("public_addresses", "[\"203.0.113.7\"]");
        let public_addresses = page.optional_list(&mut top, seen_as, address);
        let lan = page.section(&mut top, "lan");
        let lan = lan.map(|table| LanDraft::read(page, table));
        let bastions = page.sections(&mut top, "bastion", MOST_MACHINES);
        let bastions = bastions
            .into_iter()
            .map(|table| BastionDraft::read(page, table))
            .collect();
        let outbound = page.optional_section(&mut top, "outbound");
        let outbound = outbound.map(|table| OutboundDraft::read(page, table));
        let system = page.optional_section(&mut top, "system");
        let system = SystemDraft::read(page, system);
        let database = page.section(&mut top, "database");
        let database = database.map(|table| DatabaseDraft::read(page, table));
        let readers = page.sections(&mut top, "reader", MOST_MACHINES);
        let readers = readers
            .into_iter()
            .map(|table| ReaderDraft::read(page, table))
            .collect();
        let meters = MeterDraft::all(page, &mut top);
        page.finish(top);
        Self {
            name,
            public,
            lan,
            bastions,
            outbound,
            system,
            public_addresses,
            database,
            readers,
            meters,
        }
    }

    /// The site, when nothing is absent. Warnings are added by who has them.
    pub(super) fn site(self) -> Option<Site> {
        let lan = self.lan?;
        let database = self.database?;
        Some(Site {
            name: self.name?.value,
            public: self.public?.value,
            lan: Lan {
                networks: lan.networks.values(),
                admins: lan.admins.values(),
                readers: lan.readers.values(),
            },
            bastions: self
                .bastions
                .into_iter()
                .map(BastionDraft::bastion)
                .collect::<Option<_>>()?,
            outbound: self
                .outbound
                .map(OutboundDraft::outbound)
                .unwrap_or_default(),
            system: self.system.system()?,
            public_addresses: self.public_addresses.values(),
            database: Database {
                url: database.url?.value,
                name: database.name?.value,
            },
            readers: self
                .readers
                .into_iter()
                .map(ReaderDraft::reader)
                .collect::<Option<_>>()?,
            meters: self
                .meters
                .into_iter()
                .map(MeterDraft::meter)
                .collect::<Option<_>>()?,
            warnings: Vec::new(),
        })
    }
}

impl LanDraft {
    fn read(page: &mut Page, mut table: Table) -> Self {
        let draft = Self {
            networks: page.required_list(&mut table, NETWORKS, network),
            admins: page.required_list(&mut table, ADMINS, address),
            readers: page.required_list(&mut table, READERS, address),
        };
        page.finish(table);
        draft
    }
}

impl BastionDraft {
    fn read(page: &mut Page, mut table: Table) -> Self {
        let placements = |text: &str| {
            choice(
                text,
                &[
                    (
                        "dmz",
                        Placement::Dmz,
                        "a segment of its own behind the router",
                    ),
                    ("flat", Placement::Flat, "on the LAN itself"),
                ],
            )
        };
        let draft = Self {
            place: table.place.clone(),
            name: page.required(&mut table, Key("name", "\"pi\""), word),
            ssh: page.required(&mut table, Key("ssh", "\"pi@192.168.2.2\""), ssh),
            placement: page.required(&mut table, Key("placement", "\"dmz\""), placements),
            interface: page.required(&mut table, Key("interface", "\"eth0\""), interface),
            addresses: page.required_list(
                &mut table,
                Key("addresses", "[\"192.168.2.2\"]"),
                address,
            ),
            networks: page.required_list(
                &mut table,
                Key("networks", "[\"192.168.2.0/24\"]"),
                network,
            ),
            gateways: page.required_list(&mut table, Key("gateways", "[\"192.168.2.1\"]"), router),
            masquerades_as: page.optional_list(
                &mut table,
                Key("masquerades_as", "[\"192.168.2.1\"]"),
                address,
            ),
            dhcp: page.optional(&mut table, Key("dhcp", "\"192.168.2.1\""), v4),
        };
        page.finish(table);
        draft
    }

    fn bastion(self) -> Option<Bastion> {
        Some(Bastion {
            name: self.name?.value,
            ssh: self.ssh?.value,
            placement: self.placement?.value,
            interface: self.interface?.value,
            addresses: self.addresses.values(),
            networks: self.networks.values(),
            gateways: self.gateways.values(),
            masquerades_as: self.masquerades_as.values(),
            dhcp: self.dhcp.map(|server| server.value),
        })
    }
}

impl DatabaseDraft {
    fn read(page: &mut Page, mut table: Table) -> Self {
        let draft = Self {
            url: page.required(&mut table, Key("url", "\"http://192.168.1.20:8086\""), url),
            name: page.required(&mut table, Key("name", "\"energy\""), word),
        };
        page.finish(table);
        draft
    }
}

impl ReaderDraft {
    fn read(page: &mut Page, mut table: Table) -> Self {
        let kinds = |text: &str| {
            let kinds = [
                ("collector", ReaderKind::Collector, "this project's own"),
                ("program", ReaderKind::Program, "any other"),
            ];
            choice(text, &kinds)
        };
        let draft = Self {
            name: page.required(&mut table, Key("name", "\"collector\""), word),
            kind: page.required(&mut table, Key("kind", "\"collector\""), kinds),
        };
        page.finish(table);
        draft
    }

    fn reader(self) -> Option<Reader> {
        Some(Reader {
            name: self.name?.value,
            kind: self.kind?.value,
        })
    }
}
