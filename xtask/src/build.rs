//! `cargo xtask build`: the programs for the machines that they run on, and the proof that they
//! do run there.

mod fits;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::engine::Engine;
use crate::images::Image;
use crate::run::{Run, step};
use crate::workspace::{PI, PI_64, SERVER, Workspace};
use crate::{base_image, cross, version};

/// Arguments of `cargo xtask build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Build one package only.
    #[arg(long, value_name = "PACKAGE")]
    only: Option<Package>,
    /// The userland of the Pi that bastion is for.
    #[arg(long, value_enum, default_value_t, value_name = "USERLAND")]
    target: Userland,
    /// A tar file to make the base image from: a saved Debian 12 image or its root file system.
    #[arg(long, value_name = "FILE")]
    base_tar: Option<PathBuf>,
}

impl Build {
    /// The Pi's program, without a word about anything else.
    pub(crate) fn bastion(target: Userland) -> Build {
        Build {
            only: Some(Package::Bastion),
            target,
            base_tar: None,
        }
    }
}

/// The userland of a Pi, whatever its kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Userland {
    /// 32-bit (armhf), with glibc: the usual one.
    #[default]
    Armv7,
    /// 64-bit (arm64): a static program.
    Aarch64,
}

impl Userland {
    /// The target of programs for it.
    fn target(self) -> &'static str {
        match self {
            Userland::Armv7 => PI,
            Userland::Aarch64 => PI_64,
        }
    }

    /// Where its program is, or will be.
    pub(crate) fn program(self, workspace: &Workspace) -> Result<PathBuf> {
        let mut programs = chosen(Some(Package::Bastion), self);
        let first = programs.next();
        first
            .map(|program| program.path(workspace))
            .context("package bastion has no program")
    }
}

/// A package with programs for other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Package {
    /// The program on the Pi.
    Bastion,
    /// The program beside the database.
    Collector,
    /// The lab's simulated meters, its probe, and its weather.
    Actors,
}

/// One program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its file name.
    pub(crate) name: &'static str,
    /// The environment variable in which the lab is told its path.
    pub(crate) lab_variable: &'static str,
    package: Package,
    target: &'static str,
}

/// The bastion's, for Pis with a 64-bit userland. The lab has none.
const BASTION_64: Program = Program {
    name: "bastion",
    lab_variable: "",
    package: Package::Bastion,
    target: PI_64,
};

/// Every program that is built for another machine.
pub(crate) const PROGRAMS: [Program; 5] = [
    Program {
        name: "bastion",
        lab_variable: "SHELLY_LAB_BASTION",
        package: Package::Bastion,
        target: PI,
    },
    Program {
        name: "collector",
        lab_variable: "SHELLY_LAB_COLLECTOR",
        package: Package::Collector,
        target: SERVER,
    },
    Program {
        name: "meters",
        lab_variable: "SHELLY_LAB_METERS",
        package: Package::Actors,
        target: SERVER,
    },
    Program {
        name: "probe",
        lab_variable: "SHELLY_LAB_PROBE",
        package: Package::Actors,
        target: SERVER,
    },
    Program {
        name: "weather",
        lab_variable: "SHELLY_LAB_WEATHER",
        package: Package::Actors,
        target: SERVER,
    },
];

impl Package {
    fn name(self) -> &'static str {
        match self {
            Package::Bastion => "bastion",
            Package::Collector => "collector",
            Package::Actors => "actors",
        }
    }
}

impl Program {
    /// Where its file is, or will be.
    pub(crate) fn path(&self, workspace: &Workspace) -> PathBuf {
        workspace
            .cross_target()
            .join(self.target)
            .join("release")
            .join(self.name)
    }
}

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, args: Build) -> Result<()> {
    let engine = Engine::reach()?;
    let cross = step("tools", || tools(workspace, args.target))?;
    let tar = base_image::given_tar(args.base_tar);
    let base = step("base image", || {
        base_image::ensure(workspace, tar.as_deref())
    })?;
    step("images: cross", || Image::Cross.ensure(workspace, &base))?;
    compile(workspace, &engine, cross, args.only, args.target)?;
    report(workspace, args.only, args.target)
}

/// Makes sure that targets, cross and crates are there, and returns the path of cross.
pub(crate) fn tools(workspace: &Workspace, userland: Userland) -> Result<PathBuf> {
    workspace.ensure_targets(&[userland.target(), SERVER])?;
    let cross = cross::ensure(workspace)?;
    workspace
        .cargo()
        .args(["fetch", "--quiet", "--locked"])
        .quietly()?;
    Ok(cross)
}

/// Compiles every program, or those of one package. Tools and the image `cross` must be there.
pub(crate) fn compile(
    workspace: &Workspace,
    engine: &Engine,
    cross: PathBuf,
    only: Option<Package>,
    userland: Userland,
) -> Result<()> {
    for target in [userland.target(), SERVER] {
        let programs: Vec<&Program> = chosen(only, userland)
            .filter(|program| program.target == target)
            .collect();
        if programs.is_empty() {
            continue;
        }
        let mut command = cross::command(workspace, cross.clone(), engine)?;
        command.args(["build", "--release", "--locked", "--target", target]);
        command.arg("--target-dir").arg(workspace.cross_target());
        if let Some(hash) = version::of(workspace, version::BASTION) {
            command.env(version::VARIABLE, hash);
        }
        for package in [Package::Bastion, Package::Collector, Package::Actors] {
            if programs.iter().any(|program| program.package == package) {
                command.args(["--package", package.name()]);
            }
        }
        for program in programs {
            command.args(["--bin", program.name]);
        }
        step(&format!("build: {target}"), || command.run())?;
    }
    Ok(())
}

/// Checks what was built and prints the table of it.
pub(crate) fn report(
    workspace: &Workspace,
    only: Option<Package>,
    userland: Userland,
) -> Result<()> {
    let mut faults = Vec::new();
    println!(
        "{:<10} {:<29} {:>8}  {:<24} version",
        "program", "target", "size", "needs"
    );
    for program in chosen(only, userland) {
        let path = program.path(workspace);
        let file = std::fs::read(&path).with_context(|| {
            format!(
                "reading {}: build it with `cargo xtask build`",
                path.display()
            )
        })?;
        let needs = match fits::judge(program.target, &file) {
            Ok(needs) => needs,
            Err(fault) => {
                faults.push(format!("{}: {fault:#}", workspace.shown(&path)));
                "see below".to_owned()
            }
        };
        let size = format!("{:.1} MB", size_in_mb(&path)?);
        // Every package of the workspace carries the version of the workspace.
        let version = env!("CARGO_PKG_VERSION");
        println!(
            "{:<10} {:<29} {size:>8}  {needs:<24} {version}",
            program.name, program.target
        );
    }
    if !faults.is_empty() {
        bail!(
            "built, but not for the machines they are meant for:\n{}",
            faults.join("\n")
        );
    }
    Ok(())
}

fn chosen(only: Option<Package>, userland: Userland) -> impl Iterator<Item = &'static Program> {
    PROGRAMS
        .iter()
        .map(move |program| match (program.package, userland) {
            (Package::Bastion, Userland::Aarch64) => &BASTION_64,
            _ => program,
        })
        .filter(move |program| only.is_none_or(|package| package == program.package))
}

fn size_in_mb(path: &Path) -> Result<f64> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("reading {}", path.display()))?
        .len();
    // Tenths of a megabyte are exact enough, and fit where a count of bytes might not.
    Ok(f64::from(u32::try_from(bytes / 100_000).unwrap_or(u32::MAX)) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64_bit_userland_gets_another_bastion_and_nothing_else() {
        let targets = |userland| {
            let programs = chosen(None, userland);
            programs
                .map(|program| (program.name, program.target))
                .collect::<Vec<_>>()
        };
        let (usual, other) = (targets(Userland::Armv7), targets(Userland::Aarch64));
        assert_eq!(usual.first(), Some(&("bastion", PI)));
        assert_eq!(other.first(), Some(&("bastion", PI_64)));
        assert_eq!(usual[1..], other[1..]);
        assert_eq!(chosen(Some(Package::Bastion), Userland::Aarch64).count(), 1);
    }

    #[test]
    fn a_program_of_this_machine_is_refused_for_all() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for program in PROGRAMS.iter().chain([&BASTION_64]) {
            assert!(
                fits::judge(program.target, &file).is_err(),
                "{} may not be a dynamic x86-64 program",
                program.name
            );
        }
    }
}
