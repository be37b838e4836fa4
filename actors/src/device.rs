//! What a simulated meter says and when: on connecting, at each period, on a change, on a command.
//! Which of it is a reading that has to be stored is decided here, in SI units and from the
//! physics; how it looks on the wire is left to `wire`.

use std::time::Duration;

use crate::fleet::{Fleet, Meter};
use crate::ledger::{Reading, Value};
use crate::model::Model;
use crate::physics::{Channel, Household, Quantity, Sample};

/// Who a meter is: what stays the same in everything it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Device id.
    pub id: String,
    /// What it is.
    pub model: Model,
    /// Topic prefix.
    pub prefix: String,
}

/// Something that a meter says: one message, or for Gen1 one per topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// `online` is true.
    Online,
    /// Who it is: on `shellies/announce` when shared, else below its own prefix.
    Announce {
        /// On the topic that all meters share.
        shared: bool,
    },
    /// Gen1's whole status in one JSON document.
    Info {
        /// The clock is not yet set.
        first: bool,
        /// Since boot.
        uptime_s: u32,
        /// What it measures.
        sample: Sample,
    },
    /// All live topics of a Gen1 meter; the metering component of a Gen2 meter.
    Set(Sample),
    /// Gen1: energy of the last minute per channel, which is no counter and is not to be stored.
    Minute(Vec<Flow>),
    /// Gen2, three phases: the counters.
    Counters(Sample),
    /// Gen2: it is connected, as a status.
    Connected,
    /// Gen2: it is connected, as a notification.
    NotifyConnected,
    /// Gen2: some values again as a notification, with others than the status: not to be stored.
    Notify(Sample),
}

/// Energy of the last minute of one channel, in Wh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Drawn.
    pub import_wh: f64,
    /// Returned.
    pub export_wh: f64,
}

/// How strongly each simulated meter hears its access point, in dBm. Source: a capture.
pub const RSSI_DBM: i32 = -63;

/// A meter apart from its connection.
#[derive(Debug)]
pub struct Device {
    identity: Identity,
    household: Household,
    energy_factor: f64,
    rpc_ntf: bool,
    measured_at: Duration,
    synchronised: bool,
    sets: u64,
    minute_began: Vec<Flow>,
}

impl Device {
    /// A meter that was switched on when the program started.
    #[must_use]
    pub fn new(meter: &Meter, fleet: &Fleet) -> Self {
        Self {
            identity: Identity {
                id: meter.id.clone(),
                model: meter.model,
                prefix: meter.prefix.clone(),
            },
            household: Household::new(fleet.seed, &meter.id, meter.model),
            energy_factor: fleet.energy_factor,
            rpc_ntf: fleet.rpc_ntf,
            measured_at: Duration::ZERO,
            synchronised: false,
            sets: 0,
            minute_began: Vec::new(),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it says first on a new connection; `now` counts from the start of the program.
    pub fn greeting(&mut self, now: Duration) -> Vec<Report> {
        if self.identity.model.is_gen1() {
            let mut reports = vec![Report::Online];
            reports.extend(self.announcement(now));
            reports
        } else {
            let mut reports = vec![Report::Online, Report::Connected];
            reports.extend(self.rpc_ntf.then_some(Report::NotifyConnected));
            reports
        }
    }

    /// A periodic or requested full set.
    pub fn set(&mut self, now: Duration) -> Vec<Report> {
        let sample = self.measure(now);
        self.sets += 1;
        match self.identity.model {
            Model::Em | Model::Em3 => {
                let flows = sample.channels.iter().map(|channel| Flow {
                    import_wh: channel.import_wh.si,
                    export_wh: channel.export_wh.si,
                });
                let flows: Vec<Flow> = flows.collect();
                let mut reports = vec![Report::Set(sample)];
                // Two default periods are a minute.
                if self.sets.is_multiple_of(2) {
                    let began = std::mem::replace(&mut self.minute_began, flows.clone());
                    let minute = flows.iter().zip(began).map(|(end, begin)| Flow {
                        import_wh: end.import_wh - begin.import_wh,
                        export_wh: end.export_wh - begin.export_wh,
                    });
                    reports.push(Report::Minute(minute.collect()));
                } else if self.minute_began.is_empty() {
                    self.minute_began = flows;
                }
                reports
            }
            Model::PlugS => vec![Report::Set(sample)],
            Model::Plus1Pm => self.with_notification(sample),
            Model::Pro3Em => {
                let counters = Report::Counters(sample.clone());
                let mut reports = self.with_notification(sample);
                reports.push(counters);
                reports
            }
        }
    }

    /// A load is switched, and the meter reports it at once.
    pub fn change(&mut self, now: Duration) -> Vec<Report> {
        self.household.change();
        let sample = self.measure(now);
        if self.identity.model.is_gen1() {
            vec![Report::Set(sample)]
        } else {
            self.with_notification(sample)
        }
    }

    /// What it says to a command; nothing to those that it does not simulate.
    pub fn answer(&mut self, command: &[u8], now: Duration) -> Vec<Report> {
        match (command, self.identity.model.is_gen1()) {
            (b"announce", _) => self.announcement(now),
            (b"update", true) | (b"status_update", false) => self.set(now),
            _ => Vec::new(),
        }
    }

    /// Topics on which it hears commands. `true` for those whose commands [`Self::answer`] knows.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<(String, bool)> {
        let Identity { model, prefix, .. } = &self.identity;
        let mut topics = vec![
            ("shellies/command".to_owned(), true),
            (format!("{prefix}/command"), true),
        ];
        let mut others = |below: &str| topics.push((format!("{prefix}/{below}"), false));
        match model {
            Model::Em | Model::Em3 => {
                others("relay/0/command");
                model
                    .channels()
                    .iter()
                    .for_each(|channel| others(&format!("emeter/{channel}/command")));
            }
            Model::PlugS => others("relay/0/command"),
            Model::Plus1Pm => ["rpc", "command/switch:0"].into_iter().for_each(others),
            Model::Pro3Em => others("rpc"),
        }
        topics
    }

    fn announcement(&mut self, now: Duration) -> Vec<Report> {
        let mut reports = vec![
            Report::Announce { shared: true },
            Report::Announce { shared: false },
        ];
        if self.identity.model.is_gen1() {
            // The captured first document of a connection came seven seconds after boot.
            let uptime_s = u32::try_from(now.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(7);
            let first = !std::mem::replace(&mut self.synchronised, true);
            let sample = self.measure(now);
            reports.push(Report::Info {
                first,
                uptime_s,
                sample,
            });
        }
        reports
    }

    fn with_notification(&mut self, sample: Sample) -> Vec<Report> {
        let mut reports = vec![Report::Set(sample)];
        if self.rpc_ntf {
            reports.push(Report::Notify(
                self.household.measure(0.0, self.energy_factor),
            ));
        }
        reports
    }

    fn measure(&mut self, now: Duration) -> Sample {
        let passed = now.saturating_sub(self.measured_at);
        self.measured_at = self.measured_at.max(now);
        self.household
            .measure(passed.as_secs_f64(), self.energy_factor)
    }
}

/// The readings in a report that the database must hold afterwards.
#[must_use]
pub fn readings(model: Model, report: &Report) -> Vec<Reading> {
    match report {
        Report::Online => vec![device("online", Value::Truth(true))],
        Report::Announce { shared: false } if model.is_gen1() => {
            vec![device("fw", Value::Text(model.firmware().to_owned()))]
        }
        // What else it tells has topics of its own, which come in the same burst.
        Report::Info { uptime_s, .. } => vec![
            device("rssi_dbm", Value::Number(f64::from(RSSI_DBM))),
            device("uptime_s", Value::Number(f64::from(*uptime_s))),
        ],
        Report::Set(sample) => set_readings(model, sample),
        Report::Counters(sample) => {
            let total = sample.total;
            let mut readings: Vec<Reading> = sample
                .channels
                .iter()
                .flat_map(|channel| energy(channel.name, channel.import_wh, channel.export_wh))
                .collect();
            readings.extend(energy("total", total.import_wh, total.export_wh));
            readings
        }
        // Shared announcements repeat the own ones; the others are not for storing.
        Report::Announce { .. }
        | Report::Minute(_)
        | Report::Connected
        | Report::NotifyConnected
        | Report::Notify(_) => Vec::new(),
    }
}

fn set_readings(model: Model, sample: &Sample) -> Vec<Reading> {
    let mut readings = Vec::new();
    for channel in &sample.channels {
        let Channel {
            name,
            active_w,
            reactive_var,
            apparent_va,
            voltage_v,
            current_a,
            pf,
            freq_hz,
            ..
        } = *channel;
        let mut live = |fields: &[(&'static str, Quantity)]| {
            readings.extend(
                fields
                    .iter()
                    .map(|(field, quantity)| reading(name, "power", field, *quantity)),
            );
        };
        match model {
            Model::Em => live(&[
                ("active_w", active_w),
                ("reactive_var", reactive_var),
                ("voltage_v", voltage_v),
            ]),
            Model::Em3 => live(&[
                ("active_w", active_w),
                ("pf", pf),
                ("current_a", current_a),
                ("voltage_v", voltage_v),
            ]),
            Model::PlugS => live(&[("active_w", active_w)]),
            Model::Plus1Pm => live(&[
                ("active_w", active_w),
                ("voltage_v", voltage_v),
                ("current_a", current_a),
            ]),
            Model::Pro3Em => live(&[
                ("current_a", current_a),
                ("voltage_v", voltage_v),
                ("active_w", active_w),
                ("apparent_va", apparent_va),
                // Current firmware gives it without a sign.
                (
                    "pf",
                    Quantity {
                        si: pf.si.abs(),
                        ..pf
                    },
                ),
                ("freq_hz", freq_hz),
            ]),
        }
        match model {
            Model::Em | Model::Em3 => {
                readings.extend(energy(name, channel.import_wh, channel.export_wh))
            }
            Model::PlugS | Model::Plus1Pm => {
                readings.push(reading(name, "energy", "import_wh", channel.import_wh))
            }
            // Its counters come as a component of their own.
            Model::Pro3Em => {}
        }
    }
    if matches!(model, Model::PlugS | Model::Plus1Pm) {
        let Quantity { si, unique } = sample.temperature_c;
        readings.push(Reading {
            unique,
            ..device("temperature_c", Value::Number(si))
        });
    }
    match model {
        Model::PlugS => readings.push(device("overtemp", Value::Truth(false))),
        Model::Pro3Em => readings.extend([
            reading("total", "power", "active_w", sample.total.active_w),
            reading("total", "power", "apparent_va", sample.total.apparent_va),
            reading("total", "power", "current_a", sample.total.current_a),
        ]),
        Model::Em | Model::Em3 | Model::Plus1Pm => {}
    }
    readings
}

fn reading(
    channel: &'static str,
    measurement: &'static str,
    field: &'static str,
    quantity: Quantity,
) -> Reading {
    let Quantity { si, unique } = quantity;
    Reading {
        channel: Some(channel),
        measurement,
        field,
        value: Value::Number(si),
        unique,
    }
}

fn energy(channel: &'static str, import_wh: Quantity, export_wh: Quantity) -> [Reading; 2] {
    [
        reading(channel, "energy", "import_wh", import_wh),
        reading(channel, "energy", "export_wh", export_wh),
    ]
}

fn device(field: &'static str, value: Value) -> Reading {
    Reading {
        channel: None,
        measurement: "device",
        field,
        value,
        unique: false,
    }
}
