//! The way in after the admin's address changed: SSH opened for minutes, at the machine's own
//! console or by a file on the boot partition.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::probe::{self, tcp};
use lab::topology::{BASTION, ROUTER};
use lab::virtual_pi::BOOT;

use crate::deployed::{DEPLOYED, LATER};
use crate::stage::{Scenario, Stage, scenario};

const A_MINUTE: Duration = Duration::from_secs(60);
/// For how long it is opened; long enough for a look at a slow machine.
const OPEN: Duration = Duration::from_secs(40);

/// A screen of the machine on which nobody has logged in.
const SCREEN: &str = "/dev/tty9";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::console_opens_ssh_for_minutes", from DEPLOYED, console),
        scenario!("pi::a_file_on_the_boot_partition_opens_ssh", from DEPLOYED, boot_file)
            .only_in_full(),
    ]
}

/// Whether a LAN machine that is no admin's reaches SSH.
async fn lan_gets_in(stage: &Stage) -> Result<bool> {
    let bastion = stage.lab.topology.dmz.host(BASTION);
    let targets = bastion.both().map(|address| tcp(address, 22));
    let found = probe::attempt(&stage.lab.home_server, "root", &targets).await?;
    let through: Vec<bool> = found.iter().map(probe::Outcome::got_through).collect();
    ensure!(
        through.iter().all(|one| Some(one) == through.first()),
        "one family only: {found:?}"
    );
    Ok(through.contains(&true))
}

async fn prober(stage: &Stage) -> Result<()> {
    let path = &stage.lab.artifacts.probe;
    let content = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let program = lab::node::Upload {
        path: "/usr/local/bin/probe".to_owned(),
        mode: 0o755,
        content,
    };
    stage.lab.home_server.upload(&[program]).await
}

async fn console(stage: &Stage) -> Result<String> {
    prober(stage).await?;
    let machine = stage.machine();
    ensure!(
        !lan_gets_in(stage).await?,
        "the LAN reaches SSH to begin with"
    );
    let by_network = stage
        .lab
        .access
        .ssh("sudo bastion open --for 1m", A_MINUTE)
        .await?;
    ensure!(
        by_network.code == 1 && by_network.stderr.contains("over the network"),
        "promise broken: opened over the network: {by_network:?}"
    );
    ensure!(
        !lan_gets_in(stage).await?,
        "promise broken: what was refused opened SSH all the same"
    );

    let open = format!("bastion open --for {}s", OPEN.as_secs());
    // The lab's own way in is no terminal, and so as little a console as a service is.
    let by_nobody = machine.console(&open, A_MINUTE).await?;
    ensure!(
        by_nobody.code == 1 && by_nobody.stdout.contains("not asked at the console"),
        "promise broken: opened where nobody sits: {by_nobody:?}"
    );
    let words = machine
        .at_console(&format!("setsid --ctty --wait {open} < {SCREEN}"))
        .await?;
    ensure!(
        lan_gets_in(stage).await?,
        "promise broken: not open after `{}`",
        words.trim()
    );
    let stranger = [tcp(stage.lab.topology.wan.host(ROUTER).v4, 22)];
    let found = probe::attempt(&stage.lab.stranger, "root", &stranger).await?;
    ensure!(
        !found.iter().any(probe::Outcome::got_through),
        "promise broken: open to the Internet too: {found:?}"
    );
    let left = machine.at_console("bastion status --json").await?;
    let left: site::answer::Status = serde_json::from_str(&left).context("reading the status")?;
    ensure!(
        left.open_s.is_some(),
        "the status does not say that SSH is open"
    );
    eventually("SSH to be closed again by itself", OPEN * 3, || async {
        Ok(if lan_gets_in(stage).await? {
            Look::NotYet("open".to_owned())
        } else {
            Look::Done(())
        })
    })
    .await?;
    let logged = machine
        .at_console("journalctl --no-pager -q -b SYSLOG_IDENTIFIER=bastion | grep 'SSH is open'")
        .await?;
    let history = machine.at_console("bastion history").await?;
    ensure!(
        logged.contains("console") && history.contains("console"),
        "journal or history do not say who opened: {logged}{history}"
    );
    stage
        .lab
        .wait_for_ssh(LATER)
        .await
        .context("the admin's way in")?;
    Ok(format!(
        "\"{}\"; closed by itself, logged; refused over the network and to the Internet",
        words.trim()
    ))
}

async fn boot_file(stage: &Stage) -> Result<String> {
    prober(stage).await?;
    let machine = stage.machine();
    ensure!(
        !lan_gets_in(stage).await?,
        "the LAN reaches SSH to begin with"
    );
    let file = "/boot/firmware/shelly-bastion-open";
    machine.at_console(&format!("touch {file} && sync")).await?;
    machine.reboot(BOOT).await?;
    machine.wait_until_settled(BOOT).await?;
    ensure!(
        lan_gets_in(stage).await?,
        "promise broken: the file does not open SSH"
    );
    machine
        .at_console(&format!("test ! -e {file}"))
        .await
        .context("the file is still there")?;
    let status = machine.at_console("bastion status --json").await?;
    let status: site::answer::Status =
        serde_json::from_str(&status).context("reading the status")?;
    let left = status
        .open_s
        .context("the status does not say that SSH is open")?;
    ensure!(left <= 600, "open for {left} s more");
    // Its twin: without the file a start opens nothing.
    machine.reboot(BOOT).await?;
    machine.wait_until_settled(BOOT).await?;
    ensure!(
        !lan_gets_in(stage).await?,
        "promise broken: it opens without the file"
    );
    Ok(format!(
        "open after the start, for {left} s more; the file is gone, and the next start opens nothing"
    ))
}
