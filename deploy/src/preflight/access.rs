//! Whether the operator can do the work, and gets in again once the policy stands.

use std::net::IpAddr;

use site::flow::SSH_PORT;
use site::{Bastion, Site};

use super::{Finding, list, refuse, warn};
use crate::facts::{Facts, Sudo};

pub(super) fn check(site: &Site, bastion: &Bastion, facts: &Facts, findings: &mut Vec<Finding>) {
    root(facts, findings);
    source(site, bastion, facts, findings);
    port(facts, findings);
}

fn root(facts: &Facts, findings: &mut Vec<Finding>) {
    let user = &facts.user;
    match facts.sudo {
        Sudo::Root | Sudo::Yes => {}
        Sudo::Password => findings.push(refuse(
            "sudo-password",
            format!("sudo asks {user} for a password, or refuses: nobody is there to type one"),
            format!("on the Pi: echo '{user} ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/010_{user}"),
        )),
        Sudo::Absent => findings.push(refuse(
            "no-sudo",
            format!("{user} is not root, and there is no sudo"),
            format!(
                "on the Pi: su -c \"apt-get install sudo && echo '{user} ALL=(ALL) NOPASSWD: ALL' \
                 > /etc/sudoers.d/010_{user}\""
            ),
        )),
        Sudo::Unknown => findings.push(refuse(
            "sudo-unknown",
            "nobody could tell whether sudo works".to_owned(),
            "on the Pi: sudo -n true; it must say nothing".to_owned(),
        )),
    }
}

/// The first source that comes back is the one that just came.
fn source(site: &Site, bastion: &Bastion, facts: &Facts, findings: &mut Vec<Finding>) {
    let Some((from, to, _)) = facts.ssh_from else {
        findings.push(warn(
            "source-unknown",
            "the machine does not say from where we are connected, so nobody can tell whether we get in again"
                .to_owned(),
            "see that the address you come from stands in lan.admins of the site file".to_owned(),
        ));
        return;
    };
    if !site.lan.admins.contains(&from) {
        let admins = list(&site.lan.admins);
        let (what, remedy) = if bastion.gateways.contains(&from) {
            (
                format!("we arrive there as {from}, the router's own address: the router masquerades, and hides who comes"),
                "switch masquerading off in the router between LAN and bastion, or deploy from a machine that reaches \
                 the bastion without the router"
                    .to_owned(),
            )
        } else if bastion.addresses.contains(&from) || from.is_loopback() {
            (
                format!(
                    "we arrive there as {from}, its own address: the connection goes through a tunnel on the Pi itself"
                ),
                format!("deploy from one of the admins ({admins}) directly"),
            )
        } else if inside(site, from) {
            (
                format!(
                    "we arrive there as {from}, which is not an admin ({admins}): the policy would lock us out"
                ),
                format!(
                    "add \"{from}\" to lan.admins of the site file if that is this machine, or the jump host that \
                     stays in use; or deploy from an admin's machine"
                ),
            )
        } else {
            (
                format!("we arrive there as {from}, from outside the LAN, and only admins ({admins}) get in afterwards"),
                "go through a machine of the LAN (ProxyJump in ~/.ssh/config) whose address stands in lan.admins"
                    .to_owned(),
            )
        };
        findings.push(refuse("locked-out", what, remedy));
    } else if !bastion.addresses.contains(&to)
        && facts
            .addresses
            .iter()
            .any(|address| address.network.addr() == to)
    {
        findings.push(warn(
            "other-way-in",
            format!(
                "we reached it under {to}, which is not an address of the bastion in the site file"
            ),
            format!(
                "let ssh of the bastion lead to {}",
                list(&bastion.addresses)
            ),
        ));
    }
}

fn inside(site: &Site, address: IpAddr) -> bool {
    site.lan
        .networks
        .iter()
        .any(|network| network.contains(&address))
}

/// The policy opens port 22, and our next connection goes to the port that we came by.
fn port(facts: &Facts, findings: &mut Vec<Finding>) {
    let came_by = facts.ssh_from.map(|(_, _, port)| port);
    let told = (!facts.ssh_ports.is_empty()).then(|| list(&facts.ssh_ports));
    let remedy = || {
        "on the Pi: take the Port line out of /etc/ssh/sshd_config (and sshd_config.d), then sudo systemctl restart \
         ssh; here: take the port out of ssh = \"…\" and ~/.ssh/config"
            .to_owned()
    };
    if let Some(port) = came_by
        && port != SSH_PORT
    {
        findings.push(refuse(
            "ssh-port",
            format!("SSH answers us on port {port}, and the policy lets admins in on port {SSH_PORT} alone"),
            remedy(),
        ));
    } else if let Some(ports) = told
        && !facts.ssh_ports.contains(&SSH_PORT)
    {
        findings.push(refuse(
            "ssh-port",
            format!("the SSH server is told to listen on port {ports} from its next start, and the policy lets \
                     admins in on port {SSH_PORT} alone"),
            remedy(),
        ));
    }
}
