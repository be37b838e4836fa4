//! One HTML page of a run: no scripts, nothing from elsewhere, for phone and desk, light and dark.
//!
//! Everything that a program said is escaped by the template.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Attempt, Entry, Run, Verdict, picture};
use crate::proof::{self, Line};

const STYLE: &str = include_str!("style.css");

/// How a line of `docs/security.md` stands after this run; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// No scenario shows it; the page says what does.
    Elsewhere,
    /// Its scenarios were not run.
    NotRun,
    /// What was run of its scenarios has shown it.
    Holds,
    /// A scenario of it failed.
    Broken,
}

pub(super) fn standing(run: &Run, line: &Line) -> Standing {
    if line.scenarios.is_empty() {
        return Standing::Elsewhere;
    }
    let proofs = run
        .entries
        .iter()
        .filter(|entry| line.is_proven_by(entry.name));
    let verdicts: Vec<Verdict> = proofs.map(|entry| entry.verdict).collect();
    if verdicts.contains(&Verdict::Failed) {
        Standing::Broken
    } else if verdicts.contains(&Verdict::Passed) {
        Standing::Holds
    } else {
        Standing::NotRun
    }
}

pub(super) fn write(run: &Run) -> String {
    let failed = run.count(Verdict::Failed);
    let tier = match run.tier {
        "vm" => "an emulated Pi",
        _ => "containers",
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Lab of Shelly Bastion: " (if failed == 0 { "passed" } else { "failed" }) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.over { "Shelly Bastion · lab in " (tier) }
                    h1 { (headline(run)) }
                    p.facts {
                        span { (humantime::format_rfc3339_seconds(run.begun).to_string().replace('T', " ").replace('Z', " UTC")) }
                        span { (seconds(run.took.as_secs_f64())) }
                        @if let Some(seed) = run.about.seed { span { "--seed " (seed) } }
                    }
                    (tally(run))
                    @if let Some((rule, says)) = &run.about.taken_out {
                        p.notice { "The rule " code { (rule) } " was taken out of the policy: “" (says) "”. A scenario must fail." }
                    }
                }
                main {
                    (failures(run))
                    div.split {
                        section.map {
                            h2 { "Who may talk to whom" }
                            (picture::draw(run))
                            (legend())
                        }
                        section { h2 { "Flows and refusals" } (flows(run)) }
                    }
                    section { h2 { "Scenarios" } (scenarios(run)) }
                    (attempts(run))
                    (left_out(run))
                    section { h2 { "What took part" } (versions(run)) }
                }
            }
        }
    }
    .into_string()
}

fn headline(run: &Run) -> String {
    let (passed, failed) = (run.count(Verdict::Passed), run.count(Verdict::Failed));
    match (passed, failed) {
        (0, 0) => "Nothing was run".to_owned(),
        (passed, 0) => format!("All {passed} scenarios passed"),
        (passed, failed) => format!("{failed} of {} scenarios failed", passed + failed),
    }
}

fn tally(run: &Run) -> Markup {
    let fates = [
        ("passed", Verdict::Passed),
        ("failed", Verdict::Failed),
        ("only with --full", Verdict::OnlyInFull),
        ("left out", Verdict::LeftOut),
    ];
    html! {
        ul.tally {
            @for (name, verdict) in fates {
                @let count = run.count(verdict);
                @if count > 0 { li class=(class(verdict)) { b { (count) } " " (name) } }
            }
        }
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::OnlyInFull | Verdict::LeftOut => "skipped",
    }
}

fn mark(verdict: Verdict) -> Markup {
    let (sign, word) = match verdict {
        Verdict::Passed => ("✓", "passed"),
        Verdict::Failed => ("✗", "failed"),
        Verdict::OnlyInFull | Verdict::LeftOut => ("–", "not run"),
    };
    html! { span class={ "mark " (class(verdict)) } role="img" aria-label=(word) { (sign) } }
}

fn seconds(seconds: f64) -> String {
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!(
            "{:.0} min {:.0} s",
            (seconds / 60.0).floor(),
            seconds % 60.0
        )
    }
}

/// What is wrong comes first.
fn failures(run: &Run) -> Markup {
    let failed = run
        .entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Failed);
    let failed: Vec<&Entry> = failed.collect();
    html! {
        @if !failed.is_empty() {
            section.failures {
                h2 { "Failed" }
                @for entry in failed {
                    p { a href={ "#" (anchor(entry.name)) } { (sentence(entry.name)) } }
                    pre { (entry.said.lines().next().unwrap_or_default()) }
                }
            }
        }
    }
}

fn legend() -> Markup {
    let kinds = [
        ("allowed", "allowed, and shown to be"),
        ("refused", "refused, and shown to be"),
        ("broken", "a scenario failed"),
        ("unjudged", "not judged by this run"),
    ];
    html! {
        ul.legend { @for (kind, says) in kinds { li { i class=(kind) {} (says) } } }
    }
}

/// `::` and `_` are for programs.
fn sentence(name: &str) -> String {
    let (module, sentence) = name.split_once("::").unwrap_or(("", name));
    let words = |text: &str| text.replace("::", ": ").replace('_', " ");
    format!("{}: {}", words(module), words(sentence))
}

fn anchor(scenario: &str) -> String {
    format!("scenario-{}", scenario.replace("::", "-"))
}

/// The page's words; what stands in back-ticks is code.
fn marked(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn flows(run: &Run) -> Markup {
    html! {
        @for (title, refused) in [("Allowed", false), ("Refused", true)] {
            h3 { (title) }
            ul.lines {
                @for line in proof::lines().iter().filter(|line| line.refused == refused) {
                    (flow(run, line))
                }
            }
        }
    }
}

fn flow(run: &Run, line: &Line) -> Markup {
    let standing = standing(run, line);
    let class = match standing {
        Standing::Broken => "broken",
        Standing::Holds if line.refused => "refused",
        Standing::Holds => "allowed",
        Standing::Elsewhere | Standing::NotRun => "unjudged",
    };
    let proofs = run
        .entries
        .iter()
        .filter(|entry| line.is_proven_by(entry.name));
    html! {
        li id=(line.anchor()) {
            span class={ "number " (class) } { (line.number) }
            div {
                p { (marked(&line.says)) }
                p.rules { @for rule in &line.rules { code { (rule) } " " } }
                ul.proofs {
                    @for entry in proofs {
                        li { (mark(entry.verdict)) a href={ "#" (anchor(entry.name)) } { (sentence(entry.name)) } }
                    }
                    @if standing == Standing::Elsewhere {
                        li { (mark(Verdict::LeftOut)) "no scenario; " (marked(&line.proof)) }
                    }
                }
            }
        }
    }
}

fn scenarios(run: &Run) -> Markup {
    let ran = run
        .entries
        .iter()
        .filter(|entry| matches!(entry.verdict, Verdict::Passed | Verdict::Failed));
    html! {
        p.hint { "Times include waiting for others: many scenarios share one lab." }
        ul.scenarios {
            @for entry in ran {
                li id=(anchor(entry.name)) class=(class(entry.verdict)) {
                    p.name { (mark(entry.verdict)) span { (sentence(entry.name)) } span.time { (seconds(entry.took.as_secs_f64())) } }
                    @if entry.verdict == Verdict::Failed { pre { (entry.said) } } @else { p.evidence { (entry.said) } }
                }
            }
        }
    }
}

fn attempts(run: &Run) -> Markup {
    let mut senders: Vec<&str> = run
        .about
        .attempts
        .iter()
        .map(|each| each.sender.as_str())
        .collect();
    senders.sort_unstable();
    senders.dedup();
    html! {
        @if !senders.is_empty() {
            section {
                h2 { "The matrix of attempts" }
                p.hint { "Each attempt is made without the policy, with it, and with everything let out that the refusals leave over." }
                @for sender in senders {
                    @let of_sender = run.about.attempts.iter().filter(|each| each.sender == sender).collect::<Vec<_>>();
                    @let wrong = of_sender.iter().filter(|each| !each.holds).count();
                    details open[wrong > 0] {
                        summary {
                            (mark(if wrong == 0 { Verdict::Passed } else { Verdict::Failed }))
                            (sender) " "
                            span.time { (of_sender.len()) " attempts" @if wrong > 0 { ", " (wrong) " not as they must be" } }
                        }
                        (table(&of_sender))
                    }
                }
            }
        }
    }
}

fn table(attempts: &[&Attempt]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                @for title in ["", "whom", "where", "must be", "without policy", "with policy", "rest let out"] {
                    th scope="col" { (title) }
                }
            } }
            tbody {
                @for attempt in attempts {
                    tr class=[(!attempt.holds).then_some("failed")] {
                        td { (mark(if attempt.holds { Verdict::Passed } else { Verdict::Failed })) }
                        td { (attempt.whom) }
                        td { code { (attempt.target) } }
                        td { (attempt.expected) }
                        @for outcome in &attempt.outcomes { td { (outcome) } }
                    }
                }
            }
        } }
    }
}

fn left_out(run: &Run) -> Markup {
    let groups = [
        ("Only with --full", Verdict::OnlyInFull),
        ("Left out by the command line", Verdict::LeftOut),
    ];
    html! {
        @for (title, verdict) in groups {
            @if run.count(verdict) > 0 {
                section {
                    h2 { (title) }
                    ul.plain {
                        @for entry in run.entries.iter().filter(|entry| entry.verdict == verdict) {
                            li id=(anchor(entry.name)) { (sentence(entry.name)) }
                        }
                    }
                }
            }
        }
    }
}

fn versions(run: &Run) -> Markup {
    html! {
        dl.versions {
            @for (what, version) in &run.about.versions { div { dt { (what) } dd { (version) } } }
        }
    }
}
