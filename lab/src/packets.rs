//! Every kind of packet, by every user of a bastion, to everybody near it, in both placements: made
//! without the policy and with it, by a program that writes packets by hand where it must.
//!
//! Each attempt carries a mark of its own. Watchers on all machines see every frame that comes to
//! them, so what leaves the bastion is seen wherever it goes, and what comes back, too. The counters
//! are read between any two attempts, so a refusal is told from another. Judging is left to the
//! scenarios, what is tried to `cases`, and the two places to `place`.

mod cases;
mod frames;
mod place;
pub mod turned;
mod watch;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use site::manifest::{EGRESS_TABLE, TABLE};

use crate::lab::Lab;
use crate::node::Upload;
use crate::roles::bastion;

use place::Place;
pub use place::Placement;
use watch::{Sightings, Watchers};

const SENDER: &str = "/root/send.py";
const ATTEMPTS: &str = "/root/attempts.json";
/// Chains whose rules are counted: what leaves passes both.
const CHAINS: [&str; 6] = ["inet", TABLE, "output", "netdev", EGRESS_TABLE, "egress"];
/// Marks from this port on, see `watch.py`.
const FIRST_PORT: u16 = 20000;
/// Marks of one place in one state of the policy.
const BLOCK: u16 = 500;

/// What stops an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// This rule of the policy.
    Rule(&'static str),
    /// Its user lacks the capability for such a socket.
    Capability,
    /// This rule of the chain at the device: the policy sees no frame.
    Device(&'static str),
    /// Nothing: this rule of the chain at the device lets it pass, since the network needs such frames.
    Passes(&'static str),
    /// Nothing that this project has: no rule sees it.
    Nothing,
}

/// What attempts have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP and UDP, as any program speaks them.
    Connection,
    /// Echo requests and other protocols.
    Protocol,
    /// To everybody near: broadcast and multicast.
    Group,
    /// Low TTL, fragments, forged sources and forged replies.
    Odd,
    /// Frames past the machine's own IP.
    Frame,
    /// Frames past every rule of the machine, by AF_XDP: no watcher there sees them leave, either.
    Ring,
    /// Sockets that a program without a capability does not get.
    Socket,
}

/// What the sending program is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Order {
    id: u16,
    token: String,
    kind: &'static str,
    user: &'static str,
    raw: bool,
    to: String,
    port: u16,
    sport: u16,
    source: String,
    by_hand: &'static str,
    number: u8,
    ttl: u8,
    answers: bool,
    hop: String,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What, to whom, as whom.
    pub name: String,
    /// What it has in common with others.
    pub kind: Kind,
    /// The user that makes it.
    pub user: &'static str,
    /// Whether it was given the capability for raw sockets, or has it as root.
    pub raw: bool,
    /// The machine at which it arrives.
    pub arrives_at: &'static str,
    /// Whether an answer comes back.
    pub answers: bool,
    /// What stops it.
    pub barrier: Barrier,
    order: Order,
}

/// What came of an attempt.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Which step failed: `user`, `socket`, `send`, `program`; or `done`.
    pub step: String,
    /// The system's word for it.
    pub error: Option<String>,
    /// Outgoing rules, those at the device among them, that counted something meanwhile.
    pub moved: Vec<String>,
    /// Whether something left the bastion.
    pub left: bool,
    /// Whether something came back.
    pub answered: bool,
    /// Machines at which something arrived.
    pub arrived: Vec<String>,
}

/// An attempt in both states of the policy.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What was tried.
    pub attempt: Attempt,
    /// Without the policy.
    pub off: Outcome,
    /// With it.
    pub on: Outcome,
}

/// What was tried in each placement.
pub struct Packets {
    /// All attempts.
    pub tried: BTreeMap<Placement, Vec<Tried>>,
}

#[derive(Debug, Deserialize)]
struct Said {
    id: u16,
    step: String,
    error: Option<String>,
    moved: Vec<String>,
}

impl Packets {
    /// Makes all attempts, in both placements at once. The policies are applied again at the end.
    ///
    /// # Errors
    /// When a policy cannot be changed or a program not be run.
    pub async fn measure(lab: &Lab) -> Result<Packets> {
        let watchers = Watchers::start(lab).await?;
        let measured = futures_util::future::try_join(
            Box::pin(in_both_states(lab, Placement::Dmz, 0)),
            Box::pin(in_both_states(lab, Placement::Flat, 2 * BLOCK)),
        )
        .await;
        let sightings = watchers.end().await?;
        let (dmz, flat) = measured?;
        lab.steps.done("packets without the policies and with them");
        Ok(Packets {
            tried: [
                (Placement::Dmz, dmz.tried(&sightings)?),
                (Placement::Flat, flat.tried(&sightings)?),
            ]
            .into(),
        })
    }

    /// All attempts of one placement.
    #[must_use]
    pub fn of(&self, placement: Placement) -> &[Tried] {
        self.tried.get(&placement).map_or(&[], Vec::as_slice)
    }
}

struct Measured {
    attempts: Vec<Attempt>,
    bastion: String,
    off: (u16, Vec<Said>),
    on: (u16, Vec<Said>),
}

async fn in_both_states(lab: &Lab, placement: Placement, first: u16) -> Result<Measured> {
    let place = Place::find(lab, placement).await?;
    let attempts = cases::all(&place);
    ensure!(
        attempts.len() <= usize::from(BLOCK),
        "more attempts than marks"
    );
    let what = || format!("packets of the bastion in placement {placement:?}");
    place
        .bastion
        .upload(&[Upload {
            path: SENDER.to_owned(),
            mode: 0o755,
            content: include_bytes!("packets/send.py").to_vec(),
        }])
        .await?;
    bastion::remove_policy(place.bastion).await?;
    let off = send(&place, &attempts, first, &[]).await;
    place.apply_policy().await?;
    let off = off.with_context(|| format!("{}, without a policy", what()))?;
    let second = first + BLOCK;
    let on = send(&place, &attempts, second, &CHAINS)
        .await
        .with_context(what)?;
    Ok(Measured {
        attempts,
        bastion: place.bastion.name.clone(),
        off: (first, off),
        on: (second, on),
    })
}

async fn send(
    place: &Place<'_>,
    attempts: &[Attempt],
    first: u16,
    chains: &[&str],
) -> Result<Vec<Said>> {
    // Neighbours found in an earlier state must not help in this one.
    let flush = ["ip", "-6", "neigh", "flush", "dev", "eth0"];
    place.bastion.run(&flush).await?;
    let orders: Vec<Order> = (first..)
        .zip(attempts)
        .map(|(id, attempt)| attempt.order.marked(id))
        .collect();
    let content = serde_json::to_vec(&orders).context("writing attempts")?;
    let file = Upload {
        path: ATTEMPTS.to_owned(),
        mode: 0o600,
        content,
    };
    place.bastion.upload(&[file]).await?;
    let said = place
        .bastion
        .run(&[&["python3", SENDER, ATTEMPTS][..], chains].concat())
        .await?;
    let said: Vec<Said> = said
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the sender said {line}")))
        .collect::<Result<_>>()?;
    ensure!(
        said.iter()
            .map(|each| each.id)
            .eq(first..first + u16::try_from(attempts.len())?),
        "the sender made other attempts than it was told"
    );
    Ok(said)
}

impl Order {
    /// The same with its mark; ports that are zero become its mark's.
    fn marked(&self, id: u16) -> Order {
        let or_mark = |port: u16| if port == 0 { FIRST_PORT + id } else { port };
        Order {
            id,
            token: format!("lab-{id:05}"),
            port: or_mark(self.port),
            sport: or_mark(self.sport),
            ..self.clone()
        }
    }
}

impl Measured {
    fn tried(self, sightings: &Sightings) -> Result<Vec<Tried>> {
        let ((first_off, off), (first_on, on)) = (self.off, self.on);
        let outcome = |first: u16, index: usize, said: Said| {
            let id = first + u16::try_from(index)?;
            ensure!(
                said.step != "program" && said.step != "user",
                "the sender failed: {:?}",
                said.error
            );
            Ok(Outcome {
                step: said.step,
                error: said.error,
                moved: said.moved,
                left: sightings.went_out(&self.bastion, id),
                answered: sightings.came_in(&self.bastion, id),
                arrived: sightings.arrived(&self.bastion, id),
            })
        };
        self.attempts
            .into_iter()
            .zip(off.into_iter().zip(on))
            .enumerate()
            .map(|(index, (attempt, (off, on)))| {
                Ok(Tried {
                    off: outcome(first_off, index, off)?,
                    on: outcome(first_on, index, on)?,
                    attempt,
                })
            })
            .collect()
    }
}
