//! Processor, C library, root file system, room and clock.

use super::{Context, Finding, Machine, refuse, warn};
use crate::facts::{Facts, Version};

/// Packages, releases and a journal need this much room, in MiB.
const LEAST_ROOM: u64 = 200;
const LITTLE_ROOM: u64 = 500;
/// A release waits in memory before it is put in place, in MiB.
const LEAST_RUN: u64 = 16;
const LEAST_RUN_OFFLINE: u64 = 48;
/// Memory of a machine that can serve, in MiB. A Zero 2 has 512, less what its video takes.
const LEAST_MEMORY: u64 = 200;
const LITTLE_MEMORY: u64 = 380;
/// A clock that differs by more is wrong, in seconds.
const CLOCK_OFF: u64 = 300;
/// apt takes package lists for not yet valid, or no longer, beyond this, in seconds.
const CLOCK_FAR_OFF: u64 = 24 * 3600;

pub(super) fn check(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    processor(facts, context, findings);
    library(facts, context, findings);
    root(facts, findings);
    room(facts, context, findings);
    clock(facts, context, findings);
    board(facts, findings);
}

const CROSS_LOADER: &str = "sudo dpkg --add-architecture armhf && sudo apt-get update && \
     sudo apt-get install libc6:armhf libgcc-s1:armhf";
const FRESH_CARD: &str =
    "write a card with Raspberry Pi OS Lite (32-bit), bookworm or later, and deploy to that";

fn processor(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    let userland = facts.architecture.as_str();
    let found = || format!("the userland is {userland} on a {} kernel", facts.machine);
    let loader = |name: &str| facts.loaders.iter().any(|loader| loader.ends_with(name));
    if userland.is_empty() {
        findings.push(refuse(
            "not-debian",
            "there is no dpkg: this is no Debian and no Raspberry Pi OS".to_owned(),
            FRESH_CARD.to_owned(),
        ));
        return;
    }
    if facts.arm == Some(6) && context.program.machine == Machine::Armv7 {
        let board = if facts.model.is_empty() {
            "the board"
        } else {
            &facts.model
        };
        findings.push(refuse(
            "armv6",
            format!("{board} has an ARMv6 processor, and the program is built for ARMv7"),
            "use a Pi 2, 3, 4, 5 or Zero 2; a Pi 1 and a Zero cannot run it".to_owned(),
        ));
        return;
    }
    match (context.program.machine, userland) {
        (Machine::Armv7, "armhf") | (Machine::Aarch64, "arm64") | (Machine::X86_64, "amd64") => {}
        (Machine::Armv7, "arm64") => {
            if context.program.glibc.is_some() && !loader("ld-linux-armhf.so.3") {
                findings.push(refuse(
                    "64-bit-userland",
                    format!("{}, and the loader of 32-bit programs is not installed", found()),
                    format!("deploy the 64-bit program with --target aarch64, or on the Pi: {CROSS_LOADER}"),
                ));
            }
        }
        (machine, _) => {
            let built = match machine {
                Machine::Armv7 => "ARMv7 (armhf)",
                Machine::Aarch64 => "64-bit ARM (arm64)",
                Machine::X86_64 => "64-bit x86 (amd64)",
            };
            findings.push(refuse(
                "architecture",
                format!("{}, and the program is built for {built}", found()),
                match userland {
                    "armhf" => {
                        "deploy without --target: the 32-bit program is the usual one".to_owned()
                    }
                    "arm64" => "deploy with --target aarch64".to_owned(),
                    _ => FRESH_CARD.to_owned(),
                },
            ));
        }
    }
}

fn library(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    let Some(floor) = context.program.glibc else {
        return;
    };
    // A program for another architecture brings its own library, and that may be of another age.
    let foreign = facts.architecture == "arm64" && context.program.machine == Machine::Armv7;
    let of_foreign = || {
        let package = facts.package("libc6:armhf")?;
        package.installed.as_deref().and_then(Version::first_in)
    };
    let version = if foreign {
        of_foreign().or(facts.glibc)
    } else {
        facts.glibc
    };
    match version {
        Some(version) if version < floor => findings.push(refuse(
            "glibc",
            format!(
                "the C library is glibc {version} ({}), and the program needs {floor}",
                facts.os_name
            ),
            FRESH_CARD.to_owned(),
        )),
        Some(_) => {}
        None => findings.push(warn(
            "glibc-unknown",
            format!(
                "nobody could tell the C library's version, and the program needs glibc {floor}"
            ),
            "on the Pi: ldd --version; it must not be older".to_owned(),
        )),
    }
}

fn root(facts: &Facts, findings: &mut Vec<Finding>) {
    let virtualisation = facts.virtualisation.as_str();
    if matches!(
        virtualisation,
        "docker" | "podman" | "lxc" | "lxc-libvirt" | "systemd-nspawn" | "wsl" | "openvz"
    ) {
        findings.push(refuse(
            "container",
            format!(
                "this is a container ({virtualisation}): its firewall and its boot are its host's"
            ),
            "give the address of a machine of its own: ssh = \"…\" of the bastion in the site file"
                .to_owned(),
        ));
    }
    let overlay = |kind: &str| matches!(kind, "overlay" | "overlayfs" | "aufs");
    let asked = facts.kernel_words.iter().any(|word| {
        word == "boot=overlay"
            || (word.starts_with("overlayroot=") && word != "overlayroot=disabled")
    });
    if asked
        || facts
            .mount_of("/etc")
            .is_some_and(|mount| overlay(&mount.kind))
    {
        findings.push(refuse(
            "overlay-root",
            "the root file system is an overlay in memory: a reboot forgets whatever is deployed"
                .to_owned(),
            "on the Pi: sudo raspi-config nonint disable_overlayfs && sudo reboot".to_owned(),
        ));
    }
    for folder in ["/etc", "/usr", "/var/lib"] {
        if let Some(mount) = facts.mount_of(folder)
            && mount.options.iter().any(|option| option == "ro")
        {
            findings.push(refuse(
                "read-only",
                format!("{folder} cannot be written: {} is mounted read-only", mount.on),
                format!(
                    "on the Pi: sudo mount -o remount,rw {}; if that fails or it comes back, the card \
                     is worn out: write a new one",
                    mount.on
                ),
            ));
            break;
        }
    }
    if facts.forbids_programs("/usr/local/sbin") {
        findings.push(refuse(
            "noexec",
            "no program can be started from /usr/local/sbin: its file system is mounted noexec".to_owned(),
            "on the Pi: take noexec out of its line in /etc/fstab, then sudo mount -o remount,exec MOUNT".to_owned(),
        ));
    }
}

fn room(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    const CLEAN: &str =
        "on the Pi: sudo apt-get clean; sudo journalctl --vacuum-size=50M; df -h; or a larger card";
    for folder in ["/var/lib", "/etc", "/usr", "/var/cache/apt"] {
        let Some(disk) = facts.disk(folder) else {
            continue;
        };
        let free = disk.free_kib / 1024;
        if free < LITTLE_ROOM {
            let what = format!("{free} MiB are free in {folder}");
            findings.push(if free < LEAST_ROOM {
                refuse(
                    "disk-full",
                    format!("{what}, and {LEAST_ROOM} are needed"),
                    CLEAN.to_owned(),
                )
            } else {
                warn(
                    "disk-low",
                    format!("{what}: packages and the journal want more"),
                    CLEAN.to_owned(),
                )
            });
            // The others are mostly the same file system.
            break;
        }
    }
    let least = if context.offline {
        LEAST_RUN_OFFLINE
    } else {
        LEAST_RUN
    };
    if let Some(disk) = facts.disk("/run")
        && disk.free_kib / 1024 < least
    {
        findings.push(refuse(
            "run-full",
            format!(
                "{} MiB are free in /run, where a release waits, and {least} are needed",
                disk.free_kib / 1024
            ),
            "on the Pi: sudo du -xsh /run/*; or sudo mount -o remount,size=64M /run".to_owned(),
        ));
    }
    if let Some(memory) = facts.memory_kib.map(|kib| kib / 1024)
        && memory < LITTLE_MEMORY
    {
        let what = format!("the machine has {memory} MiB of memory");
        findings.push(if memory < LEAST_MEMORY {
            refuse("memory", what, "use a Pi with 512 MiB or more".to_owned())
        } else {
            warn(
                "memory-low",
                format!("{what}: enough for some tens of meters, not for hundreds"),
                "use a Pi with 1 GiB, or give less to the video: gpu_mem=16 in config.txt"
                    .to_owned(),
            )
        });
    }
}

fn clock(facts: &Facts, context: &Context, findings: &mut Vec<Finding>) {
    let Some(clock) = facts.clock else { return };
    let off = clock.abs_diff(context.now);
    if off <= CLOCK_OFF {
        return;
    }
    let side = if clock < context.now {
        "behind"
    } else {
        "ahead of"
    };
    let what = format!("its clock is {} {side} this machine's", span(off));
    // Exact enough for apt; the time service does the rest.
    let set = format!(
        "on the Pi: sudo date --set=@{}; sudo timedatectl set-ntp true",
        context.now
    );
    if facts.clock_synchronised == Some(true) {
        findings.push(warn(
            "clock-here",
            format!(
                "{what}, and says it is synchronised: perhaps this machine's clock is the wrong one"
            ),
            "here: timedatectl; then set the wrong one".to_owned(),
        ));
    } else if off > CLOCK_FAR_OFF && !context.offline {
        findings.push(refuse(
            "clock-far-off",
            format!(
                "{what}: apt takes package lists for invalid, and times of readings would be wrong"
            ),
            set,
        ));
    } else {
        findings.push(warn(
            "clock-off",
            format!("{what} and not synchronised"),
            set,
        ));
    }
}

/// Only what a Raspberry Pi's firmware says.
fn board(facts: &Facts, findings: &mut Vec<Finding>) {
    if let Some(bits) = facts.throttled
        && bits & 0x1_0001 != 0
    {
        findings.push(warn(
            "power",
            "the firmware has seen too little voltage since boot: such a Pi damages its card".to_owned(),
            "use the supply made for this Pi and a short cable; vcgencmd get_throttled must say 0x0 after a reboot"
                .to_owned(),
        ));
    }
    if facts.model.starts_with("Raspberry Pi") && facts.watchdogs.is_empty() {
        findings.push(warn(
            "no-watchdog",
            "there is no watchdog device: a Pi that hangs stays so until somebody pulls its plug"
                .to_owned(),
            "on the Pi: add dtparam=watchdog=on to /boot/firmware/config.txt, and reboot"
                .to_owned(),
        ));
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
