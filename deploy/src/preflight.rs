//! What could go wrong on a machine, told before anything is done to it: each with the words of
//! what was found and a remedy that a person can type.
//!
//! Pure: it judges [`Facts`] against a site. Looking is left to `facts`, asking and stopping to
//! the deployer.

mod access;
mod firewall;
mod machine;
mod network;
mod software;

use std::fmt;

use site::{Bastion, Site};

use crate::facts::{Facts, Version};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is done before it is put right.
    Refuse,
    /// It may go well; a person should know.
    Warn,
}

/// One thing that could go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// Its name in `docs/preflight.md`.
    pub trap: &'static str,
    /// What was found, one sentence.
    pub what: String,
    /// What to do, as a person can type it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Refuse => "refused",
            Severity::Warn => "warning",
        };
        let Finding {
            trap, what, remedy, ..
        } = self;
        write!(f, "{word} ({trap}): {what}\n  remedy: {remedy}")
    }
}

/// The processor that a program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 32-bit ARM with hardware floating point, ARMv7.
    Armv7,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit x86: a PC as bastion.
    X86_64,
}

/// What the program to be installed asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramNeeds {
    /// Its processor.
    pub machine: Machine,
    /// The least glibc; none for a static program, which needs no loader either.
    pub glibc: Option<Version>,
}

impl ProgramNeeds {
    /// The armv7 program against the floor that `cargo xtask build` holds it to.
    pub const ARMV7: ProgramNeeds = ProgramNeeds {
        machine: Machine::Armv7,
        glibc: Some(Version(2, 34, 0)),
    };
}

/// What the judgement needs beside site and facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The program to be installed.
    pub program: ProgramNeeds,
    /// The operator's clock, seconds since 1970.
    pub now: u64,
    /// Packages are carried along, so that no source is needed.
    pub offline: bool,
    /// The operator asked to take over a machine that serves another site.
    pub take_over: bool,
}

/// Looks for every trap. Grave ones first, otherwise in the order of the page.
#[must_use]
pub fn check(site: &Site, bastion: &Bastion, facts: &Facts, context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    machine::check(facts, context, &mut findings);
    software::check(site, bastion, facts, context, &mut findings);
    network::check(site, bastion, facts, &mut findings);
    access::check(site, bastion, facts, &mut findings);
    firewall::check(facts, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether nothing may be done.
#[must_use]
pub fn refuses(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Refuse)
}

fn refuse(trap: &'static str, what: String, remedy: String) -> Finding {
    Finding {
        severity: Severity::Refuse,
        trap,
        what,
        remedy,
    }
}

fn warn(trap: &'static str, what: String, remedy: String) -> Finding {
    Finding {
        severity: Severity::Warn,
        trap,
        what,
        remedy,
    }
}

/// Values in a row, `none` when there is none.
fn list<T: fmt::Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    words.join(", ")
}
