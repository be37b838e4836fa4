//! `bastion verify` on the lab's bastion: what it finds, and what it must not complain about.

use anyhow::{Context as _, Result, ensure};
use lab::roles::bastion::{self, LAUNCHER};
use site::account::VERDICT_TOPIC;
use site::answer::{Status, Verdict, Verified};
use site::manifest::TABLE;

use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "bastion::verify_judges_the_rules_of_others",
            rules_of_others
        ),
        scenario!("bastion::verify_tries_as_each_user", probes),
        scenario!(
            "bastion::a_change_of_verdict_is_told_to_readers",
            told_to_readers
        ),
    ]
}

/// A chain that only takes away holds. A NAT rule may lead packets round ours: nobody can tell.
async fn rules_of_others(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let with = async |rules: &str| {
        lab.bastion
            .run(&["nft", &format!("add table ip foreign; {rules}")])
            .await?;
        let said = bastion::verify(&lab.bastion).await;
        lab.bastion.run(&["nft", "delete table ip foreign"]).await?;
        said
    };
    let takes_away = with(
        "add chain ip foreign c { type filter hook input priority -10; }; \
         add rule ip foreign c tcp dport 9 drop",
    )
    .await?;
    let nat = with(
        "add chain ip foreign c { type nat hook output priority 100; }; \
         add rule ip foreign c tcp dport 80 dnat to 192.0.2.1",
    )
    .await?;
    let after = bastion::verify(&lab.bastion).await?;
    ensure!(
        takes_away.code == 0
            && takes_away
                .stdout
                .contains("held         other rules: ip foreign c (filter at input, priority -10)"),
        "a chain that only drops is not held, or not listed (exit {}): {}",
        takes_away.code,
        takes_away.stdout
    );
    let told = nat
        .stdout
        .lines()
        .find(|line| line.contains("other rules: ip foreign c (nat at output, priority 100)"))
        .context("promise broken: verify does not name a foreign NAT chain")?;
    ensure!(
        nat.code == 2 && told.starts_with("not checked") && told.ends_with("rules: dnat"),
        "promise broken: with a foreign NAT rule verify ends with {}: {told}",
        nat.code
    );
    ensure!(
        after.code == 0,
        "verify does not hold any more: {}",
        after.stdout
    );
    Ok(told.to_owned())
}

/// Lets one user out, and brings the rules back.
async fn with_a_hole<T>(stage: &Stage, user: &str, work: impl AsyncFnOnce() -> T) -> Result<T> {
    let lab = &stage.lab;
    lab.bastion
        .run(&[
            "nft", "insert", "rule", "inet", TABLE, "output", "meta", "skuid", user, "accept",
        ])
        .await?;
    let came = work().await;
    bastion::apply(&lab.bastion, &[])
        .await?
        .success()
        .context("bringing the rules back")?;
    Ok(came)
}

/// The daemon that runs in the lab is among the users; for a hole, the probe of that user alone
/// tells, beside the comparison of the rules.
async fn probes(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let counted = async || -> Result<u64> {
        let counters = bastion::counters(&lab.bastion).await?;
        let refusals = counters.iter().filter(|(name, _)| {
            ["refuse-lan-", "refuse-segment-", "refuse-public-"]
                .iter()
                .any(|begin| name.starts_with(begin))
        });
        Ok(refusals.map(|(_, packets)| packets).sum())
    };
    let before = counted().await?;
    let held = bastion::verify(&lab.bastion).await?;
    let after = counted().await?;
    let broken = with_a_hole(stage, "mosquitto", async || {
        bastion::verify(&lab.bastion).await
    })
    .await??;
    let users = [
        "root",
        "nobody",
        "mosquitto",
        "_apt",
        "systemd-timesync",
        "the daemon",
    ];
    for user in users {
        let line = format!("held         probe as {user}\n");
        ensure!(
            held.stdout.contains(&line),
            "no probe as {user} held: {}",
            held.stdout
        );
        let line = format!("BROKEN       probe as {user}: ");
        ensure!(
            broken.stdout.contains(&line) == (user == "mosquitto"),
            "promise broken: with a hole for mosquitto, the probe as {user} says otherwise: {}",
            broken.stdout
        );
    }
    // Each user asks for an address in each of LAN, segment and public addresses.
    let least = u64::try_from(users.len() * 3).unwrap_or(u64::MAX);
    ensure!(
        after - before >= least,
        "the refusals counted {} packets more, for at least {least} attempts",
        after - before
    );
    let told = broken
        .stdout
        .lines()
        .find(|line| line.contains("probe as mosquitto"));
    Ok(format!(
        "{} packets refused; with a hole: {}",
        after - before,
        told.unwrap_or_default()
    ))
}

async fn told_to_readers(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let reader = stage.reader().await?;
    let _turn = stage.bastion_turn.lock().await;
    // As after a start of the machine.
    lab.bastion
        .run(&["rm", "-f", "/run/shelly-bastion-verdict.json"])
        .await?;
    let heard = async || -> Result<Vec<Verified>> {
        let heard = reader.heard().await?;
        let messages = heard
            .lines()
            .filter_map(|line| line.strip_prefix(VERDICT_TOPIC));
        messages
            .map(|message| serde_json::from_str(message.trim()).context("reading a verdict"))
            .collect()
    };
    let run = async |expected: i64| -> Result<()> {
        let said = lab
            .bastion
            .exec("root", &[LAUNCHER, "verify", "--tell"])
            .await?;
        ensure!(
            said.code == expected,
            "verify ends with {}, expected {expected}: {}{}",
            said.code,
            said.stdout,
            said.stderr
        );
        Ok(())
    };
    let begun = heard().await?.len();
    run(0).await?;
    run(0).await?;
    let found = with_a_hole(stage, "nobody", async || {
        run(1).await?;
        run(1).await?;
        let said = lab
            .bastion
            .exec("root", &[LAUNCHER, "status", "--json"])
            .await?;
        let status: Status = serde_json::from_str(&said.stdout).context("reading the status")?;
        status.verified.context("the status shows no verdict")
    })
    .await??;
    run(0).await?;
    // The broker delivers in order: what was said before this and is not heard never comes.
    let all = lab::eventually::eventually(
        "the reader to hear three verdicts",
        std::time::Duration::from_secs(10),
        || async {
            let all = heard().await?.split_off(begun);
            Ok(match all.last() {
                Some(last) if all.len() >= 3 && last.verdict == Verdict::Held => {
                    lab::eventually::Look::Done(all)
                }
                _ => lab::eventually::Look::NotYet(format!("{all:?}")),
            })
        },
    )
    .await?;
    let verdicts: Vec<Verdict> = all.iter().map(|told| told.verdict).collect();
    ensure!(
        verdicts == [Verdict::Held, Verdict::Broken, Verdict::Held],
        "promise broken: five runs with two changes, and readers heard {verdicts:?}"
    );
    let reasons = all.get(1).map(|told| told.not_held.clone());
    ensure!(
        reasons.as_deref() == Some(&["firewall".to_owned(), "probe as nobody".to_owned()]),
        "the verdict rests on {reasons:?}"
    );
    ensure!(
        found.verdict == Verdict::Broken && Some(&found.not_held) == reasons.as_ref(),
        "the status shows another verdict: {found}"
    );
    Ok(format!(
        "five runs, two changes, heard: {verdicts:?}; {found}"
    ))
}
