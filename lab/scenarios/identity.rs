//! Nobody speaks as another, and nobody hears another: the broker's accounts and access rules.
//!
//! Refusals are judged at the reader: the broker answers a forger as it answers anybody. After
//! each forgery a genuine message follows; the broker delivers in order, so once that one is
//! heard, a forged one that was not heard before will never come.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::roles::mqtt::{Login, listen, publish, publish_as};

use crate::delivery::spare;
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("identity::anonymous_is_refused", anonymous),
        scenario!("identity::a_wrong_password_is_refused", wrong_password),
        scenario!(
            "identity::a_meter_cannot_publish_for_another",
            another_topic
        ),
        scenario!(
            "identity::a_meter_cannot_command_itself_or_another",
            commands
        ),
        scenario!(
            "identity::a_meter_cannot_take_over_anothers_session",
            another_client_id
        ),
        scenario!("identity::a_meter_cannot_hear_others", hearing_others),
        scenario!(
            "identity::without_accounts_and_rules_all_of_it_gets_through",
            without_rules
        ),
        scenario!(
            "identity::a_meter_cannot_read_the_brokers_own_topics",
            broker_topics
        ),
    ]
}

/// A forged reading, then a genuine one of the same topic: the reader must hear the second only.
pub(crate) async fn forge(
    stage: &Stage,
    number: usize,
    forger: Login<'_>,
    forged: &str,
    genuine: &str,
) -> Result<bool> {
    let lab = &stage.lab;
    let (meter, prefix) = spare(lab, number)?;
    let topic = format!("{prefix}/emeter/0/power");
    let reader = stage.reader().await?;
    let answer = publish(lab, &lab.stranger, forger, &topic, forged).await?;
    let genuine_answer =
        publish(lab, &lab.stranger, Login::Account(meter), &topic, genuine).await?;
    genuine_answer
        .success()
        .context("the genuine meter cannot publish")?;
    let heard = reader.heard_until(&format!("{topic} {genuine}")).await?;
    ensure!(
        !heard.contains(forged),
        "promise broken: the reader heard the forged value {forged}"
    );
    Ok(answer.code == 0)
}

async fn anonymous(stage: &Stage) -> Result<String> {
    let accepted = forge(stage, 3, Login::Anonymous, "66.01", "42.01").await?;
    ensure!(
        !accepted,
        "promise broken: the broker lets somebody in without an account"
    );
    Ok(
        "no account: refused at login; the same topic with its own account reaches the reader"
            .to_owned(),
    )
}

async fn wrong_password(stage: &Stage) -> Result<String> {
    let (meter, _) = spare(&stage.lab, 4)?;
    let accepted = forge(stage, 4, Login::WrongPassword(meter), "66.02", "42.02").await?;
    ensure!(
        !accepted,
        "promise broken: the broker lets somebody in with a wrong password"
    );
    Ok("wrong password: refused at login; the right one reaches the reader".to_owned())
}

async fn another_topic(stage: &Stage) -> Result<String> {
    let (other, _) = spare(&stage.lab, 6)?;
    forge(stage, 5, Login::Account(other), "66.03", "42.03").await?;
    Ok(format!(
        "{other} publishing below another meter's prefix: the reader hears nothing of it"
    ))
}

async fn commands(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (meter, prefix) = spare(lab, 7)?;
    let reader = stage.reader().await?;
    let own = [
        format!("{prefix}/relay/0/command"),
        format!("{prefix}/command"),
    ];
    for topic in &own {
        publish(lab, &lab.stranger, Login::Account(meter), topic, "66.04").await?;
    }
    let topic = format!("{prefix}/relay/0");
    publish(lab, &lab.stranger, Login::Account(meter), &topic, "42.04")
        .await?
        .success()?;
    // The reader may read everything below the meter's prefix, its command topics included.
    let heard = reader.heard_until(&format!("{topic} 42.04")).await?;
    ensure!(
        !heard.contains("66.04"),
        "promise broken: a meter's password is enough to command its relay"
    );
    // The commands to all meters are heard by meters only, so a meter is the judge of those.
    let (other, _) = spare(lab, 14)?;
    let heard = deaf(
        stage,
        other,
        "shellies/command",
        "/root/commands.txt",
        || async {
            publish(
                lab,
                &lab.stranger,
                Login::Account(meter),
                "shellies/command",
                "66.04",
            )
            .await?;
            publish(lab, &lab.stranger, Login::Account(meter), &topic, "42.09")
                .await?
                .success()?;
            Ok(format!("{topic} 42.09"))
        },
    );
    ensure!(
        !heard.await?,
        "promise broken: a meter's password is enough to command all meters"
    );
    Ok(format!(
        "{} command topics refused to a meter; its relay state is heard",
        own.len() + 1
    ))
}

/// The twin of all refusals here: with a broker that has no accounts and no rules, the same
/// clients get through, and the same kind of listener hears it.
async fn without_rules(stage: &Stage) -> Result<String> {
    let node = &stage.lab.neighbour;
    open_broker(stage, "1998").await?;
    let file = "/root/open.txt";
    let listen =
        format!("exec stdbuf -oL mosquitto_sub -d -p 1998 -q 1 -t '#' -F '%t %p' >{file} 2>&1");
    node.spawn("open-listener", &["sh", "-c", &listen]).await?;
    let log = || async { node.run(&["cat", file]).await };
    let waits = |word: String| async move {
        eventually(
            format!("the listener to tell `{word}`"),
            Duration::from_secs(10),
            || async {
                let log = log().await.unwrap_or_default();
                Ok(if log.contains(&word) {
                    Look::Done(())
                } else {
                    Look::NotYet(log)
                })
            },
        )
        .await
    };
    waits("Subscribed".to_owned()).await?;
    let topics = [
        "shellies/any/emeter/0/power",
        "shellies/any/relay/0/command",
        "shellies/command",
    ];
    for topic in topics {
        let forge = [
            "mosquitto_pub",
            "-p",
            "1998",
            "-q",
            "1",
            "-t",
            topic,
            "-m",
            "66.06",
        ];
        node.run(&forge).await?;
        waits(format!("{topic} 66.06")).await?;
    }
    Ok(format!(
        "a broker without accounts and rules lets {} kinds of forgery through to a listener",
        topics.len()
    ))
}

async fn another_client_id(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (victim, prefix) = spare(lab, 8)?;
    let (forger, _) = spare(lab, 9)?;
    let host = &lab.site.public.host;
    let sessions = "/root/victim.txt";
    listen(
        lab,
        &lab.meters,
        host,
        Login::Account(victim),
        &format!("{prefix}/command"),
        sessions,
    )
    .await?;
    let log = || async { lab.bastion.run(&["cat", "/var/log/mosquitto.log"]).await };
    let count = |log: &str, what: &str| {
        log.lines()
            .filter(|line| line.contains(victim) && line.contains(what))
            .count()
    };
    eventually("the victim's session", Duration::from_secs(10), || async {
        let log = log().await?;
        Ok(
            if count(&log, " connected ").max(count(&log, "New client connected")) > 0 {
                Look::Done(())
            } else {
                Look::NotYet(log.lines().last().unwrap_or_default().to_owned())
            },
        )
    })
    .await?;
    let thrown_out = "already connected";
    let before = count(&log().await?, thrown_out);
    let marker = format!("{prefix}/info");
    publish_as(
        lab,
        &lab.stranger,
        Login::Account(forger),
        Some(victim),
        &marker,
        "66.05",
    )
    .await?;
    let after = count(&log().await?, thrown_out);
    ensure!(
        after == before,
        "promise broken: a foreign account took over the session of {victim}"
    );
    // The twin: with the victim's own account the session is taken over, so the log would tell.
    publish_as(
        lab,
        &lab.stranger,
        Login::Account(victim),
        Some(victim),
        &marker,
        "42.05",
    )
    .await?
    .success()?;
    let twin = count(&log().await?, thrown_out);
    ensure!(
        twin > before,
        "proves nothing: the log does not tell when a session is taken over"
    );
    let heard = stage.reader().await?.heard_until("42.05").await?;
    ensure!(
        !heard.contains("66.05"),
        "promise broken: the reader heard the forged value"
    );
    Ok(
        "asking for another meter's client id takes over nothing; the meter's own account does"
            .to_owned(),
    )
}

async fn hearing_others(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (curious, _) = spare(lab, 10)?;
    let (other, prefix) = spare(lab, 11)?;
    let heard = deaf(stage, curious, "#", "/root/curious.txt", || async {
        let topic = format!("{prefix}/emeter/0/voltage");
        publish(lab, &lab.meters, Login::Account(other), &topic, "42.06")
            .await?
            .success()?;
        Ok(format!("{topic} 42.06"))
    });
    ensure!(
        !heard.await?,
        "promise broken: a meter that subscribes to # hears others"
    );
    Ok("a meter that subscribes to # hears nothing; the reader hears the same message".to_owned())
}

/// The twin is a broker beside ours, without access rules: there `$SYS` is heard.
async fn broker_topics(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let (meter, _) = spare(lab, 12)?;
    let (other, prefix) = spare(lab, 13)?;
    open_broker(stage, "1999").await?;
    let heard = deaf(stage, meter, "$SYS/#", "/root/sys.txt", || async {
        let topic = format!("{prefix}/emeter/0/voltage");
        publish(lab, &lab.meters, Login::Account(other), &topic, "42.07")
            .await?
            .success()?;
        Ok(format!("{topic} 42.07"))
    });
    ensure!(
        !heard.await?,
        "promise broken: a meter reads the broker's own topics"
    );
    Ok("a meter hears nothing of $SYS; a broker without rules tells it to anybody".to_owned())
}

/// Starts a broker without accounts and rules beside ours, and waits until it tells its version:
/// there `$SYS` is heard.
pub(crate) async fn open_broker(stage: &Stage, port: &str) -> Result<()> {
    let node = &stage.lab.neighbour;
    node.spawn("open-broker", &["mosquitto", "-p", port])
        .await?;
    let ask = [
        "timeout",
        "10",
        "mosquitto_sub",
        "-p",
        port,
        "-t",
        "$SYS/broker/version",
        "-C",
        "1",
    ];
    eventually(
        "a broker without rules to tell its version",
        Duration::from_secs(10),
        || async {
            let output = node.exec("root", &ask).await?;
            Ok(if output.stdout.contains("mosquitto") {
                Look::Done(())
            } else {
                Look::NotYet(output.stderr)
            })
        },
    )
    .await
}

/// Subscribes as a meter, waits until the broker has answered, lets something be said that the
/// reader in the LAN hears, and tells whether the meter heard anything by then.
pub(crate) async fn deaf<F: Future<Output = Result<String>>>(
    stage: &Stage,
    account: &str,
    filter: &str,
    file: &str,
    speak: impl FnOnce() -> F,
) -> Result<bool> {
    let lab = &stage.lab;
    let reader = stage.reader().await?;
    listen(
        lab,
        &lab.stranger,
        &lab.site.public.host,
        Login::Account(account),
        filter,
        file,
    )
    .await?;
    let log = || async { lab.stranger.run(&["cat", file]).await };
    eventually(
        format!("the broker to answer {account}"),
        Duration::from_secs(10),
        || async {
            let log = log().await?;
            Ok(if log.contains("Subscribed") {
                Look::Done(())
            } else {
                Look::NotYet(log)
            })
        },
    )
    .await?;
    reader.heard_until(&speak().await?).await?;
    Ok(log().await?.contains("received PUBLISH"))
}
