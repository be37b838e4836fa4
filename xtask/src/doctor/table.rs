//! The table that `doctor` prints, and the verdict that follows from it.

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is there.
    Ok,
    /// Worth knowing; nothing is lacking.
    Note,
    /// Lacking, and `cargo xtask lab` sets it up by itself.
    Later,
    /// Lacking; the lab cannot run.
    Lacks,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    pub(super) remedy: String,
}

/// One line with its remedy.
pub(super) fn row(
    what: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Row {
    Row {
        what,
        verdict,
        found: found.into(),
        remedy: remedy.into(),
    }
}

/// One line about something that is there.
pub(super) fn ok(what: &'static str, found: impl Into<String>) -> Row {
    row(what, Verdict::Ok, found, "")
}

/// Prints the table and the sum of it; true if the lab can run now or after setting itself up.
pub(super) fn print(rows: &[Row]) -> bool {
    for row in rows {
        let word = match row.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Later | Verdict::Lacks => "lacks",
        };
        println!("{word:<6} {:<18} {}", row.what, row.found);
        if !row.remedy.is_empty() {
            println!("{:<25} -> {}", "", row.remedy);
        }
    }
    let (summary, ready) = sum_up(rows);
    println!("{summary}");
    ready
}

fn sum_up(rows: &[Row]) -> (String, bool) {
    let named = |verdict| {
        let names = rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .map(|row| row.what);
        names.collect::<Vec<_>>().join(", ")
    };
    let (lacks, later) = (named(Verdict::Lacks), named(Verdict::Later));
    if !lacks.is_empty() {
        (format!("The lab cannot run here. Lacking: {lacks}"), false)
    } else if !later.is_empty() {
        (
            format!("The lab can run; it will set up first: {later}"),
            true,
        )
    } else {
        ("The lab can run.".to_owned(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(verdicts: &[(&'static str, Verdict)], ready: bool, part: &str) {
        let rows: Vec<Row> = verdicts
            .iter()
            .map(|&(what, verdict)| row(what, verdict, "", ""))
            .collect();
        let (summary, got) = sum_up(&rows);
        assert_eq!(got, ready, "{summary}");
        assert!(summary.contains(part), "{part:?} is not in {summary:?}");
    }

    #[test]
    fn ready_means_now_or_by_itself() {
        check(&[("host", Verdict::Ok)], true, "can run.");
        check(&[("engine", Verdict::Note)], true, "can run.");
        check(
            &[("cross", Verdict::Later), ("images", Verdict::Later)],
            true,
            "set up first: cross, images",
        );
        check(
            &[("cross", Verdict::Later), ("engine", Verdict::Lacks)],
            false,
            "Lacking: engine",
        );
    }
}
