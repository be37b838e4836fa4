//! Which journal this is: a random identity that stays with one folder on one disk of one machine.
//!
//! A copy on another card or in another machine, and a folder restored from a copy, get an
//! identity of their own: both would go on with the same numbers for different records. What
//! tells a copy: machine and disk (their serial numbers), and the number that the file system
//! gave to the file. A copy that keeps all of that is found by the reader's digest.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use site::record::{Id, checksum};

use super::Failure;

/// A machine and a disk, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(pub u64);

impl Place {
    /// Where `folder` lies. What cannot be read is left out.
    #[must_use]
    pub fn of(folder: &Path) -> Place {
        let mut known = String::new();
        let mut add = |path: PathBuf| {
            if let Ok(text) = fs::read_to_string(&path) {
                known.push_str(text.trim_matches(['\0', '\n', ' ']));
            }
            known.push('\n');
        };
        add("/sys/firmware/devicetree/base/serial-number".into());
        add("/etc/machine-id".into());
        if let Ok(about) = fs::metadata(folder) {
            let (major, minor) = (
                rustix::fs::major(about.dev()),
                rustix::fs::minor(about.dev()),
            );
            let partition = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
            // A partition's disk is the folder above it.
            for disk in [partition.clone(), partition.join("..")] {
                for name in [
                    "device/cid",
                    "device/serial",
                    "device/wwid",
                    "wwid",
                    "serial",
                ] {
                    add(disk.join(name));
                }
            }
        }
        Place(checksum(known.as_bytes()))
    }
}

/// What the identity file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    format: u32,
    /// Of the journal.
    pub(super) journal: Id,
    /// Seed of the checksums; stays the same when the identity changes.
    pub(super) salt: u64,
    place: Place,
    /// Number of the identity file itself.
    inode: u64,
}

/// What became of the identity at opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is the journal that it was.
    Same,
    /// There was none.
    New,
    /// It is a copy, and has a new identity now.
    Copy,
}

/// Reads the identity of a folder, or makes one; `salt` is what segments were found to have.
/// A new one must still be written with [`write`].
pub(super) fn read(folder: &Path, place: Place, salt: Option<u64>) -> (Identity, Origin) {
    let path = folder.join("identity");
    let read = || -> Option<(Identity, u64)> {
        let identity = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some((identity, fs::metadata(&path).ok()?.ino()))
    };
    match read() {
        Some((identity, inode)) if identity.place == place && identity.inode == inode => {
            (identity, Origin::Same)
        }
        Some((identity, _)) => (new(place, Some(identity.salt)), Origin::Copy),
        None => (new(place, salt), Origin::New),
    }
}

fn new(place: Place, salt: Option<u64>) -> Identity {
    let mut random = [0; 24];
    // Fails on no system that the project runs on; even then the identity is hardly another's.
    if getrandom::fill(&mut random).is_err() {
        let now = format!("{:?}{:?}", std::time::SystemTime::now(), std::process::id());
        for (place, chunk) in (0_u8..).zip(random.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&checksum(format!("{now}{place}").as_bytes()).to_le_bytes());
        }
    }
    let (journal, own) = random.split_at(16);
    Identity {
        format: 1,
        journal: Id(*journal.first_chunk().unwrap_or(&[0; 16])),
        salt: salt.unwrap_or(u64::from_le_bytes(*own.first_chunk().unwrap_or(&[0; 8]))),
        place,
        inode: 0,
    }
}

/// Writes the identity file; it is on disk when this returns.
pub(super) fn write(folder: &Path, identity: &Identity) -> Result<(), Failure> {
    let (path, new) = (folder.join("identity"), folder.join("identity.new"));
    let write = || -> io::Result<()> {
        let mut file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let identity = Identity {
            inode: file.metadata()?.ino(),
            ..*identity
        };
        io::Write::write_all(&mut file, &serde_json::to_vec(&identity)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(super::failed("writing", &path))
}
