//! The images of the lab and of the builds, made from lab/images. An image's tag is a digest of
//! what it is made from, so an image that is there is also the right one.

use std::fmt;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::engine;
use crate::run::{Run, program};
use crate::workspace::Workspace;

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// Where `cross` compiles.
    Cross,
    /// A machine of the lab.
    Node,
    /// The lab's database.
    Influxdb,
    /// What stands around the virtual Pi.
    Machine,
}

/// The images of the lab in containers, in the order in which they are needed.
pub(crate) const ALL: [Image; 3] = [Image::Cross, Image::Node, Image::Influxdb];
/// Those of the lab around a virtual Pi.
pub(crate) const WITH_MACHINE: [Image; 4] =
    [Image::Cross, Image::Node, Image::Influxdb, Image::Machine];

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Image::Cross => "cross",
            Image::Node => "node",
            Image::Influxdb => "influxdb",
            Image::Machine => "machine",
        })
    }
}

impl Image {
    /// The full name of the image on the base image `base`, an identity.
    pub(crate) fn tag(self, workspace: &Workspace, base: &str) -> Result<String> {
        let file = workspace.images().join(self.file());
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(format!("shelly-bastion/{self}:{}", digest(&text, base)))
    }

    /// Builds the image unless it is there, and returns its name.
    pub(crate) fn ensure(self, workspace: &Workspace, base: &str) -> Result<String> {
        let tag = self.tag(workspace, base)?;
        if engine::image_id(&tag).is_some() {
            return Ok(tag);
        }
        let context = workspace.images();
        program("docker")
            .arg("build")
            .arg("--file")
            .arg(context.join(self.file()))
            .args(["--tag", &tag])
            .args(["--label", &format!("org.shelly-bastion.image={self}")])
            .args(["--build-arg", &format!("BASE={}", crate::base_image::TAG)])
            .arg(&context)
            // Only the default builder sees the images of this machine.
            .env("BUILDX_BUILDER", "default")
            .quietly()
            .with_context(|| format!("building the image `{self}`"))?;
        Ok(tag)
    }

    fn file(self) -> String {
        format!("{self}.Dockerfile")
    }
}

/// Twelve hexadecimal digits of a digest over an image file and the base under it.
fn digest(file: &[u8], base: &str) -> String {
    let mut hash = Sha256::new();
    // The length keeps the end of the one from being the beginning of the other.
    hash.update(file.len().to_le_bytes());
    hash.update(file);
    hash.update(base);
    let hex = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_follows_the_file_and_the_base() {
        let tag = digest(b"FROM x", "sha256:1");
        assert_eq!(tag.len(), 12);
        assert_eq!(tag, digest(b"FROM x", "sha256:1"));
        for other in [
            digest(b"FROM y", "sha256:1"),
            digest(b"FROM x", "sha256:2"),
            digest(b"FROM xs", "ha256:1"),
        ] {
            assert_ne!(tag, other);
        }
    }

    /// The digest covers the image file alone, so nothing else may go into an image.
    #[test]
    fn images_are_made_from_their_file_alone() {
        let workspace = Workspace::find().unwrap();
        for image in WITH_MACHINE {
            let text = std::fs::read_to_string(workspace.images().join(image.file())).unwrap();
            assert!(
                text.contains("ARG BASE\nFROM ${BASE}\n"),
                "{image}: not on the base image"
            );
            let mut words = text
                .lines()
                .filter_map(|line| line.split_whitespace().next());
            assert!(
                !words.any(|word| word == "COPY" || word == "ADD"),
                "{image}: takes files in"
            );
        }
    }
}
