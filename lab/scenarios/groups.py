"""IPv6 multicast listener discovery, written by hand. As the first argument says:

join GROUP           is a member of the group until it is ended
listen               prints, one a line, what others say: "KIND FROM GROUP", where KIND is "query",
                     "joined" (a member by itself) or "asked" (a member who was asked)
frame KIND HOPS GROUP MAC
                     sends "query" or "report" as a frame to one machine alone: a bridge that hears
                     a query sent to a group begins to hide machines from each other
packet KIND HOPS GROUP
                     sends the same as a packet, which this machine's rules see, and prints "sent" or why not
"""

import socket
import struct
import sys
import time

DEVICE = "eth0"
ICMPV6, HOP_BY_HOP = 58, 0
QUERY, REPORT = 130, 143
MODE_IS_EXCLUDE, CHANGE_TO_EXCLUDE = 2, 4
ROUTERS = "ff02::16"
ROUTER_ALERT = bytes([ICMPV6, 0, 5, 2, 0, 0, 1, 0])
ALL, OUTGOING = 3, 4


def binary(address):
    return socket.inet_pton(socket.AF_INET6, address)


def text(address):
    return socket.inet_ntop(socket.AF_INET6, address)


def message(kind, group):
    """Without its checksum. Whoever is asked answers within a tenth of a second."""
    if kind == "query":
        return struct.pack("!BBHHH", QUERY, 0, 0, 100, 0) + binary(group) + struct.pack("!BBH", 2, 125, 0)
    record = struct.pack("!BBH", CHANGE_TO_EXCLUDE, 0, 0) + binary(group)
    return struct.pack("!BBHHH", REPORT, 0, 0, 0, 1) + record


def receiver(kind, group):
    return group if kind == "query" else ROUTERS


def own_address():
    for line in open("/proc/net/if_inet6"):
        address, _, _, scope, _, device = line.split()
        if device == DEVICE and scope == "20":
            return text(bytes.fromhex(address))
    raise SystemExit("no link-local address")


def checksum(source, to, data):
    whole = binary(source) + binary(to) + struct.pack("!II", len(data), ICMPV6) + data
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(kind, hops, group, mac):
    source, to = own_address(), receiver(kind, group)
    data = message(kind, group)
    data = data[:2] + struct.pack("!H", checksum(source, to, data)) + data[4:]
    head = struct.pack("!IHBB", 6 << 28, len(ROUTER_ALERT) + len(data), HOP_BY_HOP, int(hops))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((DEVICE, 0))
    frame = bytes.fromhex(mac.replace(":", "")) + s.getsockname()[4] + struct.pack("!H", 0x86DD)
    s.send(frame + head + binary(source) + binary(to) + ROUTER_ALERT + data)


def packet(kind, hops, group):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6)
    device = socket.if_nametoindex(DEVICE)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, int(hops))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, device)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, ROUTER_ALERT)
    try:
        s.sendto(message(kind, group), (receiver(kind, group), 0, 0, device))
        print("sent")
    except OSError as error:
        print(error)


def heard(packet):
    """What a packet says: (KIND, GROUP), several or none."""
    following, data = packet[6], packet[40:]
    if following == HOP_BY_HOP and len(data) >= 8:
        following, data = data[0], data[(data[1] + 1) * 8:]
    if following != ICMPV6 or len(data) < 8:
        return
    if data[0] == QUERY:
        yield "query", text(data[8:24])
    elif data[0] == REPORT:
        records, data = struct.unpack("!H", data[6:8])[0], data[8:]
        for _ in range(records):
            kind, more, sources = struct.unpack("!BBH", data[:4])
            word = {MODE_IS_EXCLUDE: "asked", CHANGE_TO_EXCLUDE: "joined"}.get(kind)
            if word:
                yield word, text(data[4:20])
            data = data[20 + sources * 16 + more * 4:]


def listen():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    s.bind((DEVICE, ALL))
    print("listening", flush=True)
    while True:
        frame, (_, _, way, *_) = s.recvfrom(65535)
        if way != OUTGOING and frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
            for kind, group in heard(frame[14:]):
                print(kind, text(frame[22:38]), group, flush=True)


def join(group):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    member = binary(group) + struct.pack("@I", socket.if_nametoindex(DEVICE))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    time.sleep(600)


globals()[sys.argv[1]](*sys.argv[2:])
