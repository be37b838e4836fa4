//! The broker itself under programs that mean it no good: what their accounts may not do, and what
//! they may do, but must not hurt others with.
//!
//! What could hurt a broker is done to that of the bastion in the LAN, which serves nobody else here.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::probe::{attempt, tcp};
use lab::roles::ill_will::{act, begin, log, order, until};
use lab::roles::router::FLAT_PORT;
use lab::site_file::CHECK_ACCOUNT;
use lab::topology::{FLAT, ROUTER};
use serde_json::{Value, json};
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::manifest::MOSQUITTO_CONF_PATH;

use crate::shared::{Scenario, Stage, scenario};

/// Far more than a meter has; each with a message that the broker keeps.
const TOPICS: usize = 100_000;
/// What the broker may need for them.
const TOPICS_MIB: u64 = 128;
/// Payloads on both sides of `max_packet_size`.
const LARGE: usize = 1_000_000;
const SMALLER: usize = 250_000;
/// A listener that is small enough to be filled in a moment.
const SMALL_LISTENER: usize = 60;
/// The broker counts in its own way; those beyond it closes itself.
const BEYOND: usize = 5;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("hardening::a_hundred_thousand_topics_are_borne", topics),
        scenario!("hardening::a_payload_of_a_megabyte_is_refused", payload),
        scenario!(
            "hardening::a_full_listener_leaves_the_one_on_loopback",
            silent
        ),
    ]
}

/// The one meter of the bastion in the LAN, and what it does there from the Internet.
fn as_its_meter(lab: &Lab, more: Value) -> Result<Value> {
    let meter = lab.flat.site.meters.first().context("no meter")?;
    let broker = (lab.topology.wan.host(ROUTER).v4, FLAT_PORT);
    let topic = json!({ "topic": format!("{}/info", meter.prefix) });
    let mut order = order(broker, &meter.id, &lab.flat.secrets, topic)?;
    if let (Value::Object(order), Value::Object(more)) = (&mut order, more) {
        order.extend(more);
    }
    Ok(order)
}

/// A reader in the LAN begins to hear what the meter says.
async fn reader_hears(lab: &Lab, name: &str, filter: &str) -> Result<()> {
    let broker = (lab.topology.lan.host(FLAT).v4, MQTT_PORT);
    let hear = json!({ "what": "hear", "filter": filter });
    let order = order(broker, CHECK_ACCOUNT, &lab.flat.secrets, hear)?;
    begin(&lab.collector, name, &order, "subscribed").await
}

/// The broker's process, and the MiB that it holds in memory.
async fn broker(lab: &Lab) -> Result<(String, u64)> {
    let said = lab
        .flat
        .node
        .script("pid=$(pidof mosquitto); echo $pid; awk '/^VmRSS/ { print int($2 / 1024) }' /proc/$pid/status")
        .await?;
    let mut lines = said.lines();
    let pid = lines.next().context("no broker runs")?.to_owned();
    let memory = lines.next().context("no figure")?.trim();
    Ok((
        pid,
        memory
            .parse()
            .with_context(|| format!("the memory {memory}"))?,
    ))
}

/// Brings the broker in the LAN back as it was rendered.
async fn fresh(lab: &Lab) -> Result<()> {
    lab.flat
        .node
        .script(&format!(
            "for pid in $(pidof mosquitto); do kill -KILL $pid; done
             while pidof mosquitto >/dev/null; do sleep 0.05; done
             setsid mosquitto -c {MOSQUITTO_CONF_PATH} >>/var/log/mosquitto.log 2>&1 &"
        ))
        .await?;
    answers(lab, MQTT_LOOPBACK_PORT).await
}

/// Waits until the broker answers on loopback.
async fn answers(lab: &Lab, port: u16) -> Result<()> {
    let target = [tcp([127, 0, 0, 1].into(), port)];
    eventually("the broker in the LAN", Duration::from_secs(15), || async {
        let outcomes = attempt(&lab.flat.node, "root", &target).await?;
        Ok(match outcomes.first() {
            Some(outcome) if outcome.got_through() => Look::Done(()),
            outcome => Look::NotYet(format!("{outcome:?}")),
        })
    })
    .await
}

/// A meter may name its relays as it likes, so it has so many topics. Others must not notice.
async fn topics(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.flat_turn.lock().await;
    let shown = many_topics(lab).await;
    fresh(lab).await?;
    shown
}

async fn many_topics(lab: &Lab) -> Result<String> {
    let name = "hear-topics";
    let (pid, before) = broker(lab).await?;
    let meter = lab.flat.site.meters.first().context("no meter")?;
    let last = format!("{}/info", meter.prefix);
    reader_hears(lab, name, &last).await?;
    let order = as_its_meter(
        lab,
        json!({ "what": "topics", "topic": format!("{}/relay", meter.prefix), "count": TOPICS }),
    )?;
    let seconds = act(&lab.stranger, name, &order).await?;
    let order = as_its_meter(lab, json!({ "what": "payload", "topic": last, "size": 5 }))?;
    let said = act(&lab.stranger, name, &order).await?;
    ensure!(
        said == "acknowledged",
        "promise broken: after {TOPICS} topics a meter's next message is {said}"
    );
    until(&lab.collector, name, &format!("{last} 5")).await?;
    let (still, after) = broker(lab).await?;
    lab.collector.end(name, "KILL").await?;
    ensure!(pid == still, "promise broken: the broker was started anew");
    ensure!(
        after > before && after < TOPICS_MIB,
        "promise broken: {TOPICS} topics bring the broker from {before} MiB to {after}"
    );
    Ok(format!(
        "{TOPICS} retained messages of one meter in {seconds} s: the broker grows from {before} MiB to {after}, keeps \
         them until it is started anew, and a reader still hears the next message"
    ))
}

/// The twin is a payload a little below the limit.
async fn payload(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.flat_turn.lock().await;
    let name = "hear-payload";
    let meter = lab.flat.site.meters.first().context("no meter")?;
    let topic = format!("{}/info", meter.prefix);
    reader_hears(lab, name, &topic).await?;
    let mut said = Vec::new();
    for size in [LARGE, SMALLER] {
        let order = as_its_meter(lab, json!({ "what": "payload", "size": size }))?;
        said.push(act(&lab.stranger, name, &order).await?);
    }
    // The broker delivers in order: what is not heard by now never comes.
    let heard = until(&lab.collector, name, &format!("{topic} {SMALLER}")).await?;
    lab.collector.end(name, "KILL").await?;
    ensure!(
        !heard.contains(&LARGE.to_string())
            && said.first().is_some_and(|said| said.starts_with("closed")),
        "promise broken: a payload of {LARGE} bytes got through: {said:?}"
    );
    Ok(format!(
        "a payload of {LARGE} bytes: {}; one of {SMALLER} reaches the reader",
        said.join(", then ")
    ))
}

/// Everybody outside is shut out then, readers too; the bastion's own programs are not.
async fn silent(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.flat_turn.lock().await;
    let node = &lab.flat.node;
    let small = "/etc/mosquitto/small.conf";
    node.script(&format!(
        "sed 's/^max_connections [0-9]\\{{3,\\}}$/max_connections {SMALL_LISTENER}/' {MOSQUITTO_CONF_PATH} >{small}
         grep -q '^max_connections {SMALL_LISTENER}$' {small}
         for pid in $(pidof mosquitto); do kill -KILL $pid; done
         while pidof mosquitto >/dev/null; do sleep 0.05; done
         setsid mosquitto -c {small} >>/var/log/mosquitto.log 2>&1 &"
    ))
    .await?;
    let shown = filled(lab).await;
    lab.stranger.run(&["touch", UNTIL]).await?;
    fresh(lab).await?;
    shown
}

const UNTIL: &str = "/tmp/silent-until";

async fn filled(lab: &Lab) -> Result<String> {
    answers(lab, MQTT_LOOPBACK_PORT).await?;
    let speak = || async {
        let order = as_its_meter(lab, json!({ "what": "payload", "size": 10 }))?;
        let said = act(&lab.meters, "speak", &order).await;
        Ok::<_, anyhow::Error>(said.unwrap_or_else(|_| "refused".to_owned()))
    };
    ensure!(
        speak().await? == "acknowledged",
        "proves nothing: the listener lets nobody in before it is full"
    );
    let order = as_its_meter(
        lab,
        json!({ "what": "silent", "count": SMALL_LISTENER + BEYOND, "until": UNTIL }),
    )?;
    lab.stranger.script(&format!("rm -f {UNTIL}")).await?;
    begin(&lab.stranger, "silent", &order, "held").await?;
    let said = log(&lab.stranger, "silent").await;
    let full = speak().await?;
    ensure!(
        full != "acknowledged",
        "proves nothing: {said} silent connections do not fill the listener"
    );
    // The bastion's own programs come in by the other listener.
    answers(lab, MQTT_LOOPBACK_PORT)
        .await
        .context("promise broken: a full listener shuts the bastion's own programs out")?;
    let health = health(lab).await?;
    lab.stranger.run(&["touch", UNTIL]).await?;
    eventually(
        "a meter to get in again",
        Duration::from_secs(20),
        || async {
            Ok(match speak().await?.as_str() {
                "acknowledged" => Look::Done(()),
                other => Look::NotYet(other.to_owned()),
            })
        },
    )
    .await
    .context("promise broken: the listener stays full when the silent connections have gone")?;
    Ok(format!(
        "{SMALL_LISTENER} connections that say nothing fill the listener (a meter then: {full}); the one on loopback \
         goes on ({health}); once they end, meters get in again"
    ))
}

/// The health check's own account passes a message on, by the listener on loopback.
async fn health(lab: &Lab) -> Result<String> {
    let verified = lab
        .flat
        .node
        .script(&format!(
            "python3 - <<'CHECK'
import socket
s = socket.create_connection(('127.0.0.1', {MQTT_LOOPBACK_PORT}), 5)
s.sendall(bytes.fromhex('100c00044d5154540402003c0000'))
print('it answers a login: ' + s.recv(4).hex())
CHECK"
        ))
        .await?;
    ensure!(
        verified.contains("20020005"),
        "the listener on loopback answers a login without an account by {verified}"
    );
    Ok(verified.trim().to_owned())
}
