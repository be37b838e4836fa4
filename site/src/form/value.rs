//! What a single value must be like, whatever stands beside it: words, texts, choices.
//! Addresses and hosts are in [`host`], what belongs to a meter in `value::meter`.
//!
//! Each function takes a text as written, and answers with the value or with what is wrong.

pub mod host;
pub(crate) mod meter;
#[cfg(test)]
mod tests;

use super::Fault;

/// Longest text for people, in characters. It becomes a tag on every point.
const LONGEST_TEXT: usize = 128;
/// Longest name of a site, a bastion, a reader or a database.
const LONGEST_WORD: usize = 32;

/// A name: it becomes a word on the command line, a tag, an account, a part of a path.
pub(crate) fn word(text: &str) -> Result<String, Fault> {
    let remedy = format!(
        "write 1 to {LONGEST_WORD} letters (a to z), digits, - or _, beginning with a letter or digit"
    );
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() {
        return Err(Fault::new("is empty", remedy));
    }
    if text.len() > LONGEST_WORD {
        return Err(Fault::new("is too long", remedy));
    }
    if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        return Err(Fault::new(format!("holds {}", named(odd)), remedy));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Fault::new("begins with neither letter nor digit", remedy));
    }
    Ok(text.to_owned())
}

/// A text for people. Line protocol has no escape for a newline and a doubtful one for a
/// backslash, and a space at either end is seen by nobody.
///
/// # Errors
/// What is wrong with it.
pub fn label(text: &str) -> Result<String, Fault> {
    let fault = |problem: &str, remedy: &str| Err(Fault::new(problem, remedy));
    if text.trim().is_empty() {
        return fault("is empty", "write a name that people know it by");
    }
    if text.trim() != text {
        return fault("begins or ends with a space", "take the space away");
    }
    if let Some(odd) = text.chars().find(|c| c.is_control() || *c == '\\') {
        let problem = format!("holds {}, which the database cannot keep", named(odd));
        return fault(&problem, "leave it out");
    }
    if text.chars().count() > LONGEST_TEXT {
        let remedy = format!("write at most {LONGEST_TEXT} characters");
        return fault("is too long", &remedy);
    }
    Ok(text.to_owned())
}

/// A unit of systemd that a bastion can do without.
pub(crate) fn unit(text: &str) -> Result<String, Fault> {
    const KINDS: [&str; 4] = [".service", ".socket", ".timer", ".path"];
    /// Without these nobody gets in, nothing is filtered, or no reading arrives.
    const NEEDED: [&str; 9] = [
        "ssh",
        "sshd",
        "mosquitto",
        "nftables",
        "networking",
        "dhcpcd",
        "NetworkManager",
        "systemd-networkd",
        "dbus",
    ];
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:@\\".contains(c);
    let example = "write a unit's full name, such as avahi-daemon.service";
    let Some(name) = KINDS.iter().find_map(|kind| text.strip_suffix(kind)) else {
        return Err(Fault::new(
            "is no service, socket, timer or path of systemd",
            example,
        ));
    };
    if name.is_empty() || text.len() > 255 || !text.chars().all(fits) {
        return Err(Fault::new("is no name of a unit", example));
    }
    if NEEDED.contains(&name) || name.starts_with("shelly-bastion") {
        return Err(Fault::new("is needed on a bastion", "leave it out"));
    }
    Ok(text.to_owned())
}

/// One of a few words, each with what it becomes and what it means.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T, &str)]) -> Result<T, Fault> {
    if let Some((_, value, _)) = choices.iter().find(|(word, ..)| *word == text) {
        return Ok(*value);
    }
    let told = |(word, _, meaning): &(&str, T, &str)| format!("\"{word}\" ({meaning})");
    let words: Vec<String> = choices.iter().map(told).collect();
    let remedy = format!("write {}", words.join(" or "));
    Err(Fault::new("is no choice here", remedy))
}

/// A character as a person can find it.
pub(crate) fn named(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        '\t' => "a tab".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        c if c.is_control() => format!("the control character {}", c.escape_unicode()),
        c => format!("the character {c}"),
    }
}
