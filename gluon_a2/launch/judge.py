"""Who is at fault: a function of what the ranks' watchdogs have said, and of the time. Nothing here
listens, sends or waits (see `hub`), so that `proofs/simulate_ranks.py` can try any schedule."""
from __future__ import annotations

from typing import Optional, Tuple

from .protocol import ENDS, GRACE, JOIN_SLACK, Clock

STALLED = 30  # timeouts without progress anywhere


class Peer:
    """What is known of one rank."""

    def __init__(self, hello: dict, clock: Clock) -> None:
        self.rank, self.host, self.name = (hello[key] for key in ('rank', 'host', 'name'))
        self._clock, self.left = clock, False
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


class Judge:
    """Takes in who joins, what they say and who is lost; `verdict` says what is wrong.

    `clock` is read for its `now` alone.
    """

    def __init__(self, size: int, timeout: float, clock: Clock) -> None:
        self.size, self.timeout, self.clock = size, timeout, clock
        self.peers: dict[int, Peer] = {}
        self.ended: dict[Peer, dict] = {}  # otherwise than in order: its last word
        self.begun: float | None = None
        self.ended_at = 0.0

    # -- what is heard

    def join(self, hello: dict) -> Peer:
        """A rank is there."""
        self.begun = self.clock.now if self.begun is None else self.begun
        peer = self.peers[hello['rank']] = Peer(hello, self.clock)
        return peer

    def hear(self, peer: Peer, report: dict) -> None:
        """A report of its watchdog, which may be the last."""
        peer.take(report)
        if report.get('end') == 'done':
            peer.left = peer not in self.ended
        elif 'end' in report:
            self.lose(peer, report)

    def lose(self, peer: Peer, end: dict) -> None:
        """A rank has ended otherwise than in order; only its first last word counts."""
        if peer.left:
            return
        if not self.ended:
            self.ended_at = self.clock.now
        self.ended.setdefault(peer, end)

    def all_left(self) -> bool:
        """Whether all ranks have been there and ended in order."""
        return len(self.peers) == self.size and all(peer.left for peer in self.peers.values())

    # -- what is wrong

    def verdict(self) -> Verdict | None:
        """None while all is well."""
        live = [peer for peer in self.peers.values() if not peer.left]
        for peer in live:
            if peer.silence() > self.timeout:
                self.lose(peer, {'end': 'unreachable'})
        going = [peer for peer in live if peer not in self.ended]
        causes = [peer for peer in self.ended if not self.ended[peer].get('secondary')]
        since = self.clock.now - self.ended_at
        if causes:
            more = since < min(GRACE, self.timeout / 2) and bool(going)
            return None if more else self._cause(causes)
        told = not going and len(self.peers) == self.size
        if self.ended and (told or since > self.timeout + JOIN_SLACK):
            return None, f'the ranks have lost each other {live[0].where()}: the network?'
        return self._frozen(going) or self._missing() or self._late(going) or (
            None if self.ended else self._stuck(live))

    def _cause(self, causes: list[Peer]) -> Verdict:
        """Of the ranks that have ended and not merely lost another one: the first."""
        ends = [self.ended[peer]['end'] for peer in causes]
        if self.size == len(ends) > 1 and set(ends) == {'dead'}:
            return None, (f'all {self.size} ranks died {causes[0].where()} without a word: killed, '
                          'or crashed')
        if 'unreachable' in ends and self._alone():
            return None, f'{self.peers[0].name} reaches no other host: its network is gone'
        # the launcher's end kills the ranks of other hosts, too
        peer = causes[ends.index('orphan') if 'orphan' in ends else 0]
        end = self.ended[peer]
        return peer, ENDS[end['end']].format(name=peer.name, where=peer.where(),
                                             sentence=end.get('sentence'))

    def _alone(self) -> bool:
        """Whether all hosts but the hub's, several, have fallen silent at once."""
        far = [peer for peer in self.peers.values()
               if 0 in self.peers and peer.host != self.peers[0].host and not peer.left]
        unheard = {'end': 'unreachable'}
        return len({peer.host for peer in far}) > 1 and all(
            peer.silence() > self.timeout / 2 and self.ended.get(peer, unheard) == unheard
            for peer in far)

    def _frozen(self, going: list[Peer]) -> Verdict | None:
        """A rank whose watchdog lives, and which gives no sign of life itself."""
        return next((peer.frozen(self.timeout) for peer in going
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

    def _late(self, going: list[Peer]) -> Verdict | None:
        """Somebody has waited too long; for whom?"""
        waiting = [peer for peer in going if peer.report['waiting']]
        if not self.ended and not any(peer.idle() > self.timeout for peer in waiting):
            return None
        # One that gives no sign of life is frozen: that verdict is near, and says more.
        late = [peer for peer in going if peer not in waiting and peer.idle() > self.timeout
                and peer.age() < self.timeout / 4]
        return min(late, key=Peer.behind).late('keeps the others waiting') if late else None

    def _stuck(self, live: list[Peer]) -> Verdict | None:
        """Nobody makes progress: because all wait for each other, or, for very long, nobody does.
        To leave in order is progress."""
        idle = min((peer.idle() for peer in self.peers.values()), default=0.0)
        if len(self.peers) < self.size or not live or idle <= self.timeout:
            return None
        steps = [peer.behind()[0] for peer in live]
        where = (f'at step {steps[0]} (network?)' if min(steps) == max(steps) else
                 f'at different steps ({min(steps)}–{max(steps)})')
        quiet = max(map(Peer.age, live)) > self.timeout / 4 and idle <= 2 * self.timeout
        if all(peer.report['waiting'] for peer in live) and not quiet:
            return None, ('no rank advances: all of them have waited for each other for '
                          f'{self.timeout:g} s {where}')
        if idle <= STALLED * self.timeout:
            return None
        if len(live) == 1:
            return live[0].late('has stalled')
        return None, f'no rank advances: none has made progress for {idle:.0f} s {where}'
