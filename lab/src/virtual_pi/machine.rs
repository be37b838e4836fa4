//! The emulated machine: power, cable, clock, and states of its memory and card that are
//! remembered and recalled.
//!
//! It runs in a container of its own (the hull), which bridges it onto the DMZ: when the container
//! goes, so does the machine, and nothing of it is on the host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::console::{self, COMMAND_PORT, CONSOLE, SCREEN_PORT};
use crate::artifacts::VirtualPi;
use crate::engine::Engine;
use crate::eventually::{Look, eventually};
use crate::node::{Loans, Node, Output};
use crate::topology::{HULL, Topology};

/// The machine's own network address, one that belongs to no maker.
pub const MAC: &str = "52:54:00:b1:a5:71";

/// Where the hull sees the folder with disk, kernel and initrd.
const BUILT: &str = "/virtual-pi";
/// The card of this run: what differs from the built one. In memory, since the engine's own file
/// system may be a slow one.
const CARD: &str = "/dev/shm/card.qcow2";
/// How much it may grow to.
const CARD_BYTES: i64 = 4 << 30;
pub(super) const PID_FILE: &str = "/run/qemu.pid";
pub(super) const SCREEN_LOG: &str = "/var/log/screen.log";

/// How the machine is switched on.
#[derive(Debug, Clone, Default)]
pub struct PowerOn {
    /// What its hardware clock says, `1970-01-01T00:00:00`; the host's time when there is none.
    pub clock: Option<String>,
    /// The remembered state in which it wakes up; it boots when there is none.
    pub state: Option<String>,
}

/// The machine. It may be off.
pub struct Machine {
    /// The container in which it is emulated.
    pub hull: Node,
}

impl Machine {
    /// A machine with a new card, switched off, with its cable in the DMZ.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn new(engine: &Engine, built: &VirtualPi, topology: &Topology) -> Result<Machine> {
        let loans = Loans {
            folder: Some((built.folder.clone(), BUILT)),
            device: Some("/dev/net/tun"),
            memory: Some(CARD_BYTES),
            // Everything else waits for it, and on a busy host its own timeouts would strike.
            share: Some(4096),
        };
        let plugs = [topology.dmz.plug(HULL)];
        let hull = Node::start_with(engine, "bastion", &built.image, &plugs, loans).await?;
        hull.script(&format!(
            "ip addr flush dev eth0
             ip link add br0 type bridge stp_state 0 forward_delay 0
             ip tuntap add dev tap0 mode tap
             ip link set tap0 master br0 up
             ip link set eth0 master br0
             ip link set br0 up
             ip addr flush dev br0
             qemu-img create -q -f qcow2 -b {BUILT}/disk.img -F raw {CARD}"
        ))
        .await
        .context("building the virtual Pi's hull")?;
        Ok(Machine { hull })
    }

    /// Switches it on. It is not up when this returns, only powered.
    ///
    /// # Errors
    /// When the emulator does not start.
    pub async fn power_on(&self, how: &PowerOn) -> Result<()> {
        let clock = format!("base={},clock=host", how.clock.as_deref().unwrap_or("utc"));
        let port = |name: &str, port: u16| {
            format!("socket,id={name},host=127.0.0.1,port={port},server=on,wait=off")
        };
        let screen = format!(
            "{},logfile={SCREEN_LOG},logappend=on",
            port("screen", SCREEN_PORT)
        );
        let console = format!("pipe,id=console,path={CONSOLE}");
        let commands = format!("tcp:127.0.0.1:{COMMAND_PORT},server=on,wait=off");
        let kernel = format!("{BUILT}/kernel");
        let initrd = format!("{BUILT}/initrd");
        let card = format!("if=none,id=card,file={CARD},format=qcow2,discard=unmap");
        let cable = format!("virtio-net-device,id=net,netdev=cable,mac={MAC}");
        let mut words = vec![
            "qemu-system-arm",
            "-machine",
            "virt",
            "-cpu",
            "cortex-a15",
            "-smp",
            "2",
            "-m",
            "1024",
            "-accel",
            "tcg,thread=multi",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-pidfile",
            PID_FILE,
            "-rtc",
            &clock,
            "-kernel",
            &kernel,
            "-initrd",
            &initrd,
            "-append",
            // The interface is named as on a Pi.
            "root=/dev/vda console=ttyAMA0 net.ifnames=0 loglevel=4",
            "-drive",
            &card,
            "-device",
            "virtio-blk-device,drive=card",
            "-netdev",
            "tap,id=cable,ifname=tap0,script=no,downscript=no",
            "-device",
            &cable,
            "-device",
            "virtio-rng-device",
            "-chardev",
            &screen,
            "-serial",
            "chardev:screen",
            "-device",
            "virtio-serial-device",
            "-chardev",
            &console,
            "-device",
            // Unlike a console, a port waits when the other end does not read, and drops nothing.
            "virtserialport,chardev=console,name=lab-console",
            "-qmp",
            &commands,
        ];
        if let Some(state) = &how.state {
            words.extend(["-loadvm", state]);
        }
        let pipes = format!("rm -f {CONSOLE}.*; mkfifo {CONSOLE}.in {CONSOLE}.out");
        self.hull.script(&pipes).await?;
        self.hull.spawn("qemu", &words).await?;
        // The command port opens before the processor runs.
        let script = format!(
            "until (exec 3<>/dev/tcp/127.0.0.1/{COMMAND_PORT}) 2>/dev/null; do
                 n=$((n + 1)); [ $n -lt 150 ] || {{ cat /var/log/qemu.log; exit 1; }}; sleep 0.1
             done"
        );
        let up = self.hull.exec("root", &["bash", "-c", &script]).await?;
        up.success()
            .map(drop)
            .context("switching the virtual Pi on")
    }

    /// Pulls the power: the machine has no time for anything.
    ///
    /// # Errors
    /// When it is not on.
    pub async fn power_cut(&self) -> Result<()> {
        self.hull
            .script(&format!(
                "pid=$(cat {PID_FILE}); kill -KILL \"$pid\"
                 while kill -0 \"$pid\" 2>/dev/null; do sleep 0.05; done; rm -f {PID_FILE}"
            ))
            .await
            .map(drop)
            .context("pulling the virtual Pi's power")
    }

    /// Pulls the power as soon as a condition of the machine's shell holds; some tenths of a
    /// second pass in between. No when it did not hold within `limit`: then the power stays on.
    ///
    /// # Errors
    /// When the console does not answer.
    pub async fn power_cut_when(&self, condition: &str, limit: Duration) -> Result<bool> {
        let cut = console::cut_when(&self.hull, condition, limit).await?;
        if cut {
            self.hull
                .script(&format!(
                    "pid=$(cat {PID_FILE}); while kill -0 \"$pid\" 2>/dev/null; do sleep 0.05; done
                     rm -f {PID_FILE}"
                ))
                .await?;
        }
        Ok(cut)
    }

    /// Pulls the network cable, as the machine sees it, too.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn pull_cable(&self) -> Result<()> {
        self.set_link(false).await
    }

    /// Puts the network cable back.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn plug_cable(&self) -> Result<()> {
        self.set_link(true).await
    }

    async fn set_link(&self, up: bool) -> Result<()> {
        let command = json!({"execute": "set_link", "arguments": {"name": "net", "up": up}});
        console::command(&self.hull, &command).await.map(drop)
    }

    /// Runs a script of `bash` as root at the machine's console; no network is needed. What it
    /// says, also on standard error, is in `stdout`. After `limit` it is ended, with code 124.
    ///
    /// # Errors
    /// When the console does not answer.
    pub async fn console(&self, script: &str, limit: Duration) -> Result<Output> {
        console::ask(&self.hull, script, limit).await
    }

    /// As [`Machine::console`] with a limit of a minute; anything but exit code 0 is an error.
    ///
    /// # Errors
    /// When the console does not answer or the script ends badly.
    pub async fn at_console(&self, script: &str) -> Result<String> {
        let output = self.console(script, Duration::from_secs(60)).await?;
        output
            .success()
            .with_context(|| format!("at the virtual Pi's console:\n{script}\n"))
    }

    /// Which boot this is; another after each restart.
    ///
    /// # Errors
    /// When the console does not answer.
    pub async fn boot_id(&self) -> Result<String> {
        let id = self
            .at_console("cat /proc/sys/kernel/random/boot_id")
            .await?;
        Ok(id.trim().to_owned())
    }

    /// Waits for the console, which comes early in a boot.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn wait_for_console(&self, limit: Duration) -> Result<()> {
        eventually("the virtual Pi's console", limit, || async {
            Ok(match self.console("true", Duration::from_secs(2)).await {
                Ok(_) => Look::Done(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
    }

    /// Waits until systemd has nothing left to start.
    ///
    /// # Errors
    /// When that does not come in time.
    pub async fn wait_until_settled(&self, limit: Duration) -> Result<()> {
        self.wait_for_console(limit).await?;
        self.console("systemctl is-system-running --wait", limit)
            .await
            .map(drop)
    }

    /// Lets the machine restart itself, and waits until it has begun.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reboot(&self, limit: Duration) -> Result<()> {
        let before = self.boot_id().await?;
        // The answer may be cut short by what was asked for.
        let _ = self
            .console("systemctl --no-block reboot", Duration::from_secs(5))
            .await;
        self.wait_for_another_boot(&before, limit).await
    }

    /// Waits until the machine is in another boot than `before`.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_for_another_boot(&self, before: &str, limit: Duration) -> Result<()> {
        eventually("another boot of the virtual Pi", limit, || async {
            let asked = "cat /proc/sys/kernel/random/boot_id";
            Ok(match self.console(asked, Duration::from_secs(2)).await {
                Ok(output) if output.code == 0 && output.stdout.trim() != before => Look::Done(()),
                Ok(_) => Look::NotYet("the old boot goes on".to_owned()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
    }

    /// Remembers memory and card of the running machine under a name, in place of what had it.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn remember(&self, state: &str) -> Result<()> {
        console::monitor(&self.hull, &format!("savevm {state}")).await
    }

    /// Brings memory and card back to what was remembered, whether the machine is on or off, with
    /// its cable in, and sets its clock.
    ///
    /// # Errors
    /// When there is no such state or the machine does not run on.
    pub async fn recall(&self, state: &str) -> Result<()> {
        let on = format!("kill -0 \"$(cat {PID_FILE})\"");
        let on = self.hull.exec("root", &["sh", "-c", &on]).await?.code == 0;
        if on {
            console::monitor(&self.hull, &format!("loadvm {state}")).await?;
            self.plug_cable().await?;
        } else {
            self.power_on(&PowerOn {
                state: Some(state.to_owned()),
                ..PowerOn::default()
            })
            .await?;
        }
        self.set_clock().await
    }

    /// Sets the machine's clock to the host's, as its time service would after a while.
    ///
    /// # Errors
    /// When the console does not answer.
    pub async fn set_clock(&self) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("reading the host's clock")?;
        self.at_console(&format!(
            "date -s @{}.{:03}",
            now.as_secs(),
            now.subsec_millis()
        ))
        .await
        .map(drop)
    }

    /// How far the machine's clock is from the host's.
    ///
    /// # Errors
    /// When the console does not answer.
    pub async fn clock_is_off_by(&self) -> Result<Duration> {
        let said = self.at_console("date +%s").await?;
        let there: u64 = said.trim().parse().context("reading the Pi's clock")?;
        let here = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("reading the host's clock")?
            .as_secs();
        Ok(Duration::from_secs(there.abs_diff(here)))
    }

    /// How a person gets at its serial line.
    #[must_use]
    pub fn screen_command(&self, engine: &Engine) -> String {
        format!(
            "docker exec -it {}-bastion busybox nc 127.0.0.1 {SCREEN_PORT}",
            engine.name
        )
    }

    /// Fails unless the machine is on.
    ///
    /// # Errors
    /// When it is off.
    pub async fn is_on(&self) -> Result<()> {
        let status = console::command(&self.hull, &json!({"execute": "query-status"})).await?;
        ensure!(
            status.contains("\"running\":true"),
            "the virtual Pi does not run: {status}"
        );
        Ok(())
    }
}
