//! Settings in, mistakes out.

use super::*;

const GOOD: &str = r#"site = "home"
state = "/var/lib/collector"
[broker]
host = "192.168.2.2"
port = 1883
account = "collector"
password_file = "/etc/collector/broker.password"
[database]
url = "http://192.168.1.20:8086/"
name = "energy"
[[meter]]
id = "shellyem-D3B45C"
model = "shellyem"
prefix = "shellies/shellyem-D3B45C"
location = "barn"
point = "barn-supply"
[[meter]]
id = "shellypro3em-aabbccddee04"
model = "shellypro3em"
prefix = "shellypro3em-aabbccddee04"
location = "cabinet"
point = "heat-pump"
source = "events"
label = "Heat pump"
customer = "Miller"
"#;

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse("c.toml", text, &mut |path| match path.to_str() {
        Some("missing") => Err(Unreadable {
            problem: "cannot open it".to_owned(),
            remedy: "name another".to_owned(),
        }),
        _ => Ok(Secret::new("abcd")),
    })
}

/// The good settings with one text replaced by another, and what is said about it: file, line,
/// key, and a part of the rest; nothing when it is in order.
#[track_caller]
fn check(old: &str, new: &str, expected: &[&str]) {
    assert!(GOOD.contains(old), "{old}");
    let said = match parse(&GOOD.replacen(old, new, 1)) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.to_string(),
    };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, part) in lines.iter().zip(expected) {
        assert!(line.contains(part), "{line}\ndoes not contain\n{part}");
    }
}

#[test]
fn good_settings_are_taken() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.site, "home");
    assert_eq!(config.broker.window, 1000);
    assert_eq!(config.broker.password.expose(), "abcd");
    assert_eq!(config.database.url, "http://192.168.1.20:8086");
    assert_eq!(config.database.batch_lines, 5000);
    assert_eq!(config.database.batch_time, Duration::from_secs(1));
    assert!(config.database.login.is_none());
    assert_eq!(config.meters.len(), 2);
    assert_eq!(config.meters[1].source, site::Source::Events);
    assert_eq!(config.meters[1].label.as_deref(), Some("Heat pump"));
    assert!(!format!("{config:?}").contains("abcd"));
}

#[test]
fn optional_keys() {
    check("[database]", "window = 65535\n[database]", &[]);
    check(
        "name = \"energy\"",
        "name = \"e\"\nuser = \"u\"\npassword_file = \"p\"\nbatch_lines = 1\nbatch_ms = 10",
        &[],
    );
    check(
        "name = \"energy\"",
        "name = \"e\"\nuser = \"u\"",
        &["c.toml:11: database.user = \"u\": stands alone"],
    );
    check(
        "name = \"energy\"",
        "name = \"e\"\npassword_file = \"p\"",
        &["c.toml:11: database.password_file = \"p\""],
    );
}

#[test]
fn what_is_missing_is_named() {
    check("site = \"home\"\n", "", &["c.toml: site: is missing"]);
    check(
        "port = 1883\n",
        "",
        &["c.toml:3: broker.port: is missing; add it"],
    );
    check(
        "[database]",
        "[databases]",
        &[
            "c.toml: database: is missing",
            "c.toml:8: databases: is not known",
        ],
    );
    check(
        "model = \"shellyem\"\n",
        "",
        &["c.toml:11: meter[0].model: is missing"],
    );
}

#[test]
fn what_is_not_known_is_named_with_what_is() {
    check(
        "host =",
        "hots =",
        &[
            "c.toml:3: broker.host: is missing",
            "c.toml:4: broker.hots: is not known; known here: host, port, account, password_file, window",
        ],
    );
    check(
        "model = \"shellyem\"",
        "model = \"shelly1em\"",
        &["c.toml:13: meter[0].model = \"shelly1em\": is no model known here; one of shellyem, "],
    );
    check(
        "\"events\"",
        "\"both\"",
        &["c.toml:23: meter[1].source = \"both\": is no source; write status or events"],
    );
}

#[test]
fn wrong_values_are_named() {
    check(
        "1883",
        "0",
        &["c.toml:5: broker.port = 0: is out of bounds; write a whole number from 1 to 65535"],
    );
    check("1883", "99999999999999999999", &["c.toml:5: broker.port"]);
    check("1883", "\"1883\"", &["c.toml:5: broker.port: is a string"]);
    check(
        "\"home\"",
        "5",
        &["c.toml:1: site: is a integer; write a text in quotes"],
    );
    check("\"home\"", "\" \"", &["c.toml:1: site = \"\": is empty"]);
    check(
        "\"barn-supply\"",
        "\"a\\nb\"",
        &["c.toml:16: meter[0].point = \"a\\nb\": holds a control character"],
    );
    check("\"barn-supply\"", "'a\\b'", &["c.toml:16: meter[0].point"]);
    check(
        "\"/etc/collector/broker.password\"",
        "\"missing\"",
        &["c.toml:7: broker.password_file = \"missing\": cannot open it; name another"],
    );
}

#[test]
fn the_database_is_an_http_address() {
    let url = "\"http://192.168.1.20:8086/\"";
    check(
        url,
        "\"https://x\"",
        &["c.toml:9: database.url = \"https://x\": is no http address"],
    );
    check(url, "\"192.168.1.20:8086\"", &["is no address"]);
    check(url, "\"http://x/write\"", &["has a path"]);
    check(
        url,
        "\"http://u:secret@x\"",
        &["database.url = \"***\": names a user"],
    );
}

#[test]
fn prefixes_subscribe_to_one_meter_only() {
    let prefix = "\"shellies/shellyem-D3B45C\"";
    for bad in ["shellies/#", "+/x", "$SYS/x", "x/", "a\\tb"] {
        check(
            prefix,
            &format!("\"{bad}\""),
            &["c.toml:14: meter[0].prefix = "],
        );
    }
    check(prefix, "\"haus 1/zähler\"", &[]);
    check(
        prefix,
        "\"shellypro3em-aabbccddee04\"",
        &["c.toml:18: meter[1].id = \"shellypro3em-aabbccddee04\": has the same prefix"],
    );
    check(
        prefix,
        "\"shellypro3em-aabbccddee04/x\"",
        &[
            "c.toml:12: meter[0].id = \"shellyem-D3B45C\": has a prefix below that of shellypro3em-aabbccddee04",
        ],
    );
    check(
        "id = \"shellyem-D3B45C\"",
        "id = \"shellypro3em-aabbccddee04\"",
        &["c.toml:18: meter[1].id = \"shellypro3em-aabbccddee04\": is there twice"],
    );
}

#[test]
fn all_mistakes_come_at_once() {
    let mistakes =
        parse("site = 5\n[broker]\nport = 0\n[[meter]]\nid = \"a\"\nmodel = \"b\"\n").unwrap_err();
    let keys: Vec<&str> = mistakes
        .0
        .iter()
        .map(|mistake| mistake.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "state",
            "database",
            "site",
            "broker.host",
            "broker.account",
            "broker.password_file",
            "broker.port",
            "meter[0].prefix",
            "meter[0].location",
            "meter[0].point",
            "meter[0].model",
        ]
    );
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let mistakes = parse("site = \"home\"\nstate =\n").unwrap_err().to_string();
    assert!(
        mistakes.starts_with("c.toml:2: the whole file: "),
        "{mistakes}"
    );
    let mistakes = Config::load(Path::new("/nowhere/c.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.starts_with("/nowhere/c.toml: the whole file: cannot read it"),
        "{mistakes}"
    );
}
