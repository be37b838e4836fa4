//! The image that every other image starts from: Debian 12, under a tag of the project's own, so
//! that nobody's official image is shadowed.
//!
//! It is taken from the first of these that works: the tag is there already; a tar file that the
//! person gave; the official image from its registry; mmdebstrap from the Debian mirror that this
//! machine uses itself. A given file comes before the registry because it was asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::engine;
use crate::packages;
use crate::run::{Answer, Run, is_root, program};
use crate::workspace::Workspace;

/// The project's own name for it; Cross.toml says the same.
pub(crate) const TAG: &str = "shelly-bastion/base:bookworm";
/// The environment variable that names a tar file, as `--base-tar` does.
pub(crate) const TAR_VARIABLE: &str = "SHELLY_BASTION_BASE_TAR";

const SUITE: &str = "bookworm";
const OFFICIAL: &str = "debian:bookworm-slim";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes sure that the base image is there, and returns its identity.
pub(crate) fn ensure(workspace: &Workspace, tar: Option<&Path>) -> Result<String> {
    if let Some(id) = engine::image_id(TAG) {
        if tar.is_some() {
            eprintln!(
                "{TAG} is there already, so the tar file is not read (`docker rmi {TAG}` to replace it)"
            );
        }
        return Ok(id);
    }
    if let Some(file) = tar {
        from_tar(file)?;
    } else if let Err(err) = pull() {
        eprintln!("base image: not pulled: {}", last_line(&err));
        bootstrap(workspace).with_context(|| {
            format!("no base image; on a machine that has one, `docker save {OFFICIAL} -o base.tar`, then give that file with --base-tar")
        })?;
    }
    if let Err(err) = program("docker")
        .args(["run", "--rm", "--network", "none", TAG, "true"])
        .quietly()
    {
        // Left in place, it would be taken for a good one next time.
        program("docker").args(["rmi", TAG]).quietly()?;
        return Err(err.context("the base image does not run"));
    }
    engine::image_id(TAG).with_context(|| format!("{TAG} was made and is not there"))
}

/// The tar file that stands for a registry: the argument, else the environment.
pub(crate) fn given_tar(argument: Option<PathBuf>) -> Option<PathBuf> {
    argument.or_else(|| std::env::var_os(TAR_VARIABLE).map(PathBuf::from))
}

/// Whether mmdebstrap is there.
pub(crate) fn has_mmdebstrap() -> bool {
    program("mmdebstrap")
        .arg("--version")
        .ask()
        .said()
        .is_some()
}

/// Whether mmdebstrap is there or could be installed now.
pub(crate) fn can_bootstrap() -> bool {
    has_mmdebstrap() || (is_root() && program("apt-get").arg("--version").ask().said().is_some())
}

/// Whether the registry shows the official image. Asked with a limit: a firewall may not answer.
pub(crate) fn can_pull() -> bool {
    let asked = program("timeout")
        .args(["15", "docker", "manifest", "inspect", OFFICIAL])
        .ask();
    asked.said().is_some()
}

/// Installs mmdebstrap, which only root may do.
pub(crate) fn install_mmdebstrap() -> Result<()> {
    packages::install(
        &["mmdebstrap", "debian-archive-keyring"],
        "making the base image",
    )
}

fn pull() -> Result<()> {
    program("docker")
        .args(["pull", "--quiet", OFFICIAL])
        .quietly()?;
    program("docker").args(["tag", OFFICIAL, TAG]).quietly()
}

/// One-line apt sources of the suite, on the mirrors that apt uses on this machine: the archive
/// first. None when apt names none.
pub(crate) fn sources_of_this_machine() -> Vec<String> {
    let asked = program("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
            "Created-By: Packages",
        ])
        .ask();
    let keyring = Path::new(KEYRING).is_file().then_some(KEYRING);
    sources(&asked.said().unwrap_or_default(), keyring)
}

fn bootstrap(workspace: &Workspace) -> Result<()> {
    if !has_mmdebstrap() {
        install_mmdebstrap()?;
    }
    let sources = sources_of_this_machine();
    if sources.is_empty() {
        eprintln!("base image: apt names no Debian mirror here; mmdebstrap's own default is used");
    }

    std::fs::create_dir_all(&workspace.target)
        .with_context(|| format!("making {}", workspace.target.display()))?;
    let tree = workspace
        .target
        .join(format!("base-{}.tar", std::process::id()));
    let mut command = program("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--architectures=amd64"]);
    // As in the official image: a build that is interrupted is done again, so syncing every file
    // only costs time, and nobody reads manuals there.
    for option in [
        "force-unsafe-io",
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/doc/*",
    ] {
        command.arg(format!("--dpkgopt={option}"));
    }
    if sources.iter().any(|line| line.contains("https://")) {
        command.arg("--include=ca-certificates");
    }
    command.arg(SUITE).arg(&tree).args(&sources);
    let made = command.quietly().and_then(|()| {
        program("docker")
            .arg("import")
            .arg(&tree)
            .arg(TAG)
            .quietly()
    });
    match std::fs::remove_file(&tree) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("{} stays behind: {err}", tree.display());
        }
        _ => {}
    }
    made
}

/// One-line apt sources of the suite, on the mirrors that apt uses on this machine.
///
/// `targets` has a line `origin|label|address` per index that apt would fetch.
fn sources(targets: &str, keyring: Option<&str>) -> Vec<String> {
    let mirror = |wanted: &str| {
        targets.lines().find_map(|line| {
            let mut fields = line.split('|');
            let (origin, label, address) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = origin == "Debian" && label == wanted && address.starts_with("http");
            fits.then(|| address.to_owned())
        })
    };
    let signed = keyring.map_or_else(String::new, |file| format!("[signed-by={file}] "));
    let mut lines = Vec::new();
    if let Some(archive) = mirror("Debian") {
        for suite in [SUITE.to_owned(), format!("{SUITE}-updates")] {
            lines.push(format!("deb {signed}{archive} {suite} main"));
        }
        if let Some(security) = mirror("Debian-Security") {
            lines.push(format!("deb {signed}{security} {SUITE}-security main"));
        }
    }
    lines
}

/// The file is a saved image (`docker save`) or a root file system.
fn from_tar(file: &Path) -> Result<()> {
    let listed = match program("tar").arg("--list").arg("--file").arg(file).ask() {
        Answer::Said(names) => names,
        Answer::Refused(why) => bail!("base image: reading {}: {why}", file.display()),
        Answer::Absent(err) => return Err(err).context("starting `tar`"),
    };
    if !listed.lines().any(|name| name == "manifest.json") {
        return program("docker").arg("import").arg(file).arg(TAG).quietly();
    }
    let mut load = program("docker");
    let said = load.arg("load").arg("--input").arg(file).captured()?;
    let name = loaded_name(&said)
        .with_context(|| format!("base image: `docker load` names no image: {said:?}"))?;
    program("docker").args(["tag", name, TAG]).quietly()
}

/// `Loaded image: name:tag`, or `Loaded image ID: sha256:…` for one without a name.
fn loaded_name(said: &str) -> Option<&str> {
    let rest = said
        .lines()
        .find_map(|line| line.strip_prefix("Loaded image"))?;
    rest.split_once(": ").map(|(_, name)| name.trim())
}

fn last_line(err: &anyhow::Error) -> String {
    let text = format!("{err:#}");
    text.lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(targets: &str, keyring: Option<&str>, expected: &[&str]) {
        assert_eq!(sources(targets, keyring), expected);
    }

    #[test]
    fn the_mirrors_of_this_machine_are_used_for_the_suite() {
        let targets = "Google|x|http://elsewhere.test/apt/\n\
                       Debian|Debian|http://mirror.test/debian/\n\
                       Debian|Debian|http://mirror.test/debian/\n\
                       Debian|Debian-Security|http://mirror.test/security/\n";
        check(
            targets,
            Some("/k.gpg"),
            &[
                "deb [signed-by=/k.gpg] http://mirror.test/debian/ bookworm main",
                "deb [signed-by=/k.gpg] http://mirror.test/debian/ bookworm-updates main",
                "deb [signed-by=/k.gpg] http://mirror.test/security/ bookworm-security main",
            ],
        );
        check(
            "Debian|Debian|http://mirror.test/debian/",
            None,
            &[
                "deb http://mirror.test/debian/ bookworm main",
                "deb http://mirror.test/debian/ bookworm-updates main",
            ],
        );
    }

    #[test]
    fn what_is_no_debian_mirror_is_left_out() {
        check("", None, &[]);
        check("garbage", None, &[]);
        check("Ubuntu|Ubuntu|http://mirror.test/ubuntu/", None, &[]);
        check("Debian|Debian|cdrom://disc/", None, &[]);
    }

    #[test]
    fn the_name_of_a_loaded_image_is_read() {
        assert_eq!(
            loaded_name("Loaded image: debian:bookworm-slim"),
            Some("debian:bookworm-slim")
        );
        assert_eq!(
            loaded_name("Loaded image ID: sha256:1234"),
            Some("sha256:1234")
        );
        assert_eq!(loaded_name("done"), None);
    }

    #[test]
    fn cross_builds_on_the_same_base() {
        let file = Workspace::find().unwrap().root.join("Cross.toml");
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.matches(&format!("BASE = \"{TAG}\"")).count(), 3);
    }
}
