//! Gen1: a bare decimal per topic, and two JSON documents.

use super::{Message, fahrenheit, mac};
use crate::device::{Flow, Identity, RSSI_DBM, Report};
use crate::model::Model;
use crate::physics::{Channel, Sample};

pub(super) fn messages(identity: &Identity, report: &Report, wall_ns: u64) -> Vec<Message> {
    let below = |topic: &str, payload: String| Message {
        topic: format!("{}/{topic}", identity.prefix),
        payload,
        retain: false,
    };
    match report {
        Report::Online => vec![below("online", "true".to_owned())],
        Report::Announce { shared: true } => {
            vec![Message {
                topic: "shellies/announce".to_owned(),
                payload: announcement(identity),
                retain: false,
            }]
        }
        Report::Announce { shared: false } => vec![below("announce", announcement(identity))],
        Report::Info {
            first,
            uptime_s,
            sample,
        } => {
            let seconds = if *first {
                None
            } else {
                Some(wall_ns / 1_000_000_000)
            };
            vec![below("info", info(identity, seconds, *uptime_s, sample))]
        }
        Report::Set(sample) => set(identity.model, sample)
            .into_iter()
            .map(|(topic, text)| below(&topic, text))
            .collect(),
        Report::Minute(flows) => flows
            .iter()
            .enumerate()
            .flat_map(
                |(
                    index,
                    Flow {
                        import_wh,
                        export_wh,
                    },
                )| {
                    let [import_wmin, export_wmin] = [import_wh * 60.0, export_wh * 60.0];
                    [
                        below(
                            &format!("emeter/{index}/energy"),
                            format!("{import_wmin:.0}"),
                        ),
                        below(
                            &format!("emeter/{index}/returned_energy"),
                            format!("{export_wmin:.0}"),
                        ),
                    ]
                },
            )
            .collect(),
        // The words of later generations.
        Report::Counters(_) | Report::Connected | Report::NotifyConnected | Report::Notify(_) => {
            Vec::new()
        }
    }
}

/// All live topics in the order of the captures.
fn set(model: Model, sample: &Sample) -> Vec<(String, String)> {
    let mut topics = Vec::new();
    let mut say = |topic: String, payload: String| topics.push((topic, payload));
    let relay = if model == Model::PlugS { "on" } else { "off" };
    say("relay/0".to_owned(), relay.to_owned());
    for channel in &sample.channels {
        let meter = |quantity: &str| format!("emeter/{}/{quantity}", channel.name);
        match model {
            Model::Em => {
                say(meter("power"), format!("{:.2}", channel.active_w.si));
                say(
                    meter("reactive_power"),
                    format!("{:.2}", channel.reactive_var.si),
                );
            }
            Model::Em3 => {
                say(meter("power"), format!("{:.2}", channel.active_w.si));
                say(meter("pf"), format!("{:.2}", channel.pf.si));
                say(meter("current"), format!("{:.2}", channel.current_a.si));
            }
            _ => {
                say(
                    "relay/0/power".to_owned(),
                    format!("{:.2}", channel.active_w.si),
                );
                // A relay counts watt-minutes.
                say(
                    "relay/0/energy".to_owned(),
                    format!("{:.0}", channel.import_wh.si * 60.0),
                );
                continue;
            }
        }
        say(meter("voltage"), format!("{:.2}", channel.voltage_v.si));
        say(meter("total"), format!("{:.1}", channel.import_wh.si));
        say(
            meter("total_returned"),
            format!("{:.1}", channel.export_wh.si),
        );
    }
    if model == Model::PlugS {
        let celsius = sample.temperature_c.si;
        say("temperature".to_owned(), format!("{celsius:.2}"));
        say(
            "temperature_f".to_owned(),
            format!("{:.2}", fahrenheit(celsius)),
        );
        say("overtemperature".to_owned(), "0".to_owned());
    }
    topics
}

fn announcement(identity: &Identity) -> String {
    let Identity { id, model, .. } = identity;
    let (code, mac, firmware) = (model.code(), mac(identity), model.firmware());
    format!(
        r#"{{"id":"{id}","model":"{code}","mac":"{mac}","ip":"192.168.178.21","new_fw":false,"fw_ver":"{firmware}"}}"#
    )
}

/// The meter's `/status` document. Before its clock is set, the time is empty and zero.
fn info(identity: &Identity, unix_s: Option<u64>, uptime_s: u32, sample: &Sample) -> String {
    let time = unix_s.map_or_else(String::new, |unix_s| {
        let minute = unix_s / 60 % 1440;
        format!("{:02}:{:02}", minute / 60, minute % 60)
    });
    let unix_s = unix_s.unwrap_or_default();
    let (mac, firmware) = (mac(identity), identity.model.firmware());
    let measured = match identity.model {
        Model::PlugS => plug_status(unix_s, sample),
        _ => clamp_status(identity.model, sample),
    };
    format!(
        concat!(
            r#"{{"wifi_sta":{{"connected":true,"ssid":"x","ip":"192.168.178.21","rssi":{}}},"#,
            r#""cloud":{{"enabled":false,"connected":false}},"mqtt":{{"connected":true}},"#,
            r#""time":"{}","unixtime":{},"serial":17295,"has_update":false,"mac":"{}","#,
            r#""cfg_changed_cnt":1,"actions_stats":{{"skipped":0}},{},"#,
            r#""update":{{"status":"idle","has_update":false,"new_version":"{}","old_version":"{}"}},"#,
            r#""ram_total":51064,"ram_free":35316,"fs_size":233681,"fs_free":157879,"uptime":{}}}"#,
        ),
        RSSI_DBM, time, unix_s, mac, measured, firmware, firmware, uptime_s
    )
}

fn clamp_status(model: Model, sample: &Sample) -> String {
    let one = |channel: &Channel| {
        let Channel {
            active_w,
            reactive_var,
            pf,
            current_a,
            voltage_v,
            import_wh,
            export_wh,
            ..
        } = channel;
        let power = active_w.si;
        let middle = if model == Model::Em {
            format!(
                r#""reactive":{:.2},"pf":{:.2}"#,
                reactive_var.si,
                pf.si.abs()
            )
        } else {
            format!(r#""pf":{:.2},"current":{:.2}"#, pf.si, current_a.si)
        };
        format!(
            r#"{{"power":{power:.2},{middle},"voltage":{:.2},"is_valid":true,"total":{:.1},"total_returned":{:.1}}}"#,
            voltage_v.si, import_wh.si, export_wh.si
        )
    };
    let emeters: Vec<String> = sample.channels.iter().map(one).collect();
    format!(
        concat!(
            r#""relays":[{{"ison":false,"has_timer":false,"timer_started":0,"timer_duration":0,"#,
            r#""timer_remaining":0,"overpower":false,"is_valid":true,"source":"http"}}],"emeters":[{}]"#,
        ),
        emeters.join(",")
    )
}

fn plug_status(unix_s: u64, sample: &Sample) -> String {
    let celsius = sample.temperature_c.si;
    let power: f64 = sample
        .channels
        .iter()
        .map(|channel| channel.active_w.si)
        .sum();
    let wmin: f64 = sample
        .channels
        .iter()
        .map(|channel| channel.import_wh.si * 60.0)
        .sum();
    format!(
        concat!(
            r#""relays":[{{"ison":true,"has_timer":false,"timer_started":0,"timer_duration":0,"#,
            r#""timer_remaining":0,"overpower":false,"source":"mqtt"}}],"#,
            r#""meters":[{{"power":{:.2},"overpower":0.00,"is_valid":true,"timestamp":{},"#,
            r#""counters":[{:.3},{:.3},{:.3}],"total":{:.0}}}],"#,
            r#""temperature":{:.2},"overtemperature":false,"tmp":{{"tC":{:.2},"tF":{:.2},"is_valid":true}}"#,
        ),
        power,
        unix_s,
        power,
        power,
        power,
        wmin,
        celsius,
        celsius,
        fahrenheit(celsius)
    )
}
