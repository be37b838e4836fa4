#!/bin/sh
# Makes a fresh tree into a Pi that somebody has set up with the imager: an ordinary admin user
# with sudo and a key, DHCP, its own name. Started by mmdebstrap with the tree's path; the folder
# of this script and the key are in RECIPE and KEY.
set -eu
root=$1

echo raspberrypi > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\traspberrypi\n' > "$root/etc/hosts"
printf '/dev/vda\t/\text4\tdefaults,noatime\t0\t1\n' > "$root/etc/fstab"
: > "$root/etc/machine-id"
mkdir -p "$root/boot/firmware"

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo pi
printf 'pi ALL=(ALL) NOPASSWD: ALL\n' > "$root/etc/sudoers.d/010_pi-nopasswd"
chmod 0440 "$root/etc/sudoers.d/010_pi-nopasswd"
mkdir -m 0700 "$root/home/pi/.ssh"
cp "$KEY.pub" "$root/home/pi/.ssh/authorized_keys"
chmod 0600 "$root/home/pi/.ssh/authorized_keys"
chroot "$root" chown -R pi:pi /home/pi/.ssh
# One host key, made here: making three on an emulated processor takes long.
rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C raspberrypi -f "$root/etc/ssh/ssh_host_ed25519_key"

# The address comes from the router; the last half of the IPv6 one is fixed.
cat > "$root/etc/network/interfaces" <<'INTERFACES'
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
    pre-up sysctl -q -w net.ipv6.conf.eth0.accept_dad=0 || true
    pre-up ip token set ::2 dev eth0 || true
INTERFACES

# The lab's own mirror stands in for the distribution's, under a name that looks public.
echo 'deb [trusted=yes] http://packages.example.net/raspbian bookworm main' > "$root/etc/apt/sources.list"
rm -rf "$root/etc/apt/sources.list.d" "$root"/var/lib/apt/lists/*
mkdir -p "$root/etc/apt/sources.list.d" "$root/var/lib/apt/lists/partial"
rm -f "$root"/var/cache/apt/archives/*.deb
# The daily jobs have just been done, so that they do not start in the middle of a scenario.
mkdir -p "$root/var/lib/systemd/timers"
for timer in apt-daily apt-daily-upgrade dpkg-db-backup; do
    : > "$root/var/lib/systemd/timers/stamp-$timer.timer"
done

# What an emulated processor would work at for half a minute before the network: its drivers are
# loaded by `init` already, so nothing has to wait for all devices, and nobody debugs its kernel.
for unneeded in ifupdown-pre.service e2scrub_reap.service dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unneeded"
done

# The lab's screen and keyboard: see console.sh.
install -m 0755 "$RECIPE/console.sh" "$root/usr/local/lib/lab-console"
install -m 0644 "$RECIPE/lab-console.service" "$root/etc/systemd/system/lab-console.service"
chroot "$root" systemctl --quiet enable lab-console.service
mkdir -p "$root/etc/systemd/system/serial-getty@ttyAMA0.service.d"
cat > "$root/etc/systemd/system/serial-getty@ttyAMA0.service.d/autologin.conf" <<'GETTY'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 %I $TERM
GETTY
