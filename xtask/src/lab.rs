//! `cargo xtask lab`: sets up what is missing, builds, and hands over to the package `lab`, which
//! knows networks, machines and scenarios. They meet in the environment variables named here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, Subcommand, ValueEnum};

use crate::build::Userland;
use crate::engine::Engine;
use crate::images::{self, Image};
use crate::run::{Run, step};
use crate::workspace::Workspace;
use crate::{base_image, build, virtual_pi};

/// The variable without which scenarios list themselves and do not run.
pub(crate) const SWITCH: &str = "SHELLY_LAB";
/// The test target that holds the scenarios. Only `lab` has one by this name; asked for in the
/// whole workspace, it shares every compiled crate with `cargo test --workspace`.
const SCENARIOS: [&str; 3] = ["--workspace", "--test", "scenarios"];
/// The test target that holds the scenarios on a virtual Pi.
const PI_SCENARIOS: [&str; 3] = ["--workspace", "--test", "pi"];
/// What the long run's name contains.
const SOAK: &str = "outage::soak";
/// The program that stands a lab up and takes labs away.
const LIVING: [&str; 4] = ["--package", "lab", "--bin", "lab"];

/// Arguments of `cargo xtask lab`.
#[derive(Debug, Default, Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    action: Option<Action>,
    /// What the bastion is: a container, or an emulated Pi.
    #[arg(long, value_enum, default_value_t, global = true)]
    tier: Tier,
    /// Use the programs of the last build.
    #[arg(long, global = true)]
    skip_build: bool,
    /// A tar file to make the base image from: a saved Debian 12 image or its root file system.
    #[arg(long, value_name = "FILE", global = true)]
    base_tar: Option<PathBuf>,
    /// Take one rule out of the policy; a scenario must notice.
    #[arg(long, value_name = "NAME", global = true)]
    without_rule: Option<String>,
    /// Make the policy wrong in one place after the other, a rule missing or moved, and say which
    /// scenario notices each; a filter chooses changes by their name.
    #[arg(long, conflicts_with_all = ["without_rule", "list", "keep", "full", "tier"])]
    mutate: bool,
    /// Leave containers and networks behind; `cargo xtask lab clean` takes them away.
    #[arg(long)]
    keep: bool,
    /// Run the scenarios too that take long; without this they are listed as ignored.
    #[arg(long)]
    full: bool,
    /// Run only the few scenarios on a virtual Pi that `cargo xtask test` runs: a deployment, a second
    /// one, readings, isolation.
    #[arg(long, conflicts_with = "full")]
    core: bool,
    /// Run only the long run in which programs are killed a hundred times.
    #[arg(long, conflicts_with_all = ["full", "core", "filter"])]
    soak: bool,
    /// Choose samples by this number instead of a new one; it is printed either way.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// List the scenarios; builds nothing and needs no container engine.
    #[arg(long)]
    list: bool,
    /// Run only scenarios whose name contains this; with `--mutate`, only such changes.
    filter: Option<String>,
    /// Further arguments as test programs take them, such as `--exact` or `--test-threads 1`.
    #[arg(last = true, value_name = "ARGS")]
    more: Vec<String>,
}

impl Lab {
    /// The scenarios on a virtual Pi that are run by default.
    pub(crate) fn on_a_virtual_pi() -> Lab {
        Lab {
            tier: Tier::Vm,
            ..Lab::default()
        }
    }

    /// What the arguments alone cannot say: options that scenarios obey mean nothing where none run.
    pub(crate) fn makes_sense(&self) -> Result<()> {
        ensure!(
            !self.mutate || self.action.is_none(),
            "--mutate lets scenarios judge wrong policies, and `lab up` and `lab clean` run no scenarios: \
             use `cargo xtask lab --mutate` alone"
        );
        Ok(())
    }

    /// Of these the few that fit into every run.
    pub(crate) fn core_on_a_virtual_pi() -> Lab {
        Lab {
            core: true,
            ..Lab::on_a_virtual_pi()
        }
    }
}

/// What stands in the place of the bastion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// A container: about a minute.
    #[default]
    Containers,
    /// An emulated armv7 machine with systemd, as if it were a new Pi.
    Vm,
}

impl Tier {
    fn scenarios(self) -> [&'static str; 3] {
        match self {
            Tier::Containers => SCENARIOS,
            Tier::Vm => PI_SCENARIOS,
        }
    }

    fn images(self) -> &'static [Image] {
        match self {
            Tier::Containers => &images::ALL,
            Tier::Vm => &images::WITH_MACHINE,
        }
    }
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
    lab.makes_sense()?;
    let start = Instant::now();
    let mut command = workspace.cargo();
    match &lab.action {
        None => {
            command.arg("test").args(lab.tier.scenarios()).arg("--");
            // A mutation run chooses changes of the policy by the filter, and scenarios by itself.
            command
                .args(lab.filter.as_ref().filter(|_| !lab.mutate))
                .args(&lab.more);
            command.args(lab.soak.then_some(SOAK));
            command.args((lab.full || lab.soak).then_some("--include-ignored"));
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
    if lab.core {
        command.env("SHELLY_LAB_CORE", "1");
    }
    if lab.action.is_none() && !lab.list {
        let seed = lab.seed.unwrap_or_else(new_seed);
        eprintln!("samples are chosen by --seed {seed}");
        command.env("SHELLY_LAB_SEED", seed.to_string());
    }
    if lab.mutate {
        let filter = lab.filter.clone().unwrap_or_default();
        command.env("SHELLY_LAB_MUTATE", filter);
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

/// Another one each time.
fn new_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Short enough to type again.
    now.map_or(0, |now| u64::from(now.subsec_micros()))
}

/// Sets up, builds, and returns what the lab must be told.
fn prepare(workspace: &Workspace, lab: &Lab) -> Result<Vec<(&'static str, OsString)>> {
    let engine = Engine::reach()?;
    if lab.tier == Tier::Vm {
        virtual_pi::possible(workspace)?;
    }
    let tar = base_image::given_tar(lab.base_tar.clone());
    // Images are made of downloads and unpacking, programs of computing: side by side.
    let images = thread::scope(|scope| {
        let (made, ready) = mpsc::channel();
        let wanted = lab.tier.images();
        let images = scope.spawn(move || make_images(workspace, tar.as_deref(), wanted, &made));
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
            Image::Machine => told.push(("SHELLY_LAB_MACHINE_IMAGE", tag.into())),
            Image::Cross => {}
        }
    }
    for program in &build::PROGRAMS {
        told.push((program.lab_variable, program.path(workspace).into()));
    }
    if lab.tier == Tier::Vm {
        told.extend(machine(workspace)?);
    }
    Ok(told)
}

/// Makes the virtual Pi, and returns what the lab must be told of it.
fn machine(workspace: &Workspace) -> Result<[(&'static str, OsString); 5]> {
    let made = step("virtual Pi", || virtual_pi::ensure(workspace))?;
    Ok([
        ("SHELLY_LAB_TIER", "vm".into()),
        ("SHELLY_LAB_VIRTUAL_PI", made.machine.into()),
        ("SHELLY_LAB_MIRROR", made.mirror.into()),
        (
            "SHELLY_LAB_ACCESS",
            workspace.target.join("lab-access").into(),
        ),
        // cargo's, for this host.
        (
            "SHELLY_LAB_DEPLOY",
            workspace.target.join("debug").join("deploy").into(),
        ),
    ])
}

/// Makes the images in the order in which they are needed, and tells of each. Ends early when
/// nobody listens any more, because the build failed.
fn make_images(
    workspace: &Workspace,
    tar: Option<&Path>,
    wanted: &[Image],
    made: &Sender<Image>,
) -> Result<Vec<(Image, String)>> {
    let base = step("base image", || base_image::ensure(workspace, tar))?;
    let mut tags = Vec::new();
    for &image in wanted {
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
        Some(step("tools", || build::tools(workspace, Userland::Armv7))?)
    };
    step("build: the lab itself", || {
        let mut command = workspace.cargo();
        match lab.action {
            None => command
                .args(["test", "--no-run"])
                .args(lab.tier.scenarios()),
            Some(_) => command.arg("build").args(LIVING),
        };
        command.run()?;
        if lab.tier == Tier::Vm {
            // The deployer, which the scenarios start.
            workspace
                .cargo()
                .args(["build", "--package", "deploy"])
                .run()?;
        }
        Ok(())
    })?;
    if let Some(cross) = tools {
        ready
            .recv()
            .context("waiting for the image that programs are built in")?;
        build::compile(workspace, engine, cross, None, Userland::Armv7)?;
    }
    build::report(workspace, None, Userland::Armv7)?;
    Ok(ready)
}
