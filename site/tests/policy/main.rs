//! What holds for the policy of every site, and that `docs/security.md` names the same rules.
//!
//! Here is what the tests share: the sites, and how a rule is found.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod early;
mod local;
mod outbound;
mod page;
mod people;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use site::flow::{Match, Policy, Rule};
use site::{Bastion, Site};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every site file of the tests and examples that is right.
fn sites() -> Vec<(String, Site)> {
    let mut sites = Vec::new();
    for folder in [folder("examples"), folder("tests/good")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let site = Site::parse(&name, &fs::read_to_string(&path).unwrap()).unwrap();
            sites.push((name, site));
        }
    }
    assert!(sites.len() > 2, "where are the examples?");
    sites
}

fn for_each_bastion(check: impl Fn(&str, &Site, &Bastion, &Policy)) {
    for (name, site) in sites() {
        for bastion in &site.bastions {
            check(&name, &site, bastion, &Policy::of(&site, bastion));
        }
    }
}

fn example(name: &str) -> (Site, Policy) {
    parsed(&folder("examples").join(name))
}

fn parsed(path: &Path) -> (Site, Policy) {
    let name = path.to_str().unwrap();
    let site = Site::parse(name, &fs::read_to_string(path).unwrap()).unwrap();
    let policy = Policy::of(&site, site.bastions.first().unwrap());
    (site, policy)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.rules.iter().map(|rule| rule.name.as_str()).collect()
}

fn find<'a>(policy: &'a Policy, name: &str) -> Option<&'a Rule> {
    policy.rules.iter().find(|rule| rule.name == name)
}

/// A site of `tests/good` and the policy of its first bastion.
fn good(name: &str) -> (Site, Policy) {
    parsed(&folder("tests/good").join(name))
}

/// The networks that a rule asks its destination for; nothing when it asks for none.
fn destinations(rule: &Rule) -> Option<&[IpNet]> {
    rule.matches.iter().find_map(|condition| match condition {
        Match::Destination(list) => Some(list.as_slice()),
        _ => None,
    })
}

/// Whether one of the networks of a list holds the whole network.
fn holds(list: &[IpNet], network: IpNet) -> bool {
    list.iter().any(|candidate| candidate.contains(&network))
}
