//! What the stand-in answers.

use site::answer::{
    self, AccountChange, Check, Entry, Event, FileAction, FileChange, Outcome, Plan, Report, State,
    Status, Verdict,
};

use crate::machine::Machine;

/// The stand-in's word for the release that it was given.
const RELEASE: &str = "@RELEASE@";

pub(crate) fn say<T: serde::Serialize>(machine: &Machine, command: &str, answer: &T) {
    let text = serde_json::to_string(answer).unwrap();
    machine.write(&format!("stage/answer.{command}"), &text);
}

/// A plan with one new file and two new accounts.
pub(crate) fn plan() -> Plan {
    Plan {
        format: answer::FORMAT,
        files: vec![FileChange {
            path: "/etc/mosquitto/mosquitto.conf".to_owned(),
            action: FileAction::New,
            before: None,
            attributes: None,
        }],
        accounts: AccountChange {
            added: vec!["check".to_owned(), "collector".to_owned()],
            ..AccountChange::default()
        },
        ..Plan::default()
    }
}

pub(crate) fn empty_plan() -> Plan {
    Plan {
        format: answer::FORMAT,
        ..Plan::default()
    }
}

pub(crate) fn outcome(state: State, reason: &str) -> Outcome {
    Outcome {
        format: answer::FORMAT,
        release: RELEASE.to_owned(),
        state,
        reason: reason.to_owned(),
        seconds_left: (state == State::Waiting).then_some(60),
        plan: plan(),
        verify: None,
    }
}

pub(crate) fn report(verdicts: &[Verdict]) -> Report {
    let check = |(number, &verdict): (usize, &Verdict)| Check {
        subject: format!("check {number}"),
        verdict,
        detail: String::new(),
    };
    Report {
        checks: verdicts.iter().enumerate().map(check).collect(),
    }
}

pub(crate) fn status(release: Option<&str>, waiting: Option<(&str, u64)>) -> Status {
    Status {
        format: answer::FORMAT,
        version: "0.1.0 (1a2b3c4d)".to_owned(),
        release: release.map(str::to_owned),
        waiting: waiting.map(|(release, left)| (release.to_owned(), left)),
        clock: "2026-11-27T22:00:00Z".to_owned(),
        clock_synchronised: Some(true),
        uptime_s: 3600,
        disk: (1 << 33, 1 << 34),
        units: vec![("mosquitto.service".to_owned(), "active".to_owned())],
        verify: report(&[Verdict::Held]),
        last: None,
        open_s: None,
        journal: None,
        verified: None,
        restart_due: false,
    }
}

pub(crate) fn entry(release: &str, event: Event, reason: &str) -> Entry {
    Entry {
        release: release.to_owned(),
        at: "2026-11-27T22:00:00Z".to_owned(),
        event,
        by: "anna@desk".to_owned(),
        version: "0.1.0".to_owned(),
        reason: reason.to_owned(),
    }
}

/// A first deployment that goes well. The program is installed by `apply`.
pub(crate) fn all_well(machine: &Machine) {
    say(machine, "plan", &plan());
    say(machine, "apply", &outcome(State::Waiting, ""));
    say(machine, "confirm", &outcome(State::Confirmed, ""));
    say(machine, "verify", &report(&[Verdict::Held, Verdict::Held]));
    say(machine, "status", &status(Some("old"), None));
    let root = machine.at("root");
    let place = format!("{}/usr/local/sbin", root.display());
    machine.write(
        "stage/do.apply",
        &format!("mkdir -p {place}; cp \"$2/files/usr/local/sbin/bastion\" {place}/bastion; chmod 755 {place}/bastion\n"),
    );
}
