//! Lets the whole LAN in by SSH, for minutes: the way in after the admin's address changed.
//!
//! The loaded rules have a set for it, which is empty; what is put there leaves it by itself.
//! Asking needs the Pi's own console, or a file on the boot partition, which whoever holds the
//! card can write. What the set means is said in the policy.

mod console;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use site::answer::Event;
use site::flow::{CONSOLE_RULE_V4, CONSOLE_RULE_V6, CONSOLE_SET_V4, CONSOLE_SET_V6, Match, Policy};
use site::manifest::FLOWS_PATH;
use tracing::{info, warn};

use crate::host::{Host, read_text};
use crate::{durable, firewall, history, release, say};

/// The sets of the loaded table, for IPv4 and IPv6.
const SETS: [&str; 2] = [CONSOLE_SET_V4, CONSOLE_SET_V6];
/// The rules that name who may be let in.
const RULES: [&str; 2] = [CONSOLE_RULE_V4, CONSOLE_RULE_V6];
const LONGEST: Duration = Duration::from_secs(3600);
/// For how long the file on the boot partition opens.
const BY_FILE: Duration = Duration::from_secs(600);
/// Where the boot partition is: first what Raspberry Pi OS has from bookworm on.
const BOOT_FILES: [&str; 2] = [
    "/boot/firmware/shelly-bastion-open",
    "/boot/shelly-bastion-open",
];

/// Opens from the console.
///
/// # Errors
/// When it is not asked at the console, the time is too long, or the rules know no such set.
pub fn run(host: &Host, time: Duration) -> Result<ExitCode> {
    ensure!(
        !time.is_zero() && time <= LONGEST,
        "--for takes up to {}, for example --for 10m",
        humantime::format_duration(LONGEST)
    );
    console::ensure_here()?;
    open(host, time, "console")?;
    Ok(ExitCode::SUCCESS)
}

/// Opens when the file is on the boot partition. It is removed first, so that it opens once.
///
/// # Errors
/// When the file cannot be removed, or the rules know no such set.
pub fn from_boot_file(host: &Host) -> Result<ExitCode> {
    let there: Vec<&str> = BOOT_FILES
        .into_iter()
        .filter(|file| fs::symlink_metadata(host.path(file)).is_ok())
        .collect();
    if there.is_empty() {
        say::line("no file on the boot partition asks for SSH");
        return Ok(ExitCode::SUCCESS);
    }
    for file in there {
        durable::remove(host, &host.path(file)).with_context(|| {
            format!("{file} asks for SSH, but cannot be removed, so SSH stays closed")
        })?;
    }
    open(host, BY_FILE, "boot partition")?;
    Ok(ExitCode::SUCCESS)
}

fn open(host: &Host, time: Duration, by: &str) -> Result<()> {
    let _alone = host.lock()?;
    let networks = lan(host)?;
    let (table, listing) = firewall::in_force(host)?
        .context("the bastion's rules are not loaded, so they keep nobody out")?;
    let commands = commands(table.name, &listing, &networks, time)?;
    firewall::change(host, &commands).context("opening SSH to the LAN")?;
    let words = format!(
        "SSH is open to {} for {}",
        networks
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        humantime::format_duration(time)
    );
    log(&format!("{words}, asked at the {by}"));
    say::line(&words);
    let current = release::in_place(host)?.unwrap_or_default();
    if let Err(error) = history::add(host, &current, Event::Opened, by, "", &words) {
        warn!("writing the history: {error:#}");
    }
    Ok(())
}

/// The networks that the policy would let in.
fn lan(host: &Host) -> Result<Vec<IpNet>> {
    let policy: Policy = serde_json::from_str(&read_text(&host.path(FLOWS_PATH))?)
        .context("reading the flow list")?;
    let rules = policy.rules.into_iter();
    let networks: Vec<IpNet> = rules
        .filter(|rule| RULES.contains(&rule.name.as_str()))
        .flat_map(|rule| rule.matches)
        .filter_map(|condition| match condition {
            Match::Source(networks) => Some(networks),
            _ => None,
        })
        .flatten()
        .collect();
    ensure!(
        !networks.is_empty(),
        "the flow list names nobody who may be let in; apply a newer release first"
    );
    Ok(networks)
}

/// Empties each set, so that asking again begins the time anew, and fills it.
fn commands(table: &str, listing: &Value, networks: &[IpNet], time: Duration) -> Result<Value> {
    let mut commands = Vec::new();
    for (name, v4) in SETS.into_iter().zip([true, false]) {
        let elements: Vec<Value> = networks
            .iter()
            .filter(|network| matches!(network, IpNet::V4(_)) == v4)
            .map(|network| element(network, time))
            .collect();
        if elements.is_empty() {
            continue;
        }
        ensure!(
            set(listing, name).is_some(),
            "the loaded rules have no set {name}; apply a newer release first"
        );
        let about = json!({"family": "inet", "table": table, "name": name});
        commands.push(json!({"flush": {"set": about}}));
        let mut elements_of = about.clone();
        if let Some(fields) = elements_of.as_object_mut() {
            fields.insert("elem".to_owned(), Value::Array(elements));
        }
        commands.push(json!({"add": {"element": elements_of}}));
    }
    Ok(json!({"nftables": commands}))
}

fn element(network: &IpNet, time: Duration) -> Value {
    let value = if network.prefix_len() == network.max_prefix_len() {
        json!(network.addr().to_string())
    } else {
        json!({"prefix": {"addr": network.network().to_string(), "len": network.prefix_len()}})
    };
    json!({"elem": {"val": value, "timeout": time.as_secs()}})
}

fn set<'a>(listing: &'a Value, name: &str) -> Option<&'a Value> {
    let objects = listing.get("nftables")?.as_array()?;
    objects
        .iter()
        .filter_map(|object| object.get("set"))
        .find(|set| set.get("name").and_then(Value::as_str) == Some(name))
}

/// Seconds for which SSH is still open to the LAN; none when it is not.
pub(crate) fn seconds_left(host: &Host) -> Result<Option<u64>> {
    let Some((_, listing)) = firewall::in_force(host)? else {
        return Ok(None);
    };
    let elements = SETS
        .iter()
        .filter_map(|name| set(&listing, name)?.get("elem")?.as_array())
        .flatten();
    Ok(elements
        .filter_map(|element| element.get("elem")?.get("expires")?.as_u64())
        .max())
}

/// Tells the journal: standard error is the console's.
fn log(words: &str) {
    info!("{words}");
    let send = || -> std::io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        // Facility "authorisation", severity "warning", as of syslog(3).
        socket.send_to(format!("<36>bastion: {words}").as_bytes(), "/dev/log")?;
        Ok(())
    };
    if let Err(error) = send() {
        info!("no journal takes this line: {error}");
    }
}
