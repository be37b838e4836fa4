//! Packages of the distribution that a bastion stands on: which are lacking, and installing them.
//!
//! apt does the work, from the machine's own sources, or from files that came along in the
//! folder. A configuration file that is there already is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use site::answer::PackageChange;
use site::manifest::Manifest;
use tracing::info;

use crate::bundle::Bundle;
use crate::host::Host;
use crate::say;
use crate::system::Call;

/// apt downloads and unpacks on a slow card over a slow line.
const PATIENCE: Duration = Duration::from_secs(1800);
/// What apt knows of its sources is fresh enough for so long.
const FRESH: Duration = Duration::from_secs(24 * 3600);
const QUIETLY: &[(&str, &str)] = &[("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8")];
const INSTALL: &[&str] = &[
    "--option",
    "Dpkg::Options::=--force-confdef",
    "--option",
    "Dpkg::Options::=--force-confold",
    "--option",
    "DPkg::Lock::Timeout=300",
    "install",
    "--yes",
    "--no-install-recommends",
];

/// Installs what a folder's manifest asks for and the machine lacks.
///
/// # Errors
/// When apt fails, or the sources have nothing new enough.
pub fn run(host: &Host, folder: &Path) -> Result<ExitCode> {
    let bundle = Bundle::read(folder).with_context(|| format!("reading {}", folder.display()))?;
    let lacking = self::lacking(host, &bundle.manifest)?;
    if lacking.is_empty() {
        say::line("nothing to do: all packages are installed");
        return Ok(ExitCode::SUCCESS);
    }
    let carried = carried(host, folder)?;
    if carried.is_empty() {
        from_sources(host, &lacking)?;
    } else {
        from_files(host, &carried)?;
    }
    let left = self::lacking(host, &bundle.manifest)?;
    ensure!(
        left.is_empty(),
        "apt brought nothing new enough: {}; the bastion needs a newer release of its \
         distribution, or its sources have to be set right",
        words(&left)
    );
    say::line(&format!("installed: {}", words(&lacking)));
    Ok(ExitCode::SUCCESS)
}

/// Names, with what is there and what is needed.
pub(crate) fn words(packages: &[PackageChange]) -> String {
    let words = packages.iter().map(|package| {
        let least = package.at_least.as_ref();
        let least = least.map_or_else(String::new, |least| format!(" {least} or later"));
        let there = package.installed.as_ref();
        let there = there.map_or_else(String::new, |there| format!(" (is {there})"));
        format!("{}{least}{there}", package.name)
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The packages that are not installed, or too old.
///
/// # Errors
/// When dpkg cannot be run.
pub(crate) fn lacking(host: &Host, manifest: &Manifest) -> Result<Vec<PackageChange>> {
    let mut found = Vec::new();
    let names = manifest
        .packages
        .iter()
        .map(|package| package.name.as_str());
    let there = installed(host, &names.collect::<Vec<_>>())?;
    for package in &manifest.packages {
        let installed = there.get(&package.name).cloned();
        let enough = match (&installed, &package.at_least) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(there), Some(least)) => is_at_least(host, there, least)?,
        };
        if !enough {
            found.push(PackageChange {
                name: package.name.clone(),
                installed,
                at_least: package.at_least.clone(),
            });
        }
    }
    Ok(found)
}

/// Those of the named packages that are installed, with their versions; asked at once, since dpkg
/// reads its whole list for each question.
fn installed(host: &Host, names: &[&str]) -> Result<BTreeMap<String, String>> {
    // Without a name dpkg answers for all.
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let format = "--showformat=${db:Status-Status} ${Package} ${Version}\\n";
    // It fails when it has never heard of one, and answers for the others.
    let answer = host.ask("dpkg-query", &[&["--show", format, "--"], names].concat())?;
    let lines = answer.stdout.lines();
    let pairs = lines.filter_map(|line| line.strip_prefix("installed ")?.trim().split_once(' '));
    // The machine's own architecture comes before those added to it, and so counts.
    Ok(pairs
        .rev()
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect())
}

fn is_at_least(host: &Host, there: &str, least: &str) -> Result<bool> {
    let answer = host.ask("dpkg", &["--compare-versions", there, "ge", least])?;
    Ok(answer.code == Some(0))
}

/// Package files that came along and are newer than what is installed.
fn carried(host: &Host, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder.join("packages"));
    for entry in entries.into_iter().flatten() {
        let path = entry.context("reading the folder's packages")?.path();
        if path.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        let text = path.to_str().context("a package's file name is no text")?;
        let field = |name| -> Result<String> {
            Ok(host
                .run("dpkg-deb", &["--field", text, name])?
                .trim()
                .to_owned())
        };
        let (name, version) = (field("Package")?, field("Version")?);
        let there = installed(host, &[&name])?;
        let enough = |there| is_at_least(host, there, &version).unwrap_or(false);
        if !there.get(&name).is_some_and(|there| enough(there)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn from_files(host: &Host, files: &[PathBuf]) -> Result<()> {
    let mut arguments = vec![
        // Nothing but these files: no source is asked, so no network is needed.
        "--option",
        "Dir::Etc::SourceList=/dev/null",
        "--option",
        "Dir::Etc::SourceParts=/dev/null",
    ];
    arguments.extend(INSTALL);
    arguments.extend(files.iter().filter_map(|file| file.to_str()));
    apt(host, &arguments)
}

fn from_sources(host: &Host, lacking: &[PackageChange]) -> Result<()> {
    let names: Vec<&str> = lacking
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let install = [INSTALL, &names].concat();
    let update = ["--option", "DPkg::Lock::Timeout=300", "update"];
    let fresh = lists_are_fresh(host);
    if !fresh {
        apt(host, &update)?;
    }
    match apt(host, &install) {
        // The sources may have moved on since they were asked.
        Err(error) if fresh => {
            info!(%error, "asking the sources again");
            apt(host, &update)?;
            apt(host, &install)
        }
        done => done,
    }
}

/// The lists themselves carry the server's time; their folder says when they were fetched.
fn lists_are_fresh(host: &Host) -> bool {
    let folder = host.path("/var/lib/apt/lists");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let any = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .any(|name| name.contains("_Packages"));
    let fetched = fs::metadata(&folder).and_then(|folder| folder.modified());
    // A time in the future comes from a clock that was set back: then nobody knows.
    any && fetched.is_ok_and(|fetched| {
        SystemTime::now()
            .duration_since(fetched)
            .is_ok_and(|age| age < FRESH)
    })
}

fn apt(host: &Host, arguments: &[&str]) -> Result<()> {
    let call = Call {
        environment: QUIETLY,
        patience: PATIENCE,
        shown: true,
        ..Call::new("apt-get", arguments)
    };
    info!("{call}");
    host.system().run(&call)?.success(&call).map(drop)
}

#[cfg(test)]
mod tests;
