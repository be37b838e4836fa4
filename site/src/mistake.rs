//! What is wrong in a file that a person wrote: where, what, and what to do about it.
//! Used for the site file and the collector's settings; finding mistakes is left to those who read.

use std::fmt;

/// One mistake, in the order in which a person looks for it: file, line, key, value, remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the person named it.
    pub file: String,
    /// The line, counted from 1; absent when something is missing from the whole file.
    pub line: Option<usize>,
    /// The key with its table, such as `meter[3].id`.
    pub key: String,
    /// The value as written, when there is one. Never a secret.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What the person can do.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// All mistakes of one file at once, in the order of their lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
