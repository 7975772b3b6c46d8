"""The judge over all ranks, in the watchdog of rank 0 (see `protocol`)."""
from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Optional, Tuple

from ..files import write_whole
from .door import Door
from .protocol import ENDS, GRACE, JOIN_SLACK, LINGER, Channel, Clock, is_hello, is_report, say

STALLED = 30  # timeouts without progress anywhere


class Peer:
    """What the hub knows of one rank."""

    def __init__(self, channel: Channel, hello: dict, clock: Clock) -> None:
        self.rank, self.host, self.name = (hello[key] for key in ('rank', 'host', 'name'))
        self.channel, self._clock, self.left = channel, clock, False
        self.take(hello)

    def take(self, report: dict) -> None:
        """Its newest report."""
        self.report, self.heard = report, self._clock.now

    def silence(self) -> float:
        """Seconds since its watchdog's last report."""
        return self._clock.now - self.heard

    def age(self) -> float:
        """Seconds since the rank's last sign of life."""
        return self.report['age'] + self.silence()

    def idle(self) -> float:
        """Seconds since its last progress."""
        return self.report['idle'] + self.silence()

    def where(self) -> str:
        """The step and the phase that it is in."""
        step, phase = self.report['step'], self.report['phase']
        return 'before its first step' if step is None else f'at step {step} ({phase})'

    def behind(self) -> tuple[int, float]:
        """A key that sorts the ranks that are furthest behind to the front."""
        step = self.report['step']
        return -1 if step is None else step, -self.idle()

    def frozen(self, seconds: float) -> Verdict:
        """The verdict that it gives no sign of life."""
        return self, f'{self.name} is frozen: no sign of life for {seconds:g} s {self.where()}'

    def late(self, how: str) -> Verdict:
        """The verdict that it makes no progress."""
        return self, f'{self.name} {how}: no progress for {self.idle():.0f} s {self.where()}'


Verdict = Tuple[Optional[Peer], str]  # the rank at fault, where one is, and a sentence


class Hub:
    """Listens to all watchdogs, gives signs of life, and says what is wrong."""

    def __init__(self, given: dict, clock: Clock) -> None:
        self.size, self.timeout = given['size'], given['timeout']
        self.folder, self.clock = given['folder'], clock
        self.door = Door(socket.socket(fileno=given['listener']), given['token'], clock)
        with contextlib.suppress(OSError, ValueError):  # one socket a rank
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.peers: dict[int, Peer] = {}
        self.ended: dict[Peer, dict] = {}  # otherwise than in order: its last word
        self.begun: float | None = None
        self.ended_at = self.pulsed = 0.0
        self.verdict_at: float | None = None
        self.finished = False

    def channels(self) -> list:
        """What to wait for."""
        return [*self.door.channels(), *(peer.channel for peer in self._connected())]

    def _connected(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if not peer.channel.closed]

    def turn(self) -> None:
        """One round: listen, judge, give signs of life."""
        self._admit()
        self._listen()
        verdict = self._judge() if self.verdict_at is None else None
        if verdict:
            self._condemn(*verdict)
        self._pulse()
        if self.verdict_at is not None:
            late = self.clock.now > self.verdict_at + LINGER
            self.finished = late or not self._connected()
        elif len(self.peers) == self.size and all(peer.left for peer in self.peers.values()):
            self.finished = True

    # -- who is there

    def _admit(self) -> None:
        """Who comes in as a rank that is not there yet becomes a peer."""
        for channel, (hello, *reports) in self.door.look():
            if not is_hello(hello, self.size) or hello['rank'] in self.peers:
                channel.close()
                continue
            peer = self.peers[hello['rank']] = Peer(channel, hello, self.clock)
            self.begun = self.clock.now if self.begun is None else self.begun
            channel.send({'joined': True})
            self._take(peer, reports)
        if len(self.peers) == self.size and not self.door.closed:
            self.door.close()

    def _listen(self) -> None:
        for peer in self._connected():
            self._take(peer, peer.channel.receive())
            gone = peer.channel.closed or peer.silence() > self.timeout
            if gone and not peer.left and self.verdict_at is None:
                self._note(peer, {'end': 'unreachable'})

    def _take(self, peer: Peer, reports: list[dict]) -> None:
        for report in reports:
            if not is_report(report):
                peer.channel.close()
                self._note(peer, {'end': 'garbled'})
                return
            peer.take(report)
            if report.get('end') == 'done':
                peer.left = True
                peer.channel.send({'bye': True})
            elif 'end' in report:
                self._note(peer, report)

    def _note(self, peer: Peer, end: dict) -> None:
        """A rank has ended otherwise than in order; only its first report counts."""
        if not self.ended:
            self.ended_at = self.clock.now
        self.ended.setdefault(peer, end)

    def _pulse(self) -> None:
        if self.clock.now - self.pulsed >= min(1, self.timeout / 10):
            self.pulsed = self.clock.now
            for peer in self._connected():
                peer.channel.send()

    # -- what is wrong

    def _judge(self) -> Verdict | None:
        """None while all is well."""
        live = [peer for peer in self.peers.values() if not peer.left]
        if not self.ended:
            return self._frozen(live) or self._missing() or self._slow(live) or self._stalled(live)
        more = self.clock.now - self.ended_at < min(GRACE, self.timeout / 2)
        return None if more and len(self.ended) < len(live) else self._root_cause(live)

    def _root_cause(self, live: list[Peer]) -> Verdict:
        """Of the ranks that ended: the first that was not merely a consequence."""
        first = next(iter(self.ended))
        if len(self.ended) == self.size > 1 and all(end['end'] == 'dead'
                                                    for end in self.ended.values()):
            return None, (f'all {self.size} ranks died {first.where()} without a word: killed, or '
                          'crashed')
        causes = [peer for peer, end in self.ended.items() if not end.get('secondary')]
        # Horovod may lose patience with a frozen rank before we do
        for peer in live if not causes else ():
            if peer not in self.ended and peer.age() > self.timeout / 4:
                return peer.frozen(round(peer.age()))
        peer = (causes or [first])[0]
        end = self.ended[peer]
        return peer, ENDS[end['end']].format(name=peer.name, where=peer.where(),
                                             sentence=end.get('sentence'))

    def _frozen(self, live: list[Peer]) -> Verdict | None:
        """A rank whose watchdog lives, and which gives no sign of life itself."""
        return next((peer.frozen(self.timeout) for peer in live
                     if peer.age() > self.timeout and peer.silence() < self.timeout / 2), None)

    def _missing(self) -> Verdict | None:
        if len(self.peers) == self.size or self.begun is None:
            return None
        since = self.clock.now - self.begun
        if since < self.timeout + JOIN_SLACK:
            return None
        rank = min(set(range(self.size)) - set(self.peers))
        return None, (f'rank {rank} cannot be reached: it has not joined the others within '
                      f'{since:.0f} s')

    def _slow(self, live: list[Peer]) -> Verdict | None:
        """Somebody has waited too long; for whom?"""
        waiting = [peer for peer in live if peer.report['waiting']]
        if not any(peer.idle() > self.timeout for peer in waiting):
            return None
        if len(waiting) == len(live):
            return self._deadlock(waiting)
        # One that gives no sign of life is frozen: that verdict is near, and says more.
        late = [peer for peer in live if peer not in waiting and peer.idle() > self.timeout
                and peer.age() < self.timeout / 4]
        return min(late, key=Peer.behind).late('keeps the others waiting') if late else None

    def _deadlock(self, waiting: list[Peer]) -> Verdict | None:
        if len(self.peers) < self.size or min(map(Peer.idle, waiting)) <= self.timeout:
            return None
        steps = [peer.report['step'] for peer in waiting]
        where = (f'at step {steps[0]} (network?)' if min(steps) == max(steps) else
                 f'at different steps ({min(steps)}–{max(steps)})')
        return None, ('no rank advances: all of them have waited for each other for '
                      f'{self.timeout:g} s {where}')

    def _stalled(self, live: list[Peer]) -> Verdict | None:
        """Nobody waits, and nobody has made progress for very long."""
        if not live or min(map(Peer.idle, live)) <= STALLED * self.timeout:
            return None
        return min(live, key=Peer.behind).late('has stalled')

    # -- the end

    def _condemn(self, peer: Peer | None, sentence: str) -> None:
        """Tell everybody, write it down, and let each watchdog end its rank."""
        self.verdict_at = self.clock.now
        # A thread, since a terminal or a file system that hangs must not keep the ranks alive.
        telling = threading.Thread(target=self._tell, args=(peer, sentence), daemon=True)
        telling.start()
        telling.join(1)
        for other in self._connected():
            other.channel.send({'verdict': sentence})

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
