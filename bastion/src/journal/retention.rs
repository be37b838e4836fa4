//! What is kept: by size, age and free space. Whole segments go, the oldest first, and never the
//! one that is written. What a reader had not taken is counted for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::index::ReaderState;
use super::{Failure, Journal, failed};

/// Readers that are remembered.
const MOST_READERS: usize = 64;

impl Journal {
    /// Removes what is beyond the settings; `now_ns` is wall time since 1970, if it is known.
    /// Returns how many records were removed.
    pub fn trim(&mut self, now_ns: Option<u64>) -> u64 {
        self.now_ns = now_ns.unwrap_or(self.now_ns);
        let mut removed = 0;
        while self.is_beyond(now_ns)
            && let Some(count) = self.remove_oldest()
        {
            removed += count;
        }
        self.restore_reserve();
        removed
    }

    fn is_beyond(&self, now_ns: Option<u64>) -> bool {
        let keep_ns = u64::try_from(self.settings.keep_for.as_nanos()).unwrap_or(u64::MAX);
        let state = self.index.state();
        // All records of a segment are older than the beginning of the next one.
        let second = state.segments.get(1).map_or(0, |segment| segment.begun_ns);
        let old = second > 0 && now_ns.is_some_and(|now| now.saturating_sub(second) > keep_ns);
        let large = state.bytes() > self.settings.keep_bytes;
        drop(state);
        old || large
            || self
                .free()
                .is_some_and(|free| free < self.settings.keep_free)
    }

    /// Bytes that the file system has left for us.
    fn free(&self) -> Option<u64> {
        let about = rustix::fs::statvfs(&self.folder).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// Removes the oldest segment; nothing when it is the one that is written.
    fn remove_oldest(&mut self) -> Option<u64> {
        let mut state = self.index.state();
        if state.segments.len() < 2 {
            return None;
        }
        let oldest = state.segments.pop_front()?;
        let (first, end) = (oldest.first, state.oldest());
        let removed = end.saturating_sub(first);
        state.trimmed += removed;
        for reader in state.readers.values_mut() {
            let from = reader.taken.saturating_add(1).max(first);
            reader.missed += end.saturating_sub(from);
        }
        state.forget_boots();
        drop(state);
        // What cannot be removed is found again at the next start.
        drop(fs::remove_file(&oldest.path));
        Some(removed)
    }

    /// On a full disk: gives up the reserve, then the oldest segment.
    pub(super) fn make_room(&mut self) -> bool {
        let reserve = self.folder.join("reserve");
        fs::remove_file(reserve).is_ok() || self.remove_oldest().is_some()
    }

    /// Sets room aside again once there is enough of it.
    fn restore_reserve(&mut self) {
        let path = self.folder.join("reserve");
        let bytes = self.settings.reserve_bytes;
        let enough = self
            .settings
            .keep_free
            .saturating_add(bytes.saturating_mul(2));
        if bytes == 0 || path.exists() || self.free().is_none_or(|free| free < enough) {
            return;
        }
        let made = File::create_new(&path).and_then(|file| {
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, flags, 0, bytes).map_err(io::Error::from)
        });
        if made.is_err() {
            // A file system without this: there is no reserve then.
            drop(fs::remove_file(&path));
        }
    }

    /// Readers and how far they have come.
    #[must_use]
    pub fn readers(&self) -> BTreeMap<String, ReaderState> {
        self.index.state().readers.clone()
    }

    /// Remembers the readers across a restart. Not synced: an older state only counts too much as
    /// missed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_readers(&self) -> Result<(), Failure> {
        let (path, new) = (self.folder.join("readers"), self.folder.join("readers.new"));
        let text = serde_json::to_vec(&self.readers()).unwrap_or_default();
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(failed("writing", &path))
    }
}

/// What was remembered; nothing when it is damaged.
pub(super) fn read_readers(folder: &Path) -> BTreeMap<String, ReaderState> {
    let text = fs::read(folder.join("readers")).unwrap_or_default();
    let readers: BTreeMap<String, ReaderState> = serde_json::from_slice(&text).unwrap_or_default();
    readers.into_iter().take(MOST_READERS).collect()
}
