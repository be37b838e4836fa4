//! `cargo xtask lab`: sets up what is missing, builds, and hands over to the package `lab`, which
//! knows networks, machines and scenarios. They meet in the environment variables named here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};

use crate::engine::Engine;
use crate::images::{self, Image};
use crate::run::{Run, step};
use crate::workspace::Workspace;
use crate::{base_image, build};

/// The variable without which scenarios list themselves and do not run.
pub(crate) const SWITCH: &str = "SHELLY_LAB";
/// The test target that holds the scenarios. Only `lab` has one by this name; asked for in the
/// whole workspace, it shares every compiled crate with `cargo test --workspace`.
const SCENARIOS: [&str; 3] = ["--workspace", "--test", "scenarios"];
/// The program that stands a lab up and takes labs away.
const LIVING: [&str; 4] = ["--package", "lab", "--bin", "lab"];

/// Arguments of `cargo xtask lab`.
#[derive(Debug, Default, Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    action: Option<Action>,
    /// Use the programs of the last build.
    #[arg(long, global = true)]
    skip_build: bool,
    /// A tar file to make the base image from: a saved Debian 12 image or its root file system.
    #[arg(long, value_name = "FILE", global = true)]
    base_tar: Option<PathBuf>,
    /// Take one rule out of the policy; a scenario must notice.
    #[arg(long, value_name = "NAME", global = true)]
    without_rule: Option<String>,
    /// Leave containers and networks behind; `cargo xtask lab clean` takes them away.
    #[arg(long)]
    keep: bool,
    /// List the scenarios; builds nothing and needs no container engine.
    #[arg(long)]
    list: bool,
    /// Run only scenarios whose name contains this.
    filter: Option<String>,
    /// Further arguments as test programs take them, such as `--exact` or `--test-threads 1`.
    #[arg(last = true, value_name = "ARGS")]
    more: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stand up a living lab and show meters, values and counts until interrupted.
    Up {
        /// How many meters publish.
        #[arg(long, value_name = "N")]
        meters: Option<u32>,
    },
    /// Take away whatever labs left behind.
    Clean,
}

/// Runs the command. The exit code is the scenarios' own.
pub(crate) fn run(workspace: &Workspace, lab: &Lab) -> Result<ExitCode> {
    let start = Instant::now();
    let mut command = workspace.cargo();
    match &lab.action {
        None => {
            command.arg("test").args(SCENARIOS).arg("--");
            command.args(&lab.filter).args(&lab.more);
            command.args(lab.list.then_some("--list"));
        }
        Some(Action::Up { meters }) => {
            command
                .args(["run", "--quiet"])
                .args(LIVING)
                .args(["--", "up"]);
            command.args(
                meters
                    .iter()
                    .flat_map(|n| ["--meters".to_owned(), n.to_string()]),
            );
        }
        Some(Action::Clean) => {
            command
                .args(["run", "--quiet"])
                .args(LIVING)
                .args(["--", "clean"]);
        }
    }
    // The switch that starts scenarios goes with what they need, or not at all.
    command.env_remove(SWITCH);
    if !lab.list && !matches!(lab.action, Some(Action::Clean)) {
        command.envs(prepare(workspace, lab)?).env(SWITCH, "1");
        eprintln!("[{:6.1} s] ready", start.elapsed().as_secs_f64());
    }
    if lab.keep {
        command.env("SHELLY_LAB_KEEP", "1");
    }
    if let Some(rule) = &lab.without_rule {
        command.env("SHELLY_LAB_WITHOUT_RULE", rule);
    }
    let status = Run::status(&mut command)?;
    eprintln!("[{:6.1} s] lab: everything", start.elapsed().as_secs_f64());
    // Ended by a signal, the scenarios have no verdict.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::from(2), ExitCode::from))
}

/// Sets up, builds, and returns what the lab must be told.
fn prepare(workspace: &Workspace, lab: &Lab) -> Result<Vec<(&'static str, OsString)>> {
    let engine = Engine::reach()?;
    let tar = base_image::given_tar(lab.base_tar.clone());
    // Images are made of downloads and unpacking, programs of computing: side by side.
    let images = thread::scope(|scope| {
        let (made, ready) = mpsc::channel();
        let images = scope.spawn(move || make_images(workspace, tar.as_deref(), &made));
        let built = build_programs(workspace, lab, &engine, ready);
        let images = images
            .join()
            .map_err(|_| anyhow!("the thread that makes images ended early"))?;
        // A build that waited in vain for its image has nothing to say beside the reason for that.
        let images = images?;
        built.map(|_listening| images)
    })?;

    let mut told = Vec::new();
    for (image, tag) in images {
        match image {
            Image::Node => told.push(("SHELLY_LAB_NODE_IMAGE", tag.into())),
            Image::Influxdb => told.push(("SHELLY_LAB_INFLUXDB_IMAGE", tag.into())),
            Image::Cross => {}
        }
    }
    for program in &build::PROGRAMS {
        told.push((program.lab_variable, program.path(workspace).into()));
    }
    Ok(told)
}

/// Makes the images in the order in which they are needed, and tells of each. Ends early when
/// nobody listens any more, because the build failed.
fn make_images(
    workspace: &Workspace,
    tar: Option<&Path>,
    made: &Sender<Image>,
) -> Result<Vec<(Image, String)>> {
    let base = step("base image", || base_image::ensure(workspace, tar))?;
    let mut tags = Vec::new();
    for image in images::ALL {
        let tag = step(&format!("images: {image}"), || {
            image.ensure(workspace, &base)
        })?;
        tags.push((image, tag));
        if made.send(image).is_err() {
            break;
        }
    }
    Ok(tags)
}

/// Builds the programs, waiting for the image that they are built in. Gives the receiver back, so
/// that the other images are made while it is kept.
fn build_programs(
    workspace: &Workspace,
    lab: &Lab,
    engine: &Engine,
    ready: Receiver<Image>,
) -> Result<Receiver<Image>> {
    let tools = if lab.skip_build {
        None
    } else {
        Some(step("tools", || build::tools(workspace))?)
    };
    step("build: the lab itself", || {
        let mut command = workspace.cargo();
        match lab.action {
            None => command.args(["test", "--no-run"]).args(SCENARIOS),
            Some(_) => command.arg("build").args(LIVING),
        };
        command.run()
    })?;
    if let Some(cross) = tools {
        ready
            .recv()
            .context("waiting for the image that programs are built in")?;
        build::compile(workspace, engine, cross, None)?;
    }
    build::report(workspace, None)?;
    Ok(ready)
}
