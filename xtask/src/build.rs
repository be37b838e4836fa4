//! `cargo xtask build`: the programs for the machines that they run on, and the proof that they
//! do run there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::elf::{Glibc, Machine, Needs};
use crate::engine::Engine;
use crate::images::Image;
use crate::run::{Run, step};
use crate::workspace::{PI, SERVER, Workspace};
use crate::{base_image, cross, version};

/// The C library of the oldest system that the bastion is meant for: Debian 12's cross library
/// asks for 2.34, Raspberry Pi OS bookworm has 2.36.
const FLOOR: Glibc = Glibc((2, 34));

/// Arguments of `cargo xtask build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Build one package only.
    #[arg(long, value_name = "PACKAGE")]
    only: Option<Package>,
    /// A tar file to make the base image from: a saved Debian 12 image or its root file system.
    #[arg(long, value_name = "FILE")]
    base_tar: Option<PathBuf>,
}

impl Build {
    /// One package, without a word about anything else.
    pub(crate) fn only(package: Package) -> Build {
        Build {
            only: Some(package),
            base_tar: None,
        }
    }
}

/// A package with programs for other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Package {
    /// The program on the Pi.
    Bastion,
    /// The program beside the database.
    Collector,
    /// The lab's simulated meters and its probe.
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

/// Every program that is built for another machine.
pub(crate) const PROGRAMS: [Program; 4] = [
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
];

impl Package {
    fn name(self) -> &'static str {
        match self {
            Package::Bastion => "bastion",
            Package::Collector => "collector",
            Package::Actors => "actors",
        }
    }

    /// Where the package's first program is, or will be.
    pub(crate) fn program(self, workspace: &Workspace) -> Result<PathBuf> {
        let mut programs = chosen(Some(self));
        let first = programs.next();
        first
            .map(|program| program.path(workspace))
            .with_context(|| format!("package {} has no program", self.name()))
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
    let cross = step("tools", || tools(workspace))?;
    let tar = base_image::given_tar(args.base_tar);
    let base = step("base image", || {
        base_image::ensure(workspace, tar.as_deref())
    })?;
    step("images: cross", || Image::Cross.ensure(workspace, &base))?;
    compile(workspace, &engine, cross, args.only)?;
    report(workspace, args.only)
}

/// Makes sure that targets, cross and crates are there, and returns the path of cross.
pub(crate) fn tools(workspace: &Workspace) -> Result<PathBuf> {
    workspace.ensure_targets()?;
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
) -> Result<()> {
    for target in [PI, SERVER] {
        let programs: Vec<&Program> = chosen(only)
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
pub(crate) fn report(workspace: &Workspace, only: Option<Package>) -> Result<()> {
    let mut faults = Vec::new();
    println!(
        "{:<10} {:<29} {:>8}  {:<24} version",
        "program", "target", "size", "needs"
    );
    for program in chosen(only) {
        let path = program.path(workspace);
        let file = std::fs::read(&path).with_context(|| {
            format!(
                "reading {}: build it with `cargo xtask build`",
                path.display()
            )
        })?;
        let needs = match judge(program, &file) {
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

fn chosen(only: Option<Package>) -> impl Iterator<Item = &'static Program> {
    PROGRAMS
        .iter()
        .filter(move |program| only.is_none_or(|package| package == program.package))
}

/// What the program needs, in words, if its target has it.
fn judge(program: &Program, file: &[u8]) -> Result<String> {
    let needs = Needs::read(file)?;
    if program.target == PI {
        judge_pi(&needs)
    } else {
        judge_server(&needs)
    }
}

fn judge_pi(needs: &Needs) -> Result<String> {
    let loader = needs.loader.as_deref().unwrap_or("none");
    if needs.machine != Machine::Arm || !loader.ends_with("/ld-linux-armhf.so.3") {
        bail!(
            "is for {:?} with loader {loader}, and not for armhf",
            needs.machine
        );
    }
    let least = needs.glibc()?;
    let above = needs.above(FLOOR);
    if !above.is_empty() {
        bail!("needs more than {FLOOR}, the floor: {}", above.join("; "));
    }
    Ok(format!(
        "{least} (floor {})",
        crate::engine::dotted(FLOOR.0)
    ))
}

fn judge_server(needs: &Needs) -> Result<String> {
    if needs.machine != Machine::X86_64 {
        bail!("is for {:?}, and not for x86-64", needs.machine);
    }
    if !needs.is_static() {
        let loader = needs.loader.as_deref().unwrap_or("none");
        bail!(
            "is not static: loader {loader}, libraries [{}]",
            needs.libraries.join(", ")
        );
    }
    Ok("nothing (static)".to_owned())
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

    fn needs(machine: Machine, loader: Option<&str>, versions: &[&str]) -> Needs {
        Needs {
            machine,
            loader: loader.map(str::to_owned),
            libraries: loader.iter().map(|_| "libc.so.6".to_owned()).collect(),
            versions: versions.iter().map(|&name| name.to_owned()).collect(),
            symbols: vec![("arc4random".to_owned(), "GLIBC_2.36".to_owned())],
        }
    }

    #[track_caller]
    fn check(judged: Result<String>, expected: Result<&str, &str>) {
        match (judged, expected) {
            (Ok(words), Ok(expected)) => assert_eq!(words, expected),
            (Err(err), Err(part)) => assert!(
                format!("{err:#}").contains(part),
                "{part:?} is not in {err:#}"
            ),
            (judged, expected) => panic!("got {judged:?}, expected {expected:?}"),
        }
    }

    const ARMHF: Option<&str> = Some("/lib/ld-linux-armhf.so.3");

    #[test]
    fn the_pi_takes_armhf_up_to_the_floor() {
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &["GLIBC_2.4", "GLIBC_2.34"])),
            Ok("glibc 2.34 (floor 2.34)"),
        );
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &["GLIBC_2.36"])),
            Err("GLIBC_2.36 for arc4random"),
        );
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &[])),
            Err("nothing could be checked"),
        );
        check(
            judge_pi(&needs(
                Machine::Arm,
                Some("/lib/ld-linux.so.3"),
                &["GLIBC_2.4"],
            )),
            Err("not for armhf"),
        );
        check(
            judge_pi(&needs(Machine::X86_64, ARMHF, &["GLIBC_2.4"])),
            Err("not for armhf"),
        );
    }

    #[test]
    fn the_server_takes_static_programs_only() {
        check(
            judge_server(&needs(Machine::X86_64, None, &[])),
            Ok("nothing (static)"),
        );
        check(
            judge_server(&needs(Machine::X86_64, Some("/lib64/ld.so"), &[])),
            Err("libc.so.6"),
        );
        check(judge_server(&needs(Machine::Arm, None, &[])), Err("x86-64"));
    }

    #[test]
    fn a_program_of_this_machine_is_refused_for_both() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for program in &PROGRAMS {
            assert!(
                judge(program, &file).is_err(),
                "{} may not be a dynamic x86-64 program",
                program.name
            );
        }
    }
}
