//! Other ways to speak as another or to hear him: a will, a message that the broker keeps, a shared
//! subscription. Judged at a reader, as in `identity`.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::roles::ill_will::{act, begin, log, order, until};
use lab::roles::mqtt::{Login, publish};
use lab::site_file::SECOND_COLLECTOR;
use lab::topology::{BASTION, ROUTER};
use serde_json::{Value, json};
use site::flow::MQTT_PORT;

use crate::delivery::spare;
use crate::identity::deaf;
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("identity::a_will_speaks_for_its_own_meter_only", wills),
        scenario!("identity::nothing_is_left_behind_for_another", retained),
        scenario!(
            "identity::a_meter_cannot_join_a_shared_subscription",
            shared
        ),
    ]
}

fn as_meter(lab: &Lab, account: &str, more: Value) -> Result<Value> {
    let broker = (lab.topology.wan.host(ROUTER).v4, MQTT_PORT);
    order(broker, account, &lab.secrets, more)
}

/// Two wills of one meter: for another's topic, then for its own, which is the twin.
async fn wills(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (forger, own) = spare(lab, 17)?;
    let (_, other) = spare(lab, 18)?;
    let reader = stage.reader().await?;
    for (prefix, payload) in [(other, "66.17"), (own, "42.17")] {
        let will = json!([format!("{prefix}/info"), payload]);
        let order = as_meter(lab, forger, json!({ "what": "die", "will": will }))?;
        act(&lab.stranger, "will", &order).await?;
    }
    let heard = reader.heard_until(&format!("{own}/info 42.17")).await?;
    ensure!(
        !heard.contains("66.17"),
        "promise broken: a meter's will was published for another"
    );
    Ok("a will for another meter's topic is never heard; one for its own is".to_owned())
}

/// What the broker keeps is told to whoever subscribes later.
async fn retained(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (forger, own) = spare(lab, 19)?;
    let (_, other) = spare(lab, 20)?;
    let name = "hear-retained";
    let retain = |topic: String, payload: &str| {
        let what = json!({ "what": "retain", "topic": topic, "payload": payload });
        as_meter(lab, forger, what)
    };
    for (prefix, payload) in [(other, "poison"), (own, "kept")] {
        let order = retain(format!("{prefix}/info"), payload)?;
        act(&lab.stranger, "retain", &order).await?;
    }
    let broker = (lab.topology.dmz.host(BASTION).v4, MQTT_PORT);
    let hear = json!({ "what": "hear", "filter": "shellies/+/info" });
    let order = order(broker, SECOND_COLLECTOR, &lab.secrets, hear)?;
    begin(&lab.collector, name, &order, "subscribed").await?;
    // Kept messages come first, so behind this one nothing kept is due any more.
    let topic = format!("{own}/info");
    publish(
        lab,
        &lab.stranger,
        Login::Account(forger),
        &topic,
        "behind-it",
    )
    .await?;
    until(&lab.collector, name, &format!("{topic} 9")).await?;
    let heard = log(&lab.collector, name).await;
    lab.collector.end(name, "KILL").await?;
    act(&lab.stranger, "retain", &retain(topic.clone(), "")?).await?;
    ensure!(
        heard.contains(&format!("{topic} 4")),
        "proves nothing: what a meter leaves behind for itself is not heard either"
    );
    ensure!(
        !heard.contains(&format!("{other}/info 6")),
        "promise broken: a meter left something behind for another"
    );
    Ok("a message to be kept for another meter's topic is not; one for its own is told to who subscribes later".to_owned())
}

async fn shared(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (curious, _) = spare(lab, 21)?;
    let (other, prefix) = spare(lab, 22)?;
    let heard = deaf(
        stage,
        curious,
        "$share/any/#",
        "/root/share.txt",
        || async {
            let topic = format!("{prefix}/emeter/0/voltage");
            publish(lab, &lab.meters, Login::Account(other), &topic, "42.22")
                .await?
                .success()?;
            Ok(format!("{topic} 42.22"))
        },
    );
    ensure!(
        !heard.await?,
        "promise broken: a meter hears others by a shared subscription"
    );
    Ok(
        "a meter in a shared subscription to # hears nothing; the reader hears the same message"
            .to_owned(),
    )
}
