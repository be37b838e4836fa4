//! The change of the firewall in words: each flow as it was and as it will be.

use site::answer::FirewallChange;
use site::flow::Policy;
use site::manifest::EGRESS_TABLE;
use site::{Bastion, Site};

use super::evaluate::{Packet, passes};
use super::flows::{PLACE, Question, Why, questions};
use crate::shown;

/// Longer names of flows stick out of the column.
const WIDEST: usize = 64;
/// Differences in nft's own words, when no flow changes its meaning.
const MOST_DIFFERENCES: usize = 20;

/// Lines of the section, without indent.
pub(super) fn lines(
    site: &Site,
    bastion: &Bastion,
    change: &FirewallChange,
    after: &Policy,
) -> Vec<String> {
    let before = change.before.as_ref();
    let mut told: Vec<Told> = Vec::new();
    for question in questions(site, bastion, before) {
        let now = Told::of(question, before, after);
        match told.iter_mut().find(|other| other.joins(&now)) {
            Some(other) => other.join(now),
            None => told.push(now),
        }
    }
    let all = told.len();
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push("nothing of ours filtered so far: everything was open".to_owned());
    } else {
        let changes = told.iter().filter(|told| told.was != told.will).count();
        told.retain(|told| told.was != told.will || told.always);
        if changes == 0 {
            lines.push(
                "no flow below changes; what is loaded differs from the policy all the same:"
                    .to_owned(),
            );
            lines.extend(differences(change));
        }
    }
    let left = all - told.len();
    let width = told
        .iter()
        .map(|told| told.name().chars().count())
        .filter(|width| *width <= WIDEST)
        .max()
        .unwrap_or(0);
    lines.extend(told.iter().map(|told| {
        format!(
            "{:width$}  {}",
            told.name() + ":",
            told.words(),
            width = width + 1
        )
    }));
    if left > 0 {
        lines.push(format!("{left} other flows stay as they are"));
    }
    lines.extend(around(bastion, change));
    lines
}

/// What stands around the policy: before it, and behind it at the device.
fn around(bastion: &Bastion, change: &FirewallChange) -> Vec<String> {
    let is_new = |table: &str| {
        let mut differences = change.differences.iter();
        change.before.is_none() || differences.any(|line| line.contains(table))
    };
    let (and_dhcp, and_asks) = match bastion.dhcp {
        Some(_) => (", DHCP", " and questions for DHCP"),
        None => ("", ""),
    };
    let mut lines = Vec::new();
    if change.before.is_none() {
        lines.push(format!(
            "before the network, and when these rules do not load: SSH from admins{and_dhcp}, and nothing else"
        ));
    }
    if is_new(EGRESS_TABLE) {
        lines.push(format!(
            "frames that leave by {} past these rules: will be dropped, but for ARP{and_asks}",
            bastion.interface
        ));
    }
    lines
}

fn differences(change: &FirewallChange) -> Vec<String> {
    let all = change.differences.len();
    let shown = change.differences.iter().take(MOST_DIFFERENCES);
    let mut lines: Vec<String> = shown
        .map(|line| format!("  {}", shown::line(line)))
        .collect();
    if all > MOST_DIFFERENCES {
        lines.push(format!("  … and {} more", all - MOST_DIFFERENCES));
    }
    lines
}

/// How far a flow is open.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Openness {
    Open,
    Closed,
    /// Only so.
    Partly(String),
}

struct Told {
    flow: String,
    places: Vec<String>,
    all: usize,
    family: Option<&'static str>,
    always: bool,
    was: Openness,
    will: Openness,
}

impl Told {
    fn of(question: Question, before: Option<&Policy>, after: &Policy) -> Told {
        Told {
            was: openness(&question.packets, before),
            will: openness(&question.packets, Some(after)),
            flow: question.flow,
            places: question.place.into_iter().collect(),
            all: question.all,
            family: question.family,
            always: question.always,
        }
    }

    /// IPv4 and IPv6, or several networks, are told in one line where all is the same.
    fn joins(&self, other: &Told) -> bool {
        let both = self.family.is_some() && other.family.is_some();
        let places = !self.places.is_empty() && !other.places.is_empty();
        self.flow == other.flow
            && (both || places)
            && (&self.was, &self.will) == (&other.was, &other.will)
    }

    fn join(&mut self, other: Told) {
        self.family = None;
        self.always |= other.always;
        self.places.extend(other.places);
    }

    fn name(&self) -> String {
        let flow = if self.places.len() == self.all {
            self.flow.replace(&format!(" ({PLACE})"), "")
        } else {
            self.flow.replace(PLACE, &self.places.join(", "))
        };
        match self.family {
            Some(family) => format!("{flow} over {family}"),
            None => flow,
        }
    }

    fn words(&self) -> String {
        use Openness::{Closed, Open, Partly};
        match (&self.was, &self.will) {
            (Open, Open) => "was open, stays open".to_owned(),
            (Closed, Closed) => "was closed, stays closed".to_owned(),
            (Open, Closed) => "was open, will be closed".to_owned(),
            (Closed, Open) => "was closed, will be open".to_owned(),
            (Open, Partly(how)) => format!("was open, stays open only {how}"),
            (Closed, Partly(how)) => format!("was closed, will be open only {how}"),
            (Partly(how), Open) => format!("was open only {how}, will be open"),
            (Partly(how), Closed) => format!("was open only {how}, will be closed"),
            (Partly(was), Partly(will)) if was == will => format!("was open only {was}, stays so"),
            (Partly(was), Partly(will)) => format!("was open only {was}, will be open only {will}"),
        }
    }
}

fn openness(packets: &[(Why, Packet)], policy: Option<&Policy>) -> Openness {
    let passing: Vec<&Why> = packets
        .iter()
        .filter(|(_, packet)| passes(policy, packet))
        .map(|(why, _)| why)
        .collect();
    match passing.len() {
        0 => Openness::Closed,
        open if open == packets.len() => Openness::Open,
        _ => Openness::Partly(how(&passing)),
    }
}

/// `for names by apt, root; for time by the time service`.
fn how(passing: &[&Why]) -> String {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for why in passing {
        match parts.iter_mut().find(|(what, _)| *what == why.what) {
            Some((_, whose)) if whose.contains(&why.whose) => {}
            Some((_, whose)) => whose.push(why.whose),
            None => parts.push((&why.what, vec![why.whose])),
        }
    }
    let words = parts.iter().map(|(what, whose)| {
        let whose = whose.join(", ");
        match (*what, whose.as_str()) {
            (what, "") => what.to_owned(),
            ("", whose) => format!("for {whose}"),
            (what, whose) => format!("{what} by {whose}"),
        }
    });
    words.collect::<Vec<_>>().join("; ")
}
