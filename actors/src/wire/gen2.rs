//! Gen2: one JSON document per component, in the vendor's key order and spacing.

use super::{Message, fahrenheit, mac};
use crate::device::{Identity, Report};
use crate::model::Model;
use crate::physics::{Channel, Sample};

pub(super) fn message(identity: &Identity, report: &Report, wall_ns: u64) -> Option<Message> {
    let below = |topic: &str, payload: String| {
        Some(Message {
            topic: format!("{}/{topic}", identity.prefix),
            payload,
            retain: false,
        })
    };
    let model = identity.model;
    match report {
        Report::Online => below("online", "true".to_owned()).map(|message| Message {
            retain: true,
            ..message
        }),
        Report::Announce { shared: true } => Some(Message {
            topic: "shellies/announce".to_owned(),
            payload: announcement(identity),
            retain: false,
        }),
        Report::Announce { shared: false } => below("announce", announcement(identity)),
        Report::Set(sample) if model == Model::Pro3Em => below("status/em:0", em(sample)),
        Report::Set(sample) => below("status/switch:0", switch(sample, wall_ns)),
        Report::Counters(sample) => below("status/emdata:0", emdata(sample)),
        Report::Connected => below("status/mqtt", r#"{"connected":true}"#.to_owned()),
        Report::NotifyConnected => below(
            "events/rpc",
            notification(identity, wall_ns, r#""mqtt":{"connected":true}"#),
        ),
        Report::Notify(sample) => below(
            "events/rpc",
            notification(identity, wall_ns, &delta(model, sample)),
        ),
        // The words of the first generation.
        Report::Info { .. } | Report::Minute(_) => None,
    }
}

fn em(sample: &Sample) -> String {
    let phase = |channel: &Channel| {
        let Channel {
            name,
            current_a,
            voltage_v,
            active_w,
            apparent_va,
            pf,
            freq_hz,
            ..
        } = channel;
        format!(
            concat!(
                r#""{n}_current":{:.3},"{n}_voltage":{:.1},"{n}_act_power":{:.1},"#,
                r#""{n}_aprt_power":{:.1},"{n}_pf":{:.2},"{n}_freq":{:.1}"#,
            ),
            current_a.si,
            voltage_v.si,
            active_w.si,
            apparent_va.si,
            pf.si.abs(),
            freq_hz.si,
            n = name,
        )
    };
    let phases: Vec<String> = sample.channels.iter().map(phase).collect();
    let total = sample.total;
    format!(
        concat!(
            r#"{{"id":0,{},"n_current":null,"total_current":{:.3},"total_act_power":{:.3},"#,
            r#""total_aprt_power":{:.3},"user_calibrated_phase":[]}}"#,
        ),
        phases.join(","),
        total.current_a.si,
        total.active_w.si,
        total.apparent_va.si
    )
}

fn emdata(sample: &Sample) -> String {
    let phase = |channel: &Channel| {
        let (name, import, export) = (channel.name, channel.import_wh.si, channel.export_wh.si);
        format!(
            r#""{name}_total_act_energy":{import:.2},"{name}_total_act_ret_energy":{export:.2}"#
        )
    };
    let phases: Vec<String> = sample.channels.iter().map(phase).collect();
    let (import, export) = (sample.total.import_wh.si, sample.total.export_wh.si);
    format!(
        r#"{{"id":0,{},"total_act":{import:.2},"total_act_ret":{export:.2}}}"#,
        phases.join(",")
    )
}

fn switch(sample: &Sample, wall_ns: u64) -> String {
    let values = |of: fn(&Channel) -> f64| sample.channels.iter().map(of).sum::<f64>();
    let power = values(|channel| channel.active_w.si);
    let (voltage, current) = (
        values(|channel| channel.voltage_v.si),
        values(|channel| channel.current_a.si),
    );
    let energy = values(|channel| channel.import_wh.si);
    // Energy of each of the last three minutes in mWh; the simulated load changes more seldom.
    let minute = power / 60.0 * 1000.0;
    let minute_ts = wall_ns / 60_000_000_000 * 60;
    let celsius = sample.temperature_c.si;
    format!(
        concat!(
            r#"{{"id":0, "source":"init", "output":true, "apower":{:.1}, "voltage":{:.1}, "current":{:.3}, "#,
            r#""aenergy":{{"total":{:.3},"by_minute":[{:.3},{:.3},{:.3}],"minute_ts":{}}},"#,
            r#""temperature":{{"tC":{:.1}, "tF":{:.1}}}}}"#,
        ),
        power,
        voltage,
        current,
        energy,
        minute,
        minute,
        minute,
        minute_ts,
        celsius,
        fahrenheit(celsius)
    )
}

fn delta(model: Model, sample: &Sample) -> String {
    let (component, power, current) = match model {
        Model::Pro3Em => ("em:0", "act_power", "current"),
        _ => ("switch:0", "apower", "current"),
    };
    let values: Vec<String> = sample
        .channels
        .iter()
        .map(|channel| {
            let phase = if model == Model::Pro3Em {
                format!("{}_", channel.name)
            } else {
                String::new()
            };
            let (watts, amperes) = (channel.active_w.si, channel.current_a.si);
            format!(r#""{phase}{power}":{watts:.1},"{phase}{current}":{amperes:.3}"#)
        })
        .collect();
    format!(r#""{component}":{{"id":0,{}}}"#, values.join(","))
}

fn notification(identity: &Identity, wall_ns: u64, params: &str) -> String {
    let Identity { id, prefix, .. } = identity;
    let centiseconds = wall_ns / 10_000_000;
    let (seconds, hundredths) = (centiseconds / 100, centiseconds % 100);
    // The prefix is the one text here that a person chose.
    let to = serde_json::Value::String(format!("{prefix}/events"));
    format!(
        r#"{{"src":"{id}","dst":{to},"method":"NotifyStatus","params":{{"ts":{seconds}.{hundredths:02},{params}}}}}"#
    )
}

/// As the vendor documents the answer of `Shelly.GetDeviceInfo`; no capture of it was found.
fn announcement(identity: &Identity) -> String {
    let Identity { id, model, .. } = identity;
    let (mac, code, version) = (mac(identity), model.code(), model.firmware());
    let app = if *model == Model::Pro3Em {
        "Pro3EM"
    } else {
        "Plus1PM"
    };
    format!(
        concat!(
            r#"{{"name":null,"id":"{}","mac":"{}","model":"{}","gen":2,"fw_id":"20220830-130540/{}-gfa1bc37","#,
            r#""ver":"{}","app":"{}","auth_en":false,"auth_domain":null}}"#,
        ),
        id, mac, code, version, version, app
    )
}
