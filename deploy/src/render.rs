//! A site and its secrets, turned into the files of a bastion and of a collector. Pure.
//!
//! Writing them to a folder is here too, since it is the form in which they travel;
//! installing them is the bastion's work.

mod accounts;
mod collector;
mod daemon;
mod firewall;
mod mosquitto;
mod system;
mod units;

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use site::account::{Account, HEALTH_ACCOUNT};
use site::flow::Policy;
use site::manifest::{self, FileEntry, Manifest};
use site::{Bastion, Site};

use crate::secrets::{Secrets, SecretsError};

pub use collector::{COLLECTOR_FOLDER, collector_files};

/// Why nothing was rendered or written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// An account has no password.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A value has no JSON or TOML form.
    #[error("rendering {file}: {problem}")]
    Form {
        /// Which file.
        file: String,
        /// What the library said.
        problem: String,
    },
    /// A file of a folder cannot be read.
    #[error("reading {path}: {problem}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of the folder cannot be written.
    #[error("writing {path}: {source}", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// One file as it shall lie on a machine.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Absolute path there.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// User name of the owner.
    pub owner: Cow<'static, str>,
    /// Group name.
    pub group: Cow<'static, str>,
    /// What is in it. May hold secrets, so it is never printed.
    pub content: Vec<u8>,
}

impl RenderedFile {
    /// One that everybody may read.
    #[must_use]
    pub fn public(path: &str, content: String) -> RenderedFile {
        RenderedFile {
            path: path.to_owned(),
            mode: 0o644,
            owner: "root".into(),
            group: "root".into(),
            content: content.into_bytes(),
        }
    }

    fn entry(&self) -> FileEntry {
        let digest = Sha256::digest(&self.content);
        FileEntry {
            path: self.path.clone(),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            mode: format!("{:04o}", self.mode),
            owner: self.owner.clone().into_owned(),
            group: self.group.clone().into_owned(),
        }
    }
}

/// Everything of one bastion.
pub struct Rendered {
    /// What the files are.
    pub manifest: Manifest,
    /// The files, in the manifest's order.
    pub files: Vec<RenderedFile>,
}

impl Rendered {
    /// Renders one bastion of a site with the policy that follows from it.
    ///
    /// # Errors
    /// When an account of the site has no password.
    pub fn bastion(
        site: &Site,
        bastion: &Bastion,
        secrets: &Secrets,
    ) -> Result<Rendered, RenderError> {
        Rendered::with_policy(site, bastion, secrets, &Policy::of(site, bastion))
    }

    /// Renders one bastion with another policy than its own: the lab takes rules out to show
    /// that each of them is needed.
    ///
    /// # Errors
    /// As for [`Rendered::bastion`].
    pub fn with_policy(
        site: &Site,
        bastion: &Bastion,
        secrets: &Secrets,
        policy: &Policy,
    ) -> Result<Rendered, RenderError> {
        let accounts = Account::all(site);
        let mut files = vec![
            rules(manifest::RULESET_PATH, firewall::whole(policy, bastion))?,
            rules(manifest::EARLY_PATH, firewall::early(policy))?,
            RenderedFile::public(manifest::FLOWS_PATH, json(manifest::FLOWS_PATH, policy)?),
            RenderedFile {
                path: manifest::HEALTH_PASSWORD_PATH.to_owned(),
                mode: 0o600,
                owner: "root".into(),
                group: "root".into(),
                content: format!("{}\n", secrets.password(HEALTH_ACCOUNT)?.expose()).into_bytes(),
            },
            RenderedFile::public(
                manifest::MOSQUITTO_CONF_PATH,
                mosquitto::configuration(site.meters.len()),
            ),
            accounts::passwd(&accounts, secrets)?,
            accounts::acl(&accounts),
        ];
        files.extend(units::units(bastion));
        files.extend(daemon::files(site, secrets)?);
        files.extend(system::files(site));
        let manifest = Manifest {
            format: manifest::FORMAT,
            site: site.name.clone(),
            bastion: bastion.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            files: files.iter().map(RenderedFile::entry).collect(),
            packages: units::packages(site),
            units: units::managed(site),
            accounts: accounts.into_iter().map(|account| account.name).collect(),
        };
        Ok(Rendered { manifest, files })
    }

    /// Adds the program itself, and says which version rendered all this.
    #[must_use]
    pub fn with_program(mut self, program: Vec<u8>, version: &str) -> Rendered {
        let file = RenderedFile {
            path: manifest::PROGRAM_PATH.to_owned(),
            mode: 0o755,
            owner: "root".into(),
            group: "root".into(),
            content: program,
        };
        self.manifest.files.push(file.entry());
        self.files.push(file);
        version.clone_into(&mut self.manifest.version);
        self
    }

    /// Reads a folder that was written by [`Rendered::write_to`], and perhaps changed since. Whether
    /// its files are those of its manifest is left to whoever installs them.
    ///
    /// # Errors
    /// When a file that the manifest names cannot be read, or has no mode.
    pub fn read_from(folder: &Path) -> Result<Rendered, RenderError> {
        let read = |path: PathBuf| {
            let content = fs::read(&path);
            content.map_err(|error| unread(&path, error.to_string()))
        };
        let path = folder.join("manifest.json");
        let manifest: Manifest = serde_json::from_slice(&read(path.clone())?)
            .map_err(|error| unread(&path, error.to_string()))?;
        let file = |entry: &FileEntry| {
            let path = folder
                .join("files")
                .join(entry.path.trim_start_matches('/'));
            let mode = u32::from_str_radix(&entry.mode, 8)
                .map_err(|error| unread(&path, format!("mode {}: {error}", entry.mode)))?;
            Ok(RenderedFile {
                path: entry.path.clone(),
                mode,
                owner: entry.owner.clone().into(),
                group: entry.group.clone().into(),
                content: read(path)?,
            })
        };
        let files: Result<Vec<RenderedFile>, RenderError> =
            manifest.files.iter().map(file).collect();
        Ok(Rendered {
            files: files?,
            manifest,
        })
    }

    /// Puts a file in place of the one at its path, or behind the others, here and in the manifest.
    pub fn put(&mut self, file: RenderedFile) {
        let entry = file.entry();
        match self.files.iter().position(|old| old.path == file.path) {
            Some(at) => {
                self.files.splice(at..=at, [file]);
            }
            None => self.files.push(file),
        }
        match self
            .manifest
            .files
            .iter_mut()
            .find(|old| old.path == entry.path)
        {
            Some(old) => *old = entry,
            None => self.manifest.files.push(entry),
        }
    }

    /// Writes the folder that `bastion apply` takes: `manifest.json`, and each file below
    /// `files/`. The folder must not exist yet; it is readable by its owner alone.
    ///
    /// # Errors
    /// When the folder exists or something cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<(), RenderError> {
        let manifest = folder.join("manifest.json");
        create_folder(folder, false)?;
        for file in &self.files {
            let path = folder.join("files").join(file.path.trim_start_matches('/'));
            if let Some(parent) = path.parent() {
                create_folder(parent, true)?;
            }
            write_private(&path, &file.content)?;
        }
        write_private(&manifest, json("manifest.json", &self.manifest)?.as_bytes())
    }
}

fn rules(
    path: &str,
    commands: Result<serde_json::Value, serde_json::Error>,
) -> Result<RenderedFile, RenderError> {
    let commands = commands.map_err(|error| RenderError::Form {
        file: path.to_owned(),
        problem: error.to_string(),
    })?;
    Ok(RenderedFile::public(path, json(path, &commands)?))
}

fn json<T: serde::Serialize>(file: &str, value: &T) -> Result<String, RenderError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| RenderError::Form {
            file: file.to_owned(),
            problem: error.to_string(),
        })
}

fn unread(path: &Path, problem: String) -> RenderError {
    RenderError::Read {
        path: path.to_owned(),
        problem,
    }
}

fn create_folder(path: &Path, parents: bool) -> Result<(), RenderError> {
    fs::DirBuilder::new()
        .recursive(parents)
        .mode(0o700)
        .create(path)
        .map_err(|source| RenderError::Write {
            path: path.to_owned(),
            source,
        })
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), RenderError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|source| RenderError::Write {
            path: path.to_owned(),
            source,
        })
}
