//! Debian packages that a command needs of this machine: which programs are missing, and installing
//! what has them, as root. What needs them, and why, is left to the callers.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Result, bail};

use crate::run::{Run, is_root, program};

/// A program, and the package that has it.
pub(crate) type Need = (&'static str, &'static str);

/// Where system programs are; a person's own `PATH` may lack some.
const FOLDERS: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"];
/// Asked by a package's scripts whether they may start its service; 101 says no.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages of programs that are not there, each once.
pub(crate) fn missing(needs: &[Need]) -> Vec<&'static str> {
    let there = |name: &str| {
        FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join(name).exists())
    };
    let mut missing: Vec<&str> = Vec::new();
    for (name, package) in needs {
        if !there(name) && !missing.contains(package) {
            missing.push(package);
        }
    }
    missing
}

/// Installs packages, which only root may do. Services that come with them are not started.
///
/// # Errors
/// When the person is not root, or apt fails.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let shown = packages.join(" ");
    if !is_root() {
        bail!("{why} needs packages that are missing: `sudo apt-get install {shown}`");
    }
    eprintln!("{why} needs packages that are missing: installing {shown}");
    let _quiet = NoServices::begin();
    let install = || {
        program("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .quietly()
    };
    // A machine whose package lists are absent or old says so by failing.
    install().or_else(|_| {
        program("apt-get").arg("update").quietly()?;
        install()
    })
}

/// As long as it lives, packages start no service. A machine that has a policy of its own keeps it.
struct NoServices {
    made: bool,
}

impl NoServices {
    fn begin() -> NoServices {
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(START_POLICY)
            .and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"))
            .is_ok();
        NoServices { made }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made
            && let Err(err) = fs::remove_file(START_POLICY)
        {
            eprintln!("{START_POLICY} stays behind, and keeps services from starting: {err}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once_and_only_when_it_is_missing() {
        let needs = [
            ("sh", "dash"),
            ("no-such-program", "nothing"),
            ("no-such-program-either", "nothing"),
        ];
        assert_eq!(missing(&needs), ["nothing"]);
    }
}
