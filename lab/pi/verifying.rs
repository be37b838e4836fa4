//! The machine looks at itself: by its timer and under its sandbox, and readers hear of a change;
//! what it says of a unit that was loosened, and of a foreign rule that may lead packets round ours.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::node::{Output, Upload};
use lab::site_file::CHECK_ACCOUNT;
use lab::topology::BASTION;
use lab::virtual_pi::access::Access;
use site::account::VERDICT_TOPIC;
use site::answer::{Status, Verdict, Verified};
use site::manifest::TABLE;

use crate::deployed::{DEPLOYED, site_of};
use crate::flow::Flow;
use crate::stage::{Scenario, Stage, scenario};

const UNIT: &str = "shelly-bastion-verify.service";
const TIMER: &str = "shelly-bastion-verify.timer";
/// Five minutes after it was started, up to two later, and the run itself on an emulated machine.
const BY_ITSELF: Duration = Duration::from_secs(720);
const A_WHILE: Duration = Duration::from_secs(300);
const HEARS: &str = "verdicts";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::verify_sees_a_loosened_sandbox", from DEPLOYED, loosened),
        scenario!("pi::verify_cannot_tell_with_a_foreign_nat_rule", from DEPLOYED, foreign),
        scenario!("pi::verify_runs_by_itself_and_readers_hear_of_changes", from DEPLOYED, by_itself)
            .only_in_full(),
    ]
}

/// A journal of its own, since verify asks for it.
async fn begin(stage: &Stage, name: &str) -> Result<Access> {
    let access = stage.again(name).await?;
    Flow::begin(stage, &access).await?;
    let held = verify(stage).await?;
    held.success()
        .context("proves nothing: verify does not hold to begin with")?;
    Ok(access)
}

async fn verify(stage: &Stage) -> Result<Output> {
    stage.machine().console("bastion verify", A_WHILE).await
}

/// The line of a check.
fn line<'a>(said: &'a Output, subject: &str) -> Result<&'a str> {
    let found = said.stdout.lines().find(|line| line.contains(subject));
    found.with_context(|| format!("verify says nothing of {subject}: {}", said.stdout))
}

/// A file beside ours, as `systemctl edit` writes one.
async fn loosened(stage: &Stage) -> Result<String> {
    const LOOSE: [(&str, &str, &str); 2] = [
        (
            "mosquitto.service",
            "NoNewPrivileges=no",
            "NoNewPrivileges is no, shall be yes",
        ),
        (
            "shelly-bastion-daemon.service",
            "CapabilityBoundingSet=CAP_NET_RAW",
            "CapabilityBoundingSet is cap_net_raw, shall be empty",
        ),
    ];
    begin(stage, "loosened").await?;
    let machine = stage.machine();
    let mut shown = Vec::new();
    for (unit, setting, fault) in LOOSE {
        let beside = format!("/etc/systemd/system/{unit}.d/zz-lab.conf");
        machine
            .at_console(&format!(
                "mkdir -p \"$(dirname {beside})\" && printf '[Service]\\n{setting}\\n' > {beside} && systemctl daemon-reload"
            ))
            .await?;
        let broken = verify(stage).await?;
        machine
            .at_console(&format!("rm {beside} && systemctl daemon-reload"))
            .await?;
        let told = line(&broken, &format!("sandbox of {unit}"))?;
        ensure!(
            broken.code == 1 && told.starts_with("BROKEN") && told.contains(fault),
            "promise broken: with {setting} for {unit} verify ends with {}: {told}",
            broken.code
        );
        shown.push(told.to_owned());
    }
    verify(stage)
        .await?
        .success()
        .context("verify does not hold again")?;
    Ok(shown.join("; "))
}

/// Nobody can tell where such a rule leads packets; the service is no failure then, and no alarm.
async fn foreign(stage: &Stage) -> Result<String> {
    begin(stage, "foreign").await?;
    let machine = stage.machine();
    machine
        .at_console(
            "nft -f - <<'RULES'
table ip foreign {
    chain output {
        type nat hook output priority 100
        tcp dport 80 dnat to 192.0.2.1
    }
}
RULES",
        )
        .await?;
    let by_hand = verify(stage).await?;
    let told = line(&by_hand, "other rules: ip foreign output")?;
    ensure!(
        by_hand.code == 2 && told.starts_with("not checked") && told.contains("dnat"),
        "promise broken: with a foreign NAT rule verify ends with {}: {told}",
        by_hand.code
    );
    let by_service = run(stage).await?;
    ensure!(
        by_service == ("success".to_owned(), "2".to_owned()),
        "the service ends with {by_service:?}"
    );
    let verdict = kept(stage).await?;
    ensure!(
        verdict.verdict == Verdict::NotChecked,
        "the verdict is {verdict}"
    );
    machine.at_console("nft delete table ip foreign").await?;
    verify(stage)
        .await?
        .success()
        .context("verify does not hold again")?;
    Ok(format!("{told}; {verdict}; without it all held"))
}

async fn by_itself(stage: &Stage) -> Result<String> {
    let access = begin(stage, "by-itself").await?;
    let machine = stage.machine();
    // As after a start of the machine: readers know nothing.
    machine
        .at_console("rm -f /run/shelly-bastion-verdict.json")
        .await?;
    listen(stage, &access).await?;
    let heard = with_the_timer(stage).await;
    stage.lab.collector.end(HEARS, "TERM").await?;
    heard
}

async fn with_the_timer(stage: &Stage) -> Result<String> {
    let machine = stage.machine();
    let before = last_run(stage).await?;
    machine
        .at_console(&format!("systemctl restart {TIMER}"))
        .await?;
    let begun = std::time::Instant::now();
    eventually("verify to run by itself", BY_ITSELF, || async {
        let now = last_run(stage).await?;
        let state = show(stage, UNIT, &["ActiveState"]).await?;
        let ended = state.get("ActiveState");
        let ended = ended.is_some_and(|state| ["inactive", "failed"].contains(&state.as_str()));
        Ok(match now == before || !ended {
            false => Look::Done(()),
            true => Look::NotYet(format!("{state:?}, last run {now}")),
        })
    })
    .await
    .context("promise broken: the timer does not verify")?;
    let waited = begun.elapsed().as_secs();
    ensure!(
        ended_with(stage).await? == ("success".to_owned(), "0".to_owned()),
        "promise broken: run by the timer, verify does not hold: {}",
        kept(stage).await?
    );
    shut_in(stage).await?;
    hears(stage, &[Verdict::Held]).await?;

    machine
        .at_console(&format!(
            "nft insert rule inet {TABLE} output meta skuid nobody accept"
        ))
        .await?;
    run(stage).await?;
    // The same again is no news.
    run(stage).await?;
    let broken = hears(stage, &[Verdict::Held, Verdict::Broken]).await?;
    let reasons = broken.last().map(|last| last.not_held.clone());
    ensure!(
        reasons
            .iter()
            .flatten()
            .any(|subject| subject == "firewall"),
        "the verdict on a hole in our own chain rests on {reasons:?}"
    );
    let status = machine.console("bastion status --json", A_WHILE).await?;
    let status: Status = serde_json::from_str(&status.stdout).context("reading the status")?;
    ensure!(
        status.verified.as_ref().map(|verified| verified.verdict) == Some(Verdict::Broken),
        "the status shows {:?}",
        status.verified
    );
    machine
        .at_console("systemctl reload shelly-bastion-policy.service")
        .await
        .context("loading the policy anew")?;
    run(stage).await?;
    let all = hears(stage, &[Verdict::Held, Verdict::Broken, Verdict::Held]).await?;
    Ok(format!(
        "{waited} s after the timer was started it verified under its sandbox, and all held; with a hole by hand, and \
         without it again, readers heard {}",
        all.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    ))
}

async fn show(stage: &Stage, unit: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let names = names.join(",");
    let said = stage
        .machine()
        .at_console(&format!("systemctl show --property={names} {unit}"))
        .await?;
    let lines = said.lines().filter_map(|line| line.split_once('='));
    Ok(lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// When it was last started.
async fn last_run(stage: &Stage) -> Result<String> {
    const WHEN: &str = "ExecMainStartTimestampMonotonic";
    let shown = show(stage, UNIT, &[WHEN]).await?;
    shown.get(WHEN).cloned().context("systemd knows no start")
}

/// What systemd says of the last run, and its exit code.
async fn ended_with(stage: &Stage) -> Result<(String, String)> {
    let shown = show(stage, UNIT, &["Result", "ExecMainStatus"]).await?;
    let of = |name: &str| shown.get(name).cloned().unwrap_or_default();
    Ok((of("Result"), of("ExecMainStatus")))
}

/// Lets the service run once.
async fn run(stage: &Stage) -> Result<(String, String)> {
    let start = format!("systemctl start {UNIT}; true");
    stage.machine().console(&start, A_WHILE).await?;
    ended_with(stage).await
}

/// That it could do its work was seen; this is what it could not have done.
async fn shut_in(stage: &Stage) -> Result<()> {
    let wanted = [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateDevices", "yes"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
    ];
    let names = wanted.map(|(name, _)| name);
    let shown = show(stage, UNIT, &names).await?;
    for (name, value) in wanted {
        ensure!(
            shown.get(name).map(String::as_str) == Some(value),
            "promise broken: {name} of {UNIT} is {:?}, not {value}",
            shown.get(name)
        );
    }
    let shown = show(stage, UNIT, &["CapabilityBoundingSet"]).await?;
    let mut capabilities: Vec<&str> = shown
        .values()
        .flat_map(|list| list.split_whitespace())
        .collect();
    capabilities.sort_unstable();
    ensure!(
        capabilities
            == [
                "cap_dac_read_search",
                "cap_net_admin",
                "cap_setgid",
                "cap_setuid"
            ],
        "promise broken: {UNIT} may have {capabilities:?}"
    );
    Ok(())
}

/// The verdict that the last run left.
async fn kept(stage: &Stage) -> Result<Verified> {
    let status = stage
        .machine()
        .console("bastion status --json", A_WHILE)
        .await?;
    let status: Status = serde_json::from_str(&status.stdout).context("reading the status")?;
    status.verified.context("the status shows no verdict")
}

/// A reader in the LAN begins to listen for verdicts. Nothing is retained: who comes later hears the
/// next one.
async fn listen(stage: &Stage, access: &Access) -> Result<()> {
    const FOLDER: &str = "/root/logins/verdicts";
    let (_, secrets) = site_of(access)?;
    let node = &stage.lab.collector;
    let options = format!(
        "-h {}\n-p 1883\n-u {CHECK_ACCOUNT}\n-P {}\n",
        stage.lab.topology.dmz.host(BASTION).v4,
        secrets.password(CHECK_ACCOUNT)?.expose()
    );
    let file = Upload {
        path: format!("{FOLDER}/mosquitto_sub"),
        mode: 0o600,
        content: options.into_bytes(),
    };
    node.upload(&[file]).await?;
    node.script(&format!("rm -f /var/log/{HEARS}.log")).await?;
    let home = format!("XDG_CONFIG_HOME={FOLDER}");
    let command = [
        "env",
        &home,
        "stdbuf",
        "-oL",
        "mosquitto_sub",
        "-d",
        "-q",
        "1",
        "-t",
        VERDICT_TOPIC,
        "-F",
        "heard %p",
    ];
    node.spawn(HEARS, &command).await?;
    eventually("a reader to listen for verdicts", A_WHILE, || async {
        let log = log(stage).await;
        Ok(match log.contains("Subscribed") {
            true => Look::Done(()),
            false => Look::NotYet(log),
        })
    })
    .await
}

async fn log(stage: &Stage) -> String {
    let path = format!("/var/log/{HEARS}.log");
    let said = stage.lab.collector.run(&["cat", &path]).await;
    said.unwrap_or_default()
}

/// Waits until the reader has heard so many verdicts, which must be these.
async fn hears(stage: &Stage, wanted: &[Verdict]) -> Result<Vec<Verified>> {
    let all = eventually(format!("a reader to hear {wanted:?}"), A_WHILE, || async {
        let log = log(stage).await;
        let heard: Vec<Verified> = log
            .lines()
            .filter_map(|line| line.strip_prefix("heard "))
            .map(|message| serde_json::from_str(message).context("reading a verdict"))
            .collect::<Result<_>>()?;
        Ok(match heard.len() >= wanted.len() {
            true => Look::Done(heard),
            false => Look::NotYet(format!("{heard:?}")),
        })
    })
    .await?;
    let verdicts: Vec<Verdict> = all.iter().map(|one| one.verdict).collect();
    ensure!(
        verdicts == wanted,
        "promise broken: readers hear {verdicts:?}, not {wanted:?}"
    );
    Ok(all)
}
