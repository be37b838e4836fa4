//! The machine's file system, seen from a root folder, so that tests can install into another one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::system::{Answer, Call, System, ThisMachine};

/// A machine to install into.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    system: Arc<dyn System>,
}

/// Numbers of a user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

impl Host {
    /// The machine whose files begin at `root`; `/` for the one this program runs on.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Host {
        Host::with_system(root, Arc::new(ThisMachine))
    }

    /// A machine whose programs are run by something else.
    #[must_use]
    pub fn with_system(root: impl Into<PathBuf>, system: Arc<dyn System>) -> Host {
        Host {
            root: root.into(),
            system,
        }
    }

    /// What runs its programs.
    #[must_use]
    pub fn system(&self) -> &dyn System {
        self.system.as_ref()
    }

    /// Runs a program of the machine, and gives what it said.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let call = Call::new(program, arguments);
        self.system.run(&call)?.success(&call)
    }

    /// Runs a program whose failing is an answer too.
    ///
    /// # Errors
    /// When it cannot be started, or takes too long.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Result<Answer> {
        self.system.run(&Call::new(program, arguments))
    }

    /// Whether systemd runs this machine: it says so itself by this folder, see `sd_booted(3)`.
    #[must_use]
    pub fn has_systemd(&self) -> bool {
        self.path("/run/systemd/system").is_dir()
    }

    /// Where an absolute path of that machine lies.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The numbers behind two names.
    ///
    /// # Errors
    /// When the machine does not know a name; the message says which package brings it.
    pub fn owner(&self, user: &str, group: &str) -> Result<Owner> {
        Ok(Owner {
            user: self.id("/etc/passwd", user)?,
            group: self.id("/etc/group", group)?,
        })
    }

    /// Keeps other runs of this program away until the result is dropped: two at once would
    /// write the same new files and remove each other's reference table.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn lock(&self) -> Result<File> {
        self.lock_file("/run/shelly-bastion.lock")
    }

    /// Keeps others from loading rules until the result is dropped. A lock of its own: units that
    /// load rules are started by a run that holds the other one.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub(crate) fn lock_firewall(&self) -> Result<File> {
        self.lock_file("/run/shelly-bastion-firewall.lock")
    }

    fn lock_file(&self, path: &str) -> Result<File> {
        let path = self.path(path);
        // For root alone: whoever can open the file can hold the lock for ever.
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .with_context(|| format!("locking {}", path.display()))
    }

    /// Whether the machine knows a user.
    ///
    /// # Errors
    /// When its list of users cannot be read.
    pub fn knows_user(&self, name: &str) -> Result<bool> {
        let text = read_text(&self.path("/etc/passwd"))?;
        Ok(text
            .lines()
            .any(|line| line.split(':').next() == Some(name)))
    }

    /// Both files have the name first and the number third.
    fn id(&self, database: &str, name: &str) -> Result<u32> {
        let path = self.path(database);
        let text = read_text(&path)?;
        text.lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
            .and_then(|fields| fields.get(2)?.parse().ok())
            .with_context(|| {
                format!("{database} has no entry {name}; a package that the manifest names brings it: run `bastion packages FOLDER` first")
            })
    }
}

/// Reads a text file; the error names it.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Reads a file that may be absent; the error names it.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}
