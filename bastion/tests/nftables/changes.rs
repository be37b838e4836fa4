//! Loading the policy, finding what was changed of it, and bringing back what was there.

use bastion::firewall;

use crate::namespace::{
    DONE, SITES, check, golden, golden_early, host, inside, is_inside, nft, ruleset, unshare,
};

#[test]
fn nft_takes_every_rendered_ruleset() {
    for path in SITES
        .iter()
        .flat_map(|site| [golden(site), golden_early(site)])
    {
        if let Some(mut command) = unshare("nft_takes_every_rendered_ruleset") {
            command.args(["nft", "-j", "-f"]).arg(path);
            check(command, "");
        }
    }
}

#[test]
fn every_change_is_found() {
    inside("changes::inside_every_change_is_found");
}

#[test]
#[ignore = "the inner half of every_change_is_found"]
fn inside_every_change_is_found() {
    if !is_inside() {
        return;
    }
    for site in SITES {
        let ruleset = ruleset(site);
        let changes: &[(&str, &str)] = &[
            (
                "flush chain inet shelly_bastion forward",
                "rule refuse-forward is missing",
            ),
            (
                "add rule inet shelly_bastion input accept",
                "rule without a name",
            ),
            (
                "insert rule inet shelly_bastion output tcp dport 80 accept comment \"f9-replies\"",
                "rule f9-replies is there 2 times",
            ),
            (
                "add chain inet shelly_bastion more",
                "chain more is not ours",
            ),
            (
                "chain inet shelly_bastion output { policy accept; }",
                "chain output is",
            ),
            ("delete table inet shelly_bastion", "is not loaded"),
        ];
        for (change, says) in changes {
            firewall::check(&host(), &ruleset).unwrap();
            firewall::load(&host(), &ruleset).unwrap();
            assert_eq!(
                firewall::differences(&host(), &ruleset).unwrap(),
                Vec::<String>::new()
            );
            nft(&change.split(' ').collect::<Vec<_>>());
            let found = firewall::differences(&host(), &ruleset).unwrap().join("; ");
            assert!(found.contains(says), "{site}, {change}: {found:?}");
        }
        assert!(
            !nft(&["list", "tables"]).contains("shelly"),
            "something was left"
        );
    }
    println!("{DONE}");
}

/// What is brought back after a change that does not hold is what was there, whoever made it.
#[test]
fn a_loaded_table_comes_back_as_it_was() {
    inside("changes::inside_a_loaded_table_comes_back_as_it_was");
}

#[test]
#[ignore = "the inner half of a_loaded_table_comes_back_as_it_was"]
fn inside_a_loaded_table_comes_back_as_it_was() {
    if !is_inside() {
        return;
    }
    let rules = || nft(&["--stateless", "list", "ruleset"]);
    for site in SITES {
        firewall::load(&host(), &ruleset(site)).unwrap();
        // A person's own rule, which no file knows.
        nft(&["add rule inet shelly_bastion input tcp dport 2222 accept"]);
        nft(&["add element inet shelly_bastion f1_sources_v4 { 192.0.2.1 timeout 10m }"]);
        let before = rules();
        let saved = firewall::restorable(&host()).unwrap().unwrap();
        firewall::load(&host(), &ruleset("home")).unwrap();
        firewall::load(&host(), &saved).unwrap();
        assert!(before.contains("192.0.2.1"));
        nft(&["add element inet shelly_bastion f1_sources_v4 { 192.0.2.1 timeout 10m }"]);
        // What a set learnt carries the time that is left.
        let without_times = |rules: &str| {
            let lines = rules.lines().filter(|line| !line.contains("expires"));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(without_times(&rules()), without_times(&before), "{site}");
    }
    firewall::unload(&host()).unwrap();
    firewall::unload(&host()).unwrap();
    assert_eq!(firewall::restorable(&host()).unwrap(), None);
    assert_eq!(rules(), "");
    println!("{DONE}");
}

#[test]
fn other_tables_are_left_alone() {
    inside("changes::inside_other_tables_are_left_alone");
}

#[test]
#[ignore = "the inner half of other_tables_are_left_alone"]
fn inside_other_tables_are_left_alone() {
    if !is_inside() {
        return;
    }
    nft(&["add table inet other; add chain inet other c; add rule inet other c counter accept"]);
    nft(&["add table ip shelly_bastion; add chain ip shelly_bastion c"]);
    // As UFW and Docker leave theirs.
    nft(&["add table ip filter; \
           add chain ip filter INPUT { type filter hook input priority 0; policy drop; }; \
           add chain ip filter ufw-user-input; add rule ip filter INPUT jump ufw-user-input; \
           add rule ip filter ufw-user-input tcp dport 1883 accept; \
           add table ip nat; \
           add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }; \
           add rule ip nat POSTROUTING ip saddr 172.17.0.0/16 masquerade"]);
    nft(&["add table netdev other; add chain netdev other c"]);
    let other = || nft(&["list", "ruleset"]);
    let before = other();
    nft(&["-j", "-f", golden_early("home").to_str().unwrap()]);
    assert_ne!(other(), before);
    firewall::load(&host(), &ruleset("home")).unwrap();
    assert_eq!(
        firewall::differences(&host(), &ruleset("home")).unwrap(),
        Vec::<String>::new()
    );
    let saved = firewall::restorable(&host()).unwrap().unwrap();
    firewall::load(&host(), &saved).unwrap();
    firewall::unload(&host()).unwrap();
    assert_eq!(other(), before);
    println!("{DONE}");
}
