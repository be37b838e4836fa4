//! Whatever stands in a site file, reading it ends with a site or with messages, never a panic.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use site::Site;
use site::account::Account;

const HOME: &str = include_str!("../examples/home.toml");

/// Reads a file and checks what must hold for every answer.
fn check(text: &str) -> Result<(), TestCaseError> {
    match Site::parse("some.toml", text) {
        Ok(site) => {
            let accounts = Account::all(&site);
            let names: BTreeSet<_> = accounts.iter().map(|account| &account.name).collect();
            prop_assert_eq!(names.len(), accounts.len(), "two accounts of one name");
            prop_assert!(site.meters.iter().all(|meter| !meter.point.contains('\n')));
        }
        Err(mistakes) => {
            let mistakes = mistakes.0;
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.is_sorted_by_key(|mistake| mistake.line));
            let lines = text.lines().count().max(1);
            for mistake in &mistakes {
                prop_assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)));
                let message = mistake.to_string();
                prop_assert!(!message.contains(char::is_control), "{message:?}");
                prop_assert!(message.len() < 2_000, "{message}");
            }
        }
    }
    Ok(())
}

/// The example with some of its text replaced by other text, or by a piece of its own.
fn mutated() -> impl Strategy<Value = String> {
    let other = prop_oneof![
        "(?s).{0,12}",
        r#"[\[\]"'=#.,:/+$ \n\r\t0-9a-fx{}\\-]{0,8}"#,
        (0..HOME.len(), 0_usize..200).prop_map(|(start, length)| piece(start, length).to_owned()),
    ];
    let change = (0..HOME.len(), 0_usize..40, other);
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        let mut text: Vec<char> = HOME.chars().collect();
        for (start, length, other) in changes {
            let start = start.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, other.chars());
        }
        text.into_iter().collect()
    })
}

fn piece(start: usize, length: usize) -> &'static str {
    let start = HOME.ceil_char_boundary(start);
    let end = HOME.ceil_char_boundary((start + length).min(HOME.len()));
    &HOME[start..end]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_an_answer(text in "(?s).{0,400}") {
        check(&text)?;
    }

    #[test]
    fn any_toml_like_text_has_an_answer(text in r#"([\[\]"'=#.,{}\\ \n\r]|meter|lan|id|bastion|name|1|[a-f:/]){0,120}"#) {
        check(&text)?;
    }

    #[test]
    fn any_change_of_the_example_has_an_answer(text in mutated()) {
        check(&text)?;
    }

    #[test]
    fn any_value_of_any_key_has_an_answer(line in 0..HOME.lines().count(), value in "(?s).{0,40}") {
        let replaced: Vec<String> = HOME.lines().enumerate().map(|(index, text)| {
            match text.split_once(" = ") {
                Some((key, _)) if index == line => format!("{key} = {value:?}"),
                _ => text.to_owned(),
            }
        }).collect();
        check(&replaced.join("\n"))?;
    }
}

/// Reading must not take time that grows with the square of a file's length.
#[test]
fn a_long_file_of_one_kind_has_an_answer() {
    let pieces = [
        "[",
        "]",
        "\"",
        "a",
        "=",
        "\n",
        "a.",
        "a = [\n",
        "a = {",
        "a = b\n",
        "a = 1\n",
        "[[meter]]\n",
        "'''",
        "\0",
        "ä",
    ];
    for piece in pieces {
        check(&piece.repeat((1 << 18) / piece.len())).unwrap();
    }
    let keys: String = (0..20_000).map(|n| format!("k{n}=1\n")).collect();
    check(&keys).unwrap();
    let values: String = (0..10_000).map(|n| format!("\"10.0.{n}.1\",")).collect();
    check(&format!("[lan]\nnetworks = [{values}]\n")).unwrap();
}
