//! Files: which differ from what was rendered, and replacing each of them whole.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use site::answer::{FileAction, FileChange, LONGEST_SHOWN};
use site::manifest::{APPLIED_PATH, Manifest};
use tracing::info;

use crate::bundle::{Bundle, BundleFile};
use crate::durable;
use crate::host::{Host, Owner, read_if_present};
use crate::release::IN_PLACE_PATH;

/// The files that are not as rendered, in the manifest's order; then those that only the
/// manifest before had; then the manifest itself.
pub(crate) fn outdated(host: &Host, bundle: &Bundle) -> Result<Vec<FileChange>> {
    let mut found = Vec::new();
    for file in &bundle.files {
        found.extend(difference(host, file)?);
    }
    let applied = super::applied(host)?;
    found.extend(stale(host, applied.as_deref(), &bundle.manifest));
    if !is_same(applied.as_deref(), bundle)? {
        found.push(FileChange {
            path: APPLIED_PATH.to_owned(),
            action: if applied.is_some() {
                FileAction::Content
            } else {
                FileAction::New
            },
            // It follows from the other files, and says nothing that they do not.
            before: None,
            attributes: None,
        });
    }
    Ok(found)
}

/// Whether the applied manifest lists what this one does. Their versions may differ: they are for
/// showing, and a commit that renders nothing else must not look like a change.
fn is_same(applied: Option<&str>, bundle: &Bundle) -> Result<bool> {
    let Some(text) = applied else {
        return Ok(false);
    };
    let Ok(before) = serde_json::from_str::<Manifest>(text) else {
        return Ok(false);
    };
    // Written by us, and not changed since.
    if self::text(&before)? != text {
        return Ok(false);
    }
    let version = bundle.manifest.version.clone();
    Ok(Manifest { version, ..before } == bundle.manifest)
}

/// What the release before brought and this one does not.
fn stale(host: &Host, applied: Option<&str>, new: &Manifest) -> Vec<FileChange> {
    // A manifest of another format is no reason to stop: its files stay where they are.
    let before: Option<Manifest> = applied.and_then(|text| serde_json::from_str(text).ok());
    let before = before.map(|manifest| manifest.files).unwrap_or_default();
    let gone = before
        .iter()
        .filter(|entry| !new.files.iter().any(|file| file.path == entry.path))
        .filter(|entry| crate::bundle::is_plain(&entry.path) && entry.path != IN_PLACE_PATH)
        .filter(|entry| fs::symlink_metadata(host.path(&entry.path)).is_ok());
    gone.map(|entry| FileChange {
        path: entry.path.clone(),
        action: FileAction::Remove,
        before: shown(&host.path(&entry.path)),
        attributes: None,
    })
    .collect()
}

/// Replaces and removes these files. All new contents are on disk before the first file is
/// replaced, so a full disk leaves everything as it was.
pub(super) fn install(host: &Host, bundle: &Bundle, changes: &[FileChange]) -> Result<()> {
    let mut new = NewFiles {
        host,
        targets: vec![],
    };
    for file in &bundle.files {
        if !changes.iter().any(|change| change.path == file.entry.path) {
            continue;
        }
        let owner = host.owner(&file.entry.owner, &file.entry.group)?;
        let target = host.path(&file.entry.path);
        new.targets.push(target.clone());
        durable::write_beside(host, &target, &file.content, file.mode, owner)?;
        info!(file = %file.entry.path, "replacing");
    }
    new.replace()?;
    for change in changes {
        if change.action == FileAction::Remove {
            info!(file = %change.path, "removing");
            durable::remove(host, &host.path(&change.path))?;
        }
    }
    Ok(())
}

/// Takes the manifest of the last run away: from here on the machine is between two states.
pub(super) fn forget(host: &Host) -> Result<()> {
    durable::remove(host, &host.path(APPLIED_PATH)).map(drop)
}

/// Keeps the manifest of a run that came to its end.
pub(super) fn record(host: &Host, bundle: &Bundle) -> Result<()> {
    let content = text(&bundle.manifest)?;
    let owner = host.owner("root", "root")?;
    durable::write(
        host,
        &host.path(APPLIED_PATH),
        content.as_bytes(),
        0o644,
        owner,
    )
}

/// New files beside those that they will replace. Those that were not used are removed.
struct NewFiles<'a> {
    host: &'a Host,
    targets: Vec<std::path::PathBuf>,
}

impl NewFiles<'_> {
    fn replace(&self) -> Result<()> {
        for target in &self.targets {
            durable::replace(self.host, target)?;
        }
        self.targets
            .iter()
            .try_for_each(|target| durable::sync_folder(target))
    }
}

impl Drop for NewFiles<'_> {
    fn drop(&mut self) {
        for target in &self.targets {
            // What was used or never written is not there; the first error is the one that counts.
            let _ = durable::remove(self.host, &durable::beside(target));
        }
    }
}

fn text(manifest: &Manifest) -> Result<String> {
    Ok(serde_json::to_string_pretty(manifest).context("writing the manifest")? + "\n")
}

/// How an installed file differs from what was rendered.
fn difference(host: &Host, file: &BundleFile) -> Result<Option<FileChange>> {
    let path = host.path(&file.entry.path);
    let change = |action, before, attributes| {
        Ok(Some(FileChange {
            path: file.entry.path.clone(),
            action,
            before,
            attributes,
        }))
    };
    let Some(content) = read_if_present(&path)? else {
        return change(FileAction::New, None, None);
    };
    // A package that the plan lists may bring the owner.
    let attributes = match host.owner(&file.entry.owner, &file.entry.group) {
        Ok(owner) => attributes(&path, file.mode, owner)?,
        Err(_) => Some(format!(
            "owner shall be {}:{}, whom this machine does not know yet",
            file.entry.owner, file.entry.group
        )),
    };
    let before = file.entry.is_public().then(|| shown(&path)).flatten();
    if content != file.content {
        return change(FileAction::Content, before, attributes);
    }
    match attributes {
        None => Ok(None),
        words => change(FileAction::Attributes, None, words),
    }
}

/// The content of a file that everybody may read, if it is text of a length that can be shown.
fn shown(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    let open = found.permissions().mode() & 0o004 != 0;
    if !found.is_file() || !open || found.len() > u64::try_from(LONGEST_SHOWN).ok()? {
        return None;
    }
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    (text.len() <= LONGEST_SHOWN && !text.contains('\0')).then_some(text)
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

#[cfg(test)]
mod tests;
