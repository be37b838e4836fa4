//! `docs/security.md` as data: the lines of its tables of rules, and the scenarios that prove each.
//!
//! That page is the one place where this is written down. The report draws it, the mutation run
//! begins with the scenarios that it names, and a check of the scenarios' target fails when it
//! names one that is not there.

const PAGE: &str = include_str!("../../docs/security.md");

/// One line of a table of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `F1`, …; for refusals `R1`, … in the page's order.
    pub number: String,
    /// The rules' names.
    pub rules: Vec<String>,
    /// The flow, or what is refused.
    pub says: String,
    /// Whether it is refused.
    pub refused: bool,
    /// The page's words for the proof.
    pub proof: String,
    /// The scenarios among these words; one that ends with `*` stands for all that begin so.
    pub scenarios: Vec<String>,
}

impl Line {
    /// Whether the page names this scenario for it.
    #[must_use]
    pub fn is_proven_by(&self, scenario: &str) -> bool {
        self.scenarios.iter().any(|name| stands_for(name, scenario))
    }

    /// A word that is its own on a page: `f1`, or the first rule's name where many share a number.
    #[must_use]
    pub fn anchor(&self) -> String {
        format!(
            "line-{}",
            self.rules.first().map_or("", |rule| rule.as_str())
        )
    }
}

fn stands_for(name: &str, scenario: &str) -> bool {
    name.strip_suffix('*')
        .map_or(name == scenario, |begin| scenario.starts_with(begin))
}

/// All lines, in the page's order.
#[must_use]
pub fn lines() -> Vec<Line> {
    read(PAGE)
}

/// The line that speaks of a rule.
#[must_use]
pub fn of_rule(rule: &str) -> Option<Line> {
    lines()
        .into_iter()
        .find(|line| line.rules.iter().any(|name| name == rule))
}

/// What the page names and no scenario is called, each with the rule that it would prove.
#[must_use]
pub fn missing(scenarios: &[&str]) -> Vec<String> {
    let absent = |name: &String| !scenarios.iter().any(|each| stands_for(name, each));
    let lines = lines();
    let named = lines.iter().flat_map(|line| {
        let rule = line.rules.first().cloned().unwrap_or_default();
        let names = line.scenarios.iter().filter(|name| absent(name));
        names.map(move |name| format!("{name} (for {rule})"))
    });
    named.collect()
}

fn read(page: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut head: Option<Vec<&str>> = None;
    for row in page.lines() {
        let Some(row) = row.trim().strip_prefix('|') else {
            head = None;
            continue;
        };
        let cells: Vec<&str> = row
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let Some(columns) = &head else {
            head = Some(cells);
            continue;
        };
        let cell = |name: &str| {
            let index = columns.iter().position(|column| *column == name)?;
            cells.get(index).copied()
        };
        let (Some(rules), Some(proof)) = (cell("Rule"), cell("Proven by")) else {
            continue;
        };
        // Below a head stands a row of dashes.
        let rules = words(rules);
        if rules.is_empty() {
            continue;
        }
        let refused = cell("#").is_none();
        let number = match cell("#") {
            Some(number) => number.to_owned(),
            None => format!(
                "R{}",
                1 + lines.iter().filter(|line: &&Line| line.refused).count()
            ),
        };
        lines.push(Line {
            number,
            rules,
            says: cell("Flow")
                .or(cell("Refuses"))
                .unwrap_or_default()
                .to_owned(),
            refused,
            proof: proof.to_owned(),
            scenarios: words(proof)
                .into_iter()
                .filter(|word| word.contains("::"))
                .collect(),
        });
    }
    lines
}

/// The words in back-ticks.
fn words(cell: &str) -> Vec<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_rules_and_its_scenarios() {
        let page = "\
| # | Rule | Flow | Proven by |
|---|---|---|---|
| F1 | `f1-a-v4`, `f1-a-v6` | a → b | `one::two`, `three::*`; the rest by unit tests |
| F2 | `f2` | c | unit tests, `tests/it.rs` |

| Who | Proven by |
|---|---|
| a meter | `one::two` |

| Rule | Refuses | Proven by |
|---|---|---|
| `refuse-x` | d | `one::three` |
";
        let lines = read(page);
        let short: Vec<(&str, usize, bool, usize)> = lines
            .iter()
            .map(|line| {
                (
                    line.number.as_str(),
                    line.rules.len(),
                    line.refused,
                    line.scenarios.len(),
                )
            })
            .collect();
        assert_eq!(
            short,
            [("F1", 2, false, 2), ("F2", 1, false, 0), ("R1", 1, true, 1)]
        );
        assert!(lines[0].is_proven_by("three::anything"));
        assert!(!lines[0].is_proven_by("one::two_more"));
    }

    /// The page itself: every line has words, and most have scenarios.
    #[test]
    fn the_page_is_understood() {
        let lines = lines();
        assert!(lines.len() > 20, "{} lines", lines.len());
        for line in &lines {
            assert!(!line.says.is_empty() && !line.proof.is_empty(), "{line:?}");
        }
        assert!(
            lines
                .iter()
                .filter(|line| !line.scenarios.is_empty())
                .count()
                > 20
        );
    }
}
