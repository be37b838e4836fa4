//! One connection for many commands, and the lock that lives as long as it.
//!
//! The master's own remote command takes the lock on the bastion, holds it as long as it hears the
//! deployer, and takes the staging folder away at its end. So a deployer that is killed, or cut
//! off, leaves neither. A beat goes over every few seconds, since a bastion does not notice by
//! itself for hours that a link was cut.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;

use super::bounded::{self, Limits, Said};
use super::{CONNECT_PATIENCE, Ssh, SshError, script};
use crate::shown;

/// Every line that counts begins so; what a login shell prints beside does not.
const MARK: &str = "shelly-bastion: ";
/// A greeting is short.
const LONGEST_GREETING: u64 = 16 * 1024;
/// Between two beats. The lock falls when none came for 45 s.
const BEAT: Duration = Duration::from_secs(10);

/// Decides who runs the rest: root itself, or sudo without a password.
const ENTRY: &str = r#"
say() { printf 'shelly-bastion: %s\n' "$*"; }
if [ "$(id -u)" = 0 ]; then say as root; exec sh -c "$1" lock "$2" "$3" "$4" "$5"; fi
if ! command -v sudo >/dev/null 2>&1; then say powerless sudo is not installed
elif ! sudo -n true 2>/dev/null; then say powerless sudo asks for a password
else say as sudo; exec sudo -n sh -c "$1" lock "$2" "$3" "$4" "$5"; fi
exec cat >/dev/null
"#;

/// Takes the lock, says what the deployer must know, and holds until the beats stop.
/// Arguments: who, folder, release, path of the installed program.
const LOCK: &str = r#"
umask 077
say() { printf 'shelly-bastion: %s\n' "$*"; }
folder=$2 lock=$2/deploy.lock incoming=$2/incoming staging=$2/incoming/$3
while :; do
  mkdir -p "$folder" && exec 9>>"$lock" || exit 1
  if ! flock -n 9; then say "held $(head -c 200 "$lock" | head -n 1)"; exit 1; fi
  # Who held it before may have removed the file that was just locked.
  [ "$lock" -ef /proc/$$/fd/9 ] && break
  exec 9>&-
done
printf '%s, since %s\n' "$1" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" >"$lock"
[ -f "$4" ] && say "program $(sha256sum "$4" | cut -c 1-64)"
say locked
kept=no
while :; do
  case $(timeout 45 head -c 1 9>&-) in
    .) ;;
    a) kept=yes ;;
    d) kept=no ;;
    *) break ;;
  esac
done
cd /
if [ $kept = no ]; then
  rm -rf "$staging"
  # Ours, when programs may not be run in /run itself.
  if [ -e "$incoming/.exec" ] && [ -z "$(ls "$incoming")" ]; then
    umount "$incoming" 2>/dev/null
  fi
  rmdir "$incoming" 2>/dev/null
fi
rm -f "$lock"
rmdir "$folder" 2>/dev/null
exit 0
"#;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Somebody else is at it.
    #[error("another deployment is under way there: {0}; wait for it, its lock falls when it ends")]
    Held(String),
    /// The lock could not be taken for another reason.
    #[error("taking the lock there: {0}")]
    Lock(String),
}

/// What the lock is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Lock<'a> {
    /// Who deploys, for whoever finds the lock taken.
    pub who: &'a str,
    /// The folder in memory, `/run/shelly-bastion`.
    pub folder: &'a str,
    /// The release, whose staging folder ends with the session.
    pub release: &'a str,
    /// Where the program is installed.
    pub program: &'a str,
}

/// An open connection that holds the lock.
pub struct Session {
    ssh: Ssh,
    control: TempDir,
    master: Child,
    beats: mpsc::Sender<u8>,
    /// Why nothing can be run as root there; nothing when it can.
    pub powerless: Option<String>,
    /// Whether sudo is needed.
    sudo: bool,
    /// SHA-256 of the installed program, lower-case hex as it was said.
    pub program: Option<String>,
}

impl Session {
    /// Connects and takes the lock.
    ///
    /// # Errors
    /// When there is no connection, or the lock is taken.
    pub async fn open(ssh: &Ssh, lock: Lock<'_>) -> Result<Session, SessionError> {
        // A socket's path may have a hundred characters, so it lies where paths are short.
        let control = tempfile::Builder::new()
            .prefix("deploy-")
            .tempdir_in("/tmp")
            .map_err(SshError::Pipe)?;
        let socket = format!("ControlPath={}", control.path().join("ssh").display());
        let mut command = ssh.command(&["ControlMaster=yes", &socket]);
        let entry = script(
            ENTRY,
            &[LOCK, lock.who, lock.folder, lock.release, lock.program],
        );
        command.arg("--").arg(&ssh.destination).arg(entry);
        let mut master = command.spawn().map_err(|source| SshError::Start {
            program: "ssh".to_owned(),
            source,
        })?;
        let (beats, orders) = mpsc::channel(8);
        if let Some(stdin) = master.stdin.take() {
            tokio::spawn(beat(stdin, orders));
        }
        let mut session = Session {
            ssh: ssh.clone(),
            control,
            master,
            beats,
            powerless: None,
            sudo: true,
            program: None,
        };
        tokio::time::timeout(CONNECT_PATIENCE, session.greet())
            .await
            .map_err(|_| SshError::Silent {
                destination: ssh.destination.clone(),
                patience: CONNECT_PATIENCE,
            })??;
        Ok(session)
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let Some(stdout) = self.master.stdout.take() else {
            return Ok(());
        };
        let mut lines = BufReader::new(stdout.take(LONGEST_GREETING)).lines();
        while let Some(line) = lines.next_line().await.map_err(SshError::Pipe)? {
            let Some(words) = line.strip_prefix(MARK) else {
                continue;
            };
            match words.split_once(' ').unwrap_or((words, "")) {
                ("as", who) => self.sudo = who != "root",
                ("program", hash) => self.program = Some(hash.to_owned()),
                ("powerless", why) => {
                    self.powerless = Some(shown::line(why));
                    return Ok(());
                }
                ("held", who) => return Err(SessionError::Held(shown::line(who))),
                ("locked", _) => return Ok(()),
                _ => {}
            }
        }
        // It ended without having the lock: ssh's own failure, or the script's.
        let mut err = Vec::new();
        if let Some(stderr) = self.master.stderr.take() {
            let mut stderr = stderr.take(LONGEST_GREETING);
            stderr.read_to_end(&mut err).await.map_err(SshError::Pipe)?;
        }
        let status = self.master.wait().await.map_err(SshError::Pipe)?;
        let err = String::from_utf8_lossy(&err);
        if status.code() == Some(255) {
            return Err(self.ssh.judge(&err).into());
        }
        Err(SessionError::Lock(shown::text(&err, 10)))
    }

    /// Runs a script as root, over this connection and no other.
    ///
    /// # Errors
    /// When the connection is lost, or more came back than `limits` allow.
    pub async fn root(
        &self,
        text: &str,
        arguments: &[&str],
        input: &[u8],
        limits: Limits,
    ) -> Result<Said, SshError> {
        let prefix = if self.sudo { "sudo -n " } else { "" };
        let remote = format!("{prefix}{}", script(text, arguments));
        self.run(&remote, input, limits).await
    }

    /// Runs a command as whoever logged in, over this connection and no other.
    ///
    /// # Errors
    /// As for [`Session::root`].
    pub async fn run(&self, remote: &str, input: &[u8], limits: Limits) -> Result<Said, SshError> {
        let socket = format!("ControlPath={}", self.control.path().join("ssh").display());
        // Without its master ssh would connect anew, and nobody would notice.
        let mut command = self
            .ssh
            .command(&["ControlMaster=no", &socket, "ProxyCommand=false"]);
        command.arg("--").arg(&self.ssh.destination).arg(remote);
        let said = bounded::run(command, &self.ssh.destination, input, limits).await?;
        // The words of the connection that was not to be made tell nothing.
        if said.code == Some(255) && said.err.contains("kex_exchange_identification") {
            return Err(self.ssh.judge(""));
        }
        self.ssh.connected(said)
    }

    /// From now on the staging folder outlives the session: it is in use without us.
    pub async fn keep_staging(&self) {
        // Without a connection there is nobody to tell.
        let _ = self.beats.send(b'a').await;
    }

    /// Ends the session; the lock falls and the staging folder goes, unless it is in use.
    pub async fn close(mut self, in_use: bool) {
        if !in_use {
            let _ = self.beats.send(b'd').await;
        }
        // The end of the beats is the end of the remote command, and so of the connection.
        let (none, _) = mpsc::channel(1);
        self.beats = none;
        let _ = tokio::time::timeout(Duration::from_secs(15), self.master.wait()).await;
    }
}

/// Writes what is ordered, and a beat in between, until nobody orders any more.
async fn beat(mut stdin: ChildStdin, mut orders: mpsc::Receiver<u8>) {
    loop {
        let byte = match tokio::time::timeout(BEAT, orders.recv()).await {
            Ok(Some(order)) => order,
            Ok(None) => return,
            Err(_) => b'.',
        };
        if stdin.write_all(&[byte]).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}
