//! Deployments that are refused before anything changes: lost secrets, another host key, a second
//! deployer.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use deploy::Secrets;
use lab::node::Output;

use crate::deployed::{DEPLOYED, LATER, change_site, one_more_meter, refused, well};
use crate::listing::{HISTORY, IN_PLACE, Listing, RELEASES};
use crate::stage::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::lost_secrets_are_refused", from DEPLOYED, lost_secrets),
        scenario!("pi::host_key_changed_is_refused", from DEPLOYED, host_key),
        scenario!("pi::two_deployers_do_not_meet", from DEPLOYED, two_deployers),
    ]
}

async fn lost_secrets(stage: &Stage) -> Result<String> {
    let access = stage.again("lost-secrets").await?;
    let file = Secrets::path_beside(&access.site());
    let kept = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    let before = Listing::of(stage.machine()).await?;
    let output = stage.deploy(&access, &[], LATER).await?;
    let said = refused(
        output,
        &["would change the password of", "is missing"],
        "deploying without the secrets file",
    )?;
    before.ensure_same(&Listing::of(stage.machine()).await?, "a refused deployment")?;
    ensure!(
        !file.exists(),
        "promise broken: a refused deployment leaves a secrets file that others would take for the true one"
    );
    // Its twin: with the file it goes.
    Secrets::default().save(&file)?;
    fs::write(&file, kept).with_context(|| format!("writing {}", file.display()))?;
    stage.deploy_well(&access).await?;
    let reason = said
        .stderr
        .lines()
        .find(|line| line.contains("would change"));
    Ok(format!(
        "nothing changed and no file written; \"{}\"; with the file it goes",
        reason.unwrap_or_default()
    ))
}

async fn host_key(stage: &Stage) -> Result<String> {
    let access = stage.again("host-key").await?;
    stage
        .machine()
        .at_console(
            "cd /etc/ssh && rm ssh_host_ed25519_key* && \
             ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && systemctl restart ssh.service",
        )
        .await?;
    stage.lab.wait_for_ssh(LATER).await?;
    let print = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2";
    let shows = stage.machine().at_console(print).await?;
    let before = Listing::of(stage.machine()).await?;
    let output = stage.deploy(&access, &[], LATER).await?;
    let words = ["not the one that is known", shows.trim(), "--new-host"];
    refused(output, &words, "deploying to another host key")?;
    // Taking it in asks a person, whom `--yes` does not stand in for.
    let output = stage.deploy(&access, &["--new-host"], LATER).await?;
    refused(
        output,
        &[shows.trim(), "not answered by --yes"],
        "taking the key in",
    )?;
    before.ensure_same(&Listing::of(stage.machine()).await?, "a refused deployment")?;
    // Its twin: known as it is now, it goes.
    let key = stage
        .machine()
        .at_console("cat /etc/ssh/ssh_host_ed25519_key.pub")
        .await?;
    let known = access.known_hosts();
    fs::write(&known, format!("{} {key}", lab::virtual_pi::access::ALIAS))
        .with_context(|| format!("writing {}", known.display()))?;
    stage.deploy_well(&access).await?;
    Ok(format!(
        "refused with both fingerprints, also with --yes --new-host and nobody to ask; known as {} it goes",
        shows.trim()
    ))
}

/// Both begin at once; one of them gets the lock, whichever.
async fn two_deployers(stage: &Stage) -> Result<String> {
    let one = stage.again("deployer-1").await?;
    let other = stage.again("deployer-2").await?;
    change_site(&one, |text| one_more_meter(text, "shellyem-D3FFF1"))?;
    change_site(&other, |text| one_more_meter(text, "shellyem-D3FFF2"))?;
    let before = Listing::of(stage.machine()).await?;
    let (first, second) = tokio::try_join!(
        stage.deploy(&one, &[], LATER),
        stage.deploy(&other, &[], LATER)
    )?;
    let (winner, won, loser, lost): (_, Output, _, Output) = match (first.code, second.code) {
        (0, 1) => (&one, first, &other, second),
        (1, 0) => (&other, second, &one, first),
        (a, b) => bail!(
            "promise broken: two deployers end with {a} and {b}: {}\n{}",
            first.stderr,
            second.stderr
        ),
    };
    well(won, "the deployer who came first")?;
    let said = refused(
        lost,
        &["another deployment is under way"],
        "the second deployer",
    )?;
    let after = Listing::of(stage.machine()).await?;
    let changes = before.changes(&after);
    ensure!(
        !changes.is_empty(),
        "the one who came first changed nothing"
    );
    // Its twin: the lock has fallen, and the second gets his turn.
    stage.deploy_well(loser).await?;
    // The first one's meter is not in his site: so his plan undid it, and says so.
    let back = stage.deploy_well(winner).await?;
    ensure!(
        !back.stdout.contains("nothing to do"),
        "the second deployer changed nothing"
    );
    let last = Listing::of(stage.machine()).await?;
    let kept = [HISTORY, RELEASES, IN_PLACE];
    after
        .without(&kept)
        .ensure_same(&last.without(&kept), "the same site again")?;
    let reason = said
        .stderr
        .lines()
        .find(|line| line.contains("another deployment"));
    Ok(format!(
        "one of two is told \"{}\", and gets his turn later",
        reason.unwrap_or_default()
    ))
}
