#!/usr/bin/env python3
"""Can strangers stop, hang or bloat a job? Both doors of two ranks under four attacks.

    python proofs/strangers.py

The doors are open while a job starts: the hub's until all ranks have joined, the rendezvous until
all have met. Attacks, by a process that knows the port and no secret:

    flood    connections that are opened and closed, one after the other
    held     connections that say nothing and stay
    slow     connections that say a byte each second
    garbage  connections that say a thousand random bytes each

`rank_s` is the longest that a rank had to wait at the door meanwhile, to join the hub or to be
answered by the rendezvous; `before_s` is the same without strangers. `cpu_s` and `more_mb` are what
the attack cost the process behind the door. Prints and keeps `strangers.csv`, and ends with 1 where
a rank was not let in.
"""
import contextlib
import http.client
import multiprocessing
import os
import random
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import job  # noqa: F401 (it makes bench importable)
from bench import at_least, keep

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.launch.heart import Heart

ATTACKS = 'flood', 'held', 'slow', 'garbage'
HOLD = 5     # s that connections stay
CROWD = 300  # connections before the rank comes: more than a door keeps


# ---- the strangers

def attack(kind, address, count, crowd):
    """Bother this address by so many connections; set the event when there is a crowd."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    held, rng = [], random.Random(count)
    for number in range(count):
        if number == CROWD:
            crowd.set()
        stranger = socket.socket()
        stranger.settimeout(1)
        with contextlib.suppress(OSError):  # the door may be closed, or full
            stranger.connect(address)
            if kind == 'garbage':
                stranger.sendall(rng.getrandbits(8000).to_bytes(1000, 'big'))
        if kind in ('held', 'slow'):
            held.append(stranger)
        else:
            stranger.close()
    for _ in range(HOLD if held else 0):
        for stranger in held if kind == 'slow' else ():
            with contextlib.suppress(OSError):
                stranger.send(b'G', socket.MSG_DONTWAIT)
        time.sleep(1)


@contextlib.contextmanager
def attacked(kind, address, count):
    """While the block runs, strangers are there; yields whether they still are."""
    if kind is None:
        yield lambda: False
        return
    context = multiprocessing.get_context('spawn')
    crowd = context.Event()
    process = context.Process(target=attack, args=(kind, address, count, crowd))
    process.start()
    crowd.wait(2)
    try:
        yield process.is_alive
    finally:
        process.join()


def cost(pid):
    """(seconds of CPU, MB at most) that a process has taken so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    status = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text()
                  .splitlines())
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK'), int(status['VmHWM'].split()[0]) / 1024


# ---- the doors; each: (longest wait of a rank, CPU seconds, MB more, what was harmed)

def at_hub(kind, count):
    """Rank 1 joins rank 0's hub among strangers."""
    first = Heart(0, 2, 20)
    first.join(first.address)
    pid = first._process.pid
    before = cost(pid)
    with attacked(kind, (first.address['host'], first.address['port']), count):
        begun = time.perf_counter()
        second = Heart(1, 2, 20)
        harm = ''
        try:
            second.join(first.address)
        except UserError as error:
            harm = str(error)
        seconds = time.perf_counter() - begun
    after = cost(pid)
    second.done()
    first.done()
    first._process.wait(10)
    return seconds, after[0] - before[0], after[1] - before[1], harm


SERVER = '''
from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from gluon_a2.launch.rendezvous import serve
server = serve(get_host_assignments(parse_hosts('localhost:2'), 2, 2), '127.0.0.1')
print(server.server_port, server.secret, flush=True)
input()
'''


def ask(port, secret):
    """Ask the rendezvous as Horovod does, up to three times; why there was no answer, or ''."""
    for _ in range(3):
        try:
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
            connection.request('PUT', f'/{secret}:{port}/global/0', b'address')
            if connection.getresponse().status == 200:
                return ''
        except (OSError, http.client.HTTPException) as error:
            reason = f'no answer: {error}'
        time.sleep(0.5)
    return reason


def at_rendezvous(kind, count):
    """Ranks ask the rendezvous, again and again, among strangers."""
    server = subprocess.Popen([sys.executable, '-c', SERVER], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, encoding='utf-8',
                              env={**os.environ, 'PYTHONPATH': str(job.ROOT)})
    port, secret = server.stdout.readline().split()
    before, longest, harm = cost(server.pid), 0.0, ''
    with attacked(kind, ('127.0.0.1', int(port)), count) as there:
        while there() or not longest:
            begun = time.perf_counter()
            harm = ask(int(port), secret) or harm
            longest = max(longest, time.perf_counter() - begun)
            time.sleep(0.01)
    after = cost(server.pid)
    server.communicate('\n')
    return longest, after[0] - before[0], after[1] - before[1], harm


@entry
def main(argv=None):
    """Returns the exit code."""
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=10_000, metavar='N',
                       help='connections of an attack')
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), metavar='CSV')
    args = flags.parse_args(argv)
    rows = []
    for name, door in (('hub', at_hub), ('rendezvous', at_rendezvous)):
        before = door(None, 0)[0]
        for kind in ATTACKS:
            seconds, cpu, more, harm = door(kind, args.count)
            rows.append({'door': name, 'attack': kind, 'connections': args.count,
                         'before_s': round(before, 2), 'rank_s': round(seconds, 2),
                         'cpu_s': round(cpu, 1), 'more_mb': round(more, 1), 'harm': harm})
    keep(rows, args.out)
    return int(any(row['harm'] for row in rows))


if __name__ == '__main__':
    sys.exit(main())
