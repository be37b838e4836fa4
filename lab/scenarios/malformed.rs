//! Packets that are none: a corpus of mutated ones at the broker's open port, the same for the same
//! seed. Others must not notice.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use lab::Lab;
use lab::roles::ill_will::{act, order};
use lab::roles::journal;
use lab::roles::mqtt::{Login, publish};
use lab::topology::{ROUTER, nth};
use serde::Deserialize;
use serde_json::json;
use site::flow::MQTT_PORT;

use crate::delivery::spare;
use crate::shared::{Scenario, Stage, scenario};

const SEED: u64 = 20_261_128;
const PACKETS: u64 = 1200;
/// What the seed gives; another corpus is another proof.
const DIGEST: &str = "056bd292ea5177d9";
/// Numbers on the WAN of who sends them: one source alone would be limited by the policy.
const SOURCES: [u8; 4] = [61, 62, 63, 64];
/// Seconds between two: all sources together are limited, too, and others need room.
const PAUSE: f64 = 0.005;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "hardening::malformed_packets_hurt_nobody",
        malformed
    )]
}

#[derive(Debug, Deserialize)]
struct Said {
    sent: u64,
    closed: u64,
    digest: String,
}

async fn pid(lab: &Lab) -> Result<String> {
    let pid = lab.bastion.run(&["pidof", "mosquitto"]).await?;
    Ok(pid.trim().to_owned())
}

async fn malformed(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let reader = stage.reader().await?;
    let _turn = stage.bastion_turn.lock().await;
    let sources = SOURCES.map(|n| nth(&IpNet::V4(lab.topology.wan.v4), n));
    let add = |address: IpAddr| format!("ip addr replace {address}/24 dev eth0\n");
    lab.stranger.script(&sources.map(add).concat()).await?;
    let (meter, prefix) = spare(lab, 15)?;
    let broker = pid(lab).await?;
    let before = journal::report(&lab.bastion).await?;
    let corpus = json!({
        "what": "corpus",
        "topic": format!("{prefix}/info"),
        "seed": SEED,
        "count": PACKETS,
        "pause": PAUSE,
        "sources": sources.map(|source| source.to_string()),
    });
    let broker_at = (lab.topology.wan.host(ROUTER).v4, MQTT_PORT);
    let order = order(broker_at, meter, &lab.secrets, corpus)?;
    let said = act(&lab.stranger, "corpus", &order).await?;
    let said: Said = serde_json::from_str(&said).with_context(|| format!("it said {said}"))?;
    ensure!(
        said.sent == PACKETS && said.digest == DIGEST,
        "another corpus than recorded was sent: {said:?}"
    );
    ensure!(
        said.closed > PACKETS / 4,
        "proves nothing: the broker minded only {} of {PACKETS} packets",
        said.closed
    );
    ensure!(
        pid(lab).await? == broker,
        "promise broken: the broker did not live through it"
    );
    let (genuine, genuine_prefix) = spare(lab, 16)?;
    let topic = format!("{genuine_prefix}/info");
    publish(lab, &lab.meters, Login::Account(genuine), &topic, "42.16")
        .await?
        .success()
        .context("promise broken: a meter cannot publish any more")?;
    reader.heard_until(&format!("{topic} 42.16")).await?;
    let after = journal::report(&lab.bastion).await?;
    ensure!(
        after.connected && after.connections == before.connections,
        "promise broken: the daemon lost its connection: {} before, {} after",
        before.connections,
        after.connections
    );
    Ok(format!(
        "{} mutated packets (seed {SEED}, digest {DIGEST}), every other behind a good login: {} connections closed by \
         the broker; it lives on, the daemon kept its connection, and a reader hears the next message",
        said.sent, said.closed
    ))
}
