//! The container engine, asked through its own command line: whether it can be had, and what it
//! can do. Networks and containers of the lab are the lab's business.

use crate::run::{Answer, Run, program};
use crate::workspace::Lack;

/// The oldest API that the lab speaks (Docker 20.10).
pub(crate) const API: Version = (1, 41);

/// Major and minor.
pub(crate) type Version = (u32, u32);

/// An engine that answers.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Its own version, as it writes it.
    pub(crate) version: String,
    /// The newest API that it speaks.
    pub(crate) api: Version,
    /// Whether it runs without root; then files made in containers belong to the person anyway.
    pub(crate) rootless: bool,
    /// Where it keeps images.
    pub(crate) root: String,
}

impl Engine {
    /// Asks the engine who it is.
    ///
    /// # Errors
    /// No client, no engine, no permission, too old, or an engine for other machines.
    pub(crate) fn reach() -> Result<Engine, Lack> {
        let version = docker(&[
            "version",
            "--format",
            "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Arch}}",
        ])?;
        let info = docker(&[
            "info",
            "--format",
            "{{.DockerRootDir}} {{.SecurityOptions}}",
        ])?;
        let engine = Engine::from_answers(&version, &info)?;
        if engine.api < API {
            return Err(Lack::new(
                format!(
                    "Docker engine {} speaks API {}",
                    engine.version,
                    dotted(engine.api)
                ),
                format!("install Docker 20.10 or later (API {})", dotted(API)),
            ));
        }
        Ok(engine)
    }

    fn from_answers(version: &str, info: &str) -> Result<Engine, Lack> {
        let unknown = || {
            Lack::new(
                format!("`docker` answers in an unknown way: {version:?}, {info:?}"),
                "use the command line and engine of Docker",
            )
        };
        let mut words = version.split_whitespace();
        let (Some(version), Some(api), Some(platform)) = (words.next(), words.next(), words.next())
        else {
            return Err(unknown());
        };
        if platform != "linux/amd64" {
            return Err(Lack::new(
                format!("the Docker engine runs {platform} containers"),
                "use an engine on Linux x86-64, in a virtual machine for instance",
            ));
        }
        let (root, security) = info.split_once(' ').ok_or_else(unknown)?;
        Ok(Engine {
            version: version.to_owned(),
            api: parse(api).ok_or_else(unknown)?,
            rootless: security.contains("name=rootless"),
            root: root.to_owned(),
        })
    }

    /// Engines from 28 on drop packets between two bridges before they are routed.
    pub(crate) fn has_strict_bridges(&self) -> bool {
        parse(&self.version).is_some_and(|version| version >= (28, 0))
    }
}

/// The builder that `docker build` uses.
pub(crate) fn builder() -> String {
    match program("docker").args(["buildx", "version"]).ask().said() {
        Some(version) => format!("BuildKit ({})", version.lines().next().unwrap_or_default()),
        None => "the classic builder (no buildx)".to_owned(),
    }
}

/// The identity of a local image, if there is one by that name.
pub(crate) fn image_id(name: &str) -> Option<String> {
    program("docker")
        .args(["image", "inspect", "--format", "{{.Id}}", name])
        .ask()
        .said()
}

/// How many networks the engine has.
pub(crate) fn networks() -> Option<usize> {
    let list = program("docker")
        .args(["network", "ls", "--quiet"])
        .ask()
        .said()?;
    Some(list.lines().count())
}

/// A version as it is written.
pub(crate) fn dotted((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

/// The first two numbers of a version.
pub(crate) fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.split(['.', '-', '+']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

fn docker(args: &[&str]) -> Result<String, Lack> {
    match program("docker").args(args).ask() {
        Answer::Said(text) => Ok(text),
        Answer::Refused(why) => Err(refusal(&why)),
        Answer::Absent(_) => Err(Lack::new(
            "no `docker` program",
            "install a Docker engine (Debian: `apt-get install docker.io`)",
        )),
    }
}

fn refusal(why: &str) -> Lack {
    let remedy = if why.contains("permission denied") {
        "let this user talk to it: `sudo usermod -aG docker $USER`, then log in again"
    } else {
        "start the engine: `sudo systemctl start docker`, or correct DOCKER_HOST"
    };
    let first = why
        .lines()
        .next()
        .unwrap_or("the Docker engine gives no reason");
    Lack::new(first, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: &str, info: &str, expected: Result<(Version, bool, bool), &str>) {
        match (Engine::from_answers(version, info), expected) {
            (Ok(engine), Ok(expected)) => {
                assert_eq!(
                    (engine.api, engine.rootless, engine.has_strict_bridges()),
                    expected
                );
            }
            (Err(lack), Err(part)) => {
                assert!(lack.to_string().contains(part), "{part:?} is not in {lack}");
            }
            (got, expected) => panic!("got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn answers_of_engines_are_read() {
        let info = "/var/lib/docker [name=seccomp,profile=default]";
        check(
            "20.10.24+dfsg1 1.41 linux/amd64",
            info,
            Ok(((1, 41), false, false)),
        );
        check("28.0.1 1.48 linux/amd64", info, Ok(((1, 48), false, true)));
        let rootless = "/home/me/.local/share/docker [name=seccomp,profile=builtin name=rootless]";
        check(
            "27.5.1 1.47 linux/amd64",
            rootless,
            Ok(((1, 47), true, false)),
        );
    }

    #[test]
    fn what_is_no_engine_for_the_lab_is_refused() {
        let info = "/var/lib/docker []";
        check("28.0.1 1.48 linux/arm64", info, Err("linux/arm64"));
        check("", info, Err("unknown way"));
        check("28.0.1 x linux/amd64", info, Err("unknown way"));
    }

    #[test]
    fn refusals_come_with_the_remedy_that_fits() {
        let lack = refusal("permission denied while trying to connect to the Docker daemon socket");
        assert!(lack.remedy.contains("usermod"), "{lack}");
        let lack = refusal("Cannot connect to the Docker daemon at tcp://127.0.0.1:9.");
        assert!(lack.remedy.contains("DOCKER_HOST"), "{lack}");
    }
}
