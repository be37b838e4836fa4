//! A flood of connections from one source, while the meters go on publishing: no reading may be
//! missing, and the broker's listener on loopback must answer throughout.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ipnet::IpNet;
use lab::Lab;
use lab::probe::{attempt, tcp};
use lab::topology::{ROUTER, nth};
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};

use crate::limits::{FLOODING, counted_by, python};
use crate::outage::run::during;
use crate::shared::{Scenario, Stage, scenario};

const LENGTH: Duration = Duration::from_secs(10);
/// Begun at once, again and again.
const CONNECTIONS: &str = "800";
/// Number of the flooding address on the WAN.
const FLOODER: u8 = 98;
const RULE: &str = "f1-limit-source-v4";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "hardening::a_flood_of_connections_costs_no_reading",
        alone,
        flood
    )]
}

async fn flood(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let source = nth(&IpNet::V4(lab.topology.wan.v4), FLOODER);
    lab.stranger
        .script(&format!("ip addr replace {source}/24 dev eth0"))
        .await?;
    let before = counted_by(lab, RULE).await?;
    let source = source.to_string();
    let trouble = async {
        let end = Instant::now() + LENGTH;
        let (came, answered) = tokio::try_join!(flooding(lab, &source, end), answering(lab, end))?;
        Ok((came, answered))
    };
    let (published, (came, answered)) = during(stage, LENGTH, trouble).await?;
    let refused = counted_by(lab, RULE).await?.saturating_sub(before);
    ensure!(
        came > 0 && refused > 0,
        "proves nothing: {came} connections came about, {RULE} refused {refused}"
    );
    published
        .arrives(format!(
            "meanwhile one source got {came} connections, {RULE} refused {refused} packets, and the listener on \
             loopback answered {answered} times of {answered}"
        ))
        .await
}

async fn flooding(lab: &Lab, source: &str, end: Instant) -> Result<u64> {
    let (target, port) = (
        lab.topology.wan.host(ROUTER).v4.to_string(),
        MQTT_PORT.to_string(),
    );
    let mut came = 0;
    while Instant::now() < end {
        came += python(
            &lab.stranger,
            FLOODING,
            &[source, &target, &port, CONNECTIONS],
        )
        .await?;
    }
    Ok(came)
}

async fn answering(lab: &Lab, end: Instant) -> Result<usize> {
    let target = [tcp([127, 0, 0, 1].into(), MQTT_LOOPBACK_PORT)];
    let mut answered = 0;
    while Instant::now() < end {
        let outcomes = attempt(&lab.bastion, "root", &target).await?;
        ensure!(
            outcomes.iter().all(lab::probe::Outcome::got_through),
            "promise broken: during a flood the listener on loopback does not answer: {outcomes:?}"
        );
        answered += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(answered)
}
