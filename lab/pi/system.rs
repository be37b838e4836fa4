//! The bastion's own system: what is off, what is set, how the broker is kept; and what it may ask
//! of the outside: names, time, updates.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::probe::{Target, tcp, udp};
use lab::site_file::with_updates;
use lab::topology::{HOME_SERVER, OUTSIDE, ROUTER};
use lab::virtual_pi::BOOT;
use site::answer::Status;

use crate::deployed::{DEPLOYED, FIRST, LATER, refused, site_of};
use crate::isolation::attempt;
use crate::stage::{Scenario, Stage, scenario};

const APT: Duration = Duration::from_secs(300);
/// A broker that is killed more often than systemd's own limit of starts allows.
const KILLS: usize = 7;

/// Connections whose lines are all kept.
const FEW: u32 = 50;
/// More than the journal takes of one unit in a minute; with room on the card it takes some times
/// the number that it was told.
const MANY: u32 = 6000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::system_is_as_the_site_says", from DEPLOYED, system),
        scenario!("pi::a_noisy_broker_does_not_fill_the_journal", from DEPLOYED, noise),
        scenario!("pi::names_time_and_updates_and_nothing_else", from DEPLOYED, outbound)
            .only_in_full(),
    ]
}

/// Properties of a unit or of systemd itself.
async fn properties(stage: &Stage, what: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let said = stage
        .machine()
        .at_console(&format!(
            "systemctl show --property={} {what}",
            names.join(",")
        ))
        .await?;
    Ok(said
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Connections that say nothing, over loopback, where no rule limits them: each is a line of the
/// broker's log or two. Of a few lines all are kept.
async fn noise(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    stage.begin_from(DEPLOYED).await?;
    let kept = async |connections: u32| -> Result<u32> {
        let script = format!(
            "since=$(date +%s.%N)
             for n in $(seq {connections}); do exec 3<>/dev/tcp/127.0.0.1/1884; exec 3>&-; done
             until [ -z \"$(ss -Htn state close-wait sport = :1884)\" ]; do sleep 0.2; done
             journalctl --sync
             journalctl --unit mosquitto.service --since @$since --output cat | grep -c 'New connection from'"
        );
        let said = machine.console(&script, LATER).await?;
        let said = said.success().context("connecting to the broker")?;
        said.trim().parse().context("counting lines")
    };
    let few = kept(FEW).await?;
    ensure!(
        few >= FEW,
        "proves nothing: of {FEW} connections the journal has {}",
        few
    );
    let many = kept(MANY).await?;
    ensure!(
        many < MANY,
        "promise broken: all of {MANY} connections are in the journal"
    );
    Ok(format!(
        "of {FEW} connections {} lines were kept, of {MANY} {}",
        few, many
    ))
}

async fn system(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    let access = stage.again("system").await?;
    let (site, _) = site_of(&access)?;
    let mut off = 0;
    for unit in &site.system.off {
        let state = properties(stage, unit, &["ActiveState", "LoadState"]).await?;
        let is = |name: &str| state.get(name).map(String::as_str).unwrap_or_default();
        ensure!(
            is("ActiveState") == "inactive" && ["masked", "not-found"].contains(&is("LoadState")),
            "promise broken: {unit} shall be off and is {state:?}"
        );
        off += usize::from(is("LoadState") == "masked");
    }
    ensure!(off > 0, "nothing was there to be switched off");

    let kernel = [
        ("net.ipv4.ip_forward", "0"),
        ("net.ipv6.conf.all.forwarding", "0"),
        ("net.ipv4.conf.eth0.accept_redirects", "0"),
        ("net.ipv4.conf.eth0.rp_filter", "1"),
        ("net.ipv6.conf.eth0.accept_redirects", "0"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("kernel.dmesg_restrict", "1"),
    ];
    for (key, wanted) in kernel {
        let is = machine.at_console(&format!("sysctl -n {key}")).await?;
        ensure!(
            is.trim() == wanted,
            "promise broken: {key} is {}, not {wanted}",
            is.trim()
        );
    }
    let journal = machine
        .at_console("systemd-analyze cat-config systemd/journald.conf; ls -d /var/log/journal")
        .await?;
    let bound = format!("SystemMaxUse={}M", site.system.journal_mib);
    ensure!(
        journal.contains(&bound),
        "promise broken: the journal is not bounded by {bound}"
    );
    let manager = machine
        .at_console("systemd-analyze cat-config systemd/system.conf")
        .await?;
    let watchdog = format!("RuntimeWatchdogSec={}s", site.system.watchdog_s);
    ensure!(
        manager.contains(&watchdog),
        "promise broken: the watchdog is not set to {watchdog}"
    );

    let broker = "mosquitto.service";
    let kept = properties(
        stage,
        broker,
        &[
            "User",
            "CapabilityBoundingSet",
            "NoNewPrivileges",
            "ProtectSystem",
            "StartLimitIntervalUSec",
            "Restart",
            "RestrictAddressFamilies",
        ],
    )
    .await?;
    let wanted = [
        ("User", "mosquitto"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("StartLimitIntervalUSec", "0"),
        ("Restart", "always"),
    ];
    for (name, value) in wanted {
        let is = kept.get(name).map(String::as_str);
        ensure!(
            is == Some(value),
            "promise broken: the broker's {name} is {is:?}, not {value}"
        );
    }
    let capable = machine
        .at_console(
            "grep -h ^Cap /proc/$(systemctl show --value --property=MainPID mosquitto)/status",
        )
        .await?;
    ensure!(
        capable
            .lines()
            .filter(|line| !line.starts_with("CapBnd"))
            .all(|line| line.ends_with("\t0000000000000000")),
        "promise broken: the broker has capabilities: {capable}"
    );
    for _ in 0..KILLS {
        let before = broker_process(stage).await?;
        machine.at_console(&format!("kill -KILL {before}")).await?;
        eventually("the broker to be back", BOOT, || async {
            let now = broker_process(stage).await?;
            Ok(if now != "0" && now != before {
                Look::Done(())
            } else {
                Look::NotYet(format!("its process is {now}, it was {before}"))
            })
        })
        .await?;
    }
    Ok(format!(
        "{off} services masked, {} kernel settings, {bound}, {watchdog}; the broker without a capability, back \
         after each of {KILLS} kills in a row",
        kernel.len()
    ))
}

async fn broker_process(stage: &Stage) -> Result<String> {
    let asked = "systemctl show --value --property=MainPID mosquitto.service";
    Ok(stage.machine().at_console(asked).await?.trim().to_owned())
}

/// What each user may ask, and what it may not though another may.
async fn outbound(stage: &Stage) -> Result<String> {
    let access = stage.again("outbound").await?;
    let text = fs::read_to_string(access.site()).context("reading the site file")?;
    fs::write(access.site(), with_updates(&text)).context("writing the site file")?;
    // The policy in place lets apt nowhere, so what brings updates must be carried over.
    let refused_first = stage.deploy(&access, &[], FIRST).await?;
    refused(
        refused_first,
        &["--offline brings them along"],
        "fetching packages that the policy in place forbids",
    )?;
    let deployed = stage.deploy(&access, &["--offline"], FIRST).await?;
    ensure!(
        deployed.code == 0,
        "letting it out for updates: exit code {}: {}",
        deployed.code,
        deployed.stderr
    );
    let map = &stage.lab.topology;
    let (outside, router) = (map.wan.host(OUTSIDE).v4, map.dmz.host(ROUTER).v4);
    let (names, updates, time) = (tcp(router, 53), tcp(outside, 80), udp(outside, 123));
    // A bare datagram is no question to a time server, so it is judged by a refusal alone.
    let may: [(&str, [bool; 3]); 5] = [
        ("_apt", [true, true, false]),
        ("systemd-timesync", [true, false, true]),
        ("root", [true, false, false]),
        ("mosquitto", [false, false, false]),
        ("pi", [false, false, false]),
    ];
    let targets: [Target; 3] = [names.clone(), updates.clone(), time.clone()];
    let mut refusals = 0;
    for (user, allowed) in may {
        let outcomes = attempt(stage, user, &targets).await?;
        for (target, allowed) in targets.iter().zip(allowed) {
            let outcome = &outcomes
                .get(target)
                .context("an attempt is missing")?
                .outcome;
            let refused = ["rejected", "refused", "unreachable"].contains(&outcome.as_str());
            ensure!(
                refused != allowed,
                "promise broken: {user} asks {target}: {outcome}, and it {}",
                if allowed { "may" } else { "may not" }
            );
            refusals += usize::from(refused);
        }
    }
    // The twin of each refusal is the user who may; and what nobody may is in the LAN.
    let lan = [tcp(map.lan.host(HOME_SERVER).v4, 80)];
    for user in ["_apt", "systemd-timesync", "root"] {
        let outcomes = attempt(stage, user, &lan).await?;
        ensure!(
            outcomes.values().all(|outcome| !outcome.got_through()),
            "promise broken: {user} reaches {outcomes:?}"
        );
    }
    let machine = stage.machine();
    let fetched =
        "apt-get -qq update && cd /tmp && apt-get -qq download nftables && ls nftables_*.deb";
    machine
        .console(fetched, APT)
        .await?
        .success()
        .context("promise broken: no updates")?;
    machine
        .at_console("systemctl restart systemd-timesyncd.service")
        .await
        .context("restarting the time service")?;
    eventually("a synchronised clock", APT, || async {
        let status = machine.console("bastion status --json", APT).await?;
        let status: Status = serde_json::from_str(&status.stdout).context("reading the status")?;
        Ok(match status.clock_synchronised {
            Some(true) => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    let origins = "apt-config dump | grep '^Unattended-Upgrade::Origins-Pattern::'";
    let origins = machine.at_console(origins).await?;
    ensure!(
        origins.contains("origin=Raspbian,codename=${distro_codename},label=Raspbian"),
        "unattended upgrades do not match what is installed here: {origins}"
    );
    let planned = "systemctl is-active apt-daily.timer apt-daily-upgrade.timer";
    machine
        .at_console(planned)
        .await
        .context("the timers of updates")?;
    Ok(format!(
        "apt fetches, the clock is synchronised; {refusals} questions of users who may not ask were refused, though \
         others may"
    ))
}
