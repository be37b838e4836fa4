"""Makes attempts one after the other, each as its own user, and says what each came to.

Started as root with a file of attempts and the chains whose rules are counted, each as FAMILY TABLE
CHAIN (none for none). Prints one JSON object per attempt: the step that failed and why, and which
rules counted.
"""

import ctypes
import errno
import json
import mmap
import os
import pwd
import socket
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_CAPABILITIES, CAP_NET_RAW = 8, 13
TRANSPARENT_V6_HEADER = 36
FIRST_PORT = 20000
AF_XDP, SOL_XDP, XDP_COPY = 44, 283, 1 << 1
XDP_MMAP_OFFSETS, XDP_TX_RING, XDP_UMEM_REG = 1, 3, 4
XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 5, 6
XDP_PGOFF_TX_RING, XDP_PGOFF_COMPLETION = 0x80000000, 0x180000000


def become(user, raw):
    """Another user, with no capability but the one for raw sockets, if it is given."""
    entry = pwd.getpwnam(user)
    if entry.pw_uid == 0:
        return
    os.setgroups([])
    os.setgid(entry.pw_gid)
    if raw:
        LIBC.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
    os.setuid(entry.pw_uid)
    if raw:
        bit = 1 << CAP_NET_RAW
        header = struct.pack("Ii", 0x20080522, 0)
        if LIBC.capset(header, struct.pack("6I", bit, bit, 0, 0, 0, 0)):
            raise OSError(ctypes.get_errno(), "capset")


def total(data):
    """The checksum of the Internet protocols."""
    data += b"\0" * (len(data) % 2)
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def binary(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def pseudo(source, to, protocol, length):
    return binary(source) + binary(to) + struct.pack("!II", length, protocol)


def udp(a, data):
    head = struct.pack("!HHH", a["sport"], a["port"], 8 + len(data))
    check = total(pseudo(a["source"], a["to"], 17, 8 + len(data)) + head + b"\0\0" + data)
    return head + struct.pack("!H", check or 0xFFFF) + data


def tcp(a, flags):
    head = struct.pack("!HHIIBBHHH", a["sport"], a["port"], 1000, 0, 5 << 4, flags, 8192, 0, 0)
    check = total(pseudo(a["source"], a["to"], 6, len(head)) + head)
    return head[:16] + struct.pack("!H", check) + head[18:]


def ip(a, protocol, data, fragment=0):
    if ":" in a["to"]:
        head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64)
        return head + binary(a["source"]) + binary(a["to"]) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), a["id"], fragment, 64, protocol, 0)
    head += binary(a["source"]) + binary(a["to"])
    return head[:10] + struct.pack("!H", total(head)) + head[12:] + data


def arp(a, own):
    """Who has that address? The mark is in what fills up the frame."""
    asks = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + binary(a["source"])
    return asks + b"\0" * 6 + binary(a["to"]) + a["token"].encode() + b"\0" * 9


def packets(a, own=b""):
    """What is written by hand: one packet or the fragments of one; in a frame, what it carries."""
    token, what = a["token"].encode(), a["by_hand"]
    if what == "arp":
        return [arp(a, own)]
    if what == "keys":
        return [b"\2\1\0\0" + token + b"\0" * 33]
    if what == "udp":
        return [ip(a, 17, udp(a, token))]
    if what == "fragments":
        # The ports are in the first, the mark in both.
        whole = udp(a, token + b" " * (24 - 8 - len(token)) + token)
        return [ip(a, 17, whole[:24], 0x2000), ip(a, 17, whole[24:], 3)]
    return [ip(a, 6, tcp(a, {"syn": 0x02, "syn-ack": 0x12, "ack": 0x10}[what]))]


class Try:
    """One attempt; `step` is where it is."""

    def __init__(self, a):
        self.a, self.step = a, "socket"
        self.v6 = ":" in a["to"]
        self.family = socket.AF_INET6 if self.v6 else socket.AF_INET

    def open(self, kind, protocol=0):
        s = socket.socket(self.family, kind, protocol)
        s.settimeout(0.4)
        return s

    def address(self, port):
        address = (self.a["to"], port)
        return socket.getaddrinfo(*address)[0][4] if self.v6 else address

    def ask(self, s, data):
        """Sends, and listens for an answer: that none comes is no fault."""
        self.step = "send"
        s.connect(self.address(self.a["port"]))
        s.send(data)
        if self.a["answers"]:
            try:
                s.recv(2048)
            except TimeoutError:
                pass

    def connection(self, protocol):
        s = self.open(socket.SOCK_STREAM, protocol)
        s.bind(("", self.a["sport"]))
        self.step = "send"
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.connect(self.address(self.a["port"]))

    def tcp(self):
        self.connection(0)

    def mptcp(self):
        self.connection(262)

    def datagram(self, protocol=0, data=b""):
        s = self.open(socket.SOCK_DGRAM, protocol)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if self.v6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self.a["ttl"])
        else:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.a["ttl"])
        s.bind(("", self.a["sport"]))
        self.ask(s, self.a["token"].encode() + data)

    def udp(self):
        self.datagram()

    def udplite(self):
        self.datagram(136)

    def big(self):
        self.datagram(data=b" " * 3000)

    def echo(self):
        protocol = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        s = self.open(socket.SOCK_DGRAM, protocol)
        self.ask(s, self.asking())

    def asking(self):
        head = struct.pack("!BBHHH", 128 if self.v6 else 8, 0, 0, self.a["id"], 1)
        data = self.a["token"].encode()
        check = 0 if self.v6 else total(head + data)
        return head[:2] + struct.pack("!H", check) + head[4:] + data

    def protocol(self):
        s = self.open(socket.SOCK_RAW, self.a["number"])
        self.step = "send"
        data = b"\0" * 8 + self.a["token"].encode()
        if self.a["number"] in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            data = self.asking()
        s.sendto(data, self.address(0))

    def raw(self):
        s = self.open(socket.SOCK_RAW, socket.IPPROTO_RAW)
        if self.v6:
            s.setsockopt(socket.IPPROTO_IPV6, TRANSPARENT_V6_HEADER, 1)
        self.step = "send"
        for packet in packets(self.a):
            s.sendto(packet, self.address(0))

    def frame(self):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind(("eth0", 0))
        self.step = "send"
        own = s.getsockname()[4]
        kind = {"arp": 0x0806, "keys": 0x888E}.get(self.a["by_hand"], 0x86DD if self.v6 else 0x0800)
        hop = bytes.fromhex(self.a["hop"].replace(":", ""))
        for packet in packets(self.a, own):
            s.send(hop + own + struct.pack("!H", kind) + packet)

    def xdp(self):
        """A ring of the device's own, past every rule and every chain."""
        s = socket.socket(AF_XDP, socket.SOCK_RAW)
        self.step = "send"
        own = open("/sys/class/net/eth0/address").read()
        hop, own = [bytes.fromhex(mac.strip().replace(":", "")) for mac in (self.a["hop"], own)]
        kind = struct.pack("!H", 0x86DD if self.v6 else 0x0800)
        for packet in packets(self.a):
            transmit(s, hop + own + kind + packet)


def transmit(s, frame):
    """Gives a frame to an AF_XDP socket, and waits until the kernel has sent it."""
    frames, size = 4, 4096
    memory = mmap.mmap(-1, frames * size)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    s.setsockopt(SOL_XDP, XDP_UMEM_REG, struct.pack("QQIIII", at, frames * size, size, 0, 0, 0))
    for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING):
        s.setsockopt(SOL_XDP, ring, frames)
    # Producer, consumer, descriptors and flags of the rings for receiving, sending, filling, completion.
    offsets = struct.unpack("16Q", s.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128))
    sending, completion = offsets[4:8], offsets[12:16]
    room = mmap.PAGESIZE
    tx = mmap.mmap(s.fileno(), room, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=XDP_PGOFF_TX_RING)
    done = mmap.mmap(s.fileno(), room, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=XDP_PGOFF_COMPLETION)
    device = struct.pack("HHIII", AF_XDP, XDP_COPY, socket.if_nametoindex("eth0"), 0, 0)
    end = time.monotonic() + 5
    while LIBC.bind(s.fileno(), device, len(device)):
        # The kernel takes the rings of one that has ended away some time later.
        if ctypes.get_errno() != errno.EBUSY or time.monotonic() > end:
            raise OSError(ctypes.get_errno(), "bind: " + os.strerror(ctypes.get_errno()))
        time.sleep(0.02)
    memory[:len(frame)] = frame
    tx[sending[2]:sending[2] + 16] = struct.pack("QII", 0, len(frame), 0)
    tx[sending[0]:sending[0] + 4] = struct.pack("I", 1)
    while struct.unpack("I", done[completion[0]:completion[0] + 4])[0] == 0:
        s.send(b"", socket.MSG_DONTWAIT)
        if time.monotonic() > end:
            raise OSError(0, "the kernel does not send it")


def attempt(a):
    """Makes one attempt in a process of its own, and returns what it says."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        one = Try(a)
        one.step = "user"
        said = {"step": "done", "error": None}
        try:
            become(a["user"], a["raw"])
            one.step = "socket"
            getattr(one, a["kind"])()
        except OSError as error:
            said = {"step": one.step, "error": str(error)}
        except Exception as error:
            said = {"step": "program", "error": repr(error)}
        os.write(theirs, json.dumps(said).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        said = json.loads(pipe.read() or '{"step": "program", "error": "it died"}')
    os.waitpid(child, 0)
    return said


def counted(chains):
    """Packets by rule of these chains."""
    counts = {}
    for chain in chains:
        command = ["nft", "-j", "list", "chain", *chain]
        listing = subprocess.run(command, capture_output=True, check=True).stdout
        rules = json.loads(listing)["nftables"]
        for rule in (each["rule"] for each in rules if "rule" in each):
            for part in rule["expr"]:
                if isinstance(part, dict) and isinstance(part.get("counter"), dict):
                    counts[rule.get("comment", "")] = part["counter"]["packets"]
    return counts


def main():
    attempts, words = json.load(open(sys.argv[1])), sys.argv[2:]
    chains = [words[first:first + 3] for first in range(0, len(words), 3)]
    before = counted(chains)
    for a in attempts:
        said = attempt(a)
        after = counted(chains)
        said["moved"] = [name for name in after if after[name] != before.get(name)]
        said["id"] = a["id"]
        before = after
        print(json.dumps(said), flush=True)


main()
