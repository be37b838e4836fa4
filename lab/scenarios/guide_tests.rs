//! The three tests with which the usual setup guide ends, on the real thing.

use anyhow::{Context as _, Result, ensure};
use lab::roles::bastion;
use lab::roles::mqtt::{Login, publish};
use lab::topology::HOME_SERVER;

use crate::delivery::spare;
use crate::shared::{Scenario, Stage, scenario};

/// What the home server listens on, and one port on which nobody listens.
const PORTS: [u16; 6] = [22, 53, 80, 443, 445, 9];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "guide_tests::publishing_from_the_internet_works_with_an_account",
            publishing
        ),
        scenario!(
            "guide_tests::subscribing_from_the_lan_works_with_a_readers_account",
            subscribing
        ),
        scenario!(
            "guide_tests::scanning_the_lan_from_the_bastion_finds_nothing_open",
            scanning
        ),
    ]
}

async fn publishing(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (meter, prefix) = spare(lab, 1)?;
    let topic = format!("{prefix}/emeter/0/power");
    let output = publish(lab, &lab.stranger, Login::Account(meter), &topic, "41.01").await?;
    output
        .success()
        .context("promise broken: a meter on the Internet cannot publish")?;
    Ok(format!(
        "mosquitto_pub as {meter} through the router's port forward: accepted"
    ))
}

async fn subscribing(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (meter, prefix) = spare(lab, 2)?;
    let topic = format!("{prefix}/emeter/1/power");
    let reader = stage.reader().await?;
    publish(lab, &lab.stranger, Login::Account(meter), &topic, "41.02")
        .await?
        .success()
        .context("publishing")?;
    let heard = reader.heard_until(&format!("{topic} 41.02")).await?;
    ensure!(
        heard.contains(&format!("{topic} 41.02")),
        "the reader heard another topic"
    );
    Ok("mosquitto_sub from the LAN over IPv6 hears what was published on the WAN".to_owned())
}

/// Its twin runs on a neighbour in the same segment, which has no policy: there the same scan
/// reports the ports open.
async fn scanning(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let home_server = lab.topology.lan.host(HOME_SERVER).v4.to_string();
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let scan = [
        "nmap",
        "-Pn",
        "-n",
        "-oG",
        "-",
        "-p",
        &ports,
        "--max-retries",
        "1",
        "--host-timeout",
        "20s",
        &home_server,
    ];
    let _turn = stage.bastion_turn.lock().await;
    let (with, twin) = tokio::try_join!(
        lab.bastion.exec("mosquitto", &scan),
        lab.neighbour.exec("root", &scan)
    )?;
    let (with, twin) = (with.success()?, twin.success()?);
    let open = |listing: &str| -> Vec<u16> {
        PORTS
            .into_iter()
            .filter(|port| listing.contains(&format!("{port}/open/")))
            .collect()
    };
    let refused = |port: &&u16| {
        ["filtered", "closed"]
            .iter()
            .any(|state| with.contains(&format!("{port}/{state}/")))
    };
    ensure!(
        open(&twin) == [22, 53, 80, 443, 445],
        "proves nothing: without a policy the scan finds only {:?} open: {twin}",
        open(&twin)
    );
    ensure!(
        open(&with).is_empty(),
        "promise broken: nmap on the bastion finds {:?} open: {with}",
        open(&with)
    );
    ensure!(
        PORTS.iter().filter(refused).count() == PORTS.len(),
        "nmap does not list every port: {with}"
    );
    let counted = bastion::counters(&lab.bastion).await?;
    let counted = counted
        .iter()
        .find(|(name, _)| name == "refuse-lan-v4")
        .map(|(_, packets)| *packets);
    Ok(format!(
        "nmap -Pn from the bastion: {} ports filtered or closed (refuse-lan-v4 counts {}); from a machine without \
         the policy: {:?} open",
        PORTS.len(),
        counted.unwrap_or_default(),
        open(&twin)
    ))
}
