//! The virtual Pi's card, kernel and package archive, made from lab/virtual-pi with the
//! distribution's packages. Each lies below `target/virtual-pi` under a digest of what it is made
//! from, so what is there is also right. Starting the machine is left to `lab`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::base_image;
use crate::packages::{self, Need};
use crate::run::{Run, is_root, program};
use crate::workspace::{Lack, Workspace};

/// What must be there to make it: a program, and the package that has it.
const TOOLS: [Need; 9] = [
    ("mmdebstrap", "mmdebstrap"),
    // mmdebstrap asks it whether foreign programs run.
    ("arch-test", "arch-test"),
    ("qemu-arm-static", "qemu-user-static"),
    ("update-binfmts", "binfmt-support"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("ssh-keygen", "openssh-client"),
    ("dpkg-scanpackages", "dpkg-dev"),
];
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
const TUN: &str = "/dev/net/tun";

/// What the lab is told.
#[derive(Debug)]
pub(crate) struct Made {
    /// Folder with `disk.img`, `kernel`, `initrd` and keys.
    pub(crate) machine: PathBuf,
    /// Folder with the package archive.
    pub(crate) mirror: PathBuf,
}

/// What is made, by which script, and from which files of lab/virtual-pi.
struct Part {
    name: &'static str,
    script: &'static str,
    files: &'static [&'static str],
    /// The one that is made last.
    result: &'static str,
}

const MACHINE: Part = Part {
    name: "machine",
    script: "build.sh",
    files: &[
        "build.sh",
        "packages",
        "customize.sh",
        "console.sh",
        "lab-console.service",
        "init",
    ],
    result: "disk.img",
};
const MIRROR: Part = Part {
    name: "mirror",
    script: "mirror.sh",
    files: &["mirror.sh", "mirror-packages"],
    result: "raspbian/dists/bookworm/Release",
};

/// Makes what is not there yet.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Made> {
    let (machine, mirror) = (MACHINE.folder(workspace)?, MIRROR.folder(workspace)?);
    let made = Made { machine, mirror };
    let is_there = |part: &Part, folder: &Path| folder.join(part.result).is_file();
    set_up(workspace)?;
    for (part, folder) in [(&MIRROR, &made.mirror), (&MACHINE, &made.machine)] {
        if !is_there(part, folder) {
            part.make(workspace, folder)
                .with_context(|| format!("making the virtual Pi's {}", part.name))?;
        }
    }
    Ok(made)
}

impl Part {
    fn folder(&self, workspace: &Workspace) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        for name in self.files {
            let path = recipe(workspace).join(name);
            let content =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            // Lengths keep the end of the one from being the beginning of the other.
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
        let hex: String = hash
            .finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(home(workspace).join(format!("{}-{hex}", self.name)))
    }

    /// Makes it in a folder of another name, so that one which is cut short is never taken for a
    /// whole one.
    fn make(&self, workspace: &Workspace, folder: &Path) -> Result<()> {
        let home = home(workspace);
        std::fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        self.forget_others(&home);
        let begun = home.join(format!("{}.new-{}", self.name, std::process::id()));
        std::fs::create_dir(&begun).with_context(|| format!("making {}", begun.display()))?;
        let sources = base_image::sources_of_this_machine();
        // The archive alone: on some mirrors the other indexes are broken for this architecture.
        let source = sources.first().cloned().context(
            "apt names no Debian mirror on this machine (`apt-get indextargets`); add one to its sources",
        )?;
        std::fs::write(begun.join("sources.list"), format!("{source}\n"))
            .context("writing sources.list")?;
        // In a mount namespace of its own, what is mounted into the tree goes with the script.
        let made = program("unshare")
            .args(["--mount", "--", "sh"])
            .arg(recipe(workspace).join(self.script))
            .arg(&begun)
            .run()
            .and_then(|()| {
                std::fs::rename(&begun, folder)
                    .with_context(|| format!("moving it to {}", folder.display()))
            });
        if made.is_err() {
            forget(&begun);
        }
        made
    }

    /// Older ones, and those whose maker is gone. Best effort: they only take room.
    fn forget_others(&self, home: &Path) {
        for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(self.name) else {
                continue;
            };
            let in_the_making = rest
                .strip_prefix(".new-")
                .is_some_and(|maker| Path::new("/proc").join(maker).exists());
            if !in_the_making {
                forget(&entry.path());
            }
        }
    }
}

fn forget(folder: &Path) {
    if let Err(err) = std::fs::remove_dir_all(folder) {
        eprintln!("{} stays behind: {err}", folder.display());
    }
}

fn home(workspace: &Workspace) -> PathBuf {
    workspace.target.join("virtual-pi")
}

fn recipe(workspace: &Workspace) -> PathBuf {
    workspace.root.join("lab").join("virtual-pi")
}

/// Whether it is made already.
pub(crate) fn is_made(workspace: &Workspace) -> bool {
    let there = |part: &Part| {
        part.folder(workspace)
            .is_ok_and(|folder| folder.join(part.result).is_file())
    };
    there(&MACHINE) && there(&MIRROR)
}

/// The packages of programs that are missing.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    packages::missing(&TOOLS)
}

/// Whether this machine runs programs of the Pi's processor.
pub(crate) fn runs_arm() -> bool {
    // The name differs between those who register it.
    ["qemu-arm", "arm"]
        .iter()
        .any(|name| Path::new(BINFMT).join(name).exists())
}

/// What keeps the tier from running here for good.
///
/// # Errors
/// With the remedy.
pub(crate) fn possible(workspace: &Workspace) -> Result<(), Lack> {
    if !Path::new(TUN).exists() {
        return Err(Lack::new(
            format!("no {TUN}"),
            "load the kernel's module: `sudo modprobe tun`",
        ));
    }
    if !is_made(workspace) && !is_root() {
        return Err(Lack::new(
            "the virtual Pi is not made yet, which needs root",
            "run `cargo xtask lab --tier vm` as root once; `target/virtual-pi` is kept",
        ));
    }
    Ok(())
}

/// Installs what is missing and lets programs of the Pi's processor run, as root, unless the virtual
/// Pi is made already.
///
/// # Errors
/// When it cannot be made here: another distribution, no root, no such emulation.
pub(crate) fn set_up(workspace: &Workspace) -> Result<()> {
    possible(workspace)?;
    if is_made(workspace) {
        return Ok(());
    }
    if !is_root() {
        bail!("making the virtual Pi needs root: run `cargo xtask lab --tier vm` as root once");
    }
    packages::install(&missing_packages(), "the virtual Pi")?;
    if runs_arm() {
        return Ok(());
    }
    eprintln!("letting this machine run programs of the Pi's processor, under emulation");
    if !Path::new(BINFMT).join("register").exists() {
        program("mount")
            .args(["-t", "binfmt_misc", "binfmt_misc", BINFMT])
            .quietly()?;
    }
    if !runs_arm() {
        program("update-binfmts")
            .args(["--enable", "qemu-arm"])
            .quietly()?;
    }
    if !runs_arm() {
        bail!("programs of the Pi's processor do not run here: nothing is registered in {BINFMT}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_covers_every_file_of_the_recipe() {
        let workspace = Workspace::find().unwrap();
        let mut named: Vec<&str> = [MACHINE.files, MIRROR.files].concat();
        named.sort_unstable();
        let mut there: Vec<String> = std::fs::read_dir(recipe(&workspace))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        there.sort();
        assert_eq!(named, there);
    }

    #[test]
    fn what_was_cut_short_is_forgotten_and_what_is_in_the_making_stays() {
        let home = std::env::temp_dir().join(format!("virtual-pi-{}", std::process::id()));
        let (cut, making, old, other) = (
            "machine.new-4194304".to_owned(),
            format!("machine.new-{}", std::process::id()),
            "machine-abc".to_owned(),
            "mirror-abc".to_owned(),
        );
        for name in [&cut, &making, &old, &other] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        MACHINE.forget_others(&home);
        let left = [&cut, &making, &old, &other].map(|name| home.join(name).exists());
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(left, [false, true, false, true]);
    }
}
