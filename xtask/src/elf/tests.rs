//! The test program itself is a real dynamic file; damaged ones are made from it.

use super::*;

fn this_program() -> Vec<u8> {
    std::fs::read(std::env::current_exe().unwrap()).unwrap()
}

/// The least static ELF64 file: a file header, the empty section, and a table of section names.
fn least_static() -> Vec<u8> {
    let mut file = vec![0u8; 64 + 2 * 64];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &3u16.to_le_bytes()); // a position-independent program
    put(18, &62u16.to_le_bytes()); // for x86-64
    put(20, &1u32.to_le_bytes());
    put(40, &64u64.to_le_bytes()); // where the section headers are
    put(52, &64u16.to_le_bytes()); // size of the file header
    put(58, &64u16.to_le_bytes()); // size of a section header
    put(60, &2u16.to_le_bytes()); // how many sections
    put(62, &1u16.to_le_bytes()); // which of them holds the names
    put(64 + 64 + 4, &3u32.to_le_bytes()); // it is a string table
    file
}

fn needing(versions: &[&str]) -> Needs {
    Needs {
        machine: Machine::Arm,
        loader: Some("/lib/ld-linux-armhf.so.3".to_owned()),
        libraries: vec!["libc.so.6".to_owned()],
        versions: versions.iter().map(|&name| name.to_owned()).collect(),
        symbols: vec![
            ("stat".to_owned(), "GLIBC_2.33".to_owned()),
            ("arc4random".to_owned(), "GLIBC_2.36".to_owned()),
        ],
    }
}

#[track_caller]
fn check(versions: &[&str], least: Result<Version, &str>, above_2_34: &[&str]) {
    let needs = needing(versions);
    match (needs.glibc(), least) {
        (Ok(got), Ok(least)) => assert_eq!(got, Glibc(least)),
        (Err(err), Err(part)) => {
            let err = format!("{err:#}");
            assert!(err.contains(part), "{part:?} is not in {err:?}");
        }
        (got, least) => panic!("got {got:?}, expected {least:?}"),
    }
    assert_eq!(needs.above(Glibc((2, 34))), above_2_34);
}

#[test]
fn the_highest_version_decides() {
    check(
        &["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.9", "GCC_3.5"],
        Ok((2, 34)),
        &[],
    );
    check(
        &["GLIBC_2.4", "GLIBC_2.36"],
        Ok((2, 36)),
        &["GLIBC_2.36 for arc4random"],
    );
    check(&["GLIBC_2.2.5"], Ok((2, 2)), &[]);
    check(&["GLIBC_3.0"], Ok((3, 0)), &["GLIBC_3.0"]);
    check(
        &["GLIBC_2.4", "GLIBC_ABI_DT_RELR"],
        Ok((2, 36)),
        &["GLIBC_ABI_DT_RELR"],
    );
}

#[test]
fn what_cannot_be_compared_is_no_pass() {
    check(&["GLIBC_2.4", "GLIBC_PRIVATE"], Err("GLIBC_PRIVATE"), &[]);
    check(&[], Err("nothing could be checked"), &[]);
    check(&["GCC_3.5"], Err("nothing could be checked"), &[]);
}

#[test]
fn a_real_dynamic_program_tells_its_needs() {
    let needs = Needs::read(&this_program()).unwrap();
    assert!(!needs.is_static());
    assert!(
        needs
            .loader
            .as_deref()
            .is_some_and(|path| path.contains("ld-linux"))
    );
    assert!(
        needs.libraries.iter().any(|name| name == "libc.so.6"),
        "{:?}",
        needs.libraries
    );
    let least = needs.glibc().unwrap();
    assert!(least.0 >= (2, 17), "{least}: rustc's own floor is 2.17");
    // The symbols behind the highest need are found: a floor below it is exceeded by name.
    let above = needs.above(Glibc((2, 4)));
    assert!(above.iter().any(|need| need.contains(" for ")), "{above:?}");
}

#[test]
fn a_static_program_needs_nothing() {
    let needs = Needs::read(&least_static()).unwrap();
    assert!(needs.is_static());
    assert_eq!(needs.machine, Machine::X86_64);
    assert!(needs.glibc().is_err());
}

#[test]
fn a_file_without_section_headers_is_no_pass() {
    let mut file = least_static();
    file[40..48].fill(0);
    file[60..62].fill(0);
    let err = format!("{:#}", Needs::read(&file).unwrap_err());
    assert!(err.contains("section headers"), "{err}");
}

#[test]
fn other_files_are_refused() {
    for bytes in [
        &b""[..],
        b"\x7fELF",
        b"#!/bin/sh\necho this is no program file\n",
        &[0; 4096],
    ] {
        assert!(Needs::read(bytes).is_err());
    }
}

#[test]
fn a_truncated_program_is_an_error_at_any_length() {
    let whole = this_program();
    for length in (0..4096).chain((4096..whole.len()).step_by(whole.len() / 200)) {
        // The section headers stand at the end, so no beginning is a whole file.
        assert!(
            Needs::read(&whole[..length]).is_err(),
            "{length} bytes were taken for a program"
        );
    }
}

#[test]
fn damaged_headers_never_panic() {
    let mut file = this_program();
    let sections = u64::from_le_bytes(file[40..48].try_into().unwrap());
    let sections = usize::try_from(sections).unwrap();
    let mut answers = 0;
    for at in (0..1024).chain(sections..file.len().min(sections + 40 * 64)) {
        for value in [0x00, 0x7f, 0xff] {
            let original = std::mem::replace(&mut file[at], value);
            answers += usize::from(Needs::read(&file).is_ok());
            file[at] = original;
        }
    }
    assert!(answers > 0, "not every byte matters");
}
