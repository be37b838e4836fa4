//! Values at the border of what is taken, beside those that `tests/bad` shows whole.

use std::fmt::Debug;

use super::host::{address, endpoint, host, interface, network, router, ssh, url};
use super::meter::{VendorId, id, model, prefix};
use super::{label, word};
use crate::form::Fault;

/// Judges each text with one parser: first those that are good, then those that are not.
#[track_caller]
fn check<T: Debug>(parse: fn(&str) -> Result<T, Fault>, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(parse(text).is_ok(), "{text:?}: {:?}", parse(text));
    }
    for text in bad {
        assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
    }
}

#[test]
fn words_and_labels() {
    let longest = "a".repeat(32);
    check(
        word,
        &["a", "0", "home-2_b", &longest],
        &["", "-a", "_a", "a.b", "ä", &(longest.clone() + "a")],
    );
    let longest = "ä".repeat(128);
    check(
        label,
        &["Küche, links", "a", &longest],
        &["", " a", "a ", "a\tb", "a\\b", &(longest.clone() + "a")],
    );
}

#[test]
fn addresses() {
    check(
        address,
        &["192.168.1.10", "2001:db8::10", "fd00::1", "203.0.113.7"],
        &[
            "",
            "192.168.1",
            "192.168.001.1",
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "169.254.1.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.168.1.1",
            "fe80::1",
            "fe80::1%eth0",
            "[::1]:80",
        ],
    );
    check(
        router,
        &["fe80::1", "192.168.1.1"],
        &["fe80::1%eth0", "::1"],
    );
    check(
        network,
        &[
            "192.168.1.0/24",
            "10.0.0.0/8",
            "192.168.1.7/32",
            "2001:db8::/64",
        ],
        &[
            "0.0.0.0/0",
            "::/0",
            "0.0.0.0/1",
            "127.0.0.0/8",
            "fe80::/10",
            "ff00::/8",
            "2001:db8::1/64",
            "10.0.0.0/",
            "/",
        ],
    );
}

#[test]
fn hosts_and_ports() {
    check(
        host,
        &[
            "localhost",
            "a.example.net",
            "xn--bcher-kva.example",
            "192.0.2.1",
            "2001:db8::1",
        ],
        &[
            "",
            "a..b",
            "a.",
            "-a.net",
            "a-.net",
            "a_b.net",
            "1.2.3",
            "192.0.2.256",
            "ä.net",
            &"a".repeat(64),
        ],
    );
    check(
        endpoint,
        &["a.example.net:1", "192.0.2.1:65535", "[2001:db8::7]:1883"],
        &[
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            ":1883",
            "[a]:1",
            "[192.0.2.1]:1",
            "2001:db8::7:1883",
            "u@a:1",
            "a:1/",
        ],
    );
    check(
        url,
        &[
            "http://a:8086",
            "http://a:8086/",
            "http://[2001:db8::1]:8086",
        ],
        &[
            "",
            "a:8086",
            "HTTPS://a:8086",
            "ftp://a:1",
            "http://a",
            "http://a:8086/x",
            "http://a:8086?u=x&p=y",
        ],
    );
}

#[test]
fn secrets_are_not_repeated() {
    let secret = |fault: Result<(), Fault>| assert!(fault.is_err_and(|fault| fault.secret));
    secret(url("http://u:hunter2@a:8086").map(drop));
    secret(url("http://a:8086/?u=x&p=hunter2").map(drop));
    secret(endpoint("mqtt://u:hunter2@a:1883").map(drop));
    secret(ssh("pi:hunter2@a").map(drop));
    secret(ssh("ssh://pi:hunter2@a").map(drop));
}

#[test]
fn destinations_and_interfaces() {
    check(
        ssh,
        &[
            "pi",
            "pi@192.168.2.2",
            "pi@2001:db8::2",
            "ssh://pi@[2001:db8::2]:2222",
            "first.last@pi.lan",
        ],
        &[
            "",
            "pi@",
            "-p",
            "pi@-oProxyCommand",
            "-l@a",
            "ssh://-a",
            "a b",
            "a;b",
            "$(a)",
            "a\n",
            "pi@a:22",
        ],
    );
    check(
        interface,
        &["eth0", "enx0123456789ab", "eth0.7", "br-lan"],
        &[
            "",
            "lo",
            ".",
            "..",
            "eth*",
            "eth0:1",
            "a/b",
            "a b",
            "sixteen-letters-",
        ],
    );
}

#[test]
fn ids_and_prefixes() {
    let longest = "a".repeat(64);
    check(
        id,
        &["a", "shellyem-D3B45C", "heat.pump_1", "pump.2b", &longest],
        &[
            "",
            "-a",
            ".",
            "a.2",
            "a.2.3",
            "a$",
            "a#",
            "a\u{7f}",
            &(longest.clone() + "a"),
        ],
    );
    let longest = "ä".repeat(300);
    check(
        prefix,
        &["a", "shellies/a", "Wärme/Pumpe, groß", "a\\b", &longest],
        &[
            "",
            "/a",
            "a/",
            "a//b",
            "$a",
            "a+",
            "a%b",
            "a?",
            " a",
            "a ",
            "a\0",
            "a\u{fffe}",
            &(longest.clone() + "a"),
        ],
    );
}

#[test]
fn ids_of_the_vendor() {
    let spelled = |id: &str| VendorId::of(id).map(|vendor| (vendor.model.name, vendor.spelled));
    assert_eq!(
        spelled("shellyplug-s-aabb02"),
        Some(("shellyplug-s", "shellyplug-s-AABB02".to_owned()))
    );
    assert_eq!(
        spelled("ShellyEMG3-AABBCCDDEEFF"),
        Some(("shellyemg3", "shellyemg3-aabbccddeeff".to_owned()))
    );
    assert_eq!(spelled("shellyem-barn"), None);
    assert_eq!(spelled("shellyem-D3B45"), None);
    assert_eq!(spelled("shellynew-D3B45C"), None);
}

/// The remedy for a model that nobody knows.
#[track_caller]
fn check_offer(written: &str, expected: &str) {
    let remedy = model(written).unwrap_err().remedy;
    assert!(remedy.starts_with(expected), "{written}: {remedy}");
}

#[test]
fn models_are_offered_by_name_and_product() {
    check_offer("3EM", "did you mean \"shellyem3\" (Shelly 3EM)?");
    check_offer(
        "Shelly EM Gen3",
        "did you mean \"shellyemg3\" (Shelly EM Gen3)?",
    );
    check_offer(
        "shellypro3en",
        "did you mean \"shellypro3em\" (Shelly Pro 3EM)",
    );
    check_offer("toaster", "write one of shellyem, shellyem3");
    check_offer("", "write one of shellyem, shellyem3");
}
