//! How long to wait between attempts that must never be given up.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Growing waits with jitter, without an end: half a second at first, half a minute at most
/// (jitter comes on top), so a broken database costs two log lines a minute and no busy loop.
pub(crate) struct Patience(backon::ExponentialBackoff);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(
            ExponentialBuilder::new()
                .with_min_delay(SHORTEST)
                .with_max_delay(LONGEST)
                .with_factor(2.0)
                .with_jitter()
                .without_max_times()
                .build(),
        )
    }

    /// How long to wait now.
    pub(crate) fn next_wait(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST)
    }
}
