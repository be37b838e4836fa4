# Looks at a machine and changes nothing: what could go wrong is judged by who reads the answer.
# Plain POSIX shell, as an ordinary user; what needs root is asked through `sudo -n`, and left out
# when that is refused. Each section is bounded, each of its lines indented by one blank, so that
# no file's content can pass for a section.
LC_ALL=C
export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
me=$(id -u)

# No command may hang: not for a name server, a lock, a dead mount.
run() {
    if command -v timeout >/dev/null 2>&1; then timeout 20 "$@"; else "$@"; fi
}
root() {
    if [ "$me" = 0 ]; then run "$@"; else run sudo -n "$@"; fi
}
# say NAME BYTES COMMAND…: one section. The command hears nothing of this script's own input.
say() {
    name=$1
    limit=$2
    shift 2
    printf '== %s\n' "$name"
    "$@" </dev/null 2>/dev/null | head -c "$limit" | tr -cd '\11\12\40-\176' | sed 's/^/ /'
    printf '\n'
}
text() { [ ! -r "$1" ] || cat "$1"; }

sudo_kind() {
    if [ "$me" = 0 ]; then echo root
    elif ! command -v sudo; then echo absent
    elif run sudo -n true; then echo yes
    else echo password
    fi | tail -n 1
}
loaders() {
    for loader in /lib/ld-linux-armhf.so.3 /lib/ld-linux-aarch64.so.1 /lib64/ld-linux-x86-64.so.2; do
        [ ! -e "$loader" ] || echo "$loader"
    done
}
glibc() { getconf GNU_LIBC_VERSION || ldd --version | head -n 1; }
model() { tr -d '\000' </proc/device-tree/model; }
mounts() { grep -E '^[^ ]+ (/|/run|/usr|/usr/local|/usr/local/sbin|/var|/var/lib|/etc|/boot|/boot/firmware) ' /proc/mounts; }
# One by one: df says nothing at all about the others when one is not there.
disks() {
    for folder in / /etc /usr /var/lib /var/cache/apt /run /boot /boot/firmware; do
        [ ! -d "$folder" ] || run df -Pk "$folder" | tail -n 1 | sed "s|^|$folder |"
    done
}
kernel_words() { tr ' ' '\n' </proc/cmdline | grep -E '^(boot=|overlayroot|root=|ro$|rw$)'; }
init() { text /proc/1/comm; }
systemd_version() { systemctl --version | head -n 1; }
units() {
    run systemctl show --property=Id,LoadState,ActiveState,UnitFileState \
        docker.service containerd.service ufw.service firewalld.service nftables.service \
        netfilter-persistent.service NetworkManager.service dhcpcd.service \
        systemd-networkd.service networking.service connman.service systemd-resolved.service \
        systemd-timesyncd.service chrony.service ntp.service ntpsec.service openntpd.service \
        mosquitto.service unattended-upgrades.service ssh.service ssh.socket dropbear.service
}
clock_state() { run timedatectl show --property=NTP --property=NTPSynchronized --property=CanNTP; }
clock_chip() { ls -d /dev/rtc0; }
nft_tables() {
    if tables=$(root nft list tables); then
        echo "answer"
        echo "$tables"
    else
        echo "refused"
    fi
}
legacy_tables() {
    root cat /proc/net/ip_tables_names | sed 's/^/ip /'
    root cat /proc/net/ip6_tables_names | sed 's/^/ip6 /'
}
nft_chains() { root nft list chains | grep -E 'table|chain|hook'; }
flushes() { grep -n 'flush ruleset' /etc/nftables.conf; }
ufw_status() { root ufw status | head -n 1; }
programs() {
    for program in nft ip ss docker podman ufw firewall-cmd fail2ban-client apt-get dpkg systemctl \
        timedatectl mosquitto iptables; do
        found=$(command -v "$program") && echo "$program $found"
    done
}
# Without the sources behind each version: their addresses may hold a password.
policy() {
    run apt-cache policy mosquitto nftables libc6 libc6:armhf |
        grep -E '^([a-z]|  (Installed|Candidate):)'
}
# Counted and not shown: an address may hold a password.
sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources |
        grep -cE '^[[:space:]]*(deb[[:space:]]|URIs:)'
}
package_lists() { ls /var/lib/apt/lists | grep -c '_Packages'; }
broken_packages() { run dpkg --audit; }
# A lock is held when the kernel lists one on the file's inode.
locks() {
    for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do
        inode=$(stat -c %i "$lock") || continue
        ! grep -q ":$inode " /proc/locks || echo "$lock"
    done
}
# A host of containers has hundreds of other lines, which would push these out.
addresses() { run ip -o addr show | grep -v ': veth'; }
routes() { run ip "$@" route show | grep '^default'; }
sshd_settings() {
    if settings=$(root sshd -T); then
        echo "$settings" |
            grep -E '^(port|listenaddress|passwordauthentication|pubkeyauthentication) '
    else
        cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf | grep -iE '^[[:space:]]*Port[[:space:]]' |
            tr 'P' 'p'
    fi
}
listening() {
    { root ss -Hltnp || run ss -Hltn; } | grep -E ':(22|1883|1884|8883|9001)[[:space:]]'
}
broker_files() { ls -1 /etc/mosquitto/conf.d; }
watchdog() { ls -d /dev/watchdog*; }
program() { run /usr/local/sbin/bastion --version; }
manifest() { root head -c 8192 /etc/shelly-bastion/manifest.json | grep -E '^ {0,2}"(format|site|bastion|version)":'; }
transaction() { root ls -1 /var/lib/shelly-bastion/transaction; }
staging() { root ls -1 /run/shelly-bastion/incoming; }
users() {
    for user in _apt mosquitto systemd-timesync systemd-resolve; do
        run getent passwd "$user" | cut -d: -f1
    done
}
boot_folder() { ls -d /boot/firmware/config.txt /boot/config.txt /boot/firmware/cmdline.txt /boot/cmdline.txt; }
failed_units() { run systemctl list-units --failed --plain --no-legend | cut -d' ' -f1; }
power() { root vcgencmd get_throttled; }
virtual() { run systemd-detect-virt; }

echo 'shelly-bastion facts 1'
say user 64 id -un
say sudo 32 sudo_kind
say architecture 32 run dpkg --print-architecture
say foreign 128 run dpkg --print-foreign-architectures
say machine 64 uname -m
say kernel 128 uname -r
say cpu 1024 grep -m 4 -E '^(CPU architecture|model name|Hardware|Revision)' /proc/cpuinfo
say loaders 256 loaders
say glibc 256 glibc
say os 2048 text /etc/os-release
say model 256 model
say cmdline 512 kernel_words
say mounts 4096 mounts
say disks 2048 disks
say memory 512 grep -E '^(MemTotal|MemAvailable|SwapTotal):' /proc/meminfo
say uptime 64 text /proc/uptime
say init 64 init
say systemd 128 systemd_version
say units 8192 units
say failed 2048 failed_units
say virtual 64 virtual
say clock 32 date +%s
say clock-state 256 clock_state
say clock-chip 64 clock_chip
say programs 1024 programs
say nft 128 run nft --version
say nft-tables 2048 nft_tables
say nft-chains 8192 nft_chains
say legacy-tables 256 legacy_tables
say flushes 512 flushes
say ufw 128 ufw_status
say packages 8192 policy
say sources 32 sources
say package-lists 32 package_lists
say broken-packages 2048 broken_packages
say locks 256 locks
say addresses 8192 addresses
say routes 1024 routes
say routes6 1024 routes -6
say resolvers 1024 grep -E '^nameserver ' /etc/resolv.conf
say ssh-connection 256 printenv SSH_CONNECTION
say sshd 1024 sshd_settings
say listening 4096 listening
say broker-files 2048 broker_files
say watchdog 128 watchdog
say users 128 users
say boot-folder 256 boot_folder
say power 64 power
say program 256 program
say manifest 1024 manifest
say transaction 1024 transaction
say staging 1024 staging
echo '== end'
