//! The state in which most scenarios begin: a machine that was deployed to once. The first
//! scenario that asks for it has it made from a new card, looks on at every step, and what was
//! seen is kept for the scenarios that judge it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use deploy::Secrets;
use lab::node::Output;
use lab::virtual_pi::BLANK;
use lab::virtual_pi::access::Access;
use site::Site;
use site::answer::Plan;

use crate::listing::Listing;
use crate::stage::Stage;

/// A machine that was deployed to once, and is at rest.
pub(crate) const DEPLOYED: &str = "deployed";

/// Seconds that a scenario gives for a confirmation: an emulated machine on a busy host is slow,
/// and how long going back takes is no question of these scenarios.
pub(crate) const WINDOW: &str = "300";
/// A first deployment installs packages.
pub(crate) const FIRST: Duration = Duration::from_secs(1500);
/// Every later one.
pub(crate) const LATER: Duration = Duration::from_secs(420);

/// The first deployment, as it was seen.
pub(crate) struct First {
    /// The folder that it was made from. Scenarios take copies, see [`Stage::again`].
    pub(crate) access: Access,
    /// The new machine.
    pub(crate) before: Listing,
    /// What a dry run said.
    pub(crate) dry: Output,
    /// What it would change.
    pub(crate) plan: Plan,
    /// The machine after the dry run.
    pub(crate) after_dry: Listing,
    /// What the deployment said.
    pub(crate) output: Output,
    /// How long it took.
    pub(crate) took: Duration,
    /// The machine after it.
    pub(crate) after: Listing,
}

impl Stage {
    /// The first deployment; made when nobody has asked before.
    pub(crate) async fn first(&self) -> Result<&First> {
        let made = self.first.get_or_init(|| async {
            self.deploy_first()
                .await
                .map_err(|error| format!("{error:#}"))
        });
        match made.await {
            Ok(first) => Ok(first),
            Err(error) => bail!("the first deployment did not come about: {error}"),
        }
    }

    async fn deploy_first(&self) -> Result<First> {
        self.lab.recall(BLANK).await?;
        let access = self.site(DEPLOYED)?;
        let before = Listing::of(self.machine()).await?;
        let (dry, plan) = self.dry_run(&access).await?;
        let after_dry = Listing::of(self.machine()).await?;
        let start = Instant::now();
        let output = self.deploy(&access, &[], FIRST).await?;
        let took = start.elapsed();
        ensure!(
            output.code == 0,
            "exit code {}: {}{}",
            output.code,
            output.stderr,
            output.stdout
        );
        self.machine().wait_until_settled(LATER).await?;
        let after = Listing::of(self.machine()).await?;
        self.machine().remember(DEPLOYED).await?;
        self.lab.steps.done("deployed to for the first time");
        Ok(First {
            access,
            before,
            dry,
            plan,
            after_dry,
            output,
            took,
            after,
        })
    }

    /// Deploys the site of a folder without a question, with further arguments.
    pub(crate) async fn deploy(
        &self,
        from: &Access,
        more: &[&str],
        limit: Duration,
    ) -> Result<Output> {
        let arguments = [&["pi", "--yes", "--confirm-within", WINDOW], more].concat();
        self.deployer(from, &arguments, limit).await
    }

    /// As [`Stage::deploy`], of a machine that was deployed to before. Anything but success is an
    /// error.
    pub(crate) async fn deploy_well(&self, from: &Access) -> Result<Output> {
        well(self.deploy(from, &[], LATER).await?, "deploying")
    }

    /// What a dry run says, and the plan that it names.
    pub(crate) async fn dry_run(&self, from: &Access) -> Result<(Output, Plan)> {
        let file = from.folder.join("plan.json");
        let _ = fs::remove_file(&file);
        let shown = file.display().to_string();
        let arguments = ["pi", "--dry-run", "--plan", &shown];
        let output = self.deployer(from, &arguments, LATER).await?;
        let text = fs::read_to_string(&file).with_context(|| {
            let Output {
                code,
                stdout,
                stderr,
            } = &output;
            format!("a dry run left no plan; exit code {code}: {stderr}{stdout}")
        })?;
        let plan = serde_json::from_str(&text).context("reading the plan")?;
        Ok((output, plan))
    }

    /// A folder of its own for a scenario, with the site and the secrets that the machine was
    /// deployed to from.
    pub(crate) async fn again(&self, scenario: &str) -> Result<Access> {
        let first = self.first().await?;
        let access = self.site(scenario)?;
        let secrets = Secrets::load(&Secrets::path_beside(&first.access.site()))?;
        secrets.save(&Secrets::path_beside(&access.site()))?;
        Ok(access)
    }
}

/// The site of a folder, and its secrets.
pub(crate) fn site_of(access: &Access) -> Result<(Site, Secrets)> {
    let path = access.site();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let site = Site::parse(&path.display().to_string(), &text)
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let secrets = Secrets::load(&Secrets::path_beside(&path))?;
    Ok((site, secrets))
}

/// Changes the text of a folder's site file.
pub(crate) fn change_site(access: &Access, change: impl FnOnce(String) -> String) -> Result<()> {
    let path = access.site();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    fs::write(&path, change(text)).with_context(|| format!("writing {}", path.display()))
}

/// One more meter at the end of a site file.
pub(crate) fn one_more_meter(text: String, id: &str) -> String {
    text + &format!(
        "\n[[meter]]\nid = \"{id}\"\nmodel = \"shellyem\"\nlocation = \"a new house\"\n\
         point = \"point-{id}\"\n"
    )
}

/// The output, unless it is a failure.
pub(crate) fn well(output: Output, what: &str) -> Result<Output> {
    ensure!(
        output.code == 0,
        "{what}: exit code {}: {}{}",
        output.code,
        output.stderr,
        output.stdout
    );
    Ok(output)
}

/// The output, if it is a refusal with these words in it: exit code 1.
pub(crate) fn refused(output: Output, words: &[&str], what: &str) -> Result<Output> {
    let said = format!("{}{}", output.stderr, output.stdout);
    ensure!(
        output.code == 1,
        "{what}: exit code {} instead of 1: {said}",
        output.code
    );
    for word in words {
        ensure!(
            said.contains(word),
            "{what}: says nothing of `{word}`: {said}"
        );
    }
    Ok(output)
}

/// The seconds of a step in what the deployer said, `[   1.2 s] apply     …`.
pub(crate) fn seconds_of(output: &Output, step: &str) -> Option<f32> {
    output.stderr.lines().find_map(|line| {
        let (time, rest) = line.strip_prefix('[')?.split_once(" s] ")?;
        (rest.split_whitespace().next()? == step).then_some(time.trim().parse().ok()?)
    })
}
