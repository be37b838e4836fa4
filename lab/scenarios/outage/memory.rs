//! What is remembered is lost or trimmed, and two collectors know nothing of each other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use deploy::render::{COLLECTOR_FOLDER, collector_files};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::judge;
use lab::node::Upload;
use lab::roles::{collector, journal};
use lab::site_file::SECOND_COLLECTOR;
use serde_json::Value;
use site::daemon::JOURNAL_FOLDER;

use super::run::{self, all_run, all_taken, cursor, during, more_is_stored};
use crate::shared::{Scenario, Stage, scenario};

const LENGTH: Duration = Duration::from_secs(8);
const IN_TIME: Duration = Duration::from_secs(40);
/// Noise, more than a segment of the journal holds and each message too small to be cut; and the bytes
/// that the daemon shall keep then.
const NOISE_MESSAGES: usize = 250;
const NOISE_BYTES: usize = 40_000;
const KEPT_BYTES: u64 = 1 << 20;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("outage::cursor_deleted", alone, cursor_deleted),
        scenario!("outage::two_collectors_at_once", alone, two_collectors).only_in_full(),
        scenario!("outage::journal_trimmed_unread", alone, trimmed).only_in_full(),
        scenario!(
            "outage::journal_replaced_by_an_older_copy",
            alone,
            older_copy
        )
        .only_in_full(),
        scenario!(
            "outage::journal_replaced_by_an_older_copy",
            alone,
            older_copy
        )
        .only_in_full(),
    ]
}

/// Everything is fetched again, and nothing is doubled.
async fn cursor_deleted(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        lab.collector.end(collector::NAME, "TERM").await?;
        let forget = format!("rm {}/cursor-*.json", collector::STATE);
        lab.collector.script(&forget).await?;
        let before = journal::report(&lab.bastion).await?;
        collector::start(&lab.collector).await?;
        Ok(before.journal.newest + 1 - before.journal.oldest)
    };
    let (published, again) = during(stage, LENGTH, trouble).await?;
    all_taken(lab).await?;
    let received = status(lab).await?;
    let received = received.get("received").and_then(Value::as_u64);
    let received = received.context("the status has no count of what was received")?;
    ensure!(
        received >= again,
        "proves nothing: {received} messages received, {again} were there to be fetched again"
    );
    let happened = format!("cursor deleted, {again} records fetched again");
    published.arrives(happened).await
}

/// The collector's status, as it writes it while it runs: waits for one that is new.
async fn status(lab: &Lab) -> Result<Value> {
    let path = format!("{}/status.json", collector::STATE);
    lab.collector.run(&["rm", "-f", &path]).await?;
    // It is written at its end, too.
    lab.collector.end(collector::NAME, "TERM").await?;
    let text = lab.collector.run(&["cat", &path]).await?;
    collector::start(&lab.collector).await?;
    serde_json::from_str(&text).context("reading the collector's status")
}

fn reader(lab: &Lab, name: &str) -> Result<site::Reader> {
    let mut readers = lab.site.readers.iter();
    let found = readers.find(|reader| reader.name == name);
    found
        .cloned()
        .with_context(|| format!("the lab's site has no reader {name}"))
}

/// Another collector on the same machine, with an account and a memory of its own.
async fn start_second(lab: &Lab) -> Result<()> {
    let second = reader(lab, SECOND_COLLECTOR)?;
    let files = collector_files(&lab.site, &lab.site.bastions, &second, &lab.secrets)?;
    let folder = format!("/etc/{SECOND_COLLECTOR}");
    let state = format!("/var/lib/{SECOND_COLLECTOR}");
    let mut uploads = Vec::new();
    for file in files {
        let text = String::from_utf8(file.content).context("settings of a collector")?;
        uploads.push(Upload {
            path: file.path.replace(COLLECTOR_FOLDER, &folder),
            mode: file.mode,
            content: text
                .replace(COLLECTOR_FOLDER, &folder)
                .replace(collector::STATE, &state)
                .into_bytes(),
        });
    }
    lab.collector.upload(&uploads).await?;
    lab.collector.run(&["mkdir", "-p", &state]).await?;
    let settings = format!("{folder}/collector.toml");
    let command = [collector::PROGRAM, "run", "--config", &settings];
    lab.collector.spawn(SECOND_COLLECTOR, &command).await
}

async fn two_collectors(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        start_second(lab).await
    };
    let (published, ()) = during(stage, LENGTH, trouble).await?;
    all_taken(lab).await?;
    let newest = journal::report(&lab.bastion).await?.journal.newest;
    eventually("the second collector to have all", IN_TIME, || async {
        let taken = run::reader(lab, SECOND_COLLECTOR).await?.1.taken;
        Ok(if taken >= newest {
            Look::Done(())
        } else {
            Look::NotYet(format!("{taken} of {newest}"))
        })
    })
    .await?;
    lab.collector.end(SECOND_COLLECTOR, "TERM").await?;
    let happened = format!("two collectors wrote all of {newest} records side by side");
    published.arrives(happened).await
}

/// What was trimmed before it was fetched is gone, and both ends say how much that is.
async fn trimmed(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    all_run(lab).await?;
    all_taken(lab).await?;
    let trouble = async {
        more_is_stored(lab).await?;
        lab.collector.end(collector::NAME, "TERM").await?;
        let stored = cursor(lab).await?;
        tokio::time::sleep(LENGTH / 4).await;
        lab.bastion.end(journal::DAEMON, "TERM").await?;
        let mut kept = 0;
        journal::change_settings(&lab.bastion, |settings| {
            kept = settings.keep.bytes;
            settings.keep.bytes = KEPT_BYTES;
        })
        .await?;
        journal::start_daemon(&lab.bastion).await?;
        make_noise(lab).await?;
        let report = eventually("the journal to be trimmed", IN_TIME, || async {
            let report = journal::report(&lab.bastion).await?;
            Ok(if report.journal.oldest > stored + 1 {
                Look::Done(report)
            } else {
                let (journal, cut) = (&report.journal, report.counted.cut);
                Look::NotYet(format!(
                    "records {} to {}, {} bytes, {cut} cut",
                    journal.oldest, journal.newest, journal.bytes
                ))
            })
        })
        .await?;
        lab.bastion.end(journal::DAEMON, "TERM").await?;
        journal::change_settings(&lab.bastion, |settings| settings.keep.bytes = kept).await?;
        journal::start_daemon(&lab.bastion).await?;
        collector::start(&lab.collector).await?;
        Ok((stored, report))
    };
    let (published, (stored, report)) = during(stage, 2 * LENGTH, trouble).await?;
    all_taken(lab).await?;
    let gone = report.journal.oldest - 1 - stored;
    let said = status(lab).await?;
    let said = said.get("trimmed").and_then(Value::as_u64);
    ensure!(
        said == Some(gone),
        "promise broken: {gone} records were trimmed unread, and the collector says {said:?}"
    );
    let difference = judge::compare(&published.sent, &published.stored().await?);
    let last_lost = difference.lost_at.iter().map(|(_, at)| *at).max();
    ensure!(
        !difference.lost.is_empty()
            && difference.doubled.is_empty()
            && difference.moved.is_empty()
            && difference.invented.is_empty()
            && last_lost.is_some(),
        "promise broken: {gone} records were trimmed unread; {difference}"
    );
    let verdict = format!(
        "{} readings compared: {} lost with these records, 0 doubled, 0 moved, 0 invented; largest shift {} ms",
        difference.compared,
        difference.lost.len(),
        difference.largest_shift_ns / 1_000_000
    );
    let happened = format!("journal trimmed, {gone} records unread, and the collector says so");
    Ok(published.said(happened, verdict))
}

/// Large messages of a meter, that no compression makes small.
async fn make_noise(lab: &Lab) -> Result<()> {
    let (meter, topic) = crate::delivery::first_spare(lab)?;
    let login = lab::roles::mqtt::Login::Account(meter);
    let lines = format!(
        "for i in $(seq {NOISE_MESSAGES}); do head -c {NOISE_BYTES} /dev/urandom | base64 -w 0; echo; done"
    );
    lab::roles::mqtt::publish_lines(lab, &lab.stranger, login, 1, &topic, &lines).await
}

const COPY: &str = "/root/older-copy";

/// As when somebody writes yesterday's image on the card: the journal has the same name, and gives
/// numbers anew that it had given before. The collector notices, and reads all of it again.
async fn older_copy(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    all_run(lab).await?;
    all_taken(lab).await?;
    let files = "*.segment readers";
    exchange(
        lab,
        &format!("rm -rf {COPY}; mkdir {COPY}; cd {JOURNAL_FOLDER}; cp -a {files} {COPY}/"),
    )
    .await?;
    let copied = journal::report(&lab.bastion).await?.journal.newest;
    let (newer, ()) = during(stage, LENGTH, more_is_stored(lab)).await?;
    newer.arrives("what the copy does not have").await?;
    all_taken(lab).await?;
    let stored = cursor(lab).await?;
    ensure!(
        stored > copied,
        "proves nothing: record {stored} is stored, and the copy goes to {copied}"
    );
    exchange(
        lab,
        &format!("cd {JOURNAL_FOLDER}; rm {files}; cp -a {COPY}/* .; rm -r {COPY}"),
    )
    .await?;
    let (published, ()) = during(stage, LENGTH, async { Ok(()) }).await?;
    all_taken(lab).await?;
    let noticed = status(lab).await?;
    let noticed = noticed.get("misfits").and_then(Value::as_u64);
    ensure!(
        noticed > Some(0),
        "promise broken: the collector did not notice that its cursor is of another journal"
    );
    let happened = format!(
        "journal of {stored} records replaced by a copy of {copied}, noticed by the collector"
    );
    newer.and(published).arrives(happened).await
}

/// Does something to the journal's files while no daemon has them.
async fn exchange(lab: &Lab, script: &str) -> Result<()> {
    lab.bastion.end(journal::DAEMON, "TERM").await?;
    lab.bastion.script(&format!("set -e; {script}")).await?;
    journal::start_daemon(&lab.bastion).await
}
