//! Progress on the terminal: what was done, and how long it took since the beginning.

use std::time::Instant;

/// Says what was done and how long it took.
pub struct Steps(Instant);

impl Steps {
    /// The clock starts.
    #[must_use]
    pub fn begin() -> Steps {
        Steps(Instant::now())
    }

    /// Prints the time since the beginning, and what was done by now.
    pub fn done(&self, what: &str) {
        eprintln!("[{:5.1} s] {what}", self.0.elapsed().as_secs_f32());
    }
}
