//! The key by which a bastion shows who it is: an unknown or another one is refused, with both
//! fingerprints and what helps. `--new-host` takes a new one in, after a person has looked.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;

use super::{Limits, Said, Ssh, SshError, bounded, program};
use crate::shown;

const LIMITS: Limits = Limits {
    bytes: 64 * 1024,
    patience: Duration::from_secs(60),
};

/// What is known of a machine's key, and what it shows now.
pub struct HostKey {
    /// The name under which known hosts have it.
    name: String,
    /// The person's own file of known hosts.
    known_hosts: PathBuf,
    /// The lines to add there.
    lines: Vec<u8>,
    /// Fingerprints that are known so far; none when there is no entry.
    pub known: Option<String>,
    /// Fingerprint that it shows now.
    pub shows: String,
}

/// A key that is not the known one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{destination}: its host key is {what}\n  known:    {known}\n  it shows: {shows}\n\
     A machine in its place would see everything that goes there. If it was set up anew, or this is \
     the first time, compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at its own \
     screen, and say `--new-host`"
)]
pub struct HostKeyError {
    /// Who.
    destination: String,
    what: &'static str,
    known: String,
    shows: String,
}

impl HostKey {
    /// Looks at the key that is shown, on the same way as any connection, without logging in.
    ///
    /// # Errors
    /// When nothing answers there.
    pub async fn look(ssh: &Ssh) -> Result<HostKey> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let file = folder.path().join("shown");
        let answered = show_key(ssh, &file).await?;
        let lines = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&lines);
        let Some(name) = text.split_whitespace().next() else {
            return Err(ssh.judge(&answered.err)).context("asking for its host key");
        };
        let (name, _) = name.split_once(',').unwrap_or((name, ""));
        let name = name.to_owned();
        let known_hosts = known_hosts(ssh).await?;
        let shows = fingerprints(["-l".as_ref(), "-f".as_ref(), file.as_os_str()]).await?;
        let known = fingerprints([
            "-l".as_ref(),
            "-F".as_ref(),
            OsStr::new(&name),
            "-f".as_ref(),
            known_hosts.as_os_str(),
        ])
        .await
        .ok()
        .filter(|known| !known.is_empty());
        Ok(HostKey {
            name,
            known_hosts,
            lines,
            known,
            shows,
        })
    }

    /// The refusal that names it all.
    #[must_use]
    pub fn refusal(&self, ssh: &Ssh) -> HostKeyError {
        HostKeyError {
            destination: ssh.destination.clone(),
            what: if self.known.is_some() {
                "not the one that is known"
            } else {
                "not known"
            },
            known: self.known.clone().unwrap_or_else(|| "none".to_owned()),
            shows: self.shows.clone(),
        }
    }

    /// Both fingerprints, for a person to look at.
    #[must_use]
    pub fn question(&self) -> String {
        format!(
            "known:    {}\nit shows: {}\nCompare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at its own screen.",
            self.known.as_deref().unwrap_or("none"),
            self.shows
        )
    }

    /// Puts the key that is shown in the place of the known one, in the person's known hosts.
    ///
    /// # Errors
    /// When that file cannot be changed.
    pub async fn accept(&self) -> Result<PathBuf> {
        let shown = self.known_hosts.display();
        if self.known.is_some() {
            let mut command = program("ssh-keygen");
            command
                .arg("-R")
                .arg(&self.name)
                .arg("-f")
                .arg(&self.known_hosts);
            let said = bounded::run(command, "ssh-keygen", b"", LIMITS).await?;
            if !said.well() {
                bail!("removing the old key from {shown}: {}", said.shown());
            }
        }
        if let Some(folder) = self.known_hosts.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making the folder of {shown}"))?;
        }
        let mut file = tokio::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.known_hosts)
            .await
            .with_context(|| format!("opening {shown}"))?;
        file.write_all(&self.lines)
            .await
            .with_context(|| format!("writing {shown}"))?;
        file.flush()
            .await
            .with_context(|| format!("writing {shown}"))?;
        Ok(self.known_hosts.clone())
    }
}

/// Lets ssh write the key that is shown into an empty file, and not log in.
async fn show_key(ssh: &Ssh, file: &Path) -> Result<Said, SshError> {
    let hosts = format!("UserKnownHostsFile={}", file.display());
    let mut command = ssh.command(&[
        "ControlMaster=no",
        "ControlPath=none",
        "StrictHostKeyChecking=accept-new",
        &hosts,
        "GlobalKnownHostsFile=/dev/null",
        "HashKnownHosts=no",
        // A stranger gets no try of the person's keys.
        "PreferredAuthentications=none",
    ]);
    command.arg("--").arg(&ssh.destination).arg("true");
    bounded::run(command, &ssh.destination, b"", LIMITS).await
}

/// The first file in which ssh looks for this machine, as its configuration says.
async fn known_hosts(ssh: &Ssh) -> Result<PathBuf> {
    let mut command = ssh.command(&[]);
    command.arg("-G").arg("--").arg(&ssh.destination);
    let said = bounded::run(command, "ssh -G", b"", LIMITS).await?;
    let text = said.text();
    let first = text
        .lines()
        .find_map(|line| line.strip_prefix("userknownhostsfile "))
        .and_then(|files| files.split_whitespace().next())
        .with_context(|| format!("asking ssh for its known hosts: {}", said.shown()))?;
    if first == "/dev/null" || first == "none" {
        bail!(
            "ssh's configuration has no file of known hosts for {} (UserKnownHostsFile {}): name one",
            ssh.destination,
            shown::line(first)
        );
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    Ok(first.strip_prefix("~/").map_or_else(
        || PathBuf::from(first),
        |rest| PathBuf::from(home).join(rest),
    ))
}

/// `SHA256:… (ED25519)` of each key that ssh-keygen names.
async fn fingerprints<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<String> {
    let mut command = program("ssh-keygen");
    command.args(arguments);
    let said = bounded::run(command, "ssh-keygen", b"", LIMITS).await?;
    if !said.well() {
        bail!("asking ssh-keygen for a fingerprint: {}", said.shown());
    }
    // `256 SHA256:… name (ED25519)` from a file, `name ED25519 SHA256:…` from an entry.
    let keys: Vec<String> = said
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let print = words.iter().find(|word| word.starts_with("SHA256:"))?;
            let kind = match words.last() {
                Some(last) if last.starts_with('(') => last.trim_matches(['(', ')']),
                _ => words.get(1).copied().unwrap_or_default(),
            };
            Some(format!("{} ({})", shown::line(print), shown::line(kind)))
        })
        .collect();
    Ok(keys.join(", "))
}
