//! The memory for what is here and not yet on disk. When it is used up nothing more is read, and the
//! broker keeps the rest; acknowledgements and pings go out all the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes.
const MOST: usize = 2 * 1024 * 1024;

/// Shared by the one who reads and the one who writes.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
    given_back: Notify,
}

impl Budget {
    /// So many bytes came.
    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many were written.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.given_back.notify_one();
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= MOST
    }

    /// Waits until there is room. Only one may wait.
    pub(super) async fn room(&self) {
        while self.is_used_up() {
            self.given_back.notified().await;
        }
    }
}
