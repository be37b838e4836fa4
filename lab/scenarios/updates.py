"""Both ends of connections that the policy must end well, or cut. As the first argument says:

serve ADDRESS PORT   takes one connection after the other, waits until the other side has ended it,
                     ends it, too, and prints "ended" when the other side has acknowledged that
fetch ADDRESS PORT   asks, and is gone before an answer comes
hold FILE PORT FIRST LAST ADDRESS ...
                     connects to all from ports of its own, FIRST and up to LAST, prints "connected";
                     whenever the file has another number in it, sends a word to each and prints for
                     whom it arrived: "arrived ADDRESS ..."
accept PORT          takes connections and says nothing
"""

import errno
import fcntl
import random
import socket
import struct
import sys
import time

ESTABLISHED, CLOSED = 1, 7
UNACKNOWLEDGED = 0x5411


def state(s):
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def listener(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, int(port)))
    s.listen(16)
    print("listening", flush=True)
    return s


def serve(address, port):
    s = listener(address, port)
    while True:
        connection, _ = s.accept()
        while connection.recv(2048):
            pass
        connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 4
        while state(connection) != CLOSED and time.monotonic() < end:
            time.sleep(0.02)
        print("ended" if state(connection) == CLOSED else f"left in state {state(connection)}", flush=True)
        connection.close()


def fetch(address, port):
    s = socket.create_connection((address, int(port)), 4)
    s.sendall(b"a word")
    s.close()


def accept(port):
    s, kept = listener("", port), []
    while True:
        kept.append(s.accept())


def told(file):
    try:
        return open(file).read()
    except FileNotFoundError:
        return ""


def bound(family, sources):
    """A socket with one of the source ports that nobody has."""
    for source in sources:
        s = socket.socket(family)
        try:
            s.bind(("", source))
            return s
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            s.close()
    sys.exit("all source ports are taken")


def hold(file, port, first, last, *targets):
    sources = list(range(int(first), int(last) + 1))
    random.shuffle(sources)
    connections, done = {}, told(file)
    for address in targets:
        s = connections[address] = bound(socket.AF_INET6 if ":" in address else socket.AF_INET, sources)
        s.settimeout(4)
        s.connect((address, int(port)))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    print("connected", flush=True)
    while True:
        while told(file) == done:
            time.sleep(0.02)
        done = told(file)
        for s in connections.values():
            try:
                s.send(b"a word")
            except OSError:
                pass
        waiting, arrived, end = dict(connections), [], time.monotonic() + 2
        while waiting and time.monotonic() < end:
            for address, s in list(waiting.items()):
                acknowledged = not struct.unpack("i", fcntl.ioctl(s, UNACKNOWLEDGED, b"\0\0\0\0"))[0]
                if state(s) != ESTABLISHED:
                    # One that was cut has nothing left to acknowledge, either.
                    del waiting[address]
                elif acknowledged:
                    del waiting[address]
                    arrived.append(address)
            time.sleep(0.02)
        print("arrived", *sorted(arrived), flush=True)


globals()[sys.argv[1]](*sys.argv[2:])
