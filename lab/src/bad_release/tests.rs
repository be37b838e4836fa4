//! The bad releases: whole once written, all different, and enough of them.

use std::collections::BTreeSet;

use deploy::{Rendered, Secrets};
use site::Site;

use super::{ALL, Parts, program_that_crashes};

const SITE: &str = include_str!("../../../site/examples/home.toml");

fn with_parts<T>(ask: impl FnOnce(&Parts<'_>) -> T) -> T {
    let site = Site::parse("home.toml", SITE).unwrap();
    let mut secrets = Secrets::default();
    secrets.complete(&site).unwrap();
    ask(&Parts {
        site: &site,
        bastion: &site.bastions[0],
        secrets: &secrets,
        program: b"the program",
        version: "0",
    })
}

/// Paths of all files, with what they are like.
fn files(rendered: &Rendered) -> BTreeSet<(String, String, String)> {
    let entries = rendered.manifest.files.iter();
    entries
        .map(|file| {
            let attributes = format!("{} {}:{}", file.mode, file.owner, file.group);
            (file.path.clone(), file.sha256.clone(), attributes)
        })
        .collect()
}

#[test]
fn each_differs_from_the_right_one_and_from_every_other() {
    with_parts(|parts| {
        let mut seen = vec![("the right one", files(&parts.right().unwrap()))];
        for release in ALL {
            let made = files(&release.make(parts).unwrap());
            for (name, other) in &seen {
                assert_ne!(&made, other, "{} is as {name}", release.name);
            }
            seen.push((release.name, made));
        }
    });
}

#[test]
fn each_is_whole_once_written() {
    with_parts(|parts| {
        let folder = tempfile::tempdir().unwrap();
        for release in ALL {
            let made = release.make(parts).unwrap();
            let path = folder.path().join(release.name);
            made.write_to(&path).unwrap();
            let read = Rendered::read_from(&path).unwrap();
            assert_eq!(read.manifest, made.manifest, "{}", release.name);
            // Read anew, each entry follows from the file's content.
            let mut again = Rendered::read_from(&path).unwrap();
            for file in read.files {
                again.put(file);
            }
            assert_eq!(again.manifest, made.manifest, "{}", release.name);
        }
    });
}

#[test]
fn there_are_enough_of_them_with_names_of_their_own() {
    let names: BTreeSet<&str> = ALL.iter().map(|release| release.name).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(names.len() >= 12, "{names:?}");
}

#[test]
fn the_program_that_crashes_carries_the_real_one() {
    with_parts(|parts| {
        let made = program_that_crashes.make(parts).unwrap();
        let carried = |content: &[u8]| made.files.iter().any(|file| file.content == content);
        assert!(carried(b"the program"));
        let own = made
            .files
            .iter()
            .find(|file| file.path == site::manifest::PROGRAM_PATH);
        assert!(own.unwrap().content.starts_with(b"#!/bin/sh"));
    });
}
