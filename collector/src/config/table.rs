//! Walks a TOML document and notes every mistake with its line, so that a person sees all of them
//! at once. What the keys mean is left to `config`.

use std::ops::{Range, RangeInclusive};

use site::{Mistake, Mistakes};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file and what is wrong in it so far.
pub(super) struct Page<'t> {
    file: &'t str,
    text: &'t str,
    mistakes: Vec<Mistake>,
}

/// A parsed file.
pub(super) struct Document<'t>(Spanned<DeTable<'t>>);

/// One table: its name, its keys, and which of them somebody asked for.
pub(super) struct Table<'d> {
    /// Such as `meter[3]`; empty at the top.
    name: String,
    entries: &'d DeTable<'d>,
    line: Option<usize>,
    known: Vec<&'static str>,
}

/// A text with the place where it stands.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) key: String,
    line: Option<usize>,
}

/// Reads the file as TOML; the parser's own complaints become mistakes.
pub(super) fn document<'t>(page: &mut Page<'t>) -> Option<Document<'t>> {
    match DeTable::parse(page.text) {
        Ok(table) => Some(Document(table)),
        Err(error) => {
            let line = error.span().map(|span| page.line(&span));
            page.note(
                line,
                "the whole file",
                None,
                error.message().trim(),
                "write it as TOML",
            );
            None
        }
    }
}

impl Document<'_> {
    pub(super) fn top(&self) -> Table<'_> {
        Table {
            name: String::new(),
            entries: self.0.get_ref(),
            line: None,
            known: Vec::new(),
        }
    }
}

impl Table<'_> {
    fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}

impl<'t> Page<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            mistakes: Vec::new(),
        }
    }

    /// The settings, if there is no mistake.
    pub(super) fn verdict<T>(mut self, settings: Option<T>) -> Result<T, Mistakes> {
        match settings {
            Some(settings) if self.mistakes.is_empty() => Ok(settings),
            _ => {
                self.mistakes.sort_by_key(|mistake| mistake.line);
                Err(Mistakes(self.mistakes))
            }
        }
    }

    /// Notes a mistake in a text.
    pub(super) fn mistake(&mut self, text: &Text, problem: &str, remedy: &str) {
        let value = format!("{:?}", text.value);
        self.note(text.line, &text.key, Some(value), problem, remedy);
    }

    /// A text that must be there and not be empty.
    pub(super) fn text(&mut self, table: &mut Table, key: &'static str) -> Option<Text> {
        let text = self.optional_text(table, key);
        if text.is_none() && !table.entries.contains_key(key) {
            self.missing(table, key);
        }
        text
    }

    /// A text that may be left out, but not be empty.
    pub(super) fn optional_text(&mut self, table: &mut Table, key: &'static str) -> Option<Text> {
        let found = entry(table, key)?;
        let line = Some(self.line(&found.span()));
        match found.get_ref() {
            DeValue::String(value) if !value.trim().is_empty() => Some(Text {
                value: value.to_string(),
                key: table.key(key),
                line,
            }),
            DeValue::String(_) => {
                self.note(
                    line,
                    &table.key(key),
                    Some("\"\"".to_owned()),
                    "is empty",
                    "write a text",
                );
                None
            }
            other => {
                let problem = format!("is a {}", other.type_str());
                self.note(
                    line,
                    &table.key(key),
                    None,
                    &problem,
                    "write a text in quotes",
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn whole(
        &mut self,
        table: &mut Table,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        default: Option<i64>,
    ) -> Option<i64> {
        let Some(found) = entry(table, key) else {
            if default.is_none() {
                self.missing(table, key);
            }
            return default;
        };
        let line = Some(self.line(&found.span()));
        let remedy = format!(
            "write a whole number from {} to {}",
            bounds.start(),
            bounds.end()
        );
        let DeValue::Integer(written) = found.get_ref() else {
            let problem = format!("is a {}", found.get_ref().type_str());
            self.note(line, &table.key(key), None, &problem, &remedy);
            return None;
        };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let value = Some(written.as_str().to_owned());
            self.note(line, &table.key(key), value, "is out of bounds", &remedy);
        }
        number
    }

    /// A `[table]` that must be there.
    pub(super) fn section<'d>(
        &mut self,
        table: &mut Table<'d>,
        key: &'static str,
    ) -> Option<Table<'d>> {
        let Some(found) = entry(table, key) else {
            let remedy = format!("add a table [{key}]");
            self.note(table.line, &table.key(key), None, "is missing", &remedy);
            return None;
        };
        self.table(found, table.key(key))
    }

    /// All `[[tables]]` of a name, at least one.
    pub(super) fn sections<'d>(
        &mut self,
        table: &mut Table<'d>,
        key: &'static str,
    ) -> Vec<Table<'d>> {
        let remedy = format!("add a table [[{key}]]");
        let Some(found) = entry(table, key) else {
            self.note(table.line, &table.key(key), None, "is missing", &remedy);
            return Vec::new();
        };
        let Some(array) = found.get_ref().as_array().filter(|array| !array.is_empty()) else {
            let line = Some(self.line(&found.span()));
            self.note(line, &table.key(key), None, "is no list of tables", &remedy);
            return Vec::new();
        };
        array
            .iter()
            .enumerate()
            .filter_map(|(index, found)| self.table(found, format!("{key}[{index}]")))
            .collect()
    }

    /// Notes what nobody asked for.
    pub(super) fn finish(&mut self, table: Table) {
        for key in table.entries.keys() {
            let name: &str = key.get_ref();
            if !table.known.contains(&name) {
                let line = Some(self.line(&key.span()));
                let remedy = format!("known here: {}", table.known.join(", "));
                self.note(line, &table.key(name), None, "is not known", &remedy);
            }
        }
    }

    fn table<'d>(&mut self, found: &'d Spanned<DeValue<'d>>, name: String) -> Option<Table<'d>> {
        let line = Some(self.line(&found.span()));
        let DeValue::Table(entries) = found.get_ref() else {
            let problem = format!("is a {}", found.get_ref().type_str());
            self.note(line, &name, None, &problem, "write it as a table");
            return None;
        };
        Some(Table {
            name,
            entries,
            line,
            known: Vec::new(),
        })
    }

    fn missing(&mut self, table: &Table, key: &str) {
        self.note(table.line, &table.key(key), None, "is missing", "add it");
    }

    fn note(
        &mut self,
        line: Option<usize>,
        key: &str,
        value: Option<String>,
        problem: &str,
        remedy: &str,
    ) {
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            value,
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }
}

fn entry<'d>(table: &mut Table<'d>, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
    table.known.push(key);
    table.entries.get(key)
}
