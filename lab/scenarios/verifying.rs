//! `bastion verify` on the lab's bastion: what it finds, and what it must not complain about.

use anyhow::{Context as _, Result, ensure};
use lab::roles::bastion;

use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "bastion::verify_judges_the_rules_of_others",
        rules_of_others
    )]
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
