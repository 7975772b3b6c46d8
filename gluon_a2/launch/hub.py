"""The centre of all watchdogs, in that of rank 0 (see `protocol`): it listens for the judge, and
carries out its verdict."""
from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
import time
from pathlib import Path

from ..files import write_whole
from .door import Door
from .judge import Judge, Peer
from .protocol import LINGER, Channel, Clock, is_hello, is_report, say

PAUSE = 0.04  # s between two rounds, so that neither many ranks nor many strangers cost much


class Hub:
    """Listens to all watchdogs, gives signs of life, and carries out what the judge says."""

    def __init__(self, given: dict, clock: Clock) -> None:
        self.timeout, self.folder, self.clock = given['timeout'], given['folder'], clock
        self.judge = Judge(given['size'], self.timeout, clock)
        self.door = Door(given['listener'], given['token'], clock)
        with contextlib.suppress(OSError, ValueError):  # one socket a rank
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._lines: dict[Peer, Channel] = {}  # those that are open
        self._pulsed = self._next = 0.0
        self.verdict_at: float | None = None
        self.finished = False

    def channels(self) -> list:
        """What to wait for."""
        if self.clock.now < self._next:
            return []
        return [*self.door.channels(), *self._lines.values()]

    def turn(self) -> None:
        """One round, where it is time for one: listen, judge, give signs of life."""
        if self.clock.now < self._next:
            return
        self._next = self.clock.now + PAUSE
        self._admit()
        for peer, line in list(self._lines.items()):
            self._take(peer, line.receive())
        self._hang_up()
        verdict = self.judge.verdict() if self.verdict_at is None else None
        if verdict:
            self._condemn(*verdict)
        self._pulse()
        if self.verdict_at is not None:
            self.finished = self.clock.now > self.verdict_at + LINGER or not self._lines
        elif self.judge.all_left():
            self.finished = True

    # -- who is there

    def _admit(self) -> None:
        """Who comes in as a rank that is not there yet becomes a peer."""
        judge = self.judge
        for line, (hello, *reports) in self.door.look():
            if not is_hello(hello, judge.size) or hello['rank'] in judge.peers:
                line.close()
                continue
            peer = judge.join(hello)
            self._lines[peer] = line
            line.send({'joined': True})
            self._take(peer, reports)
        if len(judge.peers) == judge.size and not self.door.closed:
            self.door.close()

    def _take(self, peer: Peer, reports: list[dict]) -> None:
        for report in reports:
            if not is_report(report):
                self._lines[peer].close()
                self.judge.lose(peer, {'end': 'garbled'})
                return
            self.judge.hear(peer, report)
            if peer.left:
                self._lines[peer].send({'bye': True})

    def _pulse(self) -> None:
        if self.clock.now - self._pulsed >= min(1, self.timeout / 10):
            self._pulsed = self.clock.now
            for line in self._lines.values():
                line.send()

    def _hang_up(self) -> None:
        """A rank whose watchdog has hung up is lost, unless it has left."""
        for peer, line in list(self._lines.items()):
            if line.closed:
                line.close()
                del self._lines[peer]
                self.judge.lose(peer, {'end': 'unreachable'})

    # -- the end

    def _condemn(self, peer: Peer | None, sentence: str) -> None:
        """Tell everybody, write it down, and let each watchdog end its rank."""
        self.verdict_at = self.clock.now
        # A thread, since a terminal or a file system that hangs must not keep the ranks alive.
        telling = threading.Thread(target=self._tell, args=(peer, sentence), daemon=True)
        telling.start()
        telling.join(1)
        for line in self._lines.values():
            line.send({'verdict': sentence})

    def _tell(self, peer: Peer | None, sentence: str) -> None:
        say(sentence)
        if self.folder and os.path.isdir(self.folder):  # a run that came to nothing has removed it
            report = peer.report if peer else {'step': None, 'phase': None}
            content = {'rank': peer and peer.rank, 'host': peer and peer.host,
                       'step': report['step'], 'phase': report['phase'], 'reason': sentence,
                       'time': time.strftime('%Y-%m-%dT%H:%M:%S%z')}
            with contextlib.suppress(OSError):  # it may just be doing so, and a disk may be full
                write_whole(Path(self.folder) / 'fault.json',
                            json.dumps(content, indent=1).encode())
