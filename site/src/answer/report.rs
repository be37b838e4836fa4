//! Held, broken, not checked, skipped: collecting checks into a report, and the report as text.

use std::fmt;

use super::{Check, Report, Verdict};

impl Report {
    /// Adds what a check found: nothing (held), something (broken), or that it could not be made.
    pub fn add<E: fmt::Display>(&mut self, subject: &str, finding: Result<Option<String>, E>) {
        let (verdict, detail) = match finding {
            Ok(None) => (Verdict::Held, String::new()),
            Ok(Some(detail)) => (Verdict::Broken, detail),
            // The alternate form prints an error's whole chain of causes, where it has one.
            Err(error) => (Verdict::NotChecked, format!("{error:#}")),
        };
        self.checks.push(Check {
            subject: subject.to_owned(),
            verdict,
            detail,
        });
    }

    /// Adds a check that this machine has no object for.
    pub fn skip(&mut self, subject: &str, why: &str) {
        self.checks.push(Check {
            subject: subject.to_owned(),
            verdict: Verdict::Skipped,
            detail: why.to_owned(),
        });
    }

    /// All checks together. Broken outweighs the rest.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match () {
            () if self.count(Verdict::Broken) > 0 => Verdict::Broken,
            () if self.count(Verdict::NotChecked) > 0 => Verdict::NotChecked,
            // What was skipped proves nothing.
            () if self.count(Verdict::Held) == 0 => Verdict::NotChecked,
            () => Verdict::Held,
        }
    }

    /// 0 held, 1 broken, 2 could not tell.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Broken => 1,
            Verdict::NotChecked | Verdict::Skipped => 2,
            Verdict::Held => 0,
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Held => "held",
                Verdict::Broken => "BROKEN",
                Verdict::NotChecked => "not checked",
                Verdict::Skipped => "skipped",
            };
            write!(f, "{verdict:<12} {}", check.subject)?;
            if !check.detail.is_empty() {
                write!(f, ": {}", check.detail)?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "{} held, {} broken, {} not checked",
            self.count(Verdict::Held),
            self.count(Verdict::Broken),
            self.count(Verdict::NotChecked)
        )?;
        match self.count(Verdict::Skipped) {
            0 => writeln!(f),
            skipped => writeln!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[track_caller]
    fn check(findings: Vec<Result<Option<String>, &str>>, expected: u8) {
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
            vec![Ok(None), Ok(Some("changed".to_owned())), Err("no nft")],
            1,
        );
        check(vec![Ok(None), Err("no nft")], 2);
        check(vec![], 2);
    }

    #[test]
    fn what_was_skipped_is_named_and_proves_nothing() {
        let mut report = Report::default();
        report.skip("units", "no systemd");
        assert_eq!(report.exit_code(), 2, "nothing was checked");
        report.add("files", Ok::<_, &str>(None));
        assert_eq!(report.exit_code(), 0);
        assert_eq!(
            report.to_string(),
            "skipped      units: no systemd\nheld         files\n\
             1 held, 0 broken, 0 not checked, 1 skipped\n"
        );
    }

    #[test]
    fn each_check_is_a_line_and_the_sum_stands_below() {
        let mut report = Report::default();
        report.add("files", Ok::<_, &str>(None));
        report.add("firewall", Err("no nft"));
        assert_eq!(
            report.to_string(),
            "held         files\nnot checked  firewall: no nft\n1 held, 0 broken, 1 not checked\n"
        );
    }
}
