//! The lab's site file: written as a person would write one, with the lab's addresses.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use site::Site;

use crate::roles::router::TIME_DOMAIN;
use crate::topology::{
    ADMIN, BASTION, COLLECTOR, FLAT, INFLUXDB, METERS, ROUTER, SILENT, Segment, Topology,
};

/// The name that meters connect to; the lab's router knows it.
pub const PUBLIC_HOST: &str = "meters.example.net";
/// The account of a person who looks at the broker.
pub const CHECK_ACCOUNT: &str = "check";
/// The account of another such person, who leaves a session behind.
pub const VISITOR_ACCOUNT: &str = "visitor";
/// The account of the collector.
pub const COLLECTOR_ACCOUNT: &str = "collector";
/// The account of a second collector, which knows nothing of the first.
pub const SECOND_COLLECTOR: &str = "second";
/// The database.
pub const DATABASE: &str = "energy";

/// Models of which the fleet is made, in turn, each with its generation.
pub const MODELS: [(&str, &str); 5] = [
    ("shellyem", "1"),
    ("shellyem3", "1"),
    ("shellyplug-s", "1"),
    ("shellyplus1pm", "2"),
    ("shellypro3em", "2"),
];

/// Describes the lab as a site with so many meters, and reads the description.
///
/// # Errors
/// When the description has a mistake.
pub fn describe(topology: &Topology, meters: usize) -> Result<Site> {
    Site::parse("lab.toml", &write(topology, meters)).context("reading the lab's site file")
}

/// Describes a site with the same LAN whose bastion stands on it (placement `flat`), with one meter,
/// and reads the description.
///
/// # Errors
/// When the description has a mistake.
pub fn describe_flat(topology: &Topology) -> Result<Site> {
    let stand = Stand {
        placement: "flat",
        segment: &topology.lan,
        number: FLAT,
    };
    let ssh = format!("root@{}", topology.lan.host(FLAT).v4);
    let outbound = outbound(topology, &topology.lan);
    Site::parse("flat.toml", &text(topology, &stand, 1, &ssh, &outbound))
        .context("reading the site file of the bastion in the LAN")
}

/// Where a bastion stands.
struct Stand<'a> {
    placement: &'static str,
    segment: &'a Segment,
    number: u8,
}

fn in_the_dmz(topology: &Topology) -> Stand<'_> {
    Stand {
        placement: "dmz",
        segment: &topology.dmz,
        number: BASTION,
    }
}

/// Id, model and generation of meter number `n`, as the vendor would give them.
#[must_use]
pub fn meter_id(n: usize) -> (String, &'static str, &'static str) {
    let (model, generation) = MODELS.get(n % MODELS.len()).copied().unwrap_or_default();
    let id = match model {
        "shellyem" => format!("{model}-{:06X}", 0xD3_B400 + n),
        "shellyplug-s" => format!("{model}-{:06X}", 0xAA_B200 + n),
        "shellyem3" => format!(
            "{model}-{:012X}",
            0xAABB_CCDD_0000_u64 + u64::try_from(n).unwrap_or_default()
        ),
        _ => format!(
            "{model}-{:012x}",
            0xaabb_ccee_0000_u64 + u64::try_from(n).unwrap_or_default()
        ),
    };
    (id, model, generation)
}

/// The site file of a lab whose bastion is the virtual Pi: reached as `ssh`, an alias, and let out
/// for names and time. Updates bring packages that cost an emulated machine minutes, so the
/// scenario about them asks for them, see [`with_updates`].
#[must_use]
pub fn write_for_a_pi(topology: &Topology, meters: usize, ssh: &str) -> String {
    let outbound = format!(
        "\n[outbound]\nresolvers = [\"{}\"]\ntime_servers = [\"0.{TIME_DOMAIN}\", \"1.{TIME_DOMAIN}\"]\n{NO_UPDATES}\n",
        topology.dmz.host(ROUTER).v4
    );
    text(topology, &in_the_dmz(topology), meters, ssh, &outbound)
}

const NO_UPDATES: &str = "updates = false";

/// The same site, let out for updates as well.
#[must_use]
pub fn with_updates(text: &str) -> String {
    text.replace(NO_UPDATES, "updates = true")
}

fn write(topology: &Topology, meters: usize) -> String {
    let ssh = format!("root@{}", topology.dmz.host(BASTION).v4);
    let outbound = outbound(topology, &topology.dmz);
    text(topology, &in_the_dmz(topology), meters, &ssh, &outbound)
}

/// Names from the router, time by name and from three addresses, updates.
fn outbound(topology: &Topology, segment: &Segment) -> String {
    let quoted = |address: std::net::IpAddr| format!("\"{address}\"");
    format!(
        "\n[outbound]\nresolvers = [{}]\ntime_servers = [\"time.example.net\", {}]\nupdates = true\n",
        segment.host(ROUTER).both().map(quoted).join(", "),
        [
            topology.wan.host(METERS).v6,
            topology.wan.host(SILENT).v6,
            // One that no router leads to.
            topology.neighbour_foreign.v6,
        ]
        .map(quoted)
        .join(", "),
    )
}

fn text(
    topology: &Topology,
    stand: &Stand<'_>,
    meters: usize,
    ssh: &str,
    outbound: &str,
) -> String {
    let Topology {
        wan,
        lan,
        lan_second,
        ..
    } = topology;
    let Stand {
        placement,
        segment: own,
        number,
    } = stand;
    let list = |items: &[String]| {
        items
            .iter()
            .map(|item| format!("\"{item}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let networks =
        |items: &[IpNet]| list(&items.iter().map(ToString::to_string).collect::<Vec<_>>());
    let host =
        |segment: &Segment, n| list(&segment.host(n).both().map(|address| address.to_string()));
    let mut text = format!(
        "\
name = \"lab\"
public = \"{PUBLIC_HOST}:1883\"
public_addresses = [\"{public_v4}\"]

[lan]
networks = [{lan_networks}]
admins = [{admins}]
readers = [{readers}]

[[bastion]]
name = \"pi\"
ssh = \"{ssh}\"
placement = \"{placement}\"
interface = \"eth0\"
addresses = [{bastion_addresses}]
networks = [{own_networks}]
gateways = [{gateways}]
dhcp = \"{router}\"
{outbound}
[database]
url = \"http://{database}:8086\"
name = \"{DATABASE}\"

[[reader]]
name = \"{COLLECTOR_ACCOUNT}\"
kind = \"collector\"

[[reader]]
name = \"{SECOND_COLLECTOR}\"
kind = \"collector\"

[[reader]]
name = \"{CHECK_ACCOUNT}\"
kind = \"program\"

[[reader]]
name = \"{VISITOR_ACCOUNT}\"
kind = \"program\"
",
        lan_networks = networks(&[lan.networks(), lan_second.networks()].concat()),
        admins = host(lan, ADMIN),
        readers = host(lan, COLLECTOR),
        bastion_addresses = host(own, *number),
        own_networks = networks(&own.networks()),
        gateways = host(own, ROUTER),
        router = own.host(ROUTER).v4,
        public_v4 = wan.host(ROUTER).v4,
        database = lan.host(INFLUXDB).v4,
    );
    for n in 0..meters {
        let (id, model, _) = meter_id(n);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[meter]]\nid = \"{id}\"\nmodel = \"{model}\"\nlocation = \"house {n}\"\npoint = \"point-{n}\"\n"
        );
    }
    text
}
