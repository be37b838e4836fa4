//! What a plan is shown against, and the plans and comparisons that the tests share.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use deploy::plan::{self, Against, Shown};
use deploy::{Rendered, Secrets};
use site::Site;
use site::answer::{
    AccountChange, FORMAT, FileAction, FileChange, FirewallChange, PackageChange, Plan, UnitAction,
    UnitChange,
};
use site::flow::Policy;
use site::manifest::UnitState;

/// What a plan is shown against, all of it made from the example site.
pub(super) struct World {
    pub(super) site: Site,
    pub(super) rendered: Rendered,
    pub(super) policy: Policy,
}

impl World {
    pub(super) fn of(example: &str) -> World {
        World::with(example, |text| text)
    }

    /// The example with something changed in its text.
    pub(super) fn with(example: &str, change: impl Fn(String) -> String) -> World {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = tests.join(format!("../site/examples/{example}.toml"));
        let text = change(fs::read_to_string(path).unwrap());
        let site = Site::parse("site.toml", &text).unwrap();
        // Git keeps no modes but the executable one, and the file must be its owner's alone.
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("example.secrets.toml");
        fs::copy(tests.join("tests/golden/fake-passwords.toml"), &secrets).unwrap();
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
        let secrets = Secrets::load(&secrets).unwrap();
        let policy = Policy::of(&site, &site.bastions[0]);
        let rendered = Rendered::bastion(&site, &site.bastions[0], &secrets)
            .unwrap()
            .with_program(vec![0; 1_234_567], "0.2.0 (5e6f7a8b)");
        World {
            site,
            rendered,
            policy,
        }
    }

    pub(super) fn show(&self, plan: &Plan, program: Option<&str>) -> Shown {
        let against = Against {
            site: &self.site,
            bastion: &self.site.bastions[0],
            rendered: &self.rendered,
            policy: &self.policy,
            program,
        };
        plan::show(plan, against)
    }

    pub(super) fn content(&self, path: &str) -> String {
        let file = self
            .rendered
            .files
            .iter()
            .find(|file| file.path == path)
            .unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    }
}

pub(super) fn nothing() -> Plan {
    Plan {
        format: FORMAT,
        ..Plan::default()
    }
}

pub(super) fn changed(path: &str, before: Option<String>) -> FileChange {
    FileChange {
        path: path.to_owned(),
        action: FileAction::Content,
        before,
        attributes: None,
    }
}

pub(super) fn told(name: &str, action: UnitAction) -> UnitChange {
    UnitChange {
        name: name.to_owned(),
        action,
    }
}

/// What a fresh machine answers.
pub(super) fn first(world: &World) -> Plan {
    let manifest = &world.rendered.manifest;
    let package = |name: &str| PackageChange {
        name: name.to_owned(),
        installed: None,
        at_least: None,
    };
    Plan {
        packages: manifest
            .packages
            .iter()
            .map(|entry| package(&entry.name))
            .collect(),
        files: manifest
            .files
            .iter()
            .map(|file| FileChange {
                path: file.path.clone(),
                action: FileAction::New,
                before: None,
                attributes: None,
            })
            .collect(),
        units: manifest
            .units
            .iter()
            .map(|unit| {
                let action = match unit.state {
                    UnitState::Running => UnitAction::Start,
                    UnitState::Off => UnitAction::Stop,
                };
                told(&unit.name, action)
            })
            .collect(),
        accounts: AccountChange {
            added: manifest.accounts.clone(),
            ..AccountChange::default()
        },
        firewall: Some(FirewallChange {
            before: None,
            differences: vec![],
        }),
        ..nothing()
    }
}

fn shown(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/shown");
    folder.join(format!("{name}.txt"))
}

#[track_caller]
pub(super) fn check(name: &str, shown_now: &Shown) {
    let path = shown(name);
    let text = &shown_now.text;
    assert!(
        text.ends_with(&format!("{}\n", shown_now.summary)),
        "{text}"
    );
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(
        *text == expected,
        "{} differs; if this is wanted, UPDATE_GOLDEN=1 writes it anew:\n{text}",
        path.display()
    );
}
