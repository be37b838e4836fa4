//! One bastion, from looking at it to the report. The order of the steps is here, and what stops
//! them; each step itself is another module's.
//!
//! Until `apply` nothing is changed there but its memory, and the session takes that away again.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use site::answer::{Plan, Planned, Report, State};
use site::flow::Policy;
use site::manifest::PASSWD_PATH;
use site::{Bastion, Site};
use tokio::time::Instant;

use crate::ending::{Ending, Moment, Now};
use crate::facts::{self, Facts};
use crate::passwords::Passwords;
use crate::pi::{self, Fresh, Places, Staged};
use crate::plan::{self, Against};
use crate::preflight::{self, Context, ProgramNeeds};
use crate::release::Release;
use crate::render::Rendered;
use crate::settle::settle;
use crate::ssh::{Limits, Session, Ssh};
use crate::steps::{Step, Steps};
use crate::{VERSION, connect, offline, report, shown};

/// Facts and small answers.
const SHORT: Limits = Limits {
    bytes: facts::LONGEST_ANSWER,
    patience: std::time::Duration::from_secs(90),
};

/// What a person asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Say what would change, and change nothing.
    pub dry_run: bool,
    /// The plan is also written here, as JSON.
    pub plan: Option<PathBuf>,
    /// Seconds until the bastion goes back without a confirmation.
    pub within: u64,
    /// Carry packages along.
    pub offline: bool,
    /// A host key that is not known may be taken in, after a person has looked.
    pub new_host: bool,
    /// A machine that serves another site may be taken over.
    pub take_over: bool,
    /// A folder that is carried instead of what the site says. For the lab.
    pub release: Option<PathBuf>,
    /// Who deploys, for history and lock.
    pub who: String,
    /// Where things lie there.
    pub places: Places,
}

/// One bastion and all that is needed for it.
pub struct Job<'a> {
    /// The site.
    pub site: &'a Site,
    /// The bastion of it.
    pub bastion: &'a Bastion,
    /// How to get there.
    pub ssh: &'a Ssh,
    /// The program to carry over.
    pub program: &'a [u8],
    /// What it asks of the machine.
    pub needs: ProgramNeeds,
    /// What was asked for.
    pub options: &'a Options,
    /// What a person sees.
    pub steps: &'a Steps,
    /// What is true there.
    pub now: &'a Now,
}

impl Job<'_> {
    /// Deploys.
    ///
    /// # Errors
    /// When something stopped it; the bastion is then as before, or said otherwise.
    pub async fn run(&self, passwords: &mut Passwords) -> Result<Ending> {
        let policy = Policy::of(self.site, self.bastion);
        let rendered = match &self.options.release {
            Some(folder) => Rendered::read_from(folder).context("reading the release")?,
            None => Rendered::with_policy(self.site, self.bastion, passwords.secrets(), &policy)
                .context("rendering")?
                .with_program(self.program.to_vec(), &VERSION),
        };
        let release = Release::of(&rendered, Timestamp::now())?;
        let session = connect::open(self.steps, self.ssh, self.options, &release.id).await?;
        self.now.is(Moment::Looking);
        let mut in_use = false;
        let ended = self
            .within(
                &session,
                passwords,
                &policy,
                &rendered,
                &release,
                &mut in_use,
            )
            .await;
        session.close(in_use).await;
        ended
    }

    async fn within(
        &self,
        session: &Session,
        passwords: &mut Passwords,
        policy: &Policy,
        rendered: &Rendered,
        release: &Release,
        in_use: &mut bool,
    ) -> Result<Ending> {
        let facts = self.preflight(session).await?;
        if passwords.are_new() {
            self.ask_the_others().await?;
        }
        let staged = self.transfer(session, rendered, release).await?;

        let step = self.steps.begin("plan");
        let Planned {
            plan,
            verify: found,
        } = staged.plan(!self.options.dry_run).await?;
        step.done(&report::counts(&plan));
        let against = Against {
            site: self.site,
            bastion: self.bastion,
            rendered,
            policy,
            program: facts.program.as_deref(),
        };
        let page = plan::show(&plan, against);
        println!("{}", shown::page(page.text.trim_end()));
        self.write_down(&plan)?;
        // A folder for the lab is carried as it is: what becomes of it is what is shown.
        if self.options.release.is_none() {
            passwords.check(&plan.accounts)?;
        }
        if self.options.dry_run {
            return Ok(if plan.is_empty() {
                Ending::Done
            } else {
                Ending::WouldChange
            });
        }
        if plan.is_empty() {
            let ending = verify(self.steps, session, self.fresh(), found.as_ref()).await;
            println!("{}: nothing to do", self.bastion.name);
            return Ok(ending);
        }
        if !self
            .steps
            .may(&format!("Change {} like this?", self.bastion.name))
            .await?
        {
            bail!("nothing was changed: the answer was no");
        }
        if let Some(words) = passwords.keep(&release.id)? {
            self.steps.remark(&words);
        }
        self.packages(session, &staged, &plan, &facts).await?;
        let found = self
            .apply(session, &staged, release, passwords, in_use)
            .await?;

        let ending = verify(self.steps, session, self.fresh(), found.as_ref()).await;
        println!("{}: changed {}", self.bastion.name, report::counts(&plan));
        if facts.deployed.is_none() {
            let page = report::next_steps(self.site, self.bastion, passwords.path());
            println!("{}", shown::page(&page));
        }
        Ok(ending)
    }

    /// For programs that want to know the plan. It holds no secret, see [`site::answer::Plan`].
    fn write_down(&self, plan: &Plan) -> Result<()> {
        let Some(path) = &self.options.plan else {
            return Ok(());
        };
        let text = serde_json::to_string_pretty(plan).context("writing the plan")?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("writing the plan to {}", path.display()))
    }

    async fn preflight(&self, session: &Session) -> Result<Facts> {
        let step = self.steps.begin("preflight");
        let said = session
            .run("sh -s", facts::SCRIPT.as_bytes(), SHORT)
            .await?;
        let facts = Facts::parse(&String::from_utf8_lossy(&said.out))
            .with_context(|| format!("looking at the machine: {}", said.shown()))?;
        let context = Context {
            program: self.needs,
            now: u64::try_from(Timestamp::now().as_second()).unwrap_or(0),
            offline: self.options.offline,
            take_over: self.options.take_over,
        };
        let findings = preflight::check(self.site, self.bastion, &facts, &context);
        let refused = preflight::refuses(&findings);
        if refused {
            drop(step);
        } else {
            step.done(&format!("{}, {} warnings", facts.os_name, findings.len()));
        }
        for finding in &findings {
            self.steps.remark(&shown::page(&finding.to_string()));
        }
        if refused {
            bail!("the machine is not ready; nothing was changed there");
        }
        if let Some(why) = &session.powerless {
            bail!(
                "nothing can be changed there: {why}; give the account a line `NAME ALL=(ALL) NOPASSWD: ALL` with `sudo visudo`"
            );
        }
        Ok(facts)
    }

    /// Without a secrets file every account gets a new password; so no bastion of the site may
    /// have accounts yet. This one shows its own in the plan.
    async fn ask_the_others(&self) -> Result<()> {
        for other in &self.site.bastions {
            if other.name == self.bastion.name {
                continue;
            }
            let name = &other.name;
            let ssh = Ssh::new(&other.ssh, self.ssh.config().cloned())?;
            let remote = format!("test -e {PASSWD_PATH}");
            match ssh.run_alone(&remote, b"", SHORT).await {
                Ok(said) if said.well() => bail!(
                    "there is no secrets file, and bastion {name} has accounts already: new passwords here \
                     would be others than there; bring the secrets file from where {name} was set up"
                ),
                Ok(_) => {}
                Err(error) => self.steps.remark(&format!(
                    "warning: there is no secrets file, and bastion {name} could not be asked whether it has \
                     accounts: {error}"
                )),
            }
        }
        Ok(())
    }

    async fn transfer<'s>(
        &self,
        session: &'s Session,
        rendered: &Rendered,
        release: &'s Release,
    ) -> Result<Staged<'s>> {
        let step = self.steps.begin("transfer");
        let there = session.program.as_deref();
        let ours = rendered
            .manifest
            .files
            .iter()
            .find(|file| file.path == site::manifest::PROGRAM_PATH)
            .map(|file| file.sha256.as_str());
        let with_program = ours != there;
        let tar = release.tar(rendered, with_program)?;
        let size = tar.len() / 1024;
        let places = &self.options.places;
        let staged = Staged::carry(session, places, &release.id, &tar, with_program).await?;
        let program = if with_program {
            "with the program"
        } else {
            "the program is there already"
        };
        step.done(&format!("{size} KiB, {program}"));
        Ok(staged)
    }

    async fn packages(
        &self,
        session: &Session,
        staged: &Staged<'_>,
        plan: &Plan,
        facts: &Facts,
    ) -> Result<()> {
        if plan.packages.is_empty() {
            return Ok(());
        }
        if self.options.offline {
            let step = self.steps.begin("fetch");
            let tar = offline::packages(session, &step, plan, facts).await?;
            step.at("carrying the packages over");
            staged.add("packages", &tar).await?;
            step.done(&format!(
                "{} KiB of packages carried over",
                tar.len() / 1024
            ));
        }
        self.now.is(Moment::Packages);
        let step = self.steps.begin("packages");
        staged.packages().await.context(
            "installing packages; where their sources are out of reach, or the policy in place lets apt nowhere \
             (updates = false so far), --offline brings them along",
        )?;
        step.done(&format!("{} installed", plan.packages.len()));
        Ok(())
    }

    async fn apply(
        &self,
        session: &Session,
        staged: &Staged<'_>,
        release: &Release,
        passwords: &mut Passwords,
        in_use: &mut bool,
    ) -> Result<Option<Report>> {
        let within = self.options.within;
        self.now.is(Moment::Armed { within });
        session.keep_staging().await;
        *in_use = true;
        let step = self.steps.begin("apply");
        let asked = Instant::now();
        let applied = staged.apply(within, &self.options.who).await;
        match &applied {
            Ok(outcome) if outcome.state == State::Waiting => {
                step.done(&format!("goes back in {within} s unless confirmed"));
            }
            Ok(outcome) if matches!(outcome.state, State::Nothing | State::Confirmed) => {
                step.done("in place");
            }
            _ => drop(step),
        }
        let id = Some(release.id.as_str());
        match settle(self.steps, self.fresh(), id, within, asked, applied).await {
            Ok(outcome) => {
                self.now.is(Moment::Confirmed);
                *in_use = false;
                passwords.are_in_use();
                Ok(outcome.verify)
            }
            Err(error) => {
                *in_use = false;
                passwords.went_back()?;
                Err(error)
            }
        }
    }

    fn fresh(&self) -> Fresh<'_> {
        Fresh {
            ssh: self.ssh,
            places: &self.options.places,
        }
    }
}

/// Says what does not hold of what is in place, by what the bastion found when it planned or
/// applied; asks when it has not said.
pub async fn verify(
    steps: &Steps,
    session: &Session,
    fresh: Fresh<'_>,
    found: Option<&Report>,
) -> Ending {
    let step = steps.begin("verify");
    if let Some(report) = found {
        return judged(step, report);
    }
    match pi::verify(session, fresh).await {
        Ok(report) => judged(step, &report),
        Err(error) => {
            drop(step);
            steps.remark(&format!("what is in place could not be verified: {error}"));
            Ending::NotAllHeld
        }
    }
}

fn judged(step: Step, report: &Report) -> Ending {
    step.done(&report::verdict(report));
    if report::all_held(report) {
        return Ending::Done;
    }
    println!("not everything held:\n{}", report::not_held(report));
    Ending::NotAllHeld
}
