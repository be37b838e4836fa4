//! The tool `cross`: finding the one version that the project is built with, installing it where
//! it replaces nothing, and starting it so that it neither asks a registry nor updates anything.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::run::{Run, program};
use crate::workspace::Workspace;

/// The version that Cross.toml is written for.
pub(crate) const VERSION: &str = "0.2.5";

/// What there is of cross.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The right version, at this path.
    Right(PathBuf),
    /// Another version stands on the PATH; it stays.
    Other(String),
    /// None.
    Absent,
}

/// Looks for cross: the project's own, then the PATH, then cargo's folder for programs.
pub(crate) fn find(workspace: &Workspace) -> Found {
    let mut other = None;
    for place in places(workspace) {
        match version_at(&place) {
            Some(version) if version == VERSION => return Found::Right(place),
            version => other = other.or(version),
        }
    }
    other.map_or(Found::Absent, Found::Other)
}

/// Installs cross if the right version is absent.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let mut install = workspace.cargo();
    install.args(["install", "cross", "--version", VERSION, "--locked"]);
    match find(workspace) {
        Found::Right(path) => return Ok(path),
        Found::Absent => eprintln!("cross is absent: installing {VERSION} among cargo's programs"),
        Found::Other(version) => {
            let tools = workspace.tools();
            let shown = workspace.shown(&tools);
            eprintln!("cross is {version}, which stays: installing {VERSION} into {shown}");
            install.arg("--root").arg(tools);
        }
    }
    install.quietly()?;
    match find(workspace) {
        Found::Right(path) => Ok(path),
        found => anyhow::bail!("cross {VERSION} was installed and is not found: {found:?}"),
    }
}

/// cross, at the root, ready for a subcommand.
pub(crate) fn command(workspace: &Workspace, cross: PathBuf, engine: &Engine) -> Result<Command> {
    let toolchain = workspace
        .program("rustc")
        .args(["--print", "sysroot"])
        .ask()
        .said()
        .context("asking `rustc --print sysroot`: is the toolchain installed?")?;
    let mut command = workspace.program(cross);
    command
        .env("CROSS_CONTAINER_ENGINE", "docker")
        // A toolchain that rustup lists as "(active)" is unknown to cross 0.2.5, which then
        // reinstalls it under every other cargo's feet. Named by its path, none is listed so.
        .env("RUSTUP_TOOLCHAIN", toolchain)
        // The targets are there already; without this cross fetches the library's sources too.
        .env("CROSS_CUSTOM_TOOLCHAIN", "1")
        // Crates were fetched on the host, which has certificates, proxies and credentials.
        .env("CARGO_NET_OFFLINE", "true")
        // The image is on this machine, and only the default builder sees those.
        .env("BUILDX_BUILDER", "default");
    if engine.rootless {
        command.env("CROSS_ROOTLESS_CONTAINER_ENGINE", "1");
    }
    Ok(command)
}

fn places(workspace: &Workspace) -> Vec<PathBuf> {
    let mut folders = vec![workspace.tools().join("bin")];
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    folders.extend(cargo_home.or(home).map(|cargo| cargo.join("bin")));
    let files = folders.into_iter().map(|folder| folder.join("cross"));
    files.filter(|file| file.is_file()).collect()
}

/// Asked away from any project: inside of one, even `--version` may install a toolchain.
fn version_at(cross: &std::path::Path) -> Option<String> {
    let said = program(cross)
        .arg("--version")
        .current_dir("/")
        .ask()
        .said()?;
    version_of(&said)
}

fn version_of(said: &str) -> Option<String> {
    let rest = said.lines().find_map(|line| line.strip_prefix("cross "))?;
    rest.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_beside_cargos() {
        let said = "cross 0.2.5\n[cross] note: Falling back to `cargo` on the host.\ncargo 1.95.0 (f2d3ce0bd 2026-03-21)";
        assert_eq!(version_of(said).as_deref(), Some("0.2.5"));
        assert_eq!(
            version_of("cross 0.2.5 (4e64366 2024-10-20)").as_deref(),
            Some("0.2.5")
        );
        assert_eq!(version_of("cargo 1.95.0"), None);
    }
}
