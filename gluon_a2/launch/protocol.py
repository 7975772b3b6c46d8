"""What a rank, its watchdog and the hub say to each other.

Horovod notices a dead rank, but waits for a frozen or a slow one. So every rank starts a watchdog:
a small process in a session of its own, which no signal to the rank reaches. The watchdog of rank 0
is also the hub, a TCP server to which all watchdogs connect. JSON objects, one a line, go both
ways:

    rank → watchdog    {rank, size, timeout, pid, token, folder, listener, launcher}, once
                       {step, phase, waiting, beats, orphan}, at each change and every timeout/20
                       {join: address}, once
                       {end: 'done' or 'failed', sentence, secondary}, the last word
    watchdog → rank    {}, every timeout/20
                       {joined: true} or {refused: sentence}
    watchdog → hub     the token, bare, once
                       {rank, host, name, and a report}, once
                       {step, phase, waiting, age, idle}, a report
                       {end: one of ENDS or 'done', and a report}, the last word
    hub → watchdog     {joined: true}, once
                       {}, as a sign of life
                       {verdict: sentence} or {bye: true}

Who has not shown the token is a stranger: as many bytes are read of it as the token has, and none
is parsed. The hub stops listening once all ranks have joined.

`age` is the time since the rank's last sign of life, `idle` the time since its last progress. Times
are seconds. At a verdict the hub prints one line and writes fault.json, and each watchdog kills its
rank, which works on a stopped process too. These modules import only the standard library, so that
a watchdog starts in a few hundredths of a second.
"""
from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Iterable

GRACE = 1          # s in which the first report of an end may be followed by its cause
LINGER = 3         # s after a verdict, at most, until the hub leaves
JOIN_SLACK = 3     # s beyond the timeout for all ranks to join
LONGEST = 1 << 16  # bytes in a line
MOST = 1 << 20     # bytes that wait for the other side
CLEAR = '\r\x1b[K'  # what empties a line of a terminal, on which a progress bar may stand

# how a rank ends otherwise than in order
ENDS = {
    'dead': '{name} died {where} without a word: killed, crashed, or out of memory',
    'early': '{name} ended early {where}, without finishing',
    'failed': '{name}: {sentence}',
    'orphan': '{name} was ended {where}: the launcher is gone, or its remote shell',
    'garbled': '{name} is not understood: install the same gluon_a2 on every host',
    'unreachable': '{name} cannot be reached: its watchdog, its machine or the network is gone'}

# sent to all of a job, they are for the rank to act on
NOT_FOR_WATCHDOGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


_NOTHING = type(None)
_REPORT = {'step': (int, _NOTHING), 'phase': (str, _NOTHING), 'waiting': (bool,),
           'age': (int, float), 'idle': (int, float)}
_LAST_WORD = {'end': (str,), 'sentence': (str,), 'secondary': (bool,)}
FURTHEST, NAME = 1 << 53, 300  # no number of a message is larger, no name longer


def _has(message: dict, kinds: dict) -> bool:
    return all(key in message and type(message[key]) in types for key, types in kinds.items())


def is_report(message: dict) -> bool:
    """Whether it is what a watchdog says of its rank, so that a hub can work with it."""
    last = {key: types for key, types in _LAST_WORD.items() if key in message}
    return (_has(message, _REPORT) and _has(message, last)
            and all(0 <= message[key] < FURTHEST for key in ('age', 'idle'))
            and abs(message['step'] or 0) < FURTHEST and len(message['phase'] or '') <= NAME
            and message.get('end', 'done') in ('done', *ENDS)
            and ('sentence' in message or message.get('end') != 'failed'))


def is_hello(message: dict, size: int) -> bool:
    """Whether it introduces one of `size` ranks, with a report."""
    return (_has(message, {'rank': (int,), 'host': (str,), 'name': (str,)})
            and 0 <= message['rank'] < size and len(message['host'] + message['name']) <= NAME
            and is_report(message))


class Clock:
    """Seconds that this process has lived through: one leap counts as `longest` at most.

    So a laptop that wakes up, or a job that was suspended as a whole, finds nobody overdue.
    """

    def __init__(self, longest: float) -> None:
        self.now, self._longest, self._last = 0.0, longest, time.monotonic()

    def tick(self) -> None:
        """Advance `now`; to be called in every turn of a loop."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, self._longest)


class Channel:
    """JSON objects, one a line, over a socket that never blocks; `closed` by the other side."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket, self.closed = sock, False
        self._in = self.backlog = b''

    def fileno(self) -> int:
        """For `wait`."""
        return self.socket.fileno()

    def send(self, message: dict | None = None) -> None:
        """Queue a message (an empty one is a sign of life) and write what the other side takes."""
        self.write(json.dumps(message or {}).encode() + b'\n')

    def write(self, content: bytes) -> None:
        """Queue bytes and write what the other side takes; hang up on one that never reads."""
        self.backlog += content
        self.flush()
        self.closed |= len(self.backlog) > MOST

    def flush(self) -> None:
        """Write what the other side takes of the queue."""
        try:
            self.backlog = self.backlog[self.socket.send(self.backlog):]
        except BlockingIOError:
            pass  # whoever does not read is silent as well, and judged by that
        except OSError:
            # What the other side wrote before it left can still be read, so receive() finds out.
            self.backlog = b''

    def receive(self) -> list[dict]:
        """The messages that have arrived."""
        try:
            content = self.socket.recv(LONGEST)
        except BlockingIOError:
            return []
        except OSError:
            content = b''
        *lines, self._in = (self._in + content).split(b'\n')
        self.closed |= not content or len(self._in) > LONGEST
        try:
            messages = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            messages, self.closed = [], True
        return [message for message in messages if isinstance(message, dict)]

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self.socket.close()


def wait(channels: Iterable[Any], seconds: float) -> bool:
    """Wait until one of `channels` can be read; whether one can. Any number of them: `select` would
    end at file descriptor 1024."""
    poll = select.poll()
    for channel in channels:
        poll.register(channel, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def state(pid: int) -> str:
    """The kernel's letter for how a process is (see proc(5)), as in T for a stopped one; empty
    where it does not say."""
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    return ''


def say(sentence: str) -> None:
    """One line on stderr; whether anybody still reads it must not keep a watchdog from its work."""
    sentence = ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in sentence)
    with contextlib.suppress(OSError, ValueError):
        clear = CLEAR if sys.stderr.isatty() else ''
        print(f'{clear}error: {sentence}', file=sys.stderr, flush=True)
