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
use crate::topology::Host;

/// Something that came: protocol and port, and the address it came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
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

/// Begins to write down what a machine sends here to begin with, known by any of its addresses;
/// answers to what was begun here do not count, nor does what IPv6 needs to find a neighbour.
///
/// # Errors
/// When the rules are refused.
pub async fn watch(node: &Node, senders: &[Host]) -> Result<()> {
    let list = |address: fn(&Host) -> IpAddr| {
        senders
            .iter()
            .map(|sender| address(sender).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (v4, v6) = (list(|sender| sender.v4), list(|sender| sender.v6));
    node.script(&format!(
        "nft -f - <<'RULES'
table inet witness {{
    set seen_v4 {{ typeof ip daddr . meta l4proto . th dport; flags dynamic; size 65535; }}
    set seen_v6 {{ typeof ip6 daddr . meta l4proto . th dport; flags dynamic; size 65535; }}
    chain input {{
        type filter hook input priority raw + 250
        ip saddr {{ {v4} }} ct state new meta l4proto {{ tcp, udp }} update @seen_v4 {{ ip daddr . meta l4proto . th dport }}
        ip6 saddr {{ {v6} }} ct state new meta l4proto {{ tcp, udp }} update @seen_v6 {{ ip6 daddr . meta l4proto . th dport }}
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
        || format!("a witness saw something else than address, protocol and port: {element}");
    let element = element
        .get("elem")
        .and_then(|element| element.get("val"))
        .unwrap_or(element);
    let parts = element
        .get("concat")
        .and_then(Value::as_array)
        .with_context(what)?;
    let part = |index: usize| parts.get(index).with_context(what);
    let port = part(2)?.as_u64().and_then(|port| u16::try_from(port).ok());
    // nft knows the protocol's name in some versions, and its number in others.
    let protocol = match (part(1)?.as_str(), part(1)?.as_u64()) {
        (Some("tcp"), _) | (_, Some(6)) => "tcp",
        (Some("udp"), _) | (_, Some(17)) => "udp",
        _ => bail!(what()),
    };
    Ok(Arrival {
        to: part(0)?
            .as_str()
            .and_then(|address| address.parse().ok())
            .with_context(what)?,
        protocol,
        port: port.with_context(what)?,
    })
}
