//! The part of the policy that is in force before the network, and when the whole one fails.

use site::flow::{Action, Hook, Match, SSH_PORT};

use crate::{example, for_each_bastion, names};

/// What a machine may lack is a user; what it may lack too, an interface, no rule can name.
#[test]
fn nothing_can_keep_it_from_loading() {
    for_each_bastion(|name, _, _, policy| {
        let early = policy.early();
        assert!(early.users().is_empty(), "{name}");
        let asks_routes = |condition: &Match| matches!(condition, Match::NextHopOtherThan(_));
        let mut conditions = early.rules.iter().flat_map(|rule| &rule.matches);
        assert!(!conditions.any(asks_routes), "{name}");
    });
}

/// Each rule is one of the whole policy, in its order, or one narrowed to SSH: so nothing passes
/// the early one that the whole one refuses.
#[test]
fn it_opens_nothing_that_the_whole_policy_does_not() {
    for_each_bastion(|name, _, _, policy| {
        let mut whole = policy.rules.iter();
        for rule in &policy.early().rules {
            let found = whole.find(|other| other.name == rule.name);
            let other = found.unwrap_or_else(|| panic!("{name}: {} is new or moved", rule.name));
            assert_eq!((rule.hook, rule.action), (other.hook, other.action));
            for (early, whole) in rule.matches.iter().zip(&other.matches) {
                let narrowed = match (early, whole) {
                    (Match::TcpTo(early), Match::TcpTo(whole))
                    | (Match::TcpFrom(early), Match::TcpFrom(whole)) => {
                        early == &[SSH_PORT] && whole.contains(&SSH_PORT)
                    }
                    _ => early == whole,
                };
                assert!(narrowed, "{name}: {early:?} in place of {whole:?}");
            }
            assert_eq!(rule.matches.len(), other.matches.len());
        }
    });
}

#[test]
fn admins_and_the_address_are_all_that_is_left() {
    let (_, policy) = example("home.toml");
    let early = policy.early();
    assert_eq!(
        names(&early),
        [
            "loopback-in",
            "f9-connections",
            "f7-dhcp-in-v4",
            "f8-neighbours-in",
            "f8-groups-in",
            "f8-errors-v4",
            "f8-errors-v6",
            "f3-admin-v4",
            "f3-admin-v6",
            "f3-console-v4",
            "f3-console-v6",
            "refuse-rest-in",
            "refuse-forward",
            "loopback-out",
            "f9-replies",
            "f7-dhcp-out-v4",
            "f8-neighbours-out",
            "f8-groups-out",
            "refuse-rest-out",
        ]
    );
    for hook in Hook::ALL {
        assert!(early.refuses_by_default(hook), "{hook:?}");
    }
    let to_ssh = |rule: &&site::flow::Rule| rule.action == Action::Accept && rule.flow == "F9";
    assert_eq!(early.rules.iter().filter(to_ssh).count(), 2);
}
