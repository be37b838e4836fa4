//! What another machine answered, made safe to show: nothing that a terminal would obey, nothing
//! that makes a line read as what it is not, and no line without an end.

use std::fmt::Write as _;

/// The longest line that is shown, in characters.
const LONGEST_LINE: usize = 240;

/// One line. Line breaks and control characters are shown as escapes.
pub(super) fn line(hostile: &str) -> String {
    let mut shown = String::new();
    let mut characters = hostile.chars();
    for character in characters.by_ref().take(LONGEST_LINE) {
        match character {
            '\t' => shown.push_str("    "),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{61c}'
            | '\u{feff}' => shown.extend(character.escape_unicode()),
            _ if character.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\x{:02x}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
