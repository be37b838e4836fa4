//! The first deployment: a dry run before it changes nothing and names everything, and what comes
//! of it is a working bastion.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lab::node::Output;
use site::answer::{FileAction, Plan, UnitAction};
use site::manifest::PASSWD_PATH;

use crate::deployed::{First, WINDOW, change_site, seconds_of, site_of};
use crate::flow::{Flow, JOURNAL_UNITS};
use crate::listing::{Change, HISTORY, IN_PLACE, Listing, MEMORY, RELEASES};
use crate::stage::Stage;

/// What a deployment keeps for later, beside what it plans.
const KEPT: [&str; 4] = [HISTORY, RELEASES, IN_PLACE, MEMORY];
/// Where systemd keeps which units start at boot.
const LINKS: &str = "file /etc/systemd/system/";

/// On a new machine packages bring files of their own, so there the plan must come true and
/// nothing else may change but what packages change; on one that has them, list and plan must be
/// the same.
pub(super) async fn dry_run(stage: &Stage) -> Result<String> {
    let first = stage.first().await?;
    ensure!(
        first.dry.code == 2,
        "a dry run on a new machine ends with {} instead of 2: {}",
        first.dry.code,
        first.dry.stderr
    );
    first.before.ensure_same(&first.after_dry, "a dry run")?;
    came_true(first)?;
    let known = of_packages(first)?;

    let access = stage.again("dry-run").await?;
    let (site, _) = site_of(&access)?;
    let gone = site
        .meters
        .first()
        .context("the site has no meter")?
        .id
        .clone();
    let off = "\n[system]\njournal_mib = 77\noff = [\"avahi-daemon.service\", \"avahi-daemon.socket\", \"dpkg-db-backup.timer\"]\n";
    change_site(&access, |text| {
        let text = text.replace("\n[database]\n", &format!("{off}\n[database]\n"));
        let text = text.replace(&gone, "shellyem-D3FFF0");
        // A LAN network more is a change of the firewall.
        text.replacen(
            "[lan]\nnetworks = [",
            "[lan]\nnetworks = [\"192.168.77.0/24\", ",
            1,
        )
    })?;
    let before = Listing::of(stage.machine()).await?;
    let accounts_before = accounts(stage).await?;
    let (dry, plan) = stage.dry_run(&access).await?;
    ensure!(
        dry.code == 2,
        "a dry run ends with {}: {}",
        dry.code,
        dry.stderr
    );
    let untouched = Listing::of(stage.machine()).await?;
    before.ensure_same(&untouched, "a dry run on a deployed machine")?;
    stage.deploy_well(&access).await?;
    let after = Listing::of(stage.machine()).await?;
    let changes = before.without(&KEPT).changes(&after.without(&KEPT));
    let shown = exactly(&plan, &changes)?;

    let accounts_after = accounts(stage).await?;
    let added: BTreeSet<&String> = accounts_after.difference(&accounts_before).collect();
    let removed: BTreeSet<&String> = accounts_before.difference(&accounts_after).collect();
    ensure!(
        added == plan.accounts.added.iter().collect()
            && removed == plan.accounts.removed.iter().collect()
            && added.len() == 1
            && removed.len() == 1,
        "promise broken: the plan says accounts {:?}, added are {added:?}, removed {removed:?}",
        plan.accounts
    );
    let (again, nothing) = stage.dry_run(&access).await?;
    ensure!(
        again.code == 0 && nothing.is_empty(),
        "the same dry run after it ends with {}: {nothing:?}",
        again.code
    );
    Ok(format!(
        "{} things listed and none changed by it; on a new machine {} files, {} units, {} packages came \
         true and {known} more things belong to packages; on a deployed one {shown}",
        first.before.len(),
        first.plan.files.len(),
        first.plan.units.len(),
        first.plan.packages.len(),
    ))
}

/// Each thing that a plan for a new machine names is so afterwards.
fn came_true(first: &First) -> Result<()> {
    let First {
        before,
        after,
        plan,
        ..
    } = first;
    ensure!(
        !plan.files.is_empty() && !plan.units.is_empty() && !plan.packages.is_empty(),
        "the plan for a new machine lacks a kind of change: {plan:?}"
    );
    for file in &plan.files {
        let thing = format!("file {}", file.path);
        let (was, is) = (before.get(&thing), after.get(&thing));
        let true_of = match file.action {
            FileAction::New => was.is_none() && is.is_some(),
            FileAction::Remove => was.is_some() && is.is_none(),
            FileAction::Content | FileAction::Attributes => was.is_some() && is != was,
        };
        // A package may bring the file first.
        let brought = file.action == FileAction::New && is.is_some();
        ensure!(
            true_of || brought,
            "promise broken: the plan says {:?} of {}, it was {was:?} and is {is:?}",
            file.action,
            file.path
        );
    }
    for unit in &plan.units {
        let is = after.get(&format!("unit {}", unit.name));
        let link = after.get(&format!("file /etc/systemd/system/{}", unit.name));
        let fits = match unit.action {
            UnitAction::Stop => is.is_none() && link == Some("link to /dev/null"),
            _ => is == Some("active"),
        };
        ensure!(
            fits,
            "promise broken: the plan says {:?} of {}, and it is {is:?}, {link:?}",
            unit.action,
            unit.name
        );
    }
    for package in &plan.packages {
        let thing = format!("package {}", package.name);
        ensure!(
            before.get(&thing) != after.get(&thing) && after.get(&thing).is_some(),
            "promise broken: the plan says package {}, and it is {:?}",
            package.name,
            after.get(&thing)
        );
    }
    ensure!(plan.firewall.is_some(), "the plan has no firewall");
    Ok(())
}

/// Counts what else changed on the new machine; each must be a package's doing.
fn of_packages(first: &First) -> Result<usize> {
    let planned: BTreeSet<String> = first
        .plan
        .files
        .iter()
        .map(|file| format!("file {}", file.path))
        .collect();
    let units: BTreeSet<String> = first
        .plan
        .units
        .iter()
        .map(|unit| format!("unit {}", unit.name))
        .collect();
    let before = first.before.clone().without(&KEPT);
    let after = first.after.clone().without(&KEPT);
    let changes = before.changes(&after);
    let others: Vec<&Change> = changes
        .iter()
        .filter(|change| {
            let thing = change.thing.as_str();
            !(planned.contains(thing)
                || units.contains(thing)
                || is_of_our_tables(thing)
                || is_folder_for(thing, &planned)
                || is_link_of(thing, &units)
                || thing.starts_with("package "))
        })
        .collect();
    let strange: Vec<String> = others
        .iter()
        .filter(|change| !brought_by_a_package(&change.thing))
        .map(ToString::to_string)
        .collect();
    ensure!(
        strange.is_empty(),
        "promise broken: the plan does not name {}",
        strange.join("\n")
    );
    Ok(others.len())
}

/// What the planned packages and what they need bring along below `/etc`, and users that they add.
fn brought_by_a_package(thing: &str) -> bool {
    const BROUGHT: [&str; 25] = [
        "file /etc/mosquitto",
        "file /etc/init.d/",
        "file /etc/default/",
        "file /etc/rc",
        "file /etc/logrotate.",
        "file /etc/cron",
        "file /etc/passwd",
        "file /etc/group",
        "file /etc/shadow",
        "file /etc/gshadow",
        "file /etc/subuid",
        "file /etc/subgid",
        "file /etc/apt",
        "file /etc/nftables",
        "file /etc/ufw",
        "file /etc/ssl",
        "file /etc/ca-certificates",
        "file /etc/python3",
        "file /etc/kernel",
        "file /etc/pm",
        "file /etc/update-motd.d",
        "file /etc/dpkg",
        "file /usr/local/lib/python3",
        "file /usr/local/share",
        "file /etc/debconf.conf",
    ];
    BROUGHT.iter().any(|begin| thing.starts_with(begin))
        || thing.starts_with(LINKS) && thing.contains(".wants/")
        || thing.starts_with(LINKS) && thing.ends_with(".wants")
        || thing.starts_with("unit ") && !thing.starts_with("unit shelly-bastion")
}

/// Tables of the firewall that are nobody else's.
fn is_of_our_tables(thing: &str) -> bool {
    ["inet", "netdev"]
        .iter()
        .any(|family| thing.starts_with(&format!("nft table {family} shelly_bastion")))
}

fn is_folder_for(thing: &str, planned: &BTreeSet<String>) -> bool {
    planned.iter().any(|file| {
        file.strip_prefix(thing)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// A link below systemd's folder by which one of these units is masked or starts at boot.
fn is_link_of(thing: &str, units: &BTreeSet<String>) -> bool {
    thing.starts_with(LINKS)
        && thing
            .rsplit('/')
            .next()
            .is_some_and(|name| units.contains(&format!("unit {name}")))
}

/// Compares a plan with what changed, both ways.
fn exactly(plan: &Plan, changes: &[Change]) -> Result<String> {
    let units: BTreeSet<String> = plan
        .units
        .iter()
        .map(|unit| format!("unit {}", unit.name))
        .collect();
    let planned: BTreeSet<String> = plan
        .files
        .iter()
        .map(|file| format!("file {}", file.path))
        .collect();
    let mut files = BTreeSet::new();
    let mut rules = 0;
    for change in changes {
        let thing = &change.thing;
        if thing.starts_with("nft ") {
            ensure!(
                is_of_our_tables(thing),
                "promise broken: rules of somebody else changed: {change}"
            );
            rules += 1;
        } else if thing.starts_with("unit ") {
            ensure!(
                units.contains(thing),
                "promise broken: not in the plan: {change}"
            );
        } else if thing.starts_with("file ") && !is_link_of(thing, &units) {
            files.insert(thing.clone());
        } else {
            ensure!(
                thing.starts_with("file "),
                "promise broken: not in the plan: {change}"
            );
        }
    }
    ensure!(
        files == planned,
        "promise broken: the plan says {planned:?}, changed are {files:?}"
    );
    for action in &plan.units {
        // A unit that reads its settings again looks the same before and after.
        let told = matches!(action.action, UnitAction::Reload | UnitAction::Restart);
        let changed = changes.iter().any(|change| {
            change.thing == format!("unit {}", action.name)
                || is_link_of(&change.thing, &[format!("unit {}", action.name)].into())
        });
        ensure!(
            told || changed,
            "promise broken: the plan says {:?} of {}, and nothing came of it",
            action.action,
            action.name
        );
    }
    ensure!(
        plan.firewall.is_some() == (rules > 0) && rules > 0,
        "promise broken: of the firewall the plan says {:?}, and {rules} lines changed",
        plan.firewall.as_ref().map(|change| &change.differences)
    );
    Ok(format!(
        "{} files, {} units and {rules} lines of the firewall changed, as said",
        files.len(),
        plan.units.len()
    ))
}

async fn accounts(stage: &Stage) -> Result<BTreeSet<String>> {
    let text = stage
        .machine()
        .at_console(&format!("cut -d: -f1 {PASSWD_PATH}"))
        .await?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

pub(super) async fn first(stage: &Stage) -> Result<String> {
    let first = stage.first().await?;
    let Output { stdout, stderr, .. } = &first.output;
    ensure!(
        stderr.contains("over a new connection"),
        "it does not say that it was confirmed over a new connection: {stderr}"
    );
    ensure!(
        stderr.contains(" 0 broken") && stdout.contains("Next:"),
        "not everything held, or nobody is told what to do next: {stderr}{stdout}"
    );
    let units = [
        &["shelly-bastion-policy.service", "mosquitto.service"],
        &JOURNAL_UNITS[..],
    ]
    .concat();
    let active = format!("systemctl is-active {}", units.join(" "));
    let active = stage.machine().at_console(&active).await?;
    ensure!(
        active == "active\n".repeat(units.len()),
        "{units:?} are {active}"
    );
    let left = stage
        .machine()
        .at_console(
            "find /run/shelly-bastion /var/lib/shelly-bastion/transaction* 2>/dev/null || true",
        )
        .await?;
    ensure!(
        !left.contains("incoming/") && !left.contains("transaction"),
        "left behind: {left}"
    );
    let steps = [
        "connect",
        "preflight",
        "transfer",
        "plan",
        "packages",
        "apply",
        "confirm",
        "verify",
    ];
    let times: Vec<String> = steps
        .iter()
        .filter_map(|step| Some(format!("{step} {:.1} s", seconds_of(&first.output, step)?)))
        .collect();
    Ok(format!(
        "{:.0} s ({}), within a window of {WINDOW} s",
        first.took.as_secs_f32(),
        times.join(", ")
    ))
}

pub(super) async fn flow(stage: &Stage) -> Result<String> {
    let access = stage.again("flow").await?;
    let flow = Flow::begin(stage, &access).await?;
    flow.publish(15_000).await
}
