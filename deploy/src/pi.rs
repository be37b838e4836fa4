//! What the deployer asks of the program on a bastion, and the checked form of its answers.
//!
//! Everything that comes back is hostile: bounded before it is parsed, and of the version that
//! this program knows. What to make of an answer is left to others.

use std::time::Duration;

use serde::de::DeserializeOwned;
use site::answer::{self, Entry, Outcome, Planned, Report, Status};
use site::manifest::PROGRAM_PATH;

use crate::shown;
use crate::ssh::{Limits, Said, Session, Ssh, SshError, script};

/// A plan carries the old content of many files, of at most 256 KiB each.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
const ASK: Limits = Limits {
    bytes: LONGEST_ANSWER,
    patience: Duration::from_secs(120),
};
/// Fetching packages over a slow line takes its time.
const PACKAGES: Limits = Limits {
    bytes: LONGEST_ANSWER,
    patience: Duration::from_secs(30 * 60),
};

/// Unpacks a tar stream. Arguments: folder, release, installed program, `copy` or `sent`, path of
/// the program below the staging folder.
const UNPACK: &str = r#"
umask 077
incoming=$1/incoming staging=$1/incoming/$2
mkdir -p "$incoming" || exit 1
find "$incoming" -mindepth 1 -maxdepth 1 ! -name .exec -mmin +60 -exec rm -rf {} +
# Many systems let no program run from /run; the release's own must.
case $(findmnt -n -o OPTIONS -T "$incoming") in *noexec*)
  mount -t tmpfs -o mode=0700,nosuid,nodev,size=256m shelly-bastion "$incoming" || exit 1
  : >"$incoming/.exec" ;;
esac
mkdir "$staging" && tar -x -f - -C "$staging" || exit 1
if [ "$4" = copy ]; then
  mkdir -p "${5%/*}" && cp "$3" "$5" && chmod 0700 "$5" || exit 1
fi
"#;

/// Unpacks a tar stream below a folder. Argument: the folder.
const ADD: &str = r#"umask 077; mkdir -p "$1" && exec tar -x -f - -C "$1""#;

/// Runs a command as root, whoever logged in.
const AS_ROOT: &str = r#"if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n "$@"; fi"#;

/// What a connection says that has come up, before anything is done.
const GREETING: &[u8] = b"ready\n";

/// Runs a command as root when the third word of it comes back after the greeting. ssh outlives a
/// deployer that is killed while a connection comes up, and must not confirm for it.
const WHEN_TOLD: &str = r#"echo ready
IFS= read -r word && [ "$word" = "$3" ] || { echo "the deployer is gone" >&2; exit 1; }
"#;

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PiError {
    /// It did not come.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The command failed over there.
    #[error("`{command}` there ended with {said}")]
    Failed {
        /// Which one.
        command: &'static str,
        /// What it said, safe to show.
        said: String,
    },
    /// What came is no answer that this program knows.
    #[error("the answer to `{command}` is not understood: {problem}")]
    Answer {
        /// Which command.
        command: &'static str,
        /// What is wrong with it, safe to show.
        problem: String,
    },
}

/// Where things lie over there.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder in memory: lock and staging.
    pub folder: String,
    /// The installed program.
    pub program: String,
}

impl Places {
    /// Below `root`, which is empty on a real machine.
    #[must_use]
    pub fn below(root: &str) -> Places {
        Places {
            folder: format!("{root}/run/shelly-bastion"),
            program: format!("{root}{PROGRAM_PATH}"),
        }
    }

    fn staging(&self, release: &str) -> String {
        format!("{}/incoming/{release}", self.folder)
    }

    fn staged_program(&self, release: &str) -> String {
        format!("{}/files{PROGRAM_PATH}", self.staging(release))
    }
}

/// A release in its staging folder, within a session.
pub struct Staged<'a> {
    session: &'a Session,
    folder: String,
    program: String,
    release: &'a str,
}

impl<'a> Staged<'a> {
    /// Carries a release over. Without the program in the stream, the installed one is copied.
    ///
    /// # Errors
    /// When it cannot be unpacked there.
    pub async fn carry(
        session: &'a Session,
        places: &Places,
        release: &'a str,
        tar: &[u8],
        with_program: bool,
    ) -> Result<Staged<'a>, PiError> {
        let program = places.staged_program(release);
        let from = if with_program { "sent" } else { "copy" };
        let arguments = [&places.folder, release, &places.program, from, &program];
        let said = session.root(UNPACK, &arguments, tar, PACKAGES).await?;
        well("tar", said)?;
        Ok(Staged {
            session,
            folder: places.staging(release),
            program,
            release,
        })
    }

    /// Adds files below a folder of the release.
    ///
    /// # Errors
    /// When they cannot be unpacked there.
    pub async fn add(&self, folder: &str, tar: &[u8]) -> Result<(), PiError> {
        let folder = format!("{}/{folder}", self.folder);
        let said = self.session.root(ADD, &[&folder], tar, PACKAGES).await?;
        well("tar", said).map(drop)
    }

    /// What applying it would change; when that is nothing, and `verify` is asked for, also what
    /// holds of what is in place.
    ///
    /// # Errors
    /// When no plan came back.
    pub async fn plan(&self, verify: bool) -> Result<Planned, PiError> {
        let text = r#"p=$1; shift; exec "$p" plan --json "$@""#;
        let mut arguments = vec![self.program.as_str()];
        arguments.extend(verify.then_some("--verify"));
        arguments.push(&self.folder);
        let said = self.session.root(text, &arguments, b"", ASK).await?;
        let planned: Planned = parse("plan", &said)?;
        known("plan", planned.plan.format)?;
        Ok(planned)
    }

    /// Installs the packages that are missing.
    ///
    /// # Errors
    /// When apt failed.
    pub async fn packages(&self) -> Result<(), PiError> {
        let text = r#"exec "$1" packages "$2" </dev/null"#;
        let arguments = [self.program.as_str(), &self.folder];
        let said = self.session.root(text, &arguments, b"", PACKAGES).await?;
        well("packages", said).map(drop)
    }

    /// Puts it in place, with the way back armed for `within` seconds.
    ///
    /// # Errors
    /// When no answer came back; what happened there is unknown then.
    pub async fn apply(&self, within: u64, by: &str) -> Result<Outcome, PiError> {
        let text = r#"exec "$1" apply "$2" --release "$3" --confirm-within "$4" --by "$5" --json"#;
        let within = within.to_string();
        let arguments = [&self.program, &self.folder, self.release, &within, by];
        let said = self.session.root(text, &arguments, b"", ASK).await?;
        outcome("apply", &said)
    }
}

/// Puts an earlier release in place again, with the way back armed.
///
/// # Errors
/// When no answer came back; what happened there is unknown then.
pub async fn rollback(
    session: &Session,
    places: &Places,
    release: Option<&str>,
    within: u64,
    by: &str,
) -> Result<Outcome, PiError> {
    let text = r#"p=$1 w=$2 b=$3; shift 3; exec "$p" rollback "$@" --confirm-within "$w" --by "$b" --json"#;
    let within = within.to_string();
    let mut arguments = vec![places.program.as_str(), &within, by];
    arguments.extend(release);
    let said = session.root(text, &arguments, b"", ASK).await?;
    outcome("rollback", &said)
}

/// The installed program over a connection of its own.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// How to get there.
    pub ssh: &'a Ssh,
    /// Where things lie there.
    pub places: &'a Places,
}

impl Fresh<'_> {
    /// Says that a release stays, and so proves that one can still come in, and be heard.
    ///
    /// # Errors
    /// When there is no connection, or no answer.
    pub async fn confirm(&self, release: &str, patience: Duration) -> Result<Outcome, PiError> {
        let arguments = [&self.places.program, "confirm", release, "--json"];
        let text = format!("{WHEN_TOLD}{AS_ROOT}");
        let limits = Limits { patience, ..ASK };
        let told = format!("{release}\n");
        let said = self
            .ssh
            .run_greeted(
                &script(&text, &arguments),
                GREETING,
                told.as_bytes(),
                limits,
            )
            .await?;
        outcome("confirm", &said)
    }

    /// How it is.
    ///
    /// # Errors
    /// When there is no connection, or no answer.
    pub async fn status(&self, patience: Duration) -> Result<Status, PiError> {
        let said = self.ask(&["status", "--json"], patience).await?;
        let status: Status = parse("status", &said)?;
        known("status", status.format)?;
        Ok(status)
    }

    /// What happened there, oldest first.
    ///
    /// # Errors
    /// When there is no connection, or no answer.
    pub async fn history(&self) -> Result<Vec<Entry>, PiError> {
        parse(
            "history",
            &self.ask(&["history", "--json"], ASK.patience).await?,
        )
    }

    /// What `verify` finds.
    ///
    /// # Errors
    /// When there is no connection, or no answer.
    pub async fn verify(&self) -> Result<Report, PiError> {
        parse(
            "verify",
            &self.ask(&["verify", "--json"], ASK.patience).await?,
        )
    }

    async fn ask(&self, words: &[&str], patience: Duration) -> Result<Said, SshError> {
        let mut arguments = vec![self.places.program.as_str()];
        arguments.extend(words);
        let limits = Limits { patience, ..ASK };
        self.ssh
            .run_alone(&script(AS_ROOT, &arguments), b"", limits)
            .await
    }
}

/// What `verify` finds, asked of the installed program within a session, or over a connection of
/// its own when that one was lost.
///
/// # Errors
/// When no answer came back.
pub async fn verify(session: &Session, fresh: Fresh<'_>) -> Result<Report, PiError> {
    let text = r#"exec "$1" verify --json"#;
    match session.root(text, &[&fresh.places.program], b"", ASK).await {
        Ok(said) => parse("verify", &said),
        Err(SshError::Connection { .. }) => fresh.verify().await,
        Err(error) => Err(error.into()),
    }
}

fn outcome(command: &'static str, said: &Said) -> Result<Outcome, PiError> {
    let outcome: Outcome = parse(command, said)?;
    known(command, outcome.format)?;
    Ok(outcome)
}

/// The exit code says whether something is wrong, and so does the answer, more exactly.
fn parse<T: DeserializeOwned>(command: &'static str, said: &Said) -> Result<T, PiError> {
    serde_json::from_slice(&said.out).map_err(|error| {
        if said.well() {
            PiError::Answer {
                command,
                problem: shown::line(&error.to_string()),
            }
        } else {
            PiError::Failed {
                command,
                said: said.shown(),
            }
        }
    })
}

fn known(command: &'static str, format: u32) -> Result<(), PiError> {
    if format == answer::FORMAT {
        return Ok(());
    }
    Err(PiError::Answer {
        command,
        problem: format!(
            "it has format {format}, this program knows {}; deploy with the project's newer version",
            answer::FORMAT
        ),
    })
}

fn well(command: &'static str, said: Said) -> Result<Said, PiError> {
    if said.well() {
        return Ok(said);
    }
    Err(PiError::Failed {
        command,
        said: said.shown(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runs when this comes back after the greeting.
    #[track_caller]
    fn check(told: &str, expected: (Option<i32>, &str)) {
        let text = format!("{WHEN_TOLD}exec \"$@\"");
        let input = std::process::Stdio::from(std::fs::File::open(told_file(told).path()).unwrap());
        let output = std::process::Command::new("sh")
            .args(["-c", &text, "deploy", "echo", "confirm", "a-release"])
            .stdin(input)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let greeting = std::str::from_utf8(GREETING).unwrap();
        let said = said.strip_prefix(greeting).expect("a greeting");
        assert_eq!((output.status.code(), said), expected, "{told:?}");
    }

    fn told_file(told: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), told).unwrap();
        file
    }

    #[test]
    fn nothing_is_confirmed_for_a_deployer_that_is_gone() {
        check("a-release\n", (Some(0), "confirm a-release\n"));
        // ssh lives on, and its input ends.
        check("", (Some(1), ""));
        check("a-release", (Some(1), ""));
        check("another\n", (Some(1), ""));
    }
}
