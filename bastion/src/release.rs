//! Releases: each rendered folder that was put in place is kept, and one of them is in place.
//!
//! Who is in place is written in a file of its own, which goes and comes back like any file of
//! a release. Putting a release in place is left to [`crate::apply`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use site::answer::{Entry, Event};
use site::manifest::STATE_FOLDER;

use crate::bundle::{Bundle, sha256};
use crate::durable;
use crate::host::{Host, read_if_present};

/// Names the release that is in place.
pub(crate) const IN_PLACE_PATH: &str = "/var/lib/shelly-bastion/in-place";
/// Releases that are kept beside the one in place.
const KEPT: usize = 5;
const LONGEST_ID: usize = 64;

/// Makes sure that a name can be a folder's.
///
/// # Errors
/// When it cannot; the message shows the right form.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    ensure!(
        !id.is_empty() && id.len() <= LONGEST_ID && !id.starts_with('.') && id.chars().all(plain),
        "{id:?} is no name of a release; one looks like 20261127T215500Z-1a2b3c4d"
    );
    Ok(())
}

/// A name for a release that arrived without one.
///
/// # Errors
/// When the folder's manifest cannot be read.
pub(crate) fn new_id(folder: &Path, now: SystemTime) -> Result<String> {
    let path = folder.join("manifest.json");
    let manifest = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let time: String = time
        .chars()
        .filter(|letter| !"-:".contains(*letter))
        .collect();
    let hash = sha256(&manifest);
    Ok(format!("{time}-{}", hash.get(..8).unwrap_or_default()))
}

/// The folder of a release on this machine.
pub(crate) fn folder(host: &Host, id: &str) -> PathBuf {
    host.path(STATE_FOLDER).join("releases").join(id)
}

/// The release in place; none before the first, and while one is being put in place.
pub(crate) fn in_place(host: &Host) -> Result<Option<String>> {
    let content = read_if_present(&host.path(IN_PLACE_PATH))?;
    let name = content.map(|content| String::from_utf8_lossy(&content).trim().to_owned());
    Ok(name.filter(|name| check_id(name).is_ok()))
}

/// Keeps a release, so that it can be put in place again.
pub(crate) fn save(host: &Host, id: &str, from: &Path, bundle: &Bundle) -> Result<()> {
    let target = folder(host, id);
    let same = |path: &Path| fs::canonicalize(path).ok();
    if same(&target).is_some() && same(&target) == same(from) {
        return Ok(());
    }
    let new = durable::beside(&target);
    durable::remove_folder(host, &new).or_else(|error| match new.exists() {
        true => Err(error),
        false => Ok(()),
    })?;
    make_state_folder(host)?;
    durable::make_folder(host, &new, 0o700)?;
    for file in &bundle.files {
        let path = new
            .join("files")
            .join(file.entry.path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            durable::make_folder(host, parent, 0o700)?;
        }
        durable::write_private(host, &path, &file.content)?;
    }
    let manifest =
        serde_json::to_string_pretty(&bundle.manifest).context("writing the manifest")?;
    durable::write_private(host, &new.join("manifest.json"), manifest.as_bytes())?;
    if target.exists() {
        durable::remove_folder(host, &target)?;
    }
    durable::rename(host, &new, &target)?;
    durable::sync_folder(&target)
}

/// The folder of this module, for its owner alone.
pub(crate) fn make_state_folder(host: &Host) -> Result<()> {
    durable::make_folder(host, &host.path(STATE_FOLDER), 0o700)
}

/// The releases that are kept, oldest first: their names begin with the time of rendering.
pub(crate) fn kept(host: &Host) -> Vec<String> {
    let folder = host.path(STATE_FOLDER).join("releases");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| check_id(name).is_ok() && !name.ends_with("-new"))
        .collect();
    found.sort();
    found
}

/// Forgets all but the last ones that were in place, and the one in place.
pub(crate) fn prune(host: &Host, history: &[Entry]) -> Result<()> {
    let current = in_place(host)?;
    let mut recent: Vec<String> = Vec::new();
    for release in placed(history).into_iter().rev() {
        if !recent.contains(&release) && recent.len() < KEPT {
            recent.push(release);
        }
    }
    for id in kept(host) {
        if current.as_ref() != Some(&id) && !recent.contains(&id) {
            durable::remove_folder(host, &folder(host, &id))?;
        }
    }
    Ok(())
}

/// The releases that were in place one after the other, without those that were taken back.
fn placed(history: &[Entry]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for entry in history {
        match entry.event {
            Event::Applied | Event::Rollback => found.push(entry.release.clone()),
            Event::Back if found.last() == Some(&entry.release) => drop(found.pop()),
            Event::Back | Event::Confirmed | Event::Opened => {}
        }
    }
    found
}

/// The release that was in place before the one that is.
///
/// # Errors
/// When there is none that is still kept.
pub(crate) fn before(host: &Host, history: &[Entry]) -> Result<String> {
    let current = in_place(host)?;
    let kept = kept(host);
    let mut earlier = placed(history).into_iter().rev();
    earlier
        .find(|release| current.as_ref() != Some(release) && kept.contains(release))
        .context("no earlier release is kept on this machine; `bastion history` lists what was")
}

#[cfg(test)]
mod tests {
    use site::answer::{Entry, Event};

    use super::{check_id, placed};

    #[track_caller]
    fn check(events: &[(&str, Event)], expected: &[&str]) {
        let history: Vec<Entry> = events
            .iter()
            .map(|(release, event)| Entry {
                release: (*release).to_owned(),
                at: String::new(),
                event: *event,
                by: String::new(),
                version: String::new(),
                reason: String::new(),
            })
            .collect();
        assert_eq!(placed(&history), expected);
    }

    #[test]
    fn what_was_taken_back_was_not_in_place() {
        check(&[], &[]);
        check(&[("a", Event::Applied), ("a", Event::Confirmed)], &["a"]);
        check(
            &[
                ("a", Event::Applied),
                ("b", Event::Applied),
                ("b", Event::Back),
            ],
            &["a"],
        );
        // Taken back before it was in place.
        check(&[("a", Event::Applied), ("b", Event::Back)], &["a"]);
        check(
            &[
                ("a", Event::Applied),
                ("b", Event::Applied),
                ("a", Event::Rollback),
            ],
            &["a", "b", "a"],
        );
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        check_id("20261127T215500Z-1a2b3c4d").unwrap();
        for id in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a b",
            ".hidden",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }
}
