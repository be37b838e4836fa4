//! The bastion's own commands, and the lab's promise to leave nothing behind.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use deploy::Rendered;
use lab::roles::bastion;
use lab::roles::mqtt::{Login, publish};
use lab::site_file::{CHECK_ACCOUNT, describe};
use lab::sweep::{Reach, belongings, sweep};
use site::manifest::{FLOWS_PATH, TABLE};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::delivery::METERS;
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("bastion::applying_twice_changes_nothing", applying_twice),
        scenario!(
            "bastion::verify_holds_and_finds_what_was_changed",
            verifying
        ),
        scenario!("bastion::one_more_meter_drops_nobody", one_more_meter),
        scenario!("lab::what_a_killed_lab_leaves_is_swept", sweeping),
        scenario!("bastion::a_damaged_folder_changes_nothing", damaged),
    ]
}

async fn applying_twice(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let rules = || async {
        lab.bastion
            .run(&["nft", "--stateless", "list", "table", "inet", TABLE])
            .await
    };
    bastion::bring(&lab.bastion, &lab.render(&lab.policy)?).await?;
    let planned = bastion::apply(&lab.bastion, &["--dry-run"]).await?;
    ensure!(
        planned.code == 0,
        "a dry run would change something: {}",
        planned.stdout
    );
    let before = rules().await?;
    let said = bastion::apply(&lab.bastion, &[]).await?.success()?;
    ensure!(
        said.contains("nothing to do"),
        "the second apply says: {said}"
    );
    ensure!(
        before == rules().await?,
        "the second apply changed the rules"
    );
    Ok(said.trim().to_owned())
}

/// Accounts are read again while the broker runs, so that nobody's connection drops.
async fn one_more_meter(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    stage.reader().await?;
    let _turn = stage.bastion_turn.lock().await;
    let site = describe(&lab.topology, METERS + 1)?;
    let meter = site.meters.last().context("the site has no meters")?;
    let mut secrets = lab.secrets.clone();
    let added = secrets.complete(&site)?;
    ensure!(
        added == [meter.id.clone()],
        "one more meter gives new accounts to {added:?}"
    );
    let login = Login::Password(&meter.id, secrets.password(&meter.id)?.expose());
    let topic = format!("{}/info", meter.prefix);
    let comes_in = || async {
        Ok::<_, anyhow::Error>(
            publish(lab, &lab.stranger, login, &topic, "42.08")
                .await?
                .code
                == 0,
        )
    };
    let log = || async { lab.bastion.run(&["cat", "/var/log/mosquitto.log"]).await };
    let ended = |log: &str| log.matches(&format!("Client {CHECK_ACCOUNT} ")).count();

    ensure!(
        !comes_in().await?,
        "proves nothing: the meter is let in before it was added"
    );
    let before = ended(&log().await?);
    let rendered = Rendered::with_policy(&site, &lab.description, &secrets, &lab.policy)?;
    bastion::bring(&lab.bastion, &rendered).await?;
    let said = bastion::apply(&lab.bastion, &[]).await?.success()?;
    let let_in = comes_in().await?;
    let after = ended(&log().await?);
    // Whatever came of it, the bastion is left as it was.
    bastion::bring(&lab.bastion, &lab.render(&lab.policy)?).await?;
    bastion::apply(&lab.bastion, &[])
        .await?
        .success()
        .context("taking the meter out again")?;
    ensure!(
        said.contains("mosquitto.service: reads its settings again"),
        "apply says: {said}"
    );
    ensure!(let_in, "promise broken: the added meter is not let in");
    ensure!(
        before == after,
        "promise broken: adding a meter dropped a reader's connection"
    );
    ensure!(
        !comes_in().await?,
        "promise broken: the meter is let in after it was taken out"
    );
    Ok("added: let in at once, nobody dropped; taken out: refused".to_owned())
}

async fn verifying(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let held = bastion::verify(&lab.bastion).await?;
    ensure!(
        held.code == 0,
        "promise broken: verify does not hold: {}",
        held.stdout
    );
    // A hole in our own chain, and a file that somebody touched.
    lab.bastion
        .run(&[
            "nft", "insert", "rule", "inet", TABLE, "output", "tcp", "dport", "9", "accept",
        ])
        .await?;
    lab.bastion
        .script(&format!("echo >> {FLOWS_PATH}; chmod 0666 {FLOWS_PATH}"))
        .await?;
    let broken = bastion::verify(&lab.bastion).await?;
    let repaired = bastion::apply(&lab.bastion, &[])
        .await?
        .success()
        .context("repairing")?;
    let again = bastion::verify(&lab.bastion).await?;
    ensure!(
        broken.code == 1,
        "verify finds nothing broken (exit {}): {}",
        broken.code,
        broken.stdout
    );
    for expected in [
        "firewall: rule without a name in chain output is not ours",
        "flows.json: content differs",
    ] {
        ensure!(
            broken.stdout.contains(expected),
            "verify does not say `{expected}`: {}",
            broken.stdout
        );
    }
    ensure!(
        again.code == 0,
        "apply does not repair: {repaired}{}",
        again.stdout
    );
    Ok(format!(
        "{}; a hole and a touched file were found and repaired",
        held.stdout.lines().last().unwrap_or_default()
    ))
}

async fn damaged(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    bastion::bring(&lab.bastion, &lab.render(&lab.policy)?).await?;
    lab.bastion
        .script(&format!(
            "echo damage >> {}/files{}",
            bastion::RENDERED,
            site::manifest::ACL_PATH
        ))
        .await?;
    let refused = bastion::apply(&lab.bastion, &[]).await?;
    bastion::bring(&lab.bastion, &lab.render(&lab.policy)?).await?;
    let after = bastion::apply(&lab.bastion, &["--dry-run"]).await?;
    ensure!(
        refused.code == 1,
        "a damaged folder was applied: {}",
        refused.stdout
    );
    ensure!(
        refused.stderr.contains("is damaged"),
        "the message does not say why: {}",
        refused.stderr
    );
    ensure!(
        after.code == 0,
        "something was changed all the same: {}",
        after.stdout
    );
    Ok(refused.stderr.lines().last().unwrap_or_default().to_owned())
}

/// Another lab is begun and killed; ours stands beside it all the time.
async fn sweeping(stage: &Stage) -> Result<String> {
    let engine = &stage.lab.engine;
    let mut other = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("wait-to-be-killed")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting another lab")?;
    let mut owner = String::new();
    let output = other.stdout.take().context("the other lab has no output")?;
    BufReader::new(output)
        .read_line(&mut owner)
        .await
        .context("waiting for the other lab")?;
    let owner = owner.trim();
    let own = belongings(engine, &engine.owner).await?;
    sweep(engine, Reach::Abandoned).await?;
    let alive = belongings(engine, owner).await?;
    ensure!(
        alive.len() == 4,
        "a lab that lives was swept, or never stood: {alive:?}"
    );
    other.kill().await.context("killing the other lab")?;
    let left = belongings(engine, owner).await?;
    ensure!(
        left == alive,
        "proves nothing: killed, the other lab left only {left:?}"
    );
    let swept = sweep(engine, Reach::Abandoned).await?;
    let still = belongings(engine, owner).await?;
    ensure!(
        still.is_empty(),
        "after a sweep of {swept:?} there is still {still:?}"
    );
    ensure!(
        belongings(engine, &engine.owner).await? == own,
        "the sweep took something of a lab that lives"
    );
    Ok(format!(
        "SIGKILL left {left:?}; the next sweep took it, and nothing of ours"
    ))
}
