//! Known faults of the usual setup guide, continued: its broker, configured as printed, against the
//! project's. One account serves all meters, its topics are not those that meters use, and what a
//! reader misses while it is away is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::node::Upload;
use lab::roles::mqtt::{self, Login, publish};
use lab::site_file::VISITOR_ACCOUNT;
use lab::topology::BASTION;

use crate::delivery::spare;
use crate::identity::forge;
use crate::shared::{Scenario, Stage, scenario};

/// The guide's `mosquitto.conf`, to the letter.
const CONFIGURATION: &str = "\
listener 1883
allow_anonymous false
password_file /etc/mosquitto/passwd
acl_file /etc/mosquitto/acl
persistence true
persistence_location /var/lib/mosquitto/
log_dest file /var/log/mosquitto/mqtt.log
";
/// The guide's access rules, to the letter.
const RULES: &str = "\
user shelly
topic write shelly/#

user telegraf_reader
topic read shelly/#
";
/// Messages that a reader misses.
const MISSED: usize = 20;
const HEARD: &str = "/root/guide-heard.txt";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("guide_defects::one_account_speaks_for_every_meter", account),
        scenario!(
            "guide_defects::the_meters_own_topics_are_refused",
            root_topic
        ),
        scenario!("guide_defects::what_a_reader_misses_is_lost", queue),
    ]
}

/// Starts the guide's broker and a reader, once; both stay.
async fn broker(stage: &Stage) -> Result<()> {
    let started = stage
        .guides_broker
        .get_or_init(|| async {
            start(&stage.lab)
                .await
                .map_err(|error| format!("{error:#}"))
        })
        .await;
    started
        .clone()
        .map_err(|error| anyhow::anyhow!("the guide's broker: {error}"))
}

async fn start(lab: &Lab) -> Result<()> {
    let node = &lab.guide;
    let file = |path: &str, mode, content: &str| Upload {
        path: path.to_owned(),
        mode,
        content: content.as_bytes().to_vec(),
    };
    node.upload(&[
        file("/etc/mosquitto/guide.conf", 0o644, CONFIGURATION),
        file("/etc/mosquitto/acl", 0o644, RULES),
        // Of no worth to anybody; the program turns it into hashes.
        file(
            "/etc/mosquitto/passwd",
            0o644,
            "shelly:as-printed\ntelegraf_reader:as-printed\n",
        ),
        file(
            "/root/guide/shelly/mosquitto_pub",
            0o600,
            "-u shelly\n-P as-printed\n",
        ),
        file(
            "/root/guide/reader/mosquitto_sub",
            0o600,
            "-u telegraf_reader\n-P as-printed\n",
        ),
    ])
    .await?;
    node.script(
        "mosquitto_passwd -U /etc/mosquitto/passwd
         mkdir -p /var/lib/mosquitto /var/log/mosquitto
         chown mosquitto /var/lib/mosquitto /var/log/mosquitto",
    )
    .await?;
    node.spawn(
        "guides-broker",
        &["mosquitto", "-c", "/etc/mosquitto/guide.conf"],
    )
    .await?;
    let listen = format!(
        "until XDG_CONFIG_HOME=/root/guide/reader stdbuf -oL mosquitto_sub -d -t '#' -F '%t %p' >{HEARD} 2>&1; do sleep 0.2; done"
    );
    node.spawn("guides-reader", &["sh", "-c", &listen]).await?;
    heard(lab, "Subscribed").await.map(drop)
}

/// A meter speaks as the guide sets it up: with the one account.
async fn speak(lab: &Lab, topic: &str, payload: &str) -> Result<()> {
    let node = &lab.guide;
    let speak =
        format!("XDG_CONFIG_HOME=/root/guide/shelly mosquitto_pub -t '{topic}' -m '{payload}'");
    node.script(&speak).await.map(drop)
}

async fn heard(lab: &Lab, word: &str) -> Result<String> {
    eventually(
        format!("the guide's reader to tell {word}"),
        Duration::from_secs(15),
        || async {
            let log = lab.guide.run(&["cat", HEARD]).await.unwrap_or_default();
            Ok(if log.contains(word) {
                Look::Done(log)
            } else {
                Look::NotYet(log.lines().last().unwrap_or_default().to_owned())
            })
        },
    )
    .await
}

async fn account(stage: &Stage) -> Result<String> {
    broker(stage).await?;
    let topic = "shelly/somebody-elses/emeter/0/power";
    speak(&stage.lab, topic, "66.30").await?;
    heard(&stage.lab, &format!("{topic} 66.30"))
        .await
        .context("the guide as printed behaves in another way than recorded")?;
    let (other, _) = spare(&stage.lab, 24)?;
    forge(stage, 23, Login::Account(other), "66.31", "42.31").await?;
    Ok("as printed, whoever has the meters' one password speaks for any of them; with the project each has its own, \
        and a forgery is never heard"
        .to_owned())
}

/// Meters of the first generation publish below `shellies/`, and the name cannot be changed.
async fn root_topic(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    broker(stage).await?;
    let (meter, prefix) = spare(lab, 25)?;
    let topic = format!("{prefix}/emeter/0/power");
    speak(lab, &topic, "42.32").await?;
    speak(lab, "shelly/fence", "behind-the-real-topic").await?;
    let log = heard(lab, "behind-the-real-topic").await?;
    ensure!(
        !log.contains(&topic),
        "the guide as printed behaves in another way than recorded: {topic} is heard"
    );
    let reader = stage.reader().await?;
    publish(lab, &lab.stranger, Login::Account(meter), &topic, "42.32")
        .await?
        .success()?;
    reader.heard_until(&format!("{topic} 42.32")).await?;
    Ok(format!(
        "as printed, the guide's rules drop {topic}, which is what a real meter sends; the project's reader hears it"
    ))
}

/// A reader with a session of its own goes away, meters publish at QoS 0, as the older ones do, and
/// it comes back.
async fn queue(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    broker(stage).await?;
    let session = |options: &str| {
        format!(
            "XDG_CONFIG_HOME=/root/guide/reader timeout 20 mosquitto_sub -c -i away -q 1 -t 'shelly/away' {options} || true"
        )
    };
    lab.guide.script(&session("-E")).await?;
    for n in 0..MISSED {
        speak(lab, "shelly/away", &format!("missed-{n}")).await?;
    }
    let guide = lab.guide.script(&session("-W 2")).await?;
    ensure!(
        !guide.contains("missed-"),
        "the guide as printed behaves in another way than recorded: the reader gets {guide}"
    );
    let (meter, prefix) = spare(lab, 26)?;
    let topic = format!("{prefix}/info");
    let bastion = lab.topology.dmz.host(BASTION).v4.to_string();
    let reader = Login::Account(VISITOR_ACCOUNT);
    mqtt::subscribe_once(lab, &lab.collector, &bastion, reader, &topic, &["-E"]).await?;
    let lines = format!("for n in $(seq {MISSED}); do echo missed-$n; done");
    mqtt::publish_lines(lab, &lab.meters, Login::Account(meter), 0, &topic, &lines).await?;
    let count = MISSED.to_string();
    let project = mqtt::subscribe_once(
        lab,
        &lab.collector,
        &bastion,
        reader,
        &topic,
        &["-C", &count, "-W", "10"],
    )
    .await?;
    let got = project.matches("missed-").count();
    ensure!(
        got == MISSED,
        "promise broken: of {MISSED} messages that a reader missed it gets {got}: {project}"
    );
    Ok(format!(
        "as printed, a reader gets none of {MISSED} messages that came while it was away; the project's broker gives \
         it all of them (and the journal keeps them, see outage::*)"
    ))
}
