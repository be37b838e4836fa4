//! A reply that is turned round: somebody on the wire sends the bastion a first packet under the
//! address of a machine in the LAN, and the broker, which was taken over, connects back from its own
//! port, in the direction of a reply. Only that a reply is never a bare SYN stops it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use site::flow::{MQTT_PORT, Match, Policy};

use crate::eventually::{Look, eventually};
use crate::lab::Lab;
use crate::node::{Node, Upload};
use crate::topology::{COLLECTOR, FLAT};

/// The rule that is attacked.
pub const RULE: &str = "f9-replies";
const PROGRAM: &str = "/usr/local/bin/turn.py";
const TOLD: &str = "/tmp/told";
const LOG: &str = "/var/log/turn.log";
/// Ports of the reader's machine that are wanted. A connection that was known before, and went on
/// otherwise, is out of its window: so each attack needs a port of its own.
pub const WANTED: [u16; 2] = [22, 443];

/// The same policy, but that a reply may be a bare SYN.
#[must_use]
pub fn without_that_condition(policy: &Policy) -> Policy {
    let mut weaker = policy.clone();
    for rule in weaker.rules.iter_mut().filter(|rule| rule.name == RULE) {
        rule.matches.retain(|each| *each != Match::NotBareSyn);
    }
    weaker
}

/// Attacks the bastion in the LAN once for a port of the reader's machine, and returns what the broker that was taken over says. Its
/// real broker is ended.
///
/// # Errors
/// When the programs of the attack cannot be run.
pub async fn attack(lab: &Lab, wanted: u16) -> Result<String> {
    let bastion = &lab.flat.node;
    let reader = lab.topology.lan.host(COLLECTOR).v4;
    let own = lab.topology.lan.host(FLAT).v4;
    bastion
        .script(&format!(
            "for pid in $(pidof mosquitto); do kill -KILL $pid; done
             rm -f {TOLD} {LOG}"
        ))
        .await?;
    let program = Upload {
        path: PROGRAM.to_owned(),
        mode: 0o755,
        content: include_bytes!("turn.py").to_vec(),
    };
    bastion.upload(&[program]).await?;
    let arguments = [
        MQTT_PORT.to_string(),
        reader.to_string(),
        wanted.to_string(),
    ];
    let [port, whom, at] = arguments.each_ref().map(String::as_str);
    let command = [
        "setpriv",
        "--reuid",
        "mosquitto",
        "--clear-groups",
        "python3",
        PROGRAM,
        port,
        whom,
        at,
        TOLD,
    ];
    bastion.spawn("turn", &command).await?;
    says(bastion, &["silent"]).await?;
    spoof(lab, (reader, wanted), own).await?;
    bastion.run(&["touch", TOLD]).await?;
    says(bastion, &["connected", "refused"]).await
}

/// A machine on the wire speaks as the reader.
async fn spoof(lab: &Lab, (reader, wanted): (IpAddr, u16), own: IpAddr) -> Result<()> {
    let node = &lab.home_server;
    let order = serde_json::json!([{
        "id": 1, "token": "spoofed", "kind": "raw", "user": "root", "raw": true, "to": own.to_string(),
        "port": MQTT_PORT, "sport": wanted, "source": reader.to_string(), "by_hand": "syn", "number": 0,
        "ttl": 64, "answers": false, "hop": "",
    }]);
    let file = |path: &str, content| Upload {
        path: path.to_owned(),
        mode: 0o700,
        content,
    };
    node.upload(&[
        file(super::SENDER, include_bytes!("send.py").to_vec()),
        file(
            "/root/spoof.json",
            serde_json::to_vec(&order).context("writing the spoofed packet")?,
        ),
    ])
    .await?;
    let said = node
        .run(&["python3", super::SENDER, "/root/spoof.json"])
        .await?;
    anyhow::ensure!(
        said.contains("\"done\""),
        "the spoofed packet was not sent: {said}"
    );
    Ok(())
}

async fn says(node: &Node, words: &[&str]) -> Result<String> {
    eventually(
        format!("the broker that was taken over to say {words:?}"),
        Duration::from_secs(20),
        || async {
            let log = node.run(&["cat", LOG]).await.unwrap_or_default();
            Ok(if words.iter().any(|word| log.contains(word)) {
                Look::Done(log)
            } else {
                Look::NotYet(log)
            })
        },
    )
    .await
}
