//! Every recorded payload and every known oddity, as files in `cases/`: one per kind of meter.
//!
//! A file has blocks: `= model id [prefix=…] [source=…]` names the meter (underscores in the
//! prefix stand for spaces), a line at the margin is topic and payload (behind a tab if the topic
//! holds a space), the indented lines below it are what it must become, whole. `#` is a comment.
//! In the lines, `@` stands for site, device, point, model and gen of the meter.

use std::fmt::Write as _;

use proptest::prelude::*;
use site::{Meter, Model, Source};

use super::*;

const TIME: i64 = 1_700_000_000_123_456_789;

/// A meter as nobody renamed it.
pub(crate) fn meter(model: &str, id: &str) -> Meter {
    let model = Model::named(model).unwrap();
    Meter {
        id: id.to_owned(),
        prefix: model.default_prefix(id),
        model,
        location: "cellar".to_owned(),
        point: "supply".to_owned(),
        label: None,
        customer: None,
        source: Source::Status,
    }
}

fn described(words: &str) -> Meter {
    let mut words = words.split_whitespace();
    let (model, id) = (words.next().unwrap(), words.next().unwrap());
    let mut meter = meter(model, id);
    for word in words {
        match word.split_once('=').unwrap() {
            ("prefix", prefix) => meter.prefix = prefix.replace('_', " "),
            ("point", point) => meter.point = point.replace('_', " "),
            ("source", "events") => meter.source = Source::Events,
            other => panic!("{other:?}"),
        }
    }
    meter
}

fn outcome(meter: &Meter, topic: &str, payload: &[u8]) -> Vec<String> {
    match translate(meter, "home", topic, payload, TIME) {
        Translation::Points(lines) => {
            let text = String::from_utf8(lines.text).unwrap();
            assert_eq!(text.lines().count(), lines.count);
            let Meter {
                id, point, model, ..
            } = meter;
            let tags = format!(
                ",device={id},gen={},model={},point={},site=home",
                model.gen_number,
                model.name,
                point.replace(' ', "\\ ")
            );
            text.lines()
                .map(|line| line.replace(&tags, "@").replace(&format!(" {TIME}"), ""))
                .collect()
        }
        Translation::NotAReading(kind) => vec![format!("- {kind:?}")],
        Translation::NotUnderstood(reason) => vec![format!("! {reason}")],
    }
}

/// Compares a whole file with itself, its outcomes made anew.
#[track_caller]
fn check(cases: &str) {
    let mut current = None;
    let mut made = String::new();
    for line in cases.lines() {
        if line.starts_with("    ") {
            continue;
        }
        writeln!(made, "{line}").unwrap();
        if let Some(words) = line.strip_prefix("= ") {
            current = Some(described(words));
        } else if !line.starts_with('#') && !line.is_empty() {
            let meter = current.as_ref().unwrap();
            let split = line.split_once('\t').or_else(|| line.split_once(' '));
            let (topic, payload) = split.unwrap_or((line, ""));
            for outcome in outcome(meter, topic, payload.as_bytes()) {
                writeln!(made, "    {outcome}").unwrap();
            }
        }
    }
    if made != cases {
        for (line, (is, should)) in made.lines().zip(cases.lines()).enumerate() {
            assert_eq!(is, should, "line {}; all that was made:\n{made}", line + 1);
        }
        panic!("the file ends early or late; all that was made:\n{made}");
    }
}

#[test]
fn first_generation() {
    check(include_str!("cases/gen1.txt"));
}

#[test]
fn second_and_later_generations() {
    check(include_str!("cases/gen2.txt"));
}

#[test]
fn every_model_is_written_with_its_own_tags() {
    for model in site::meter::MODELS {
        let meter = meter(model.name, "x");
        let topic = format!("{}/online", meter.prefix);
        assert_eq!(outcome(&meter, &topic, b"true"), ["device@ online=true"]);
    }
}

#[test]
fn a_point_carries_identity_and_time() {
    let meter = meter("shellyem", "shellyem-D3B45C");
    let topic = "shellies/shellyem-D3B45C/emeter/0/power";
    let Translation::Points(lines) = translate(&meter, "home", topic, b"1562.68", TIME) else {
        panic!("no points");
    };
    assert_eq!(
        String::from_utf8(lines.text).unwrap(),
        "power,channel=0,device=shellyem-D3B45C,gen=1,model=shellyem,point=supply,site=home \
         active_w=1562.68 1700000000123456789\n"
    );
}

#[track_caller]
fn refused(meter: &Meter, suffix: &str, payload: &[u8], part: &str) {
    let topic = format!("{}/{suffix}", meter.prefix);
    let Translation::NotUnderstood(reason) = translate(meter, "home", &topic, payload, TIME) else {
        panic!("not refused");
    };
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn payloads_are_bounded() {
    let em = meter("shellyem", "shellyem-D3B45C");
    let pro = meter("shellypro3em", "shellypro3em-aabbccddeeff");
    let spaces = vec![b' '; LARGEST_PAYLOAD + 1];
    refused(&em, "emeter/0/power", &spaces, "65537 bytes");
    refused(&pro, "status/em:0", &spaces, "65537 bytes");
    let deep = format!("{{\"a\":{}", "[".repeat(LARGEST_PAYLOAD - 10));
    refused(&pro, "status/em:0", deep.as_bytes(), "recursion limit");
    refused(&em, "emeter/0/power", b"\xff\xfe", "is not a number");
    refused(&pro, "status/em:0", b"{\"\xff\":1}", "not a JSON object");
}

/// Texts that reach into every branch, and bytes that nobody would send.
fn topic() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("emeter"),
        Just("relay"),
        Just("0"),
        Just("power"),
        Just("energy"),
        Just("info"),
        Just("announce"),
        Just("online"),
        Just("status"),
        Just("em:0"),
        Just("emdata:0"),
        Just("em1:1"),
        Just("switch:0"),
        Just("pm1:0"),
        Just("events"),
        Just("rpc"),
        Just(""),
    ];
    prop_oneof![
        proptest::collection::vec(word, 0..5).prop_map(|words| words.join("/")),
        any::<String>(),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"x\"".to_owned()),
        Just("{}".to_owned()),
        Just("{\"total\":1}".to_owned()),
        Just("[]".to_owned()),
        any::<f64>().prop_map(|n| n.to_string()),
    ];
    let key = prop_oneof![
        Just("apower"),
        Just("aenergy"),
        Just("ret_aenergy"),
        Just("temperature"),
        Just("params"),
        Just("a_act_power"),
        Just("total_act"),
        Just("switch:0"),
        Just("uptime"),
        Just("fw_ver"),
    ];
    let object = proptest::collection::vec((key, value), 0..6).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{\"method\":\"NotifyStatus\",{}}}", pairs.join(",")).into_bytes()
    });
    prop_oneof![
        object,
        any::<f64>().prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_lines_can_be_read(topic in topic(), payload in payload(), time in any::<i64>()) {
        let mut meters = vec![meter("shellyem", "m"), meter("shellypro3em", "m"), meter("shellypro3em", "m")];
        meters[2].source = Source::Events;
        for meter in meters {
            let topic = format!("{}/{topic}", meter.prefix);
            if let Translation::Points(lines) = translate(&meter, "home", &topic, &payload, time) {
                let text = String::from_utf8(lines.text).unwrap();
                prop_assert_eq!(text.matches('\n').count(), lines.count);
                for line in influxdb_line_protocol::parse_lines(&text) {
                    prop_assert_eq!(line.unwrap().timestamp, Some(time));
                }
            }
        }
    }
}
