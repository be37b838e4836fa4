//! What a program file asks of the machine that runs it, read from the file itself: loader,
//! libraries, versions of the C library. What is too much is decided by `build`.
//!
//! The loader goes by the version needs (`.gnu.version_r`); the symbols behind them are read only
//! so that a message can name them.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use object::elf::{
    DT_NEEDED, EM_AARCH64, EM_ARM, EM_X86_64, FileHeader32, FileHeader64, SHT_DYNSYM,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::{Endianness, FileKind};

use crate::engine::{Version, dotted, parse};

/// What one program file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The processor.
    pub(crate) machine: Machine,
    /// The loader (`PT_INTERP`); a static program has none.
    pub(crate) loader: Option<String>,
    /// Shared libraries (`DT_NEEDED`).
    pub(crate) libraries: Vec<String>,
    /// Versions of symbols asked of the libraries, such as `GLIBC_2.34`.
    pub(crate) versions: BTreeSet<String>,
    /// Symbols with the version each asks for.
    pub(crate) symbols: Vec<(String, String)>,
}

/// The processors that the project builds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit x86.
    X86_64,
    /// Any other, by its ELF number.
    Other(u16),
}

/// The least glibc that a program runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glibc(pub(crate) Version);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "glibc {}", dotted(self.0))
    }
}

impl Needs {
    /// Reads a program file.
    ///
    /// # Errors
    /// Not an ELF file, a damaged one, or one without section headers, whose needs stay unseen.
    pub(crate) fn read(data: &[u8]) -> Result<Needs> {
        match FileKind::parse(data).context("no program file (ELF)")? {
            FileKind::Elf32 => read_elf::<FileHeader32<Endianness>>(data),
            FileKind::Elf64 => read_elf::<FileHeader64<Endianness>>(data),
            kind => bail!("no program file (ELF) but {kind:?}"),
        }
    }

    /// Nothing but the kernel is asked for.
    pub(crate) fn is_static(&self) -> bool {
        self.loader.is_none() && self.libraries.is_empty()
    }

    /// The least glibc that satisfies every version need.
    ///
    /// # Errors
    /// A need on glibc that cannot be put in order, or none at all: then nothing was checked.
    pub(crate) fn glibc(&self) -> Result<Glibc> {
        let asked = self
            .versions
            .iter()
            .filter(|name| name.starts_with("GLIBC_"));
        let versions = asked
            .map(|name| glibc_version(name).with_context(|| self.naming(name)))
            .collect::<Result<Vec<Version>>>()?;
        let least = versions.into_iter().max();
        Ok(Glibc(least.context(
            "asks for no version of glibc: nothing could be checked",
        )?))
    }

    /// The needs above `floor`, each with the symbols behind it.
    pub(crate) fn above(&self, floor: Glibc) -> Vec<String> {
        let names = self.versions.iter();
        names
            .filter(|name| glibc_version(name).is_some_and(|version| version > floor.0))
            .map(|name| self.naming(name))
            .collect()
    }

    fn naming(&self, version: &str) -> String {
        let symbols = self.symbols.iter().filter(|(_, asked)| asked == version);
        let symbols: Vec<&str> = symbols.map(|(symbol, _)| symbol.as_str()).collect();
        if symbols.is_empty() {
            version.to_owned()
        } else {
            format!("{version} for {}", symbols.join(", "))
        }
    }
}

/// `GLIBC_2.34` is glibc 2.34. Packed relative relocations have a marker instead of a number;
/// loaders know it from 2.36 on. `GLIBC_PRIVATE` and the like have no place in the order.
fn glibc_version(name: &str) -> Option<Version> {
    match name.strip_prefix("GLIBC_")? {
        "ABI_DT_RELR" => Some((2, 36)),
        number => parse(number),
    }
}

fn read_elf<Elf: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Needs> {
    let header = Elf::parse(data).context("reading the file header")?;
    let endian = header.endian().context("reading the byte order")?;
    let sections = header
        .sections(endian, data)
        .context("reading the section headers")?;
    if sections.is_empty() {
        bail!("no section headers, so that its needs cannot be seen");
    }

    let mut loader = None;
    for segment in header
        .program_headers(endian, data)
        .context("reading the program headers")?
    {
        if let Some(path) = segment
            .interpreter(endian, data)
            .context("reading the loader's path")?
        {
            loader = Some(text(path));
        }
    }

    let mut libraries = Vec::new();
    if let Some((entries, strings)) = sections
        .dynamic(endian, data)
        .context("reading the dynamic section")?
    {
        let strings = sections
            .strings(endian, data, strings)
            .context("reading the library names")?;
        for entry in entries
            .iter()
            .filter(|entry| entry.tag32(endian) == Some(DT_NEEDED))
        {
            libraries.push(text(
                entry
                    .string(endian, strings)
                    .context("reading a library's name")?,
            ));
        }
    }

    let mut versions = BTreeSet::new();
    if let Some((mut needs, strings)) = sections
        .gnu_verneed(endian, data)
        .context("reading the version needs")?
    {
        let strings = sections
            .strings(endian, data, strings)
            .context("reading the version names")?;
        while let Some((_, mut of_library)) = needs.next().context("reading the version needs")? {
            while let Some(need) = of_library.next().context("reading a version need")? {
                versions.insert(text(
                    need.name(endian, strings)
                        .context("reading a version's name")?,
                ));
            }
        }
    }

    let mut symbols = Vec::new();
    if let Some(table) = sections
        .versions(endian, data)
        .context("reading the symbol versions")?
    {
        let dynamic = sections
            .symbols(endian, data, SHT_DYNSYM)
            .context("reading the symbols")?;
        for (index, symbol) in dynamic.enumerate() {
            let version = table.version(table.version_index(endian, index));
            if let Some(version) = version.context("reading a symbol's version")? {
                let name = symbol
                    .name(endian, dynamic.strings())
                    .context("reading a symbol's name")?;
                symbols.push((text(name), text(version.name())));
            }
        }
    }

    let machine = match header.e_machine(endian) {
        EM_ARM => Machine::Arm,
        EM_AARCH64 => Machine::Aarch64,
        EM_X86_64 => Machine::X86_64,
        other => Machine::Other(other),
    };
    Ok(Needs {
        machine,
        loader,
        libraries,
        versions,
        symbols,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
