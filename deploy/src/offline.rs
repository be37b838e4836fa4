//! Packages carried along: fetched here, from this machine's own mirror, for the bastion's
//! architecture and beside what is installed there. Installing them is left to the bastion.
//!
//! apt runs with a root of its own, so nothing of this machine changes. The mirror is taken from
//! this machine's apt; the suite is the bastion's. Of a suite only the main archive is asked: what
//! came later reaches the bastion by its own updates.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use site::answer::Plan;
use tempfile::TempDir;
use tokio::process::Command;

use crate::facts::Facts;
use crate::release::append;
use crate::shown;
use crate::ssh::{Limits, Session};
use crate::steps::Step;

/// A machine with a desktop has five thousand packages: 5 MiB.
const STATUS: Limits = Limits {
    bytes: 32 * 1024 * 1024,
    patience: Duration::from_secs(120),
};
/// All packages together; they lie in memory over there.
const LONGEST: u64 = 200 * 1024 * 1024;

/// Fetches what the plan lacks, as a tar stream of `.deb` files.
///
/// # Errors
/// When this machine has no apt, its mirror does not serve the bastion, or fetching failed.
pub async fn packages(
    session: &Session,
    step: &Step,
    plan: &Plan,
    facts: &Facts,
) -> Result<Vec<u8>> {
    let architecture = plain_word(&facts.architecture)
        .context("the machine does not say its architecture: `dpkg --print-architecture`")?;
    let suite = suite(facts)?;
    step.at("asking which packages are installed there");
    let status = session
        .run("cat /var/lib/dpkg/status", b"", STATUS)
        .await
        .context("reading which packages are installed there")?;
    if !status.well() {
        bail!(
            "reading which packages are installed there: {}",
            status.shown()
        );
    }
    let sources = sources(&targets().await?, &facts.os, suite)?;
    let root = Root::make(&sources, &status.out)?;
    step.at("reading the mirror's lists");
    root.apt(architecture, &["update"]).await?;
    step.at("fetching packages");
    let mut words = vec![
        "install",
        "--download-only",
        "--no-install-recommends",
        "--yes",
        "--",
    ];
    for package in &plan.packages {
        words.push(
            plain_word(&package.name).context("the plan names something that is no package")?,
        );
    }
    root.apt(architecture, &words).await?;
    root.tar()
}

/// What this machine's apt asks: one line per index, `site suite component`.
async fn targets() -> Result<String> {
    let format = "$(CREATED_BY) $(SITE) $(RELEASE) $(COMPONENT)";
    let asked = Command::new("apt-get")
        .args(["indextargets", "--format", format])
        .stdin(Stdio::null())
        .output()
        .await
        .context(
            "--offline fetches with this machine's apt, and there is no `apt-get` here: leave --offline out, \
             or deploy from a Debian or Ubuntu machine",
        )?;
    Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
}

/// Lines for `sources.list`.
fn sources(targets: &str, os: &str, suite: &str) -> Result<String> {
    let mut lines = Vec::new();
    for target in targets.lines() {
        let mut words = target.split_whitespace();
        let (Some("Packages"), Some(site), Some(release), Some("main")) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Suites with a dash are updates and security; the first word is the archive's own.
        if release.contains(['-', '/']) || site.contains("security") {
            continue;
        }
        let line = format!("deb {site} {suite} main");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        bail!(
            "--offline: this machine's apt has no archive to fetch from; see `apt-get indextargets`"
        );
    }
    if os == "raspbian" && !lines.iter().any(|line| line.contains("raspbian")) {
        bail!(
            "--offline: the bastion runs Raspbian, whose packages are not those of this machine's mirror; \
             add Raspbian's to this machine's apt, or leave --offline out"
        );
    }
    Ok(lines.join("\n") + "\n")
}

/// The suite's name stands in brackets: `Debian GNU/Linux 12 (bookworm)`.
fn suite(facts: &Facts) -> Result<&str> {
    facts
        .os_name
        .rsplit_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(suite, _)| plain_word(suite))
        .with_context(|| {
            format!(
                "--offline: the machine does not say which suite it runs ({:?})",
                shown::line(&facts.os_name)
            )
        })
}

/// A word that apt cannot take for an option or a path.
fn plain_word(word: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:".contains(c);
    let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    (begins && word.chars().all(plain)).then_some(word)
}

/// Folders as apt wants them.
struct Root(TempDir);

impl Root {
    fn make(sources: &str, status: &[u8]) -> Result<Root> {
        let root = Root(tempfile::tempdir().context("making a folder for apt")?);
        let folders = [
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
            "var/cache/apt/archives/partial",
        ];
        for folder in folders {
            std::fs::create_dir_all(root.path(folder)).context("making folders for apt")?;
        }
        std::fs::write(root.path("etc/apt/sources.list"), sources).context("writing for apt")?;
        std::fs::write(root.path("var/lib/dpkg/status"), status).context("writing for apt")?;
        Ok(root)
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.0.path().join(below)
    }

    async fn apt(&self, architecture: &str, words: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        let option = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        let options = [
            option("Dir", &self.0.path().display()),
            // This machine's keys vouch for its mirror.
            option("Dir::Etc::Trusted", &"/etc/apt/trusted.gpg"),
            option("Dir::Etc::TrustedParts", &"/etc/apt/trusted.gpg.d"),
            option(
                "Dir::State::status",
                &self.path("var/lib/dpkg/status").display(),
            ),
            option("APT::Architecture", &architecture),
            option("APT::Architectures", &architecture),
            // The folder is this person's alone, and apt's own user could not read it.
            option("APT::Sandbox::User", &"root"),
            option("Acquire::Languages", &"none"),
            option("Acquire::Retries", &"2"),
            option("Debug::NoLocking", &"true"),
        ];
        for option in &options {
            command.args(["-o", option]);
        }
        let ended = command
            .args(words)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("starting apt-get here")?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!(
            "`apt-get {}` for {architecture} ended with {}: {}",
            words.first().unwrap_or(&""),
            ended.status,
            shown::text(&said, 10)
        );
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let folder = self.path("var/cache/apt/archives");
        let mut tar = tar::Builder::new(Vec::new());
        let mut total = 0_u64;
        for entry in std::fs::read_dir(&folder).context("reading what apt fetched")? {
            let path = entry.context("reading what apt fetched")?.path();
            if path.extension().is_none_or(|end| end != "deb") {
                continue;
            }
            let content = std::fs::read(&path).context("reading what apt fetched")?;
            total = total.saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
            if total > LONGEST {
                bail!(
                    "the packages are longer than {LONGEST} bytes: install them there without --offline"
                );
            }
            let name = path.file_name().unwrap_or_default();
            append(
                &mut tar,
                &Path::new(name).to_string_lossy(),
                0o600,
                &content,
            )?;
        }
        if total == 0 {
            bail!("apt fetched nothing, although packages are missing there");
        }
        tar.into_inner().context("packing packages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
Packages http://mirror/debian bookworm main
Packages http://mirror/debian bookworm-updates main
Packages http://mirror/debian-security bookworm-security main
Packages http://mirror/debian bookworm non-free
Translations http://mirror/debian bookworm main
Packages http://mirror/debian bookworm main
";

    #[test]
    fn the_main_archive_with_the_bastions_suite() {
        assert_eq!(
            sources(TARGETS, "debian", "trixie").unwrap(),
            "deb http://mirror/debian trixie main\n"
        );
        assert!(sources("", "debian", "trixie").is_err());
        let message = sources(TARGETS, "raspbian", "bookworm")
            .unwrap_err()
            .to_string();
        assert!(message.contains("Raspbian"), "{message}");
    }

    #[test]
    fn names_that_apt_could_misread_are_refused() {
        assert_eq!(plain_word("libc6:armhf"), Some("libc6:armhf"));
        for bad in ["-o", "", "../x", "a b", "a;b"] {
            assert_eq!(plain_word(bad), None);
        }
    }

    #[test]
    fn the_suite_stands_in_brackets() {
        let mut facts = Facts::default();
        assert!(suite(&facts).is_err());
        facts.os_name = "Raspbian GNU/Linux 12 (bookworm)".to_owned();
        assert_eq!(suite(&facts).unwrap(), "bookworm");
    }
}
