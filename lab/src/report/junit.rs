//! JUnit XML, as other programs read it: a suite per module.

use std::time::Duration;

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Entry, Run, Verdict};

pub(super) fn write(run: &Run) -> Result<String> {
    let mut report = Report::new(format!("lab-{}", run.tier));
    report.set_time(run.took);
    // In the order in which they come first; some come again.
    let mut modules: Vec<&str> = Vec::new();
    for module in run.entries.iter().map(module) {
        if !modules.contains(&module) {
            modules.push(module);
        }
    }
    for module_name in modules {
        let entries = run.entries.iter();
        let entries: Vec<&Entry> = entries
            .filter(|entry| module(entry) == module_name)
            .collect();
        let mut suite = TestSuite::new(module_name);
        suite.set_time(entries.iter().map(|entry| entry.took).sum::<Duration>());
        for (what, version) in &run.about.versions {
            suite.add_property((what.as_str(), version.as_str()));
        }
        if let Some(seed) = run.about.seed {
            suite.add_property(("seed", seed.to_string().as_str()));
        }
        if let Some((rule, _)) = &run.about.taken_out {
            suite.add_property(("without-rule", rule.as_str()));
        }
        suite.add_test_cases(entries.into_iter().map(case));
        report.add_test_suite(suite);
    }
    report.to_string().context("writing JUnit XML")
}

fn module(entry: &Entry) -> &'static str {
    entry.name.split("::").next().unwrap_or(entry.name)
}

fn case(entry: &Entry) -> TestCase {
    let mut status = match entry.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::OnlyInFull | Verdict::LeftOut => TestCaseStatus::skipped(),
    };
    match entry.verdict {
        Verdict::Passed => {}
        Verdict::Failed => {
            status.set_message(entry.said.lines().next().unwrap_or_default());
            status.set_description(entry.said.as_str());
        }
        Verdict::OnlyInFull => {
            status.set_message("only with --full");
        }
        Verdict::LeftOut => {
            status.set_message("left out by the command line");
        }
    }
    let mut case = TestCase::new(entry.name, status);
    case.set_classname(module(entry));
    case.set_time(entry.took);
    if entry.verdict == Verdict::Passed {
        case.set_system_out(entry.said.as_str());
    }
    case
}
