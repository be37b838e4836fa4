//! A machine that listens, and writes down who began to speak to it.
//!
//! What arrives is recorded before any listener sees it, so a refusal can be judged where it
//! counts: nothing came.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::eventually::{Look, eventually};
use crate::node::Node;

/// Something that came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// The address it came from, as the receiver sees it.
    pub from: IpAddr,
    /// The address it was sent to.
    pub to: IpAddr,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The port it was sent to.
    pub port: u16,
}

/// Starts listeners such as `tcp:80` and `udp:53`, and waits until all are there.
///
/// # Errors
/// When they do not come up.
pub async fn listen(node: &Node, ports: &[&str]) -> Result<()> {
    let list = ports.join(",");
    node.spawn("listeners", &["/usr/local/bin/probe", "--listen", &list])
        .await?;
    eventually(
        format!("listeners on {}", node.name),
        Duration::from_secs(10),
        || async {
            let log = node
                .run(&["cat", "/var/log/listeners.log"])
                .await
                .unwrap_or_default();
            Ok(if log.contains("listening") {
                Look::Done(())
            } else {
                Look::NotYet(log)
            })
        },
    )
    .await
}

/// Where a witness stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// In front of every rule of the machine: it sees what arrives.
    Door,
    /// Behind the machine's rules: it sees what they let in.
    Inside,
}

/// Begins to write down who begins to speak to the machine. Answers to what was begun there do
/// not count, nor does what IPv6 needs to find a neighbour.
///
/// # Errors
/// When the rules are refused.
pub async fn watch(node: &Node, post: Post) -> Result<()> {
    let priority = match post {
        Post::Door => "raw + 250",
        Post::Inside => "filter + 10",
    };
    let family = |name: &str, ip: &str| {
        let key = format!("{ip} saddr . {ip} daddr . meta l4proto . th dport");
        let set = format!("set {name} {{ typeof {key}; flags dynamic; size 65535; }}");
        let begins = "ct state new meta l4proto { tcp, udp }";
        let nfproto = if ip == "ip" { "ipv4" } else { "ipv6" };
        let rule = format!("meta nfproto {nfproto} {begins} update @{name} {{ {key} }}");
        (set, rule)
    };
    let ((set_v4, rule_v4), (set_v6, rule_v6)) =
        (family("seen_v4", "ip"), family("seen_v6", "ip6"));
    node.script(&format!(
        "nft -f - <<'RULES'
table inet witness {{
    {set_v4}
    {set_v6}
    chain input {{
        type filter hook input priority {priority}
        {rule_v4}
        {rule_v6}
    }}
}}
RULES
"
    ))
    .await?;
    Ok(())
}

/// Forgets what came so far.
///
/// # Errors
/// When the machine does not watch.
pub async fn forget(node: &Node) -> Result<()> {
    node.script("nft flush set inet witness seen_v4; nft flush set inet witness seen_v6")
        .await?;
    Ok(())
}

/// What came since the machine last forgot.
///
/// # Errors
/// When the machine does not watch.
pub async fn seen(node: &Node) -> Result<BTreeSet<Arrival>> {
    let listing = node
        .run(&["nft", "-j", "list", "table", "inet", "witness"])
        .await?;
    let listing: Value = serde_json::from_str(&listing).context("reading what a witness saw")?;
    let objects = listing
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let elements = objects
        .filter_map(|object| object.get("set")?.get("elem")?.as_array())
        .flatten();
    elements.map(arrival).collect()
}

fn arrival(element: &Value) -> Result<Arrival> {
    let what =
        || format!("a witness saw something else than addresses, protocol and port: {element}");
    let element = element
        .get("elem")
        .and_then(|element| element.get("val"))
        .unwrap_or(element);
    let parts = element
        .get("concat")
        .and_then(Value::as_array)
        .with_context(what)?;
    let part = |index: usize| parts.get(index).with_context(what);
    let port = part(3)?.as_u64().and_then(|port| u16::try_from(port).ok());
    // nft knows the protocol's name in some versions, and its number in others.
    let protocol = match (part(2)?.as_str(), part(2)?.as_u64()) {
        (Some("tcp"), _) | (_, Some(6)) => "tcp",
        (Some("udp"), _) | (_, Some(17)) => "udp",
        _ => bail!(what()),
    };
    let address = |index| {
        part(index)?
            .as_str()
            .and_then(|text| text.parse().ok())
            .with_context(what)
    };
    Ok(Arrival {
        from: address(0)?,
        to: address(1)?,
        protocol,
        port: port.with_context(what)?,
    })
}
