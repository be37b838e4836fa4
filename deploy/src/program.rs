//! The program that is carried to a bastion: what it asks of the machine. Building it is left to
//! `cargo xtask build`, which also holds it to the floor that is assumed here.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::preflight::{Machine, ProgramNeeds};

/// The longest program that is taken: it lies in memory here, and on its way there.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Reads a program.
///
/// # Errors
/// When there is none at that path, or it is for no machine that a bastion can be.
pub fn read(path: &Path) -> Result<(Vec<u8>, ProgramNeeds)> {
    let shown = path.display();
    let missing =
        || format!("reading the program {shown}: build it with `cargo xtask build --only bastion`");
    let length = std::fs::metadata(path).with_context(missing)?.len();
    if length > LONGEST {
        bail!("{shown} has {length} bytes; this is no program of this project");
    }
    let bytes = std::fs::read(path).with_context(missing)?;
    let needs = needs(&bytes).with_context(|| format!("{shown} does not fit any bastion"))?;
    Ok((bytes, needs))
}

fn needs(bytes: &[u8]) -> Result<ProgramNeeds> {
    // A script stands in for the program in tests, and is taken for the usual one.
    if bytes.starts_with(b"#!") {
        return Ok(ProgramNeeds::ARMV7);
    }
    if !bytes.starts_with(b"\x7fELF") {
        bail!("it is not a program of Linux");
    }
    let word = bytes.get(18..20).and_then(|word| word.try_into().ok());
    let glibc = ProgramNeeds::ARMV7.glibc;
    // The ELF header's word for the processor.
    let machine = match word.map(u16::from_le_bytes) {
        Some(40) => Machine::Armv7,
        Some(183) => Machine::Aarch64,
        Some(62) => Machine::X86_64,
        other => bail!("it is for processor {other:?}; bastions are armv7, aarch64 or x86-64"),
    };
    Ok(ProgramNeeds { machine, glibc })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_for_this_machine() {
        let (_, needs) = read(&std::env::current_exe().unwrap()).unwrap();
        let expected = match std::env::consts::ARCH {
            "x86_64" => Machine::X86_64,
            "aarch64" => Machine::Aarch64,
            _ => Machine::Armv7,
        };
        assert_eq!(needs.machine, expected);
    }

    #[test]
    fn what_is_no_program_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        let message = format!("{:#}", read(file.path()).err().unwrap());
        assert!(message.contains("not a program"), "{message}");
        let message = format!("{:#}", read(Path::new("/no/such")).err().unwrap());
        assert!(message.contains("cargo xtask build"), "{message}");
    }
}
