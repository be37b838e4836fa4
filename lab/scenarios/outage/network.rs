//! The ways between the machines fail: a cable, the router, the Internet on a bad day.

use std::time::Duration;

use actors::weather::Done;
use anyhow::{Result, ensure};
use lab::Lab;
use lab::probe::{Outcome, attempt, tcp};
use lab::roles::router;
use lab::topology::BASTION;
use site::flow::MQTT_PORT;

use super::broker::{judged, judged_within};
use super::run::{during, more_is_stored};
use crate::shared::{Scenario, Stage, scenario};

/// How long something is away. It is the trouble itself, and no wait for anything.
const LENGTH: Duration = Duration::from_secs(10);
/// On such a way a meter may need many seconds to get in.
const BAD_WEATHER: Duration = Duration::from_secs(40);
/// A bad day on the Internet, in each direction.
const DELAY_MS: u64 = 300;
const LOSS_PERCENT: u8 = 5;
/// A lost packet is sent again after a second and more on such a way, and the next try takes twice
/// as long: so much later may a reading arrive, whatever anybody does.
const SENT_AGAIN_NS: u64 = 15_000_000_000;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("outage::link_cut_and_healed", alone, link_cut).only_in_full(),
        scenario!("outage::router_restarted", alone, router_restarted).only_in_full(),
        scenario!(
            "outage::internet_slow_and_losing_packets",
            alone,
            bad_weather
        )
        .only_in_full(),
    ]
}

/// As when somebody pulls the collector's cable: nothing is refused, nothing comes.
async fn link_cut(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        ensure!(
            reaches(lab).await?,
            "proves nothing: the link was cut before"
        );
        lab.collector
            .script(
                "nft 'table inet lab_cable {
                     chain in { type filter hook input priority -300; policy drop; iif lo accept; }
                     chain out { type filter hook output priority -300; policy drop; oif lo accept; }
                 }'",
            )
            .await?;
        tokio::time::sleep(LENGTH).await;
        let reaches = reaches(lab).await?;
        lab.collector
            .script("nft delete table inet lab_cable")
            .await?;
        ensure!(!reaches, "proves nothing: the link is not cut");
        Ok(())
    };
    let (published, ()) = during(stage, 2 * LENGTH, trouble).await?;
    let happened = format!("the collector's link cut for {} s", LENGTH.as_secs());
    published.arrives(happened).await
}

/// Whether the collector's machine can begin a connection to the broker.
async fn reaches(lab: &Lab) -> Result<bool> {
    let broker = tcp(lab.topology.dmz.host(BASTION).v4, MQTT_PORT);
    let outcomes = attempt(&lab.collector, "root", &[broker]).await?;
    Ok(outcomes.iter().all(Outcome::got_through))
}

/// It forgets every connection that it had translated, and knows none of them afterwards. What was
/// under way on them is lost with them, as far as nobody had vouched for it.
async fn router_restarted(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        let forgotten = router::switch_off(&lab.router).await?;
        tokio::time::sleep(LENGTH / 4).await;
        let reaches = reaches(lab).await;
        router::switch_on(&lab.router, &lab.topology).await?;
        ensure!(!reaches?, "proves nothing: the router forwards");
        ensure!(
            forgotten > 0,
            "proves nothing: the router knew no connection"
        );
        more_is_stored(lab).await?;
        Ok(forgotten)
    };
    let ran = during(stage, 2 * LENGTH, trouble).await;
    router::settled(&lab.router).await?;
    let (published, forgotten) = ran?;
    let happened =
        format!("router restarted, {forgotten} connections forgotten, and connected anew");
    // The broker was there all the time: it lost nothing.
    judged(&published, &[], &happened).await
}

async fn bad_weather(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let seed = lab.artifacts.seed;
    router::make_weather(&lab.router, DELAY_MS, LOSS_PERCENT, seed).await?;
    let ran = during(stage, BAD_WEATHER, async { Ok(()) }).await;
    let done = router::end_weather(&lab.router).await;
    let (published, ()) = ran?;
    let Done { held, dropped } = done?;
    ensure!(
        held > 0 && dropped > 0,
        "proves nothing: {held} packets held, {dropped} dropped"
    );
    let happened = format!(
        "on the Internet's side of the router {held} packets held for {DELAY_MS} ms each way and {dropped} \
         dropped; judged within {} s, since lost ones are sent again",
        SENT_AGAIN_NS / 1_000_000_000
    );
    // A meter that hears nothing for seconds connects anew; what it had said is in doubt then.
    judged_within(SENT_AGAIN_NS, &published, &[], &happened).await
}
