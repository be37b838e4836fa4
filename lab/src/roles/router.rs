//! The household's router: NAT, port forwards, names. It leads nowhere but to the lab.
//!
//! It is a bad one on purpose: it forwards DMZ to LAN, and SSH from the Internet too, so that
//! only the bastion's own policy can be what refuses. What a good one does is a switch.

use std::time::Duration;

use actors::weather::Done;
use anyhow::{Context as _, Result};

use crate::eventually::{Look, eventually};
use crate::node::{Node, Upload};
use crate::site_file::PUBLIC_HOST;
use crate::topology::{BASTION, FLAT, HOME_SERVER, OUTSIDE, ROUTER, Topology};

/// The name of the virtual Pi's package source; the card's `sources.list` says the same.
pub const PACKAGES_HOST: &str = "packages.example.net";
/// Below this are the names of time servers that a new Pi knows.
pub const TIME_DOMAIN: &str = "pool.ntp.org";

/// The port on the Internet's side that leads to the broker of the bastion in the LAN.
pub const FLAT_PORT: u16 = 1893;
/// A port on the Internet's side that is forwarded to the home server. Whoever asks for it from
/// inside is led there too, under the router's own address.
pub const HAIRPIN_PORT: u16 = 443;

/// Interfaces in the order in which the router is plugged in.
const WAN: &str = "eth0";
const DMZ: &str = "eth1";
const LAN: &str = "eth2";
const READY: Duration = Duration::from_secs(10);

/// Turns a machine on all three segments into the router.
///
/// # Errors
/// When a rule or route is refused.
pub async fn become_router(node: &Node, topology: &Topology) -> Result<()> {
    set_up(node, topology, &[]).await
}

/// As [`become_router`], and gives the virtual Pi its address, and names of the Internet.
///
/// # Errors
/// When a rule or route is refused.
pub async fn become_router_of_a_pi(node: &Node, topology: &Topology, mac: &str) -> Result<()> {
    let options = options_for_a_pi(topology, mac);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    set_up(node, topology, &options).await
}

/// Addresses with leases of a minute in place of half a day's. The usual service gives none below
/// two minutes, so another one takes its place; `busybox` is the program of that name.
///
/// # Errors
/// When a service cannot be started anew.
pub async fn short_leases(
    node: &Node,
    topology: &Topology,
    mac: &str,
    busybox: Vec<u8>,
) -> Result<()> {
    silence(node).await?;
    let [names @ .., _, _] = options_for_a_pi(topology, mac);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    serve(node, topology, &names).await?;
    let (bastion, router) = (topology.dmz.host(BASTION).v4, topology.dmz.host(ROUTER).v4);
    let settings = format!(
        "interface {DMZ}\nstart {bastion}\nend {bastion}\nmax_leases 1\nlease_file /run/udhcpd.leases\n\
         static_lease {mac} {bastion}\noption subnet 255.255.255.0\noption router {router}\noption dns {router}\n\
         option lease 60\nmin_lease 30\n"
    );
    let file = |path: &str, mode, content| Upload {
        path: path.to_owned(),
        mode,
        content,
    };
    node.upload(&[
        file("/usr/local/bin/busybox", 0o755, busybox),
        file("/etc/udhcpd.conf", 0o644, settings.into_bytes()),
    ])
    .await?;
    node.script(": > /run/udhcpd.leases").await?;
    let command = ["/usr/local/bin/busybox", "udhcpd", "-f", "/etc/udhcpd.conf"];
    node.spawn("udhcpd", &command).await
}

/// Names and addresses as at first.
///
/// # Errors
/// When the service cannot be started anew.
pub async fn usual_leases(node: &Node, topology: &Topology, mac: &str) -> Result<()> {
    silence(node).await?;
    let options = options_for_a_pi(topology, mac);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    serve(node, topology, &options).await
}

/// Stops forwarding and forgets every connection, as a router does that loses its power. Gives how
/// many connections it knew.
///
/// # Errors
/// When the engine refuses.
pub async fn switch_off(node: &Node) -> Result<usize> {
    let known = node
        .script(
            "nft flush ruleset
             nft 'table inet lab_off {
                 chain drops { type filter hook prerouting priority -400; policy drop; iif lo accept; }
             }'
             conntrack -L -p tcp --dport 1883 2>/dev/null | wc -l
             conntrack -F 2>/dev/null",
        )
        .await?;
    known.trim().parse().context("counting connections")
}

/// Forwards and translates again. It refuses what is in the middle of a connection that it does not
/// know, until [`settled`].
///
/// # Errors
/// When a rule is refused.
pub async fn switch_on(node: &Node, topology: &Topology) -> Result<()> {
    load_rules(node, topology).await?;
    node.script(
        "nft 'table inet lab_forgets {
             chain resets { type filter hook forward priority -10;
                 ct state new tcp flags & (syn | ack) == ack reject with tcp reset; }
         }'
         nft delete table inet lab_off",
    )
    .await
    .map(drop)
}

/// Lets through again what is in the middle of a connection, as it did at first.
///
/// # Errors
/// When the engine refuses.
pub async fn settled(node: &Node) -> Result<()> {
    node.script("nft 'table inet lab_forgets; delete table inet lab_forgets'")
        .await
        .map(drop)
}

const QUEUE: u16 = 7;
const WEATHER: &str = "weather";

/// Holds each packet on the side of the Internet for `delay_ms`, in each direction, and drops some.
///
/// # Errors
/// When the kernel has no queue for it.
pub async fn make_weather(node: &Node, delay_ms: u64, loss_percent: u8, seed: u64) -> Result<()> {
    let numbers = [
        QUEUE.to_string(),
        delay_ms.to_string(),
        loss_percent.to_string(),
        seed.to_string(),
    ];
    let [queue, delay, loss, seed] = numbers.each_ref().map(String::as_str);
    let command = [
        "/usr/local/bin/weather",
        "--queue",
        queue,
        "--delay-ms",
        delay,
        "--loss-percent",
        loss,
        "--seed",
        seed,
    ];
    node.spawn(WEATHER, &command).await?;
    let log = format!("/var/log/{WEATHER}.log");
    eventually("the weather to be ready", READY, || async {
        let said = node.run(&["cat", &log]).await?;
        Ok(match said.lines().last() {
            Some("ready") => Look::Done(()),
            _ => Look::NotYet(said),
        })
    })
    .await?;
    node.script(&weather_rules("-A")).await.map(drop)
}

/// Ends it; gives what was done.
///
/// # Errors
/// When it ended by itself.
pub async fn end_weather(node: &Node) -> Result<Done> {
    node.script(&weather_rules("-D")).await?;
    node.end(WEATHER, "TERM").await?;
    let log = node
        .run(&["cat", &format!("/var/log/{WEATHER}.log")])
        .await?;
    let done = log.lines().last().unwrap_or_default();
    serde_json::from_str(done).with_context(|| format!("the weather ended with: {log}"))
}

fn weather_rules(verb: &str) -> String {
    format!(
        "iptables -w -t mangle {verb} PREROUTING -i {WAN} -j NFQUEUE --queue-num {QUEUE}
         iptables -w -t mangle {verb} POSTROUTING -o {WAN} -j NFQUEUE --queue-num {QUEUE}"
    )
}

/// Ends names and addresses.
///
/// # Errors
/// When the service does not end.
pub async fn silence(node: &Node) -> Result<()> {
    node.script(
        "for pid in $(pidof dnsmasq busybox); do kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done; done",
    )
    .await
    .map(drop)
}

/// Refuses what begins in the DMZ and leads to the LAN, as a good router does, or no longer.
///
/// # Errors
/// When the rule is refused.
pub async fn block_dmz_to_lan(node: &Node, on: bool) -> Result<()> {
    let rules = if on {
        format!(
            "nft 'table inet block {{ chain forward {{ type filter hook forward priority -10; \
             iifname {DMZ} oifname {LAN} ct state new counter drop; }}; }}'"
        )
    } else {
        "nft delete table inet block".to_owned()
    };
    node.script(&rules).await.map(drop)
}

fn options_for_a_pi(topology: &Topology, mac: &str) -> [String; 8] {
    let (dmz, outside) = (&topology.dmz, topology.wan.host(OUTSIDE).v4);
    [
        "--dhcp-authoritative".to_owned(),
        "--no-ping".to_owned(),
        // The last half of an address over IPv6 is the machine's own choice.
        "--enable-ra".to_owned(),
        format!("--dhcp-range={},ra-only,64,12h", dmz.v6.network()),
        format!("--host-record={PACKAGES_HOST},{outside}"),
        format!("--address=/{TIME_DOMAIN}/{outside}"),
        // Addresses over IPv4 last: another service may take their place.
        format!("--dhcp-range={},static,12h", dmz.v4.network()),
        format!("--dhcp-host={mac},{}", dmz.host(BASTION).v4),
    ]
}

async fn set_up(node: &Node, topology: &Topology, options: &[&str]) -> Result<()> {
    node.script(&routes(topology)).await?;
    load_rules(node, topology).await?;
    serve(node, topology, options).await
}

async fn load_rules(node: &Node, topology: &Topology) -> Result<()> {
    node.script(&format!("nft -f - <<'RULES'\n{}RULES\n", rules(topology)))
        .await
        .map(drop)
}

async fn serve(node: &Node, topology: &Topology, options: &[&str]) -> Result<()> {
    let public = topology.wan.host(ROUTER).v4;
    let name = format!("--host-record={PUBLIC_HOST},{public}");
    node.spawn(
        "dnsmasq",
        &[
            &[
                "dnsmasq",
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--log-facility=-",
                // It answers for names of its own, also that it has no IPv6 address for one.
                "--local=/net/",
                &name,
            ],
            options,
        ]
        .concat(),
    )
    .await
}

/// Nothing beyond the lab. The LAN's further networks share its wire.
fn routes(topology: &Topology) -> String {
    let mut script = String::from(
        "ip -4 route del default 2>/dev/null || true\nip -6 route del default 2>/dev/null || true\n",
    );
    for segment in [&topology.lan_second, &topology.lan_unnamed] {
        let router = segment.host(ROUTER);
        script += &format!(
            "ip addr add {}/24 dev {LAN}\nip addr add {}/64 dev {LAN} nodad\n",
            router.v4, router.v6
        );
    }
    script
}

fn rules(topology: &Topology) -> String {
    let bastion = topology.dmz.host(BASTION).v4;
    let flat = topology.lan.host(FLAT);
    let (flat_v4, flat_v6) = (flat.v4, flat.v6);
    let home_server = topology.lan.host(HOME_SERVER).v4;
    let public = topology.wan.host(ROUTER).v4;
    format!(
        "\
table inet router {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        iifname {WAN} tcp dport {{ 22, 1883 }} dnat ip to {bastion}
        iifname {WAN} tcp dport {FLAT_PORT} dnat ip to {flat_v4}:1883
        ip daddr {public} tcp dport {HAIRPIN_PORT} dnat ip to {home_server}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        oifname {WAN} meta nfproto ipv4 masquerade
        oifname {LAN} ip daddr {home_server} ct status dnat masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname {LAN} accept
        iifname {DMZ} accept
        iifname {WAN} oifname {DMZ} tcp dport {{ 22, 1883 }} accept
        iifname {WAN} oifname {LAN} ip daddr {flat_v4} tcp dport 1883 accept
        iifname {WAN} oifname {LAN} ip6 daddr {flat_v6} tcp dport {{ 22, 1883 }} accept
        meta l4proto ipv6-icmp accept
    }}
}}
"
    )
}
