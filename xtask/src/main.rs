//! The project's own commands, as `cargo xtask <command>`. A dispatcher: each command starts
//! programs and reads what came of it; the heavy work is other crates' and other tools'.

mod base_image;
mod bench;
mod build;
mod cross;
mod deploy;
mod doctor;
mod elf;
mod engine;
mod images;
mod lab;
mod packages;
mod run;
mod test;
mod version;
mod virtual_pi;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The commands of Shelly Bastion.
///
/// Each command sets up what it needs without root (toolchain targets, cross, images), says so
/// first, and shows the programs that it starts.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    yes: built, passed, ready
  1    no: a build or a step failed, something is lacking
  2    could not tell: wrong usage, or the lab could not be set up
  101  no: the lab ran and a scenario failed (the code of a test program)";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this machine has and lacks for the lab, with the remedy for each lack.
    ///
    /// Exit code 0 only if the lab could run now, or `cargo xtask lab` could set up by itself what
    /// is missing.
    Doctor(doctor::Doctor),
    /// Build the programs for the machines that they run on, with cross, and check that they fit.
    ///
    /// bastion: armv7 with glibc, for the Pi; it may ask for glibc 2.34 at most. With
    /// `--target aarch64` it is static, for a Pi with a 64-bit userland. collector, and the lab's
    /// meters and probe: x86-64, static. cross 0.2.5 is installed when absent; its image is
    /// made from lab/images without any registry.
    Build(build::Build),
    /// Stand up WAN, DMZ and LAN in containers, and let the scenarios prove flow and blocking.
    ///
    /// With `--tier vm` the bastion is an emulated Pi with its own kernel and systemd (root is
    /// needed once, to make it), and the scenarios are those of deployment, boot and power.
    ///
    /// Sets up and builds what is missing first. Everything after `--` goes to the scenarios as to
    /// any test program. A page with topology, verdicts and evidence and a JUnit file are written to
    /// target/lab/report; their paths stand ahead of the summary.
    ///
    /// With `--mutate` the policy is made wrong in one place after the other, and a scenario must notice
    /// each; exit code 0 only if all that nothing notices is explained.
    Lab(lab::Lab),
    /// Turn a machine with SSH into a bastion, and keep it one: `deploy pi`, `deploy status`, ….
    ///
    /// Builds the Pi's program where its sources changed, and hands everything else over to the
    /// program `deploy`; `cargo xtask deploy --help` is its manual, with exit codes of its own.
    #[command(disable_help_flag = true)]
    Deploy(deploy::Deploy),
    /// Measure how fast readings travel through the real programs, on this machine and without
    /// containers, and compare what is stored with what was published.
    ///
    /// Needs mosquitto and influxd; Telegraf is measured beside them where it is installed. The
    /// figures are printed with what part of the project's limits they are, and judge nothing.
    Bench(bench::Bench),
    /// Run format check, clippy, all tests, then the lab, and with `--vm` the virtual Pi.
    Test(test::Test),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // For doctor and lab an error is no verdict on what they were asked about.
    let (done, code_of_error) = match (Workspace::find(), cli.command) {
        (Err(err), _) => (Err(err), 2),
        (Ok(workspace), Command::Doctor(args)) => (doctor::run(&workspace, args), 2),
        (Ok(workspace), Command::Build(args)) => {
            (build::run(&workspace, args).map(|()| ExitCode::SUCCESS), 1)
        }
        (Ok(workspace), Command::Deploy(args)) => {
            (deploy::run(&workspace, args).map(|never| match never {}), 1)
        }
        (Ok(workspace), Command::Lab(args)) => (lab::run(&workspace, &args), 2),
        (Ok(workspace), Command::Bench(args)) => {
            (bench::run(&workspace, &args).map(|()| ExitCode::SUCCESS), 1)
        }
        (Ok(workspace), Command::Test(args)) => (test::run(&workspace, &args), 2),
    };
    done.unwrap_or_else(|err| {
        eprintln!("error: {err:#}");
        ExitCode::from(code_of_error)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<&str, clap::error::ErrorKind>) {
        let words = ["cargo xtask"].into_iter().chain(line.split_whitespace());
        match (Cli::try_parse_from(words), expected) {
            (Ok(cli), Ok(parts)) => {
                let got = format!("{:?}", cli.command);
                for part in parts.split('|') {
                    assert!(got.contains(part), "{part:?} is not in {got}");
                }
            }
            (Err(err), Err(kind)) => assert_eq!(err.kind(), kind),
            (got, expected) => panic!("got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lab_takes_filters_and_arguments_of_test_programs() {
        check("lab", Ok("action: None|filter: None"));
        check(
            "lab isolation --keep",
            Ok("filter: Some(\"isolation\")|keep: true"),
        );
        check(
            "lab a -- --exact",
            Ok("filter: Some(\"a\")|more: [\"--exact\"]"),
        );
        check(
            "lab --without-rule refuse-lan",
            Ok("without_rule: Some(\"refuse-lan\")"),
        );
        check(
            "lab up --meters 5 --skip-build",
            Ok("meters: Some(5)|skip_build: true"),
        );
        check(
            "lab --skip-build up",
            Ok("action: Some(Up|skip_build: true"),
        );
        check("lab clean", Ok("action: Some(Clean)"));
        check(
            "lab --mutate refuse",
            Ok("mutate: true|filter: Some(\"refuse\")"),
        );
        for other in [
            "--without-rule a",
            "--tier vm",
            "--keep",
            "--full",
            "--list",
        ] {
            check(
                &format!("lab --mutate {other}"),
                Err(clap::error::ErrorKind::ArgumentConflict),
            );
        }
        check(
            "lab --tier vm pi::boots --full --seed 7 -- --skip x",
            Ok(
                "tier: Vm|full: true|seed: Some(7)|filter: Some(\"pi::boots\")|more: [\"--skip\", \"x\"]",
            ),
        );
        check("lab up --tier vm", Ok("action: Some(Up|tier: Vm"));
        check(
            "lab --tier cloud",
            Err(clap::error::ErrorKind::InvalidValue),
        );
        check(
            "lab --nonsense",
            Err(clap::error::ErrorKind::UnknownArgument),
        );
        check(
            "lab up --meters many",
            Err(clap::error::ErrorKind::ValueValidation),
        );
    }

    /// Words behind options are a filter or a command, and clap cannot tell which was meant.
    #[test]
    fn a_mutation_run_is_no_command_of_the_living_lab() {
        for (line, makes_sense) in [
            ("lab --mutate up", false),
            ("lab --mutate clean", false),
            ("lab --mutate f1-", true),
            ("lab up", true),
        ] {
            let words = ["cargo xtask"].into_iter().chain(line.split_whitespace());
            let Command::Lab(lab) = Cli::try_parse_from(words).unwrap().command else {
                panic!("{line} is no command of the lab");
            };
            let said = lab.makes_sense();
            assert_eq!(said.is_ok(), makes_sense, "{line}: {said:?}");
        }
    }

    #[test]
    fn the_other_commands_parse() {
        check("doctor --fix", Ok("fix: true"));
        check("build --only bastion", Ok("only: Some(Bastion)"));
        check(
            "build --only site",
            Err(clap::error::ErrorKind::InvalidValue),
        );
        check("test --no-lab", Ok("no_lab: true"));
        check("bench --messages 5", Ok("messages: 5"));
        check(
            "deploy pi --dry-run --help",
            Ok("args: [\"pi\", \"--dry-run\", \"--help\"]"),
        );
        check("deploy --help", Ok("args: [\"--help\"]"));
    }
}
