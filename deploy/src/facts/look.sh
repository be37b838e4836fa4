# Looks at a machine and changes nothing: what could go wrong is judged by who reads the answer.
# Plain POSIX shell, as an ordinary user; what needs root is asked of one shell behind `sudo -n`, and
# left to the user's own rights when that is refused. Each section is bounded, each of its lines
# indented by one blank, so that no file's content can pass for a section.
# On an old Pi each program costs tens of milliseconds to start, and there are many questions: what
# the shell can do by itself, it does.
LC_ALL=C
export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
me=$(id -u)

# What root's shell needs as well.
both=$(cat <<'EOF'
# No command may hang that could: not for a name server, a lock, a dead mount, another program.
run() {
    if [ "$timeout" ]; then timeout 20 "$@"; else "$@"; fi
}
timeout=$(command -v timeout)
# say NAME BYTES COMMAND…: one section. The command hears nothing of this script's own input.
say() {
    printf '== %s\n' "$1"
    left=$2
    shift 2
    "$@" </dev/null 2>/dev/null | while IFS= read -r line || [ "$line" ]; do
        left=$((left - ${#line} - 1))
        [ "$left" -ge 0 ] || break
        printf ' %s\n' "$line"
    done
}
text() {
    [ ! -r "$1" ] || while IFS= read -r line || [ "$line" ]; do printf '%s\n' "$line"; done <"$1"
}
first() { IFS= read -r line && printf '%s\n' "$line"; }
# names FOLDER: what lies in it.
names() {
    for file in "$1"/*; do [ ! -e "$file" ] || printf '%s\n' "${file##*/}"; done
}
there() {
    for file; do [ ! -e "$file" ] || printf '%s\n' "$file"; done
}
EOF
)

# What only root may know, or knows better.
privileged=$(cat <<'EOF'
nft_tables() {
    if tables=$(run nft list tables); then
        echo "answer"
        printf '%s\n' "$tables"
    else
        echo "refused"
    fi
}
nft_chains() {
    run nft list chains | while IFS= read -r line; do
        case $line in *table* | *chain* | *hook*) printf '%s\n' "$line" ;; esac
    done
}
legacy_tables() {
    for family in ip ip6; do
        text "/proc/net/${family}_tables_names" | while read -r name; do echo "$family $name"; done
    done
}
ufw_status() { ! command -v ufw || run ufw status | first; }
sshd_settings() {
    if settings=$(sshd -T); then
        printf '%s\n' "$settings" | grep -E '^(port|listenaddress|passwordauthentication|pubkeyauthentication) '
    else
        cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf | grep -iE '^[[:space:]]*Port[[:space:]]' |
            tr 'P' 'p'
    fi
}
listening() { ss -Hltnp | grep -E ':(22|1883|1884|8883|9001)[[:space:]]'; }
power() { ! command -v vcgencmd || run vcgencmd get_throttled; }
# They stand at its beginning, before hundreds of files.
manifest() {
    count=0
    while IFS= read -r line && [ "$count" -lt 20 ]; do
        count=$((count + 1))
        word=${line#"${line%%[! ]*}"}
        case $word in
            '"format":'* | '"site":'* | '"bastion":'* | '"version":'*) printf '%s\n' "$line" ;;
        esac
    done </etc/shelly-bastion/manifest.json
}
say nft-tables 2048 nft_tables
say nft-chains 8192 nft_chains
say legacy-tables 256 legacy_tables
say ufw 128 ufw_status
say sshd 1024 sshd_settings
say listening 4096 listening
say power 64 power
say manifest 1024 manifest
say transaction 1024 names /var/lib/shelly-bastion/transaction
say staging 1024 names /run/shelly-bastion/incoming
EOF
)

eval "$both"

sudo_kind() {
    if [ "$me" = 0 ]; then echo root
    elif ! command -v sudo >/dev/null; then echo absent
    elif [ "$answer" ]; then echo yes
    else echo password
    fi
}
loaders() {
    there /lib/ld-linux-armhf.so.3 /lib/ld-linux-aarch64.so.1 /lib64/ld-linux-x86-64.so.2
}
glibc() { getconf GNU_LIBC_VERSION || ldd --version | first; }
mounts() {
    while read -r device on rest; do
        case $on in
            / | /run | /usr | /usr/local | /usr/local/sbin | /var | /var/lib | /etc | /boot | /boot/firmware)
                printf '%s %s %s\n' "$device" "$on" "$rest" ;;
        esac
    done </proc/mounts
}
# Only folders that are there: df says nothing at all about the others when one is not.
disks() {
    set --
    for folder in / /etc /usr /var/lib /var/cache/apt /run /boot /boot/firmware; do
        [ ! -d "$folder" ] || set -- "$@" "$folder"
    done
    run df -Pk "$@" | {
        read -r header
        for folder; do read -r line && printf '%s %s\n' "$folder" "$line"; done
    }
}
kernel_words() {
    set -f
    for word in $(text /proc/cmdline); do
        case $word in boot=* | overlayroot* | root=* | ro | rw) printf '%s\n' "$word" ;; esac
    done
}
memory() {
    while read -r name value; do
        case $name in MemTotal: | MemAvailable: | SwapTotal:) echo "$name $value" ;; esac
    done </proc/meminfo
}
systemd_version() { systemctl --version | first; }
# Showing a unit takes a tenth of a second even when it is not there; what is enabled or runs is in
# systemd's memory, and that it lists at once.
units() {
    set -- docker.service containerd.service ufw.service firewalld.service nftables.service \
        netfilter-persistent.service NetworkManager.service dhcpcd.service \
        systemd-networkd.service networking.service connman.service systemd-resolved.service \
        systemd-timesyncd.service chrony.service ntp.service ntpsec.service openntpd.service \
        mosquitto.service unattended-upgrades.service ssh.service ssh.socket dropbear.service
    loaded=$(run systemctl list-units --all --full --plain --no-legend "$@" |
        while read -r unit rest; do echo "$unit"; done)
    set -f
    [ ! "$loaded" ] || run systemctl show --property=Id,LoadState,ActiveState,UnitFileState $loaded
}
# The time service leaves a note; asking timedatectl starts another service first.
clock_state() {
    if [ -e /run/systemd/timesync/synchronized ]; then echo NTPSynchronized=yes
    else run timedatectl show --property=NTP --property=NTPSynchronized --property=CanNTP
    fi
}
flushes() { grep -n 'flush ruleset' /etc/nftables.conf; }
programs() {
    for program in nft ip ss docker podman ufw firewall-cmd fail2ban-client apt-get dpkg systemctl \
        timedatectl mosquitto iptables; do
        found=$(command -v "$program") && echo "$program $found"
    done
}
# What could be had matters where the broker is not there yet; apt takes seconds to say it.
# Without the sources behind each version: their addresses may hold a password.
policy() {
    set -- mosquitto nftables libc6 libc6:armhf
    known=$(dpkg-query --show --showformat='${db:Status-Status} ${binary:Package} ${Version}\n' "$@")
    case $known in
        *'installed mosquitto '*) [ -e /usr/local/sbin/bastion ] ;;
        *) false ;;
    esac && {
        printf '%s\n' "$known" | while read -r status name version; do
            [ "$status" != installed ] || printf '%s:\n  Installed: %s\n' "$name" "$version"
        done
        return
    }
    run apt-cache policy "$@" | grep -E '^([a-z]|  (Installed|Candidate):)'
}
# Counted and not shown: an address may hold a password.
sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources |
        grep -cE '^[[:space:]]*(deb[[:space:]]|URIs:)'
}
package_lists() {
    count=0
    for list in /var/lib/apt/lists/*_Packages*; do [ ! -e "$list" ] || count=$((count + 1)); done
    echo "$count"
}
# A list of packages that dpkg itself cannot read is as bad, and it says so on the other output.
broken_packages() { dpkg --audit 2>&1 || echo "dpkg --audit ends with $?"; }
# A lock is held when the kernel lists one on the file's inode.
locks() {
    held=$(text /proc/locks)
    set -- /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock
    stat -c '%i %n' "$@" | while read -r inode lock; do
        case $held in *":$inode "*) echo "$lock" ;; esac
    done
}
# A host of containers has hundreds of other lines, which would push these out.
addresses() {
    run ip -o addr show | while IFS= read -r line; do
        case $line in *': veth'*) ;; *) printf '%s\n' "$line" ;; esac
    done
}
routes() { ip "$@" route show default; }
resolvers() {
    while IFS= read -r line; do
        case $line in 'nameserver '*) printf '%s\n' "$line" ;; esac
    done </etc/resolv.conf
}
connection() { printf '%s\n' "$SSH_CONNECTION"; }
program() { run /usr/local/sbin/bastion --version; }
users() {
    run getent passwd _apt mosquitto systemd-timesync systemd-resolve |
        while IFS=: read -r user rest; do echo "$user"; done
}
failed_units() {
    run systemctl list-units --failed --plain --no-legend | while read -r unit rest; do echo "$unit"; done
}

look() {
    echo 'shelly-bastion facts 1'
    say user 64 id -un
    say architecture 32 dpkg --print-architecture
    say foreign 128 dpkg --print-foreign-architectures
    say machine 64 uname -m
    say kernel 128 text /proc/sys/kernel/osrelease
    say cpu 1024 grep -m 4 -E '^(CPU architecture|model name|Hardware|Revision)' /proc/cpuinfo
    say loaders 256 loaders
    say glibc 256 glibc
    say os 2048 text /etc/os-release
    say model 256 text /proc/device-tree/model
    say cmdline 512 kernel_words
    say mounts 4096 mounts
    say disks 2048 disks
    say memory 512 memory
    say uptime 64 text /proc/uptime
    say init 64 text /proc/1/comm
    say systemd 128 systemd_version
    say units 8192 units
    say failed 2048 failed_units
    say virtual 64 run systemd-detect-virt
    say clock 32 date +%s
    say clock-state 256 clock_state
    say clock-chip 64 there /dev/rtc0
    say programs 1024 programs
    say nft 128 nft --version
    say flushes 512 flushes
    say packages 8192 policy
    say sources 32 sources
    say package-lists 32 package_lists
    say broken-packages 2048 broken_packages
    say locks 256 locks
    say addresses 8192 addresses
    say routes 1024 routes
    say routes6 1024 routes -6
    say resolvers 1024 resolvers
    say ssh-connection 256 connection
    say broker-files 2048 names /etc/mosquitto/conf.d
    say watchdog 128 there /dev/watchdog*
    say users 128 users
    say boot-folder 256 there /boot/firmware/config.txt /boot/config.txt /boot/firmware/cmdline.txt /boot/cmdline.txt
    say program 256 program
    # It has been at work meanwhile. Nothing of it counts when it was cut.
    answer=$(cat)
    case $answer in
        *'== asked') answer=${answer%'== asked'} ;;
        *) answer= ;;
    esac
    say sudo 32 sudo_kind
    if [ "$answer" ]; then printf '%s\n' "$answer"; else eval "$privileged"; fi
    echo '== end'
}
# The script on standard input, since sudo logs every argument.
as_root() {
    if [ "$me" != 0 ] && command -v sudo >/dev/null; then
        printf '%s\n' "$both" "$privileged" "echo '== asked'" | run sudo -n sh -s 2>/dev/null
    fi
}
as_root | look | tr -cd '\11\12\40-\176'
