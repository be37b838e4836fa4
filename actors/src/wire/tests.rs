//! Payloads against captures of real meters, and a few values against their definition.

use super::*;
use crate::device::{self, Flow};
use crate::ledger::Value;
use crate::model::Model;
use crate::physics::{Household, Sample};

const WALL_NS: u64 = 1_788_945_292_880_000_000;

fn sample(model: Model) -> Sample {
    Household::new(1, "wire", model).measure(3.0, 60.0)
}

fn say(model: Model, report: &Report) -> Vec<Message> {
    let mac = if model.is_gen1() {
        "AABBCCDDEEFF"
    } else {
        "aabbccddeeff"
    };
    let id = format!("{}-{mac}", model.name());
    let prefix = if model.is_gen1() {
        format!("shellies/{id}")
    } else {
        id.clone()
    };
    messages(&Identity { id, model, prefix }, report, WALL_NS)
}

/// Text with each number reduced to how it is printed: a mark and its decimals.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut decimals = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_ascii_digit() {
            if decimals || !shape.ends_with('#') {
                shape.push(if decimals { 'd' } else { '#' });
            }
            continue;
        }
        let digit_follows = characters.peek().is_some_and(char::is_ascii_digit);
        decimals = character == '.' && shape.ends_with('#') && digit_follows;
        if character != '-' || !digit_follows {
            shape.push(character);
        }
    }
    shape
}

#[track_caller]
fn check(model: Model, report: &Report, captured: &[(&str, &str)]) {
    let said = say(model, report);
    let below = |topic: &str| {
        topic
            .split_once(&format!("{}-", model.name()))
            .map_or(topic.to_owned(), |(_, rest)| rest[13..].to_owned())
    };
    let said: Vec<_> = said
        .iter()
        .map(|message| (below(&message.topic), shape(&message.payload)))
        .collect();
    let captured: Vec<_> = captured
        .iter()
        .map(|(topic, text)| ((*topic).to_owned(), shape(text)))
        .collect();
    assert_eq!(said, captured);
}

#[test]
fn a_shape_tells_decimals_apart() {
    assert_eq!(
        shape(r#"{"a":-12.50,"em:0":3}"#),
        r##"{"a":#.dd,"em:#":#}"##
    );
    assert_ne!(shape("1.5"), shape("1.50"));
    assert_eq!(shape("shellyem-D"), "shellyem-D");
}

#[test]
fn em() {
    check(
        Model::Em,
        &Report::Set(sample(Model::Em)),
        &[
            ("relay/0", "off"),
            ("emeter/0/power", "1562.68"),
            ("emeter/0/reactive_power", "-280.01"),
            ("emeter/0/voltage", "223.24"),
            ("emeter/0/total", "64541.0"),
            ("emeter/0/total_returned", "0.0"),
            ("emeter/1/power", "-40.63"),
            ("emeter/1/reactive_power", "-354.51"),
            ("emeter/1/voltage", "223.24"),
            ("emeter/1/total", "10533.1"),
            ("emeter/1/total_returned", "427.7"),
        ],
    );
}

#[test]
fn em3() {
    let mut captured = vec![("relay/0".to_owned(), "off")];
    for phase in 0..3 {
        let values = [
            ("power", "154.38"),
            ("pf", "0.86"),
            ("current", "0.78"),
            ("voltage", "228.41"),
            ("total", "0.0"),
            ("total_returned", "0.0"),
        ];
        captured
            .extend(values.map(|(quantity, value)| (format!("emeter/{phase}/{quantity}"), value)));
    }
    let captured: Vec<_> = captured
        .iter()
        .map(|(topic, value)| (topic.as_str(), *value))
        .collect();
    check(Model::Em3, &Report::Set(sample(Model::Em3)), &captured);
}

#[test]
fn plug_s() {
    check(
        Model::PlugS,
        &Report::Set(sample(Model::PlugS)),
        &[
            ("relay/0", "on"),
            ("relay/0/power", "5.56"),
            ("relay/0/energy", "2632"),
            ("temperature", "19.76"),
            ("temperature_f", "67.57"),
            ("overtemperature", "0"),
        ],
    );
}

#[test]
fn plus_1pm() {
    // The captured unit was switched off; a load needs it on.
    let captured = r#"{"id":0, "source":"init", "output":true, "apower":0.0, "voltage":232.7, "current":0.000, "aenergy":{"total":0.000,"by_minute":[0.000,0.000,0.000],"minute_ts":1661517385},"temperature":{"tC":39.2, "tF":102.5}}"#;
    check(
        Model::Plus1Pm,
        &Report::Set(sample(Model::Plus1Pm)),
        &[("status/switch:0", captured)],
    );
}

#[test]
fn pro_3em() {
    let captured = r#"{"id":0,"a_current":9.592,"a_voltage":227.0,"a_act_power":2166.2,"a_aprt_power":2175.9,"a_pf":0.99,"a_freq":49.9,"b_current":0.044,"b_voltage":230.0,"b_act_power":3.6,"b_aprt_power":10.1,"b_pf":0.36,"b_freq":49.9,"c_current":1.479,"c_voltage":230.2,"c_act_power":244.0,"c_aprt_power":339.7,"c_pf":0.72,"c_freq":49.9,"n_current":null,"total_current":11.116,"total_act_power":2413.825,"total_aprt_power":2525.779,"user_calibrated_phase":[]}"#;
    check(
        Model::Pro3Em,
        &Report::Set(sample(Model::Pro3Em)),
        &[("status/em:0", captured)],
    );
    let captured = r#"{"id":0,"a_total_act_energy":2034616.71,"a_total_act_ret_energy":0.00,"b_total_act_energy":185686.89,"b_total_act_ret_energy":40.70,"c_total_act_energy":369469.80,"c_total_act_ret_energy":985.91,"total_act":2589773.39,"total_act_ret":1026.61}"#;
    check(
        Model::Pro3Em,
        &Report::Counters(sample(Model::Pro3Em)),
        &[("status/emdata:0", captured)],
    );
}

#[test]
fn who_they_are() {
    // With the model's own names in place of the captured device's.
    let captured = r#"{"id":"shellyem3-AABBCCDDEEFF","model":"SHEM-3","mac":"AABBCCDDEEFF","ip":"192.168.8.93","new_fw":false,"fw_ver":"20220809-123240/v1.12-g99f7e0b"}"#;
    check(
        Model::Em3,
        &Report::Announce { shared: false },
        &[("announce", captured)],
    );
    check(
        Model::Em3,
        &Report::Announce { shared: true },
        &[("shellies/announce", captured)],
    );
    check(Model::Em, &Report::Online, &[("online", "true")]);
    assert!(!say(Model::Em, &Report::Online)[0].retain);
    assert!(say(Model::Plus1Pm, &Report::Online)[0].retain);
}

#[test]
fn notifications() {
    let captured = r#"{"src":"shellyplus1pm-aabbccddeeff","dst":"shellyplus1pm-aabbccddeeff/events","method":"NotifyStatus","params":{"ts":1788945292.88,"switch:0":{"id":0,"apower":11.5,"current":0.071}}}"#;
    check(
        Model::Plus1Pm,
        &Report::Notify(sample(Model::Plus1Pm)),
        &[("events/rpc", captured)],
    );
    assert!(
        say(Model::Pro3Em, &Report::NotifyConnected)[0]
            .payload
            .contains(r#""ts":1788945292.88,"mqtt""#)
    );
}

#[test]
fn info_begins_as_captured_and_has_no_time_at_first() {
    let captured = r#"{"wifi_sta":{"connected":true,"ssid":"x","ip":"192.168.178.21","rssi":-63},"cloud":{"enabled":false,"connected":false},"mqtt":{"connected":true},"time":"05:37","unixtime":1745033824,"serial":17295,"has_update":false,"mac":"AABBCCDDEEFF","cfg_changed_cnt":1,"actions_stats":{"skipped":0},"relays":[{"ison":false,"has_timer":false,"timer_started":0,"timer_duration":0,"timer_remaining":0,"overpower":false,"is_valid":true,"source":"http"}],"emeters":[{"power":20.64,"reactive":87.65,"pf":0.23,"voltage":231.02,"is_valid":true,"total":4311237.3,"total_returned":7102.9},{"power":-40.63,"reactive":-22.93,"pf":0.87,"voltage":232.65,"is_valid":true,"#;
    for model in Model::ALL.into_iter().filter(|model| model.is_gen1()) {
        let info = |first| {
            say(
                model,
                &Report::Info {
                    first,
                    uptime_s: 7,
                    sample: sample(model),
                },
            )[0]
            .payload
            .clone()
        };
        if model == Model::Em {
            assert!(
                shape(&info(false)).starts_with(&shape(captured)),
                "{}",
                info(false)
            );
        }
        assert!(
            info(true).contains(r#""time":"","unixtime":0,"#),
            "{}",
            info(true)
        );
        for text in [info(true), info(false)] {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (json["uptime"].as_i64(), json["wifi_sta"]["rssi"].as_i64()),
                (Some(7), Some(-63))
            );
        }
    }
}

#[test]
fn energy_of_the_last_minute_is_in_whole_watt_minutes() {
    let flows = vec![Flow {
        import_wh: 0.66,
        export_wh: 0.0,
    }];
    check(
        Model::Em3,
        &Report::Minute(flows.clone()),
        &[("emeter/0/energy", "40"), ("emeter/0/returned_energy", "0")],
    );
    assert_eq!(say(Model::Em3, &Report::Minute(flows))[0].payload, "40");
}

/// The ledger's value of a field, and the number that a reader finds on the wire for it.
#[track_caller]
fn ledger_and_wire(
    model: Model,
    report: &Report,
    channel: &str,
    field: &str,
    topic: &str,
    pointer: &str,
) -> (f64, f64) {
    let readings = device::readings(model, report);
    let reading = readings
        .iter()
        .find(|reading| reading.channel.unwrap_or("") == channel && reading.field == field);
    let Some(Value::Number(entered)) = reading.map(|reading| reading.value.clone()) else {
        panic!("no {field}")
    };
    let messages = say(model, report);
    let message = messages
        .iter()
        .find(|message| message.topic.ends_with(topic))
        .unwrap();
    let json: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
    (entered, json.pointer(pointer).unwrap().as_f64().unwrap())
}

#[test]
fn the_ledger_holds_in_si_what_the_wire_carries_in_its_own_unit() {
    let [em, em3, plug, plus] = [Model::Em, Model::Em3, Model::PlugS, Model::Plus1Pm]
        .map(|model| Report::Set(sample(model)));
    let [pro, counters] =
        [Report::Set, Report::Counters].map(|report| report(sample(Model::Pro3Em)));
    let same = [
        ledger_and_wire(Model::Em, &em, "1", "active_w", "emeter/1/power", ""),
        ledger_and_wire(
            Model::Em,
            &em,
            "0",
            "reactive_var",
            "emeter/0/reactive_power",
            "",
        ),
        ledger_and_wire(
            Model::Em,
            &em,
            "1",
            "export_wh",
            "emeter/1/total_returned",
            "",
        ),
        ledger_and_wire(Model::Em3, &em3, "2", "pf", "emeter/2/pf", ""),
        ledger_and_wire(Model::Em3, &em3, "0", "current_a", "emeter/0/current", ""),
        ledger_and_wire(Model::PlugS, &plug, "", "temperature_c", "/temperature", ""),
        ledger_and_wire(
            Model::Plus1Pm,
            &plus,
            "0",
            "import_wh",
            "switch:0",
            "/aenergy/total",
        ),
        ledger_and_wire(
            Model::Plus1Pm,
            &plus,
            "",
            "temperature_c",
            "switch:0",
            "/temperature/tC",
        ),
        ledger_and_wire(Model::Pro3Em, &pro, "c", "pf", "em:0", "/c_pf"),
        ledger_and_wire(Model::Pro3Em, &pro, "a", "freq_hz", "em:0", "/a_freq"),
        ledger_and_wire(
            Model::Pro3Em,
            &pro,
            "total",
            "active_w",
            "em:0",
            "/total_act_power",
        ),
        ledger_and_wire(
            Model::Pro3Em,
            &counters,
            "total",
            "import_wh",
            "emdata:0",
            "/total_act",
        ),
        ledger_and_wire(
            Model::Pro3Em,
            &counters,
            "b",
            "export_wh",
            "emdata:0",
            "/b_total_act_ret_energy",
        ),
    ];
    for (entered, sent) in same {
        assert_eq!(
            entered.to_bits(),
            sent.to_bits(),
            "{entered} against {sent}"
        );
    }
    let (watt_hours, watt_minutes) =
        ledger_and_wire(Model::PlugS, &plug, "0", "import_wh", "relay/0/energy", "");
    assert_eq!(watt_hours.to_bits(), (watt_minutes / 60.0).to_bits());
}
