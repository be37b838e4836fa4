//! A second release that is good, and changes something of every kind: the firewall, accounts,
//! settings that a unit is started afresh for. What the machine is like with it is seen once, so that
//! others can tell old from new, and both from something in between.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use deploy::Secrets;
use lab::virtual_pi::access::Access;
use site::answer::Status;

use crate::deployed::{DEPLOYED, LATER, change_site, one_more_meter, well};
use crate::listing::{Change, HISTORY, IN_PLACE, Listing, RELEASES};
use crate::stage::Stage;

/// A meter that the first release does not have.
const METER: &str = "shellyem-5EC04D";
/// Number of a machine in the LAN that does not exist, and may read in the second release.
const READER: u8 = 201;

/// Old and new, to be told apart.
pub(crate) struct Second {
    /// The folder that it is deployed from.
    access: Access,
    /// The machine with it.
    after: Listing,
}

/// Which of the two a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As before.
    Old,
    /// As it shall be.
    New,
}

impl Stage {
    /// The second release, as it is when it was deployed well; made when nobody has asked before.
    pub(crate) async fn second(&self) -> Result<&Second> {
        let made = self.second.get_or_init(|| async {
            let made = self.deploy_second().await;
            made.map_err(|error| format!("{error:#}"))
        });
        match made.await {
            Ok(second) => Ok(second),
            Err(error) => bail!("the second deployment did not come about: {error}"),
        }
    }

    /// An address that is in the new firewall, and not in the old one.
    pub(crate) fn new_reader(&self) -> String {
        self.lab.topology.lan.host(READER).v4.to_string()
    }

    async fn deploy_second(&self) -> Result<Second> {
        self.begin_from(DEPLOYED).await?;
        let access = self.again("second").await?;
        let reader = self.new_reader();
        change_site(&access, |text| {
            one_more_meter(text, METER)
                .replace("\nreaders = [", &format!("\nreaders = [\"{reader}\", "))
                .replace(
                    "\n[database]\n",
                    "\n[system]\njournal_mib = 60\n\n[database]\n",
                )
        })?;
        self.deploy_well(&access).await?;
        self.machine().wait_until_settled(LATER).await?;
        let after = Listing::of(self.machine()).await?;
        let first = self.first().await?;
        let changed = first.after.changes(&after);
        for kind in ["nft ", "file /etc/mosquitto", "file /etc/systemd/journald"] {
            ensure!(
                changed.iter().any(|change| change.thing.starts_with(kind)),
                "the second release changes no {kind}"
            );
        }
        Ok(Second { access, after })
    }
}

impl Second {
    /// A folder of its own to deploy it from, with the passwords that it was seen with.
    pub(crate) fn folder(&self, stage: &Stage, scenario: &str) -> Result<Access> {
        let access = stage.site(scenario)?;
        fs::copy(self.access.site(), access.site()).context("copying the second site file")?;
        let secrets = Secrets::load(&Secrets::path_beside(&self.access.site()))?;
        secrets.save(&Secrets::path_beside(&access.site()))?;
        Ok(access)
    }

    /// Which of the two the machine is, to the last thing; anything else is an error. Its program
    /// must say the same over SSH, and nothing may wait. What begins with one of `left` does not count.
    pub(crate) async fn state(&self, stage: &Stage, what: &str, left: &[&str]) -> Result<State> {
        let found = Listing::of(stage.machine()).await?.without(left);
        let old = differences(&stage.first().await?.after, &found);
        let new = differences(&self.after, &found);
        let state = match (old.is_empty(), new.is_empty()) {
            (true, _) => State::Old,
            (false, true) => State::New,
            (false, false) => bail!(
                "{what}: the machine is neither old nor new\nbeside the old one:\n{}\nbeside the new one:\n{}",
                old.join("\n"),
                new.join("\n")
            ),
        };
        let said = stage
            .first()
            .await?
            .access
            .ssh("sudo bastion status --json", LATER)
            .await?;
        let status: Status = serde_json::from_str(&said.stdout)
            .with_context(|| format!("reading the status: {}{}", said.stdout, said.stderr))?;
        ensure!(
            status.waiting.is_none(),
            "{what}: a release still waits: {:?}",
            status.waiting
        );
        ensure!(
            status.verify.exit_code() == 0,
            "{what}: the machine is {state:?}, and not everything holds:\n{}",
            status.verify
        );
        Ok(state)
    }

    /// Deploys it, and sees that the machine is new then.
    pub(crate) async fn get_there(&self, stage: &Stage, from: &Access, what: &str) -> Result<()> {
        well(stage.deploy(from, &[], LATER).await?, what)?;
        stage.machine().wait_until_settled(LATER).await?;
        let state = self.state(stage, what, &[]).await?;
        ensure!(
            state == State::New,
            "{what}: the next deployment did not get there"
        );
        Ok(())
    }
}

/// What differs, beside the memory of deployments.
fn differences(expected: &Listing, found: &Listing) -> Vec<String> {
    let memory = [HISTORY, RELEASES, IN_PLACE];
    let expected = expected.clone().without(&memory);
    let found = found.clone().without(&memory);
    expected
        .changes(&found)
        .iter()
        .map(Change::to_string)
        .collect()
}
