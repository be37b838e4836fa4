//! A TOML file that a person fills in, read with every mistake at once: each with its line, its
//! key and a remedy, and a misspelt key with the word that was meant.
//!
//! The site file and the collector's settings are such forms. Which keys a form has is said by
//! who reads it; this module walks the tables and holds what both forms share: what a value must
//! be like ([`value`]) and how a meter is described ([`meter`]). Reading files is left to programs.

pub mod meter;
mod nearest;
mod page;
mod syntax;
mod table;
pub mod value;

pub use page::{Fault, List, Page, Place, Written};
pub use table::{Key, Table};

use crate::mistake::Mistakes;

/// A kind of file, as messages speak of it.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What a person calls it, such as `site file`.
    pub name: &'static str,
    /// Where a person finds a good one, such as `the example home.toml`.
    pub example: &'static str,
    /// Most bytes that are read: a wrong file is not read for long.
    pub longest: usize,
}

impl Form {
    /// Reads a file: `fill` takes every key that it knows from the table at the top, and gives
    /// `None` when something was missing or bad, which the page has noted. `file` is the name
    /// used in messages. Answers with what was filled in and the warnings in the order of lines.
    ///
    /// # Errors
    /// Every mistake of the file, in the order of lines.
    pub fn read<T>(
        &self,
        file: &str,
        text: &str,
        fill: impl FnOnce(&mut Page, Table) -> Option<T>,
    ) -> Result<(T, Vec<String>), Mistakes> {
        let mut page = Page::new(*self, file, text);
        if text.len() > self.longest {
            let problem = format!(
                "has {} bytes, and a site has at most {}",
                text.len(),
                self.longest
            );
            page.whole_file(
                &problem,
                "check that it is the right file, or make several sites of it",
            );
            return page.verdict(None);
        }
        let document = syntax::document(&mut page);
        let filled = fill(&mut page, Table::top(&document));
        page.verdict(filled)
    }
}
