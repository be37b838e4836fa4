//! What came from another machine, made safe to show: bounded, and without a character that a
//! terminal would obey. What it means is left to others.

/// The longest line that is shown, in characters.
const LONGEST_LINE: usize = 400;

/// Text of several lines: control characters as `\x1b`, at most `lines` lines, of which the last
/// ones count. What was left out is said.
#[must_use]
pub fn text(hostile: &str, lines: usize) -> String {
    let all: Vec<&str> = hostile.trim_end().lines().collect();
    let skipped = all.len().saturating_sub(lines);
    let mut shown: Vec<String> = all.iter().skip(skipped).map(|text| line(text)).collect();
    if skipped > 0 {
        shown.insert(0, format!("… {skipped} lines before"));
    }
    shown.join("\n")
}

/// One line: as [`text`], and line breaks are shown as `\n`.
#[must_use]
pub fn line(hostile: &str) -> String {
    let mut shown = String::new();
    let mut characters = hostile.chars();
    for character in characters.by_ref().take(LONGEST_LINE) {
        push(&mut shown, character);
    }
    let left = characters.count();
    if left > 0 {
        shown.push_str(&format!("… and {left} characters"));
    }
    shown
}

/// A whole page that this program composed of its own words and another machine's: nothing is cut,
/// line breaks stay.
#[must_use]
pub fn page(mixed: &str) -> String {
    let mut shown = String::with_capacity(mixed.len());
    for character in mixed.chars() {
        if character == '\n' {
            shown.push('\n');
        } else {
            push(&mut shown, character);
        }
    }
    shown
}

fn push(shown: &mut String, character: char) {
    match character {
        '\t' => shown.push_str("    "),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        // Escapes of terminals, also in their one-byte form.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
            shown.push_str(&format!("\\x{:02x}", u32::from(character)));
        }
        // Changes of direction (all of Unicode's Bidi_Control are among these) and invisible
        // characters make a line read as what it is not.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => shown.extend(character.escape_unicode()),
        _ => shown.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        assert_eq!(
            line("\u{1b}[2Jgone\r\n\u{9b}31m"),
            r"\x1b[2Jgone\r\n\x9b31m"
        );
        assert_eq!(line("exe\u{202e}txt"), r"exe\u{202e}txt");
        assert_eq!(line("Küche\t°C"), "Küche    °C");
    }

    /// Each character with the property Bidi_Control, and those that show nothing at all.
    #[test]
    fn no_line_reads_as_what_it_is_not() {
        let controls = ['\u{61c}', '\u{200e}', '\u{200f}']
            .into_iter()
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain(['\u{ad}', '\u{180e}', '\u{200b}', '\u{2060}', '\u{feff}']);
        for character in controls {
            let hostile = format!("a{character}b");
            let expected = format!("a\\u{{{:x}}}b", u32::from(character));
            assert_eq!(line(&hostile), expected);
            assert_eq!(text(&hostile, 1), expected);
            assert_eq!(page(&hostile), expected);
        }
    }

    #[test]
    fn the_last_lines_count() {
        assert_eq!(text("1\n2\n3\n", 2), "… 1 lines before\n2\n3");
        assert_eq!(text("1\n2\n", 2), "1\n2");
    }

    #[test]
    fn a_long_line_is_cut() {
        let shown = line(&"x".repeat(10_000_000));
        assert!(
            shown.ends_with("x… and 9999600 characters"),
            "{}",
            shown.len()
        );
    }

    #[test]
    fn a_page_keeps_its_lines() {
        assert_eq!(page("a\n\u{7}b\n"), "a\n\\x07b\n");
    }
}
