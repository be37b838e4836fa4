//! What counts as a change, and what does not; on a played machine.

use std::fs;

use site::answer::{State, UnitAction, UnitChange};
use site::manifest::{Manifest, UnitState};
use tempfile::TempDir;

use super::{Change, Compared, verify};
use crate::fake::{BROKER, Machine, NEEDLESS, check_same, one};

const WINDOW: Option<u64> = Some(600);

/// Changes the manifest of a folder, and nothing else of it.
fn edit(folder: &TempDir, change: impl FnOnce(&mut Manifest)) {
    let path = folder.path().join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
}

#[test]
fn a_plan_on_a_fresh_machine_works_without_its_packages() {
    let machine = Machine::new();
    machine.write("/etc/passwd", "root:x:0:\n");
    machine.write("/etc/group", "root:x:0:\n");
    machine.fake.state().lacking.insert("mosquitto".to_owned());
    fs::remove_file(machine.at(&format!("/lib/systemd/system/{BROKER}"))).unwrap();
    machine.fake.state().active.remove(BROKER);
    let folder = one();
    let change = Change::of(&machine.host, folder.path()).unwrap();
    assert_eq!(change.plan.packages.len(), 1);
    assert!(change.plan.files.len() > 7, "{:?}", change.plan.files);
    let units: Vec<String> = change
        .plan
        .units
        .iter()
        .map(|unit| unit.name.clone())
        .collect();
    assert_eq!(units, [NEEDLESS, "shelly-bastion-policy.service", BROKER]);
    let before = machine.snapshot();
    let error = machine
        .apply(&folder, "one", WINDOW)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("packages are lacking: mosquitto 2.0.11 or later"),
        "{error}"
    );
    check_same(&machine.snapshot(), &before, "refused");
}

#[test]
fn another_version_alone_is_no_change() {
    let machine = Machine::with_one();
    let before = machine.snapshot();
    let folder = one();
    edit(&folder, |manifest| {
        manifest.version = "0.1.0 (later)".to_owned()
    });
    let planned = Change::of(&machine.host, folder.path()).unwrap().plan;
    assert!(planned.is_empty(), "{planned:?}");
    let outcome = machine.apply(&folder, "later", WINDOW).unwrap();
    assert_eq!(outcome.state, State::Nothing);
    assert_eq!(outcome.release, "one");
    check_same(&machine.snapshot(), &before, "another version");
    // With anything else it is a change.
    edit(&folder, |manifest| manifest.site = "other".to_owned());
    let planned = Change::of(&machine.host, folder.path()).unwrap().plan;
    assert_eq!(planned.files.len(), 1, "{planned:?}");
}

#[test]
fn a_unit_that_no_release_wants_off_may_start_again() {
    let link = format!("/etc/systemd/system/{NEEDLESS}");
    let machine = Machine::with_one();
    assert!(
        fs::symlink_metadata(machine.at(&link))
            .unwrap()
            .is_symlink()
    );
    let masked = machine.snapshot();
    let folder = one();
    edit(&folder, |manifest| {
        manifest.units.retain(|unit| unit.state != UnitState::Off);
    });
    let planned = Change::of(&machine.host, folder.path()).unwrap().plan;
    let unmask = UnitChange {
        name: NEEDLESS.to_owned(),
        action: UnitAction::Unmask,
    };
    assert_eq!(planned.units, [unmask]);
    let outcome = machine.apply(&folder, "next", WINDOW).unwrap();
    assert_eq!(outcome.state, State::Waiting, "{}", outcome.reason);
    assert!(fs::symlink_metadata(machine.at(&link)).is_err());
    assert!(!machine.fake.state().active.contains(NEEDLESS));
    // Not confirmed, it is masked again; confirmed, there is nothing more to do.
    crate::transaction::run(&machine.host, false).unwrap();
    check_same(&machine.snapshot(), &masked, "gone back");
    machine.apply(&folder, "next", None).unwrap();
    let planned = Change::of(&machine.host, folder.path()).unwrap().plan;
    assert!(planned.is_empty(), "{planned:?}");
}

/// Somebody's own mask of a unit that no release named stays.
#[test]
fn a_mask_of_somebody_else_stays() {
    let machine = Machine::with_one();
    let own = "bluetooth.service";
    machine.host.run("systemctl", &["mask", own]).unwrap();
    let planned = Change::of(&machine.host, one().path()).unwrap().plan;
    assert!(planned.is_empty(), "{planned:?}");
}

#[test]
fn what_was_compared_for_an_empty_plan_is_reported_as_if_compared_again() {
    let machine = Machine::with_one();
    let planned = Change::of(&machine.host, one().path()).unwrap().plan;
    assert!(planned.is_empty());
    let compared = verify::report_after(&machine.host, Compared::Everything);
    assert_eq!(compared, verify::report(&machine.host));
}
