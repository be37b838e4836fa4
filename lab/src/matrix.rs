//! Every attempt that the policy must refuse or allow, made three times: without the policy,
//! with it, and with everything allowed that the refusals leave over.
//!
//! The first is the twin of every refusal: what does not get through there proves nothing. The
//! third shows that the refusals hold by themselves, whatever is let out behind them one day.
//! Judging is left to the scenarios.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use site::flow::{Action, Direction, Hook, Match, Policy, Rule};

use crate::lab::Lab;
use crate::node::Node;
use crate::probe::{Outcome, Target, attempt, tcp, udp};
use crate::roles::bastion;
use crate::roles::witness::{self, Arrival};
use crate::topology::{
    ADMIN, BASTION, COLLECTOR, HOME_SERVER, Host, INFLUXDB, NEIGHBOUR, ROUTER, STRANGER,
};

/// Who makes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The bastion, as the broker's user.
    Bastion,
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
    const ALL: [Sender; 6] = [
        Sender::Bastion,
        Sender::Neighbour,
        Sender::Stranger,
        Sender::HomeServer,
        Sender::Admin,
        Sender::Reader,
    ];

    fn node(self, lab: &Lab) -> (&Node, &'static str) {
        match self {
            // Who takes the bastion over comes in through the broker.
            Sender::Bastion => (&lab.bastion, "mosquitto"),
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
    /// What must come of it.
    pub expected: Expected,
}

/// What came of all attempts in one state of the policy.
pub struct Arm {
    /// By sender and target.
    pub outcomes: BTreeMap<(Sender, String), Outcome>,
    /// What arrived from the bastion anywhere.
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
        let cases = cases(lab);
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
    try_join_all(lab.witnesses().map(|(node, _)| witness::forget(node))).await?;
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
    let arrivals = try_join_all(lab.witnesses().map(|(node, _)| witness::seen(node))).await?;
    Ok(Arm {
        outcomes,
        arrivals: arrivals.into_iter().flatten().collect(),
    })
}

fn cases(lab: &Lab) -> Vec<Case> {
    let mut cases = from_the_bastion(lab);
    cases.extend(through_the_bastion(lab));
    cases.extend(to_the_bastion(lab));
    cases
}

fn from_the_bastion(lab: &Lab) -> Vec<Case> {
    let topology = &lab.topology;
    let mut cases = Vec::new();
    let mut refused = |whom: &'static str, expected: Expected, targets: Vec<Target>| {
        cases.extend(targets.into_iter().map(|target| Case {
            whom,
            sender: Sender::Bastion,
            target,
            expected,
        }));
    };
    let both = |host: Host, tcp_ports: &[u16], udp_ports: &[u16]| -> Vec<Target> {
        host.both()
            .into_iter()
            .flat_map(|address| {
                let tcp = tcp_ports.iter().map(move |port| tcp(address, *port));
                tcp.chain(udp_ports.iter().map(move |port| udp(address, *port)))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    use Expected::{Refused, RefusedAtTheEnd};
    refused(
        "home server",
        Refused,
        both(
            topology.lan.host(HOME_SERVER),
            &[80, 443, 22, 445, 53],
            &[53],
        ),
    );
    refused(
        "home server, second LAN network",
        Refused,
        both(topology.lan_second.host(HOME_SERVER), &[80], &[]),
    );
    refused(
        "home server, networks that the site file does not name",
        Refused,
        both(topology.lan_unnamed.host(HOME_SERVER), &[80], &[]),
    );
    refused(
        "collector",
        Refused,
        both(topology.lan.host(COLLECTOR), &[22], &[]),
    );
    refused(
        "database",
        Refused,
        both(topology.lan.host(INFLUXDB), &[22, 8086], &[]),
    );
    refused("admin", Refused, both(topology.lan.host(ADMIN), &[22], &[]));
    refused(
        "router, from the DMZ",
        Refused,
        both(topology.dmz.host(ROUTER), &[80, 53], &[53]),
    );
    refused(
        "router, its LAN address",
        Refused,
        both(topology.lan.host(ROUTER), &[80, 53], &[53]),
    );
    refused(
        "neighbour in the DMZ",
        Refused,
        both(topology.dmz.host(NEIGHBOUR), &[80], &[]),
    );
    refused(
        "neighbour under a foreign address",
        Refused,
        both(topology.neighbour_foreign, &[80], &[]),
    );
    refused(
        "stranger on the Internet",
        RefusedAtTheEnd,
        both(topology.wan.host(STRANGER), &[80], &[123]),
    );
    cases
}

/// The neighbour's route to this one address leads through the bastion.
fn through_the_bastion(lab: &Lab) -> Vec<Case> {
    let address = lab.topology.lan_unnamed.host(HOME_SERVER).v4;
    vec![Case {
        whom: "home server, through the bastion",
        sender: Sender::Neighbour,
        target: tcp(address, 80),
        expected: Expected::Refused,
    }]
}

fn to_the_bastion(lab: &Lab) -> Vec<Case> {
    let bastion = lab.topology.dmz.host(BASTION);
    // IPv4 reaches it through the router's port forward, IPv6 directly.
    let public = [lab.topology.wan.host(ROUTER).v4, bastion.v6];
    let mut cases = Vec::new();
    for (outside, inside) in public.into_iter().zip(bastion.both()) {
        let mut case = |whom, sender, target, expected| {
            cases.push(Case {
                whom,
                sender,
                target,
                expected,
            })
        };
        use Expected::{Allowed, Refused};
        use Sender::{Admin, HomeServer, Neighbour, Reader, Stranger};
        case(
            "broker, from the Internet",
            Stranger,
            tcp(outside, 1883),
            Allowed,
        );
        case(
            "SSH, from the Internet",
            Stranger,
            tcp(outside, 22),
            Refused,
        );
        let low = Target {
            from: Some(1000),
            ..tcp(outside, 1883)
        };
        case(
            "broker, from the Internet with a low source port",
            Stranger,
            low,
            Refused,
        );
        case("broker, from a reader", Reader, tcp(inside, 1883), Allowed);
        case("SSH, from a reader", Reader, tcp(inside, 22), Refused);
        case("SSH, from an admin", Admin, tcp(inside, 22), Allowed);
        case(
            "broker, from an admin who is no reader",
            Admin,
            tcp(inside, 1883),
            Refused,
        );
        case(
            "SSH, from another LAN machine",
            HomeServer,
            tcp(inside, 22),
            Refused,
        );
        case(
            "broker, from another LAN machine",
            HomeServer,
            tcp(inside, 1883),
            Refused,
        );
        case(
            "SSH, from a neighbour in the DMZ",
            Neighbour,
            tcp(inside, 22),
            Refused,
        );
        case(
            "broker, from a neighbour in the DMZ",
            Neighbour,
            tcp(inside, 1883),
            Refused,
        );
    }
    cases
}
