//! Promise 1, packet by packet: what each user of the bastion sends to whom near it, in both
//! placements.
//!
//! A refusal holds when nothing left the bastion, nothing came back, no machine saw anything, and
//! the rule that is named, of the policy or of the chain at the device, has counted it. Its twin is the same attempt without the policy; the twin
//! of a socket that is refused is the same attempt with the capability.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use lab::packets::{Barrier, Kind, Outcome, Placement, Tried};
use site::flow::{Action, Hook};

use crate::shared::{Scenario, Stage, scenario};

/// The rules at the device that tell frames apart.
const AT_THE_DEVICE: [&str; 5] = [
    "egress-arp-of-users",
    "egress-arp",
    "egress-dhcp",
    "egress-keys",
    "egress-rest",
];
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
            "packets::dmz_frames_are_told_apart_at_the_device",
            packets,
            dmz::frames
        ),
        scenario!(
            "packets::dmz_every_refusal_has_counted",
            packets,
            every_refusal
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
        scenario!(
            "packets::flat_frames_are_told_apart_at_the_device",
            packets,
            flat::frames
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
            pub(super) async fn frames(stage: &Stage) -> Result<String> {
                super::frames(stage, $placement)
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

/// The outgoing refusals of the policy are those that attempts were stopped by. In the LAN itself some
/// have nothing left to refuse.
async fn every_refusal(stage: &Stage) -> Result<String> {
    let rules = stage.lab.policy.rules.iter();
    let refusals = rules.filter(|rule| rule.hook == Hook::Output && rule.action != Action::Accept);
    let refusals: BTreeSet<&str> = refusals.map(|rule| rule.name.as_str()).collect();
    let mut counted = BTreeSet::new();
    for tried in stage.packets()?.of(Placement::Dmz) {
        if matches!(tried.attempt.barrier, Barrier::Rule(_)) {
            counted.insert(refused_by_its_rule(tried)?);
        }
    }
    ensure!(
        counted == refusals,
        "the policy refuses by {refusals:?}, and attempts were stopped by {counted:?}"
    );
    let names: Vec<&str> = counted.into_iter().collect();
    Ok(format!("each stopped an attempt: {}", names.join(", ")))
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
    counted(tried, rule)
}

/// Judges a frame that goes past the policy, and returns the rule at the device that holds it.
pub(crate) fn held_at_the_device(tried: &Tried) -> Result<&'static str> {
    let Tried { attempt, off, on } = tried;
    let name = &attempt.name;
    let Barrier::Device(rule) = attempt.barrier else {
        anyhow::bail!("{name}: no rule at the device holds it");
    };
    arrives(tried, off).context("without the policy")?;
    ensure!(
        on.arrived.is_empty() && !on.answered,
        "promise broken: {name}: it got past the chain at the device and arrived at {:?}",
        on.arrived
    );
    counted(tried, rule)
}

/// Judges a frame that the network needs, and returns the rule at the device that lets it pass.
fn passes_the_device(tried: &Tried) -> Result<&'static str> {
    let Tried { attempt, off, on } = tried;
    let Barrier::Passes(rule) = attempt.barrier else {
        anyhow::bail!("{}: no rule at the device lets it pass", attempt.name);
    };
    arrives(tried, off).context("without the policy")?;
    arrives(tried, on).context("promise broken: with the policy")?;
    counted(tried, rule)
}

/// Fails unless the rule that is named counted it.
fn counted(tried: &Tried, rule: &'static str) -> Result<&'static str> {
    let moved = &tried.on.moved;
    ensure!(
        moved.iter().any(|moved| moved == rule),
        "{}: {rule} did not count it; counted: {moved:?}",
        tried.attempt.name
    );
    Ok(rule)
}

/// The twin: it arrives where it shall, and is answered where it can be.
fn arrives(tried: &Tried, outcome: &Outcome) -> Result<()> {
    let attempt = &tried.attempt;
    let arrived = outcome.arrived.iter().any(|at| at == attempt.arrives_at);
    let left = outcome.left || attempt.kind == Kind::Ring;
    ensure!(
        left && arrived && (outcome.answered || !attempt.answers),
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

/// The system's word where its kernel does not know such sockets, and where the capability is missing.
const UNKNOWN: &str = "Address family not supported";
const MISSING: &str = "Operation not permitted";

/// A socket that is refused for want of the capability, with and without the policy; with it the
/// same attempt arrives. By AF_XDP it arrives with the policy, too: the capability is all that stops it.
fn sockets(stage: &Stage, placement: Placement) -> Result<String> {
    let all = stage.packets()?.of(placement);
    let (mut refused, mut skipped) = (Vec::new(), Vec::new());
    let mut past_all = 0;
    for (index, tried) in all.iter().enumerate() {
        if tried.attempt.barrier != Barrier::Capability {
            continue;
        }
        let name = &tried.attempt.name;
        let twin = all.get(index + 1).context("the twin is missing")?;
        let ring = twin.attempt.kind == Kind::Ring;
        let says = |outcome: &Outcome, word: &str| {
            let error = outcome.error.as_ref();
            outcome.step == "socket" && error.is_some_and(|error| error.contains(word))
        };
        if ring
            && [&tried.off, &tried.on, &twin.off, &twin.on]
                .iter()
                .all(|each| says(each, UNKNOWN))
        {
            skipped.push(name.as_str());
            continue;
        }
        for outcome in [&tried.off, &tried.on] {
            ensure!(
                says(outcome, MISSING) && !outcome.left,
                "promise broken: {name}: it got its socket ({}, {:?})",
                outcome.step,
                outcome.error
            );
        }
        ensure!(
            twin.attempt.raw && twin.attempt.user == tried.attempt.user,
            "{name}: its twin is another's"
        );
        arrives(twin, &twin.off).context("with the capability and without the policy")?;
        if ring {
            arrives(twin, &twin.on)
                .context("recorded otherwise: with the capability and with the policy")?;
            past_all += 1;
        }
        refused.push(name.as_str());
    }
    ensure!(!refused.is_empty(), "nothing was tried");
    let mut said = format!(
        "{} sockets refused for want of the capability; with it all attempts arrived, by AF_XDP ({past_all}) with the \
         policy, too\n    {}",
        refused.len(),
        refused.join("; ")
    );
    if !skipped.is_empty() {
        said += &format!(
            "\n    skipped, since the kernel has no such sockets: {}",
            skipped.join("; ")
        );
    }
    Ok(said)
}

/// With the capability: frames that the policy does not see. The chain at the device holds them, but
/// for those that the network needs; each is counted by the rule that knows it.
fn frames(stage: &Stage, placement: Placement) -> Result<String> {
    let mut by_rule: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut broken = Vec::new();
    for tried in stage.packets()?.of(placement) {
        let (fate, rule) = match tried.attempt.barrier {
            Barrier::Device(_) => ("held", held_at_the_device(tried)),
            Barrier::Passes(_) => ("let pass", passes_the_device(tried)),
            _ => continue,
        };
        match rule {
            Ok(rule) => by_rule
                .entry((fate, rule))
                .or_default()
                .push(&tried.attempt.name),
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    for rule in AT_THE_DEVICE {
        ensure!(
            by_rule.keys().any(|(_, known)| *known == rule),
            "nothing was tried that {rule} knows"
        );
    }
    let shown = by_rule
        .iter()
        .map(|((fate, rule), names)| format!("{rule} counted, {fate}: {}", names.join("; ")));
    Ok(shown.collect::<Vec<_>>().join("\n    "))
}
