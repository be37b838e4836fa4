//! The script's answer as named sections; what stands in them is left to `parse`.

use std::collections::BTreeMap;

use super::{FactsError, LONGEST_ANSWER};

const FIRST_LINE: &str = "shelly-bastion facts 1";
const LAST_SECTION: &str = "end";
/// More lines of one section than any machine has reason to answer.
const MOST_LINES: usize = 400;
const LONGEST_LINE: usize = 400;

/// Name of a section → its lines without the blank in front, empty ones left out.
pub(super) struct Sections<'a>(BTreeMap<&'a str, Vec<String>>);

impl<'a> Sections<'a> {
    pub(super) fn read(answer: &'a str) -> Result<Sections<'a>, FactsError> {
        if answer.len() > LONGEST_ANSWER {
            return Err(FactsError::TooLong(answer.len()));
        }
        let mut lines = answer.lines().map(|line| line.trim_end_matches('\r'));
        if !lines.any(|line| line == FIRST_LINE) {
            return Err(FactsError::NotOurs(harmless(answer.trim(), 80)));
        }
        let mut sections = BTreeMap::new();
        let mut name = "";
        for line in lines {
            if let Some(section) = line.strip_prefix("== ") {
                name = section;
                if name == LAST_SECTION {
                    return Ok(Sections(sections));
                }
                sections.entry(name).or_insert_with(Vec::new);
            } else if let Some(value) = line.strip_prefix(' ').filter(|value| !value.is_empty())
                && let Some(values) = sections.get_mut(name)
                && values.len() < MOST_LINES
            {
                values.push(harmless(value, LONGEST_LINE));
            }
        }
        Err(FactsError::CutShort(harmless(name, 40)))
    }

    pub(super) fn lines(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn first(&self, name: &str) -> &str {
        self.lines(name).first().map_or("", |line| line.trim())
    }
}

/// At most so many characters, and nothing that a terminal would obey.
fn harmless(text: &str, longest: usize) -> String {
    let clean = |c: char| match c {
        '\t' => ' ',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().take(longest).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(answer: &str) -> String {
        Sections::read(answer)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_greeting_before_the_answer_is_skipped() {
        let answer = "Welcome!\r\n\nshelly-bastion facts 1\n== user\n pi\n\n== end\n";
        let sections = Sections::read(answer)
            .ok()
            .map(|s| s.first("user").to_owned());
        assert_eq!(sections.as_deref(), Some("pi"));
    }

    #[test]
    fn no_content_passes_for_a_section() {
        let answer = "shelly-bastion facts 1\n== os\n == sudo\n  yes\n\n== end\n";
        let sections = Sections::read(answer).ok();
        let lines = |name| sections.as_ref().map(|s| s.lines(name).len());
        assert_eq!(lines("os"), Some(2));
        assert_eq!(lines("sudo"), Some(0));
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        assert!(error("shelly-bastion facts 1\n== user\n pi\n== sudo\n").contains("\"sudo\""));
        assert!(error("bash: sh: command not found").contains("command not found"));
        assert!(error(&"x".repeat(LONGEST_ANSWER + 1)).contains("more than"));
    }

    #[test]
    fn escapes_and_floods_are_neutralised() {
        let answer = format!(
            "shelly-bastion facts 1\n== user\n \u{1b}[2Jpi\u{9b}\n== os\n{}== end\n",
            format!(" {}\n", "y".repeat(2000)).repeat(50)
        );
        let sections = Sections::read(&answer).ok();
        assert_eq!(sections.as_ref().map(|s| s.first("user")), Some("?[2Jpi?"));
        let longest = sections.and_then(|s| s.lines("os").iter().map(String::len).max());
        assert_eq!(longest, Some(LONGEST_LINE));
    }
}
