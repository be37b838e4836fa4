//! The way to a bastion: OpenSSH's own program with the person's configuration, known hosts,
//! jump hosts and agent, and with nothing of it lent to the other side.
//!
//! The crate `openssh` does not fit: it takes no options of ssh, so agent forwarding could not be
//! forced off, and it detaches its master, which then outlives a killed deployer and keeps what
//! that held on the bastion. Here the master is a child whose own remote command holds the lock
//! (`session`), and what changes something over a connection of its own waits for a word of the
//! deployer's first, so nothing is done for one that has died.
//! What is run over there is left to others; what came back is bounded here.

mod bounded;
mod host_key;
mod session;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

pub use bounded::{Limits, Said};
pub use host_key::{HostKey, HostKeyError};
pub use session::{Lock, Session, SessionError};

use crate::shown;

/// How long a connection may take from start to greeting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// Forced, whatever the person's configuration says: on the command line the first word wins.
const FORCED: &[&str] = &[
    // Nobody types while a way back is armed.
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ForwardX11Trusted=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "VisualHostKey=no",
    "ControlPersist=no",
    "ConnectTimeout=15",
    "ConnectionAttempts=1",
    // A cut link is noticed after a quarter of a minute.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
];

/// Why something could not be run over there.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// There is no `ssh`, or it cannot be started.
    #[error("starting {program}: {source}; install the package openssh-client")]
    Start {
        /// Which program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reading from or writing to ssh failed.
    #[error("talking to ssh: {0}")]
    Pipe(#[from] std::io::Error),
    /// More came than any honest answer has.
    #[error("{destination} sent more than {limit} bytes; the rest was not read")]
    TooMuch {
        /// Who.
        destination: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// Nothing came for too long.
    #[error("{destination} did not answer within {} s", patience.as_secs())]
    Silent {
        /// Who.
        destination: String,
        /// How long was waited.
        patience: Duration,
    },
    /// No connection, or it was lost.
    #[error("{destination}: {reason}{remedy}")]
    Connection {
        /// Who.
        destination: String,
        /// What ssh said, safe to show.
        reason: String,
        /// `; ` and what helps, or nothing.
        remedy: &'static str,
    },
    /// The host key is not the known one, or none is known.
    #[error("{destination}: {}", if *.changed { "its host key is not the one that is known" } else { "its host key is not known" })]
    HostKey {
        /// Who.
        destination: String,
        /// Whether another key is known.
        changed: bool,
        /// What ssh said, safe to show.
        said: String,
    },
}

/// How to reach one bastion.
#[derive(Debug, Clone)]
pub struct Ssh {
    destination: String,
    config: Option<PathBuf>,
}

impl Ssh {
    /// `destination` as ssh takes it; `config` replaces the person's own configuration.
    ///
    /// # Errors
    /// When ssh would take the destination for an option.
    pub fn new(destination: &str, config: Option<PathBuf>) -> Result<Ssh, SshError> {
        if destination.starts_with('-') || destination.is_empty() {
            return Err(SshError::Connection {
                destination: destination.to_owned(),
                reason: "this is no destination for ssh".to_owned(),
                remedy: "; write `user@host` at `ssh` in the site file",
            });
        }
        Ok(Ssh {
            destination: destination.to_owned(),
            config,
        })
    }

    /// As ssh takes it.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// The configuration in place of the person's own.
    #[must_use]
    pub fn config(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    /// Runs one command over a connection of its own, which shares nothing with any other.
    ///
    /// # Errors
    /// When there is no connection, or more came back than `limits` allow.
    pub async fn run_alone(
        &self,
        remote: &str,
        input: &[u8],
        limits: Limits,
    ) -> Result<Said, SshError> {
        self.run_greeted(remote, b"", input, limits).await
    }

    /// As [`Ssh::run_alone`], but the input is given only when the command has said `greeting`,
    /// which is taken away from the answer. A command that waits for its input does not outlive
    /// this program: ssh may, for as long as a connection takes.
    ///
    /// # Errors
    /// When there is no connection, or more came back than `limits` allow.
    pub async fn run_greeted(
        &self,
        remote: &str,
        greeting: &[u8],
        input: &[u8],
        limits: Limits,
    ) -> Result<Said, SshError> {
        let mut command = self.command(&["ControlMaster=no", "ControlPath=none"]);
        command.arg("--").arg(&self.destination).arg(remote);
        let said =
            bounded::run_greeted(command, &self.destination, greeting, input, limits).await?;
        self.connected(said)
    }

    /// ssh with what is forced, then `options`.
    fn command(&self, options: &[&str]) -> Command {
        let mut command = program("ssh");
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        command.args(["-T", "-a", "-x"]);
        // What is special to one command may undo what is forced on all, so it comes first.
        for option in options.iter().chain(FORCED) {
            command.args(["-o", option]);
        }
        command
    }

    /// ssh ends with 255 when it is ssh itself that failed.
    fn connected(&self, said: Said) -> Result<Said, SshError> {
        if said.code == Some(255) {
            return Err(self.judge(&said.err));
        }
        Ok(said)
    }

    /// What ssh's words mean, and what helps.
    fn judge(&self, said: &str) -> SshError {
        let destination = self.destination.clone();
        // With a jump host the words may be that host's.
        let by_proxy = said.contains("UNKNOWN port 65535");
        if !by_proxy && said.contains("Host key verification failed") {
            return SshError::HostKey {
                destination,
                changed: said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"),
                said: shown::text(said, 30),
            };
        }
        let remedies = [
            (
                by_proxy,
                "; the jump host or proxy did not lead there: log in there by hand once, which shows why",
            ),
            (
                said.contains("Permission denied"),
                "; nobody types passwords here: bring a key there with `ssh-copy-id`, and load it with `ssh-add` if it has a passphrase",
            ),
            (
                said.contains("Could not resolve hostname"),
                "; name an address or a known host at `ssh` in the site file",
            ),
            (
                said.contains("Connection refused"),
                "; is SSH switched on there?",
            ),
            (
                said.contains("timed out") || said.contains("No route to host"),
                "; is it on, and is this machine one of the site's admins? The policy lets nobody else in",
            ),
        ];
        let remedy = remedies.iter().find(|(fits, _)| *fits);
        let reason = shown::text(said, 5);
        SshError::Connection {
            destination,
            reason: if reason.is_empty() {
                "the connection was lost".to_owned()
            } else {
                reason
            },
            remedy: remedy.map_or("", |(_, remedy)| remedy),
        }
    }
}

/// A word for the shell over there, whatever shell it is.
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A script for `sh` with its arguments, as one remote command.
#[must_use]
pub fn script(text: &str, arguments: &[&str]) -> String {
    let mut command = format!("sh -c {} deploy", quoted(text));
    for argument in arguments {
        command.push(' ');
        command.push_str(&quoted(argument));
    }
    command
}

/// A program of OpenSSH that ends with this one, and that Ctrl-C on the terminal does not reach:
/// what then happens is decided here.
fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // Servers often take LANG and LC_*, and warn of languages that they do not have.
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| key.starts_with("LC_")) {
            command.env_remove(key);
        }
    }
    command
        .env_remove("LANGUAGE")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(
            script("echo \"$1\"", &["a b"]),
            r#"sh -c 'echo "$1"' deploy 'a b'"#
        );
    }

    #[test]
    fn an_option_is_no_destination() {
        assert!(Ssh::new("-oProxyCommand=evil", None).is_err());
        assert!(Ssh::new("pi@192.168.2.2", None).is_ok());
    }

    #[track_caller]
    fn check(said: &str, parts: &[&str]) {
        let ssh = Ssh::new("pi@box", None).unwrap();
        let message = ssh.judge(said).to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    #[test]
    fn what_ssh_says_gets_a_remedy() {
        check(
            "pi@box: Permission denied (publickey).",
            &["Permission denied", "ssh-copy-id"],
        );
        check("Host key verification failed.", &["not known"]);
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            &["not the one"],
        );
        check(
            "Host key verification failed.\nConnection closed by UNKNOWN port 65535",
            &["jump host"],
        );
        check("", &["lost"]);
        check("\u{1b}[31mred", &["\\x1b[31mred"]);
    }
}
