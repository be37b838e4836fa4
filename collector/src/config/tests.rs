//! Settings in, mistakes out.

use super::*;

/// What `--help` shows.
const GOOD: &str = include_str!("../../examples/collector.toml");

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
    let Origin::Journals(bastions) = &config.origin else {
        panic!("{:?}", config.origin);
    };
    assert_eq!(bastions.len(), 1);
    assert_eq!(bastions[0].password.expose(), "abcd");
    assert_eq!(config.database.url, "http://192.168.1.20:8086");
    assert_eq!(config.database.batch_lines, 8_000);
    assert!(config.database.gzip);
    assert_eq!(config.database.batch_time, Duration::from_secs(1));
    assert!(config.database.login.is_none());
    assert_eq!(config.meters.len(), 2);
    assert_eq!(config.meters[1].source, site::Source::Events);
    assert_eq!(config.meters[1].label.as_deref(), Some("Heat pump"));
    assert!(!format!("{config:?}").contains("abcd"));
}

#[test]
fn optional_keys() {
    check(
        "name = \"energy\"",
        "name = \"e\"\nuser = \"u\"\npassword_file = \"p\"\nbatch_lines = 1\nbatch_ms = 10",
        &[],
    );
    check(
        "name = \"energy\"",
        "name = \"e\"\nuser = \"u\"",
        &["c.toml:15: database.user = \"u\": stands alone"],
    );
    check(
        "name = \"energy\"",
        "name = \"e\"\npassword_file = \"p\"",
        &["c.toml:15: database.password_file = \"p\""],
    );
}

#[test]
fn what_stays_on_this_machine_is_not_compressed() {
    let url = "url = \"http://192.168.1.20:8086\"";
    for (written, expected) in [
        ("url = \"http://127.0.0.1:8086\"", false),
        ("url = \"http://localhost:8086\"", false),
        ("url = \"http://[::1]:8086\"", false),
        ("url = \"http://127.0.0.1:8086\"\ngzip = true", true),
        ("url = \"http://localhost.home:8086\"", true),
        ("url = \"http://192.168.1.20:80\"", true),
    ] {
        let config = parse(&GOOD.replace(url, written)).unwrap();
        assert_eq!(config.database.gzip, expected, "{written}");
    }
}

#[test]
fn bastions_or_a_broker() {
    let one = "[[bastion]]";
    let other = "[[bastion]]\nhost = \"b\"\nport = 1\naccount = \"c\"\npassword_file = \"p\"\n\n[[bastion]]";
    check(one, other, &[]);
    check(
        one,
        &other.replace("\"b\"", "\"192.168.2.2\""),
        &[
            "c.toml:11: bastion[2].host = \"192.168.2.2\": is the host of another bastion already (line 5)",
        ],
    );
    check(one, "[broker]\nwindow = 65535", &[]);
    check(
        one,
        "[[bastion]]\nwindow = 1",
        &["c.toml:5: bastion[1].window: is no known key"],
    );
    check(
        one,
        &other.replacen("[[bastion]]", "[broker]", 1),
        &["c.toml:4: broker: stands beside [[bastion]]; leave out the one or the other"],
    );
    check(
        one,
        "[[bastions]]",
        &["c.toml:4: bastions: is no known key; did you mean bastion?"],
    );
}

#[test]
fn what_is_missing_is_named() {
    check("site = \"home\"\n", "", &["c.toml: site: is missing"]);
    check(
        "port = 1883\n",
        "",
        &["c.toml:4: bastion[1].port: is missing; add a line such as port = 1883 below this line"],
    );
    check(
        "[database]",
        "[databases]",
        &["c.toml:12: databases: is no known key; did you mean database?"],
    );
    check(
        "model = \"shellyem\"\n",
        "",
        &["c.toml:20: meter[1].model: is missing"],
    );
}

#[test]
fn what_is_not_known_is_named_with_what_is() {
    check(
        "host =",
        "hots =",
        &["c.toml:5: bastion[1].hots: is no known key; did you mean host?"],
    );
    check(
        "model = \"shellyem\"",
        "model = \"shelly1em\"",
        &[
            "c.toml:22: meter[1].model = \"shelly1em\": is no model that this version knows; did you mean \"shellyem\" (Shelly EM)",
        ],
    );
    check(
        "\"events\"",
        "\"both\"",
        &["c.toml:32: meter[2].source = \"both\": is no choice here; write \"status\" ("],
    );
}

#[test]
fn wrong_values_are_named() {
    check(
        "1883",
        "0",
        &["c.toml:6: bastion[1].port = 0: is out of bounds; write a whole number from 1 to 65535"],
    );
    check("1883", "0x7_5B", &[]);
    check(
        "1883",
        "99999999999999999999",
        &["c.toml:6: bastion[1].port"],
    );
    check(
        "1883",
        "\"1883\"",
        &[
            "c.toml:6: bastion[1].port = \"1883\": is a text, where a whole number belongs; write it as in port = 1883",
        ],
    );
    check(
        "\"home\"",
        "5",
        &["c.toml:1: site = 5: is a number, where a text belongs; write it as in site = \"home\""],
    );
    check("\"home\"", "\" \"", &["c.toml:1: site = \" \": is empty"]);
    check(
        "\"barn-supply\"",
        "\"a\\nb\"",
        &[
            "c.toml:25: meter[1].point = \"a\\nb\": holds a line break, which the database cannot keep",
        ],
    );
    check("\"barn-supply\"", "'a\\b'", &["c.toml:25: meter[1].point"]);
    check(
        "\"/etc/collector/broker.password\"",
        "\"missing\"",
        &["c.toml:8: bastion[1].password_file = \"missing\": cannot open it; name another"],
    );
}

#[test]
fn the_database_is_an_http_address() {
    let url = "\"http://192.168.1.20:8086\"";
    check(
        url,
        "\"https://x\"",
        &["c.toml:13: database.url = \"https://x\": asks for HTTPS"],
    );
    check(
        url,
        "\"192.168.1.20:8086\"",
        &["does not begin with http://"],
    );
    check(
        url,
        "\"http://x/write\"",
        &["has something behind the port"],
    );
    check(
        url,
        "\"http://u:secret@x\"",
        &["database.url = ***: names a user"],
    );
}

#[test]
fn prefixes_subscribe_to_one_meter_only() {
    let prefix = "\"shellies/shellyem-D3B45C\"";
    for bad in ["shellies/#", "+/x", "$SYS/x", "x/", "a\\tb"] {
        check(
            prefix,
            &format!("\"{bad}\""),
            &["c.toml:23: meter[1].prefix = "],
        );
    }
    check(prefix, "\"haus 1/zähler\"", &[]);
    check(
        prefix,
        "\"shellypro3em-aabbccddee04\"",
        &[
            "c.toml:28: meter[2].id = \"shellypro3em-aabbccddee04\": has the same topics as \"shellyem-D3B45C\"",
        ],
    );
    check(
        prefix,
        "\"shellypro3em-aabbccddee04/x\"",
        &[
            "c.toml:23: meter[1].prefix = \"shellypro3em-aabbccddee04/x\": has topics below those of \"shellypro3em-aabbccddee04\" (line 28)",
        ],
    );
    check(
        "id = \"shellyem-D3B45C\"",
        "id = \"shellyPRO3em-aabbccddee04\"",
        &["c.toml:28: meter[2].id = \"shellypro3em-aabbccddee04\": is the same meter as"],
    );
}

#[test]
fn no_two_meters_count_for_one_point() {
    check(
        "\"heat-pump\"",
        "\"barn-supply\"",
        &[
            "c.toml:31: meter[2].point = \"barn-supply\": is the point of another meter already (line 25)",
        ],
    );
}

#[test]
fn all_mistakes_come_at_once() {
    let mistakes = parse("site = 5\n[[bastion]]\nport = 0\n[[meter]]\nid = \"a\"\nmodel = \"b\"\n")
        .unwrap_err();
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
            "bastion[1].host",
            "bastion[1].account",
            "bastion[1].password_file",
            "bastion[1].port",
            "meter[1].location",
            "meter[1].point",
            "meter[1].model",
        ]
    );
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let mistakes = parse("site = \"home\"\nstate =\n").unwrap_err().to_string();
    assert!(mistakes.starts_with("c.toml:2: state: "), "{mistakes}");
    let mistakes = Config::load(Path::new("/nowhere/c.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.starts_with("/nowhere/c.toml: the whole file: cannot read it"),
        "{mistakes}"
    );
}
