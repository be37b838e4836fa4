//! Held, broken, not checked: as text and as JSON.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Held,
    /// Not as it should be.
    Broken,
    /// Nobody could tell.
    NotChecked,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found, or why nobody could tell. Empty when held.
    pub detail: String,
}

/// All checks of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds what a check found: nothing (held), something (broken), or that it could not be made.
    pub fn add(&mut self, subject: &str, finding: Result<Option<String>>) {
        let (verdict, detail) = match finding {
            Ok(None) => (Verdict::Held, String::new()),
            Ok(Some(detail)) => (Verdict::Broken, detail),
            Err(error) => (Verdict::NotChecked, format!("{error:#}")),
        };
        self.checks.push(Check {
            subject: subject.to_owned(),
            verdict,
            detail,
        });
    }

    /// 0 held, 1 broken, 2 could not tell. Broken outweighs the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let any = |verdict| self.checks.iter().any(|check| check.verdict == verdict);
        match () {
            () if any(Verdict::Broken) => 1,
            () if any(Verdict::NotChecked) || self.checks.is_empty() => 2,
            () => 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Held => "held",
                Verdict::Broken => "BROKEN",
                Verdict::NotChecked => "not checked",
            };
            write!(f, "{verdict:<12} {}", check.subject)?;
            if !check.detail.is_empty() {
                write!(f, ": {}", check.detail)?;
            }
            writeln!(f)?;
        }
        let count = |verdict| {
            self.checks
                .iter()
                .filter(|check| check.verdict == verdict)
                .count()
        };
        writeln!(
            f,
            "{} held, {} broken, {} not checked",
            count(Verdict::Held),
            count(Verdict::Broken),
            count(Verdict::NotChecked)
        )
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::Report;

    #[track_caller]
    fn check(findings: Vec<anyhow::Result<Option<String>>>, expected: u8) {
        let mut report = Report::default();
        for finding in findings {
            report.add("subject", finding);
        }
        assert_eq!(report.exit_code(), expected, "{report}");
    }

    #[test]
    fn exit_codes_tell_no_from_could_not_tell() {
        check(vec![Ok(None)], 0);
        check(
            vec![
                Ok(None),
                Ok(Some("changed".to_owned())),
                Err(anyhow!("no nft")),
            ],
            1,
        );
        check(vec![Ok(None), Err(anyhow!("no nft"))], 2);
        check(vec![], 2);
    }
}
