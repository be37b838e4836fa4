//! Starting other programs: what changes something is shown before it is started, what fails is
//! named. What is started, and why, is left to the callers.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that are worth showing.
const TAIL: usize = 40;

/// A program to start, in a clean environment.
///
/// `cargo run` describes this package to it in variables; another cargo, or one inside a
/// container, would take them for its own (`CARGO` names a cargo that is not there).
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    for (key, _) in std::env::vars_os() {
        let of_this_package = key.to_str().is_some_and(|key| {
            key == "CARGO"
                || key == "CARGO_PRIMARY_PACKAGE"
                || key.starts_with("CARGO_MANIFEST_")
                || key.starts_with("CARGO_PKG_")
        });
        if of_this_package {
            command.env_remove(key);
        }
    }
    command
}

/// What a program said to a question.
pub(crate) enum Answer {
    /// It ended well; its standard output, trimmed.
    Said(String),
    /// It ended with an error; what it said on standard error, trimmed.
    Refused(String),
    /// There is no such program, or it may not be started.
    Absent(io::Error),
}

impl Answer {
    /// The answer, if there is one.
    pub(crate) fn said(self) -> Option<String> {
        match self {
            Answer::Said(text) => Some(text),
            Answer::Refused(_) | Answer::Absent(_) => None,
        }
    }
}

/// The ways of running a [`Command`] that this crate knows.
pub(crate) trait Run {
    /// The command as one would type it.
    fn shown(&self) -> String;
    /// Shows the command and runs it on the terminal.
    fn status(&mut self) -> Result<ExitStatus>;
    /// As [`Run::status`]; any end but success is an error.
    fn run(&mut self) -> Result<()>;
    /// Shows the command and runs it in silence; what it said is part of the error if it fails.
    fn quietly(&mut self) -> Result<()> {
        self.captured().map(drop)
    }
    /// As [`Run::quietly`], and returns what it said on standard output, trimmed.
    fn captured(&mut self) -> Result<String>;
    /// Runs a command that changes nothing, in silence.
    fn ask(&mut self) -> Answer;
}

impl Run for Command {
    fn shown(&self) -> String {
        let words = std::iter::once(self.get_program()).chain(self.get_args());
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn status(&mut self) -> Result<ExitStatus> {
        echo(self);
        Command::status(self).with_context(|| format!("starting `{}`", self.shown()))
    }

    fn run(&mut self) -> Result<()> {
        let status = Run::status(self)?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.shown());
        }
        Ok(())
    }

    fn captured(&mut self) -> Result<String> {
        echo(self);
        let ended = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting `{}`", self.shown()))?;
        if !ended.status.success() {
            let said = [ended.stdout, ended.stderr].concat();
            bail!(
                "`{}` ended with {}\n{}",
                self.shown(),
                ended.status,
                tail(&said)
            );
        }
        Ok(text(&ended.stdout))
    }

    fn ask(&mut self) -> Answer {
        match self.stdin(Stdio::null()).output() {
            Ok(ended) if ended.status.success() => Answer::Said(text(&ended.stdout)),
            Ok(ended) => Answer::Refused(text(&ended.stderr)),
            Err(err) => Answer::Absent(err),
        }
    }
}

/// Does one step of a command, and says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = work();
    let verdict = if done.is_ok() { "" } else { ": failed" };
    eprintln!("[{:6.1} s] {name}{verdict}", start.elapsed().as_secs_f64());
    done
}

/// Whether the person may change the system's packages.
pub(crate) fn is_root() -> bool {
    program("id").arg("-u").ask().said().as_deref() == Some("0")
}

fn echo(command: &Command) {
    let shown = command.shown();
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        eprintln!("\u{1b}[2m$ {shown}\u{1b}[0m");
    } else {
        eprintln!("$ {shown}");
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn tail(bytes: &[u8]) -> String {
    let text = text(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], shown: &str) {
        let [name, args @ ..] = words else {
            panic!("no program named")
        };
        assert_eq!(Command::new(name).args(args).shown(), shown);
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        check(
            &["docker", "build", "--file", "a/b.c", "."],
            "docker build --file a/b.c .",
        );
        check(&["sh", "-c", "echo it's"], r"sh -c 'echo it'\''s'");
        check(&["docker", ""], "docker ''");
        check(
            &["docker", "--format", "{{.Id}}"],
            "docker --format '{{.Id}}'",
        );
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let err = Command::new("sh")
            .args(["-c", "echo out; echo err >&2; exit 3"])
            .quietly()
            .unwrap_err()
            .to_string();
        for part in ["sh -c", "exit status: 3", "out", "err"] {
            assert!(err.contains(part), "{part:?} is not in {err:?}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let long: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let kept = tail(long.as_bytes());
        assert_eq!(kept.lines().count(), TAIL);
        assert!(kept.starts_with("line 60\n") && kept.ends_with("line 99"));
    }

    #[test]
    fn answers_tell_absent_from_refused() {
        let ask = |name: &str| Command::new(name).ask();
        assert!(matches!(ask("true"), Answer::Said(_)));
        assert!(matches!(ask("false"), Answer::Refused(_)));
        assert!(matches!(ask("no-such-program-anywhere"), Answer::Absent(_)));
    }
}
