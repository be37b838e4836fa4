//! The two places where a bastion stands, and who is near it: addresses, machines, and the rule that
//! keeps each out of reach.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;
use crate::node::Node;
use crate::roles::bastion;
use crate::topology::{
    ADMIN, BASTION, COLLECTOR, FLAT, HOME_SERVER, Host, NEIGHBOUR, ROUTER, STRANGER, Segment, nth,
};

/// Where a bastion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// In a segment of its own.
    Dmz,
    /// In the LAN.
    Flat,
}

/// Somebody near.
#[derive(Debug, Clone)]
pub(super) struct Near {
    pub(super) name: &'static str,
    pub(super) address: String,
    /// The machine that notices it.
    pub(super) at: &'static str,
    /// The rule that refuses it.
    pub(super) rule: &'static str,
}

/// A bastion and who is near it.
pub(super) struct Place<'a> {
    lab: &'a Lab,
    placement: Placement,
    pub(super) bastion: &'a Node,
    /// Its own addresses.
    pub(super) own: [IpAddr; 2],
    /// Somebody else's, to forge.
    pub(super) foreign: [IpAddr; 2],
    /// The home server: IPv4, global IPv6, unique local, IPv4 mapped into IPv6, and its second
    /// private network, which the site file does not name.
    pub(super) home: [Near; 5],
    /// A machine on the bastion's own wire, by its link-local address.
    pub(super) link_local: Near,
    /// Where the router is managed: on the bastion's segment, over IPv4 and IPv6.
    pub(super) router: [Near; 2],
    /// The router's public address, where a port leads into the LAN.
    pub(super) hairpin: Near,
    /// Another machine on the segment.
    pub(super) other: [Near; 2],
    /// The same machine under addresses of no network of the site, where the bastion has a way to them
    /// that passes no router.
    pub(super) beyond: Vec<Near>,
    /// A reader, who is answered when he has asked.
    pub(super) reader: Near,
    /// Somebody on the Internet, who might be a package mirror.
    pub(super) mirror: Near,
    /// Broadcasts and multicasts, each with its port.
    pub(super) groups: Vec<(Near, u16)>,
    /// Where a packet with a TTL of 1 ends.
    pub(super) first_hop: &'static str,
    /// Who takes a frame for the home server.
    pub(super) hop: String,
}

fn near(name: &'static str, address: impl ToString, at: &'static str, rule: &'static str) -> Near {
    Near {
        name,
        address: address.to_string(),
        at,
        rule,
    }
}

impl<'a> Place<'a> {
    /// Finds out who is near.
    pub(super) async fn find(lab: &'a Lab, placement: Placement) -> Result<Place<'a>> {
        let topology = &lab.topology;
        let (lan, dmz) = (&topology.lan, &topology.dmz);
        let home = lan.host(HOME_SERVER);
        let in_lan = ["refuse-lan-v4", "refuse-lan-v6"];
        let (node, segment, number, on_segment) = match placement {
            Placement::Dmz => (
                &lab.bastion,
                dmz,
                BASTION,
                ["refuse-segment-v4", "refuse-segment-v6"],
            ),
            Placement::Flat => (&lab.flat.node, lan, FLAT, in_lan),
        };
        let ((on_wire, on_wire_at), (hop, router_port), other, other_at) = match placement {
            Placement::Dmz => (
                (&lab.neighbour, "neighbour"),
                (&lab.router, "eth1"),
                dmz.host(NEIGHBOUR),
                "neighbour",
            ),
            Placement::Flat => (
                (&lab.home_server, "home_server"),
                (&lab.home_server, "eth0"),
                lan.host(ADMIN),
                "admin",
            ),
        };
        users(node).await?;
        let router = segment.host(ROUTER);
        let collector = lan.host(COLLECTOR);
        Ok(Place {
            lab,
            placement,
            bastion: node,
            own: segment.host(number).both(),
            foreign: collector.both(),
            home: [
                near("the home server", home.v4, "home_server", in_lan[0]),
                near(
                    "the home server over IPv6",
                    home.v6,
                    "home_server",
                    in_lan[1],
                ),
                near(
                    "the home server's unique local address",
                    topology.lan_second.host(HOME_SERVER).v6,
                    "home_server",
                    in_lan[1],
                ),
                near(
                    "the home server by a mapped address",
                    format!("::ffff:{}", home.v4),
                    "home_server",
                    in_lan[0],
                ),
                near(
                    "the home server in a network that nobody named",
                    topology.lan_unnamed.host(HOME_SERVER).v4,
                    "home_server",
                    "refuse-private-v4",
                ),
            ],
            link_local: near(
                "a machine on its wire by its link-local address",
                format!("{}%eth0", link_local(on_wire).await?),
                on_wire_at,
                "refuse-private-v6",
            ),
            router: [
                near("the router's own page", router.v4, "router", on_segment[0]),
                near(
                    "the router's own page over IPv6",
                    router.v6,
                    "router",
                    on_segment[1],
                ),
            ],
            hairpin: near(
                "the router's public address, a port of which leads into the LAN",
                topology.wan.host(ROUTER).v4,
                "home_server",
                "refuse-public-v4",
            ),
            other: [
                near("a machine beside it", other.v4, other_at, on_segment[0]),
                near(
                    "a machine beside it over IPv6",
                    other.v6,
                    other_at,
                    on_segment[1],
                ),
            ],
            beyond: match placement {
                Placement::Dmz => beyond(topology.neighbour_foreign),
                Placement::Flat => vec![],
            },
            reader: near("a reader", collector.v4, "collector", in_lan[0]),
            mirror: near(
                "a mirror on the Internet",
                topology.wan.host(STRANGER).v4,
                "stranger",
                "refuse-rest-out",
            ),
            groups: groups(segment, on_wire_at, on_segment[0]),
            first_hop: match placement {
                Placement::Dmz => "router",
                Placement::Flat => "home_server",
            },
            hop: hop
                .run(&["cat", &format!("/sys/class/net/{router_port}/address")])
                .await?
                .trim()
                .to_owned(),
        })
    }

    /// Applies the policy as on a Pi.
    pub(super) async fn apply_policy(&self) -> Result<()> {
        match self.placement {
            Placement::Flat => self.lab.flat.apply(&self.lab.flat.policy).await,
            Placement::Dmz => {
                bastion::bring(self.bastion, &self.lab.render(&self.lab.policy)?).await?;
                bastion::apply(self.bastion, &[])
                    .await?
                    .success()
                    .context("bastion apply")?;
                Ok(())
            }
        }
    }
}

fn beyond(host: Host) -> Vec<Near> {
    let near = |name, address, rule| near(name, address, "neighbour", rule);
    vec![
        near(
            "a machine beside it under a foreign address",
            host.v4,
            "refuse-next-hop-v4",
        ),
        near(
            "a machine beside it under a foreign address over IPv6",
            host.v6,
            "refuse-next-hop-v6",
        ),
    ]
}

fn groups(segment: &Segment, at: &'static str, on_segment: &'static str) -> Vec<(Near, u16)> {
    let private = ["refuse-private-v4", "refuse-private-v6"];
    let v6 = |group: &str| format!("{group}%eth0");
    vec![
        (near("mDNS", "224.0.0.251", at, private[0]), 5353),
        (near("mDNS over IPv6", v6("ff02::fb"), at, private[1]), 5353),
        (near("SSDP", "239.255.255.250", at, private[0]), 1900),
        (near("SSDP over IPv6", v6("ff02::c"), at, private[1]), 1900),
        (near("LLMNR", "224.0.0.252", at, private[0]), 5355),
        (
            near("everybody by broadcast", "255.255.255.255", at, private[0]),
            9,
        ),
        (
            near(
                "the segment by broadcast",
                nth(&segment.v4.into(), 255),
                at,
                on_segment,
            ),
            137,
        ),
    ]
}

/// Users that a Pi has and the lab's machine lacks: the daemon's, and a person's.
async fn users(node: &Node) -> Result<()> {
    node.script(
        "for name in lab-daemon lab-person; do
             id $name >/dev/null 2>&1 ||
                 useradd --system --user-group --no-create-home --shell /usr/sbin/nologin $name
         done",
    )
    .await
    .map(drop)
}

async fn link_local(node: &Node) -> Result<String> {
    let shown = node
        .run(&[
            "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link",
        ])
        .await?;
    let address = shown.split_whitespace().nth(3);
    match address.and_then(|address| address.split_once('/')) {
        Some((address, _)) => Ok(address.to_owned()),
        None => bail!("{} has no link-local address: {shown}", node.name),
    }
}
