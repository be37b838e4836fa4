//! The map: networks, addresses, and who stands where. Nothing is started here.
//!
//! ```text
//!  WAN                    DMZ                        LAN
//!  meters    .10          bastion   .2               admin       .10
//!  stranger  .20          neighbour .3               collector   .20
//!      │                  guide     .4               influxdb    .30
//!      └──────── router ──────┴──────── router ──┬─ home_server  .40
//!                  .1                     .1     └─ flat         .50
//! ```
//! Networks are chosen free at run time. The DMZ and one of the LAN's networks have addresses
//! that look public, and the LAN has others that only one rule of the policy covers: so that
//! each rule taken out opens a way that no other rule closes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::RngExt as _;

use crate::engine::Engine;
use crate::node::Plug;

const ATTEMPTS: usize = 20;

/// A network of the lab: an engine's bridge with one IPv4 and one IPv6 network.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The engine's name for it; empty for a network that shares another one's bridge.
    pub bridge: String,
    /// Its IPv4 network.
    pub v4: Ipv4Net,
    /// Its IPv6 network.
    pub v6: Ipv6Net,
}

impl Segment {
    /// The two addresses of machine number `n`.
    #[must_use]
    pub fn host(&self, n: u8) -> Host {
        Host {
            v4: nth(&IpNet::V4(self.v4), n),
            v6: nth(&IpNet::V6(self.v6), n),
        }
    }

    /// Both networks.
    #[must_use]
    pub fn networks(&self) -> [IpNet; 2] {
        [IpNet::V4(self.v4), IpNet::V6(self.v6)]
    }

    /// Where machine number `n` is plugged in.
    #[must_use]
    pub fn plug(&self, n: u8) -> Plug {
        Plug {
            network: self.bridge.clone(),
            addresses: self.host(n).both().into(),
        }
    }
}

/// The two addresses of a machine on one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// IPv4.
    pub v4: IpAddr,
    /// IPv6.
    pub v6: IpAddr,
}

impl Host {
    /// IPv4, then IPv6.
    #[must_use]
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }
}

/// The whole map.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The Internet: meters and strangers.
    pub wan: Segment,
    /// The bastion's segment.
    pub dmz: Segment,
    /// The LAN's main network.
    pub lan: Segment,
    /// A second pair of networks on the LAN's bridge, named in the site file: addresses that
    /// look public, and a unique local prefix.
    pub lan_second: Segment,
    /// A third pair on the LAN's bridge that the site file does not name: private ranges.
    pub lan_unnamed: Segment,
    /// Addresses of the neighbour in the DMZ that belong to no network of the site.
    pub neighbour_foreign: Host,
}

/// Number of the router on every segment.
pub const ROUTER: u8 = 1;
/// Number of the bastion in the DMZ.
pub const BASTION: u8 = 2;
/// Number of another machine in the DMZ.
pub const NEIGHBOUR: u8 = 3;
/// Number of the machine that is set up as the guide says, in the DMZ.
pub const GUIDE: u8 = 4;
/// Number of the machine on which the simulated meters run, on the WAN.
pub const METERS: u8 = 10;
/// Number of a further address of that machine, at which nobody serves time, and which says so.
pub const SILENT: u8 = 11;
/// Number of the machine that plays the Internet for the virtual Pi, on the WAN.
pub const OUTSIDE: u8 = 30;
/// Number of the container in which the virtual Pi is emulated, in the DMZ; it gives the address
/// up when the machine starts, which has the bastion's.
pub const HULL: u8 = 98;
/// Number of the stranger on the WAN.
pub const STRANGER: u8 = 20;
/// Number of the admin's machine in the LAN.
pub const ADMIN: u8 = 10;
/// Number of the collector's machine in the LAN.
pub const COLLECTOR: u8 = 20;
/// Number of the database in the LAN.
pub const INFLUXDB: u8 = 30;
/// Number of the home server in the LAN.
pub const HOME_SERVER: u8 = 40;
/// Number of a second bastion, which stands in the LAN itself.
pub const FLAT: u8 = 50;

impl Topology {
    /// Chooses free networks and makes them.
    ///
    /// # Errors
    /// When the engine refuses for another reason than a network that is taken, or again and again.
    pub async fn create(engine: &Engine) -> Result<Topology> {
        let routes = host_routes()?;
        for _ in 0..ATTEMPTS {
            let mut map = Topology::propose();
            if map
                .segments()
                .iter()
                .any(|segment| routes.iter().any(|route| overlap(*route, segment.v4)))
            {
                continue;
            }
            match map.make(engine).await {
                Ok(()) => return Ok(map),
                Err(error) if format!("{error:#}").contains("overlap") => {
                    crate::sweep::sweep(engine, crate::sweep::Reach::Own).await?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!(
            "found no free networks in {ATTEMPTS} attempts; `cargo xtask lab clean` removes old labs"
        )
    }

    fn propose() -> Topology {
        let mut random = rand::rng();
        let site: u16 = random.random_range(1..=0xfffe);
        // Four different third bytes.
        let first: u8 = random.random_range(0..=251);
        let segment = |v4: [u8; 3], v6: [u16; 4]| Segment {
            bridge: String::new(),
            v4: Ipv4Net::new_assert(Ipv4Addr::new(v4[0], v4[1], v4[2], 0), 24),
            v6: Ipv6Net::new_assert(Ipv6Addr::new(v6[0], v6[1], v6[2], v6[3], 0, 0, 0, 0), 64),
        };
        let inside: u8 = random.random_range(64..=191);
        Topology {
            wan: segment([198, 18, first], [0x2001, 0xdb8, site, 1]),
            dmz: segment([198, 18, first + 1], [0x2001, 0xdb8, site, 2]),
            lan: segment([10, inside, first], [0x2001, 0xdb8, site, 3]),
            lan_second: segment([198, 19, first + 2], [0xfd5a, site, 1, 3]),
            lan_unnamed: segment([172, 31, first + 3], [0xfdbb, site, 1, 4]),
            neighbour_foreign: Host {
                v4: Ipv4Addr::new(198, 51, 100, 77).into(),
                v6: Ipv6Addr::new(0x2001, 0xdb8, site, 0x77, 0, 0, 0, 0x77).into(),
            },
        }
    }

    async fn make(&mut self, engine: &Engine) -> Result<()> {
        self.wan.bridge = engine.create_network("wan", &self.wan.networks()).await?;
        self.dmz.bridge = engine.create_network("dmz", &self.dmz.networks()).await?;
        self.lan.bridge = engine.create_network("lan", &self.lan.networks()).await?;
        Ok(())
    }

    fn segments(&self) -> [&Segment; 5] {
        [
            &self.wan,
            &self.dmz,
            &self.lan,
            &self.lan_second,
            &self.lan_unnamed,
        ]
    }
}

/// Address number `n` of a network.
#[must_use]
pub fn nth(network: &IpNet, n: u8) -> IpAddr {
    match network {
        IpNet::V4(network) => IpAddr::V4(Ipv4Addr::from_bits(
            network.network().to_bits() | u32::from(n),
        )),
        IpNet::V6(network) => IpAddr::V6(Ipv6Addr::from_bits(
            network.network().to_bits() | u128::from(n),
        )),
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// IPv4 networks that the host itself has routes to, the default route left out.
///
/// `/proc/net/route`: destination and mask are the second and eighth column, in hex, with the
/// bytes of the address in reverse.
fn host_routes() -> Result<Vec<Ipv4Net>> {
    let table = fs::read_to_string("/proc/net/route").context("reading /proc/net/route")?;
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .ok()
            .map(|word| Ipv4Addr::from_bits(word.swap_bytes()))
    };
    Ok(table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            Ipv4Net::with_netmask(address(columns.get(1)?)?, address(columns.get(7)?)?).ok()
        })
        .filter(|network| network.prefix_len() > 0)
        .collect())
}
