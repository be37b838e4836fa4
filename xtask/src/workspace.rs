//! The project on this machine: its root, its folders, its cargo, its toolchain.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{Answer, Run, program};

/// The target of the Pi's programs.
pub(crate) const PI: &str = "armv7-unknown-linux-gnueabihf";
/// The target of a Pi whose userland is 64-bit: static, so that it fits whatever C library is there.
pub(crate) const PI_64: &str = "aarch64-unknown-linux-musl";
/// The target of the LAN server's programs, and of the lab's.
pub(crate) const SERVER: &str = "x86_64-unknown-linux-musl";

/// Where the project is.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where builds go, `CARGO_TARGET_DIR` or `target`.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Result<Workspace> {
        // cargo says at run time where the package is now; the compiler's word may be outdated.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .parent()
            .filter(|root| root.join("Cross.toml").is_file())
            .with_context(|| {
                format!(
                    "{} is not inside the project: start it as `cargo xtask`",
                    package.display()
                )
            })?
            .to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Ok(root.join("target")),
            |dir| std::path::absolute(dir).context("reading CARGO_TARGET_DIR"),
        )?;
        Ok(Workspace { root, target })
    }

    /// The folder of the image files, which is also their build context.
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("lab").join("images")
    }

    /// cross's own target folder: build scripts linked in its image do not run outside of it.
    pub(crate) fn cross_target(&self) -> PathBuf {
        self.target.join("cross")
    }

    /// Where tools go that must not replace what the person has.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A command that runs at the root.
    pub(crate) fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = program(name);
        command.current_dir(&self.root);
        command
    }

    /// cargo, at the root.
    pub(crate) fn cargo(&self) -> Command {
        self.program("cargo")
    }

    /// The exact version that `rust-toolchain.toml` names.
    pub(crate) fn channel(&self) -> Result<String> {
        let file = self.root.join("rust-toolchain.toml");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        channel_of(&text).with_context(|| {
            format!(
                "{}: no line `channel = \"…\"`: name one exact version",
                file.display()
            )
        })
    }

    /// Those of these targets that the toolchain lacks.
    pub(crate) fn missing_targets(
        &self,
        wanted: &[&'static str],
    ) -> Result<Vec<&'static str>, Lack> {
        let asked = self
            .program("rustup")
            .args(["target", "list", "--installed"])
            .ask();
        match asked {
            Answer::Said(installed) => Ok(wanted
                .iter()
                .copied()
                .filter(|target| !installed.lines().any(|line| line.trim() == *target))
                .collect()),
            Answer::Refused(why) => Err(Lack::new(
                why,
                "install the toolchain: `rustup toolchain install`",
            )),
            Answer::Absent(_) => Err(Lack::new(
                "no `rustup` program",
                "install it from https://rustup.rs",
            )),
        }
    }

    /// Adds those of these targets that the toolchain lacks.
    pub(crate) fn ensure_targets(&self, wanted: &[&'static str]) -> Result<()> {
        let missing = self.missing_targets(wanted)?;
        if missing.is_empty() {
            return Ok(());
        }
        eprintln!("adding to the Rust toolchain: {}", missing.join(", "));
        self.program("rustup")
            .args(["target", "add"])
            .args(missing)
            .run()
    }

    /// A path as a person at the root would write it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Something that the machine lacks, and what helps.
#[derive(Debug)]
pub(crate) struct Lack {
    /// What was found instead.
    pub(crate) found: String,
    /// What a person can do.
    pub(crate) remedy: String,
}

impl Lack {
    pub(crate) fn new(found: impl Into<String>, remedy: impl Into<String>) -> Lack {
        Lack {
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.found, self.remedy)
    }
}

impl std::error::Error for Lack {}

fn channel_of(toolchain_file: &str) -> Option<String> {
    toolchain_file.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "channel").then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_read_from_the_toolchain_file() {
        let file = "# a comment with channel in it\n[toolchain]\nchannel = \"1.95.0\"\n";
        assert_eq!(channel_of(file).as_deref(), Some("1.95.0"));
        assert_eq!(channel_of("[toolchain]\n"), None);
    }

    #[test]
    fn the_project_names_one_exact_toolchain() {
        let channel = Workspace::find().unwrap().channel().unwrap();
        assert_eq!(channel.split('.').count(), 3, "{channel} is not exact");
    }
}
