//! Every attempt that the policy must refuse or allow, made three times: without the policy,
//! with it, and with everything allowed that the refusals leave over.
//!
//! The first is the twin of every refusal: what does not get through there proves nothing. The
//! third shows that the refusals hold by themselves, whatever is let out behind them one day.
//! Judging is left to the scenarios.

mod cases;
mod outbound;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use site::flow::{APT_USER, Action, Direction, Hook, Match, Policy, Rule, TIME_USER};

use crate::lab::Lab;
use crate::node::Node;
use crate::probe::{Outcome, Target, attempt};
use crate::roles::bastion;
use crate::roles::witness::{self, Arrival};
use crate::topology::{ADMIN, BASTION, COLLECTOR, HOME_SERVER, Host, NEIGHBOUR, STRANGER};

/// Who makes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The bastion, as the broker's user.
    Bastion,
    /// The bastion, as the user as whom apt fetches.
    Apt,
    /// The bastion, as the time service's user.
    TimeService,
    /// The bastion, as root.
    Root,
    /// Another machine in the DMZ.
    Neighbour,
    /// Somebody on the Internet.
    Stranger,
    /// A LAN machine that is neither admin nor reader.
    HomeServer,
    /// The admin's machine.
    Admin,
    /// The reader's machine.
    Reader,
}

impl Sender {
    const ALL: [Sender; 9] = [
        Sender::Bastion,
        Sender::Apt,
        Sender::TimeService,
        Sender::Root,
        Sender::Neighbour,
        Sender::Stranger,
        Sender::HomeServer,
        Sender::Admin,
        Sender::Reader,
    ];

    /// Its own addresses.
    fn host(self, lab: &Lab) -> Host {
        let (wan, dmz, lan) = (&lab.topology.wan, &lab.topology.dmz, &lab.topology.lan);
        match self {
            Sender::Bastion | Sender::Apt | Sender::TimeService | Sender::Root => dmz.host(BASTION),
            Sender::Neighbour => dmz.host(NEIGHBOUR),
            Sender::Stranger => wan.host(STRANGER),
            Sender::HomeServer => lan.host(HOME_SERVER),
            Sender::Admin => lan.host(ADMIN),
            Sender::Reader => lan.host(COLLECTOR),
        }
    }

    fn node(self, lab: &Lab) -> (&Node, &'static str) {
        match self {
            // Who takes the bastion over comes in through the broker.
            Sender::Bastion => (&lab.bastion, "mosquitto"),
            Sender::Apt => (&lab.bastion, APT_USER),
            Sender::TimeService => (&lab.bastion, TIME_USER),
            Sender::Root => (&lab.bastion, "root"),
            Sender::Neighbour => (&lab.neighbour, "root"),
            Sender::Stranger => (&lab.stranger, "root"),
            Sender::HomeServer => (&lab.home_server, "root"),
            Sender::Admin => (&lab.admin, "root"),
            Sender::Reader => (&lab.collector, "root"),
        }
    }
}

/// What the policy says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It gets through.
    Allowed,
    /// It does not.
    Refused,
    /// It does not, but only because nothing lets it out: it is nobody's that must be protected.
    RefusedAtTheEnd,
}

/// One attempt and what is expected of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// To whom, in words.
    pub whom: &'static str,
    /// Who tries.
    pub sender: Sender,
    /// What is tried.
    pub target: Target,
    /// What the receiver sees of it when it arrives. `None` when it looks like another case.
    pub arrival: Option<Arrival>,
    /// What must come of it.
    pub expected: Expected,
    /// It is answered under another address than was asked, so that only the receiver can tell.
    pub unanswered: bool,
}

/// What came of all attempts in one state of the policy.
pub struct Arm {
    /// By sender and target.
    pub outcomes: BTreeMap<(Sender, String), Outcome>,
    /// What arrived anywhere, and what came in at the bastion.
    pub arrivals: BTreeSet<Arrival>,
}

/// All three.
pub struct Matrix {
    /// What was tried.
    pub cases: Vec<Case>,
    /// Without any policy.
    pub off: Arm,
    /// With the policy.
    pub on: Arm,
    /// With the policy less its last outgoing refusal: what the others leave over is let out.
    pub open_end: Arm,
}

/// The policy as it would be if everything were let out behind the refusals: without the last of
/// them, and with the answers let in that are then due.
fn open_end(policy: &Policy) -> Policy {
    let mut open = policy
        .without("refuse-rest-out")
        .unwrap_or_else(|| policy.clone());
    let answers = Rule {
        name: "lab-answers-in".to_owned(),
        flow: "lab".to_owned(),
        says: "answers to what the bastion was let out for".to_owned(),
        hook: Hook::Input,
        matches: vec![Match::Established(Direction::Reply)],
        action: Action::Accept,
    };
    open.rules.insert(0, answers);
    open
}

impl Matrix {
    /// Makes every attempt in each state. The policy is applied again at the end of each.
    ///
    /// # Errors
    /// When the policy cannot be changed or the prober not be run.
    pub async fn measure(lab: &Lab) -> Result<Matrix> {
        let cases = cases::all(lab);
        bastion::remove_policy(&lab.bastion).await?;
        let off = arm(lab, &cases, &Sender::ALL)
            .await
            .context("without the policy");
        lab.steps.done("attempts without the policy");
        apply(lab, &lab.policy).await?;
        let off = off?;
        let on = arm(lab, &cases, &Sender::ALL)
            .await
            .context("with the policy")?;
        lab.steps.done("attempts with the policy");
        apply(lab, &open_end(&lab.policy)).await?;
        let open_end = arm(lab, &cases, &[Sender::Bastion])
            .await
            .context("with the rest let out");
        apply(lab, &lab.policy).await?;
        let open_end = open_end?;
        lab.steps.done("attempts with the rest let out");
        Ok(Matrix {
            cases,
            off,
            on,
            open_end,
        })
    }
}

impl Matrix {
    /// Makes the attempts again while the lab's policy is loaded; what came of the others stays.
    ///
    /// # Errors
    /// As [`Matrix::measure`].
    pub async fn again(&mut self, lab: &Lab) -> Result<()> {
        self.on = arm(lab, &self.cases, &Sender::ALL).await?;
        Ok(())
    }

    /// Makes the attempts again with everything let out that the refusals leave over. Leaves that
    /// policy loaded.
    ///
    /// # Errors
    /// As [`Matrix::measure`].
    pub async fn again_with_an_open_end(&mut self, lab: &Lab) -> Result<()> {
        bastion::load(&lab.bastion, &lab.render(&open_end(&lab.policy))?).await?;
        self.open_end = arm(lab, &self.cases, &[Sender::Bastion]).await?;
        Ok(())
    }
}

/// Loads another policy the way it is loaded on a Pi.
async fn apply(lab: &Lab, policy: &Policy) -> Result<()> {
    bastion::bring(&lab.bastion, &lab.render(policy)?).await?;
    bastion::apply(&lab.bastion, &[])
        .await?
        .success()
        .context("bastion apply")?;
    Ok(())
}

async fn arm(lab: &Lab, cases: &[Case], senders: &[Sender]) -> Result<Arm> {
    // Neighbours found in an earlier state must not help in this one.
    lab.bastion
        .run(&["ip", "-6", "neigh", "flush", "dev", "eth0"])
        .await?;
    lab.router
        .run(&["ip", "-6", "neigh", "flush", "dev", "eth1"])
        .await?;
    try_join_all(lab.witnesses().map(|(node, ..)| witness::forget(node))).await?;
    let outcomes = try_join_all(senders.iter().map(|sender| async move {
        let sender = *sender;
        let (node, user) = sender.node(lab);
        let targets: Vec<Target> = cases
            .iter()
            .filter(|case| case.sender == sender)
            .map(|case| case.target.clone())
            .collect();
        let outcomes = attempt(node, user, &targets).await?;
        Ok::<_, anyhow::Error>(
            outcomes
                .into_iter()
                .map(move |outcome| ((sender, outcome.target.clone()), outcome)),
        )
    }));
    let outcomes = outcomes.await?.into_iter().flatten().collect();
    let arrivals = try_join_all(lab.witnesses().map(|(node, ..)| witness::seen(node))).await?;
    Ok(Arm {
        outcomes,
        arrivals: arrivals.into_iter().flatten().collect(),
    })
}
