//! Promise 1, packet by packet: what each user of the bastion sends to whom near it, in both
//! placements.
//!
//! A refusal holds when nothing left the bastion, nothing came back, no machine saw anything, and
//! the rule that is named has counted it. Its twin is the same attempt without the policy; the twin
//! of a socket that is refused is the same attempt with the capability.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lab::packets::{Barrier, Kind, Outcome, Placement, Tried};

use crate::shared::{Scenario, Stage, scenario};

/// Fewer than this in a placement would prove too little.
const LEAST: usize = 60;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "packets::dmz_connections_are_refused",
            packets,
            dmz::connections
        ),
        scenario!(
            "packets::dmz_other_protocols_are_refused",
            packets,
            dmz::protocols
        ),
        scenario!(
            "packets::dmz_nobody_is_called_by_broadcast_or_multicast",
            packets,
            dmz::groups
        ),
        scenario!(
            "packets::dmz_odd_and_forged_packets_are_refused",
            packets,
            dmz::odd
        ),
        scenario!(
            "packets::dmz_raw_and_packet_sockets_need_a_capability",
            packets,
            dmz::sockets
        ),
        scenario!(
            "packets::flat_connections_are_refused",
            packets,
            flat::connections
        ),
        scenario!(
            "packets::flat_other_protocols_are_refused",
            packets,
            flat::protocols
        ),
        scenario!(
            "packets::flat_nobody_is_called_by_broadcast_or_multicast",
            packets,
            flat::groups
        ),
        scenario!(
            "packets::flat_odd_and_forged_packets_are_refused",
            packets,
            flat::odd
        ),
        scenario!(
            "packets::flat_raw_and_packet_sockets_need_a_capability",
            packets,
            flat::sockets
        ),
    ]
}

macro_rules! in_placement {
    ($module:ident, $placement:expr) => {
        mod $module {
            use super::*;

            pub(super) async fn connections(stage: &Stage) -> Result<String> {
                refused(stage, $placement, Kind::Connection)
            }
            pub(super) async fn protocols(stage: &Stage) -> Result<String> {
                refused(stage, $placement, Kind::Protocol)
            }
            pub(super) async fn groups(stage: &Stage) -> Result<String> {
                refused(stage, $placement, Kind::Group)
            }
            pub(super) async fn odd(stage: &Stage) -> Result<String> {
                refused(stage, $placement, Kind::Odd)
            }
            pub(super) async fn sockets(stage: &Stage) -> Result<String> {
                super::sockets(stage, $placement)
            }
        }
    };
}
in_placement!(dmz, Placement::Dmz);
in_placement!(flat, Placement::Flat);

fn refused(stage: &Stage, placement: Placement, kind: Kind) -> Result<String> {
    let all = stage.packets()?.of(placement);
    ensure!(all.len() >= LEAST, "only {} attempts were made", all.len());
    let mut by_rule: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut broken = Vec::new();
    for tried in all.iter().filter(|tried| tried.attempt.kind == kind) {
        match refused_by_its_rule(tried) {
            Ok(rule) => by_rule.entry(rule).or_default().push(&tried.attempt.name),
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    let attempts: usize = by_rule.values().map(Vec::len).sum();
    ensure!(attempts > 0, "nothing was tried");
    let mut said = format!(
        "{attempts} attempts refused, nothing left or arrived; without the policy all arrived"
    );
    for (rule, names) in by_rule {
        said += &format!("\n    {rule} counted: {}", names.join("; "));
    }
    Ok(said)
}

/// Judges an attempt that a rule must stop, and returns the rule.
pub(crate) fn refused_by_its_rule(tried: &Tried) -> Result<&'static str> {
    let Tried { attempt, off, on } = tried;
    let name = &attempt.name;
    let Barrier::Rule(rule) = attempt.barrier else {
        anyhow::bail!("{name}: no rule stops it");
    };
    arrives(tried, off).context("without the policy")?;
    ensure!(
        !on.left && !on.answered && on.arrived.is_empty(),
        "promise broken: {name}: it left the bastion ({}), arrived at {:?}, and was answered ({})",
        on.left,
        on.arrived,
        on.answered
    );
    ensure!(
        on.error.is_some(),
        "promise broken: {name}: the sender is not told that it is refused"
    );
    ensure!(
        on.moved.iter().any(|moved| moved == rule),
        "{name}: refused, but {rule} did not count it; counted: {:?}",
        on.moved
    );
    Ok(rule)
}

/// Judges a frame that goes past the policy, and returns its name.
pub(crate) fn held_at_the_device(tried: &Tried) -> Result<&str> {
    let Tried { attempt, off, on } = tried;
    arrives(tried, off).context("without the policy")?;
    ensure!(
        on.arrived.is_empty() && !on.answered,
        "promise broken: {}: it got past the chain at the device and arrived at {:?}",
        attempt.name,
        on.arrived
    );
    Ok(&attempt.name)
}

/// The twin: it arrives where it shall, and is answered where it can be.
fn arrives(tried: &Tried, outcome: &Outcome) -> Result<()> {
    let attempt = &tried.attempt;
    let arrived = outcome.arrived.iter().any(|at| at == attempt.arrives_at);
    ensure!(
        outcome.left && arrived && (outcome.answered || !attempt.answers),
        "{}: proves nothing: it left ({}), arrived at {:?}, was answered ({}), and the sender heard {:?} at {}",
        attempt.name,
        outcome.left,
        outcome.arrived,
        outcome.answered,
        outcome.error,
        outcome.step
    );
    Ok(())
}

/// A socket that is refused for want of the capability; and with it, the frames that the policy
/// does not see, and the chain at the device holds.
fn sockets(stage: &Stage, placement: Placement) -> Result<String> {
    let all = stage.packets()?.of(placement);
    let mut refused = Vec::new();
    for (index, tried) in all.iter().enumerate() {
        if tried.attempt.barrier != Barrier::Capability {
            continue;
        }
        let name = &tried.attempt.name;
        for outcome in [&tried.off, &tried.on] {
            ensure!(
                outcome.step == "socket" && outcome.error.is_some() && !outcome.left,
                "promise broken: {name}: it got its socket ({}, {:?})",
                outcome.step,
                outcome.error
            );
        }
        let twin = all.get(index + 1).context("the twin is missing")?;
        ensure!(
            twin.attempt.raw && twin.attempt.user == tried.attempt.user,
            "{name}: its twin is another's"
        );
        arrives(twin, &twin.off).context("with the capability and without the policy")?;
        refused.push(name.as_str());
    }
    ensure!(!refused.is_empty(), "nothing was tried");
    let mut said = format!(
        "{} sockets refused for want of the capability; with it all attempts arrived\n    {}",
        refused.len(),
        refused.join("; ")
    );
    let mut frames = Vec::new();
    for tried in all
        .iter()
        .filter(|tried| tried.attempt.barrier == Barrier::Device)
    {
        frames.push(held_at_the_device(tried)?);
    }
    ensure!(!frames.is_empty(), "no frame was tried");
    said += &format!(
        "\n    with the capability, the chain at the device held them: {}",
        frames.join("; ")
    );
    Ok(said)
}
