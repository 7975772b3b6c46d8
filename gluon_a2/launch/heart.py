"""The rank's side of the watchdog: signs of life and of progress (see `protocol`)."""
from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Iterator

from ..errors import UserError
from ..machine.network import job_address
from ..machine.ranks import LAUNCHER, STDERR, launch_id
from . import start
from .process import WATCHDOG, die_with
from .protocol import JOIN_SLACK, NOT_FOR_WATCHDOGS, Channel, Clock, say, state, wait

WAITING = 'waiting for the others'
ALONE = 10      # timeouts that work without steps may take
BACKLOG = 4096  # bytes that a rank keeps for a watchdog that is behind


class Heart:
    """A rank's connection to its watchdog, which it starts.

    timeout: seconds without a sign of life, or without progress while others wait, that make a
    fault. folder: the run folder; where it exists, the hub writes fault.json into it.

    A context manager: leaving the block in order is `done()`, by an exception `fail()`.
    """

    def __init__(self, rank: int, size: int, timeout: float,
                 folder: str | Path | None = None) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self._pid, self._parent = os.getpid(), os.getppid()
        self._at: tuple[int | None, str | None, bool] = None, None, False
        self._beats, self._alone_until, self._refused = 0, 0.0, None
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._answered = threading.Event()
        start.watched()
        launcher = os.environ.get(LAUNCHER)
        listener, token = _listen() if rank == 0 else None, os.urandom(16).hex()
        ours, theirs = socket.socketpair()
        self._process = _start_watchdog(rank, theirs, listener)
        theirs.close()
        self._line = Channel(ours)
        self._line.send({'rank': rank, 'size': size, 'timeout': timeout, 'pid': self._pid,
                         'token': token, 'folder': folder and str(Path(folder).resolve()),
                         'listener': listener and listener.fileno(),
                         'launcher': self._parent if launcher == str(self._parent) else None})
        self.address: dict | None = None  # of the hub, on rank 0, to be given to all ranks' `join`
        if listener:
            host, port = listener.getsockname()
            self.address = {'host': host, 'port': port, 'token': token}
            listener.close()
        self._thread = threading.Thread(target=self._pulse, name='heart', daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    def join(self, address: dict) -> None:
        """Connect the watchdog to the hub at `address`; UserError after `timeout` seconds."""
        with self._lock:
            self._line.send({'join': address})
        answered = self._answered.wait(self.timeout + JOIN_SLACK)
        if self._refused or not answered:
            raise UserError(self._refused or f'the watchdog of rank {self.rank} does not answer: '
                                             'start the run again')

    def beat(self, step: int, phase: str, waiting: bool = False) -> None:
        """Progress: `phase` of `step` goes on. About 20 µs where one of them changed, else 1 µs."""
        at = step, phase, waiting
        changed, self._at, self._beats = at != self._at, at, self._beats + 1
        if changed:
            self._send()

    @contextlib.contextmanager
    def during(self, step: int, phase: str) -> Iterator[None]:
        """Work of this rank alone with nothing to count inside, such as a drawing: for ALONE
        timeouts to be alive is progress."""
        self.beat(step, phase)
        self._alone_until = time.monotonic() + ALONE * self.timeout
        try:
            yield
        finally:
            self._alone_until = 0.0
            self.beat(step, phase)

    def waiting(self, step: int) -> None:
        """From now until the next `beat` this rank waits for all others."""
        self.beat(step, WAITING, True)

    def fail(self, sentence: str, secondary: bool = False) -> None:
        """This rank is about to end with an error; `secondary` if it has only lost the others."""
        self._finish({'end': 'failed', 'sentence': sentence, 'secondary': secondary})

    def done(self) -> None:
        """This rank ends in order; what happens to it afterwards is no fault. No watchdog sees it
        any more, so from now on the kernel ends it with what has started it, stopped or not."""
        if launch_id() and not self._ended.is_set():
            die_with(self._parent)()
        self._finish({'end': 'done'})

    def __enter__(self) -> Heart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            self.done()
        elif kind is not SystemExit:  # which atexit reports, unless fail() or done() came first
            self.fail(_sentence(error))

    def _send(self) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._line.flush()
            if len(self._line.backlog) < BACKLOG:  # else a later pulse says it
                step, phase, waiting = self._at
                self._line.send({'step': step, 'phase': phase, 'waiting': waiting,
                                 'beats': self._beats, 'orphan': os.getppid() != self._parent})

    def _pulse(self) -> None:
        interval, clock, heard = self.timeout / 20, Clock(self.timeout / 5), 0.0
        while not self._ended.is_set():
            ready = wait([self._line], interval)
            clock.tick()
            self._beats += time.monotonic() < self._alone_until
            for message in self._line.receive() if ready else ():
                heard = clock.now
                if 'joined' in message or 'refused' in message:
                    self._refused = message.get('refused')
                    self._answered.set()
            self._send()
            if self._ended.is_set():
                return
            if self._line.closed or clock.now - heard > self.timeout:
                how = ('has ended' if self._line.closed else
                       f'gave no sign of life for {self.timeout:g} s')
                say(f'the watchdog of rank {self.rank} {how}: ending this rank, since nothing '
                    'watches it any more')
                self._process.kill()  # one that is stopped would stay for ever
                # No exception would reach the main thread in a collective that never returns.
                os._exit(1)

    def _finish(self, message: dict) -> None:
        """Say the last word, once: what comes later is a consequence."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            self._line.socket.settimeout(1)  # this one should arrive, behind whatever is queued
            with contextlib.suppress(OSError):  # without a watchdog there is nobody to tell
                self._line.socket.sendall(self._line.backlog + json.dumps(message).encode() + b'\n')
                self._line.socket.shutdown(socket.SHUT_WR)
            if state(self._process.pid) == 'T':  # one that is stopped would stay for ever
                self._process.send_signal(signal.SIGCONT)
        atexit.unregister(self._at_exit)
        if threading.current_thread() is not self._thread:
            self._thread.join(1)
        self._line.close()
        # the hub stays for the others
        if message['end'] == 'done' and (self.rank or self.size == 1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def _at_exit(self) -> None:
        """The interpreter ends without `done` or `fail`: sys.exit, or an uncaught exception."""
        if os.getpid() != self._pid:  # a forked child has inherited this hook
            return
        error = getattr(sys, 'last_value', None)
        if error is not None:
            self.fail(_sentence(error))
        self._finish({'end': 'early'})  # unless that was said


def _sentence(error: BaseException) -> str:
    known = isinstance(error, (UserError, OSError))
    return str(error) if known else f'{type(error).__name__}: {error}'


def _start_watchdog(rank: int, line: socket.socket,
                    listener: socket.socket | None) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]),
                                         os.environ.get('PYTHONPATH'))))
    stderr = os.environ.get(STDERR)  # the launcher's, which outlives the launcher
    # It inherits what is blocked, so no signal ends it before it can ignore them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_WATCHDOGS)
    try:
        return subprocess.Popen(
            [sys.executable, '-m', WATCHDOG, f'of-rank-{rank}'],
            stdin=line.fileno(), stdout=subprocess.DEVNULL,
            stderr=int(stderr) if stderr else None, start_new_session=True, cwd='/',
            env={**os.environ, 'PYTHONPATH': path},
            pass_fds=[listener.fileno()] if listener else [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen() -> socket.socket:
    """Where the other ranks, and no other network, find the hub."""
    listener = socket.socket()
    listener.bind((job_address(), 0))
    listener.listen(socket.SOMAXCONN)
    return listener
