//! `cargo xtask deploy`: builds the Pi's program where its sources changed, and becomes the
//! program `deploy`, which does the rest and whose help text is the manual. What that may be told
//! is its own; here only the words that concern the build are read.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum as _};

use crate::build::{self, Build, Userland};
use crate::run::{program, step};
use crate::version;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Everything that `deploy` takes; `--help` shows it. Beside that `--skip-build`: use the
    /// program of the last build; and `--target aarch64`: the program for a 64-bit userland.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    args: Vec<OsString>,
}

/// The words that concern the build, and the others.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    build: bool,
    needs_program: bool,
    target: Userland,
    others: Vec<OsString>,
}

/// Runs the command. On success it does not return: it becomes `deploy`, so that Ctrl-C and the
/// exit code are that program's own.
pub(crate) fn run(workspace: &Workspace, deploy: Deploy) -> Result<std::convert::Infallible> {
    let words = Words::read(deploy.args)?;
    let mut command = program("cargo");
    // At the place where the person stands: file names are meant from there.
    command.args(["run", "--quiet", "--package", "deploy", "--bin", "deploy"]);
    command
        .arg("--manifest-path")
        .arg(workspace.root.join("Cargo.toml"));
    command.arg("--").args(words.others);
    if words.needs_program {
        let built = words.target.program(workspace)?;
        if words.build && is_older_than_sources(workspace, &built)? {
            step("build", || {
                build::run(workspace, Build::bastion(words.target))
            })?;
        } else if !built.is_file() {
            bail!(
                "there is no program yet at {}: leave --skip-build out",
                workspace.shown(&built)
            );
        }
        command.arg("--program").arg(built);
    }
    if let Some(hash) = version::of(workspace, version::DEPLOY) {
        command.env(version::VARIABLE, hash);
    }
    Err(command.exec()).context("starting cargo")
}

impl Words {
    fn read(mut args: Vec<OsString>) -> Result<Words> {
        let target = take_target(&mut args)?;
        let is = |word: &OsStr, name: &str| {
            let text = word.to_string_lossy();
            text == name || text.starts_with(&format!("{name}="))
        };
        let no_program = ["--program", "-h", "--help", "-V", "--version"];
        let needs_program = !args
            .iter()
            .any(|word| no_program.iter().any(|name| is(word, name)));
        // Commands that only ask, and one that puts back what the bastion has.
        let asks = ["rollback", "history", "status", "help"];
        let first = args.iter().find(|word| !is_option(word));
        let needs_program =
            needs_program && !first.is_some_and(|word| asks.iter().any(|name| word == name));
        Ok(Words {
            build: !args.iter().any(|word| word == "--skip-build"),
            needs_program,
            target,
            others: args
                .into_iter()
                .filter(|word| word != "--skip-build")
                .collect(),
        })
    }
}

/// Takes `--target USERLAND`, or `--target=USERLAND`, out of the words.
fn take_target(args: &mut Vec<OsString>) -> Result<Userland> {
    let mut target = Userland::default();
    let mut at = 0;
    while let Some(word) = args.get(at).map(|word| word.to_string_lossy().into_owned()) {
        let value = if word == "--target" {
            args.remove(at);
            // What follows, if anything does.
            args.get(at).map(|word| word.to_string_lossy().into_owned())
        } else if let Some(value) = word.strip_prefix("--target=") {
            Some(value.to_owned())
        } else {
            at += 1;
            continue;
        };
        let value = value.unwrap_or_default();
        target = Userland::from_str(&value, false).map_err(|_| {
            anyhow::anyhow!("--target {value:?} is no userland of a Pi: write armv7 or aarch64")
        })?;
        args.remove(at);
    }
    Ok(target)
}

fn is_option(word: &OsStr) -> bool {
    word.to_string_lossy().starts_with('-')
}

/// Whether a source of the program is younger than it. Asking cross costs seconds, even when there
/// is nothing to build; a changed site file is no source.
fn is_older_than_sources(workspace: &Workspace, built: &Path) -> Result<bool> {
    let Ok(built) = modified(built) else {
        return Ok(true);
    };
    let mut places: Vec<PathBuf> = version::BASTION
        .iter()
        .map(|name| workspace.root.join(name))
        .collect();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = std::fs::read_dir(&place)
                .with_context(|| format!("reading {}", place.display()))?;
            for entry in entries {
                places.push(
                    entry
                        .with_context(|| format!("reading {}", place.display()))?
                        .path(),
                );
            }
        } else if modified(&place)? > built {
            return Ok(true);
        }
    }
    Ok(false)
}

fn modified(path: &Path) -> Result<SystemTime> {
    std::fs::metadata(path)
        .and_then(|of| of.modified())
        .with_context(|| format!("looking at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, build: bool, needs_program: bool, others: &str) {
        let split = |line: &str| line.split_whitespace().map(OsString::from).collect();
        let expected = Words {
            build,
            needs_program,
            target: Userland::Armv7,
            others: split(others),
        };
        assert_eq!(Words::read(split(line)).unwrap(), expected);
    }

    #[test]
    fn only_the_builds_words_are_taken_away() {
        check("pi --dry-run", true, true, "pi --dry-run");
        check("pi --skip-build --yes", false, true, "pi --yes");
        check("", true, true, "");
        check("pi --program x", true, false, "pi --program x");
        check("pi --program=x", true, false, "pi --program=x");
        check(
            "rollback --bastion pi",
            true,
            false,
            "rollback --bastion pi",
        );
        check("status", true, false, "status");
        check("--help", true, false, "--help");
    }

    #[test]
    fn the_target_is_taken_away_wherever_it_stands() {
        let read = |line: &str| Words::read(line.split_whitespace().map(OsString::from).collect());
        for line in ["pi --target aarch64 --yes", "--target=aarch64 pi --yes"] {
            let words = read(line).unwrap();
            assert_eq!(words.target, Userland::Aarch64, "{line}");
            assert_eq!(words.others, ["pi", "--yes"], "{line}");
        }
        for line in ["pi --target", "pi --target=arm64", "--target pi"] {
            let message = read(line).err().unwrap().to_string();
            assert!(message.contains("write armv7 or aarch64"), "{message}");
        }
    }

    #[test]
    fn a_program_is_as_old_as_its_sources_say() {
        let workspace = Workspace::find().unwrap();
        assert!(is_older_than_sources(&workspace, Path::new("/no/such")).unwrap());
        // What was made just now is younger than all of them.
        let folder = std::env::temp_dir().join(format!("xtask-deploy-{}", std::process::id()));
        std::fs::write(&folder, "").unwrap();
        let older = is_older_than_sources(&workspace, &folder);
        std::fs::remove_file(&folder).unwrap();
        assert!(!older.unwrap());
    }
}
