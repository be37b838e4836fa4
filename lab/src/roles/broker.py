"""Speaks to a broker as programs do that mean it no good, in plain bytes.

The one argument is a file with what shall be done, since there are passwords in it.
"""

import hashlib
import json
import os
import random
import socket
import struct
import sys
import time


def text(value):
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def packet(kind, body):
    length, size = len(body), b""
    while True:
        length, low = divmod(length, 128)
        size += bytes([low | (128 if length else 0)])
        if not length:
            return bytes([kind]) + size + body


def connect(user, password, version=4, will=None):
    properties = b"\0" if version == 5 else b""
    flags = 0xC2 | (0x0C if will else 0)
    head = text("MQTT") + bytes([version, flags]) + struct.pack("!H", 60) + properties
    last = text(will[0]) + text(will[1]) if will else b""
    return packet(0x10, head + text(user) + last + text(user) + text(password))


def publish(topic, payload, qos=0, retain=0):
    number = struct.pack("!H", 7) if qos else b""
    return packet(0x30 | qos << 1 | retain, text(topic) + number + payload)


def read(s):
    """One packet: its first byte and its body."""
    def exactly(count):
        data = b""
        while len(data) < count:
            part = s.recv(count - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data
    kind, length, shift = exactly(1)[0], 0, 0
    while True:
        byte = exactly(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, exactly(length)


def login(order):
    s = socket.create_connection((order["host"], order["port"]), 10)
    s.sendall(connect(order["user"], order["password"], will=order.get("will")))
    kind, body = read(s)
    if kind != 0x20 or body[1] != 0:
        raise ConnectionError(f"refused: {body!r}")
    return s


def hear(order):
    s = login(order)
    s.settimeout(None)
    s.sendall(packet(0x82, b"\0\1" + text(order["filter"]) + b"\0"))
    while True:
        kind, body = read(s)
        if kind == 0x90:
            print("subscribed", flush=True)
        elif kind >> 4 == 3:
            length = struct.unpack("!H", body[:2])[0]
            start = 2 + length + (2 if kind & 6 else 0)
            print(body[2:2 + length].decode(errors="replace"), len(body) - start, flush=True)


def topics(order):
    """A retained message on each of many topics; the answer to a ping says that all are in."""
    began, s = time.monotonic(), login(order)
    for first in range(0, order["count"], 500):
        numbers = range(first, min(first + 500, order["count"]))
        s.sendall(b"".join(publish(f"{order['topic']}/{n}", b"1", retain=1) for n in numbers))
    s.settimeout(60)
    s.sendall(b"\xc0\0")
    while read(s)[0] != 0xD0:
        pass
    print(f"{time.monotonic() - began:.1f}")


def payload(order):
    s = login(order)
    try:
        s.sendall(publish(order["topic"], b"x" * order["size"], qos=1))
        print("acknowledged" if read(s)[0] == 0x40 else "other")
    except OSError as error:
        print("closed", error)


def retain(order):
    s = login(order)
    s.sendall(publish(order["topic"], order["payload"].encode(), qos=1, retain=1))
    read(s)
    print("acknowledged")


def die(order):
    """Is gone without a word, so that the broker publishes the will."""
    s = login(order)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    print("gone")


def silent(order):
    """Connections that say nothing, until a file is there."""
    held = []
    for _ in range(order["count"]):
        held.append(socket.create_connection((order["host"], order["port"]), 5))
    print("held", len(held), flush=True)
    for _ in range(600):
        if os.path.exists(order["until"]):
            break
        time.sleep(0.05)


def mutate(data, dice):
    data = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        what = dice.randrange(7)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = dice.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif what == 2:
            del data[at:]
        elif what == 3:
            data[at:at] = dice.randbytes(dice.randint(1, 40))
        elif what == 4:
            data += bytes(data)
        elif what == 5 and len(data) > 1:
            data[1:2] = dice.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff", b"\0", b"\x80\x80\x80\1"])
        else:
            del data[at:at + dice.randint(1, 6)]
    return bytes(data[:4096])


def bases(order):
    name, topic = order["user"], order["topic"]
    return [
        connect(name, "wrong"),
        connect(name, "wrong", 5),
        publish(topic, b"42.5"),
        publish(topic, b"42.5", qos=1),
        publish(topic, b"42.5", qos=2),
        publish(topic, b"", retain=1),
        packet(0x82, b"\0\1" + text("#") + b"\0"),
        packet(0x82, b"\0\1" + text("$share/a/#") + b"\1"),
        packet(0xA2, b"\0\1" + text("#")),
        packet(0x40, b"\0\7"),
        packet(0x62, b"\0\7"),
        packet(0xF0, b"\x18\0"),
        b"\xc0\0",
        b"\xe0\0",
    ]


def corpus(order):
    """Every other packet follows a login that is good."""
    dice = random.Random(order["seed"])
    plain = bases(order)
    digest, sent, closed = hashlib.sha256(), 0, 0
    for number in range(order["count"]):
        data = mutate(plain[number % len(plain)], dice)
        digest.update(data)
        source = order["sources"][number % len(order["sources"])]
        s = socket.create_connection((order["host"], order["port"]), 10, (source, 0))
        s.settimeout(0.05)
        try:
            if number // len(plain) % 2:
                s.sendall(connect(order["user"], order["password"]))
                s.settimeout(5)
                read(s)
                s.settimeout(0.05)
            s.sendall(data)
            sent += 1
            closed += s.recv(100) == b""
        except TimeoutError:
            pass
        except OSError:
            closed += 1
        s.close()
        time.sleep(order["pause"])
    print(json.dumps({"sent": sent, "closed": closed, "digest": digest.hexdigest()[:16]}))


def main():
    order = json.load(open(sys.argv[1]))
    each = (hear, topics, payload, retain, die, silent, corpus)
    {one.__name__: one for one in each}[order["what"]](order)


main()
