"""Watches all of a machine's interfaces for marked packets until SIGTERM, then writes which marks came
in and which went out, as JSON, to the file that is named.

A mark is a word in the packet, or a port from 20000 on: a connection's first packet carries no word.
"""

import json
import os
import re
import signal
import socket
import struct
import sys
import time

PORTS = range(20000, 24000)
WORD = re.compile(rb"lab-(\d{5})")
ALL, OUTGOING = 3, 4
ARP, KEYS = 0x0806, 0x888E
ROOM_BY_FORCE = 33


def marks(frame):
    kind = struct.unpack("!H", frame[12:14])[0]
    packet = frame[14:]
    found = {int(word) for word in WORD.findall(packet)}
    if kind in (ARP, KEYS):
        return found
    if kind == 0x0800 and len(packet) >= 20:
        protocol, data = packet[9], packet[(packet[0] & 15) * 4:]
        if struct.unpack("!H", packet[6:8])[0] & 0x1FFF:
            return found
    elif kind == 0x86DD and len(packet) >= 40:
        protocol, data = packet[6], packet[40:]
    else:
        return set()
    if protocol in (6, 17, 136) and len(data) >= 4:
        ports = struct.unpack("!HH", data[:4])
        found.update(port - PORTS[0] for port in ports if port in PORTS)
    return found


def main():
    ended, seen = [], {"in": set(), "out": set()}
    signal.signal(signal.SIGTERM, lambda *_: ended.append(time.monotonic()))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    s.setsockopt(socket.SOL_SOCKET, ROOM_BY_FORCE, 1 << 24)
    s.settimeout(0.2)
    print("watching", flush=True)
    while True:
        try:
            frame, (interface, _, way, *_) = s.recvfrom(65535)
        except TimeoutError:
            # What came before the signal has been read by now.
            if ended:
                break
            continue
        if interface != "lo" and len(frame) > 14:
            seen["out" if way == OUTGOING else "in"] |= marks(frame)
        if ended and time.monotonic() > ended[0] + 1:
            break
    with open(sys.argv[1] + ".new", "w") as file:
        json.dump({way: sorted(found) for way, found in seen.items()}, file)
    os.rename(sys.argv[1] + ".new", sys.argv[1])


main()
