//! From sections to facts: each from its own section, and none trusted to be there.

use std::net::IpAddr;

use ipnet::IpNet;

use super::sections::Sections;
use super::{
    Address, Chain, Deployed, Disk, Facts, Listener, Mount, Package, Route, Sudo, Unit, Version,
};

pub(super) fn facts(sections: &Sections<'_>) -> Facts {
    let first = |name: &str| sections.first(name).to_owned();
    let number = |name: &str| leading_number(sections.first(name));
    let words = |name: &str| {
        sections
            .lines(name)
            .iter()
            .map(|line| line.trim().to_owned())
    };
    Facts {
        user: first("user"),
        sudo: match sections.first("sudo") {
            "root" => Sudo::Root,
            "yes" => Sudo::Yes,
            "password" => Sudo::Password,
            "absent" => Sudo::Absent,
            _ => Sudo::Unknown,
        },
        architecture: first("architecture"),
        foreign_architectures: words("foreign").collect(),
        machine: first("machine"),
        kernel: first("kernel"),
        arm: arm(sections),
        loaders: words("loaders").collect(),
        glibc: Version::first_in(sections.first("glibc")),
        os: os_release(sections, "ID"),
        os_version: os_release(sections, "VERSION_ID"),
        os_name: os_release(sections, "PRETTY_NAME"),
        model: first("model"),
        kernel_words: words("cmdline").collect(),
        mounts: sections
            .lines("mounts")
            .iter()
            .filter_map(|line| mount(line))
            .collect(),
        disks: sections
            .lines("disks")
            .iter()
            .filter_map(|line| disk(line))
            .collect(),
        memory_kib: after(sections.lines("memory"), "MemTotal:").and_then(leading_number),
        uptime_s: number("uptime"),
        init: first("init"),
        systemd: Version::first_in(sections.first("systemd")),
        units: units(sections.lines("units")),
        failed_units: words("failed").collect(),
        virtualisation: first("virtual"),
        clock: number("clock"),
        clock_synchronised: match after(sections.lines("clock-state"), "NTPSynchronized=") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        },
        clock_chip: !sections.first("clock-chip").is_empty(),
        programs: words("programs")
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect(),
        nft: Version::first_in(sections.first("nft")),
        tables: (sections.first("nft-tables") == "answer").then(|| {
            words("nft-tables")
                .filter_map(|line| line.strip_prefix("table ").map(str::to_owned))
                .collect()
        }),
        chains: chains(sections.lines("nft-chains")),
        legacy_tables: words("legacy-tables").collect(),
        flushes: !sections
            .lines("flushes")
            .iter()
            .all(|line| is_comment(line)),
        ufw_active: sections.first("ufw") == "Status: active",
        packages: packages(sections.lines("packages")),
        sources: number("sources"),
        package_lists: number("package-lists"),
        broken_packages: sections.lines("broken-packages").join("\n"),
        locks: words("locks").collect(),
        addresses: sections
            .lines("addresses")
            .iter()
            .filter_map(|line| address(line))
            .collect(),
        routes: [sections.lines("routes"), sections.lines("routes6")]
            .concat()
            .iter()
            .filter_map(|line| route(line))
            .collect(),
        resolvers: words("resolvers")
            .filter_map(|line| resolver(&line))
            .collect(),
        ssh_from: ssh_from(sections.first("ssh-connection")),
        ssh_ports: ssh_ports(sections.lines("sshd")),
        listeners: sections
            .lines("listening")
            .iter()
            .filter_map(|line| listener(line))
            .collect(),
        broker_files: words("broker-files").collect(),
        watchdogs: words("watchdog").collect(),
        users: words("users").collect(),
        throttled: after(sections.lines("power"), "throttled=0x")
            .and_then(|bits| u32::from_str_radix(bits, 16).ok()),
        program: program(sections.first("program")),
        deployed: deployed(sections.lines("manifest")),
        transaction: words("transaction").collect(),
        staging: words("staging").collect(),
    }
}

/// `bastion 0.1.0 (1a2b3c4d)`.
fn program(said: &str) -> Option<String> {
    let version = said.strip_prefix("bastion ").unwrap_or(said);
    (!version.is_empty()).then(|| version.to_owned())
}

fn leading_number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// What follows a word at the front of a line.
fn after<'a>(lines: &'a [String], word: &str) -> Option<&'a str> {
    lines
        .iter()
        .find_map(|line| line.trim_start().strip_prefix(word))
        .map(str::trim)
}

/// `3:# flush ruleset`, as grep numbers lines.
fn is_comment(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(_, line)| line.trim_start().starts_with('#'))
}

/// A Pi 1 says `CPU architecture: 7` under some kernels; its model name says ARMv6.
fn arm(sections: &Sections<'_>) -> Option<u32> {
    let cpu = sections.lines("cpu");
    if sections.first("machine").starts_with("armv6")
        || cpu.iter().any(|line| line.contains("ARMv6"))
    {
        return Some(6);
    }
    let said = cpu.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "CPU architecture").then_some(value)
    })?;
    leading_number(said).and_then(|number| u32::try_from(number).ok())
}

fn os_release(sections: &Sections<'_>, key: &str) -> String {
    let value = sections.lines("os").iter().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    value.unwrap_or_default()
}

/// A line of `/proc/mounts`.
fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split_whitespace().skip(1);
    Some(Mount {
        on: words.next()?.to_owned(),
        kind: words.next()?.to_owned(),
        options: words.next()?.split(',').map(str::to_owned).collect(),
    })
}

/// A folder, and `df -Pk`'s line of it: device, size, used, free, part, mounted on.
fn disk(line: &str) -> Option<Disk> {
    let mut words = line.split_whitespace();
    let folder = words.next()?.to_owned();
    let mut numbers = words.skip(1).map(str::parse::<u64>);
    let (total_kib, _, free_kib) = (
        numbers.next()?.ok()?,
        numbers.next()?,
        numbers.next()?.ok()?,
    );
    Some(Disk {
        folder,
        total_kib,
        free_kib,
    })
}

/// `systemctl show`'s blocks. The order of keys in one is systemd's own, and `Id` may come late,
/// but each key comes once; so a key seen again begins the next block.
fn units(lines: &[String]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut unit = Unit::default();
    for (key, value) in lines.iter().filter_map(|line| line.split_once('=')) {
        if seen.contains(&key) {
            units.push(std::mem::take(&mut unit));
            seen.clear();
        }
        seen.push(key);
        match key {
            "Id" => value.clone_into(&mut unit.name),
            "LoadState" => unit.loaded = value == "loaded",
            "ActiveState" => unit.active = matches!(value, "active" | "activating" | "reloading"),
            "UnitFileState" => unit.enabled = value.starts_with("enabled"),
            _ => {}
        }
    }
    units.push(unit);
    units.retain(|unit| !unit.name.is_empty());
    units
}

/// `nft list chains`.
fn chains(lines: &[String]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = String::new();
    for line in lines.iter().map(|line| line.trim()) {
        if let Some(name) = line.strip_prefix("table ") {
            name.trim_end_matches(['{', ' ']).clone_into(&mut table);
        } else if let Some(name) = line.strip_prefix("chain ") {
            chains.push(Chain {
                table: table.clone(),
                name: name.trim_end_matches(['{', '}', ' ']).to_owned(),
                ..Chain::default()
            });
        } else if let Some((_, hook)) = line.split_once(" hook ")
            && let Some(chain) = chains.last_mut()
        {
            hook.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut chain.hook);
            chain.drops = hook.contains("policy drop");
        }
    }
    chains
}

/// `apt-cache policy`.
fn packages(lines: &[String]) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    let known =
        |version: &str| Some(version.trim().to_owned()).filter(|version| version != "(none)");
    for line in lines {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            packages.push(Package {
                name: name.to_owned(),
                ..Package::default()
            });
        } else if let Some(package) = packages.last_mut() {
            if let Some(version) = line.trim().strip_prefix("Installed:") {
                package.installed = known(version);
            } else if let Some(version) = line.trim().strip_prefix("Candidate:") {
                package.candidate = known(version);
            }
        }
    }
    packages
}

/// `2: eth0    inet 192.168.2.2/24 brd … scope global dynamic noprefixroute eth0\  …`.
fn address(line: &str) -> Option<Address> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let family = words
        .iter()
        .position(|word| *word == "inet" || *word == "inet6")?;
    let network: IpNet = words.get(family + 1).and_then(|text| {
        // A peer's address has no length.
        text.parse()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    })?;
    Some(Address {
        interface: words.get(1)?.split('@').next()?.to_owned(),
        network,
        global: words.windows(2).any(|pair| pair == ["scope", "global"]),
        dynamic: words.contains(&"dynamic"),
    })
}

/// `default via 192.168.2.1 dev eth0 …`.
fn route(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    (words.first() == Some(&"default")).then_some(())?;
    Some(Route {
        via: value("via")?.parse().ok()?,
        interface: value("dev")?.to_owned(),
    })
}

/// `nameserver 192.168.2.1`.
fn resolver(line: &str) -> Option<IpAddr> {
    let address = line.split_whitespace().nth(1)?;
    address.split('%').next()?.parse().ok()
}

/// `CLIENT PORT SERVER PORT`. A link-local address carries its interface behind `%`.
fn ssh_from(line: &str) -> Option<(IpAddr, IpAddr, u16)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| -> Option<IpAddr> {
        let address: IpAddr = words.get(at)?.split('%').next()?.parse().ok()?;
        Some(address.to_canonical())
    };
    Some((address(0)?, address(2)?, words.get(3)?.parse().ok()?))
}

/// `port 22`, and ports behind `listenaddress`.
fn ssh_ports(lines: &[String]) -> Vec<u16> {
    let mut ports: Vec<u16> = lines
        .iter()
        .filter_map(|line| {
            let (key, value) = line.trim().split_once(char::is_whitespace)?;
            key.eq_ignore_ascii_case("port")
                .then(|| value.trim().parse().ok())?
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `LISTEN 0 100 0.0.0.0:1883 0.0.0.0:* users:(("mosquitto",pid=1,fd=5))`.
fn listener(line: &str) -> Option<Listener> {
    let local = line.split_whitespace().nth(3)?;
    let (address, port) = local.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']);
    let address = address.split('%').next().unwrap_or(address);
    let loopback = address
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    let program = line.split('"').nth(1).unwrap_or_default();
    Some(Listener {
        port: port.parse().ok()?,
        loopback,
        program: program.to_owned(),
    })
}

/// Lines of the manifest's JSON, one key each.
fn deployed(lines: &[String]) -> Option<Deployed> {
    let value = |key: &str| {
        lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim().trim_matches('"') == key).then(|| {
                value
                    .trim()
                    .trim_end_matches(',')
                    .trim_matches('"')
                    .to_owned()
            })
        })
    };
    Some(Deployed {
        site: value("site")?,
        bastion: value("bastion")?,
        version: value("version").unwrap_or_default(),
    })
}
