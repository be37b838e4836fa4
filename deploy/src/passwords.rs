//! Which passwords a deployment may bring: those of the secrets file, new ones for new accounts,
//! and changed ones for those accounts alone that `--rotate` names.
//!
//! The file is written after a plan was accepted and before it is applied: a plan that is refused
//! leaves no file behind that others would take for the true one, and a password that a bastion
//! knows is never in memory only. When the bastion goes back, so does a rotation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use site::Site;
use site::account::Account;
use site::answer::AccountChange;

use crate::secrets::{Secrets, SecretsError};
use crate::shown;

/// How many names a message holds.
const NAMES_SHOWN: usize = 8;

/// Why a deployment must not go on.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The secrets file cannot be read or written, or there are no random numbers.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// `--rotate` names nobody.
    #[error("--rotate {name}: the site has no such account; it has {known}")]
    Unknown {
        /// What was named.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Machines out there would not get in any more.
    #[error(
        "the plan would change the password of {count} existing accounts ({names}), which would \
         shut out the meters that use them; {remedy}, or say `--rotate NAME…` for those that shall \
         have a new password"
    )]
    WouldChange {
        /// How many.
        count: usize,
        /// Some of them.
        names: String,
        /// What is likely wrong.
        remedy: String,
    },
}

/// The passwords of a run.
pub struct Passwords {
    path: PathBuf,
    /// What the file held; nothing when there was none.
    before: Option<Secrets>,
    secrets: Secrets,
    rotate: BTreeSet<String>,
    written: bool,
    in_use: bool,
}

impl Passwords {
    /// Reads the file beside the site file, and gives passwords to whoever lacks one. Nothing is
    /// written yet.
    ///
    /// # Errors
    /// When the file is not as it should be, or `rotate` names an account that is not there.
    pub fn load(
        site_file: &Path,
        site: &Site,
        rotate: &[String],
    ) -> Result<Passwords, PasswordError> {
        let path = Secrets::path_beside(site_file);
        let before = path.exists().then(|| Secrets::load(&path)).transpose()?;
        let mut secrets = before.clone().unwrap_or_default();
        let names: Vec<String> = Account::all(site).into_iter().map(|one| one.name).collect();
        for name in rotate {
            if !names.contains(name) {
                return Err(PasswordError::Unknown {
                    name: name.clone(),
                    known: listed(&names),
                });
            }
            secrets.forget(name);
        }
        secrets.complete(site)?;
        Ok(Passwords {
            path,
            before,
            secrets,
            rotate: rotate.iter().cloned().collect(),
            written: false,
            in_use: false,
        })
    }

    /// For rendering.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Where they are kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there was no file.
    #[must_use]
    pub fn are_new(&self) -> bool {
        self.before.is_none() && !self.written
    }

    /// Refuses a change that nobody asked for.
    ///
    /// # Errors
    /// When an account that is not to be rotated would get another password.
    pub fn check(&self, change: &AccountChange) -> Result<(), PasswordError> {
        let unasked: Vec<String> = change
            .password
            .iter()
            .filter(|name| !self.rotate.contains(*name))
            .cloned()
            .collect();
        if unasked.is_empty() {
            return Ok(());
        }
        let path = self.path.display();
        Err(PasswordError::WouldChange {
            count: unasked.len(),
            names: listed(&unasked),
            remedy: if self.before.is_none() {
                format!("{path} is missing: bring it from where the bastion was set up")
            } else {
                format!("{path} is not the one that the bastion was set up with: bring that one")
            },
        })
    }

    /// Writes what is new, and keeps a copy of the file when passwords in it are replaced. Returns
    /// what was written where, in words.
    ///
    /// # Errors
    /// When it cannot be written; nothing may be applied then.
    pub fn keep(&mut self, release: &str) -> Result<Option<String>, PasswordError> {
        if self.written || self.before.as_ref() == Some(&self.secrets) {
            return Ok(None);
        }
        let mut words = format!("wrote {}", self.path.display());
        if let Some(before) = &self.before
            && !self.rotate.is_empty()
        {
            // Named so that git ignores it as well.
            let copy = self.path.with_extension("").with_extension("");
            let name = copy
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let copy = copy.with_file_name(format!("{name}.before-{release}.secrets.toml"));
            before.save(&copy)?;
            words.push_str(&format!("; the passwords before are in {}", copy.display()));
        }
        self.secrets.save(&self.path)?;
        self.written = true;
        Ok(Some(words))
    }

    /// A bastion has them for good.
    pub fn are_in_use(&mut self) {
        self.in_use = true;
    }

    /// The bastion went back, and so do rotated passwords, unless another bastion has them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn went_back(&mut self) -> Result<(), PasswordError> {
        if let Some(before) = &self.before
            && self.written
            && !self.in_use
            && !self.rotate.is_empty()
        {
            before.save(&self.path)?;
            self.written = false;
        }
        Ok(())
    }
}

/// What a person has to know when a rollback brought earlier passwords back: the secrets file holds
/// the later ones, and only a person knows which of the two a meter has. Nothing when it did not.
#[must_use]
pub fn earlier_again(change: &AccountChange, file: &Path) -> Option<String> {
    if change.password.is_empty() {
        return None;
    }
    let file = file.display();
    Some(format!(
        "warning: these accounts have the passwords of that release again: {}; {file} has later ones. Those of then \
         are in the copy beside it (`…before-<release>.secrets.toml`): put it in its place, or give these accounts \
         new ones with `deploy --rotate`",
        listed(&change.password)
    ))
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| shown::line(name))
        .collect();
    let left = names.len().saturating_sub(NAMES_SHOWN);
    if left > 0 {
        shown.push(format!("and {left} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
