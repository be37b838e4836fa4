//! `cargo xtask bench`: builds the programs for this machine, and has them measured by
//! `collector/benches/throughput`, which knows how.

use anyhow::Result;
use clap::Args;

use crate::packages::{self, Need};
use crate::run::{Run, step};
use crate::workspace::Workspace;

/// Real programs that are measured. Telegraf is in no distribution's packages, so it stays optional.
const PROGRAMS: [Need; 2] = [("mosquitto", "mosquitto"), ("influxd", "influxdb")];

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Messages to publish. Fewer than a million say little.
    #[arg(long, default_value_t = 3_000_000)]
    messages: u64,
    /// Only these parts: live, collector, database, catch-up, far, broker, telegraf.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    packages::install(&packages::missing(&PROGRAMS), "measuring")?;
    step("bench: build", || {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--release", "--package", "bastion"]);
        cargo.args(["--package", "collector"]).run()
    })?;
    step("bench: measure", || {
        let mut cargo = workspace.cargo();
        cargo.args([
            "bench",
            "--package",
            "collector",
            "--bench",
            "throughput",
            "--",
        ]);
        cargo
            .arg("--programs")
            .arg(workspace.target.join("release"));
        cargo.args(["--messages", &bench.messages.to_string()]);
        if !bench.only.is_empty() {
            cargo.args(["--only", &bench.only.join(",")]);
        }
        cargo.run()
    })
}
