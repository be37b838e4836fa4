//! Version numbers as far as they can be put in order: the numbers at their front. The order of
//! a distribution's whole versions is left to dpkg.

use std::fmt;

/// The first numbers of a version, `2.0.11-1.2+deb12u2` → 2.0.11. Missing ones count as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Takes the first version that a text holds: the first word with a digit in front, an `v`
    /// or an epoch (`1:`) before it aside. Nothing when there is none.
    #[must_use]
    pub fn first_in(text: &str) -> Option<Version> {
        text.split_whitespace().find_map(Version::of_word)
    }

    fn of_word(word: &str) -> Option<Version> {
        let word = word.trim_start_matches(['v', '(']);
        let word = word.split_once(':').map_or(word, |(_, after)| after);
        let mut numbers = word.split(|c: char| !c.is_ascii_digit() && c != '.');
        let mut numbers = numbers.next()?.split('.').map(str::parse::<u32>);
        let first = numbers.next()?.ok()?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Version(first, next(), next()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version(major, minor, 0) => write!(f, "{major}.{minor}"),
            Version(major, minor, patch) => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, version) in [
            ("glibc 2.36", Some(Version(2, 36, 0))),
            (
                "ldd (Debian GLIBC 2.31-13+rpt2+rpi1+deb11u2) 2.31",
                Some(Version(2, 31, 0)),
            ),
            ("systemd 252 (252.38-1~deb12u1)", Some(Version(252, 0, 0))),
            ("nftables v1.0.6 (Lester Gooch #5)", Some(Version(1, 0, 6))),
            ("2.0.11-1.2+deb12u2", Some(Version(2, 0, 11))),
            ("1:1.4.10-3", Some(Version(1, 4, 10))),
            ("(none)", None),
            ("", None),
            ("99999999999999.1", None),
        ] {
            assert_eq!(Version::first_in(text), version, "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(Version(2, 0, 9) < Version(2, 0, 11));
        assert_eq!(Version(2, 36, 0).to_string(), "2.36");
        assert_eq!(Version(2, 0, 11).to_string(), "2.0.11");
    }
}
