//! What a bastion that verifies itself found: kept for who asks how it is, and told to readers when
//! it changes. When it does so, and how it is told, is left to `bastion`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FORMAT, Report, Verdict};

/// Subjects that are named; the report has all.
const MOST: usize = 20;
/// Characters of a subject.
const LONGEST: usize = 120;

/// The verdict, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// [`FORMAT`].
    pub format: u32,
    /// The bastion's clock when it was found, RFC 3339 in UTC.
    pub at: String,
    /// All checks together.
    pub verdict: Verdict,
    /// Subjects of the checks that did not hold, at most 20.
    pub not_held: Vec<String>,
}

impl Verified {
    /// What is kept of a report.
    #[must_use]
    pub fn of(report: &Report, at: String) -> Verified {
        let not_held = report
            .checks
            .iter()
            .filter(|check| !check.verdict.is_well());
        let safe = |character: char| match character {
            character if character.is_control() => '?',
            character => character,
        };
        Verified {
            format: FORMAT,
            at,
            verdict: report.verdict(),
            not_held: not_held
                .take(MOST)
                .map(|check| check.subject.chars().take(LONGEST).map(safe).collect())
                .collect(),
        }
    }

    /// Whether it is the same verdict for the same reasons, whenever it was found.
    #[must_use]
    pub fn is_as(&self, other: &Verified) -> bool {
        (self.verdict, &self.not_held) == (other.verdict, &other.not_held)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Held => "all held",
            Verdict::Broken => "BROKEN",
            Verdict::NotChecked | Verdict::Skipped => "could not tell",
        };
        write!(f, "{verdict} at {}", self.at)?;
        if !self.not_held.is_empty() {
            write!(f, ": {}", self.not_held.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, MOST, Report, Verified};

    #[test]
    fn it_is_bounded_and_says_why() {
        let mut report = Report::default();
        report.add("files", Ok::<_, &str>(None));
        let held = Verified::of(&report, "then".to_owned());
        assert_eq!(held.to_string(), "all held at then");
        report.add("fire\u{1b}wall", Ok::<_, &str>(Some("changed".to_owned())));
        report.skip("units", "no systemd");
        let broken = Verified::of(&report, "now".to_owned());
        assert_eq!(broken.to_string(), "BROKEN at now: fire?wall");
        assert!(!broken.is_as(&held));
        assert!(broken.is_as(&Verified::of(&report, "later".to_owned())));
        for number in 0..100 {
            report.add(&format!("{number}{}", "x".repeat(500)), Err("no"));
        }
        let long = Verified::of(&report, "now".to_owned());
        assert_eq!(long.not_held.len(), MOST);
        let longest = long.not_held.iter().map(|each| each.chars().count()).max();
        assert_eq!(longest, Some(LONGEST));
    }
}
