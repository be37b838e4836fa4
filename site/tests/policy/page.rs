//! `docs/security.md` names the rules of the policy and no other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use crate::{folder, for_each_bastion, names};

/// The words in back-ticks in the columns `Rule` of a page's tables.
fn named_rules(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut column = None;
    for line in page.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            column = None;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(index) = column else {
            column = Some(cells.iter().position(|cell| *cell == "Rule"));
            continue;
        };
        if let Some(cell) = index.and_then(|index: usize| cells.get(index)) {
            let words = cell.split('`').skip(1).step_by(2);
            names.extend(words.map(str::to_owned));
        }
    }
    names
}

#[test]
fn the_security_page_names_every_rule_and_no_other() {
    let page = fs::read_to_string(folder("../docs/security.md")).unwrap();
    let rules = RefCell::new(BTreeSet::new());
    for_each_bastion(|_, _, _, policy| {
        let names = names(policy).into_iter().map(str::to_owned);
        rules.borrow_mut().extend(names);
    });
    let rules = rules.into_inner();
    let named = named_rules(&page);
    let only_in = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(only_in(&rules, &named), "", "not on the page");
    assert_eq!(only_in(&named, &rules), "", "in no policy");
}
