//! Whole site files in, whole sites or whole messages out.
//!
//! `bad/` holds one fault per file beside the message that a person sees;
//! `UPDATE_EXPECTED=1` writes the messages anew. `good/` and `examples/` hold what must parse.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use site::meter::{Meter, Model, Source};
use site::{
    Bastion, Database, Endpoint, Lan, Mistakes, Outbound, Placement, Reader, ReaderKind, Site,
    System,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn example(name: &str) -> String {
    fs::read_to_string(folder("examples").join(name)).unwrap()
}

fn parse(path: &Path) -> Result<Site, Mistakes> {
    let name = path.file_name().unwrap().to_str().unwrap();
    Site::parse(name, &fs::read_to_string(path).unwrap())
}

/// Paths without extension of all files of a folder that have this one.
fn stems(folder: &Path, extension: &str) -> BTreeSet<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.with_extension(""))
        .collect()
}

#[test]
fn each_bad_file_has_its_message() {
    let folder = folder("tests/bad");
    let update = env::var_os("UPDATE_EXPECTED").is_some();
    let files = stems(&folder, "toml");
    let mut wrong = Vec::new();
    for stem in &files {
        let path = stem.with_extension("toml");
        let message = match parse(&path) {
            Ok(_) => {
                wrong.push(format!("{} was accepted", path.display()));
                continue;
            }
            Err(mistakes) => format!("{mistakes}\n"),
        };
        let expected = stem.with_extension("expected");
        if update {
            fs::write(&expected, message).unwrap();
            continue;
        }
        match fs::read_to_string(&expected) {
            Err(error) => wrong.push(format!("{}: {error}", expected.display())),
            Ok(text) if text == message => {}
            Ok(text) => wrong.push(format!(
                "{}\n  expected: {text}     found: {message}",
                path.display()
            )),
        }
    }
    for stem in stems(&folder, "expected").difference(&files) {
        wrong.push(format!("{} has an expectation and no file", stem.display()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files.len() >= 40, "only {} bad files", files.len());
}

#[test]
fn each_good_file_parses_without_a_warning() {
    let files = stems(&folder("tests/good"), "toml");
    let files: Vec<_> = files
        .union(&stems(&folder("examples"), "toml"))
        .cloned()
        .collect();
    assert!(files.len() >= 4);
    for stem in files {
        let path = stem.with_extension("toml");
        let site = parse(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(site.warnings, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn home_becomes_exactly_this_site() {
    assert_eq!(Site::parse("home.toml", &example("home.toml")), Ok(home()));
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark_change_nothing() {
    let text = format!("\u{feff}{}", example("home.toml").replace('\n', "\r\n"));
    assert_eq!(Site::parse("home.toml", &text), Ok(home()));
}

#[test]
fn lines_are_counted_alike_with_line_ends_of_windows() {
    let text = example("home.toml")
        .replace("\"eth0\"", "\"eth 0\"")
        .replace('\n', "\r\n");
    let mistakes = Site::parse("home.toml", &text).unwrap_err();
    let place: Vec<_> = mistakes
        .0
        .iter()
        .map(|mistake| (mistake.line, &*mistake.key))
        .collect();
    assert_eq!(place, [(Some(22), "bastion[1].interface")]);
}

/// Changes the example in one place and compares the warnings.
#[track_caller]
fn check_warnings(from: &str, to: &str, expected: &[&str]) {
    let text = example("home.toml");
    assert!(text.contains(from), "{from} is not in the example");
    let site = Site::parse("home.toml", &text.replacen(from, to, 1));
    let site = site.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(site.warnings, expected);
}

#[test]
fn a_bare_public_address_is_warned_about() {
    check_warnings(
        "meters.example.net:1883",
        "203.0.113.7:1883",
        &[
            "home.toml:5: public = \"203.0.113.7:1883\": is a bare address: every meter must be \
           visited when the provider changes it; use a name that you can point elsewhere, such \
           as one of a dynamic DNS service",
        ],
    );
}

#[test]
fn an_id_that_looks_mistyped_is_warned_about() {
    check_warnings(
        "shellyem-D3B45C",
        "shellyem-D3B4SC",
        &[
            "home.toml:60: meter[1].id = \"shellyem-D3B4SC\": begins like an id of the vendor and \
           does not end in 6 or 12 of the digits 0 to 9 and A to F; compare it with what the \
           meter shows; it may be right if you chose it",
        ],
    );
}

#[test]
fn a_meter_under_a_short_and_a_long_id_is_warned_about() {
    check_warnings(
        "id = \"shellyplug-s-AABB02\"\nmodel = \"shellyplug-s\"",
        "id = \"shellyem-AABBCCD3B45C\"\nmodel = \"shellyem\"",
        &[
            "home.toml:74: meter[3].id = \"shellyem-AABBCCD3B45C\": ends like \"shellyem-D3B45C\" \
           (line 60) and may be the same meter; if it is, describe it once",
        ],
    );
}

#[test]
fn a_resolver_inside_that_is_no_router_is_warned_about() {
    check_warnings(
        "resolvers = [\"192.168.2.1\"]\n#",
        "resolvers = [\"192.168.1.5\"]\n#",
        &[
            "home.toml:32: outbound.resolvers[1] = \"192.168.1.5\": stands inside and is no gateway of \
           a bastion: the bastion will be let to its port; write the router's address on the \
           bastion's segment, if the router serves there",
        ],
    );
}

#[test]
fn a_list_of_units_stands_in_place_of_the_usual_ones() {
    let off = |text: &str| {
        let text = example("home.toml").replacen("watchdog_s = 14", text, 1);
        Site::parse("home.toml", &text).unwrap().system.off
    };
    assert_eq!(off("off = []"), Vec::<String>::new());
    assert_eq!(off("off = [\"cups.path\"]"), ["cups.path"]);
    assert_eq!(off(""), usual_off());
}

/// Makes a file of the example that is too large, and compares the message.
#[track_caller]
fn check_too_large(more: &str, expected: &str) {
    let text = example("home.toml") + more;
    let mistakes = Site::parse("home.toml", &text).unwrap_err();
    assert_eq!(mistakes.to_string(), expected);
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_not_read() {
    let length = (1 << 20) + 1 - example("home.toml").len();
    check_too_large(
        &"#".repeat(length),
        "home.toml: the whole file: has 1048577 bytes, and a site has at most 1048576; \
         check that it is the right file, or make several sites of it",
    );
}

#[test]
fn more_than_ten_thousand_meters_are_refused() {
    check_too_large(
        &"[[meter]]\nid = \"a\"\n".repeat(9_996),
        "home.toml:59: meter: is there 10001 times; one site file may hold 10000; \
         make several sites of it",
    );
}

fn usual_off() -> Vec<String> {
    [
        "avahi-daemon.socket",
        "avahi-daemon.service",
        "cups.socket",
        "cups.path",
        "cups.service",
        "cups-browsed.service",
        "bluetooth.service",
        "hciuart.service",
        "ModemManager.service",
        "triggerhappy.socket",
        "triggerhappy.service",
        "rpcbind.socket",
        "rpcbind.service",
    ]
    .map(str::to_owned)
    .into()
}

fn home() -> Site {
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let meter = |id: &str, model: &str, prefix: &str, location: &str, point: &str| Meter {
        id: id.to_owned(),
        model: Model::named(model).unwrap(),
        prefix: prefix.to_owned(),
        location: location.to_owned(),
        point: point.to_owned(),
        label: None,
        customer: None,
        source: Source::Status,
    };
    let reader = |name: &str, kind| Reader {
        name: name.to_owned(),
        kind,
    };
    Site {
        name: "home".to_owned(),
        public: Endpoint {
            host: "meters.example.net".to_owned(),
            port: 1883,
        },
        lan: Lan {
            networks: networks(&["192.168.1.0/24", "fd5a:1:2:1::/64", "2001:db8:5a:1::/64"]),
            admins: addresses(&["192.168.1.10", "2001:db8:5a:1::10"]),
            readers: addresses(&["192.168.1.20", "2001:db8:5a:1::20"]),
        },
        bastions: vec![Bastion {
            name: "pi".to_owned(),
            ssh: "pi@192.168.2.2".to_owned(),
            placement: Placement::Dmz,
            interface: "eth0".to_owned(),
            addresses: addresses(&["192.168.2.2", "2001:db8:5a:2::2"]),
            networks: networks(&["192.168.2.0/24", "2001:db8:5a:2::/64"]),
            gateways: addresses(&["192.168.2.1", "2001:db8:5a:2::1"]),
            masquerades_as: Vec::new(),
            dhcp: Some([192, 168, 2, 1].into()),
        }],
        outbound: Outbound {
            resolvers: addresses(&["192.168.2.1"]),
            resolved: false,
            time_servers: vec![
                "0.debian.pool.ntp.org".to_owned(),
                "1.debian.pool.ntp.org".to_owned(),
            ],
            updates: true,
        },
        system: System {
            // The file names none, so these are the usual ones.
            off: usual_off(),
            watchdog_s: 14,
            journal_mib: 64,
        },
        public_addresses: addresses(&["203.0.113.7"]),
        database: Database {
            url: "http://192.168.1.20:8086".to_owned(),
            name: "energy".to_owned(),
        },
        readers: vec![
            reader("collector", ReaderKind::Collector),
            reader("check", ReaderKind::Program),
        ],
        meters: vec![
            Meter {
                label: Some("Barn, main supply".to_owned()),
                ..meter(
                    "shellyem-D3B45C",
                    "shellyem",
                    "shellies/shellyem-D3B45C",
                    "barn",
                    "barn-supply",
                )
            },
            Meter {
                customer: Some("Miller".to_owned()),
                ..meter(
                    "shellyem3-AABBCCDDEE01",
                    "shellyem3",
                    "shellies/shellyem3-AABBCCDDEE01",
                    "house",
                    "house-supply",
                )
            },
            meter(
                "shellyplug-s-AABB02",
                "shellyplug-s",
                "shellies/shellyplug-s-AABB02",
                "kitchen",
                "freezer",
            ),
            meter(
                "shellyplus1pm-aabbccddee03",
                "shellyplus1pm",
                "shellyplus1pm-aabbccddee03",
                "workshop",
                "compressor",
            ),
            meter(
                "shellypro3em-aabbccddee04",
                "shellypro3em",
                "shellypro3em-aabbccddee04",
                "meter cabinet",
                "heat-pump",
            ),
        ],
        warnings: Vec::new(),
    }
}
