"""A job of ranks, watchdogs and a hub in simulated time, on simulated hosts and networks.

The watchdogs, the hub and its judge are the real ones. What they stand on is not: clocks, sockets,
processes, and the ranks, which do what `launch.heart` and a training loop do.
"""
import collections
import contextlib
import heapq
import itertools
import math
import types
from unittest import mock

import job  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2.launch import hub, protocol, watchdog
from gluon_a2.launch.heart import ALONE

ADDRESS = {'host': 'a', 'port': 1, 'token': 't'}
FOREVER = math.inf


class World:
    """Time, the network, and all processes of one job; `rng` draws every delay."""

    def __init__(self, rng, ranks_of_hosts, timeout, steps):
        self.rng, self.timeout, self.steps, self.now = rng, timeout, steps, 0.0
        self.story, self.verdicts, self.said = [], [], []
        self._events, self._count = [], itertools.count()
        self._blocked = {}  # {(host, host): until when nothing passes}
        self.collectives = collections.defaultdict(set)
        self.latency = rng.choice([0.0005, 0.005, 0.05])
        self.scheduling = rng.choice([0.1, 0.3, 0.05 * timeout])  # s until a process has a core
        # s until Horovod notices a lost rank, and a rank that only does not come
        self.notices = rng.choice([0.1, 0.1, 1, 0.7 * timeout, FOREVER])
        self.patience = rng.choice([FOREVER, FOREVER, 0.3 * timeout, 1.5 * timeout])
        self.troubled = self.broken = False
        self.nan_at = None  # the step
        self.changed = False  # a process has ended
        self.door, self.turning = Door(), None
        names = [host for host, count in ranks_of_hosts.items() for _ in range(count)]
        self.ranks = [Rank(self, number, host) for number, host in enumerate(names)]
        self.guards, self.launcher = [], None

    def begin(self):
        """Start all processes."""
        for rank in self.ranks:
            self.guards.append(Guard(self, rank, len(self.ranks)))
        self.launcher = Launcher(self, 'a')

    def at(self, when, act):
        """Have `act` called then."""
        if when < FOREVER:
            heapq.heappush(self._events, (max(when, self.now), next(self._count), act))

    def run(self, until):
        """Live until all processes have ended; whether they have by then."""
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
            if self.changed:
                self.changed = False
                if not any(process.alive and not process.excused
                           for process in (*self.ranks, *self.guards)):
                    return True
        return False

    def block(self, hosts, others, until=FOREVER):
        """Let nothing pass between hosts and others, in either direction."""
        for pair in itertools.product(hosts, others):
            if pair[0] != pair[1]:
                for way in (pair, pair[::-1]):
                    self._blocked[way] = max(until, self._blocked.get(way, 0))

    def passes(self, here, there):
        """From when on what is sent from here to there can arrive."""
        return max(self.now, self._blocked.get((here, there), 0))

    def note(self, text):
        """A line of the story of this job."""
        self.story.append(f'{self.now:8.3f}  {text}')

    def judge(self, sentence):
        """A verdict, of the hub or of the launcher."""
        self.note(f'verdict: {sentence}')
        self.verdicts.append(sentence)

    def on(self, host):
        """The processes of a host."""
        return [process for process in self.processes() if process.host == host]

    def processes(self):
        """All."""
        return (*self.ranks, *self.guards, self.launcher)

    # ---- collective operations

    def enter(self, rank, name):
        """A rank waits for all others; once they are there, each goes on."""
        here = self.collectives[name]
        here.add(rank)
        if name != 'address':
            self.at(self.now + self.patience, lambda: self.troubled and rank.lose(name))
        lost = [other for other in self.ranks if not other.alive and not other.in_order]
        if lost:
            self.at(self._notice(rank, lost[0]), lambda: rank.lose(name))
        elif len(here) == len(self.ranks):
            self._complete(name)

    def _complete(self, name):
        """All are there: done, unless a rank is frozen or a network is cut meanwhile."""
        hosts = {rank.host for rank in self.ranks}
        ready = FOREVER if self.broken else max(
            [rank.frozen for rank in self.ranks]
            + [self.passes(*pair) for pair in itertools.permutations(hosts, 2)])
        if ready > self.now:
            self.at(ready, lambda: self._complete(name))
        else:
            for rank in self.ranks:
                rank.resume(self.latency + self.rng.random() * self.scheduling, name)

    def lost(self, rank):
        """A rank's process has ended too early; those that wait for it may notice."""
        for other in self.ranks:
            if other.waits_for is not None and other.alive:
                name = other.waits_for
                self.at(self._notice(other, rank), lambda other=other, name=name: other.lose(name))

    # ---- what watchdogs ask the system for

    @contextlib.contextmanager
    def in_place_of_the_system(self):
        """In here, watchdogs and the hub live in this world."""
        sockets = types.SimpleNamespace(
            gethostname=lambda: self.turning.host, create_connection=self._dial, IPPROTO_TCP=0,
            TCP_NODELAY=0)
        with contextlib.ExitStack() as stack:
            for module, changes in (
                    (protocol, {'time': types.SimpleNamespace(monotonic=lambda: self.now)}),
                    (hub, {'Door': lambda *given: self.door}),
                    (watchdog, {'socket': sockets, 'Channel': lambda end: end,
                                'Hub': lambda *given: Centre(self, *given),
                                'say': self.said.append,
                                'is_gone': lambda pid: not self.launcher.alive})):
                stack.enter_context(mock.patch.multiple(module, **changes))
            yield

    def _dial(self, address, seconds):
        """A watchdog connects to the hub."""
        here, there = self.turning, self.guards[0] if self.guards else self.turning
        if here.walled or self.door.closed or not there.alive or (
                self.passes(here.host, there.host) > self.now):
            raise OSError('timed out')
        ours, theirs = connect(self, here, there)
        here.ends.append(ours)
        there.ends.append(theirs)
        self.door.outside.append(theirs)
        return ours

    def _notice(self, rank, lost):
        return self.passes(lost.host, rank.host) + self.notices * self.rng.uniform(0.1, 1)


# ---- the network

class End:
    """One side of a connection, in place of a `Channel` and of its socket."""

    def __init__(self, world, process, host):
        self._world, self._process, self._host = world, process, host
        self.other, self.closed, self._inbox, self._due = None, False, [], 0.0

    def send(self, message=None):
        """Nothing is lost or overtaken on its way, but it may be late, or never come."""
        self._post(dict(message or {}))

    def write(self, content):
        """The token, which no stranger here has."""

    def setsockopt(self, *options):
        """As of a socket."""

    def _post(self, item):
        world, other = self._world, self.other
        if self._host == other._host:
            other._arrive(item)
            return
        when = max(self._due, world.passes(self._host, other._host))
        self._due = when + world.latency * world.rng.random()
        world.at(self._due, lambda: other._arrive(item))

    def _arrive(self, item):
        self._inbox.append(item)
        self._process.notice()

    def receive(self):
        """What has arrived; the end of it is found only when nothing else is left."""
        if self._inbox[:1] == [None]:
            self.closed = True
            return []
        ended = None in self._inbox
        messages = [item for item in self._inbox if item is not None]
        self._inbox = [None] if ended else []
        return messages

    def close(self):
        """Hang up."""
        self.closed = True
        self._post(None)

    def vanish(self):
        """The host is gone, and says nothing any more."""
        self._post = lambda item: None


def connect(world, here, there):
    """Both ends of a connection between processes."""
    ours, theirs = End(world, here, here.host), End(world, there, there.host)
    ours.other, theirs.other = theirs, ours
    return ours, theirs


class Door:
    """In place of the hub's: there are no strangers."""

    def __init__(self):
        self.closed, self.outside = False, []

    def look(self):
        """Who has come in, with the first messages of each."""
        come = [(end, messages) for end in self.outside for messages in [end.receive()] if messages]
        self.outside = [end for end in self.outside
                        if not end.closed and not any(end is one for one, _ in come)]
        return come

    def close(self):
        """Nobody else is to come."""
        self.closed = True


# ---- the processes

class Process:
    """Something on a host that takes turns, unless it is stopped, and ends."""

    def __init__(self, world, host):
        self.world, self.host, self.alive, self.frozen, self._next = world, host, True, 0.0, FOREVER
        self.ends, self.excused = [], False  # whether it may stay when the job is over

    def wake(self, delay=None):
        """Have a turn soon; by then more may have arrived."""
        world = self.world
        when = world.now + (world.rng.random() * world.scheduling if delay is None else delay)
        if when < self._next:
            self._next = when
            world.at(when, self._run)

    notice = wake  # when something has arrived

    def _run(self):
        world = self.world
        if not self.alive or world.now < self._next:
            return
        self._next = FOREVER
        if world.now < self.frozen:
            if self.frozen < FOREVER:
                self.wake(self.frozen - world.now)
            return
        self.turn()

    def stop(self, until=FOREVER):
        """SIGSTOP."""
        self.frozen = max(self.frozen, until)

    def die(self, vanish=False):
        """The process ends; the system closes what it has open, unless its host is gone, too."""
        if not self.alive:
            return
        self.alive, self.world.changed = False, True
        for end in self.ends:
            end.vanish() if vanish else end.close()


class Rank(Process):
    """A training process with its heart."""

    def __init__(self, world, number, host):
        super().__init__(world, host)
        self.number, self.size = number, 0
        self.at, self.beats, self.alone_until = (None, None, False), 0, 0.0
        self.clock, self.heard, self.said, self.joined = None, 0.0, False, False
        self.waits_for, self.doom, self.in_order, self.step = None, None, False, 0
        self._main = self._program()
        self.slow = {}  # {step: s more}

    def begin(self, line):
        """Start, with a watchdog at the other end of `line`."""
        self.line, self.ends = line, [line]
        self.clock = protocol.Clock(self.world.timeout / 5)
        self.wake(0)
        self.world.at(self.world.rng.random() * 3, self._go)

    # -- the heart

    def notice(self):
        """Its next pulse is soon enough."""

    def turn(self):
        """A pulse of the heart."""
        self.clock.tick()
        self.beats += self.world.now < self.alone_until
        for message in self.line.receive() if not self.line.closed else ():
            self.heard = self.clock.now
            if 'joined' in message or 'refused' in message:
                self.joined = self.joined or message
                self.resume(0, 'join')
        if self.said:
            return
        self._send()
        if self.line.closed or self.clock.now - self.heard > self.world.timeout:
            self.world.note(f'rank {self.number}: its watchdog is gone')
            self.die()
        self.wake(self.world.timeout / 20)

    def _send(self):
        step, phase, waiting = self.at
        if not self.said:
            self.line.send({'step': step, 'phase': phase, 'waiting': waiting, 'beats': self.beats,
                            'orphan': False})

    def beat(self, step, phase, waiting=False):
        """Progress."""
        changed, self.at = self.at != (step, phase, waiting), (step, phase, waiting)
        self.beats += 1
        if changed:
            self._send()

    def finish(self, **last_word):
        """Say it, once."""
        if not self.said:
            self.line.send(last_word)
            self.said = True
            self.line.close()
        self.in_order = last_word['end'] == 'done'

    # -- the main thread

    def _go(self):
        """Go on with the program until it waits again."""
        world = self.world
        if not self.alive:
            return
        if world.now < self.frozen:
            world.at(self.frozen, self._go)
            return
        # it comes out of a collective operation first; who has said its last word does no harm
        if self.doom and not self.at[2] and not self.said:
            self._meet(self.doom)
            return
        try:
            what = next(self._main)
        except StopIteration:
            self.die()
            return
        if isinstance(what, str):
            self.waits_for = what
            if what == 'join':
                self.line.send({'join': ADDRESS})
            else:
                world.enter(self, what)
        else:
            world.at(world.now + what, self._go)

    def resume(self, delay, name):
        """What the main thread waited for has come."""
        if self.waits_for == name:
            self.waits_for = None
            self.world.at(self.world.now + delay, self._go)

    def lose(self, name):
        """A collective operation fails, where this rank still waits in it."""
        if self.waits_for != name or not self.alive:
            return
        self.waits_for = None
        if self.world.now < self.frozen:
            self.waits_for = name
            self.world.at(self.frozen, lambda: self.lose(name))
            return
        self.world.note(f'rank {self.number} loses the others in {name}')
        self.finish(end='failed', sentence=f'rank {self.number} lost the others', secondary=True)
        self.world.at(self.world.now + self.world.timeout, self.crash)

    def crash(self):
        """The process ends, and the others may notice."""
        if self.alive:
            self.die()
            self.world.lost(self)

    def _meet(self, doom):
        if doom == 'raises':
            self.finish(end='failed', sentence=f'rank {self.number}: a defect', secondary=False)
            self.crash()
        elif doom == 'exits':
            self.finish(end='early')
            self.crash()
        # else it sleeps

    def _program(self):
        world, rng = self.world, self.world.rng
        yield 'address'
        yield 'join'
        if 'refused' in self.joined:
            self.finish(end='failed', sentence=self.joined['refused'], secondary=False)
            yield 0.01
            world.said.append(self.joined['refused'])
            self.crash()
            return
        for self.step in range(world.steps):
            for phase in ('data', 'compute'):
                self.beat(self.step, phase)
                yield min(0.2, rng.expovariate(16)) * world.timeout + self.slow.pop(self.step, 0)
            yield from self._together(f'step {self.step}')
            if self.step == world.nan_at:
                self.finish(end='done')
                return
            if self.step == world.steps // 2:
                yield from self._validate()
        if not self.number:
            self.alone_until = world.now + ALONE * world.timeout
            yield rng.random() * 2 * world.timeout
            self.alone_until = 0.0
        yield from self._together('exported')
        self.finish(end='done')
        yield rng.random()

    def _validate(self):
        world, rng = self.world, self.world.rng
        for _ in range(rng.randint(1, 3)):
            self.beat(self.step, 'validation')
            yield rng.random() * 0.6 * world.timeout
        yield from self._together('validated')

    def _together(self, name):
        step, phase, _ = self.at
        self.beat(step, 'waiting for the others', True)
        yield name
        self.beat(step, phase)


class Launcher(Process):
    """What `launch.launcher` does for ranks that nobody watches any more: once one has ended in
    order, or one here is stopped after its last word, all may take the timeout to end."""

    def __init__(self, world, host):
        super().__init__(world, host)
        self.clock, self.deadline = protocol.Clock(1), FOREVER
        self.wake(1)

    def turn(self):
        """A look at the ranks, and another one in a second."""
        self.clock.tick()
        ranks, now = self.world.ranks, self.clock.now
        if self.deadline == FOREVER and any(
                rank.in_order and not (rank.alive and (
                    guard.alive or rank.host != self.host or rank.frozen < self.world.now))
                for rank, guard in zip(ranks, self.world.guards)):
            self.deadline = now + self.world.timeout
        for rank in ranks if now > self.deadline else ():
            if rank.alive:
                self.world.judge(f'rank {rank.number} has not ended with the others')
                self.world.at(self.world.passes(self.host, rank.host), rank.crash)
        if now <= self.deadline:
            self.wake(1)


class Guard(watchdog.Watchdog, Process):
    """The real watchdog, as a process of this world."""

    def __init__(self, world, rank, size):
        Process.__init__(self, world, rank.host)
        self.subject, world.turning = rank, self
        line, theirs = connect(world, self, rank)
        self.walled = False  # it cannot reach the hub
        watchdog.Watchdog.__init__(self, line, {
            'rank': rank.number, 'size': size, 'timeout': world.timeout, 'pid': rank.number,
            'token': 't', 'folder': None, 'listener': None if rank.number else 0,
            'launcher': 1 if rank.host == 'a' else None})
        rank.begin(theirs)
        self.ends = [line]
        self.wake()

    def turn(self):
        """A round, and another one soon."""
        self.world.turning = self
        watchdog.Watchdog.turn(self)
        if self.finished and (self.hub is None or self.hub.finished):
            self.die()
        else:
            self.wake(min(1, self.world.timeout / 10) * self.world.rng.uniform(0.3, 1))

    def gone(self):
        """Whether the rank is."""
        return not self.subject.alive

    def kill(self):
        """SIGKILL."""
        if self.subject.alive:
            self.subject.crash()


class Centre(hub.Hub):
    """The real hub, whose verdicts are noted."""

    def __init__(self, world, given, clock):
        super().__init__(given, clock)
        self.world = world

    def _tell(self, peer, sentence):
        self.world.judge(sentence)
