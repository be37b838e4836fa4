//! Files: which differ from what was rendered, and replacing each of them whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use site::manifest::APPLIED_PATH;
use tracing::info;

use crate::bundle::{Bundle, BundleFile};
use crate::host::{Host, Owner, read_if_present};

const UNITS: &str = "/etc/systemd/system/";

/// The files that are not as rendered, each with the reason. The manifest comes last.
pub(super) fn outdated(host: &Host, bundle: &Bundle) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for file in &bundle.files {
        if let Some(reason) = difference(host, file)? {
            found.push((file.entry.path.clone(), reason));
        }
    }
    let applied = super::applied(host)?;
    if applied.as_deref() != Some(manifest_text(bundle)?.as_str()) {
        let reason = if applied.is_some() {
            "content differs"
        } else {
            "is missing"
        };
        found.push((APPLIED_PATH.to_owned(), reason.to_owned()));
    }
    Ok(found)
}

/// Whether one of these files is a unit of systemd.
pub(super) fn units_changed(files: &[(String, String)]) -> bool {
    files.iter().any(|(path, _)| path.starts_with(UNITS))
}

/// Replaces these files. All new contents are on disk before the first file is replaced, so a
/// full disk leaves everything as it was.
pub(super) fn install(host: &Host, bundle: &Bundle, files: &[(String, String)]) -> Result<()> {
    let mut new = NewFiles::default();
    for file in &bundle.files {
        let Some((path, reason)) = files.iter().find(|(path, _)| *path == file.entry.path) else {
            continue;
        };
        let owner = host.owner(&file.entry.owner, &file.entry.group)?;
        new.write(host.path(path), &file.content, file.mode, owner)?;
        info!(file = %path, %reason, "replacing");
    }
    new.replace()
}

/// Takes the manifest of the last run away: from here on the machine is between two states.
pub(super) fn forget(host: &Host) -> Result<()> {
    let path = host.path(APPLIED_PATH);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display()))?,
    }
    sync_folder(&path)
}

/// Keeps the manifest of a run that came to its end.
pub(super) fn record(host: &Host, bundle: &Bundle) -> Result<()> {
    let mut new = NewFiles::default();
    let owner = host.owner("root", "root")?;
    let content = manifest_text(bundle)?;
    new.write(host.path(APPLIED_PATH), content.as_bytes(), 0o644, owner)?;
    new.replace()
}

/// New files beside those that they will replace. Those that were not used are removed.
#[derive(Default)]
struct NewFiles(Vec<PathBuf>);

impl NewFiles {
    fn write(&mut self, target: PathBuf, content: &[u8], mode: u32, owner: Owner) -> Result<()> {
        let new = beside(&target);
        self.0.push(target);
        write_new(&new, content, mode, owner)
    }

    fn replace(self) -> Result<()> {
        for target in &self.0 {
            fs::rename(beside(target), target)
                .with_context(|| format!("replacing {}", target.display()))?;
        }
        self.0.iter().try_for_each(|target| sync_folder(target))
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for target in &self.0 {
            // What was used or never written is not there; the first error is the one that counts.
            let _ = fs::remove_file(beside(target));
        }
    }
}

fn sync_folder(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}

fn manifest_text(bundle: &Bundle) -> Result<String> {
    Ok(serde_json::to_string_pretty(&bundle.manifest).context("writing the manifest")? + "\n")
}

/// Why an installed file is not as rendered.
pub(crate) fn difference(host: &Host, file: &BundleFile) -> Result<Option<String>> {
    let path = host.path(&file.entry.path);
    let owner = host.owner(&file.entry.owner, &file.entry.group)?;
    let Some(content) = read_if_present(&path)? else {
        return Ok(Some("is missing".to_owned()));
    };
    if content != file.content {
        return Ok(Some("content differs".to_owned()));
    }
    attributes(&path, file.mode, owner)
}

/// Why a file's owner or mode is not as it should be.
pub(crate) fn attributes(path: &Path, mode: u32, owner: Owner) -> Result<Option<String>> {
    let found =
        fs::symlink_metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    if !found.is_file() {
        return Ok(Some("is no plain file".to_owned()));
    }
    let found_mode = found.permissions().mode() & 0o7777;
    if found_mode != mode {
        return Ok(Some(format!(
            "mode is {found_mode:04o}, expected {mode:04o}"
        )));
    }
    let found_owner = Owner {
        user: found.uid(),
        group: found.gid(),
    };
    Ok((found_owner != owner).then(|| {
        format!(
            "owner is {}:{}, expected {}:{}",
            found_owner.user, found_owner.group, owner.user, owner.group
        )
    }))
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".shelly-bastion-new");
    target.with_file_name(name)
}

/// Nobody else can read a secret at any moment: the file is created for its owner alone, and
/// gets its mode when owner and content are right.
fn write_new(path: &Path, content: &[u8], mode: u32, owner: Owner) -> Result<()> {
    let act = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        fchown(&file, Some(owner.user), Some(owner.group))?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    act().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests;
