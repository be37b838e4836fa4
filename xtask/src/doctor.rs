//! `cargo xtask doctor`: what this machine has and lacks for the lab. It looks and changes
//! nothing; with `--fix` it first does what it can, saying each change before it is made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cross::{self, Found};
use crate::engine::{self, Engine};
use crate::run::{Answer, Run, program};
use crate::workspace::{PI, SERVER, Workspace};
use crate::{base_image, images, virtual_pi};

mod table;

use table::{Row, Verdict, ok, row};

/// Free space for images, containers and two kinds of builds.
const DISK_GIB: u64 = 8;
/// Docker's own pools hold about this many networks; a lab takes three.
const NETWORKS: usize = 31;

/// Arguments of `cargo xtask doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Do what can be done: toolchain targets, cross, mmdebstrap (as root), base image.
    #[arg(long)]
    fix: bool,
    /// A tar file to make the base image from: a saved Debian 12 image or its root file system.
    #[arg(long, value_name = "FILE")]
    base_tar: Option<PathBuf>,
}

/// Runs the command: success only if the lab can run now or after setting itself up.
pub(crate) fn run(workspace: &Workspace, args: Doctor) -> Result<ExitCode> {
    let tar = base_image::given_tar(args.base_tar);
    if args.fix {
        fix(workspace, tar.as_deref());
    }
    let rows = examine(workspace, tar.as_deref());
    Ok(if table::print(&rows) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Every lack that can be made good is; one that cannot does not stop the others, and the table
/// that follows shows what is left.
fn fix(workspace: &Workspace, tar: Option<&Path>) {
    let mut results = vec![
        workspace.ensure_targets(&[PI, SERVER]),
        cross::ensure(workspace).map(drop),
    ];
    if Engine::reach().is_ok() {
        results.push(base_image::ensure(workspace, tar).map(drop));
    } else if !base_image::has_mmdebstrap() {
        results.push(base_image::install_mmdebstrap());
    }
    for err in results.into_iter().filter_map(Result::err) {
        eprintln!("not fixed: {err:#}");
    }
}

fn examine(workspace: &Workspace, tar: Option<&Path>) -> Vec<Row> {
    let mut rows = vec![
        host(),
        toolchain(workspace),
        targets(workspace),
        cross_tool(workspace),
    ];
    rows.push(disk("disk for builds", nearest(&workspace.target)));
    match Engine::reach() {
        Err(lack) => rows.push(row(
            "container engine",
            Verdict::Lacks,
            lack.found,
            lack.remedy,
        )),
        Ok(engine) => {
            rows.push(engine_row(&engine));
            rows.push(ok("image builder", engine::builder()));
            rows.push(disk("disk for images", Path::new(&engine.root)));
            rows.push(networks());
            rows.extend(base(tar));
            rows.push(built_images(workspace));
            rows.push(virtual_pi(workspace));
        }
    }
    rows
}

fn host() -> Row {
    let name = std::fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(line.trim_matches('"').to_owned())
        });
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let found = format!(
        "{} ({os} {arch})",
        name.as_deref().unwrap_or("unnamed system")
    );
    if (os, arch) == ("linux", "x86_64") {
        ok("host", found)
    } else {
        row(
            "host",
            Verdict::Lacks,
            found,
            "use a Linux x86-64 virtual machine",
        )
    }
}

fn toolchain(workspace: &Workspace) -> Row {
    const WHAT: &str = "Rust toolchain";
    let channel = match workspace.channel() {
        Ok(channel) => channel,
        Err(err) => return row(WHAT, Verdict::Lacks, format!("{err:#}"), "restore the file"),
    };
    match workspace
        .program("rustup")
        .args(["run", &channel, "rustc", "--version"])
        .ask()
    {
        Answer::Said(version) => ok(WHAT, version),
        Answer::Refused(_) => row(
            WHAT,
            Verdict::Lacks,
            format!("not {channel}"),
            format!("rustup toolchain install {channel}"),
        ),
        Answer::Absent(_) => row(
            WHAT,
            Verdict::Lacks,
            "no `rustup` program",
            "install it from https://rustup.rs",
        ),
    }
}

fn targets(workspace: &Workspace) -> Row {
    const WHAT: &str = "Rust targets";
    match workspace.missing_targets(&[PI, SERVER]) {
        Ok(missing) if missing.is_empty() => ok(WHAT, "armv7 and musl"),
        Ok(missing) => row(
            WHAT,
            Verdict::Later,
            format!("without {}", missing.join(", ")),
            "will be added by `cargo xtask lab`",
        ),
        Err(lack) => row(WHAT, Verdict::Lacks, lack.found, lack.remedy),
    }
}

fn cross_tool(workspace: &Workspace) -> Row {
    match cross::find(workspace) {
        Found::Right(path) => ok("cross", format!("{} at {}", cross::VERSION, path.display())),
        Found::Absent => row(
            "cross",
            Verdict::Later,
            "absent",
            format!("{} will be installed by `cargo xtask lab`", cross::VERSION),
        ),
        Found::Other(version) => row(
            "cross",
            Verdict::Later,
            format!("{version}, which stays"),
            format!(
                "{} will be installed by `cargo xtask lab`, into the target folder",
                cross::VERSION
            ),
        ),
    }
}

fn engine_row(engine: &Engine) -> Row {
    let mode = if engine.rootless { ", rootless" } else { "" };
    let found = format!(
        "Docker {}, API {}{mode}",
        engine.version,
        engine::dotted(engine.api)
    );
    if engine.has_strict_bridges() {
        row(
            "container engine",
            Verdict::Note,
            found,
            "drops what crosses bridges from 28 on; the lab asks for `nat-unprotected` networks",
        )
    } else {
        ok("container engine", found)
    }
}

fn disk(what: &'static str, path: &Path) -> Row {
    let answer = program("df")
        .args(["--output=avail", "--block-size=1G"])
        .arg(path)
        .ask()
        .said();
    let free = answer.and_then(|text| text.lines().last()?.trim().parse::<u64>().ok());
    match free {
        Some(free) if free >= DISK_GIB => {
            ok(what, format!("{free} GiB free at {}", path.display()))
        }
        Some(free) => row(
            what,
            Verdict::Lacks,
            format!("{free} GiB free at {}", path.display()),
            format!(
                "make room: {DISK_GIB} GiB are needed (`docker system prune` takes unused images away)"
            ),
        ),
        None => row(
            what,
            Verdict::Note,
            format!("free space at {} cannot be told", path.display()),
            "",
        ),
    }
}

/// The folder itself, or the nearest one above it that exists already.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(path)
}

fn networks() -> Row {
    const WHAT: &str = "container networks";
    match engine::networks() {
        None => row(WHAT, Verdict::Note, "their number cannot be told", ""),
        Some(count) if count + 3 <= NETWORKS => ok(WHAT, format!("{count} of about {NETWORKS}")),
        Some(count) => row(
            WHAT,
            Verdict::Note,
            format!("{count} of about {NETWORKS}"),
            "if the lab finds no free one: `docker network prune`",
        ),
    }
}

fn base(tar: Option<&Path>) -> Vec<Row> {
    const WHAT: &str = "base image";
    const TOOL: &str = "mmdebstrap";
    let has_tool = base_image::has_mmdebstrap();
    if engine::image_id(base_image::TAG).is_some() {
        return vec![ok(WHAT, base_image::TAG)];
    }
    if let Some(file) = tar {
        return vec![if file.is_file() {
            row(
                WHAT,
                Verdict::Later,
                "absent",
                format!("will be made from {} by `cargo xtask lab`", file.display()),
            )
        } else {
            row(
                WHAT,
                Verdict::Lacks,
                format!("no file {}", file.display()),
                format!("correct --base-tar or {}", base_image::TAR_VARIABLE),
            )
        }];
    }
    let mut rows = vec![if base_image::can_bootstrap() {
        row(
            WHAT,
            Verdict::Later,
            "absent",
            "will be pulled, or else bootstrapped with mmdebstrap, by `cargo xtask lab`",
        )
    } else if base_image::can_pull() {
        row(
            WHAT,
            Verdict::Later,
            "absent",
            "will be pulled by `cargo xtask lab`",
        )
    } else {
        row(
            WHAT,
            Verdict::Lacks,
            "absent, and the registry cannot be reached",
            "install mmdebstrap (a Debian-like system), or give a tar file with --base-tar",
        )
    }];
    rows.push(if has_tool {
        ok(TOOL, "installed")
    } else {
        row(
            TOOL,
            Verdict::Note,
            "absent; needed only if the base image cannot be pulled",
            "`cargo xtask doctor --fix` as root installs it",
        )
    });
    rows
}

/// The tier around an emulated Pi: the other one runs without it.
fn virtual_pi(workspace: &Workspace) -> Row {
    const WHAT: &str = "virtual Pi";
    if let Err(lack) = virtual_pi::possible(workspace) {
        let found = format!("`--tier vm` cannot run: {}", lack.found);
        return row(WHAT, Verdict::Note, found, lack.remedy);
    }
    if virtual_pi::is_made(workspace) {
        return ok(WHAT, "made");
    }
    let mut first = virtual_pi::missing_packages();
    if !virtual_pi::runs_arm() {
        first.push("emulation of the Pi's processor (binfmt)");
    }
    let first = match first.as_slice() {
        [] => String::new(),
        first => format!(", after {}", first.join(", ")),
    };
    row(
        WHAT,
        Verdict::Note,
        "not made yet",
        format!("will be made by `cargo xtask lab --tier vm`{first}"),
    )
}

fn built_images(workspace: &Workspace) -> Row {
    const WHAT: &str = "images";
    let Some(id) = engine::image_id(base_image::TAG) else {
        return row(
            WHAT,
            Verdict::Later,
            "none yet",
            "will be built by `cargo xtask lab`",
        );
    };
    let is_there = |image: &images::Image| {
        image
            .tag(workspace, &id)
            .is_ok_and(|tag| engine::image_id(&tag).is_some())
    };
    let missing: Vec<String> = images::ALL
        .iter()
        .filter(|image| !is_there(image))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        ok(WHAT, "cross, node, influxdb")
    } else {
        row(
            WHAT,
            Verdict::Later,
            format!("without {}", missing.join(", ")),
            "will be built by `cargo xtask lab`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_is_measured_where_it_will_be() {
        assert_eq!(nearest(Path::new("/no-such-folder/below")), Path::new("/"));
    }
}
