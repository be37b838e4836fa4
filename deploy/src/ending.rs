//! How a run can end, and what becomes of it when somebody ends it before: the exit codes, and
//! what is true on the bastion at each moment.

use std::sync::{Arc, Mutex, PoisonError};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Everything as rendered, and all of it held; or nothing had to be done.
    Done,
    /// A dry run, and something would change.
    WouldChange,
    /// In place, but not everything held, or not everything could be checked.
    NotAllHeld,
    /// Nothing was changed, or the bastion went back.
    Failed,
}

impl Ending {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::WouldChange => 2,
            Ending::NotAllHeld => 3,
        }
    }
}

/// The exit codes, for the help text.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  failed: nothing was changed, or the bastion went back to the state before
  2  with --dry-run: something would change
  3  in place, but not everything held or could be checked";

/// What is true on the bastion right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing there is being changed.
    Looking,
    /// apt installs packages.
    Packages,
    /// A change is under way or waits for its confirmation.
    Armed {
        /// Seconds until the bastion goes back by itself.
        within: u64,
    },
    /// The change is confirmed.
    Confirmed,
}

/// The moment, shared with whoever hears the interrupt.
#[derive(Debug, Clone)]
pub struct Now(Arc<Mutex<Moment>>);

impl Default for Now {
    fn default() -> Now {
        Now(Arc::new(Mutex::new(Moment::Looking)))
    }
}

impl Now {
    /// Says what is true from now on.
    pub fn is(&self, moment: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// What an interrupt at this moment means there.
    #[must_use]
    pub fn interrupted(&self) -> String {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Moment::Looking => "interrupted: nothing was changed there".to_owned(),
            Moment::Packages => "interrupted: apt may still be finishing there; beside packages \
                                 nothing was changed, and the next run goes on from it"
                .to_owned(),
            Moment::Armed { within } => format!(
                "interrupted: nobody confirms any more, so the bastion goes back to the state before by \
                 itself, within {within} s after the change; `deploy status` tells"
            ),
            Moment::Confirmed => {
                "interrupted: the release is in place and confirmed there".to_owned()
            }
        }
    }
}
