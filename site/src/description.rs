//! The site file: what a person writes, and the checked [`Site`] it becomes.
//!
//! Checking finds every mistake of the file before anything else happens.
//! Policy, accounts and files that follow from a site are left to the other modules and to `deploy`.

mod draft;
mod meters;
mod networks;
mod outbound;
mod system;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use self::draft::SiteDraft;
use crate::form::Form;
use crate::meter::Meter;
use crate::mistake::Mistakes;

const FORM: Form = Form {
    name: "site file",
    example: "the example home.toml",
    // Thousands of meters have room.
    longest: 1 << 20,
};

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Where a bastion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On an own segment behind the router.
    Dmz,
    /// On the LAN segment itself.
    Flat,
}

/// The inside network, which no bastion may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// Every network of the LAN, IPv4 and IPv6, without overlap.
    pub networks: Vec<IpNet>,
    /// Who may open SSH to a bastion. Inside `networks`.
    pub admins: Vec<IpAddr>,
    /// Where reading programs run. Inside `networks`.
    pub readers: Vec<IpAddr>,
}

/// One Raspberry Pi that takes readings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bastion {
    /// The word after `cargo xtask deploy`.
    pub name: String,
    /// Destination as `ssh` takes it.
    pub ssh: String,
    /// Where it stands.
    pub placement: Placement,
    /// The network interface that the policy speaks of.
    pub interface: String,
    /// Its own addresses, one or two (IPv4, IPv6).
    pub addresses: Vec<IpAddr>,
    /// The segment it stands on. In placement `flat` these are networks of the LAN.
    pub networks: Vec<IpNet>,
    /// The router's addresses on that segment. IPv6 may be link-local.
    pub gateways: Vec<IpAddr>,
    /// Router addresses that forwarded connections may carry as their source:
    /// some routers masquerade what they forward.
    pub masquerades_as: Vec<IpAddr>,
    /// The DHCP server of its segment; none when its addresses are fixed on the machine itself.
    pub dhcp: Option<Ipv4Addr>,
}

/// What a bastion may ask of the outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbound {
    /// DNS resolvers, by address.
    pub resolvers: Vec<IpAddr>,
    /// Whether names are asked for by the service systemd-resolved, which has a user of its own.
    pub resolved: bool,
    /// Time servers, by name or address.
    pub time_servers: Vec<String>,
    /// Whether packages may be fetched by apt.
    pub updates: bool,
}

impl Outbound {
    /// The time servers that are named by address.
    #[must_use]
    pub fn time_addresses(&self) -> Vec<IpAddr> {
        let servers = self.time_servers.iter();
        servers.filter_map(|server| server.parse().ok()).collect()
    }

    /// Whether a time server is named by name, and so may have any address.
    #[must_use]
    pub fn asks_time_by_name(&self) -> bool {
        let mut servers = self.time_servers.iter();
        servers.any(|server| server.parse::<IpAddr>().is_err())
    }
}

/// How a bastion's own system is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Units that are stopped and cannot start: what an exposed machine does not need.
    pub off: Vec<String>,
    /// Seconds after which the hardware restarts a machine that hangs, at most 15, which is what
    /// a Pi's watchdog can; 0 for never.
    pub watchdog_s: u8,
    /// Most room that the system's log takes on the card, in MiB.
    pub journal_mib: u32,
}

/// Where readings end up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Base address of the InfluxDB 1.x API, `http://host:port`.
    pub url: String,
    /// Name of the database.
    pub name: String,
}

/// What a reading program is, which decides what it may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// This project's collector.
    Collector,
    /// Any other program: Telegraf, Home Assistant, a person's `check` account.
    Program,
}

/// One reading program: an account of its own, since forced client ids throw two out for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Account name.
    pub name: String,
    /// What it is.
    pub kind: ReaderKind,
}

/// One site, checked: everything that follows from it can be computed without another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Name of the site; the tag `site`.
    pub name: String,
    /// What meters connect to.
    pub public: Endpoint,
    /// The inside.
    pub lan: Lan,
    /// At least one.
    pub bastions: Vec<Bastion>,
    /// What bastions may ask of the outside.
    pub outbound: Outbound,
    /// How bastions' own systems are kept.
    pub system: System,
    /// The addresses under which the site is seen from the Internet, as far as they are known.
    pub public_addresses: Vec<IpAddr>,
    /// Where readings end up.
    pub database: Database,
    /// At least one collector.
    pub readers: Vec<Reader>,
    /// At least one.
    pub meters: Vec<Meter>,
    /// What is allowed and unwise, such as a bare address in `public`. For showing, not for stopping.
    pub warnings: Vec<String>,
}

impl Site {
    /// The addresses under which the site is seen from the Internet, that of `public` among
    /// them when it is a bare one.
    #[must_use]
    pub fn public_addresses(&self) -> Vec<IpAddr> {
        let bare = self.public.host.parse().ok();
        self.public_addresses.iter().copied().chain(bare).collect()
    }

    /// Reads and checks a site file. `file` is the name used in messages.
    ///
    /// # Errors
    /// Every mistake of the file, in the order of lines.
    pub fn parse(file: &str, text: &str) -> Result<Site, Mistakes> {
        let (mut site, warnings) = FORM.read(file, text, |page, top| {
            let draft = SiteDraft::read(page, top);
            // Half a file says little about how its parts fit together.
            if page.is_sound() {
                networks::check(page, &draft);
                outbound::check(page, &draft);
                meters::check(page, &draft);
            }
            draft.site()
        })?;
        site.warnings = warnings;
        Ok(site)
    }
}
