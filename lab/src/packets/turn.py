"""A broker that was taken over tries to turn a reply round: it hears somebody's first packet and stays
silent, so that the connection is known and begins nowhere, and then connects from the same port itself.

Arguments: its port, whom, which port of whom, the file for which it waits. Prints "silent", and what
came of the connection.
"""

import os
import socket
import sys
import time


def silent(port):
    """A listener that answers nobody: the one place in its queue is taken."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    s.listen(0)
    return s, socket.create_connection(("127.0.0.1", port))


def main():
    port, whom, at, told = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    listener, taken = silent(port)
    print("silent", flush=True)
    for _ in range(200):
        if os.path.exists(told):
            break
        time.sleep(0.05)
    listener.close()
    taken.close()
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(3)
    s.bind(("", port))
    try:
        s.connect((whom, at))
        print("connected", s.recv(100), flush=True)
    except OSError as error:
        print("refused", error, flush=True)


main()
