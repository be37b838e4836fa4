//! What a machine is, as a list that can be compared: files, units, firewall and packages, each
//! with what it is like. What changes by itself is left out, and [`BY_ITSELF`] says why.
//!
//! How two machines should differ is left to the scenarios.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::virtual_pi::machine::Machine;

/// Things that change without anybody deploying: how their names begin, and why. A name that ends
/// with `$` is meant whole.
const BY_ITSELF: [(&str, &str); 18] = [
    (
        "file /etc/resolv.conf$",
        "the DHCP client writes it at each lease",
    ),
    ("file /etc/.pwd.lock$", "made by whoever first adds a user"),
    (
        "file /etc/ld.so.cache$",
        "built anew by packages, without changing what it says",
    ),
    (
        "file /etc/fake-hwclock.data$",
        "the time, at each hour and shutdown",
    ),
    (
        "file /etc/adjtime$",
        "the time service's measure of the hardware clock",
    ),
    ("unit session-", "somebody is logged in"),
    ("unit user@", "somebody is logged in"),
    ("unit user-runtime-dir@", "somebody is logged in"),
    (
        "unit systemd-timedated.service$",
        "answers who asks for the time, and ends",
    ),
    (
        "unit systemd-hostnamed.service$",
        "answers who asks for the name, and ends",
    ),
    (
        "unit systemd-localed.service$",
        "answers who asks for the language, and ends",
    ),
    ("unit apt-daily", "once a day"),
    ("unit dpkg-db-backup", "once a day"),
    (
        "unit shelly-bastion-verify.service$",
        "its timer starts it every few minutes",
    ),
    ("unit fstrim", "once a week"),
    ("unit e2scrub", "once a week"),
    ("unit logrotate.service$", "once a day"),
    (
        "unit systemd-tmpfiles-clean",
        "once a day, and a quarter of an hour after each start",
    ),
];

/// What the machine remembers of deployments: not part of what it is.
pub(crate) const HISTORY: &str = "file /var/lib/shelly-bastion/history.jsonl$";
/// Which release it is.
pub(crate) const IN_PLACE: &str = "file /var/lib/shelly-bastion/in-place$";
/// The folder of what it remembers, which comes with the first release.
pub(crate) const MEMORY: &str = "file /var/lib/shelly-bastion$";
/// Releases that the machine keeps.
pub(crate) const RELEASES: &str = "file /var/lib/shelly-bastion/releases";

const A_WHILE: Duration = Duration::from_secs(180);

/// Parts, each with its heading. Fields are parted by tabs, which no name here has. What is enabled
/// or masked is a link below `/etc`; asking systemd for it costs minutes on an emulated machine.
const LOOK: &str = r#"
export LC_ALL=C
set -e -o pipefail
# A busy emulated machine is slower than systemctl's own patience.
export SYSTEMD_BUS_TIMEOUT=150
roots=
for root in /etc /usr/local /var/lib/shelly-bastion; do [ ! -e $root ] || roots="$roots $root"; done
echo '# files'
find $roots -xdev -printf '%y\t%m\t%u:%g\t%l\t%p\n'
echo '# hashes'
find $roots -xdev -type f -print0 | xargs -0 -r sha256sum --
echo '# active'
systemctl list-units --all --no-pager --no-legend --plain --type=service,timer,socket,path
echo '# rules'
! command -v nft > /dev/null || nft --stateless list ruleset
echo '# packages'
dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n'
"#;

/// What a machine is: name of a thing, such as `file /etc/hosts`, and what it is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing(BTreeMap<String, String>);

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its name.
    pub(crate) thing: String,
    /// What it was like; none when it was not there.
    pub(crate) before: Option<String>,
    /// What it is like; none when it is gone.
    pub(crate) after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        let (before, after) = (said(&self.before), said(&self.after));
        write!(f, "{}: {before} -> {after}", self.thing)
    }
}

impl Listing {
    /// Looks at a running machine, over its console.
    ///
    /// # Errors
    /// When the console does not answer, or a part of the list is empty.
    pub(crate) async fn of(machine: &Machine) -> Result<Listing> {
        let said = machine.console(LOOK, A_WHILE).await?;
        let said = said.success().context("listing the virtual Pi")?;
        Listing::read(&said)
    }

    fn read(text: &str) -> Result<Listing> {
        let part = |name: &str| {
            let heading = format!("# {name}\n");
            let (_, rest) = text
                .split_once(&heading)
                .with_context(|| format!("the list of the machine has no part `{name}`"))?;
            // An empty part is followed by the next heading at once.
            let end = match rest.starts_with("# ") {
                true => 0,
                false => rest.find("\n# ").map_or(rest.len(), |end| end + 1),
            };
            Ok::<_, anyhow::Error>(rest.get(..end).unwrap_or_default())
        };
        let mut things = BTreeMap::new();
        files(part("files")?, part("hashes")?, &mut things);
        units(part("active")?, &mut things);
        rules(part("rules")?, &mut things);
        for line in part("packages")?.lines() {
            if let Some((name, rest)) = line.split_once(' ') {
                things.insert(format!("package {name}"), rest.trim().to_owned());
            }
        }
        for kind in ["file ", "unit ", "package "] {
            ensure!(
                things.keys().any(|thing| thing.starts_with(kind)),
                "the list of the machine has no {kind}"
            );
        }
        let mut listing = Listing(things);
        listing.leave_out(&BY_ITSELF.map(|(name, _)| name));
        Ok(listing)
    }

    fn leave_out(&mut self, names: &[&str]) {
        self.0.retain(|thing, _| {
            !names.iter().any(|name| match name.strip_suffix('$') {
                Some(whole) => thing == whole,
                None => thing.starts_with(name),
            })
        });
    }

    /// The same without the things whose names begin so; a name that ends with `$` is meant whole.
    pub(crate) fn without(mut self, names: &[&str]) -> Listing {
        self.leave_out(names);
        self
    }

    /// What something is like.
    pub(crate) fn get(&self, thing: &str) -> Option<&str> {
        self.0.get(thing).map(String::as_str)
    }

    /// How many things are listed.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is not the same in a later list, by name.
    pub(crate) fn changes(&self, later: &Listing) -> Vec<Change> {
        let gone = self.0.keys().filter(|thing| !later.0.contains_key(*thing));
        let mut things: Vec<&String> = later.0.keys().chain(gone).collect();
        things.sort();
        things
            .into_iter()
            .filter(|thing| self.0.get(*thing) != later.0.get(*thing))
            .map(|thing| Change {
                thing: thing.clone(),
                before: self.0.get(thing).cloned(),
                after: later.0.get(thing).cloned(),
            })
            .collect()
    }

    /// Fails, with what differs, unless a later list is the same.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn ensure_same(&self, later: &Listing, what: &str) -> Result<()> {
        let changes: Vec<String> = self.changes(later).iter().map(Change::to_string).collect();
        ensure!(
            changes.is_empty(),
            "{what}: the machine is not as it was, {} things differ:\n{}",
            changes.len(),
            changes.join("\n")
        );
        Ok(())
    }
}

/// `file PATH`: hash, mode and owner of a file; target of a link; mode and owner of a folder.
fn files(files: &str, hashes: &str, things: &mut BTreeMap<String, String>) {
    let hashes: BTreeMap<&str, &str> = hashes
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(hash, path)| (path, hash))
        .collect();
    for line in files.lines() {
        let mut fields = line.splitn(5, '\t');
        let [
            Some(kind),
            Some(mode),
            Some(owner),
            Some(target),
            Some(path),
        ] = [(); 5].map(|()| fields.next())
        else {
            continue;
        };
        let is = match kind {
            "f" => format!("{} {mode} {owner}", hashes.get(path).unwrap_or(&"unread")),
            "l" => format!("link to {target}"),
            _ => format!("{kind} {mode} {owner}"),
        };
        things.insert(format!("file {path}"), is);
    }
}

/// `unit NAME`: what systemd says of those that are not idle.
fn units(active: &str, things: &mut BTreeMap<String, String>) {
    for line in active.lines() {
        let mut words = line.split_whitespace();
        let (name, load) = (words.next(), words.next());
        // One that is only mentioned by another does not exist, and comes and goes in the list.
        if let (Some(name), Some(state)) = (name, words.next())
            && load != Some("not-found")
            && state != "inactive"
        {
            things.insert(format!("unit {name}"), state.to_owned());
        }
    }
}

/// `nft TABLE {, CHAIN {, NUMBER`: one rule or line of it. What a set has learned by itself is
/// left out, and so is the mark, which is another one whenever the policy is loaded.
fn rules(text: &str, things: &mut BTreeMap<String, String>) {
    let mut place: Vec<String> = Vec::new();
    let mut number = 0;
    let mut dynamic = false;
    let mut learned = false;
    for line in text.lines().map(str::trim) {
        if learned {
            learned = !line.ends_with('}');
            continue;
        }
        if line == "}" {
            place.pop();
            dynamic = false;
        } else if line.ends_with('{') && !line.contains('=') {
            place.push(line.trim_end_matches(" {").to_owned());
            number = 0;
            things.insert(format!("nft {}", place.join(", ")), "is there".to_owned());
        } else if !line.is_empty() {
            dynamic |= line.starts_with("flags ") && line.contains("dynamic");
            if dynamic && line.starts_with("elements = {") {
                learned = !line.ends_with('}');
                continue;
            }
            number += 1;
            let name = format!("nft {}, line {number}", place.join(", "));
            things.insert(name, without_mark(line));
        }
    }
}

/// `meta mark 0x…` and `meta mark set 0x…` without their number, but for the one that takes it off.
fn without_mark(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 2..words.len() {
        let (before, number) = words.split_at_mut(at);
        let asks = before.ends_with(&["meta", "mark"]) || before.ends_with(&["mark", "set"]);
        if let Some(number) = number.first_mut()
            && asks
            && number.starts_with("0x")
            && !number.trim_start_matches("0x").trim_matches('0').is_empty()
        {
            *number = "MARK";
        }
    }
    words.join(" ")
}
