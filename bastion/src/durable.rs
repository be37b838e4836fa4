//! Files and folders that survive a power cut: written beside their place, synced, then renamed.
//!
//! Every function asks the host before it changes something, so that tests can stop the work
//! there. What is written, and when, is left to those who call.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::host::{Host, Owner};

/// Writes a new file beside its place. Nobody else can read a secret at any moment: the file is
/// created for its owner alone, and gets its mode when owner and content are right.
pub(crate) fn write_beside(
    host: &Host,
    target: &Path,
    content: &[u8],
    mode: u32,
    owner: Owner,
) -> Result<()> {
    if let Some(folder) = target.parent() {
        make_folder(host, folder, 0o755)
            .with_context(|| format!("writing {}", target.display()))?;
    }
    let path = beside(target);
    remove(host, &path)?;
    host.system().step()?;
    let act = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(content)?;
        fchown(&file, Some(owner.user), Some(owner.group))?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    act().with_context(|| format!("writing {}", path.display()))
}

/// Puts the file that was written beside a place there. The folder is not synced yet.
pub(crate) fn replace(host: &Host, target: &Path) -> Result<()> {
    rename(host, &beside(target), target)
}

/// Replaces one file for good.
pub(crate) fn write(
    host: &Host,
    target: &Path,
    content: &[u8],
    mode: u32,
    owner: Owner,
) -> Result<()> {
    write_beside(host, target, content, mode, owner)?;
    replace(host, target)?;
    sync_folder(target)
}

/// Writes a file that belongs to this program's user and is for it alone.
pub(crate) fn write_private(host: &Host, target: &Path, content: &[u8]) -> Result<()> {
    write(host, target, content, 0o600, own())
}

/// The user that this program runs as.
pub(crate) fn own() -> Owner {
    Owner {
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
    }
}

/// Adds a line to a file, on a line of its own whatever a cut run left at its end.
pub(crate) fn append_line(host: &Host, path: &Path, line: &str) -> Result<()> {
    host.system().step()?;
    let act = || -> io::Result<()> {
        let old = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let torn = old.last().is_some_and(|last| *last != b'\n');
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(format!("{}{line}\n", if torn { "\n" } else { "" }).as_bytes())?;
        file.sync_all()
    };
    act().with_context(|| format!("writing {}", path.display()))?;
    sync_folder(path)
}

/// Renames a file or folder; both folders are left to be synced.
pub(crate) fn rename(host: &Host, from: &Path, to: &Path) -> Result<()> {
    host.system().step()?;
    fs::rename(from, to).with_context(|| format!("replacing {}", to.display()))
}

/// Makes a symbolic link, in place of whatever link or file is there.
pub(crate) fn link(host: &Host, path: &Path, target: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(host, folder, 0o755)?;
    }
    let new = beside(path);
    remove(host, &new)?;
    host.system().step()?;
    symlink(target, &new).with_context(|| format!("linking {}", new.display()))?;
    replace(host, path)?;
    sync_folder(path)
}

/// Removes a file or a link, and says whether there was one.
pub(crate) fn remove(host: &Host, path: &Path) -> Result<bool> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(false);
    }
    host.system().step()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed.with_context(|| format!("removing {}", path.display()))?,
    }
    sync_folder(path)?;
    Ok(true)
}

/// Removes a folder with all that is in it, if there is one.
pub(crate) fn remove_folder(host: &Host, path: &Path) -> Result<()> {
    host.system().step()?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display()))?,
    }
    sync_folder(path)
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(host: &Host, path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    host.system().step()?;
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("making {}", path.display()))?;
    sync_folder(path)
}

/// Makes the names in the folder of a file as durable as the file.
pub(crate) fn sync_folder(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}

/// Where a new file lies before it takes its place.
pub(crate) fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".shelly-bastion-new");
    target.with_file_name(name)
}
