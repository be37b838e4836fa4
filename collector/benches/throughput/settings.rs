//! The settings of the daemon and of the collector, as they would be rendered for the fleet.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use site::daemon::{FORMAT, Keep, Listened, Settings};

use crate::fleet;

/// How long the last group and the last batch wait for more, which never comes; all others are full
/// before. With the usual second it would be a good part of what is measured.
const LAST_MS: u64 = 100;

/// Writes `daemon.json` and the password.
pub(crate) fn daemon(folder: &Path, port: u16) -> Result<()> {
    password(folder)?;
    let meters = (0..fleet::METERS).map(|meter| Listened {
        id: fleet::id(meter),
        prefix: fleet::prefix(meter),
        ask: None,
    });
    let settings = Settings {
        format: FORMAT,
        port,
        folder: folder.join("journal").display().to_string(),
        window: 1000,
        commit_ms: LAST_MS,
        keep: Keep {
            free_bytes: 0,
            reserve_bytes: 0,
            ..Keep::default()
        },
        trust_clock: true,
        clock_patience_s: 600,
        meters: meters.collect(),
        readers: vec!["collector".to_owned()],
    };
    fs::write(folder.join("daemon.json"), serde_json::to_vec(&settings)?)?;
    Ok(())
}

/// Writes `collector.toml` for a new collector, which knows of nothing that an earlier one took.
/// `source` is `bastion` or `broker`.
pub(crate) fn collector(folder: &Path, source: &str, port: u16, database: u16) -> Result<()> {
    password(folder)?;
    let list = if source == "bastion" {
        "[[bastion]]"
    } else {
        "[broker]"
    };
    let mut text = format!(
        "site = \"bench\"\nstate = \"state\"\n\n{list}\nhost = \"127.0.0.1\"\nport = {port}\n\
         account = \"collector\"\npassword_file = \"password\"\n\n\
         [database]\nurl = \"http://127.0.0.1:{database}\"\nname = \"bench\"\n\
         batch_ms = {LAST_MS}\n"
    );
    for meter in 0..fleet::METERS {
        let (id, prefix) = (fleet::id(meter), fleet::prefix(meter));
        write!(
            text,
            "\n[[meter]]\nid = \"{id}\"\nmodel = \"shellyem3\"\nprefix = \"{prefix}\"\n\
             location = \"l\"\npoint = \"point-{meter}\"\n"
        )?;
    }
    fs::write(folder.join("collector.toml"), text)?;
    drop(fs::remove_dir_all(folder.join("state")));
    fs::create_dir_all(folder.join("state"))?;
    Ok(())
}

fn password(folder: &Path) -> Result<()> {
    let password = folder.join("password");
    fs::write(&password, "abcd\n")?;
    fs::set_permissions(password, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
