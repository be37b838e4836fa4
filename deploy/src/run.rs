//! The commands, from a checked command line to an exit code. What happens on one bastion is left
//! to `deployment`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use site::{Bastion, Site};
use tokio::time::Instant;

use crate::cli::{Action, Cli, Shared};
use crate::connect::open;
use crate::deployment::{Job, Options, verify};
use crate::ending::{Ending, Moment, Now};
use crate::passwords::{self, Passwords};
use crate::pi::{self, Fresh, Places};
use crate::secrets::Secrets;
use crate::settle::settle;
use crate::ssh::Ssh;
use crate::steps::Steps;
use crate::{program, report, shown};

/// Runs the command.
///
/// # Errors
/// When it could not be done; what then is true on the bastion is said.
pub async fn run(cli: Cli, now: &Now) -> Result<Ending> {
    let site = read_site(&cli.shared.site)?;
    let steps = Steps::new(cli.shared.yes);
    for warning in &site.warnings {
        steps.remark(&format!("warning: {warning}"));
    }
    match &cli.action {
        None => deploy(&cli, &site, &steps, now).await,
        Some(Action::Rollback { id, bastion }) => {
            let bastion = named(&site, bastion.as_deref())?;
            rollback(&cli, bastion, id.as_deref(), &steps, now).await
        }
        Some(Action::History { bastion }) => {
            let bastion = named(&site, bastion.as_deref())?;
            let ssh = reach(&cli.shared, bastion)?;
            let places = Places::below(&cli.shared.target_root);
            let fresh = Fresh {
                ssh: &ssh,
                places: &places,
            };
            println!("{}", report::history(&fresh.history().await?));
            Ok(Ending::Done)
        }
        Some(Action::Status { bastion }) => {
            let bastion = named(&site, bastion.as_deref())?;
            status(&cli, bastion).await
        }
    }
}

async fn deploy(cli: &Cli, site: &Site, steps: &Steps, now: &Now) -> Result<Ending> {
    let bastions = chosen(site, &cli.names)?;
    let path = cli
        .program
        .as_deref()
        .context("no program for the bastion: start this as `cargo xtask deploy`, or name it with --program PATH")?;
    let (program, needs) = program::read(path)?;
    let mut passwords = Passwords::load(&cli.shared.site, site, &cli.rotate)?;
    let options = options(cli)?;
    let mut worst = Ending::Done;
    for (done, bastion) in bastions.iter().enumerate() {
        if bastions.len() > 1 {
            steps.remark(&format!("── {}", bastion.name));
        }
        let ssh = reach(&cli.shared, bastion)?;
        let job = Job {
            site,
            bastion,
            ssh: &ssh,
            program: &program,
            needs,
            options: &options,
            steps,
            now,
        };
        match job.run(&mut passwords).await {
            // A dry run looks at all of them.
            Ok(ending) => worst = worst.max(ending),
            Err(error) => {
                let left: Vec<&str> = bastions
                    .iter()
                    .skip(done + 1)
                    .map(|bastion| bastion.name.as_str())
                    .collect();
                if !left.is_empty() {
                    steps.remark(&format!("not done for this reason: {}", left.join(", ")));
                }
                return Err(error.context(format!("bastion {}", bastion.name)));
            }
        }
    }
    Ok(worst)
}

async fn rollback(
    cli: &Cli,
    bastion: &Bastion,
    id: Option<&str>,
    steps: &Steps,
    now: &Now,
) -> Result<Ending> {
    let ssh = reach(&cli.shared, bastion)?;
    let options = options(cli)?;
    let within = options.within;
    let release = id.unwrap_or("the release before");
    let question = format!("Put {release} in place again on {}?", bastion.name);
    if !steps.may(&question).await? {
        bail!("nothing was changed: the answer was no");
    }
    // Nothing is staged; the lock is what counts.
    let lock = Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ-rollback")
        .to_string();
    let session = open(steps, &ssh, &options, &lock).await?;
    if let Some(why) = &session.powerless {
        bail!("nothing can be changed there: {why}");
    }
    now.is(Moment::Armed { within });
    let step = steps.begin("rollback");
    let asked = Instant::now();
    let back = pi::rollback(&session, &options.places, id, within, &options.who).await;
    if back.is_ok() {
        step.done("answered");
    } else {
        drop(step);
    }
    let fresh = Fresh {
        ssh: &ssh,
        places: &options.places,
    };
    let outcome = settle(steps, fresh, id, within, asked, back).await?;
    now.is(Moment::Confirmed);
    let ending = verify(steps, &session, fresh, outcome.verify.as_ref()).await;
    session.close(false).await;
    println!(
        "{}: release {} is in place, changed {}",
        bastion.name,
        shown::line(&outcome.release),
        report::counts(&outcome.plan)
    );
    let file = Secrets::path_beside(&cli.shared.site);
    if let Some(words) = passwords::earlier_again(&outcome.plan.accounts, &file) {
        steps.remark(&words);
    }
    Ok(ending)
}

async fn status(cli: &Cli, bastion: &Bastion) -> Result<Ending> {
    let ssh = reach(&cli.shared, bastion)?;
    let places = Places::below(&cli.shared.target_root);
    let fresh = Fresh {
        ssh: &ssh,
        places: &places,
    };
    let patience = std::time::Duration::from_secs(60);
    let status = fresh.status(patience).await?;
    println!("{}", report::status(&bastion.name, &status));
    if report::all_held(&status.verify) {
        Ok(Ending::Done)
    } else {
        Ok(Ending::NotAllHeld)
    }
}

fn read_site(path: &Path) -> Result<Site> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("reading the site file {shown}: name it with --site FILE; site/examples/home.toml is one")
    })?;
    Site::parse(&shown, &text).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))
}

/// The named bastions in the order in which they were named, each once.
fn chosen<'a>(site: &'a Site, names: &[String]) -> Result<Vec<&'a Bastion>> {
    if names.is_empty() {
        return Ok(vec![named(site, None)?]);
    }
    let mut bastions: Vec<&Bastion> = Vec::new();
    for name in names {
        let bastion = named(site, Some(name))?;
        if !bastions.iter().any(|one| one.name == bastion.name) {
            bastions.push(bastion);
        }
    }
    Ok(bastions)
}

fn named<'a>(site: &'a Site, name: Option<&str>) -> Result<&'a Bastion> {
    let mut all = site.bastions.iter();
    let found = match name {
        None => all.next(),
        Some(name) => all.find(|bastion| bastion.name == name),
    };
    found.with_context(|| {
        let names: Vec<&str> = site.bastions.iter().map(|one| one.name.as_str()).collect();
        format!(
            "the site has no bastion {:?}; it has {}",
            name.unwrap_or_default(),
            names.join(", ")
        )
    })
}

fn reach(shared: &Shared, bastion: &Bastion) -> Result<Ssh> {
    Ok(Ssh::new(&bastion.ssh, shared.ssh_config.clone())?)
}

fn options(cli: &Cli) -> Result<Options> {
    Ok(Options {
        dry_run: cli.dry_run,
        plan: cli.plan.clone(),
        within: cli.shared.confirm_within,
        offline: cli.offline,
        new_host: cli.shared.new_host,
        take_over: cli.take_over,
        release: cli.release.clone(),
        who: who(),
        places: Places::below(&cli.shared.target_root),
    })
}

/// `name@machine` of the person, with nothing in it that could be taken for something else.
fn who() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |text: &str| -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        text.trim().chars().filter(kept).take(60).collect()
    };
    format!(
        "{}@{}",
        plain(&name.unwrap_or_else(|_| "somebody".to_owned())),
        plain(&machine)
    )
}
