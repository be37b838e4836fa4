//! The file as a page with numbered lines, and everything that was found on it:
//! mistakes, warnings, and values that remember where they stand.
//! Reading keys is left to `table`, and what a value must be like to `value`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Form;
use crate::mistake::{Mistake, Mistakes};

/// What is wrong with a value, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) problem: String,
    pub(crate) remedy: String,
    /// The value may hold a password and is not repeated.
    pub(crate) secret: bool,
}

impl Fault {
    /// `problem` goes on where the key and its value end, as `is empty`; `remedy` tells what to do.
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
            secret: false,
        }
    }

    /// The same, and the message shows `***` for the value.
    #[must_use]
    pub fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }
}

/// Where something stands, and how it is written there.
#[derive(Debug, Clone)]
pub struct Place {
    /// With its table, such as `meter[3].id`; counted from 1.
    pub(crate) key: String,
    pub(crate) line: Option<usize>,
    pub(crate) shown: Option<String>,
}

impl Place {
    /// `line 12`, for a message about another line.
    pub fn line_name(&self) -> String {
        match self.line {
            Some(line) => format!("line {line}"),
            None => self.key.clone(),
        }
    }
}

/// A value that is good by itself, with its place for checks against others.
#[derive(Debug, Clone)]
pub struct Written<T> {
    /// What was made of it.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// The good values of a list.
#[derive(Debug)]
pub struct List<T> {
    /// In the order of the file.
    pub items: Vec<Written<T>>,
    /// Whether the list was there and nothing in it was bad. Only then may something be blamed
    /// for not being in it.
    pub whole: bool,
}

impl<T> List<T> {
    /// The values without their places.
    #[must_use]
    pub fn values(self) -> Vec<T> {
        self.items.into_iter().map(|item| item.value).collect()
    }
}

/// Which part of a file with errors of syntax still says what its author meant.
struct Damage {
    /// Lines with an error of syntax: whatever else is found there follows from it.
    lines: Vec<usize>,
    /// From this line on, an open bracket or quote may have swallowed anything.
    from: Option<usize>,
}

/// A file, and what is wrong in it so far.
pub struct Page<'t> {
    pub(super) form: Form,
    file: &'t str,
    pub(super) text: &'t str,
    /// Byte offsets of all newlines.
    newlines: Vec<usize>,
    damage: Option<Damage>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl<'t> Page<'t> {
    pub(super) fn new(form: Form, file: &'t str, text: &'t str) -> Self {
        Self {
            form,
            file,
            text,
            newlines: text.match_indices('\n').map(|(offset, _)| offset).collect(),
            damage: None,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What was filled in, with the warnings, if there is no mistake.
    pub(super) fn verdict<T>(mut self, filled: Option<T>) -> Result<(T, Vec<String>), Mistakes> {
        if filled.is_none() && self.mistakes.is_empty() {
            // Whatever is absent has been noted, so nobody should ever see this.
            let remedy = format!("compare it with {}", self.form.example);
            self.whole_file("could not be understood", &remedy);
        }
        match filled {
            Some(filled) if self.mistakes.is_empty() => {
                self.warnings.sort_by_key(|warning| warning.line);
                Ok((
                    filled,
                    self.warnings.iter().map(ToString::to_string).collect(),
                ))
            }
            _ => {
                self.mistakes.sort_by_key(|mistake| mistake.line);
                Err(Mistakes(self.mistakes))
            }
        }
    }

    /// Notes a mistake that has no line.
    pub(super) fn whole_file(&mut self, problem: &str, remedy: &str) {
        let place = Place {
            key: "the whole file".to_owned(),
            line: None,
            shown: None,
        };
        self.mistakes
            .push(self.told(&place, Fault::new(problem, remedy)));
    }

    /// Notes a mistake, unless it may only follow from an error of syntax.
    pub fn mistake(&mut self, place: &Place, fault: Fault) {
        if self.trusts(place.line) {
            self.mistakes.push(self.told(place, fault));
        }
    }

    /// Notes what is allowed and unwise.
    pub(crate) fn warning(&mut self, place: &Place, fault: Fault) {
        self.warnings.push(self.told(place, fault));
    }

    /// Notes errors of syntax, in the order of their lines. `from` is the line from which on
    /// the file cannot be trusted.
    pub(super) fn damaged(&mut self, errors: Vec<(Place, Fault)>, from: Option<usize>) {
        self.damage = Some(Damage {
            lines: errors.iter().filter_map(|(place, _)| place.line).collect(),
            from,
        });
        for (place, fault) in errors {
            self.mistakes.push(self.told(&place, fault));
        }
    }

    /// Whether the file is TOML. If it is not, what seems to be missing may be there.
    pub(crate) fn is_sound(&self) -> bool {
        self.damage.is_none()
    }

    /// Notes every value that is there twice. `say` gets the place where it is first.
    pub fn twice<'a, K: Ord>(
        &mut self,
        items: impl IntoIterator<Item = (K, &'a Place)>,
        say: impl Fn(&Place) -> Fault,
    ) {
        let mut seen: BTreeMap<K, &Place> = BTreeMap::new();
        for (key, place) in items {
            if let Some(first) = seen.get(&key) {
                self.mistake(place, say(first));
            } else {
                seen.insert(key, place);
            }
        }
    }

    /// The line of a byte offset, counted from 1. What is past the last text is on its line.
    pub(super) fn line(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.trim_end().len());
        self.newlines.partition_point(|newline| *newline < offset) + 1
    }

    /// The text of a line, counted from 1.
    pub(super) fn line_text(&self, line: usize) -> &'t str {
        let newline = |line: usize| self.newlines.get(line).copied();
        let start = line.checked_sub(2).and_then(newline).map_or(0, |at| at + 1);
        let end = line.checked_sub(1).and_then(newline);
        self.text
            .get(start..end.unwrap_or(self.text.len()))
            .unwrap_or_default()
    }

    /// A value as it is written, short enough for a message and harmless for a terminal.
    pub(super) fn shown(&self, span: Range<usize>) -> String {
        printable(self.text.get(span).unwrap_or_default())
    }

    fn trusts(&self, line: Option<usize>) -> bool {
        match (&self.damage, line) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(damage), Some(line)) => {
                damage.lines.binary_search(&line).is_err()
                    && damage.from.is_none_or(|from| line < from)
            }
        }
    }

    fn told(&self, place: &Place, fault: Fault) -> Mistake {
        let value = if fault.secret {
            Some("***".to_owned())
        } else {
            place.shown.clone()
        };
        Mistake {
            file: self.file.to_owned(),
            line: place.line,
            key: place.key.clone(),
            value,
            problem: fault.problem,
            remedy: fault.remedy,
        }
    }
}

/// Text from the file, cut short and without control characters.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
