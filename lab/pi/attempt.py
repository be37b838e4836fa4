# Attempts to speak to somebody, all at once, from the virtual Pi: `tcp:ADDRESS:PORT` or
# `udp:[ADDRESS]:PORT` each; one line each with what came of it, as the lab's prober says it.
import errno, json, select, socket, sys, time

WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "rejected",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "rejected",
    errno.EPERM: "rejected",
}
outcomes = {}
waiting = {}


def ended(target, outcome, number=None):
    outcomes[target] = {"target": target, "outcome": outcome, "errno": number and errno.errorcode.get(number)}


def failed(target, error):
    ended(target, WORDS.get(error, "error"), error)


for target in sys.argv[1:]:
    protocol, rest = target.split(":", 1)
    address, port = rest.rsplit(":", 1)
    address = address.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        one = socket.socket(family, kind)
        one.setblocking(False)
        error = one.connect_ex((address, int(port)))
        if error not in (0, errno.EINPROGRESS):
            failed(target, error)
            continue
        if protocol == "udp":
            one.send(b"is anybody there")
        waiting[one] = (target, protocol)
    except OSError as error:
        failed(target, error.errno)

end = time.monotonic() + 4
while waiting and time.monotonic() < end:
    writing = [one for one, (_, protocol) in waiting.items() if protocol == "tcp"]
    ready = select.select(list(waiting), writing, [], max(0, end - time.monotonic()))
    for one in set(ready[0]) | set(ready[1]):
        target, protocol = waiting.pop(one)
        error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            failed(target, error)
        elif protocol == "tcp":
            ended(target, "open")
        else:
            try:
                one.recv(1)
                ended(target, "answered")
            except OSError as error:
                failed(target, error.errno)
        one.close()
for target, _ in waiting.values():
    ended(target, "timeout")
for target in sys.argv[1:]:
    print(json.dumps(outcomes[target]))
