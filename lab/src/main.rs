//! `lab up`: a living lab to look at. `lab clean`: takes down what labs left standing.
//! Started by `cargo xtask lab`, which builds what is needed and says where it is.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lab::artifacts::Artifacts;
use lab::engine::Engine;
use lab::node::Node;
use lab::roles::{collector, fleet};
use lab::sweep::{Reach, sweep};
use lab::topology::{self, Topology};
use lab::virtual_pi::PiLab;
use lab::virtual_pi::access::ALIAS;
use lab::{Lab, live};

const METERS: usize = 10;
const PERIOD_MS: u64 = 5000;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["up"] => up(METERS).await,
        ["up", "--meters", count] => match count.parse() {
            Ok(count) => up(count).await,
            Err(_) => Err(anyhow::anyhow!("--meters {count} is no number")),
        },
        ["clean"] => clean().await,
        ["wait-to-be-killed"] => wait_to_be_killed().await,
        _ => {
            eprintln!("usage: cargo xtask lab up [--meters N] | cargo xtask lab clean");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn up(meters: usize) -> Result<()> {
    let artifacts = Artifacts::read(|name| std::env::var(name).ok())?;
    let Some(mut artifacts) = artifacts else {
        bail!("start the lab with `cargo xtask lab up`");
    };
    artifacts.keep = true;
    if artifacts.virtual_pi.is_some() {
        return up_with_a_pi(artifacts).await;
    }
    let lab = Lab::start(artifacts, meters).await?;
    collector::start(&lab.collector).await?;
    fleet::install(&lab.meters, &live::fleet_of(&lab, PERIOD_MS, None)?).await?;
    fleet::start(&lab.meters).await?;
    println!(
        "{meters} meters publish; Ctrl-C ends the table, and the lab lives on. A shell on a machine:"
    );
    for node in lab.nodes() {
        println!("  docker exec -it {}-{} bash", lab.engine.name, node.name);
    }
    let watched = live::watch(&lab).await;
    lab.end().await?;
    watched
}

/// A lab with a blank virtual Pi to deploy to, until somebody stops it.
async fn up_with_a_pi(artifacts: Artifacts) -> Result<()> {
    let lab = PiLab::start(artifacts).await?;
    let (site, ssh) = (lab.access.site(), lab.access.ssh_config());
    let (site, ssh) = (site.display(), ssh.display());
    println!(
        "A blank Pi stands in the lab. As its admin:
  ssh -F {ssh} {ALIAS}
What a deployment would do, and the deployment:
  cargo xtask deploy pi --site {site} --ssh-config {ssh} --dry-run
  cargo xtask deploy pi --site {site} --ssh-config {ssh}
Its screen and keyboard, as root, when SSH is shut (Ctrl-C leaves):
  {screen}
A shell on another machine:",
        screen = lab.machine.screen_command(&lab.engine),
    );
    for node in lab.nodes() {
        println!("  docker exec -it {}-{} bash", lab.engine.name, node.name);
    }
    println!("Ctrl-C ends this, and the lab lives on until `cargo xtask lab clean`.");
    tokio::signal::ctrl_c()
        .await
        .context("waiting for Ctrl-C")?;
    lab.end().await
}

/// For the scenario that shows what becomes of a lab whose owner is killed: makes one network with
/// one machine, says so, and waits.
async fn wait_to_be_killed() -> Result<()> {
    let artifacts = Artifacts::read(|name| std::env::var(name).ok())?
        .context("this is for a scenario of the lab")?;
    let engine = Engine::connect(false).await?;
    let topology = Topology::create(&engine).await?;
    let plug = topology.wan.plug(topology::STRANGER);
    Node::start(&engine, "doomed", &artifacts.node_image, &[plug]).await?;
    println!("{}", engine.owner);
    std::future::pending().await
}

async fn clean() -> Result<()> {
    let engine = Engine::connect(false).await?;
    let removed = sweep(&engine, Reach::KeptToo)
        .await
        .context("taking labs down")?;
    match removed.as_slice() {
        [] => println!("nothing to take down"),
        names => println!("took down {}", names.join(", ")),
    }
    Ok(())
}
