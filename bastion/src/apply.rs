//! Installs a rendered folder: firewall first, then files, then the broker.
//!
//! Everything is checked before anything is changed. The order is the safe one: when the
//! firewall does not load, or does not read back as rendered, nothing else is done, so the
//! broker never runs without it. The manifest is kept on the machine while, and only while, what
//! it lists was applied to the end: it is taken away before the first change and put back after
//! the last one. So a run that was cut short is seen, and made good by the next.
//! Going back to an earlier state is left to a later module.

mod files;

pub(crate) use files::attributes;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use site::manifest::{ACL_PATH, APPLIED_PATH, MOSQUITTO_CONF_PATH, PASSWD_PATH, RULESET_PATH};
use tracing::info;

use crate::bundle::Bundle;
use crate::cli::UNSETTLED;
use crate::firewall;
use crate::host::{Host, read_if_present};
use crate::service::Services;

/// What has to be done; empty when the machine is as rendered.
#[derive(Debug, Default)]
struct Plan {
    /// Differences of the loaded firewall.
    firewall: Vec<String>,
    /// Files to replace: path and reason.
    files: Vec<(String, String)>,
    /// Whether systemd has to read its units again.
    units: bool,
    /// What to do with the broker.
    broker: Broker,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Broker {
    #[default]
    Leave,
    Reload,
    Restart,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.firewall.is_empty() && self.files.is_empty() && self.broker == Broker::Leave
    }

    fn print(&self, verb: &str) {
        for difference in &self.firewall {
            println!("{verb} firewall: {difference}");
        }
        for (path, reason) in &self.files {
            println!("{verb} {path}: {reason}");
        }
        match self.broker {
            Broker::Leave => {}
            Broker::Reload => println!("{verb} mosquitto: reads its accounts again"),
            Broker::Restart => println!("{verb} mosquitto: starts afresh"),
        }
    }
}

/// Applies a folder, or says what applying it would change.
///
/// # Errors
/// When the folder is damaged, or a step fails; the message names the step.
pub fn run(host: &Host, folder: &Path, dry_run: bool) -> Result<ExitCode> {
    let bundle = Bundle::read(folder).with_context(|| format!("reading {}", folder.display()))?;
    let ruleset: Value =
        serde_json::from_slice(bundle.content(RULESET_PATH)?).context("reading the ruleset")?;
    firewall::check(&ruleset)?;
    let _alone = host.lock()?;
    let services = Services::of_this_machine();
    let plan = plan(host, &bundle, &ruleset, services)?;
    if dry_run {
        plan.print("would change");
        if plan.is_empty() {
            println!("nothing would change");
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(ExitCode::from(UNSETTLED));
    }
    if plan.is_empty() {
        println!(
            "nothing to do: the machine is as rendered for {}/{}",
            bundle.manifest.site, bundle.manifest.bastion
        );
        return Ok(ExitCode::SUCCESS);
    }
    carry_out(host, &bundle, &ruleset, services, &plan)?;
    plan.print("changed");
    Ok(ExitCode::SUCCESS)
}

fn plan(host: &Host, bundle: &Bundle, ruleset: &Value, services: Services) -> Result<Plan> {
    let files = files::outdated(host, bundle)?;
    let changed = |paths: &[&str]| files.iter().any(|(path, _)| paths.contains(&path.as_str()));
    // Without a manifest nobody knows what systemd and the broker have read.
    let unfinished = applied(host)?.is_none();
    let units = unfinished || files::units_changed(&files);
    let broker = if units || changed(&[MOSQUITTO_CONF_PATH]) || !services.broker_runs()? {
        Broker::Restart
    } else if changed(&[PASSWD_PATH, ACL_PATH]) {
        Broker::Reload
    } else {
        Broker::Leave
    };
    Ok(Plan {
        firewall: firewall::differences(ruleset)?,
        files,
        units,
        broker,
    })
}

fn carry_out(
    host: &Host,
    bundle: &Bundle,
    ruleset: &Value,
    services: Services,
    plan: &Plan,
) -> Result<()> {
    if !plan.firewall.is_empty() {
        info!(reason = %plan.firewall.join("; "), "loading the firewall");
        firewall::load(ruleset)?;
        let left = firewall::differences(ruleset)?;
        ensure!(
            left.is_empty(),
            "the firewall does not read back as rendered: {}; nothing else was done",
            left.join("; ")
        );
    }
    files::forget(host)?;
    files::install(host, bundle, &plan.files)?;
    if plan.units {
        services.units_changed()?;
    }
    match plan.broker {
        Broker::Leave => {}
        Broker::Reload => services.reload_broker()?,
        Broker::Restart => services.restart_broker()?,
    }
    files::record(host, bundle)
}

/// The manifest that was applied last, to the end; none when no run came so far.
pub(crate) fn applied(host: &Host) -> Result<Option<String>> {
    let content = read_if_present(&host.path(APPLIED_PATH))?;
    content
        .map(|content| String::from_utf8(content).context("reading the applied manifest"))
        .transpose()
}
