//! The rendered folder as it arrived: read whole, checked against its manifest before use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use site::manifest::{self, FileEntry, Manifest};

use crate::host::read_text;

/// A file, and what it shall contain.
#[derive(Debug)]
pub struct BundleFile {
    /// Path, owner and mode.
    pub entry: FileEntry,
    /// Permission bits, read from the entry.
    pub mode: u32,
    /// The content, whose hash is the entry's.
    pub content: Vec<u8>,
}

/// Everything that is to be installed.
#[derive(Debug)]
pub struct Bundle {
    /// The manifest as it arrived, to be kept on the machine.
    pub manifest: Manifest,
    /// All files, in the manifest's order.
    pub files: Vec<BundleFile>,
}

impl Bundle {
    /// Reads a folder and checks every file of it.
    ///
    /// # Errors
    /// When a file is missing, damaged, named twice, or would lie outside the machine's tree.
    pub fn read(folder: &Path) -> Result<Bundle> {
        let manifest = parse_manifest(&read_text(&folder.join("manifest.json"))?)?;
        let mut files = Vec::with_capacity(manifest.files.len());
        let mut seen = BTreeSet::new();
        for entry in &manifest.files {
            ensure!(
                seen.insert(&entry.path),
                "manifest names {} twice; render the folder again",
                entry.path
            );
            ensure!(
                is_plain(&entry.path),
                "manifest names {}, which is no plain absolute path",
                entry.path
            );
            ensure!(
                entry.path != manifest::APPLIED_PATH,
                "manifest names {}, where the manifest itself is kept",
                entry.path
            );
            let path = folder
                .join("files")
                .join(entry.path.trim_start_matches('/'));
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let found = sha256(&content);
            if found != entry.sha256 {
                bail!(
                    "{} is damaged: its SHA-256 is {found}, the manifest says {}; copy the folder again",
                    path.display(),
                    entry.sha256
                );
            }
            files.push(BundleFile {
                mode: mode(entry)?,
                entry: entry.clone(),
                content,
            });
        }
        Ok(Bundle { manifest, files })
    }

    /// The content of one file.
    ///
    /// # Errors
    /// When the folder does not bring it.
    pub fn content(&self, path: &str) -> Result<&[u8]> {
        let file = self.files.iter().find(|file| file.entry.path == path);
        file.map(|file| file.content.as_slice())
            .with_context(|| format!("the folder brings no {path}"))
    }
}

/// Reads a manifest of the version that this program knows.
///
/// # Errors
/// When it is no manifest, or of another version.
pub fn parse_manifest(text: &str) -> Result<Manifest> {
    let manifest: Manifest = serde_json::from_str(text).context("reading manifest.json")?;
    ensure!(
        manifest.format == manifest::FORMAT,
        "manifest.json has format {}, this program knows {}; update the program",
        manifest.format,
        manifest::FORMAT
    );
    Ok(manifest)
}

/// The permission bits of an entry.
///
/// # Errors
/// When they are not octal or carry more than permissions.
pub fn mode(entry: &FileEntry) -> Result<u32> {
    let mode = u32::from_str_radix(&entry.mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.with_context(|| {
        format!(
            "manifest gives {} the mode {}, which is none",
            entry.path, entry.mode
        )
    })
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Absolute, and spelled in the one way in which no two spellings name one file.
pub(crate) fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
    })
}
