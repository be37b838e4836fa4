//! Accounts of the broker that a folder adds, removes, or gives another password.

use std::collections::BTreeMap;

use anyhow::Result;
use site::answer::AccountChange;
use site::manifest::PASSWD_PATH;

use crate::bundle::Bundle;
use crate::host::{Host, read_if_present};

pub(super) fn change(host: &Host, bundle: &Bundle) -> Result<AccountChange> {
    let old = read_if_present(&host.path(PASSWD_PATH))?.unwrap_or_default();
    let new = bundle.content(PASSWD_PATH).unwrap_or_default();
    Ok(compare(
        &String::from_utf8_lossy(&old),
        &String::from_utf8_lossy(new),
    ))
}

fn compare(old: &str, new: &str) -> AccountChange {
    let (old, new) = (lines(old), lines(new));
    let names = |names: Vec<&&str>| names.into_iter().map(|name| (*name).to_owned()).collect();
    AccountChange {
        added: names(new.keys().filter(|name| !old.contains_key(*name)).collect()),
        removed: names(old.keys().filter(|name| !new.contains_key(*name)).collect()),
        password: names(
            new.iter()
                .filter(|(name, hash)| old.get(*name).is_some_and(|old| old != *hash))
                .map(|(name, _)| name)
                .collect(),
        ),
    }
}

/// `name:hash` per line; the broker takes the last one of a name.
fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn each_change_has_its_list() {
        let found = compare("a:1\nb:2\nc:3\n", "d:4\nc:3\nb:9\n");
        assert_eq!(found.added, ["d"]);
        assert_eq!(found.removed, ["a"]);
        assert_eq!(found.password, ["b"]);
        assert!(compare("a:1\nb:2\n", "b:2\na:1\n").is_empty());
        assert!(compare("", "").is_empty());
    }
}
