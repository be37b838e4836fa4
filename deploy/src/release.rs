//! What one deployment carries: a name, the manifest's bytes, and the files as a tar stream.
//! Rendering them is left to `render`, carrying them to the steps of a deployment.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use site::manifest::PROGRAM_PATH;

use crate::render::Rendered;

/// Why a release could not be packed.
#[derive(Debug, thiserror::Error)]
#[error("packing the release: {0}")]
pub struct PackError(#[from] std::io::Error);

/// A rendered bastion, ready to travel.
pub struct Release {
    /// `20261127T215500Z-1a2b3c4d`: when it was made, and the first digits of the manifest's
    /// SHA-256.
    pub id: String,
    manifest: Vec<u8>,
}

impl Release {
    /// Names what was rendered.
    ///
    /// # Errors
    /// When the manifest has no JSON form.
    pub fn of(rendered: &Rendered, now: Timestamp) -> Result<Release, PackError> {
        let mut manifest = serde_json::to_vec_pretty(&rendered.manifest)
            .map_err(|error| PackError(error.into()))?;
        manifest.push(b'\n');
        let digest = Sha256::digest(&manifest);
        let digits: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let id = format!("{}-{digits}", now.strftime("%Y%m%dT%H%M%SZ"));
        Ok(Release { id, manifest })
    }

    /// The folder as a tar stream. The program is left out when it is there already.
    ///
    /// # Errors
    /// When a path has no place in a tar file.
    pub fn tar(&self, rendered: &Rendered, with_program: bool) -> Result<Vec<u8>, PackError> {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "manifest.json", 0o600, &self.manifest)?;
        for file in &rendered.files {
            let program = file.path == PROGRAM_PATH;
            if program && !with_program {
                continue;
            }
            // The staging folder is root's; only the program must be able to run in it.
            let mode = if program { 0o700 } else { 0o600 };
            let path = format!("files/{}", file.path.trim_start_matches('/'));
            append(&mut tar, &path, mode, &file.content)?;
        }
        Ok(tar.into_inner()?)
    }
}

/// Appends one file that belongs to root.
pub(crate) fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<(), PackError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    tar.append_data(&mut header, path, content)?;
    Ok(())
}
