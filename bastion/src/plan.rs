//! What applying a folder would change, computed by the same code that applies it.
//!
//! Works on a machine that has nothing yet: what packages will bring counts as new. Nothing is
//! changed here that a packet or a program could notice.

mod accounts;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;
use site::answer::{self, FileAction, FirewallChange, Plan, Planned, UnitAction, UnitChange};
use site::flow::Policy;
use site::manifest::{
    ACL_PATH, FLOWS_PATH, MOSQUITTO_CONF_PATH, Manifest, PASSWD_PATH, RULESET_PATH,
};

use crate::apply::{applied, outdated};
use crate::bundle::{Bundle, parse_manifest};
use crate::cli::UNSETTLED;
use crate::host::{Host, read_if_present};
use crate::verify::{self, Compared};
use crate::{firewall, packages, say, service, transaction, units};

/// The broker's unit; where there is no systemd, it is a process of its own.
pub(crate) const BROKER_UNIT: &str = "mosquitto.service";

/// A folder that was read, and what putting it in place means.
#[derive(Debug)]
pub(crate) struct Change {
    /// What arrived.
    pub(crate) bundle: Bundle,
    /// The rules that arrived.
    pub(crate) ruleset: Value,
    /// What changes.
    pub(crate) plan: Plan,
    /// Users that the rules name and the machine does not know.
    pub(crate) unknown: Vec<String>,
    /// systemd has to read its units again.
    pub(crate) read_units: bool,
}

/// Says what applying a folder would change; when nothing would, and `verify` is asked for, also
/// what holds of what is in place.
///
/// # Errors
/// When the folder is damaged, or the machine cannot be looked at.
pub fn run(host: &Host, folder: &Path, verify: bool, json: bool) -> Result<ExitCode> {
    let _alone = host.lock()?;
    let Change { plan, .. } = Change::of(host, folder)?;
    let nothing = plan.is_empty();
    let verify = (verify && nothing).then(|| verify::report_after(host, Compared::Everything));
    if json {
        say::json(&Planned { plan, verify })?;
    } else {
        say::plan(&plan, "would change");
        if nothing {
            say::line("nothing would change");
        }
        if let Some(report) = verify {
            say::line(report.to_string().trim_end());
        }
    }
    Ok(if nothing {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNSETTLED)
    })
}

impl Change {
    /// Reads a folder and compares the machine with it.
    ///
    /// # Errors
    /// When the folder is damaged, nft refuses its rules, or the machine cannot be looked at.
    pub(crate) fn of(host: &Host, folder: &Path) -> Result<Change> {
        let bundle =
            Bundle::read(folder).with_context(|| format!("reading {}", folder.display()))?;
        let ruleset: Value =
            serde_json::from_slice(bundle.content(RULESET_PATH)?).context("reading the ruleset")?;
        let packages = if host.has_systemd() {
            packages::lacking(host, &bundle.manifest)?
        } else {
            vec![]
        };
        let unknown = unknown_users(host, &ruleset)?;
        let can_ask = unknown.is_empty() && !packages.iter().any(|one| one.name == "nftables");
        let firewall = firewall_change(host, &ruleset, can_ask, &unknown)?;
        // What is loaded already was taken once.
        if can_ask && firewall.is_some() {
            firewall::check(host, &ruleset)?;
        }
        let files = outdated(host, &bundle)?;
        let before = applied(host)?;
        let repairs = repairs(host, before.is_none())?;
        let paths = units::Files {
            changed: files.iter().map(|file| file.path.as_str()).collect(),
            removed: files
                .iter()
                .filter(|file| file.action == FileAction::Remove)
                .map(|file| file.path.as_str())
                .collect(),
            unfinished: before.is_none(),
        };
        let read_units = units::must_be_read(&paths);
        let before = before.and_then(|text| parse_manifest(&text).ok());
        let units = if host.has_systemd() {
            units::plan(host, &bundle.manifest, before.as_ref(), &paths)?
        } else {
            broker(&paths)?
        };
        let plan = Plan {
            format: answer::FORMAT,
            packages,
            units,
            accounts: accounts::change(host, &bundle)?,
            firewall,
            repairs,
            files,
        };
        Ok(Change {
            bundle,
            ruleset,
            plan,
            unknown,
            read_units,
        })
    }

    /// What of the machine was compared, and is the same already.
    pub(crate) fn compared(&self) -> Compared {
        let rules_stay = self.plan.firewall.is_none()
            && !self.plan.files.iter().any(|file| file.path == RULESET_PATH);
        match () {
            () if self.plan.is_empty() => Compared::Everything,
            () if rules_stay => Compared::Rules,
            () => Compared::Nothing,
        }
    }

    /// What arrived, as a manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }
}

fn unknown_users(host: &Host, ruleset: &Value) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    for user in firewall::users(ruleset) {
        if !host.knows_user(&user)? {
            unknown.push(user);
        }
    }
    Ok(unknown)
}

/// The broker where there is no systemd: a process of its own.
fn broker(files: &units::Files<'_>) -> Result<Vec<UnitChange>> {
    let any = |paths: &[&str]| files.changed.iter().any(|path| paths.contains(path));
    let action = if !service::broker_runs()? {
        Some(UnitAction::Start)
    } else if files.unfinished || any(&[MOSQUITTO_CONF_PATH]) {
        Some(UnitAction::Restart)
    } else if any(&[PASSWD_PATH, ACL_PATH]) {
        Some(UnitAction::Reload)
    } else {
        None
    };
    Ok(action
        .map(|action| UnitChange {
            name: BROKER_UNIT.to_owned(),
            action,
        })
        .into_iter()
        .collect())
}

fn firewall_change(
    host: &Host,
    ruleset: &Value,
    can_ask: bool,
    unknown: &[String],
) -> Result<Option<FirewallChange>> {
    let found = if can_ask {
        firewall::of_loaded(host, ruleset)?
    } else if firewall::is_loaded(host).unwrap_or_default() {
        let of = |user| format!("the new rules name the user {user}, whom a package brings");
        Some(unknown.iter().map(of).collect())
    } else {
        // Without nft nothing of ours can be loaded, either.
        None
    };
    let flows = read_if_present(&host.path(FLOWS_PATH))?;
    // Rules of another version may be of a form that this one does not know.
    let before: Option<Policy> = flows.and_then(|flows| serde_json::from_slice(&flows).ok());
    let Some(differences) = found else {
        let early = can_ask && firewall::in_force(host)?.is_some();
        return Ok(Some(FirewallChange {
            before: before.filter(|_| early).map(|policy| policy.early()),
            differences: vec![firewall::not_loaded()],
        }));
    };
    if differences.is_empty() {
        return Ok(None);
    }
    Ok(Some(FirewallChange {
        before,
        differences,
    }))
}

/// What a run that was cut short left behind.
fn repairs(host: &Host, unfinished: bool) -> Result<Vec<String>> {
    let mut found: Vec<String> = transaction::left_behind(host)?.into_iter().collect();
    // Without our files on it, the machine is new.
    if unfinished && found.is_empty() && host.path(RULESET_PATH).exists() {
        found.push("an earlier run was cut short before its end".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
