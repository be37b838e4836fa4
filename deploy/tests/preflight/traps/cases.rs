//! What is made wrong on a machine that is fine, and the trap that must say so.

/// A trap, the sections that are made wrong in the answer of `pi3-bookworm`, and the others that
/// come with it.
pub(super) struct Case {
    pub(super) trap: &'static str,
    pub(super) wrong: &'static [(&'static str, &'static str)],
    pub(super) with: &'static [&'static str],
}

const fn case(trap: &'static str, wrong: &'static [(&'static str, &'static str)]) -> Case {
    Case {
        trap,
        wrong,
        with: &[],
    }
}

pub(super) const CASES: &[Case] = &[
    case("not-debian", &[("architecture", "")]),
    case("armv6", &[("machine", "armv6l")]),
    case(
        "64-bit-userland",
        &[
            ("architecture", "arm64"),
            ("loaders", "/lib/ld-linux-aarch64.so.1"),
        ],
    ),
    case("architecture", &[("architecture", "armel")]),
    case("glibc", &[("glibc", "ldd (Debian GLIBC 2.31-13) 2.31")]),
    case("glibc-unknown", &[("glibc", "musl libc")]),
    case("container", &[("virtual", "lxc")]),
    case(
        "overlay-root",
        &[("mounts", "overlayroot / overlay rw,relatime 0 0")],
    ),
    case("overlay-root", &[("cmdline", "overlayroot=tmpfs")]),
    case(
        "read-only",
        &[(
            "mounts",
            "/dev/mmcblk0p2 / ext4 ro,noatime,errors=remount-ro 0 0",
        )],
    ),
    case(
        "read-only",
        &[(
            "mounts",
            "/dev/sda2 / ext4 rw 0 0\n/dev/sda3 /var ext4 ro,noatime 0 0",
        )],
    ),
    case(
        "noexec",
        &[(
            "mounts",
            "/dev/sda2 / ext4 rw 0 0\n/dev/sda3 /usr/local ext4 rw,noexec 0 0",
        )],
    ),
    case(
        "disk-full",
        &[("disks", "/var/lib /dev/root 7321704 7200000 90000 99% /")],
    ),
    case(
        "disk-low",
        &[("disks", "/var/lib /dev/root 7321704 6900000 400000 95% /")],
    ),
    case(
        "run-full",
        &[("disks", "/run tmpfs 20000 10000 10000 50% /run")],
    ),
    case("memory", &[("memory", "MemTotal:  190000 kB")]),
    case("memory-low", &[("memory", "MemTotal:  370112 kB")]),
    case("clock-here", &[("clock", "1795900000")]),
    case(
        "clock-off",
        &[
            ("clock", "1795810000"),
            ("clock-state", "NTPSynchronized=no"),
        ],
    ),
    case(
        "clock-far-off",
        &[("clock", "12"), ("clock-state", "NTPSynchronized=no")],
    ),
    case("power", &[("power", "throttled=0x50000")]),
    case("no-watchdog", &[("watchdog", "")]),
    case("no-systemd", &[("init", "init")]),
    case("systemd-old", &[("systemd", "systemd 241 (241)")]),
    case("failed-units", &[("failed", "logrotate.service")]),
    case(
        "packages-broken",
        &[(
            "broken-packages",
            "The following packages are only half configured",
        )],
    ),
    case(
        "packages-locked",
        &[("locks", "/var/lib/dpkg/lock-frontend")],
    ),
    case("no-sources", &[("sources", "0")]),
    case(
        "no-broker",
        &[(
            "packages",
            "mosquitto:\n  Installed: (none)\n  Candidate: (none)",
        )],
    ),
    case(
        "broker-old",
        &[(
            "packages",
            "mosquitto:\n  Installed: 1.5.7-1\n  Candidate: 2.0.11-1.2+deb12u1",
        )],
    ),
    case(
        "broker-old",
        &[(
            "packages",
            "mosquitto:\n  Installed: (none)\n  Candidate: 1.4.10-3",
        )],
    ),
    case("broker-files", &[("broker-files", "README\nbridge.conf")]),
    case(
        "broker-in-use",
        &[
            ("units", "Id=mosquitto.service\nActiveState=active"),
            (
                "listening",
                "LISTEN 0 100 *:1883 *:* users:((\"mosquitto\",pid=7,fd=5))",
            ),
        ],
    ),
    case(
        "port-taken",
        &[(
            "listening",
            "LISTEN 0 100 [::]:1883 [::]:* users:((\"beam.smp\",pid=7,fd=5))",
        )],
    ),
    case(
        "port-taken",
        &[(
            "listening",
            "LISTEN 0 100 127.0.0.1:1884 0.0.0.0:* users:((\"node\",pid=7,fd=5))",
        )],
    ),
    Case {
        trap: "other-bastion",
        wrong: &[("manifest", "\"site\": \"farm\",\n\"bastion\": \"pi\"")],
        with: &["program-gone"],
    },
    case("unfinished", &[("transaction", "record.json\nbefore")]),
    case(
        "program-gone",
        &[("manifest", "\"site\": \"home\",\n\"bastion\": \"pi\"")],
    ),
    case(
        "no-interface",
        &[(
            "addresses",
            "2: end0    inet 192.168.2.2/24 brd 192.168.2.255 scope global end0",
        )],
    ),
    case(
        "address",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.57/24 scope global dynamic eth0\n\
             2: eth0    inet6 2001:db8:5a:2::2/64 scope global",
        )],
    ),
    case(
        "address-v6",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.2/24 scope global eth0",
        )],
    ),
    case(
        "address-outside",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.2/24 scope global eth0\n\
             2: eth0    inet 192.168.77.2/24 scope global eth0\n\
             2: eth0    inet6 2001:db8:5a:2::2/64 scope global",
        )],
    ),
    case(
        "address-outside-v6",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.2/24 scope global eth0\n\
             2: eth0    inet6 2001:db8:5a:2::2/64 scope global\n\
             2: eth0    inet6 2001:db8:77::2/64 scope global dynamic mngtmpaddr",
        )],
    ),
    case(
        "second-leg",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.2/24 scope global eth0\n\
             2: eth0    inet6 2001:db8:5a:2::2/64 scope global\n\
             3: wlan0    inet 192.168.1.77/24 scope global dynamic wlan0",
        )],
    ),
    case(
        "other-interface",
        &[(
            "addresses",
            "2: eth0    inet 192.168.2.2/24 scope global eth0\n\
             2: eth0    inet6 2001:db8:5a:2::2/64 scope global\n\
             5: wg0    inet 10.8.0.2/24 scope global wg0",
        )],
    ),
    case(
        "gateway",
        &[("routes", "default via 192.168.2.254 dev eth0")],
    ),
    case("gateway", &[("routes", "192.168.2.0/24 dev eth0")]),
    case("resolver", &[("resolvers", "nameserver 9.9.9.9")]),
    case(
        "resolver-service",
        &[("resolvers", "nameserver 127.0.0.53")],
    ),
    case(
        "gateway-v6",
        &[(
            "routes6",
            "default via fe80::1 dev eth0 proto ra metric 100",
        )],
    ),
    case("sudo-password", &[("sudo", "password")]),
    case("no-sudo", &[("sudo", "absent")]),
    case("sudo-unknown", &[("sudo", "")]),
    case("source-unknown", &[("ssh-connection", "")]),
    case(
        "locked-out",
        &[("ssh-connection", "192.168.1.44 51422 192.168.2.2 22")],
    ),
    case(
        "locked-out",
        &[("ssh-connection", "192.168.2.1 51422 192.168.2.2 22")],
    ),
    case(
        "locked-out",
        &[("ssh-connection", "198.51.100.9 51422 192.168.2.2 22")],
    ),
    case(
        "locked-out",
        &[("ssh-connection", "127.0.0.1 51422 127.0.0.1 22")],
    ),
    case(
        "ssh-port",
        &[("ssh-connection", "192.168.1.10 51422 192.168.2.2 2222")],
    ),
    case("ssh-port", &[("sshd", "port 2222")]),
    case(
        "nft-kernel",
        &[("programs", "nft /usr/sbin/nft"), ("nft-tables", "refused")],
    ),
    case("nft-old", &[("nft", "nftables v0.9.8 (E.D.S.)")]),
    case("ufw", &[("ufw", "Status: active")]),
    case(
        "firewalld",
        &[("units", "Id=firewalld.service\nActiveState=active")],
    ),
    case(
        "docker",
        &[("units", "Id=docker.service\nUnitFileState=enabled")],
    ),
    case(
        "saved-rules",
        &[(
            "units",
            "Id=netfilter-persistent.service\nUnitFileState=enabled",
        )],
    ),
    case(
        "flush",
        &[
            ("flushes", "3:flush ruleset"),
            ("units", "Id=nftables.service\nUnitFileState=enabled"),
        ],
    ),
    case(
        "foreign-rules",
        &[(
            "nft-chains",
            "table inet office {\n\tchain in {\n\t\ttype filter hook input priority 0; policy drop;",
        )],
    ),
    case("legacy-rules", &[("legacy-tables", "ip filter")]),
    Case {
        trap: "other-way-in",
        wrong: &[
            ("ssh-connection", "192.168.1.10 51422 10.8.0.2 22"),
            (
                "addresses",
                "2: eth0    inet 192.168.2.2/24 scope global eth0\n\
                 2: eth0    inet6 2001:db8:5a:2::2/64 scope global\n\
                 5: wg0    inet 10.8.0.2/24 scope global wg0",
            ),
        ],
        with: &["other-interface"],
    },
    Case {
        trap: "carrier-nat",
        wrong: &[("routes", "default via 100.64.0.1 dev eth0")],
        with: &["gateway"],
    },
];
