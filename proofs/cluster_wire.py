#!/usr/bin/env python3
"""Make a bridge's port a bad wire: frames are late, or lost.

    python proofs/cluster_wire.py PORT --delay 0.2 --loss 0.05
    python proofs/cluster_wire.py PORT --loss 1 --seconds 20    # and then as before

For kernels without netem. Takes the port out of its bridge, and carries frames between the two
until it is killed. The delay, in seconds, is that of one direction; the loss is a share of all
frames, drawn from a seed.
"""
import argparse
import collections
import contextlib
import random
import re
import select
import socket
import subprocess
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ALL = socket.htons(3)  # protocols
FOREVER = float('inf')
LONGEST = 1 << 17      # bytes: the kernel hands over what it has not cut into frames yet


def tap(name):
    """A socket that reads and writes the frames of an interface, with what the kernel has put off
    for the card to do."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((name, 0))
    return sock


def splice(port):
    """Put a new wire between a port and its bridge; (the bridge, sockets at both ends)."""
    shown = subprocess.run(['ip', '-o', 'link', 'show', port], capture_output=True, text=True,
                           check=True).stdout
    bridge = re.search(r'master (\S+)', shown).group(1)
    inner, outer = f'{port}-w', f'{port}-x'
    for words in (f'link add {inner} type veth peer name {outer}',
                  f'link set {inner} up promisc on', f'link set {outer} master {bridge} up',
                  f'link set {port} nomaster promisc on'):
        subprocess.run(['ip', *words.split()], check=True)
    return bridge, (tap(port), tap(inner))


def unsplice(port, bridge):
    """Remove that wire; the port goes back where it still is."""
    subprocess.run(['ip', 'link', 'delete', f'{port}-w'], check=True)
    subprocess.run(['ip', 'link', 'set', port, 'master', bridge, 'promisc', 'off'],
                   stderr=subprocess.DEVNULL)


def carry(ends, delay, loss, until):
    """Carry frames between two sockets until then."""
    rng, poll, late = random.Random(0), select.poll(), collections.deque()
    other = {ends[0].fileno(): ends[1], ends[1].fileno(): ends[0]}
    sockets = {end.fileno(): end for end in ends}
    for end in ends:
        poll.register(end, select.POLLIN)
    now = time.monotonic()
    while now < until:
        while late and late[0][0] <= now:
            _, to, frame = late.popleft()
            with contextlib.suppress(OSError):  # the link is down
                to.send(frame)
        ends_at = min(until, late[0][0] if late else until)
        for number, _ in poll.poll(max(0, (ends_at - now) * 1000) if ends_at < FOREVER else None):
            frame = sockets[number].recv(LONGEST)
            if rng.random() >= loss:
                late.append((time.monotonic() + delay, other[number], frame))
        now = time.monotonic()


if __name__ == '__main__':
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument('port')
    flags.add_argument('--delay', type=float, default=0.0)
    flags.add_argument('--loss', type=float, default=0.0)
    flags.add_argument('--seconds', type=float, default=FOREVER)
    given = flags.parse_args()
    bridge, ends = splice(given.port)
    with contextlib.suppress(OSError):  # the port is gone, and its host
        carry(ends, given.delay, given.loss, time.monotonic() + given.seconds)
    unsplice(given.port, bridge)
