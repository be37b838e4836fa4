//! How a bastion's own system is kept: as written, and with what is not written.

use super::System;
use crate::form::value::unit;
use crate::form::{Key, List, Page, Table};

/// Services of a fresh system that an exposed machine does not need: they announce it, listen,
/// or serve hardware that it does not have.
const NEEDLESS: [&str; 13] = [
    "avahi-daemon.socket",
    "avahi-daemon.service",
    "cups.socket",
    "cups.path",
    "cups.service",
    "cups-browsed.service",
    "bluetooth.service",
    "hciuart.service",
    "ModemManager.service",
    "triggerhappy.socket",
    "triggerhappy.service",
    "rpcbind.socket",
    "rpcbind.service",
];
/// The longest that a Pi's watchdog can wait is a little over 15 s. More is refused by the
/// kernel, and then nothing watches.
const LONGEST_WATCHDOG_S: u8 = 15;
const WATCHDOG_S: u8 = 14;
const JOURNAL_MIB: u32 = 64;

/// Absent numbers were bad, and have been noted.
pub(super) struct SystemDraft {
    off: Option<List<String>>,
    watchdog_s: Option<u8>,
    journal_mib: Option<u32>,
}

impl SystemDraft {
    pub(super) fn read(page: &mut Page, table: Option<Table>) -> Self {
        let Some(mut table) = table else {
            return Self {
                off: None,
                watchdog_s: Some(WATCHDOG_S),
                journal_mib: Some(JOURNAL_MIB),
            };
        };
        let off = Key("off", "[\"avahi-daemon.service\"]");
        let chosen = table.has(off.0);
        let list = page.optional_list(&mut table, off, unit);
        let watchdog = Key("watchdog_s", "14");
        let journal = Key("journal_mib", "64");
        let draft = Self {
            off: chosen.then_some(list),
            watchdog_s: page.number(
                &mut table,
                watchdog,
                0..=LONGEST_WATCHDOG_S,
                Some(WATCHDOG_S),
            ),
            journal_mib: page.number(&mut table, journal, 8..=4096, Some(JOURNAL_MIB)),
        };
        page.finish(table);
        if let Some(off) = &draft.off {
            super::networks::once(page, off);
        }
        draft
    }

    pub(super) fn system(self) -> Option<System> {
        let needless = || NEEDLESS.map(str::to_owned).into();
        Some(System {
            off: self.off.map_or_else(needless, List::values),
            watchdog_s: self.watchdog_s?,
            journal_mib: self.journal_mib?,
        })
    }
}
