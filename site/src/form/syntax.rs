//! The file as TOML, and what is wrong when it is none.
//!
//! The parser goes on behind an error, so that mistakes elsewhere in the file are shown at once.

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::page::{Fault, Page, Place, printable};

/// Reads the page as TOML. Errors of syntax are noted, one per line; behind an open bracket or
/// quote none is, since they follow from it.
pub(super) fn document<'t>(page: &mut Page<'t>) -> Spanned<DeTable<'t>> {
    let (table, mut errors) = DeTable::parse_recoverable(page.text);
    if errors.is_empty() {
        return table;
    }
    let offset = |error: &Error| error.span().map_or(page.text.len(), |span| span.start);
    errors.sort_by_key(offset);
    errors.dedup_by_key(|error| page.line(offset(error)));
    let open = errors.iter().position(|error| swallows(page, error));
    let from = open
        .and_then(|index| errors.get(index))
        .map(|error| page.line(offset(error)));
    errors.truncate(open.map_or(errors.len(), |index| index + 1));
    let told = errors
        .iter()
        .map(|error| tell(page, page.line(offset(error)), error))
        .collect();
    page.damaged(told, from);
    table
}

/// Whether the parser may have taken what follows for a part of something else: it says so, or it
/// misses a comma before a key or a table, which are no parts of a list.
fn swallows(page: &Page, error: &Error) -> bool {
    let message = error.message();
    let starts = |start: &&str| message.starts_with(start);
    if ["unclosed", "unexpected `", "invalid multi-line"]
        .iter()
        .any(starts)
    {
        return true;
    }
    let start = error.span().map_or(page.text.len(), |span| span.start);
    let ahead = page.text.get(start..).unwrap_or_default();
    let ahead = ahead.lines().next().unwrap_or_default().trim_start();
    message.starts_with("missing comma") && (ahead.starts_with('[') || key_of(ahead).is_some())
}

fn tell(page: &Page, line: usize, error: &Error) -> (Place, Fault) {
    let span = error.span().and_then(|span| page.text.get(span));
    let span = span.unwrap_or_default();
    let problem = error.message().trim();
    let mut key = key_of(page.line_text(line)).unwrap_or_else(|| "this line".to_owned());
    let fault = if problem.starts_with("string values must be quoted") {
        // The text is not repeated: nobody knows yet whether it is a password.
        let remedy = "put straight quotes around it, as in name = \"home\"";
        Fault::new("is a text without straight quotes", remedy)
    } else if problem == "duplicate key" {
        key = printable(span);
        Fault::new(
            "is there twice",
            "keep one of the two; a table that may come often has double brackets, as [[meter]]",
        )
    } else if swallows(page, error) {
        Fault::new(
            problem,
            "a bracket or a quote above is still open: close it, or correct this line",
        )
    } else {
        Fault::new(
            problem,
            "correct this line or the one above it: a text stands in \"quotes\", a list in \
             [brackets], and every key on a line of its own, as name = \"home\"",
        )
    };
    let place = Place {
        key,
        line: Some(line),
        shown: None,
    };
    (place, fault)
}

/// The key at the beginning of a line, when there is one.
fn key_of(line: &str) -> Option<String> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!key.is_empty() && key.len() <= 40 && key.chars().all(fits)).then(|| key.to_owned())
}
