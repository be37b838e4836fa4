//! A password read from a file. It never appears in arguments, logs or error messages.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Far above any password; keeps a wrong path from filling the memory.
const LONGEST: u64 = 4096;

/// A password; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is wrong with a password file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Lower case, without a full stop.
    pub problem: String,
    /// What the person can do.
    pub remedy: String,
}

impl Secret {
    /// A secret from text that is already in memory.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a password: the whole file, without line ends at its end.
    ///
    /// # Errors
    /// When the file cannot be read, is open to everybody, is empty, or is no one-line text.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let broken = |problem: String, remedy: &str| Unreadable {
            problem,
            remedy: remedy.to_owned(),
        };
        let readable = "name a file that the collector's user can read";
        let file = File::open(path)
            .map_err(|error| broken(format!("cannot open it: {error}"), readable))?;
        let mode = file
            .metadata()
            .map_err(|error| broken(format!("cannot look at it: {error}"), readable))?
            .permissions()
            .mode();
        if mode & 0o007 != 0 {
            return Err(broken(
                format!("everybody may open it (mode {:04o})", mode & 0o7777),
                &format!("chmod 600 {}", path.display()),
            ));
        }
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| broken(format!("cannot read it: {error}"), readable))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(broken(
                "it does not hold one line with a password".to_owned(),
                "write the password on its first line and nothing else",
            ));
        }
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], mode: u32, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = Secret::read(&path).map_err(|error| error.problem);
        match expected {
            Ok(password) => assert_eq!(read, Ok(Secret::new(password))),
            Err(part) => {
                let problem = read.unwrap_err();
                assert!(problem.contains(part), "{problem}");
            }
        }
    }

    #[test]
    fn only_private_one_line_files_are_passwords() {
        check(b"abcd-efgh\n", 0o600, Ok("abcd-efgh"));
        check(b"abcd-efgh", 0o640, Ok("abcd-efgh"));
        check(b"abcd-efgh\n", 0o644, Err("mode 0644"));
        check(b"\n", 0o600, Err("one line"));
        check(b"one\ntwo\n", 0o600, Err("one line"));
        check(b"\xff\xfe", 0o600, Err("cannot read"));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("abcd")), "***");
    }
}
