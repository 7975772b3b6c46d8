"""Tell a dead, frozen or slow rank from a busy one, and bring the whole job down when one is lost.

Horovod notices a dead rank, but waits for a frozen or a slow one. So every rank starts a watchdog:
a small process in a session of its own, which no signal to the rank reaches. The watchdog of rank 0
is also the hub, a TCP server to which all watchdogs connect. JSON lines go both ways everywhere:

    rank      -> watchdog  {step, phase, waiting, beats, orphan} at each change and every
    timeout/20, {end: how}, {join} watchdog  -> rank      {} every timeout/20, {joined} or {refused:
    sentence} watchdog  -> hub       {token, rank, host, …} once, then {step, phase, waiting, age,
    idle} and {end: how} hub       -> watchdog  {joined}, {} as a pulse, {verdict: sentence}, {bye}

`age` is the time since the rank's last sign of life, `idle` the time since its last progress; times
are seconds. At a verdict the hub prints one line and writes fault.json, and each watchdog kills its
rank, which works on a stopped process too. Only the standard library is imported: a watchdog starts
in a few hundredths of a second.
"""
import atexit
import contextlib
import hmac
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..errors import UserError
from ..files import write_whole

GRACE = 1          # s in which the first report of an end may be followed by its cause
LINGER = 3         # s after a verdict, at most, until the hub leaves
JOIN_SLACK = 3     # s beyond the timeout for all ranks to join
STALLED = 30       # timeouts without progress anywhere
STRANGERS = 64     # connections that have not shown the token, at once
HELLO = 5          # s a connection may take to show it
LONGEST = 1 << 16  # bytes in a line
BACKLOG = 4096     # bytes that a rank keeps for a watchdog that is behind
WAITING = 'waiting for the others'


# ---- parts that the rank and its watchdog share

class Clock:
    """Seconds that this process has lived through: one leap, as when it was suspended, counts as
    `longest` at most.

    So a laptop that wakes up, or a job that the scheduler suspended as a whole, finds nobody
    overdue.
    """

    def __init__(self, longest):
        self.now, self._longest, self._last = 0.0, longest, time.monotonic()

    def tick(self):
        """Advance `now`; to be called in every turn of a loop."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, self._longest)


class Channel:
    """JSON objects, one a line, over a socket that never blocks; `closed` once the other side is
    gone."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.socket, self.closed = sock, False
        self._in = self.backlog = b''

    def fileno(self):
        return self.socket.fileno()

    def send(self, message=None):
        """Queue a message (an empty one is a sign of life) and write what the other side takes."""
        self.backlog += json.dumps(message or {}).encode() + b'\n'
        self.flush()

    def flush(self):
        try:
            self.backlog = self.backlog[self.socket.send(self.backlog):]
        # goes with a later one; whoever does not read is silent as well, and judged by that
        except BlockingIOError:
            pass
        # what the other side wrote before it left can still be read, so receive() says when it is
        # gone
        except OSError:
            self.backlog = b''

    def receive(self):
        """The messages that have arrived."""
        try:
            content = self.socket.recv(LONGEST)
        except BlockingIOError:
            return []
        except OSError:
            content = b''
        *lines, self._in = (self._in + content).split(b'\n')
        self.closed = not content or len(self._in) > LONGEST
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            messages, self.closed = [], True
        return [message for message in messages if isinstance(message, dict)]

    def close(self):
        self.closed = True
        self.socket.close()


def _say(sentence):
    """One line on stderr; whether anybody still reads it must not keep a watchdog from its work."""
    with contextlib.suppress(OSError, ValueError):
        print(f'error: {sentence}', file=sys.stderr, flush=True)


# ---- the rank's side

class Heart:
    """A rank's connection to its watchdog, which it starts.

    timeout: seconds without a sign of life, or without progress while others wait, that make a
    fault. folder: the run folder; where it exists, the hub writes fault.json into it.

    A context manager: leaving the block in order is `done()`, by an exception `fail()`.
    """

    def __init__(self, rank, size, timeout, folder=None):
        self.rank, self.size, self.timeout = rank, size, timeout
        self._pid, self._parent = os.getpid(), os.getppid()
        self._at, self._beats = (None, None, False), 0
        self._lock, self._ended, self._reply = threading.RLock(), threading.Event(
        ), threading.Event()
        self._refused = None
        self._listener = _listen() if rank == 0 else None
        self._token = os.urandom(16).hex()
        ours, theirs = socket.socketpair()
        self._line = Channel(ours)
        self._process = self._start(theirs)
        theirs.close()
        launched = 'GLUON_A2_LAUNCH' in os.environ
        self._line.send({
            'rank': rank, 'size': size, 'timeout': timeout, 'pid': self._pid, 'token': self._token,
            'folder': folder and str(Path(folder).resolve()), 'alone': size == 1 and not launched,
            'listener': self._listener and self._listener.fileno()
        })
        if self._listener:
            self._port = self._listener.getsockname()[1]
            self._listener.close()
        self._thread = threading.Thread(target=self._pulse, name='heart', daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    def _start(self, theirs):
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get('PYTHONPATH'))))
        return subprocess.Popen([
            sys.executable, '-m', 'gluon_a2.launch.watchdog', f'of-rank-{self.rank}'
        ], stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True, env=dict(
            os.environ, PYTHONPATH=path), cwd='/',
                                pass_fds=[self._listener.fileno()] if self._listener else [])

    def serve(self):
        """Rank 0 only: the hub's address, to be broadcast and given to `join`; JSON-able."""
        return {'host': _address(), 'port': self._port, 'token': self._token}

    def join(self, address):
        """Connect the watchdog to the hub at `address`; UserError where that fails for `timeout`
        seconds."""
        with self._lock:
            self._line.send({'join': address})
        answered = self._reply.wait(self.timeout + JOIN_SLACK)
        if self._refused or not answered:
            raise UserError(self._refused or f'the watchdog of rank {self.rank} does not answer: '
                                             'start the run again')

    def beat(self, step, phase):
        """Progress: `phase` of `step` goes on. About 20 µs where one of them changed, else 1 µs."""
        self._set(step, phase, False)

    def waiting(self, step):
        """From now until the next `beat` this rank waits for all others."""
        self._set(step, WAITING, True)

    def fail(self, sentence, secondary=False):
        """This rank is about to end with an error; `secondary` if it has only lost the others."""
        self._finish({'end': 'failed', 'sentence': str(sentence), 'secondary': secondary})

    def done(self):
        """This rank ends in order; what happens to it afterwards is no fault."""
        self._finish({'end': 'done'})

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.done()
        elif kind is not SystemExit:  # which atexit reports, unless fail() or done() came first
            self.fail(_told(error))

    def _set(self, step, phase, waiting):
        at = step, phase, waiting
        changed, self._at, self._beats = at != self._at, at, self._beats + 1
        if changed:
            self._send()

    def _send(self):
        with self._lock:
            if self._ended.is_set():
                return
            self._line.flush()
            if len(self._line.backlog) < BACKLOG:  # else a later pulse says it
                step, phase, waiting = self._at
                self._line.send({
                    'step': step, 'phase': phase, 'waiting': waiting, 'beats': self._beats,
                    'orphan': os.getppid() != self._parent
                })

    def _pulse(self):
        interval, clock, heard = self.timeout / 20, Clock(self.timeout / 5), 0
        while not self._ended.is_set():
            ready = select.select([self._line], [], [], interval)[0]
            clock.tick()
            if ready and self._hear():
                heard = clock.now
            self._send()
            if self._ended.is_set():
                return
            if self._line.closed or clock.now - heard > self.timeout:
                # The main thread may be inside a collective that never returns: no exception would
                # reach it.
                how = 'has ended' if self._line.closed else f'gave no sign of life for {self.timeout:g} s'
                _say(f'the watchdog of rank {self.rank} {how}: ending this rank, since nothing '
                     'watches it any more')
                os._exit(1)

    def _hear(self):
        messages = self._line.receive()
        for message in messages:
            if 'joined' in message or 'refused' in message:
                self._refused = message.get('refused')
                self._reply.set()
        return messages

    def _finish(self, message):
        """Say the last word, once: what comes later is a consequence."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            self._line.socket.settimeout(1)  # this one should arrive, behind whatever is queued
            with contextlib.suppress(OSError):  # without a watchdog there is nobody to tell
                self._line.socket.sendall(self._line.backlog + json.dumps(message).encode() + b'\n')
                self._line.socket.shutdown(socket.SHUT_WR)
        atexit.unregister(self._at_exit)
        if threading.current_thread() is not self._thread:
            self._thread.join(1)
        self._line.close()
        # the hub stays for the others
        if message['end'] == 'done' and (self.rank or self.size == 1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def _at_exit(self):
        """The interpreter ends and neither `done` nor `fail` was called: sys.exit, or an exception
        nobody caught."""
        if os.getpid() != self._pid:  # a forked child has inherited this hook
            return
        error = getattr(sys, 'last_value', None)
        self._finish({'end': 'early'} if error is None else
                     {'end': 'failed', 'sentence': _told(error), 'secondary': False})


def _told(error):
    """An exception as a sentence."""
    return str(error) if isinstance(error,
                                    (UserError, OSError)) else f'{type(error).__name__}: {error}'


def _one_machine():
    """Whether all ranks share this machine, as the launcher says; a process without a launcher is
    alone."""
    return os.environ.get('HOROVOD_SIZE') == os.environ.get('HOROVOD_LOCAL_SIZE')


def _listen():
    listener = socket.socket()
    listener.bind(('127.0.0.1' if _one_machine() else '', 0))
    listener.listen(128)
    return listener


def _address():
    """Where the other machines find this one."""
    if _one_machine():
        return '127.0.0.1'
    named = os.environ.get('HOROVOD_HOSTNAME', '')
    if named and named != 'localhost' and not named.startswith('127.'):
        return named
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith('127.'):
            return address
    # Debian maps the host's own name to a loopback address, so take the address that faces the
    # launcher's machine.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:  # sends nothing
        towards.connect((os.environ.get('HOROVOD_GLOO_RENDEZVOUS_ADDR', '127.0.0.1'), 9))
        return towards.getsockname()[0]


# ---- the watchdog process

class Guard:
    """The watch over one rank, this process's parent."""

    def __init__(self, line, given):
        self.rank, self.timeout, self.pid, self.alone = (given[key] for key in ('rank', 'timeout',
                                                                                'pid', 'alone'))
        self.line, self.clock, self.host = line, Clock(self.timeout / 5), socket.gethostname()
        self.hub = Hub(given, self.clock) if given['listener'] is not None else None
        self.at, self.beats = {'step': None, 'phase': None, 'waiting': False}, 0
        self.heard = self.moved = self.pulsed = self.reported = self.link_heard = 0  # times
        self.address = self.join_by = self.link = self.ended = self.kill_at = None
        self.finished = False

    def run(self):
        """Watch until the rank has ended, and as the hub until all have."""
        tick = min(0.1, self.timeout / 20)
        while not (self.finished and (self.hub is None or self.hub.finished)):
            channels = [
                channel for channel in (self.line, self.link) if channel and not channel.closed
            ]
            select.select(channels + (self.hub.channels() if self.hub else []), [], [], tick)
            self.clock.tick()
            if not self.finished:
                self.watch()
                self.talk()
                self.leave()
            if self.hub:
                self.hub.turn()

    # -- the rank

    def gone(self):
        """The kernel gives this process another parent the moment its rank ends."""
        return os.getppid() != self.pid

    def kill(self):
        if not self.gone():  # so the number still means the rank
            os.kill(self.pid, signal.SIGKILL)

    def watch(self):
        """Take in what the rank says, and notice its end."""
        now, gone = self.clock.now, self.gone()
        while not self.line.closed:  # all of it: the last word may stand behind many pulses
            messages = self.line.receive()
            for message in messages:
                self.hear(message, now)
            if not messages:
                break
        if self.ended is None and (gone or self.line.closed):
            self.end({'end': 'dead'})
        if self.alone and now - self.heard > self.timeout / 2:
            self.heard = self.moved = now  # suspended from the terminal, and nobody waits for it
        if self.ended is None and now - self.pulsed >= self.timeout / 20:
            self.pulsed = now
            self.line.send()

    def hear(self, message, now):
        if self.ended:
            return
        if 'join' in message:
            self.address, self.join_by = message['join'], now + self.timeout
        elif 'end' in message:
            self.end(message)
        else:
            self.heard = now
            if message['beats'] != self.beats:
                self.beats, self.moved = message['beats'], now
            self.at = {key: message[key] for key in self.at}
            if message['orphan'] and not self.alone:
                self.kill()
                self.end({'end': 'orphan'})

    def end(self, how):
        """The rank's last word, its own or said for it."""
        self.ended = how
        self.line.close()
        if self.link:
            self.report()
        else:
            self.end_unmet(how['end'])

    def end_unmet(self, how):
        """Nobody but its own watchdog knows of this rank yet."""
        self.finished = True
        if self.hub:
            self.hub.finished = True
        if how not in ('done', 'failed'):  # who fails says so itself
            _say(ENDS[how].format(name=f'rank {self.rank} on {self.host}', where='before it met '
                                                                                 'the others'))

    # -- the hub

    def report(self):
        self.reported = self.clock.now
        self.link.send({
            **self.at, 'age': self.clock.now - self.heard, 'idle': self.clock.now - self.moved,
            **(self.ended or {})
        })

    def talk(self):
        """Say how the rank is, and hear what the hub has to say."""
        if self.link is None:
            if self.address and not self.finished:
                self.connect()
            return
        now = self.clock.now
        for message in self.link.receive() if not self.link.closed else ():
            self.link_heard = now
            if 'joined' in message and self.ended is None:
                self.line.send(message)
            elif 'verdict' in message:  # a rank that ends by itself may finish that
                self.kill_at = now + (GRACE if self.ended else 0)
            elif 'bye' in message:
                self.finished = True
        if now - self.reported >= min(1, self.timeout / 10) and self.ended is None:
            self.report()
        lost = self.link.closed or now - self.link_heard > self.timeout
        if lost and self.kill_at is None and not self.finished:
            if self.ended != {'end': 'done'}:
                _say(f'rank {self.rank} on {self.host} has lost the watchdog of rank 0: ending '
                     'this rank too')
            self.kill_at = now

    def connect(self):
        address, now = self.address, self.clock.now
        try:
            sock = socket.create_connection((address['host'], address['port']),
                                            min(1, self.timeout / 4))
        except OSError as error:
            if now > self.join_by:
                self.address = None
                self.line.send({'refused': (
                    f'rank {self.rank} on {self.host} cannot reach rank 0 at '
                    f'{address["host"]}:{address["port"]} ({error}): mend the network or the '
                    'firewall, or name the network with --network-interface')})
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link, self.link_heard = Channel(sock), now
        self.link.send({'token': address['token'], 'rank': self.rank, 'host': self.host, **self.at,
                        'age': 0, 'idle': 0})

    def leave(self):
        """After a verdict: kill the rank, and go once it is gone (or cannot even be killed)."""
        if self.kill_at is None or self.clock.now < self.kill_at and not self.gone():
            return
        if self.ended != {'end': 'done'}:
            self.kill()
        if self.gone() or self.ended == {'end': 'done'} or self.clock.now > self.kill_at + LINGER:
            self.finished = True
            self.link.close()


# ---- the hub

ENDS = {
    'dead': '{name} died {where} without a word: killed, crashed, or out of memory',
    'early': '{name} ended early {where}, without finishing',
    'failed': '{name}: {sentence}',
    'orphan': '{name} was ended {where}: the launcher is gone',
    'unreachable': '{name} cannot be reached: its watchdog, its machine or the network is gone',
}


class Peer:
    """What the hub knows of one rank."""

    def __init__(self, channel, hello, now):
        self.channel, self.rank, self.host = channel, hello['rank'], hello['host']
        self.left = False
        self.take(hello, now)

    def take(self, report, now):
        self.report, self.heard = report, now

    def age(self, now):
        """Seconds since the rank's last sign of life."""
        return self.report['age'] + now - self.heard

    def idle(self, now):
        """Seconds since its last progress."""
        return self.report['idle'] + now - self.heard

    def name(self):
        return f'rank {self.rank} on {self.host}'

    def where(self):
        step, phase = self.report['step'], self.report['phase']
        return 'before its first step' if step is None else f'at step {step} ({phase})'


class Hub:
    """The judge over all ranks; lives in the watchdog of rank 0."""

    def __init__(self, given, clock):
        self.size, self.timeout, self.folder, self.token = (given[key] for key in (
            'size', 'timeout', 'folder', 'token'))
        self.listener, self.clock = socket.socket(fileno=given['listener']), clock
        self.listener.setblocking(False)
        self.peers, self.strangers = {}, {}  # rank: Peer; Channel: when it is shown the door
        self.ended, self.ended_at = [], None  # [(peer, {end: …})] in order of arrival
        self.begun = self.verdict_at = None
        self.pulsed, self.finished = 0, False

    def channels(self):
        """What to wait for."""
        return [self.listener, *self.strangers, *(peer.channel for peer in self.peers.values()
                                                  if not peer.channel.closed)]

    def turn(self):
        """One round: listen, judge, give signs of life."""
        self.accept()
        self.admit()
        self.listen()
        if self.verdict_at is None:
            found = self.judge()
            if found:
                self.condemn(*found)
        self.pulse()
        everyone = self.peers.values()
        if self.verdict_at is not None:
            late = self.clock.now > self.verdict_at + LINGER
            self.finished = late or all(peer.channel.closed for peer in everyone)
        elif len(self.peers) == self.size and all(peer.left for peer in everyone):
            self.finished = True

    # -- who is there

    def accept(self):
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                sock = self.listener.accept()[0]
                if len(self.strangers) < STRANGERS:
                    self.strangers[Channel(sock)] = self.clock.now + HELLO
                else:
                    sock.close()

    def admit(self):
        """Strangers who know the token become peers; the others are left outside."""
        for channel, until in list(self.strangers.items()):
            hello, *reports = channel.receive() or [None]
            if hello is None and not channel.closed and self.clock.now < until:
                continue
            del self.strangers[channel]
            if hello and hmac.compare_digest(str(hello.get('token')).encode(), self.token.encode()) \
                    and hello['rank'] not in self.peers:
                peer = self.peers[hello['rank']] = Peer(channel, hello, self.clock.now)
                self.begun = self.clock.now if self.begun is None else self.begun
                channel.send({'joined': True})
                self.take(peer, reports)
            else:
                channel.close()

    def listen(self):
        for peer in self.peers.values():
            if peer.channel.closed:
                continue
            self.take(peer, peer.channel.receive())
            silent = self.clock.now - peer.heard > self.timeout
            if (peer.channel.closed or silent) and not peer.left and self.verdict_at is None:
                self.note(peer, {'end': 'unreachable'})

    def take(self, peer, reports):
        for report in reports:
            peer.take(report, self.clock.now)
            if report.get('end') == 'done':
                peer.left = True
                peer.channel.send({'bye': True})
            elif 'end' in report:
                self.note(peer, report)

    def note(self, peer, end):
        """A rank has ended otherwise than in order; only its first report counts."""
        if all(peer is not known for known, _ in self.ended):
            self.ended.append((peer, end))
            self.ended_at = self.clock.now if self.ended_at is None else self.ended_at

    def pulse(self):
        if self.clock.now - self.pulsed >= min(1, self.timeout / 10):
            self.pulsed = self.clock.now
            for peer in self.peers.values():
                if not peer.channel.closed:
                    peer.channel.send()

    # -- what is wrong

    def judge(self):
        """(the Peer at fault or None, sentence), or None while all is well."""
        live = [peer for peer in self.peers.values() if not peer.left]
        if self.ended:
            if self.clock.now - self.ended_at < min(GRACE, self.timeout / 2) and len(
                    self.ended) < len(live):
                return None
            return self.root_cause(live)
        now = self.clock.now
        return self.frozen(live, now) or self.missing(now) or self.slow(live, now) or self.stalled(
            live, now)

    def root_cause(self, live):
        """Of the ranks that ended: the first that was not merely a consequence."""
        if len(self.ended) == self.size > 1 and all(end['end'] == 'dead' for _, end in self.ended):
            peer = self.ended[0][0]
            return None, f'all {self.size} ranks died {peer.where()} without a word: killed, or crashed'
        causes = [(peer, end) for peer, end in self.ended if not end.get('secondary')]
        known = [peer for peer, _ in self.ended]
        # Horovod may lose patience with a frozen rank before we do
        for peer in live if not causes else ():
            if peer not in known and peer.age(self.clock.now) > self.timeout / 4:
                return peer, (f'{peer.name()} is frozen: no sign of life for '
                              f'{peer.age(self.clock.now):.0f} s {peer.where()}')
        peer, end = (causes or self.ended)[0]
        return peer, ENDS[end['end']].format(name=peer.name(), where=peer.where(),
                                             sentence=end.get('sentence'))

    def frozen(self, live, now):
        for peer in live:
            # its watchdog is not
            if peer.age(now) > self.timeout and now - peer.heard < self.timeout / 2:
                return peer, f'{peer.name()} is frozen: no sign of life for {self.timeout:g} s {peer.where()}'
        return None

    def missing(self, now):
        if len(self.peers
               ) == self.size or self.begun is None or now - self.begun < self.timeout + JOIN_SLACK:
            return None
        rank = min(set(range(self.size)) - set(self.peers))
        return None, f'rank {rank} cannot be reached: it has not joined the others within {now - self.begun:.0f} s'

    def slow(self, live, now):
        """Somebody has waited too long; for whom?"""
        waiting = [peer for peer in live if peer.report['waiting']]
        if not any(peer.idle(now) > self.timeout for peer in waiting):
            return None
        if len(waiting) == len(live):
            return self.deadlock(waiting, now)
        # One that gives no sign of life is frozen: that verdict is near, and says more.
        late = [peer for peer in live if peer not in waiting and peer.idle(now) > self.timeout
                and peer.age(now) < self.timeout / 4]
        if not late:
            return None
        peer = min(late, key=lambda peer: self.advance(peer, now))
        return peer, (f'{peer.name()} keeps the others waiting: no progress for '
                      f'{peer.idle(now):.0f} s {peer.where()}')

    def deadlock(self, waiting, now):
        if len(self.peers) < self.size or min(peer.idle(now) for peer in waiting) <= self.timeout:
            return None
        steps = sorted({peer.report['step'] for peer in waiting})
        where = f'at step {steps[0]} (network?)' if len(
            steps) == 1 else f'at different steps ({steps[0]}–{steps[-1]})'
        return None, f'no rank advances: all of them have waited for each other for {self.timeout:g} s {where}'

    def stalled(self, live, now):
        if not live or min(peer.idle(now) for peer in live) <= STALLED * self.timeout:
            return None
        peer = min(live, key=lambda peer: self.advance(peer, now))
        return peer, f'{peer.name()} has stalled: no progress for {peer.idle(now):.0f} s {peer.where()}'

    @staticmethod
    def advance(peer, now):
        """A key that sorts the ranks that are furthest behind to the front."""
        step = peer.report['step']
        return -1 if step is None else step, -peer.idle(now)

    # -- the end

    def condemn(self, peer, sentence):
        """Tell everybody, write it down, and let each watchdog end its rank."""
        self.verdict_at = self.clock.now
        # A thread, since a terminal or a file system that hangs must not keep the ranks alive.
        telling = threading.Thread(target=self.tell, args=(peer, sentence), daemon=True)
        telling.start()
        telling.join(1)
        for other in self.peers.values():
            if not other.channel.closed:
                other.channel.send({'verdict': sentence})

    def tell(self, peer, sentence):
        _say(sentence)
        if self.folder and os.path.isdir(self.folder):  # a run that came to nothing has removed it
            report = peer.report if peer else {'step': None, 'phase': None}
            write_whole(
                Path(self.folder) / 'fault.json',
                json.dumps(
                    {
                        'rank': peer and peer.rank, 'host': peer and peer.host,
                        'step': report['step'], 'phase': report['phase'], 'reason': sentence,
                        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z')
                    }, indent=1).encode())


def main():
    """The watchdog process: its rank is at the other end of stdin, which first says what to
    watch."""
    # sent to all of a job, they are for the rank to act on
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    line = Channel(socket.socket(fileno=0))
    while not line.closed:
        select.select([line], [], [])
        given, *early = line.receive() or [None]
        if given:
            guard = Guard(line, given)
            for message in early:
                guard.hear(message, 0)
            guard.run()
            return


if __name__ == '__main__':
    main()
