//! The units that load rules: the early ones before the network, the whole policy in their place,
//! and the table of the device whenever that appears.

use site::manifest::{EARLY_PATH, PROGRAM_PATH, RULESET_PATH, TABLE, UnitEntry, UnitState};

use super::RenderedFile;

pub(super) const EARLY_UNIT: &str = "shelly-bastion-early.service";
const EARLY_UNIT_PATH: &str = "/etc/systemd/system/shelly-bastion-early.service";
pub(in crate::render) const POLICY_UNIT: &str = "shelly-bastion-policy.service";
const POLICY_PATH: &str = "/etc/systemd/system/shelly-bastion-policy.service";
pub(super) const EGRESS_UNIT: &str = "shelly-bastion-egress.service";
const EGRESS_PATH: &str = "/etc/systemd/system/shelly-bastion-egress.service";
/// Behind the rules that name devices, and ahead of those that tell systemd of them.
const UDEV_PATH: &str = "/etc/udev/rules.d/90-shelly-bastion-egress.rules";

/// Programs that configure the network and do not all wait for `network-pre.target`.
const NETWORK: &str = "\
Wants=network-pre.target
Before=network-pre.target shutdown.target
Before=networking.service dhcpcd.service NetworkManager.service systemd-networkd.service
";

/// Debian's own `nftables.service` begins and ends with flushing everything: what happens to it
/// happens to a unit of rules too, so that a restart or reload of it brings our table back.
const WITH_THE_DISTRIBUTIONS: &str = "\
# The distribution's own ruleset begins by flushing everything.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
";

pub(super) fn files(interface: &str) -> Vec<RenderedFile> {
    vec![
        RenderedFile::public(EARLY_UNIT_PATH, early()),
        RenderedFile::public(POLICY_PATH, policy()),
        RenderedFile::public(EGRESS_PATH, egress(interface)),
        RenderedFile::public(UDEV_PATH, appears(interface)),
    ]
}

/// A unit of rules runs and is not started anew: `apply` loads the rules itself, and reads them
/// back.
pub(super) fn loaded(name: &str) -> UnitEntry {
    UnitEntry {
        name: name.to_owned(),
        state: UnitState::Running,
        restart_for: vec![],
        reload_for: vec![],
    }
}

/// Nothing of ours but one file is needed for it: no user, no device, no program of ours. Where
/// the whole policy is loaded it does nothing, since a packet would have to pass both.
fn early() -> String {
    let load = format!(
        "/bin/sh -c '/usr/sbin/nft list table inet {TABLE} >/dev/null 2>&1 \
         || exec /usr/sbin/nft -j -f {EARLY_PATH}'"
    );
    format!(
        "\
[Unit]
Description=Shelly Bastion firewall until the policy is loaded: admins, and nobody else
Documentation=man:nft(8)
DefaultDependencies=no
{NETWORK}Before=shelly-bastion-policy.service
{WITH_THE_DISTRIBUTIONS}ExecStart={load}
ExecReload={load}

[Install]
WantedBy=sysinit.target
"
    )
}

/// When it stops, the broker stops with it.
fn policy() -> String {
    format!(
        "\
[Unit]
Description=Shelly Bastion firewall policy
Documentation=man:nft(8)
DefaultDependencies=no
RequiresMountsFor={PROGRAM_PATH} {RULESET_PATH}
{NETWORK}# Where the policy does not load, the early rules stay.
After=shelly-bastion-early.service
{WITH_THE_DISTRIBUTIONS}ExecStart={PROGRAM_PATH} firewall
ExecReload={PROGRAM_PATH} firewall
# No ExecStop: stopping the unit must not open the bastion.

[Install]
WantedBy=sysinit.target
"
    )
}

/// Loading the policy brings the table of a device that is there. This is for the one that comes
/// later, or comes back: the unit ends with the device, and udev's rule starts it.
fn egress(interface: &str) -> String {
    let device = device_unit(interface);
    format!(
        "\
[Unit]
Description=Shelly Bastion firewall at {interface}: nothing leaves past the policy
Documentation=man:nft(8)
DefaultDependencies=no
BindsTo={device}
Requires=shelly-bastion-policy.service
After={device} shelly-bastion-policy.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={PROGRAM_PATH} firewall --device
"
    )
}

fn appears(interface: &str) -> String {
    format!(
        "\
# Written by shelly-bastion; changes made here are lost.
ACTION!=\"remove\", SUBSYSTEM==\"net\", KERNEL==\"{interface}\", TAG+=\"systemd\", ENV{{SYSTEMD_WANTS}}+=\"{EGRESS_UNIT}\"
"
    )
}

/// systemd's name for the unit of a device, as `systemd-escape` spells it.
fn device_unit(interface: &str) -> String {
    let escaped: String = interface
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("\\x{other:02x}"),
        })
        .collect();
    format!("sys-subsystem-net-devices-{escaped}.device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_systemd_does() {
        for (interface, unit) in [
            ("eth0", "sys-subsystem-net-devices-eth0.device"),
            ("enp1s0.7", "sys-subsystem-net-devices-enp1s0.7.device"),
            ("br-dmz", "sys-subsystem-net-devices-br\\x2ddmz.device"),
        ] {
            assert_eq!(device_unit(interface), unit);
        }
    }

    /// What cannot be there at every start cannot keep the early rules from loading.
    #[test]
    fn the_early_unit_needs_neither_device_nor_program_of_ours() {
        let early = early();
        let needs = ["Requires=", "BindsTo=", "Requisite=", "RequiresMountsFor="];
        let needing = |line: &&str| needs.iter().any(|need| line.starts_with(need));
        assert_eq!(early.lines().find(needing), None);
        assert!(!early.contains(PROGRAM_PATH), "{early}");
        assert!(early.contains("Before=network-pre.target"), "{early}");
    }
}
