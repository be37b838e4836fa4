//! `cargo xtask test`: everything that must hold before a change is taken in, quickest first.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::lab::{self, Lab};
use crate::packages::{self, Need};
use crate::run::{Run, step};
use crate::virtual_pi;
use crate::workspace::Workspace;

/// Real programs that tests talk to, beside those of the lab's images.
const PROGRAMS: [Need; 5] = [
    ("mosquitto", "mosquitto"),
    ("nft", "nftables"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("script", "bsdutils"),
];

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave the lab out: no container engine is needed then.
    #[arg(long)]
    no_lab: bool,
    /// Leave the virtual Pi out; a few of its scenarios are run otherwise, where this machine can make
    /// one.
    #[arg(long)]
    no_vm: bool,
    /// End with all usual scenarios on the virtual Pi; they take as long as all the rest.
    #[arg(long, conflicts_with_all = ["no_lab", "no_vm"])]
    vm: bool,
}

/// Runs the command. Stops at the first step that fails; the lab's exit code is its own.
pub(crate) fn run(workspace: &Workspace, test: &Test) -> Result<ExitCode> {
    let left_out = programs();
    let cargo = |args: &[&str]| {
        let mut command = workspace.cargo();
        // The scenarios are a test target as well; without this they say that they are skipped.
        command.args(args).env_remove(lab::SWITCH);
        command
    };
    let steps: [(&str, Command); 3] = [
        ("test: format", cargo(&["fmt", "--all", "--check"])),
        (
            "test: clippy",
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ]),
        ),
        (
            "test: unit and integration tests",
            cargo(&["test", "--workspace"]),
        ),
    ];
    for (name, mut command) in steps {
        if let Err(err) = step(name, || command.run()) {
            eprintln!("error: {name}: {err:#}");
            return Ok(ExitCode::FAILURE);
        }
    }
    if !left_out.is_empty() {
        println!(
            "tests that need {} were skipped: that is not installed here",
            left_out.join(", ")
        );
    }
    if test.no_lab {
        println!("the lab was not run (--no-lab)");
        return Ok(ExitCode::SUCCESS);
    }
    if test.no_vm {
        println!("the virtual Pi was left out (--no-vm)");
    } else if let Err(err) = virtual_pi::set_up(workspace) {
        // One that is not made though it could be is a fault, and ends the run.
        println!("the virtual Pi was left out, since this machine cannot make one: {err:#}");
    } else {
        let wanted = if test.vm {
            Lab::on_a_virtual_pi()
        } else {
            Lab::core_on_a_virtual_pi()
        };
        let verdict = lab::run(workspace, &wanted)?;
        if verdict != ExitCode::SUCCESS {
            return Ok(verdict);
        }
    }
    // Last, so that its summary is the last word.
    lab::run(workspace, &Lab::default())
}

/// Installs what tests talk to, if that is possible; what is then still missing.
fn programs() -> Vec<&'static str> {
    if let Err(err) = packages::install(&packages::missing(&PROGRAMS), "testing") {
        eprintln!("warning: {err:#}");
    }
    packages::missing(&PROGRAMS)
}
