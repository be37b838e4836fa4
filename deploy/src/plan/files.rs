//! Files that change: differences of those that everybody may read, one line for each other.

use similar::{ChangeTag, TextDiff};
use site::answer::{FileAction, FileChange};
use site::manifest::{FLOWS_PATH, PROGRAM_PATH, RULESET_PATH};

use super::{Against, count};
use crate::render::RenderedFile;
use crate::shown;

/// Lines of one file's differences.
const MOST_LINES: usize = 120;
/// Longer files are not compared: what a bastion answers may be made to take for ever.
const LONGEST_COMPARED: usize = 4000;
/// Longer paths stick out of the column.
const WIDEST: usize = 64;
/// Files that are shown.
const MOST_FILES: usize = 200;

/// Lines of the section, without indent.
pub(super) fn lines(changes: &[FileChange], against: &Against<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let widths = changes
        .iter()
        .take(MOST_FILES)
        .map(|change| change.path.chars().count());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for change in changes.iter().take(MOST_FILES) {
        let rendered = against
            .rendered
            .files
            .iter()
            .find(|file| file.path == change.path);
        let what = if change.path == PROGRAM_PATH && change.action != FileAction::Remove {
            program(rendered, against)
        } else {
            in_one_line(change, rendered)
        };
        let action = match change.action {
            FileAction::New => "new",
            FileAction::Content => "changed",
            FileAction::Attributes => "owner or mode",
            FileAction::Remove => "removed",
        };
        let path = shown::line(&change.path);
        lines.push(
            format!("{action:<13}  {path:width$}  {what}")
                .trim_end()
                .to_owned(),
        );
        if change.action == FileAction::Content
            && let (Some(before), Some(file)) = (&change.before, rendered)
        {
            lines.extend(difference(before, file));
        }
    }
    if changes.len() > MOST_FILES {
        lines.push(format!("… and {} more", changes.len() - MOST_FILES));
    }
    lines
}

fn program(rendered: Option<&RenderedFile>, against: &Against<'_>) -> String {
    let size = rendered.map_or_else(|| "?".to_owned(), |file| size(file.content.len()));
    let after = &against.rendered.manifest.version;
    match against.program {
        Some(before) => format!("{size}, version {} → {after}", shown::line(before)),
        None => format!("{size}, version {after}"),
    }
}

fn in_one_line(change: &FileChange, rendered: Option<&RenderedFile>) -> String {
    let mut parts = Vec::new();
    match (change.action, rendered) {
        (FileAction::New, Some(file)) => {
            parts.push(size(file.content.len()));
            parts.push(count(line_count(&file.content), "line"));
            parts.push(format!("{}:{} {:04o}", file.owner, file.group, file.mode));
        }
        (FileAction::Content, Some(_)) if in_words(&change.path) => {
            parts.push("see \"The firewall\" below".to_owned());
        }
        (FileAction::Content | FileAction::New, None) => {
            // The bastion speaks of a file that nobody rendered.
            parts.push("not one of this release's files".to_owned());
        }
        _ => {}
    }
    if let Some(file) = rendered
        && change.action != FileAction::Attributes
        && !is_public(file)
    {
        parts.push("secret, not shown: ***".to_owned());
    }
    if let Some(attributes) = &change.attributes {
        parts.push(shown::line(attributes));
    }
    parts.join(", ")
}

/// These change with every rule, and their meaning is told.
fn in_words(path: &str) -> bool {
    [RULESET_PATH, FLOWS_PATH].contains(&path)
}

fn is_public(file: &RenderedFile) -> bool {
    file.mode & 0o004 != 0
}

/// Unified, three lines around each change.
fn difference(before: &str, file: &RenderedFile) -> Vec<String> {
    // Asked here again: what the bastion takes for public decides nothing.
    if !is_public(file) || in_words(&file.path) {
        return Vec::new();
    }
    let Ok(after) = std::str::from_utf8(&file.content) else {
        return vec!["    not a text".to_owned()];
    };
    if before.lines().count().max(after.lines().count()) > LONGEST_COMPARED {
        return vec![format!(
            "    more than {LONGEST_COMPARED} lines: not compared"
        )];
    }
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        lines.push(format!("    {}", hunk.header()));
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let line = shown::line(change.value().trim_end_matches('\n'));
            lines.push(format!("    {sign}{line}").trim_end().to_owned());
        }
    }
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("    … and {more} more lines"));
    }
    lines
}

fn line_count(content: &[u8]) -> usize {
    content.split_inclusive(|byte| *byte == b'\n').count()
}

/// `812 B`, `12.4 kB`, `1.2 MB`.
fn size(bytes: usize) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..999_950 => format!("{}.{} kB", (bytes + 50) / 1000, (bytes + 50) % 1000 / 100),
        _ => format!(
            "{}.{} MB",
            (bytes + 50_000) / 1_000_000,
            (bytes + 50_000) % 1_000_000 / 100_000
        ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_rounded() {
        for (bytes, words) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_449, "12.4 kB"),
            (12_450, "12.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_249_999, "1.2 MB"),
        ] {
            assert_eq!(super::size(bytes), words);
        }
    }
}
