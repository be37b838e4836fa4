//! Waiting for a condition, with a deadline and the last thing seen.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a look at a condition found.
pub enum Look<T> {
    /// It holds, and this came of it.
    Done(T),
    /// Not yet; this was seen instead.
    NotYet(String),
}

/// Looks again and again until the condition holds.
///
/// # Errors
/// When the deadline passes, with the last thing seen; or when a look itself fails.
pub async fn eventually<T, F>(
    what: impl Display,
    deadline: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Look<T>>>,
{
    let start = Instant::now();
    loop {
        match look().await? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(seen) if start.elapsed() > deadline => {
                bail!(
                    "waited {:.1} s for {what}, in vain; last seen: {seen}",
                    deadline.as_secs_f32()
                )
            }
            Look::NotYet(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
