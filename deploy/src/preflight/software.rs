//! Packages, systemd, the broker, and what an earlier release left.

use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::{Bastion, Site};

use super::{Context, Finding, list, refuse, warn};
use crate::facts::{Facts, Version};

/// The oldest broker whose files the project writes.
const LEAST_BROKER: Version = Version(2, 0, 11);
/// The oldest systemd that knows every line of the units.
const LEAST_SYSTEMD: Version = Version(247, 0, 0);

pub(super) fn check(
    site: &Site,
    bastion: &Bastion,
    facts: &Facts,
    context: &Context,
    findings: &mut Vec<Finding>,
) {
    systemd(facts, findings);
    packages(facts, context, findings);
    broker(facts, context, findings);
    ports(facts, findings);
    ours(site, bastion, facts, context, findings);
}

fn systemd(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.systemd_unseen() {
        findings.push(refuse(
            "no-systemd",
            format!(
                "process 1 is {:?} and not systemd, which starts the policy and the broker",
                facts.init
            ),
            "use Raspberry Pi OS or Debian as it comes".to_owned(),
        ));
    } else if let Some(version) = facts.systemd
        && version < LEAST_SYSTEMD
    {
        findings.push(refuse(
            "systemd-old",
            format!("systemd is {version}, and the units need {LEAST_SYSTEMD}"),
            "update the distribution to Debian 12 (bookworm) or later".to_owned(),
        ));
    }
    if !facts.failed_units.is_empty() {
        findings.push(warn(
            "failed-units",
            format!(
                "units have failed before anything was done: {}",
                list(&facts.failed_units)
            ),
            "on the Pi: systemctl --failed; journalctl -b -u UNIT".to_owned(),
        ));
    }
}

fn packages(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    if !facts.broken_packages.is_empty() {
        let first = facts.broken_packages.lines().next().unwrap_or_default();
        findings.push(refuse(
            "packages-broken",
            format!("dpkg has packages that are half installed: {first}"),
            "on the Pi: sudo dpkg --configure -a && sudo apt-get --fix-broken install".to_owned(),
        ));
    }
    if !facts.locks.is_empty() {
        findings.push(warn(
            "packages-locked",
            format!("another program is installing packages: {} is held", list(&facts.locks)),
            "wait until it ends; on the Pi: systemctl status apt-daily apt-daily-upgrade; ps -C apt-get,unattended-upgr"
                .to_owned(),
        ));
    }
    if facts.sources == Some(0) && !context.offline {
        findings.push(refuse(
            "no-sources",
            "no package sources stand in /etc/apt".to_owned(),
            "put the distribution's lines back into /etc/apt/sources.list, or deploy with --offline".to_owned(),
        ));
    }
}

fn broker(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    let package = facts.package("mosquitto");
    let version = |text: Option<&String>| text.and_then(|text| Version::first_in(text));
    let installed = version(package.and_then(|package| package.installed.as_ref()));
    let candidate = version(package.and_then(|package| package.candidate.as_ref()));
    match (installed, candidate) {
        (Some(old), Some(newer)) if old < LEAST_BROKER && newer >= LEAST_BROKER => findings.push(refuse(
            "broker-old",
            format!("Mosquitto {old} is installed, and {LEAST_BROKER} is needed; {newer} can be had"),
            "on the Pi: sudo apt-get install --only-upgrade mosquitto".to_owned(),
        )),
        (Some(old), _) | (None, Some(old)) if old < LEAST_BROKER => findings.push(refuse(
            "broker-old",
            format!("Mosquitto is {old}, and {LEAST_BROKER} is needed; the distribution has no newer one"),
            "update the distribution to Debian 12 (bookworm) or later".to_owned(),
        )),
        // Without lists nobody can tell yet; they are fetched before anything is installed.
        (None, None) if facts.package_lists.is_some_and(|lists| lists > 0) && !context.offline => findings.push(refuse(
            "no-broker",
            "the package sources have no mosquitto".to_owned(),
            "on the Pi: see that /etc/apt/sources.list has the component main, then sudo apt-get update".to_owned(),
        )),
        _ => {}
    }
    let strange: Vec<&String> = facts
        .broker_files
        .iter()
        .filter(|name| name.ends_with(".conf"))
        .collect();
    if !strange.is_empty() {
        findings.push(warn(
            "broker-files",
            format!("/etc/mosquitto/conf.d holds {}, which the broker will no longer read", list(&strange)),
            "move what you still need into the site file; then on the Pi: sudo mv /etc/mosquitto/conf.d/*.conf /root/"
                .to_owned(),
        ));
    }
    if facts.deployed.is_none()
        && facts.runs("mosquitto.service")
        && facts
            .listeners
            .iter()
            .any(|listener| listener.port == MQTT_PORT && !listener.loopback)
    {
        findings.push(warn(
            "broker-in-use",
            "a broker already serves the network here: its settings and accounts are replaced by those of the site"
                .to_owned(),
            "see that every meter and reader stands in the site file; on the Pi: sudo cp -a /etc/mosquitto /root/".to_owned(),
        ));
    }
}

fn ports(facts: &Facts, findings: &mut Vec<Finding>) {
    for listener in &facts.listeners {
        let wanted = [MQTT_PORT, MQTT_LOOPBACK_PORT].contains(&listener.port);
        let ours = listener.program == "mosquitto"
            || (listener.program.is_empty() && facts.runs("mosquitto.service"));
        if wanted && !ours {
            let program = if listener.program.is_empty() {
                "another program"
            } else {
                &listener.program
            };
            let port = listener.port;
            findings.push(refuse(
                "port-taken",
                format!("{program} listens on port {port}, which the broker needs"),
                format!("on the Pi: sudo ss -ltnp 'sport = :{port}'; then stop it and take it out of the boot"),
            ));
            return;
        }
    }
}

fn ours(
    site: &Site,
    bastion: &Bastion,
    facts: &Facts,
    context: &Context,
    findings: &mut Vec<Finding>,
) {
    if let Some(deployed) = &facts.deployed
        && (deployed.site != site.name || deployed.bastion != bastion.name)
        && !context.take_over
    {
        findings.push(refuse(
            "other-bastion",
            format!(
                "this is the bastion {:?} of the site {:?}, and not {:?} of {:?}: its meters would be shut out",
                deployed.bastion, deployed.site, bastion.name, site.name
            ),
            "correct ssh = \"…\" of the bastion in the site file; or, if it shall serve this site from now on, \
             deploy with --take-over"
                .to_owned(),
        ));
    }
    if !facts.transaction.is_empty() {
        findings.push(warn(
            "unfinished",
            "an earlier change waits for its confirmation, or was cut short".to_owned(),
            "if somebody else deploys now, wait; otherwise go on: it is taken back or repaired first. \
             On the Pi: sudo bastion status"
                .to_owned(),
        ));
    }
    if facts.deployed.is_some() && facts.program.is_none() {
        findings.push(warn(
            "program-gone",
            "a release is in place, and its program /usr/local/sbin/bastion does not answer".to_owned(),
            "go on: it is put back; if it happens again, see whether the card is damaged: sudo dmesg | grep -i mmc".to_owned(),
        ));
    }
}
