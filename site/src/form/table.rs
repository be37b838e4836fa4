//! Walks the tables of the file: takes the keys that somebody asks for, and notes what is missing,
//! of a wrong kind, or unknown. What a single value must be like comes in as a function.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::page::{Fault, List, Page, Place, Written, printable};

/// No list of a house's networks or machines is longer.
const LONGEST_LIST: usize = 64;

/// A key and a value for examples in messages, as it would be written.
#[derive(Debug, Clone, Copy)]
pub struct Key(pub &'static str, pub &'static str);

impl Key {
    fn example(self) -> String {
        let Key(name, value) = self;
        format!("{name} = {value}")
    }
}

/// One table of the file: its keys, and which of them somebody asked for.
pub struct Table<'d> {
    /// The key is empty at the top of the file.
    pub(crate) place: Place,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

impl<'d> Table<'d> {
    pub(super) fn top(document: &'d Spanned<DeTable<'d>>) -> Self {
        Self::new(String::new(), None, document.get_ref())
    }

    fn new(key: String, line: Option<usize>, entries: &'d DeTable<'d>) -> Self {
        Self {
            place: Place {
                key,
                line,
                shown: None,
            },
            entries,
            known: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Whether the file has this key or table here.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Where the table begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn take(&mut self, name: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(name);
        self.entries.get(name)
    }

    fn lacks(&mut self, key: Key) {
        let place = if self.place.line.is_some() {
            "below this line"
        } else {
            "at the top of the file, above the first [table]"
        };
        let remedy = format!("add a line such as {} {place}", key.example());
        self.missing.push((key.0, remedy));
    }

    fn name(&self, key: &str) -> String {
        if self.place.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place.key)
        }
    }
}

impl Page<'_> {
    /// A text that must be there.
    pub fn required<T>(
        &mut self,
        table: &mut Table,
        key: Key,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Written<T>> {
        if !table.entries.contains_key(key.0) {
            table.lacks(key);
        }
        self.optional(table, key, parse)
    }

    /// A text that may be left out.
    pub fn optional<T>(
        &mut self,
        table: &mut Table,
        key: Key,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Written<T>> {
        let found = table.take(key.0)?;
        self.text(found, table.name(key.0), key, parse)
    }

    /// A list of texts that must be there and have something in it.
    pub fn required_list<T>(
        &mut self,
        table: &mut Table,
        key: Key,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> List<T> {
        let list = self.optional_list(table, key, parse);
        match table.entries.get(key.0) {
            None => table.lacks(key),
            Some(found) if list.whole && list.items.is_empty() => {
                let place = self.place(table.name(key.0), found);
                let remedy = format!("name at least one, as {}", key.example());
                self.mistake(&place, Fault::new("is empty", remedy));
            }
            Some(_) => return list,
        }
        List {
            whole: false,
            ..list
        }
    }

    /// A list of texts that may be empty or left out.
    pub fn optional_list<T>(
        &mut self,
        table: &mut Table,
        key: Key,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> List<T> {
        let mut list = List {
            items: Vec::new(),
            whole: true,
        };
        let Some(found) = table.take(key.0) else {
            return list;
        };
        let name = table.name(key.0);
        let Some(array) = found.get_ref().as_array() else {
            self.wrong_kind(found, name, "a list", key);
            list.whole = false;
            return list;
        };
        if array.len() > LONGEST_LIST {
            let place = self.place(name.clone(), found);
            let problem = format!("has {} entries", array.len());
            let remedy = format!("name at most {LONGEST_LIST}; larger networks stand for many");
            self.mistake(&place, Fault::new(problem, remedy));
            list.whole = false;
        }
        for (index, entry) in array.iter().enumerate().take(LONGEST_LIST) {
            match self.text(entry, format!("{name}[{}]", index + 1), key, &parse) {
                Some(item) => list.items.push(item),
                None => list.whole = false,
            }
        }
        list
    }

    /// `true` or `false`; `false` when left out.
    pub fn flag(&mut self, table: &mut Table, key: Key) -> bool {
        match table.take(key.0) {
            None => false,
            Some(found) => found.get_ref().as_bool().unwrap_or_else(|| {
                self.wrong_kind(found, table.name(key.0), "true or false", key);
                false
            }),
        }
    }

    /// A whole number within bounds; `default` when left out, if there is one.
    pub fn number<T: TryFrom<i64> + Copy + PartialOrd + Display>(
        &mut self,
        table: &mut Table,
        key: Key,
        bounds: RangeInclusive<T>,
        default: Option<T>,
    ) -> Option<T> {
        let Some(found) = table.take(key.0) else {
            if default.is_none() {
                table.lacks(key);
            }
            return default;
        };
        let name = table.name(key.0);
        let DeValue::Integer(written) = found.get_ref() else {
            self.wrong_kind(found, name, "a whole number", key);
            return None;
        };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let remedy = format!(
                "write a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            );
            let place = self.place(name, found);
            self.mistake(&place, Fault::new("is out of bounds", remedy));
        }
        number
    }

    /// A `[table]` that may be left out.
    pub fn optional_section<'d>(
        &mut self,
        table: &mut Table<'d>,
        name: &'static str,
    ) -> Option<Table<'d>> {
        let found = table.take(name)?;
        let place = self.place(name.to_owned(), found);
        let DeValue::Table(entries) = found.get_ref() else {
            let problem = format!("is {}, where a table belongs", kind(found.get_ref()));
            let remedy = format!("write [{name}] with single brackets on a line of its own");
            self.mistake(&place, Fault::new(problem, remedy));
            return None;
        };
        Some(Table::new(place.key, place.line, entries))
    }

    /// A `[table]` that must be there.
    pub fn section<'d>(&mut self, table: &mut Table<'d>, name: &'static str) -> Option<Table<'d>> {
        if !table.entries.contains_key(name) {
            let remedy = format!("add a table [{name}], as {} has it", self.form.example);
            table.missing.push((name, remedy));
        }
        self.optional_section(table, name)
    }

    /// All `[[tables]]` of a name: at least one, at most so many.
    pub fn sections<'d>(
        &mut self,
        table: &mut Table<'d>,
        name: &'static str,
        most: usize,
    ) -> Vec<Table<'d>> {
        let Some(found) = table.take(name) else {
            let remedy = format!(
                "add at least one [[{name}]], as {} has it",
                self.form.example
            );
            table.missing.push((name, remedy));
            return Vec::new();
        };
        let place = self.place(name.to_owned(), found);
        let remedy = format!("write [[{name}]] with double brackets on a line of its own");
        let Some(array) = found.get_ref().as_array() else {
            let problem = format!(
                "is {}, where a list of tables belongs",
                kind(found.get_ref())
            );
            self.mistake(&place, Fault::new(problem, remedy));
            return Vec::new();
        };
        if array.is_empty() {
            let remedy = format!("leave this line out and add at least one [[{name}]]");
            self.mistake(&place, Fault::new("is empty", remedy));
        }
        if array.len() > most {
            let problem = format!("is there {} times", array.len());
            let remedy = format!(
                "one {} may hold {most}; make several sites of it",
                self.form.name
            );
            self.mistake(&place, Fault::new(problem, remedy));
            return Vec::new();
        }
        let mut tables = Vec::new();
        for (index, entry) in array.iter().enumerate() {
            let place = self.place(format!("{name}[{}]", index + 1), entry);
            if let DeValue::Table(entries) = entry.get_ref() {
                tables.push(Table::new(place.key, place.line, entries));
            } else {
                let problem = format!("is {}, where a table belongs", kind(entry.get_ref()));
                self.mistake(&place, Fault::new(problem, remedy.clone()));
            }
        }
        tables
    }

    /// Notes what is missing, and what nobody asked for. A misspelt key is one mistake, not two.
    pub fn finish(&mut self, mut table: Table) {
        for (key, _) in table.entries {
            let written: &str = key.get_ref();
            if table.known.contains(&written) {
                continue;
            }
            let absent = |name: &&&str| !table.entries.contains_key(**name);
            let meant = nearest(written, table.known.iter().filter(absent).copied());
            let remedy = match meant {
                Some(name) => format!("did you mean {name}?"),
                None => format!("leave it out; known here: {}", table.known.join(", ")),
            };
            table.missing.retain(|(name, _)| meant != Some(name));
            let place = Place {
                key: table.name(&printable(written)),
                line: Some(self.line(key.span().start)),
                shown: None,
            };
            self.mistake(&place, Fault::new("is no known key", remedy));
        }
        if self.is_sound() {
            for (name, remedy) in &table.missing {
                let place = Place {
                    key: table.name(name),
                    ..table.place.clone()
                };
                self.mistake(&place, Fault::new("is missing", remedy));
            }
        }
    }

    fn text<T>(
        &mut self,
        found: &Spanned<DeValue>,
        name: String,
        key: Key,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Written<T>> {
        let Some(text) = found.get_ref().as_str() else {
            self.wrong_kind(found, name, "a text", key);
            return None;
        };
        let place = self.place(name, found);
        match parse(text) {
            Ok(value) => Some(Written { value, place }),
            Err(fault) => {
                self.mistake(&place, fault);
                None
            }
        }
    }

    fn wrong_kind(&mut self, found: &Spanned<DeValue>, name: String, wanted: &str, key: Key) {
        let place = self.place(name, found);
        let problem = format!("is {}, where {wanted} belongs", kind(found.get_ref()));
        let remedy = format!("write it as in {}", key.example());
        self.mistake(&place, Fault::new(problem, remedy));
    }

    fn place(&self, key: String, found: &Spanned<DeValue>) -> Place {
        let table = found.get_ref().is_table() || found.get_ref().is_array();
        Place {
            key,
            line: Some(self.line(found.span().start)),
            shown: (!table).then(|| self.shown(found.span())),
        }
    }
}

/// What a person calls a kind of value.
fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
