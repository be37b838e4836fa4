//! How a deployer on this host reaches the virtual Pi: a folder with a site file, what OpenSSH
//! must be told, and the host key. As with a real Pi, only an admin of the site gets at it: the
//! connection goes through the admin's machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::artifacts::VirtualPi;
use crate::engine::Engine;
use crate::node::Output;
use crate::site_file;
use crate::sweep::{belongings, lives};
use crate::topology::{BASTION, Topology};

/// What the Pi is called in the site file and by OpenSSH.
pub const ALIAS: &str = "lab-pi";
/// Meters of the site.
pub const METERS: usize = 5;

/// A folder for one deployer.
#[derive(Debug, Clone)]
pub struct Access {
    /// The folder.
    pub folder: PathBuf,
}

impl Access {
    /// Writes the folder, in place of what was there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(
        folder: &Path,
        engine: &Engine,
        built: &VirtualPi,
        topology: &Topology,
    ) -> Result<Access> {
        let access = Access {
            folder: folder.to_owned(),
        };
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", folder.display()));
            }
            _ => {}
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let site = site_file::write_for_a_pi(topology, METERS, ALIAS);
        write(&access.site(), &site)?;
        let key = built.folder.join("host_key.pub");
        let key = fs::read_to_string(&key).with_context(|| format!("reading {}", key.display()))?;
        write(&access.known_hosts(), &format!("{ALIAS} {key}"))?;
        let config = ssh_config(&SshConfig {
            admin: format!("{}-admin", engine.name),
            address: topology.dmz.host(BASTION).v4.to_string(),
            identity: built.folder.join("id_ed25519"),
            known_hosts: access.known_hosts(),
        });
        write(&access.ssh_config(), &config)?;
        Ok(access)
    }

    /// The site file.
    #[must_use]
    pub fn site(&self) -> PathBuf {
        self.folder.join("site.toml")
    }

    /// What OpenSSH is told, `-F`.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.join("ssh_config")
    }

    /// The host keys that are known.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// A program for the bastion that this folder has in place of the one that was built.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        let own = self.folder.join("bastion");
        own.exists().then_some(own)
    }

    /// Runs a command on the Pi as its admin user, over a new connection. Code 255 is OpenSSH's
    /// own: no connection came about, or it broke; 124 that `limit` was over.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub async fn ssh(&self, command: &str, limit: Duration) -> Result<Output> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(self.ssh_config())
            .args(["-o", "BatchMode=yes", ALIAS, command])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let Ok(ended) = tokio::time::timeout(limit, ssh.output()).await else {
            return Ok(Output {
                code: 124,
                stdout: String::new(),
                stderr: format!("no end after {} s", limit.as_secs()),
            });
        };
        let ended = ended.context("starting ssh")?;
        Ok(Output {
            code: ended.status.code().map_or(-1, i64::from),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        })
    }
}

/// Removes the folders of labs of which nothing stands any more.
///
/// # Errors
/// When the engine cannot be asked. A folder that cannot be removed only takes room.
pub async fn forget_others(home: &Path, engine: &Engine) -> Result<()> {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let owner = entry.file_name().to_string_lossy().into_owned();
        if !lives(&owner) && belongings(engine, &owner).await?.is_empty() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

struct SshConfig {
    admin: String,
    address: String,
    identity: PathBuf,
    known_hosts: PathBuf,
}

fn ssh_config(of: &SshConfig) -> String {
    // `-N`: when the client dies, the connection ends, as it would without the container between.
    // No limit on silence: a package that is set up on the Pi says nothing for a long time.
    format!(
        "\
Host {ALIAS}
    User pi
    HostKeyAlias {ALIAS}
    ProxyCommand docker exec -i {admin} nc -N {address} 22
    IdentityFile \"{identity}\"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile \"{known_hosts}\"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    PasswordAuthentication no
    ConnectTimeout 60
    ServerAliveInterval 15
    ServerAliveCountMax 4
",
        admin = of.admin,
        address = of.address,
        identity = of.identity.display(),
        known_hosts = of.known_hosts.display(),
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_spaces_is_quoted_and_the_proxy_has_no_limit_on_silence() {
        let text = ssh_config(&SshConfig {
            admin: "shelly-lab-1-admin".to_owned(),
            address: "198.18.1.2".to_owned(),
            identity: PathBuf::from("/a folder/id"),
            known_hosts: PathBuf::from("/a folder/known"),
        });
        assert!(text.contains("IdentityFile \"/a folder/id\"\n"));
        assert!(text.contains("docker exec -i shelly-lab-1-admin nc -N 198.18.1.2 22\n"));
        assert!(!text.contains("nc -w"));
    }
}
