//! Every line ends up in the database or is refused with a reason, whatever the database does.

use std::collections::BTreeSet;
use std::time::Duration;

use collector::config;
use collector::database::Database;
use collector::secret::Secret;

use crate::fake_database::{Answer, FakeDatabase};

fn settings(url: &str) -> config::Database {
    config::Database {
        url: url.to_owned(),
        name: "energy & more".to_owned(),
        login: None,
        gzip: true,
        batch_lines: 5000,
        batch_time: Duration::from_secs(1),
    }
}

/// Writes lines to a database that behaves as told, and compares the set of lines taken and the
/// list of those refused with their reasons.
#[track_caller]
fn check(
    lines: &[&str],
    behaviour: impl FnOnce(&FakeDatabase),
    expected_refused: &[(usize, &str)],
) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let fake = FakeDatabase::start().await;
        behaviour(&fake);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let refused = Database::new(&settings(&fake.url))
            .unwrap()
            .write(text.into())
            .await;
        let refused: Vec<(usize, &str)> = refused
            .iter()
            .map(|refused| (refused.line, refused.reason.as_str()))
            .collect();
        assert_eq!(refused, expected_refused);
        let good: BTreeSet<String> = (0..lines.len())
            .filter(|index| expected_refused.iter().all(|(line, _)| line != index))
            .map(|index| lines[index].to_owned())
            .collect();
        assert_eq!(fake.lines().into_iter().collect::<BTreeSet<_>>(), good);
    });
}

#[test]
fn good_lines_are_written() {
    check(&["a 1", "b 2"], |_| {}, &[]);
    check(&[], |_| {}, &[]);
}

#[test]
fn bad_lines_are_found_among_good_ones() {
    check(
        &["a 1", "bad 2", "c 3", "d 4", "bad 5", "e 6", "f 7"],
        |_| {},
        &[
            (1, "partial write: unable to parse 'bad 2'"),
            (4, "partial write: unable to parse 'bad 5'"),
        ],
    );
    check(
        &["bad"],
        |_| {},
        &[(0, "partial write: unable to parse 'bad'")],
    );
}

#[test]
fn an_absent_database_is_waited_for() {
    check(
        &["a 1", "b 2"],
        |fake| fake.then(&[Answer::Status(503), Answer::Close, Answer::Status(404)]),
        &[],
    );
}

#[test]
fn lines_whose_answer_was_lost_are_written_again() {
    check(
        &["a 1", "b 2"],
        |fake| fake.then(&[Answer::StoreAndClose]),
        &[],
    );
}

#[test]
fn requests_that_are_too_large_are_split() {
    check(
        &["a 1", "b 2", "c 3", "bad 4", "d 5"],
        |fake| fake.at_most(1),
        &[(3, "partial write: unable to parse 'bad 4'")],
    );
    check(&["a 1"], |fake| fake.at_most(0), &[(0, "413: ")]);
}

#[tokio::test]
async fn requests_name_database_precision_and_user() {
    let fake = FakeDatabase::start().await;
    let login = Some(config::Login {
        user: "writer".to_owned(),
        password: Secret::new("abcd"),
    });
    let settings = config::Database {
        login,
        ..settings(&fake.url)
    };
    Database::new(&settings)
        .unwrap()
        .write("a 1\n".into())
        .await;
    let head = fake.heads().concat().to_lowercase();
    assert!(
        head.starts_with("post /write?db=energy+%26+more&precision=ns http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    // "writer:abcd" in base64, in small letters.
    assert!(
        head.contains("authorization: basic d3jpdgvyomfiy2q=\r\n"),
        "{head}"
    );
}
