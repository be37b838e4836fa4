//! What a machine is, before anything is done to it: one script that looks, and its answer.
//!
//! The script runs there as an ordinary user with `sh -s`, reads and changes nothing. The answer
//! comes from a machine that may be in strange hands, so it is bounded and taken apart without
//! trust. Running the script is left to `target`, judging the answer to `preflight`.

mod parse;
mod sections;
mod version;

use std::net::IpAddr;

use ipnet::IpNet;

pub use version::Version;

/// The script: POSIX shell, to be given to `sh -s` on its standard input.
pub const SCRIPT: &str = include_str!("facts/look.sh");

/// The longest answer that is taken apart, in bytes. The script's own bounds stay below it.
pub const LONGEST_ANSWER: usize = 128 * 1024;

/// Why an answer says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// More than [`LONGEST_ANSWER`].
    #[error(
        "the machine answered {0} bytes, more than {LONGEST_ANSWER}: this is not our script's answer"
    )]
    TooLong(usize),
    /// The first line of our script is not in it.
    #[error(
        "the machine did not answer our script but {0:?}: see whether `ssh DESTINATION sh -c true` \
         works, and whether the account's login shell is a shell"
    )]
    NotOurs(String),
    /// It breaks off.
    #[error("the machine's answer breaks off after {0:?}: the connection was cut; try again")]
    CutShort(String),
}

/// How one becomes root there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sudo {
    /// One is root already.
    Root,
    /// `sudo` asks for nothing.
    Yes,
    /// `sudo` asks for a password, or refuses this user.
    Password,
    /// There is no `sudo`.
    Absent,
    /// Nobody could tell.
    #[default]
    Unknown,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Where.
    pub on: String,
    /// `ext4`, `overlay`, `tmpfs`, ….
    pub kind: String,
    /// `rw`, `noexec`, ….
    pub options: Vec<String>,
}

/// The room below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The folder.
    pub folder: String,
    /// Size of its file system, in KiB.
    pub total_kib: u64,
    /// Free for ordinary users, in KiB.
    pub free_kib: u64,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Full name.
    pub name: String,
    /// There is such a unit, and it is not masked.
    pub loaded: bool,
    /// It runs.
    pub active: bool,
    /// It starts at boot.
    pub enabled: bool,
}

/// A package of the distribution.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// Name, with `:architecture` where that is a foreign one.
    pub name: String,
    /// The installed version as the distribution writes it.
    pub installed: Option<String>,
    /// The version that would be installed.
    pub candidate: Option<String>,
}

/// A chain of the kernel's firewall that sees packets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Family and name of its table, `inet filter`.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The hook, `input`; empty when nothing calls it but other chains.
    pub hook: String,
    /// Whether what no rule fits is dropped.
    pub drops: bool,
}

/// An address of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// Address and length of its network.
    pub network: IpNet,
    /// Not a link-local one or one of the machine itself.
    pub global: bool,
    /// Given by DHCP or by router advertisement, so that it may change.
    pub dynamic: bool,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The router.
    pub via: IpAddr,
    /// The interface to it.
    pub interface: String,
}

/// A program that waits for TCP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// Whether it hears this machine only.
    pub loopback: bool,
    /// The program; empty when only root may know.
    pub program: String,
}

/// The release that is in place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deployed {
    /// Name of its site.
    pub site: String,
    /// Name of its bastion.
    pub bastion: String,
    /// The version that rendered it.
    pub version: String,
}

/// Everything that the script saw. What could not be seen is empty or `None`; nothing here is
/// trusted, and every text is free of control characters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// The user we are.
    pub user: String,
    /// How we become root.
    pub sudo: Sudo,
    /// dpkg's architecture of the userland, `armhf`.
    pub architecture: String,
    /// Architectures added to it.
    pub foreign_architectures: Vec<String>,
    /// The kernel's machine, `armv7l`. A 64-bit kernel below a 32-bit userland is usual.
    pub machine: String,
    /// The kernel's version.
    pub kernel: String,
    /// The processor's generation of ARM as the kernel says, 7 for ARMv7; 6 is a Pi 1 or Zero.
    pub arm: Option<u32>,
    /// ELF loaders that are there.
    pub loaders: Vec<String>,
    /// The C library.
    pub glibc: Option<Version>,
    /// `debian`, `raspbian`.
    pub os: String,
    /// `12`, empty for unreleased ones.
    pub os_version: String,
    /// For showing, `Raspbian GNU/Linux 12 (bookworm)`.
    pub os_name: String,
    /// The board; empty for others than ARM boards.
    pub model: String,
    /// What the kernel was told about its root.
    pub kernel_words: Vec<String>,
    /// Mounted file systems that matter.
    pub mounts: Vec<Mount>,
    /// Room.
    pub disks: Vec<Disk>,
    /// Memory in KiB.
    pub memory_kib: Option<u64>,
    /// Seconds since boot.
    pub uptime_s: Option<u64>,
    /// Name of process 1.
    pub init: String,
    /// systemd's version.
    pub systemd: Option<Version>,
    /// Units that matter.
    pub units: Vec<Unit>,
    /// Names of units that failed.
    pub failed_units: Vec<String>,
    /// `none` on a real machine; otherwise `docker`, `kvm`, ….
    pub virtualisation: String,
    /// The machine's clock, seconds since 1970.
    pub clock: Option<u64>,
    /// Whether the clock is synchronised; none when nobody could tell.
    pub clock_synchronised: Option<bool>,
    /// Whether there is a clock that runs without power.
    pub clock_chip: bool,
    /// Programs that are there, by name.
    pub programs: Vec<String>,
    /// nftables' version.
    pub nft: Option<Version>,
    /// Tables of the firewall, `inet filter`; none when the kernel or `sudo` refused to say.
    pub tables: Option<Vec<String>>,
    /// Chains of the firewall.
    pub chains: Vec<Chain>,
    /// Tables of the older iptables in the kernel, `ip filter`.
    pub legacy_tables: Vec<String>,
    /// `/etc/nftables.conf` begins by flushing everything.
    pub flushes: bool,
    /// UFW is switched on.
    pub ufw_active: bool,
    /// Packages that matter.
    pub packages: Vec<Package>,
    /// Count of package sources.
    pub sources: Option<u64>,
    /// Count of package lists that were fetched.
    pub package_lists: Option<u64>,
    /// What dpkg says of packages that are half installed; empty when there is none.
    pub broken_packages: String,
    /// Locks of apt and dpkg that somebody holds.
    pub locks: Vec<String>,
    /// The machine's addresses.
    pub addresses: Vec<Address>,
    /// Its default routes.
    pub routes: Vec<Route>,
    /// Whom it asks for names, from `/etc/resolv.conf`.
    pub resolvers: Vec<IpAddr>,
    /// Where our connection comes from, and the address and port it came to.
    pub ssh_from: Option<(IpAddr, IpAddr, u16)>,
    /// Ports on which the SSH server is told to listen.
    pub ssh_ports: Vec<u16>,
    /// Who listens on ports that matter.
    pub listeners: Vec<Listener>,
    /// Files in `/etc/mosquitto/conf.d`.
    pub broker_files: Vec<String>,
    /// Watchdog devices.
    pub watchdogs: Vec<String>,
    /// Users that matter and exist.
    pub users: Vec<String>,
    /// The firmware's word on power and heat, bit by bit; Raspberry Pi only.
    pub throttled: Option<u32>,
    /// The version that our program says; none when it is not there.
    pub program: Option<String>,
    /// The release in place; none before the first.
    pub deployed: Option<Deployed>,
    /// Files of a change that waits for its confirmation or was cut short.
    pub transaction: Vec<String>,
    /// Releases that were carried over and not removed.
    pub staging: Vec<String>,
}

impl Facts {
    /// Takes the script's answer apart. Lines before it (a login shell's greeting) are skipped.
    ///
    /// # Errors
    /// An answer that is too long, is not the script's, or breaks off.
    pub fn parse(answer: &str) -> Result<Facts, FactsError> {
        Ok(parse::facts(&sections::Sections::read(answer)?))
    }

    /// The mounted file system that holds a folder.
    #[must_use]
    pub fn mount_of(&self, folder: &str) -> Option<&Mount> {
        let holds = |mount: &&Mount| {
            mount.on == "/"
                || folder
                    .strip_prefix(mount.on.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Of two mounted on one folder the later one is seen.
        self.mounts
            .iter()
            .filter(holds)
            .max_by_key(|mount| mount.on.len())
    }

    /// The unit of a name, `ufw.service`.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// Whether a unit runs.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        self.unit(name).is_some_and(|unit| unit.active)
    }

    /// The package of a name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Whether a program is there.
    #[must_use]
    pub fn has(&self, program: &str) -> bool {
        self.programs.iter().any(|name| name == program)
    }

    /// Room below a folder.
    #[must_use]
    pub fn disk(&self, folder: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.folder == folder)
    }

    /// Whether no program can be started from a folder. Debian's initrd mounts `/run` so.
    #[must_use]
    pub fn forbids_programs(&self, folder: &str) -> bool {
        self.mount_of(folder)
            .is_some_and(|mount| mount.options.iter().any(|option| option == "noexec"))
    }

    /// Whether process 1 is something else than systemd.
    #[must_use]
    pub fn systemd_unseen(&self) -> bool {
        self.init != "systemd"
    }
}
