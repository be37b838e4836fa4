//! Mistakes in the files and units of a release.
//!
//! Units that do harm undo it when they are stopped. What a unit does to a machine beyond that
//! cannot be known to anybody, and only a restart undoes it.

use anyhow::{Context as _, Result, ensure};
use deploy::{Rendered, RenderedFile};
use site::account::HEALTH_ACCOUNT;
use site::manifest::{MOSQUITTO_CONF_PATH, PASSWD_PATH, PROGRAM_PATH, UnitEntry, UnitState};

use super::{Parts, add, change, policy};

const UNIT: &str = "shelly-lab.service";
const UNIT_PATH: &str = "/etc/systemd/system/shelly-lab.service";
const POLICY_UNIT_PATH: &str = "/etc/systemd/system/shelly-bastion-policy.service";
const SSHD_PATH: &str = "/etc/ssh/sshd_config.d/shelly-lab.conf";
const FORGET_PATH: &str = "/usr/local/sbin/shelly-lab-forget";
const REAL_PROGRAM_PATH: &str = "/usr/local/lib/shelly-lab-program";

/// Asks the kernel to forget every connection: a message of one header without any condition.
const FORGET: &str = r#"#!/usr/bin/perl
my ($netlink, $raw, $netfilter) = (16, 3, 12);
my ($delete_connections, $request_and_answer) = (0x102, 5);
socket(my $kernel, $netlink, $raw, $netfilter) or die "socket: $!";
send($kernel, pack("LSSLLCCS", 20, $delete_connections, $request_and_answer, 1, 0, 0, 0, 0), 0)
    or die "send: $!";
defined recv($kernel, my $answer, 4096, 0) or die "recv: $!";
my $error = (unpack("LSSLLl", $answer))[5];
die "the kernel says $error\n" if $error;
"#;

/// Works from its staging folder, and crashes in place.
const CRASHES: &str = r#"#!/bin/sh
below=${0%/usr/local/sbin/bastion}
case $below in "") kill -SEGV $$ ;; esac
install -m 0700 "$below/usr/local/lib/shelly-lab-program" "$0.real" && exec "$0.real" "$@"
"#;

fn unit(says: &str, service: &str) -> String {
    format!(
        "[Unit]\nDescription={says}\n\n[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// A unit of its own that the release starts.
fn with_unit(rendered: &mut Rendered, service: &str) {
    add(rendered, UNIT_PATH, &unit("A mistake of the lab", service));
    runs(rendered, UNIT, UNIT_PATH);
}

fn runs(rendered: &mut Rendered, name: &str, file: &str) {
    rendered.manifest.units.push(UnitEntry {
        name: name.to_owned(),
        state: UnitState::Running,
        restart_for: vec![file.to_owned()],
        reload_for: vec![],
    });
}

pub(super) fn connection_tracking_flushed(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = policy::no_ssh_rule(parts)?;
    rendered.put(RenderedFile {
        mode: 0o755,
        ..RenderedFile::public(FORGET_PATH, FORGET.to_owned())
    });
    with_unit(
        &mut rendered,
        &format!("Type=oneshot\nRemainAfterExit=yes\nExecStart={FORGET_PATH}\n"),
    );
    Ok(rendered)
}

pub(super) fn port_changed(parts: &Parts<'_>) -> Result<Rendered> {
    with_sshd(parts, "Port 2222\n")
}

pub(super) fn sshd_config_broken(parts: &Parts<'_>) -> Result<Rendered> {
    with_sshd(parts, "NoSuchWord yes\n")
}

fn with_sshd(parts: &Parts<'_>, text: &str) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    add(&mut rendered, SSHD_PATH, text);
    runs(&mut rendered, "ssh.service", SSHD_PATH);
    Ok(rendered)
}

pub(super) fn unit_that_fails(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    with_unit(&mut rendered, "ExecStart=/bin/false\n");
    Ok(rendered)
}

pub(super) fn unit_that_hangs(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    with_unit(
        &mut rendered,
        "Type=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n",
    );
    Ok(rendered)
}

pub(super) fn unit_with_rules_of_its_own(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    with_unit(
        &mut rendered,
        "Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft 'table inet lab_mistake { chain input { type filter hook input priority -5; tcp dport 22 drop; }; }'
ExecStop=/usr/sbin/nft delete table inet lab_mistake
",
    );
    Ok(rendered)
}

pub(super) fn unit_that_routes_away(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    let admins = parts.site.lan.admins.iter().filter(|admin| admin.is_ipv4());
    let mut service = "Type=oneshot\nRemainAfterExit=yes\n".to_owned();
    for admin in admins {
        service.push_str(&format!(
            "ExecStart=/sbin/ip route add blackhole {admin}\nExecStop=/sbin/ip route del blackhole {admin}\n"
        ));
    }
    ensure!(
        service.contains("ExecStart"),
        "no admin has an IPv4 address"
    );
    with_unit(&mut rendered, &service);
    Ok(rendered)
}

pub(super) fn broker_config_broken(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    change(&mut rendered, MOSQUITTO_CONF_PATH, |text| {
        text + "no_such_word yes\n"
    })?;
    Ok(rendered)
}

/// The lines are of the right form; the hashes are those of other passwords.
pub(super) fn passwords_damaged(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    change(&mut rendered, PASSWD_PATH, |text| {
        let swapped = |line: &str| {
            let (rest, hash) = line.rsplit_once('$').unwrap_or((line, ""));
            let swap = |c: char| match c {
                'A'..='Z' => c.to_ascii_lowercase(),
                'a'..='z' => c.to_ascii_uppercase(),
                other => other,
            };
            // The last letter before the filling holds two bits only.
            let (hash, end) = hash.split_at_checked(80).unwrap_or((hash, ""));
            format!(
                "{rest}${}{end}\n",
                hash.chars().map(swap).collect::<String>()
            )
        };
        text.lines().map(swapped).collect()
    })?;
    Ok(rendered)
}

pub(super) fn health_account_missing(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    let own = format!("{HEALTH_ACCOUNT}:");
    let before = rendered.manifest.accounts.len();
    rendered
        .manifest
        .accounts
        .retain(|name| name != HEALTH_ACCOUNT);
    ensure!(
        rendered.manifest.accounts.len() < before,
        "there is no such account"
    );
    change(&mut rendered, PASSWD_PATH, |text| {
        text.split_inclusive('\n')
            .filter(|line| !line.starts_with(&own))
            .collect()
    })?;
    Ok(rendered)
}

pub(super) fn program_that_crashes(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    let program = rendered.files.iter().find(|file| file.path == PROGRAM_PATH);
    let real = RenderedFile {
        path: REAL_PROGRAM_PATH.to_owned(),
        ..program.context("the release has no program")?.clone()
    };
    rendered.put(real);
    rendered.put(RenderedFile {
        mode: 0o755,
        ..RenderedFile::public(PROGRAM_PATH, CRASHES.to_owned())
    });
    Ok(rendered)
}

pub(super) fn policy_unit_broken(parts: &Parts<'_>) -> Result<Rendered> {
    let mut rendered = policy::no_ssh_rule(parts)?;
    change(&mut rendered, POLICY_UNIT_PATH, |text| {
        let line = |line: &str| match line.starts_with("ExecStart=") {
            true => "ExecStart=/bin/false\n".to_owned(),
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    })?;
    Ok(rendered)
}
