//! Other firewalls beside ours. What they refuse ours cannot open, and what ours refuses they
//! cannot open: a packet has to pass all of them.

use super::{Finding, list, refuse, warn};
use crate::facts::{Facts, Sudo, Version};

/// The oldest nftables that the project's rules were loaded with.
const LEAST_NFT: Version = Version(1, 0, 0);

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    nft(facts, findings);
    let on_pi = |command: &str| format!("on the Pi: {command}");
    if facts.ufw_active
        || facts
            .unit("ufw.service")
            .is_some_and(|unit| unit.active && facts.has("ufw") && ufw_chains(facts))
    {
        findings.push(warn(
            "ufw",
            "UFW is switched on: what it refuses stays refused, meters on port 1883 perhaps among it".to_owned(),
            on_pi("sudo ufw disable"),
        ));
    }
    if facts.runs("firewalld.service") {
        findings.push(warn(
            "firewalld",
            "firewalld runs: what it refuses stays refused, meters on port 1883 perhaps among it"
                .to_owned(),
            on_pi("sudo systemctl disable --now firewalld"),
        ));
    }
    if facts.runs("docker.service")
        || facts
            .unit("docker.service")
            .is_some_and(|unit| unit.enabled)
    {
        findings.push(warn(
            "docker",
            "Docker runs: the policy forwards nothing, so its containers lose the network and their published ports"
                .to_owned(),
            on_pi("sudo systemctl disable --now docker.socket docker.service, and run the containers elsewhere"),
        ));
    }
    let restores = |name: &str| {
        facts
            .unit(name)
            .is_some_and(|unit| unit.active || unit.enabled)
    };
    if restores("netfilter-persistent.service") {
        findings.push(warn(
            "saved-rules",
            "netfilter-persistent loads saved iptables rules at boot, which stay in force beside the policy".to_owned(),
            on_pi("sudo systemctl disable --now netfilter-persistent"),
        ));
    }
    if facts.flushes && restores("nftables.service") {
        findings.push(warn(
            "flush",
            "/etc/nftables.conf flushes every table, ours among them, whenever nftables.service starts".to_owned(),
            on_pi("sudo systemctl disable nftables; its own rules, if any, belong into a table without flush ruleset"),
        ));
    }
    foreign(facts, findings);
}

fn nft(facts: &Facts, findings: &mut Vec<Finding>) {
    let may_look = matches!(facts.sudo, Sudo::Root | Sudo::Yes);
    if facts.has("nft") && facts.tables.is_none() && may_look {
        findings.push(refuse(
            "nft-kernel",
            format!("nft is there, and the kernel ({}) refuses to list its tables", facts.kernel),
            "on the Pi: sudo nft list tables; sudo modprobe nf_tables; reboot after a kernel update".to_owned(),
        ));
    }
    let package = facts.package("nftables");
    let candidate = package
        .and_then(|package| package.candidate.as_deref())
        .and_then(Version::first_in);
    if let Some(version) = facts.nft.or(candidate)
        && version < LEAST_NFT
    {
        findings.push(refuse(
            "nft-old",
            format!("nftables is {version}, and the policy needs {LEAST_NFT}"),
            "update the distribution to Debian 12 (bookworm) or later".to_owned(),
        ));
    }
}

fn ufw_chains(facts: &Facts) -> bool {
    facts
        .chains
        .iter()
        .any(|chain| chain.name.starts_with("ufw"))
}

/// Chains that drop by default and are none of those named above.
fn foreign(facts: &Facts, findings: &mut Vec<Finding>) {
    let explained = facts.ufw_active
        || ufw_chains(facts)
        || facts.runs("docker.service")
        || facts.runs("firewalld.service");
    let strangers: Vec<String> = facts
        .chains
        .iter()
        .filter(|chain| chain.drops && matches!(chain.hook.as_str(), "input" | "output"))
        .filter(|chain| !chain.table.contains(site::manifest::TABLE))
        .map(|chain| format!("{} {}", chain.table, chain.name))
        .collect();
    if !strangers.is_empty() && !explained {
        findings.push(warn(
            "foreign-rules",
            format!("other firewall rules drop what they do not name ({}): they stay in force beside the policy", list(&strangers)),
            "on the Pi: sudo nft list ruleset; take out what is not needed, and the file that loads it".to_owned(),
        ));
    }
    let legacy: Vec<&String> = facts
        .legacy_tables
        .iter()
        .filter(|table| table.ends_with("filter"))
        .collect();
    if !legacy.is_empty() && !explained {
        findings.push(warn(
            "legacy-rules",
            format!(
                "rules of the older iptables may be loaded ({})",
                list(&legacy)
            ),
            "on the Pi: sudo iptables-legacy -S; sudo ip6tables-legacy -S; take them out"
                .to_owned(),
        ));
    }
}
