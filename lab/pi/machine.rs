//! The machine itself: it boots, stands in its network, can be looked at without one, is cut off
//! and comes back. What is deployed to it is left to the other modules.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::topology::{BASTION, ROUTER};
use lab::virtual_pi::machine::PowerOn;
use lab::virtual_pi::{BLANK, BOOT};

use crate::stage::{Scenario, Stage, scenario};

/// What is promised of a boot to SSH, on a host that has nothing else to do.
const PROMISED: Duration = Duration::from_secs(45);
/// How far its clock may be from the host's once it is right.
const CLOCK: Duration = Duration::from_secs(2);
/// A time service that had no answer at its first tries waits longer before each further one.
const SYNCHRONISED: Duration = Duration::from_secs(240);
const A_MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::boots_to_ssh", from BLANK, boots_to_ssh),
        scenario!("pi::the_router_gives_it_its_address", from BLANK, address),
        scenario!("pi::names_time_and_packages_are_reached", from BLANK, outbound),
        scenario!("pi::the_console_works_when_ssh_does_not", from BLANK, console),
        scenario!("pi::a_recalled_state_is_the_remembered_one", from BLANK, recall),
        scenario!("pi::a_changed_host_key_is_seen", from BLANK, host_key),
        scenario!("pi::a_pulled_cable_cuts_it_off", from BLANK, cable),
        scenario!("pi::it_restarts_itself", from BLANK, reboot),
        scenario!("pi::it_boots_after_a_power_cut", from BLANK, power_cut),
        scenario!("pi::a_clock_in_1970_is_set_right", from BLANK, clock).only_in_full(),
        scenario!("pi::packages_are_installed_from_the_mirror", from BLANK, packages)
            .only_in_full(),
    ]
}

async fn boots_to_ssh(stage: &Stage) -> Result<String> {
    let said = stage
        .lab
        .access
        .ssh("uname -m; id -un; sudo -n id -un", A_MINUTE);
    let said = said.await?.success().context("ssh to the virtual Pi")?;
    ensure!(
        said == "armv7l\npi\nroot\n",
        "not an armv7 machine with an admin user who may become root: {said}"
    );
    let took = stage.lab.first_boot;
    let verdict = if took <= PROMISED {
        "within"
    } else {
        "over, on a busy host,"
    };
    Ok(format!(
        "SSH answered {:.1} s after power ({verdict} the {} s that an idle host needs at most)",
        took.as_secs_f32(),
        PROMISED.as_secs()
    ))
}

async fn address(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    let dmz = &stage.lab.topology.dmz;
    let (own, router) = (dmz.host(BASTION), dmz.host(ROUTER));
    let v4 = machine.at_console("ip -4 -o addr show dev eth0").await?;
    ensure!(
        v4.contains(&format!("inet {}/24", own.v4)),
        "it does not have the reserved address {}: {v4}",
        own.v4
    );
    let route = machine.at_console("ip -4 route show default").await?;
    ensure!(
        route.contains(&format!("via {} ", router.v4)),
        "its way out is not the router {}: {route}",
        router.v4
    );
    // It says the address, or that it is only tentative.
    let v6 = machine
        .at_console("ip -6 -o addr show dev eth0 scope global")
        .await?;
    ensure!(
        v6.contains(&format!("inet6 {}/64", own.v6)),
        "it does not have the address {}: {v6}",
        own.v6
    );
    let leases = stage
        .lab
        .router
        .run(&["cat", "/var/lib/misc/dnsmasq.leases"])
        .await?;
    ensure!(
        leases.contains(&own.v4.to_string()),
        "the router has no lease for {}: {leases}",
        own.v4
    );
    Ok(format!(
        "{} by DHCP, {} by router advertisement",
        own.v4, own.v6
    ))
}

async fn outbound(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    synchronised(stage).await?;
    let listed = machine
        .at_console("apt-get -qq update && apt-get -s --no-install-recommends install mosquitto")
        .await?;
    ensure!(
        listed.contains("Inst mosquitto"),
        "the mirror has no broker for it: {listed}"
    );
    Ok("name resolved, clock synchronised, package index fetched".to_owned())
}

async fn synchronised(stage: &Stage) -> Result<()> {
    eventually("a synchronised clock", SYNCHRONISED, || async {
        let asked = "timedatectl show --property=NTPSynchronized --value";
        let said = stage.machine().at_console(asked).await?;
        Ok(match said.trim() {
            "yes" => Look::Done(()),
            other => Look::NotYet(format!("NTPSynchronized={other}")),
        })
    })
    .await?;
    right_clock(stage).await
}

async fn right_clock(stage: &Stage) -> Result<()> {
    let off = stage.machine().clock_is_off_by().await?;
    ensure!(off <= CLOCK, "its clock is {} s off", off.as_secs());
    Ok(())
}

async fn console(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    ensure!(
        stage.lab.greets().await?,
        "SSH does not answer to begin with"
    );
    machine.at_console("systemctl stop ssh.service").await?;
    ensure!(
        !stage.lab.greets().await?,
        "SSH answers although its server is stopped"
    );
    let long = "x".repeat(20_000);
    let said = machine.at_console(&format!("printf %s {long}")).await?;
    ensure!(said == long, "the console garbles what goes over it");
    let code = machine.console("exit 3", A_MINUTE).await?.code;
    ensure!(code == 3, "the console tells exit code {code} instead of 3");
    let ended = machine
        .console("sleep 1000", Duration::from_secs(1))
        .await?;
    ensure!(
        ended.code == 124,
        "the console does not end what takes too long"
    );
    machine.at_console("systemctl start ssh.service").await?;
    ensure!(stage.lab.greets().await?, "SSH does not come back");
    Ok("looked at and mended while SSH was stopped".to_owned())
}

async fn recall(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    let before = machine.boot_id().await?;
    machine
        .at_console(
            "echo later > /etc/later; sync; rm -rf /etc/ssh; systemctl stop ssh.service; \
             date -s 1999-01-01",
        )
        .await?;
    let start = Instant::now();
    stage.begin_from(BLANK).await?;
    let took = start.elapsed();
    ensure!(machine.boot_id().await? == before, "it is another boot");
    machine
        .at_console("test ! -e /etc/later && test -d /etc/ssh")
        .await
        .context("the card is not the remembered one")?;
    right_clock(stage).await?;
    let said = stage.lab.access.ssh("true", A_MINUTE).await?;
    said.success().context("ssh to the recalled machine")?;
    Ok(format!(
        "back after {:.1} s, clock and all",
        took.as_secs_f32()
    ))
}

async fn host_key(stage: &Stage) -> Result<String> {
    let access = &stage.lab.access;
    access.ssh("true", A_MINUTE).await?.success()?;
    stage
        .machine()
        .at_console(
            "cd /etc/ssh && rm ssh_host_ed25519_key* && \
             ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && \
             systemctl restart ssh.service",
        )
        .await?;
    stage.lab.wait_for_ssh(A_MINUTE).await?;
    let refused = access.ssh("true", A_MINUTE).await?;
    ensure!(
        refused.code == 255 && refused.stderr.contains("HOST IDENTIFICATION HAS CHANGED"),
        "a changed host key is not refused: code {}, {}",
        refused.code,
        refused.stderr
    );
    Ok("refused by OpenSSH with the key that this folder knows".to_owned())
}

async fn cable(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    machine.pull_cable().await?;
    ensure!(!stage.lab.greets().await?, "it answers without a cable");
    let carrier = machine
        .at_console("cat /sys/class/net/eth0/carrier")
        .await?;
    ensure!(
        carrier.trim() == "0",
        "it does not notice: carrier {carrier}"
    );
    machine.plug_cable().await?;
    stage.lab.wait_for_ssh(A_MINUTE).await?;
    Ok("unreachable and aware of it; back with the cable".to_owned())
}

async fn reboot(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    machine.at_console("echo kept > /root/kept").await?;
    let start = Instant::now();
    machine.reboot(BOOT).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    let took = start.elapsed();
    machine.at_console("grep -qx kept /root/kept").await?;
    Ok(format!(
        "from command to SSH in {:.1} s",
        took.as_secs_f32()
    ))
}

async fn power_cut(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    let before = machine.boot_id().await?;
    machine.at_console("echo kept > /root/kept; sync").await?;
    machine.power_cut().await?;
    ensure!(!stage.lab.greets().await?, "it answers without power");
    let start = Instant::now();
    machine.power_on(&PowerOn::default()).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    let took = start.elapsed();
    ensure!(machine.boot_id().await? != before, "it is the same boot");
    machine
        .at_console("grep -qx kept /root/kept")
        .await
        .context("what was synced is lost")?;
    machine.power_cut().await?;
    stage.begin_from(BLANK).await?;
    ensure!(
        machine.boot_id().await? == before,
        "a machine that is off does not wake up in the remembered state"
    );
    Ok(format!(
        "SSH again {:.1} s after power; recalled from off as well",
        took.as_secs_f32()
    ))
}

async fn clock(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    machine.power_cut().await?;
    machine
        .power_on(&PowerOn {
            clock: Some("1970-01-01T00:00:00".to_owned()),
            ..PowerOn::default()
        })
        .await?;
    machine.wait_for_console(BOOT).await?;
    let hardware = machine.at_console("cat /sys/class/rtc/rtc0/date").await?;
    ensure!(
        hardware.starts_with("1970-01-01"),
        "its hardware clock is not in 1970: {hardware}"
    );
    stage.lab.wait_for_ssh(BOOT).await?;
    synchronised(stage).await?;
    Ok("the time service has set it".to_owned())
}

async fn packages(stage: &Stage) -> Result<String> {
    let start = Instant::now();
    let install = "export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq --yes --no-install-recommends install mosquitto unattended-upgrades";
    let limit = Duration::from_secs(600);
    stage.machine().console(install, limit).await?.success()?;
    let took = start.elapsed();
    stage
        .machine()
        .at_console("systemctl is-active mosquitto.service")
        .await?;
    Ok(format!(
        "a broker and unattended upgrades in {:.0} s",
        took.as_secs_f32()
    ))
}
