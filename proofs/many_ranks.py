#!/usr/bin/env python3
"""What the hub of many ranks takes: processor time, memory, and seconds until all know of a death.

    python proofs/many_ranks.py
    python proofs/many_ranks.py --ranks 64 --seconds 60

The watchdog of rank 0, which is the hub, is the real process. This one plays all other watchdogs,
over real sockets on this machine: each reports once a second, as they do at the default timeout.
Then one reports that its rank is dead. `cpu` is the share of one core, from all having joined on;
`mb` the most memory. Prints and keeps `many_ranks.csv`; ends with 1 where the verdict does not
reach all within 5 s.
"""
import json
import os
import resource
import select
import socket
import sys
import time
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
from bench import at_least, keep, whole_numbers

from gluon_a2.cli import entry, parser
from gluon_a2.launch.heart import Heart

TIMEOUT, LIMIT = 20, 5
REPORT = {'step': 3, 'phase': 'compute', 'waiting': False, 'age': 0.1, 'idle': 0.1}


def line(**more):
    """A report as bytes."""
    return json.dumps({**more, **REPORT}).encode() + b'\n'


def used(pid):
    """(seconds of processor, MB at most) of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    peak = next(text for text in Path(f'/proc/{pid}/status').read_text().splitlines()
                if text.startswith('VmHWM'))
    ticks = sum(map(int, fields[11:13]))
    return ticks / os.sysconf('SC_CLK_TCK'), int(peak.split()[1]) / 1024


def report(callers, seconds):
    """All report once a second, one after the other."""
    begun = time.monotonic()
    for turn in range(int(seconds)):
        for number, caller in enumerate(callers):
            caller.send(line())
            ahead = begun + turn + number / len(callers) - time.monotonic()
            if ahead > 0.005:
                time.sleep(ahead)


def until_all_know(callers):
    """Seconds until each has been sent a verdict."""
    begun, left, said = time.monotonic(), set(callers), dict.fromkeys(callers, b'')
    while left and time.monotonic() < begun + 60:
        for caller in _ready(left):
            said[caller] += caller.recv(1 << 16)
            if b'verdict' in said[caller]:
                left.discard(caller)
    return time.monotonic() - begun


def _ready(callers):
    poll, by_number = select.poll(), {caller.fileno(): caller for caller in callers}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(1000)]


def measure(ranks, seconds):
    """The row of a job of so many ranks."""
    heart = Heart(0, ranks, TIMEOUT)
    hub, where = heart._process.pid, (heart.address['host'], heart.address['port'])
    heart.join(heart.address)
    begun, callers = time.monotonic(), []
    for rank in range(1, ranks):
        callers.append(socket.create_connection(where, 30))
        callers[-1].sendall(heart.address['token'].encode() + line(
            rank=rank, host=f'h{rank // 8}', name=f'rank {rank} on h{rank // 8}'))
    for caller in callers:
        caller.recv(1 << 16)
    joined, (before, _) = time.monotonic() - begun, used(hub)
    begun = time.monotonic()
    report(callers, seconds)
    after, memory = used(hub)
    share = (after - before) / (time.monotonic() - begun)
    callers[-1].send(line(end='dead'))
    heart.done()  # else the verdict ends this process
    known = until_all_know(callers)
    for caller in callers:
        caller.close()
    heart._process.wait(10)
    return {'ranks': ranks, 'joined_s': round(joined, 2), 'cpu': round(share, 3),
            'mb': round(memory, 1), 'all_know_s': round(known, 2)}


@entry
def main(argv=None):
    """Returns the exit code."""
    flags = parser(__doc__)
    flags.add_argument('--ranks', type=whole_numbers, default=[2, 64, 256, 1024])
    flags.add_argument('--seconds', type=at_least(1), default=20)
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), metavar='CSV')
    args = flags.parse_args(argv)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = [measure(ranks, args.seconds) for ranks in args.ranks]
    keep(rows, args.out)
    return int(any(row['all_know_s'] > LIMIT for row in rows))


if __name__ == '__main__':
    sys.exit(main())
