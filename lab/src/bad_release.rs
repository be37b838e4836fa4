//! Releases that nobody should deploy: what a mistake in rendering, or in the files of a release,
//! could bring to a bastion. Each is the right release with one thing changed, by the words that
//! the deployer itself renders with.
//!
//! What becomes of a bastion that gets one is left to the scenarios.

mod policy;
mod system;

use anyhow::{Context as _, Result};
use deploy::{Rendered, RenderedFile, Secrets};
use site::flow::Policy;
use site::{Bastion, Site};

/// What a release is made of.
pub struct Parts<'a> {
    /// The site.
    pub site: &'a Site,
    /// The bastion of it.
    pub bastion: &'a Bastion,
    /// The accounts' passwords: those that the bastion has.
    pub secrets: &'a Secrets,
    /// The program for the bastion.
    pub program: &'a [u8],
    /// As which version the release shows itself.
    pub version: &'a str,
}

impl Parts<'_> {
    /// The right release.
    ///
    /// # Errors
    /// When an account has no password.
    pub fn right(&self) -> Result<Rendered> {
        self.with_policy(&self.policy())
    }

    fn policy(&self) -> Policy {
        Policy::of(self.site, self.bastion)
    }

    fn with_policy(&self, policy: &Policy) -> Result<Rendered> {
        let rendered = Rendered::with_policy(self.site, self.bastion, self.secrets, policy);
        Ok(rendered
            .context("rendering")?
            .with_program(self.program.to_vec(), self.version))
    }
}

/// What stops a bad release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The plan already: nothing is changed.
    ByThePlan,
    /// The bastion's own look at itself after the change.
    ByItsHealth,
    /// That nobody gets in any more over SSH to confirm it.
    ByTheLock,
    /// That it comes to no confirmation, although SSH answers.
    ByTheWindow,
}

/// One of them.
#[derive(Clone, Copy)]
pub struct BadRelease {
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it.
    pub says: &'static str,
    /// What stops it, when nothing else comes in between.
    pub stopped: Stopped,
    make: fn(&Parts<'_>) -> Result<Rendered>,
}

impl BadRelease {
    /// Makes it.
    ///
    /// # Errors
    /// When the right one lacks what this one changes.
    pub fn make(&self, parts: &Parts<'_>) -> Result<Rendered> {
        (self.make)(parts).with_context(|| format!("making the bad release {}", self.name))
    }
}

macro_rules! bad_releases {
    ($($name:ident, $stopped:ident, $module:ident, $says:literal;)*) => {
        $(
            #[doc = concat!("A release in which ", $says, ".")]
            pub const $name: BadRelease = BadRelease {
                name: stringify!($name),
                says: $says,
                stopped: Stopped::$stopped,
                make: $module::$name,
            };
        )*

        /// All of them.
        pub const ALL: &[BadRelease] = &[$($name),*];
    };
}

#[expect(non_upper_case_globals, reason = "their names are those of scenarios")]
mod all {
    use super::{BadRelease, Stopped, policy, system};

    bad_releases! {
        no_ssh_rule, ByTheLock, policy, "no rule lets SSH in";
        wrong_interface, ByTheLock, policy, "SSH is let in on an interface that the machine does not have";
        wrong_admin, ByTheLock, policy, "SSH is let in from another machine than the admin's";
        v6_only, ByTheLock, policy, "SSH is let in over IPv6 alone";
        connection_tracking_flushed, ByTheLock, system, "no rule lets SSH in, and a unit makes the kernel forget the connections that there are";
        everything_dropped, ByTheLock, policy, "everything but loopback is dropped both ways";
        ruleset_does_not_load, ByThePlan, policy, "a rule names a set that is not there";
        port_changed, ByTheLock, system, "the SSH server listens at another port";
        sshd_config_broken, ByItsHealth, system, "the SSH server's configuration has a word that it does not know";
        unit_that_fails, ByItsHealth, system, "a unit ends as soon as it has started";
        unit_that_hangs, ByTheWindow, system, "a unit never comes to the end of its start";
        unit_with_rules_of_its_own, ByTheLock, system, "a unit loads firewall rules of its own, which drop SSH";
        unit_that_routes_away, ByTheLock, system, "a unit sends what is for the admin nowhere";
        broker_config_broken, ByItsHealth, system, "the broker's configuration has a word that it does not know";
        passwords_damaged, ByItsHealth, system, "the broker's password file fits nobody's password";
        health_account_missing, ByItsHealth, system, "the account of the health check is missing";
        program_that_crashes, ByTheWindow, system, "the program crashes once it is in place";
        policy_unit_broken, ByTheLock, system, "no rule lets SSH in, and the unit that loads the policy at boot fails";
    }
}
pub use all::*;

/// A file of a release, to be changed.
fn text_of(rendered: &Rendered, path: &str) -> Result<String> {
    let file = rendered.files.iter().find(|file| file.path == path);
    let file = file.with_context(|| format!("the release has no {path}"))?;
    String::from_utf8(file.content.clone()).with_context(|| format!("{path} is no text"))
}

/// Changes the text of a file of a release, which keeps its mode and owner.
fn change(rendered: &mut Rendered, path: &str, with: impl FnOnce(String) -> String) -> Result<()> {
    let text = text_of(rendered, path)?;
    let old = rendered.files.iter().find(|file| file.path == path);
    let mut file = old.context("the file is gone")?.clone();
    file.content = with(text).into_bytes();
    rendered.put(file);
    Ok(())
}

/// Adds a file that everybody may read.
fn add(rendered: &mut Rendered, path: &str, text: &str) {
    rendered.put(RenderedFile::public(path, text.to_owned()));
}

#[cfg(test)]
mod tests;
