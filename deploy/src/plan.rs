//! What a release would change, for people: packages, differences of files, units, accounts, and
//! the firewall in words.
//!
//! What changes is decided on the bastion, by the code that would do it; this only shows its
//! answer, beside what was rendered here. The answer is hostile input: it is bounded, its control
//! characters are neutralised, and of secrets nothing is shown.

mod evaluate;
mod files;
mod firewall;
mod flows;

use site::account::HEALTH_ACCOUNT;
use site::answer::{AccountChange, PackageChange, Plan, UnitAction, UnitChange};
use site::daemon::{DAEMON_ACCOUNT, TICKER_ACCOUNT};
use site::flow::Policy;
use site::{Bastion, Site};

use crate::render::Rendered;
use crate::shown;

/// What a plan is shown against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// The site.
    pub site: &'a Site,
    /// The bastion of it.
    pub bastion: &'a Bastion,
    /// What was rendered for it, with the program if that is carried over.
    pub rendered: &'a Rendered,
    /// The policy that it was rendered with.
    pub policy: &'a Policy,
    /// What the program that is installed so far says of its version, from the facts.
    pub program: Option<&'a str>,
}

/// A plan as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// All of it, several sections, with the summary as its last line; ends with a newline.
    pub text: String,
    /// The last line, `Would change: 3 packages, 17 files. Nothing was changed yet.`
    pub summary: String,
}

/// The unit on which every meter hangs.
const BROKER: &str = "mosquitto.service";
/// Things of one kind that are listed by name.
const MOST_LISTED: usize = 200;

/// Shows a plan.
#[must_use]
pub fn show(plan: &Plan, against: Against<'_>) -> Shown {
    if plan.is_empty() {
        let summary = "Nothing would change.".to_owned();
        let text = format!("{} is as rendered.\n{summary}\n", against.bastion.name);
        return Shown { text, summary };
    }
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(title);
            text.push('\n');
            for line in lines {
                text.push_str(format!("  {line}").trim_end());
                text.push('\n');
            }
            text.push('\n');
        }
    };
    section(
        "Left by a run that was cut short, and made good first",
        bounded(&plan.repairs, |repair| shown::line(repair)),
    );
    section(
        "Packages, from the machine's own sources",
        bounded(&plan.packages, package),
    );
    section("Files", files::lines(&plan.files, &against));
    section("What runs", units(&plan.units));
    section(
        "Accounts of the broker",
        accounts(&plan.accounts, against.site),
    );
    if let Some(change) = &plan.firewall {
        section(
            "The firewall",
            firewall::lines(against.site, against.bastion, change, against.policy),
        );
    }
    let summary = summary(plan);
    text.push_str(&summary);
    text.push('\n');
    Shown { text, summary }
}

fn summary(plan: &Plan) -> String {
    let accounts = &plan.accounts;
    let mut parts: Vec<String> = [
        (plan.repairs.len(), "repair"),
        (plan.packages.len(), "package"),
        (plan.files.len(), "file"),
        (plan.units.len(), "unit"),
        (
            accounts.added.len() + accounts.removed.len() + accounts.password.len(),
            "account",
        ),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| count(number, what))
    .collect();
    if plan.firewall.is_some() {
        parts.push("the firewall".to_owned());
    }
    format!(
        "Would change: {}. Nothing was changed yet.",
        parts.join(", ")
    )
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn bounded<T>(things: &[T], words: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = things.iter().take(MOST_LISTED).map(words).collect();
    if things.len() > MOST_LISTED {
        lines.push(format!("… and {} more", things.len() - MOST_LISTED));
    }
    lines
}

fn package(package: &PackageChange) -> String {
    let name = shown::line(&package.name);
    let least = package.at_least.as_ref().map(|least| shown::line(least));
    match (&package.installed, least) {
        (None, None) => format!("{name}: will be installed"),
        (None, Some(least)) => format!("{name}: will be installed, {least} or later"),
        (Some(installed), least) => {
            let least = least.map_or_else(
                || "a later one".to_owned(),
                |least| format!("{least} or later"),
            );
            format!(
                "{name}: {} is installed, will be {least}",
                shown::line(installed)
            )
        }
    }
}

/// What a change means for meters and readers hangs on the broker alone, so that has its own line.
fn units(changes: &[UnitChange]) -> Vec<String> {
    let mut lines = Vec::new();
    for change in changes.iter().filter(|change| change.name == BROKER) {
        lines.push(match change.action {
            UnitAction::Start => format!("{BROKER} starts, now and at every boot"),
            UnitAction::Enable => {
                format!("{BROKER} starts at every boot from now on; it runs already")
            }
            UnitAction::Restart => {
                format!(
                    "{BROKER} restarts: every meter and reader is disconnected for some seconds"
                )
            }
            UnitAction::Reload => {
                format!("{BROKER} reads its accounts again: nobody is disconnected")
            }
            UnitAction::Unmask => format!("{BROKER} may start again; it is not started now"),
            UnitAction::Stop => {
                format!("{BROKER} stops for good: every meter and reader is disconnected")
            }
        });
    }
    for (action, words) in [
        (UnitAction::Start, "start, now and at every boot:"),
        (
            UnitAction::Enable,
            "start at every boot from now on, and run already:",
        ),
        (
            UnitAction::Restart,
            "restart, and no meter is disconnected:",
        ),
        (
            UnitAction::Reload,
            "read their settings again, and nobody is disconnected:",
        ),
        (UnitAction::Stop, "stop, and cannot start again (masked):"),
        (
            UnitAction::Unmask,
            "may start again (unmasked), and are not started now:",
        ),
    ] {
        let names: Vec<&str> = changes
            .iter()
            .filter(|change| change.action == action && change.name != BROKER)
            .map(|change| change.name.as_str())
            .collect();
        if !names.is_empty() {
            lines.push(words.to_owned());
            lines.extend(bounded(&names, |name| format!("  {}", shown::line(name))));
        }
    }
    lines
}

fn accounts(change: &AccountChange, site: &Site) -> Vec<String> {
    let told = |names: &[String], word: &str, end: &str| {
        bounded(names, |name| {
            let whose = whose(name, site)
                .map(|whose| format!(" ({whose})"))
                .unwrap_or_default();
            format!(
                "{word:<12}  {}{}{end}",
                shown::line(name),
                shown::line(&whose)
            )
        })
    };
    let mut lines = told(&change.added, "new", "");
    lines.extend(told(&change.removed, "removed", ": can log in no more"));
    lines.extend(told(
        &change.password,
        "new password",
        ": the old one is refused",
    ));
    lines
}

/// Who an account belongs to, in the site's words.
fn whose(name: &str, site: &Site) -> Option<String> {
    if name == HEALTH_ACCOUNT {
        return Some("the bastion's own health check".to_owned());
    }
    if [DAEMON_ACCOUNT, TICKER_ACCOUNT].contains(&name) {
        return Some("the bastion's own journal".to_owned());
    }
    if site.readers.iter().any(|reader| reader.name == name) {
        return Some("reader".to_owned());
    }
    let meter = site.meters.iter().find(|meter| meter.id == name)?;
    Some(format!("meter, {}", meter.location))
}
