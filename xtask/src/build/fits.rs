//! Whether a program that was built runs on the machines it is meant for, judged by the file.

use anyhow::{Result, bail};

use crate::elf::{Glibc, Machine, Needs};
use crate::engine::dotted;
use crate::workspace::{PI, PI_64};

/// The C library of the oldest system that the bastion is meant for: Debian 12's cross library
/// asks for 2.34, Raspberry Pi OS bookworm has 2.36.
const FLOOR: Glibc = Glibc((2, 34));

/// What a program file needs, in words, if its target has it.
pub(super) fn judge(target: &str, file: &[u8]) -> Result<String> {
    let needs = Needs::read(file)?;
    match target {
        PI => judge_pi(&needs),
        PI_64 => judge_static(&needs, Machine::Aarch64),
        _ => judge_static(&needs, Machine::X86_64),
    }
}

fn judge_pi(needs: &Needs) -> Result<String> {
    let loader = needs.loader.as_deref().unwrap_or("none");
    if needs.machine != Machine::Arm || !loader.ends_with("/ld-linux-armhf.so.3") {
        bail!(
            "is for {:?} with loader {loader}, and not for armhf",
            needs.machine
        );
    }
    let least = needs.glibc()?;
    let above = needs.above(FLOOR);
    if !above.is_empty() {
        bail!("needs more than {FLOOR}, the floor: {}", above.join("; "));
    }
    Ok(format!("{least} (floor {})", dotted(FLOOR.0)))
}

fn judge_static(needs: &Needs, machine: Machine) -> Result<String> {
    if needs.machine != machine {
        bail!("is for {:?}, and not for {machine:?}", needs.machine);
    }
    if !needs.is_static() {
        let loader = needs.loader.as_deref().unwrap_or("none");
        bail!(
            "is not static: loader {loader}, libraries [{}]",
            needs.libraries.join(", ")
        );
    }
    Ok("nothing (static)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(machine: Machine, loader: Option<&str>, versions: &[&str]) -> Needs {
        Needs {
            machine,
            loader: loader.map(str::to_owned),
            libraries: loader.iter().map(|_| "libc.so.6".to_owned()).collect(),
            versions: versions.iter().map(|&name| name.to_owned()).collect(),
            symbols: vec![("arc4random".to_owned(), "GLIBC_2.36".to_owned())],
        }
    }

    #[track_caller]
    fn check(judged: Result<String>, expected: Result<&str, &str>) {
        match (judged, expected) {
            (Ok(words), Ok(expected)) => assert_eq!(words, expected),
            (Err(err), Err(part)) => assert!(
                format!("{err:#}").contains(part),
                "{part:?} is not in {err:#}"
            ),
            (judged, expected) => panic!("got {judged:?}, expected {expected:?}"),
        }
    }

    const ARMHF: Option<&str> = Some("/lib/ld-linux-armhf.so.3");

    #[test]
    fn the_pi_takes_armhf_up_to_the_floor() {
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &["GLIBC_2.4", "GLIBC_2.34"])),
            Ok("glibc 2.34 (floor 2.34)"),
        );
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &["GLIBC_2.36"])),
            Err("GLIBC_2.36 for arc4random"),
        );
        check(
            judge_pi(&needs(Machine::Arm, ARMHF, &[])),
            Err("nothing could be checked"),
        );
        check(
            judge_pi(&needs(
                Machine::Arm,
                Some("/lib/ld-linux.so.3"),
                &["GLIBC_2.4"],
            )),
            Err("not for armhf"),
        );
        check(
            judge_pi(&needs(Machine::X86_64, ARMHF, &["GLIBC_2.4"])),
            Err("not for armhf"),
        );
    }

    #[test]
    fn the_server_and_64_bit_pis_take_static_programs_only() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let judge = |needs: &Needs| judge_static(needs, machine);
            check(judge(&needs(machine, None, &[])), Ok("nothing (static)"));
            let dynamic = needs(machine, Some("/lib64/ld.so"), &[]);
            check(judge(&dynamic), Err("libc.so.6"));
            let name = format!("not for {machine:?}");
            check(judge(&needs(Machine::Arm, None, &[])), Err(&name));
        }
    }
}
