//! The bastion's power fails: while a release is put in place, while it is taken back, after it was
//! confirmed. It starts with the old state or the new one, to the last thing, and never with
//! something in between; and where it is the old one, the next deployment gets there.
//!
//! The moments are conditions that the machine itself sees, in the order in which a change comes
//! by them; the power goes some tenths of a second later.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lab::sample::sample;
use lab::virtual_pi::BOOT;
use lab::virtual_pi::machine::PowerOn;

use crate::deployed::{DEPLOYED, LATER};
use crate::lockout::settled;
use crate::second::State;
use crate::stage::{Scenario, Stage, scenario};

/// Seconds for a confirmation. Going back begins after them, so they are few.
const SHORT_WINDOW: &str = "40";
/// Moments of a run that is not full.
const SAMPLE: usize = 1;
/// A record that is not whole yet: nothing was changed, and the next deployment removes it.
const UNFINISHED: &str = "file /var/lib/shelly-bastion/transaction-new";

/// A moment, and the state in which the machine must start after it; none where both are right.
#[derive(Clone, Copy)]
struct Moment {
    says: &'static str,
    condition: &'static str,
    /// Ends the deployer first, so that nobody confirms.
    unconfirmed: bool,
    /// A record may be left that never became whole.
    unfinished: bool,
    then: Option<State>,
}

const APPLYING: [Moment; 10] = {
    const fn moment(says: &'static str, condition: &'static str) -> Moment {
        Moment {
            says,
            condition,
            unconfirmed: false,
            unfinished: false,
            then: Some(State::Old),
        }
    }
    [
        Moment {
            unfinished: true,
            ..moment(
                "the state before is being written down",
                "[ -e /var/lib/shelly-bastion/transaction-new ]",
            )
        },
        moment(
            "the state before is written down",
            "[ -e /var/lib/shelly-bastion/transaction ]",
        ),
        moment(
            "the way back is armed",
            "systemctl is-active --quiet shelly-bastion-window.timer",
        ),
        moment(
            "the firewall is loaded",
            "nft list table inet shelly_bastion | grep -q -F NEW-READER",
        ),
        moment(
            "the old manifest is taken away",
            "[ ! -e /etc/shelly-bastion/manifest.json ]",
        ),
        moment(
            "new files lie beside the old ones",
            // Without another program: they lie there for some hundredths of a second.
            "compgen -G '/etc/mosquitto/*-new' > /dev/null",
        ),
        moment(
            "the first file is replaced",
            "grep -q -F NEW-READER /etc/shelly-bastion/policy.nft.json",
        ),
        moment(
            "the last file is replaced",
            "grep -q 'SystemMaxUse=60M' /etc/systemd/journald.conf.d/shelly-bastion.conf",
        ),
        moment(
            "the new manifest is there",
            "{ [ -e /var/lib/shelly-bastion/transaction ] && \
               [ /etc/shelly-bastion/manifest.json -nt /var/lib/shelly-bastion/transaction/record.json ]; }",
        ),
        moment(
            "it waits for its confirmation",
            "[ -e /var/lib/shelly-bastion/transaction/waiting ]",
        ),
    ]
};

const GOING_BACK: [Moment; 4] = {
    const fn moment(says: &'static str, condition: &'static str) -> Moment {
        Moment {
            says,
            condition,
            unconfirmed: true,
            unfinished: false,
            then: Some(State::Old),
        }
    }
    [
        moment(
            "going back begins",
            "systemctl is-active --quiet shelly-bastion-window.service",
        ),
        moment(
            "the old firewall is loaded",
            "! nft list table inet shelly_bastion | grep -q -F NEW-READER",
        ),
        moment(
            "the old rules are a file again",
            "! grep -q -F NEW-READER /etc/shelly-bastion/policy.nft.json",
        ),
        moment(
            "the record goes",
            "[ ! -e /var/lib/shelly-bastion/transaction ]",
        ),
    ]
};

/// A confirmation is one rename: before it the old state is right, after it the new one.
const CONFIRMING: [Moment; 2] = [
    Moment {
        says: "the confirmation is written down",
        condition: "[ -e /var/lib/shelly-bastion/transaction-done ]",
        unconfirmed: false,
        unfinished: false,
        then: Some(State::New),
    },
    Moment {
        says: "nothing is left of the change",
        // The first deployment is confirmed as well, so the history alone does not tell.
        condition: "grep -q -F NEW-READER /etc/shelly-bastion/policy.nft.json && \
                    [ ! -e /var/lib/shelly-bastion/transaction ] && \
                    [ ! -e /var/lib/shelly-bastion/transaction-done ]",
        unconfirmed: false,
        unfinished: false,
        then: Some(State::New),
    },
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::power_cut_sample", from DEPLOYED, a_sample),
        scenario!("pi::power_cut_while_applying", from DEPLOYED, applying).only_in_full(),
        scenario!("pi::power_cut_while_going_back", from DEPLOYED, going_back).only_in_full(),
        scenario!("pi::power_cut_after_confirming", from DEPLOYED, confirming).only_in_full(),
    ]
}

async fn a_sample(stage: &Stage) -> Result<String> {
    let seed = stage.lab.artifacts.seed;
    let all: Vec<Moment> = APPLYING
        .into_iter()
        .chain(GOING_BACK)
        .chain(CONFIRMING)
        .collect();
    let shown = each(stage, &sample(&all, seed, SAMPLE)).await?;
    Ok(format!(
        "{SAMPLE} of {} moments, chosen by --seed {seed}:{shown}",
        all.len()
    ))
}

async fn applying(stage: &Stage) -> Result<String> {
    each(stage, &APPLYING).await
}

async fn going_back(stage: &Stage) -> Result<String> {
    each(stage, &GOING_BACK).await
}

async fn confirming(stage: &Stage) -> Result<String> {
    each(stage, &CONFIRMING).await
}

async fn each(stage: &Stage, moments: &[Moment]) -> Result<String> {
    let mut shown = String::new();
    for moment in moments {
        let start = Instant::now();
        let state = cut(stage, moment)
            .await
            .with_context(|| format!("the power fails when {}", moment.says))?;
        shown.push_str(&format!(
            "\n    when {}: starts {}, in {:.0} s",
            moment.says,
            match state {
                State::Old => "old, and the next deployment gets there",
                State::New => "new",
            },
            start.elapsed().as_secs_f32()
        ));
    }
    Ok(shown)
}

async fn cut(stage: &Stage, moment: &Moment) -> Result<State> {
    let second = stage.second().await?;
    stage.begin_from(DEPLOYED).await?;
    let access = second.folder(stage, "power")?;
    let arguments = ["pi", "--yes", "--confirm-within", SHORT_WINDOW];
    let mut running = stage.start(&access, &arguments)?;
    if moment.unconfirmed {
        let waits = "[ -e /var/lib/shelly-bastion/transaction/waiting ]";
        let waits = crate::lockout::until_or_ended(stage, &mut running, waits, LATER).await?;
        ensure!(waits, "the release never waits for its confirmation");
        running.kill().await?;
    }
    let condition = moment.condition.replace("NEW-READER", &stage.new_reader());
    let cut = stage.machine().power_cut_when(&condition, LATER).await?;
    running.kill().await?;
    ensure!(cut, "the moment did not come within {} s", LATER.as_secs());
    stage.machine().power_on(&PowerOn::default()).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    stage.machine().wait_until_settled(BOOT).await?;
    settled(stage, LATER).await?;
    let left: &[&str] = match moment.unfinished {
        true => &[UNFINISHED],
        false => &[],
    };
    let state = second.state(stage, "after the power cut", left).await?;
    if let Some(then) = moment.then {
        ensure!(state == then, "it starts {state:?}, expected was {then:?}");
    }
    if state == State::Old {
        second
            .get_there(stage, &access, "after the power cut")
            .await?;
    }
    Ok(state)
}
