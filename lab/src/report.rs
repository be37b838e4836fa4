//! What a run has shown, as one page for people and one file for machines, in `target/lab/report`.
//!
//! Here is what both are made of; the runner fills it in. How it looks is left to `page` and
//! `picture`, and the form for machines to `junit`.

mod junit;
mod page;
mod picture;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use crate::diagnostics;

/// What became of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has shown what it should.
    Passed,
    /// It has not.
    Failed,
    /// It takes long, and not everything was asked for.
    OnlyInFull,
    /// The command line left it out.
    LeftOut,
}

/// A scenario, and what became of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Module and sentence.
    pub name: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What it has shown, or why it failed.
    pub said: String,
}

/// One attempt of the matrix, in words.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Who tried.
    pub sender: String,
    /// To reach whom.
    pub whom: String,
    /// Protocol, address and port.
    pub target: String,
    /// What the policy says of it.
    pub expected: &'static str,
    /// What came of it without the policy, with it, and with the rest let out.
    pub outcomes: [String; 3],
    /// Whether it is as it must be.
    pub holds: bool,
}

/// What the stage knows of the run.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What took part, and in which version.
    pub versions: Vec<(String, String)>,
    /// The number by which samples were chosen.
    pub seed: Option<u64>,
    /// The rule that was taken out, and its promise.
    pub taken_out: Option<(String, String)>,
    /// Every attempt, if they were made.
    pub attempts: Vec<Attempt>,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Run {
    /// `containers` or `vm`.
    pub tier: &'static str,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took until the last scenario ended.
    pub took: Duration,
    /// What the stage says.
    pub about: About,
    /// All scenarios, in their order.
    pub entries: Vec<Entry>,
}

impl Run {
    /// How many scenarios had this fate.
    fn count(&self, verdict: Verdict) -> usize {
        let fits = self.entries.iter().filter(|entry| entry.verdict == verdict);
        fits.count()
    }

    /// Writes the page and the file, and returns where they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self) -> Result<[PathBuf; 2]> {
        let folder = diagnostics::folder().join("report");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let page = folder.join(format!("{}.html", self.tier));
        let junit = folder.join(format!("{}.junit.xml", self.tier));
        for (path, text) in [(&page, page::write(self)), (&junit, junit::write(self)?)] {
            fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok([page, junit])
    }
}

/// The project itself and the host: what every run knows.
#[must_use]
pub fn own_versions() -> Vec<(String, String)> {
    let mut versions = vec![(
        "Shelly Bastion".to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    )];
    // A copy of the sources without their history has none to tell.
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    if let Ok(commit) = commit
        && commit.status.success()
    {
        let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
        versions.push(("commit".to_owned(), commit));
    }
    if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        versions.push(("kernel of the host".to_owned(), kernel.trim().to_owned()));
    }
    versions
}

#[cfg(test)]
mod tests;
