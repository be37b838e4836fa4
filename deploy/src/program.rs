//! The program that is carried to a bastion: what it asks of the machine. Building it is left to
//! `cargo xtask build`, which also holds it to the floor that is assumed here.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use object::elf::{EM_AARCH64, EM_ARM, EM_X86_64, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind};

use crate::facts::Version;
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
    match FileKind::parse(bytes).context("reading the file header")? {
        FileKind::Elf32 => read_elf::<FileHeader32<Endianness>>(bytes),
        FileKind::Elf64 => read_elf::<FileHeader64<Endianness>>(bytes),
        kind => bail!("it is no program but {kind:?}"),
    }
}

fn read_elf<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<ProgramNeeds> {
    let header = Elf::parse(bytes).context("reading the file header")?;
    let endian = header.endian().context("reading the byte order")?;
    let machine = match header.e_machine(endian) {
        EM_ARM => Machine::Armv7,
        EM_AARCH64 => Machine::Aarch64,
        EM_X86_64 => Machine::X86_64,
        other => bail!("it is for processor {other}; bastions are armv7, aarch64 or x86-64"),
    };
    let segments = header
        .program_headers(endian, bytes)
        .context("reading the program headers")?;
    let mut dynamic = false;
    for segment in segments {
        let loader = segment.interpreter(endian, bytes);
        dynamic |= loader.context("reading the loader's path")?.is_some();
    }
    let glibc = if dynamic {
        // What names no version is held to the floor.
        newest::<Elf>(header, endian, bytes)?.or(ProgramNeeds::ARMV7.glibc)
    } else {
        None
    };
    Ok(ProgramNeeds { machine, glibc })
}

/// The newest glibc that a symbol asks for.
fn newest<Elf: FileHeader<Endian = Endianness>>(
    header: &Elf,
    endian: Endianness,
    bytes: &[u8],
) -> Result<Option<Version>> {
    let sections = header
        .sections(endian, bytes)
        .context("reading the section headers")?;
    let needs = sections.gnu_verneed(endian, bytes);
    let Some((mut libraries, strings)) = needs.context("reading the version needs")? else {
        return Ok(None);
    };
    let strings = sections.strings(endian, bytes, strings);
    let strings = strings.context("reading the names of versions")?;
    let mut newest = None;
    while let Some((_, mut needs)) = libraries.next().context("reading the version needs")? {
        while let Some(need) = needs.next().context("reading a version need")? {
            let name = need.name(endian, strings).context("reading a version")?;
            if let Some(number) = String::from_utf8_lossy(name).strip_prefix("GLIBC_") {
                newest = newest.max(Version::first_in(number));
            }
        }
    }
    Ok(newest)
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
        // Dynamic against glibc, as tests are built there.
        if cfg!(target_env = "gnu") {
            assert!(needs.glibc.is_some_and(|least| least >= Version(2, 17, 0)));
        }
    }

    /// The least static program for a processor: a file header and nothing else.
    fn least_static(processor: u16) -> Vec<u8> {
        let mut file = vec![0; 64];
        let mut put = |at: usize, bytes: &[u8]| {
            file.splice(at..at + bytes.len(), bytes.iter().copied());
        };
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &2_u16.to_le_bytes());
        put(18, &processor.to_le_bytes());
        put(20, &1_u32.to_le_bytes());
        put(52, &64_u16.to_le_bytes());
        file
    }

    #[test]
    fn a_static_program_asks_for_no_library() {
        let expected = ProgramNeeds {
            machine: Machine::Aarch64,
            glibc: None,
        };
        assert_eq!(needs(&least_static(EM_AARCH64)).unwrap(), expected);
        let message = needs(&least_static(243)).err().unwrap().to_string();
        assert!(message.contains("processor 243"), "{message}");
        assert!(needs(b"\x7fELF\x02\x01\x01").is_err());
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
