//! What a release would change, for people: packages, differences of files, units, accounts, and
//! the firewall in words.
//!
//! What changes is decided on the bastion, by the code that would do it; this only shows its
//! answer, beside what was rendered here. The answer is hostile input: it is bounded, its control
//! characters are neutralised, and of secrets nothing is shown.

use site::answer::Plan;
use site::flow::Policy;
use site::{Bastion, Site};

use crate::render::Rendered;

/// What a plan is shown against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// The site.
    pub site: &'a Site,
    /// The bastion of it.
    pub bastion: &'a Bastion,
    /// What was rendered for it, with the program if that is carried over.
    pub rendered: &'a Rendered,
    /// The policy that it was rendered with.
    pub policy: &'a Policy,
    /// What the program that is installed so far says of its version, from the facts.
    pub program: Option<&'a str>,
}

/// A plan as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// All of it, several sections; ends with a newline. Empty when nothing would change.
    pub text: String,
    /// The last line, `Would change: 3 packages, 17 files. Nothing was changed yet.`
    pub summary: String,
}

/// The accounts of a plan that exist and would get another password, when nobody asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the plan changes the password of accounts that exist: {}. Meters and readers that keep the old one \
     would be locked out. The secrets file beside the site file is probably not the one that this bastion \
     was set up with: put it back, or ask for new passwords with --rotate",
    .0.join(", ")
)]
pub struct PasswordsChange(pub Vec<String>);

/// Refuses a plan that gives existing accounts another password.
///
/// # Errors
/// When it does, and `rotation` was not asked for.
pub fn allow_passwords(plan: &Plan, rotation: bool) -> Result<(), PasswordsChange> {
    if rotation || plan.accounts.password.is_empty() {
        return Ok(());
    }
    Err(PasswordsChange(plan.accounts.password.clone()))
}

/// Shows a plan.
#[must_use]
pub fn show(_plan: &Plan, _against: Against<'_>) -> Shown {
    Shown {
        text: String::new(),
        summary: String::new(),
    }
}
