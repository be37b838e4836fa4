//! Time: since boot, which never jumps, and wall time, which is right once somebody has set it.
//!
//! A Pi has no clock of its own. After boot it goes on from the last time that it remembers, and a
//! plausible year proves nothing; so wall time counts only once the time service says that it set
//! the clock. What is done with it is left to the journal; what waited in the broker is dated in
//! `ticks`.

pub mod ticks;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use site::record::Id;

use crate::host::read_text;

/// Touched by systemd's time service when it has set the clock; gone after a reboot.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// The clocks of a machine.
pub trait Clock: Send + Sync {
    /// ns since the machine started, time in suspend included.
    fn boot_ns(&self) -> u64;
    /// ns since 1970, whether right or not.
    fn wall_ns(&self) -> i64;
    /// Whether wall time is right.
    fn is_synchronised(&self) -> bool;
}

/// The clocks of this machine.
#[derive(Debug, Clone)]
pub struct MachineClock {
    synchronised: PathBuf,
    trusted: bool,
}

impl MachineClock {
    /// `trusted` where nothing says whether the clock is set.
    #[must_use]
    pub fn new(trusted: bool) -> MachineClock {
        MachineClock {
            synchronised: SYNCHRONISED.into(),
            trusted,
        }
    }
}

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

impl Clock for MachineClock {
    fn boot_ns(&self) -> u64 {
        u64::try_from(read(ClockId::Boottime)).unwrap_or(0)
    }

    fn wall_ns(&self) -> i64 {
        i64::try_from(read(ClockId::Realtime)).unwrap_or(0)
    }

    fn is_synchronised(&self) -> bool {
        self.trusted || self.synchronised.exists()
    }
}

/// The identity of this boot.
///
/// # Errors
/// When the kernel does not tell it.
pub fn boot_id() -> Result<Id> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let text = read_text(&path)?;
    text.parse()
        .with_context(|| format!("{} holds no boot id", path.display()))
}

/// What is added to times since boot to get wall time, as the clocks stand now.
#[must_use]
pub fn offset_ns(clock: &dyn Clock) -> i64 {
    let boot = i64::try_from(clock.boot_ns()).unwrap_or(i64::MAX);
    clock.wall_ns().saturating_sub(boot)
}
