#!/usr/bin/env python3
"""Do hostile bytes end, crash or fool the hub of a job? From strangers, and from a rank that shows
the token.

    python proofs/fuzz_hub.py

Message `i` of seed `s` is always the same bytes. Even ones come from strangers, who do not have the
token, to a hub that one rank of two has joined; odd ones from rank 1 of two, which shows the token
and sends them as its first message or as a report. All go through real sockets; the clock is moved
by hand.

    sent_away   the hub hung up, and the job goes on
    ended       the job ended by a verdict that names the sender: only a rank can cause that
    exceptions  the hub would have died
    harmed      a stranger changed anything, or a rank had another one or nobody blamed

Prints and keeps `fuzz_hub.csv`, and ends with 1 after an exception or harm.
"""
import collections
import contextlib
import json
import random
import resource
import socket
import sys
import time
from pathlib import Path

import job  # noqa: F401 (it makes bench importable)
from bench import at_least, keep
from change_bytes import flip_bits

from gluon_a2.cli import entry, parser
from gluon_a2.launch import hub, protocol

TOKEN = '0123456789abcdef' * 2
REPORT = {'step': 3, 'phase': 'compute', 'waiting': False, 'age': 0.1, 'idle': 0}
STEP = 0.05  # s that a turn of the hub takes by its clock
COLUMNS = ('messages', 'sent_away', 'ended', 'exceptions', 'harmed')


def hello(rank):
    """What a rank says first, after the token."""
    return {'rank': rank, 'host': f'h{rank}', 'name': f'rank {rank} on h{rank}', **REPORT}


# ---- what is sent

def _line(message):
    return json.dumps(message).encode() + b'\n'


def _value(rng):
    """A JSON value that no watchdog would send, as text."""
    return rng.choice([
        'null', 'true', '-1', '0.5', '1e999', '-1e999', 'NaN', 'Infinity',
        '1' * rng.randint(9, 9999), '"\\ud800"', '"\\u0000\\u001b[2J"', '9007199254740993',
        json.dumps('x' * rng.randint(200, 60000)), '[]', '{}', '[' * 99 + ']' * 99,
        '{"a":' * 50 + '1' + '}' * 50, '"failed"', '"done"'])


def noise(rng, sound):
    """Random bytes."""
    return bytes(rng.getrandbits(8) for _ in range(rng.randint(1, 300)))


def cut(rng, sound):
    """The beginning of a sound message."""
    return sound[:rng.randrange(len(sound))] + b'\n' * rng.randint(0, 1)


def flip(rng, sound):
    """A sound message with some bits changed."""
    return flip_bits(sound, rng)


def replace(rng, sound):
    """A sound message with another value for one or two keys."""
    fields = {key: json.dumps(value) for key, value in json.loads(sound).items()}
    fields.update(rng.choice([{}, {'end': '"failed"', 'sentence': '"s"'}, {'end': '"dead"'}]))
    for _ in range(rng.randint(1, 2)):
        fields[rng.choice(sorted(fields))] = _value(rng)
    return ('{' + ', '.join(f'"{key}": {value}' for key, value in fields.items()) + '}\n').encode()


def remove(rng, sound):
    """A sound message without some of its keys."""
    message = json.loads(sound)
    for key in rng.sample(sorted(message), rng.randint(1, len(message))):
        del message[key]
    return _line(message)


def nest(rng, sound):
    """Brackets that a recursive reader does not survive."""
    return rng.choice([b'[', b'{"a":', b'[[[{"rank":']) * rng.randint(900, 20000) + b'\n'


def many(rng, sound):
    """Thousands of small messages."""
    return rng.choice([b'{}\n', b'[]\n', b'\n', b'1\n', sound]) * rng.randint(100, 700)


def long(rng, sound):
    """A line beyond all bounds."""
    return rng.choice([b'\0', b' ', b'"', b'9']) * rng.randint(1 << 14, 1 << 17)


def token_inside(rng, sound):
    """The token inside a message, where it was before 0.2."""
    return _line({'token': rng.choice([TOKEN, '\ud800', None, ['x']]), **json.loads(sound)})


def almost(rng, sound):
    """A token that is nearly right, before a sound message."""
    at = rng.randrange(len(TOKEN))
    return rng.choice([TOKEN[:at], TOKEN.upper(), TOKEN[:at] + 'x' + TOKEN[at + 1:], TOKEN[::-1],
                       ' ' + TOKEN]).encode() + sound


KINDS = noise, cut, flip, replace, remove, nest, many, long, token_inside, almost


def make(seed, number):
    """(sender, whether it is a first message, kind, bytes) of a number."""
    rng = random.Random(f'{seed} {number}')
    kind, first = KINDS[number // 2 % len(KINDS)], rng.random() < 0.5
    sound = _line(hello(1) if first else REPORT)
    return ('stranger', 'rank')[number % 2], first, kind.__name__, kind(rng, sound)


# ---- to whom

class ByHand:
    """A clock that stands still between turns."""

    def __init__(self):
        self.now = 0.0


class Attacked(contextlib.ExitStack):
    """A hub that rank 0 of two has joined."""

    def __init__(self):
        super().__init__()
        listener = self.enter_context(socket.socket())
        listener.bind(('127.0.0.1', 0))
        listener.listen(64)
        self.address = listener.getsockname()
        self.hub = hub.Hub({'size': 2, 'timeout': 20, 'folder': None, 'token': TOKEN,
                            'listener': listener.detach()}, ByHand())
        self.callback(self._hang_up)
        self.first = self.call(TOKEN.encode() + _line(hello(0)))
        self.turn()
        assert list(self.hub.judge.peers) == [0]

    def call(self, content):
        """A connection that sends this, or as much of it as is taken."""
        sock = self.enter_context(socket.create_connection(self.address, 5))
        self.say(sock, content)
        return sock

    @staticmethod
    def say(sock, content):
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.send(content)

    def turn(self, times=3):
        """Some rounds of the hub, in which rank 0 goes on to report."""
        for _ in range(times):
            self.hub.clock.now += STEP
            self.hub.turn()

    def _hang_up(self):
        self.hub.door.close()
        self.hub.clock.now += STEP
        for line in self.hub.channels():
            line.close()


def _gone(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def from_strangers(contents):
    """What these messages did, all at once: [one of COLUMNS, or '' for nothing]."""
    with Attacked() as attacked:
        callers = [attacked.call(content) for content in contents]
        attacked.turn()
        state, sent_away = attacked.hub, [_gone(caller) for caller in callers]
        harmed = list(state.judge.peers) != [0] or state.judge.ended or state.verdict_at is not None
        return ['harmed' if harmed else 'sent_away' if gone else '' for gone in sent_away]


def from_rank(content, first):
    """What this first message or report of rank 1 did, in a list as above."""
    with Attacked() as attacked:
        judged, condemn = [], attacked.hub._condemn

        def note(peer, sentence):
            judged.append(peer)
            condemn(peer, sentence)
        attacked.hub._condemn = note
        start = TOKEN.encode() + (b'' if first else _line(hello(1)))
        caller = attacked.call(start + content)
        attacked.turn(2)
        Attacked.say(attacked.first, _line(REPORT))
        attacked.hub.clock.now += protocol.GRACE
        attacked.turn(2)
        if judged:
            return ['ended' if judged[0] and judged[0].rank == 1 else 'harmed']
        return ['sent_away' if _gone(caller) else '']


def attack(numbers, seed):
    """Rows, one a sender and kind of message, of how many did what."""
    counts, slowest = collections.Counter(), collections.Counter()
    crowd = collections.defaultdict(list)  # strangers of a kind come twenty at a time
    say, hub.say = hub.say, lambda sentence: None
    try:
        for number in numbers:
            sender, first, kind, content = make(seed, number)
            key = sender, kind
            if sender == 'rank':
                _count(counts, slowest, key, from_rank, content, first)
                continue
            crowd[key].append(content)
            if len(crowd[key]) == 20:
                _count(counts, slowest, key, from_strangers, crowd.pop(key))
        for key in list(crowd):
            _count(counts, slowest, key, from_strangers, crowd.pop(key))
    finally:
        hub.say = say
    return [{'sender': sender, 'kind': kind, **{name: counts[sender, kind, name]
                                                for name in COLUMNS},
             'slowest_ms': round(1000 * slowest[sender, kind], 1)}
            for sender in ('stranger', 'rank') for kind in (kind.__name__ for kind in KINDS)]


def _count(counts, slowest, key, attempt, *what):
    begun = time.process_time()
    try:
        results = attempt(*what)
    except Exception as error:
        print(f'{key}: {type(error).__name__}: {error}', file=sys.stderr)
        results = ['exceptions']
    slowest[key] = max(slowest[key], (time.process_time() - begun) / len(results))
    for result in results:
        counts[(*key, 'messages')] += 1
        counts[(*key, result)] += 1


@entry
def main(argv=None):
    """Returns the exit code."""
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=100_000, metavar='N', help='messages')
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), metavar='CSV')
    args = flags.parse_args(argv)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = attack(range(args.count), args.seed)
    keep(rows, args.out)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    defects = {name: sum(row[name] for row in rows) for name in ('exceptions', 'harmed')}
    print(f'{args.count:,} messages: ' + ', '.join(f'{number} {name}' for name, number in
                                                   defects.items()) + f'; {grown:.0f} MB more')
    return int(any(defects.values()))


if __name__ == '__main__':
    sys.exit(main())
