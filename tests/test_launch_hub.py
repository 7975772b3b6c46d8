"""The hub under hostile bytes: strangers do nothing, and a rank that shows the token ends the job
by a verdict at most."""
import json
import os
import random
import resource
import socket
import sys
from pathlib import Path

import pytest

from gluon_a2.launch import door, protocol
from gluon_a2.launch.hub import Hub
from gluon_a2.launch.protocol import is_hello, is_report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'proofs'))

import fuzz_hub

TOKEN = 'f' * 32
REPORT = {'step': 3, 'phase': 'compute', 'waiting': False, 'age': 0.1, 'idle': 0}


def hello(rank, more=()):
    return {'rank': rank, 'host': 'h', 'name': f'rank {rank} on h', **REPORT, **dict(more)}


class Served:
    """A hub in this process, which turns when it is asked to."""

    def __init__(self, size=2, folder=None):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(socket.SOMAXCONN)
        self.address, self.clock = listener.getsockname(), fuzz_hub.ByHand()
        self.callers = []
        self.hub = Hub({'size': size, 'timeout': 20, 'folder': folder, 'token': TOKEN,
                        'listener': listener.detach()}, self.clock)

    def turn(self, times=4):
        for _ in range(times):
            self.clock.now += 0.05
            self.hub.turn()

    def call(self, *content):
        sock = socket.create_connection(self.address, 5)
        self.callers.append(sock)
        sock.sendall(b''.join(part if isinstance(part, bytes) else json.dumps(part).encode() + b'\n'
                              for part in content))
        return sock

    def close(self):
        self.hub.door.close()
        self.clock.now += 1
        for sock in [*self.callers, *self.hub.channels()]:
            sock.close()


@pytest.fixture
def served():
    made = []

    def make(*args, **keywords):
        made.append(Served(*args, **keywords))
        return made[-1]
    yield make
    for each in made:
        each.close()


def is_closed(sock):
    sock.settimeout(1)
    try:
        return sock.recv(1) == b''
    except ConnectionError:
        return True


@pytest.mark.parametrize('content', [
    b'{"token": "\\ud800", "rank": 1}\n' * 2, b'[' * 20000, b'{"a":' * 9000, b'\0' * 70000,
    TOKEN.encode()[:-1] + b'e', TOKEN.upper().encode(), b'1' * 60000 + b'\n', b'\xff' * 40,
    json.dumps({'token': TOKEN, **hello(1)}).encode() + b'\n'])
def test_a_stranger_is_sent_away(served, content):
    job = served()
    stranger = job.call(content)
    job.turn()
    assert is_closed(stranger)
    assert (job.hub.judge.peers, job.hub.judge.ended, job.hub.verdict_at) == ({}, {}, None)
    job.call(TOKEN.encode(), hello(1))
    job.turn()
    assert list(job.hub.judge.peers) == [1]


def test_a_token_that_comes_in_pieces(served):
    job = served()
    rank = job.call(TOKEN[:7].encode())
    job.turn()
    rank.sendall(TOKEN[7:].encode() + json.dumps(hello(0)).encode())
    job.turn()
    rank.sendall(b'\n')
    job.turn()
    assert list(job.hub.judge.peers) == [0]
    assert b'joined' in rank.recv(99)


@pytest.mark.parametrize('shown', [b'', TOKEN.encode()])
def test_who_is_silent_is_sent_away(served, monkeypatch, shown):
    monkeypatch.setattr(door, 'HELLO', 0.1)
    job = served()
    silent = job.call(shown)
    job.turn(8)
    assert is_closed(silent)


def test_a_rank_comes_in_through_a_crowd(served, monkeypatch):
    """The oldest stranger gives way, so strangers who hold the door keep no rank out."""
    monkeypatch.setattr(door, 'STRANGERS', 16)
    job = served()
    crowd = [job.call() for _ in range(60)]
    rank = job.call(TOKEN.encode(), hello(1))
    job.turn(8)
    assert list(job.hub.judge.peers) == [1]
    assert len(job.hub.door._strangers) == 16
    assert is_closed(crowd[0])
    assert b'joined' in rank.recv(99)


def test_a_flood_of_connections_costs_little(served):
    """Between two rounds the door is not even waited for."""
    job = served()
    for _ in range(3 * door.AT_ONCE):
        job.call()
    job.turn(1)
    assert len(job.hub.door._strangers) == door.AT_ONCE
    assert job.hub.channels() == []


def test_the_port_closes_once_all_are_there(served):
    job = served(size=2)
    late = job.call()
    for rank in range(2):
        job.call(TOKEN.encode(), hello(rank))
    job.turn()
    assert len(job.hub.judge.peers) == 2 and is_closed(late)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(job.address, 1)


def test_more_connections_than_select_can_hold(served):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip('needs 3000 file descriptors')
    job = served(size=1100)
    for rank in range(1100):
        job.call(TOKEN.encode(), hello(rank))
        if rank % 20 == 0:
            job.turn(1)
    job.turn()
    job.clock.now += 0.05
    protocol.wait(job.hub.channels(), 0)
    assert max(line.fileno() for line in job.hub.channels()) > 1024
    assert job.hub.verdict_at is None
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize('change', [
    {'rank': 2}, {'rank': -1}, {'rank': True}, {'rank': '1'}, {'rank': None}, {'host': 7},
    {'name': 'n' * 400}, {'age': float('nan')}, {'idle': -1}, {'idle': 10**400}, {'step': 'x'},
    {'step': 1.5}, {'phase': 'p' * 400}, {'waiting': 0}, {'end': 'no such end'},
    {'end': 'failed'}, {'end': 'failed', 'sentence': 7}, {'end': []}])
def test_messages_that_no_watchdog_sends(served, change):
    assert is_hello(hello(1), 2) and not is_hello(hello(1, change), 2)
    job = served()
    with_token = job.call(TOKEN.encode(), hello(1, change))
    job.turn()
    assert is_closed(with_token) and job.hub.judge.peers == {}


def test_a_rank_that_is_not_understood_is_named(served, tmp_path, capfd):
    job = served(size=1, folder=str(tmp_path))
    rank = job.call(TOKEN.encode(), hello(0), {**REPORT, 'age': 'old'})
    job.turn()
    assert rank.recv(999) == b'{"joined": true}\n' and is_closed(rank)
    sentence = 'rank 0 on h is not understood: install the same gluon_a2 on every host'
    assert capfd.readouterr().err == f'error: {sentence}\n'
    assert json.loads((tmp_path / 'fault.json').read_text())['reason'] == sentence


def test_a_sentence_stays_one_line(served, capfd):
    job = served(size=1)
    job.call(TOKEN.encode(), hello(0), {**REPORT, 'end': 'failed', 'sentence': 'a\n\ud800\x1b[2J'})
    job.turn()
    assert capfd.readouterr().err == 'error: rank 0 on h: a\\n\\ud800\\x1b[2J\n'


def test_one_that_never_reads_is_hung_up_on():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = protocol.Channel(ours)
        for _ in range(40):
            channel.write(b'x' * 50000)
            if channel.closed:
                break
        assert channel.closed and len(channel.backlog) <= protocol.MOST + 50000


def test_hostile_messages():
    """Some of those of proofs/fuzz_hub.py."""
    rows = fuzz_hub.attack(range(1500), seed=os.getpid())
    assert sum(row['messages'] for row in rows) == 1500
    assert [row for row in rows if row['exceptions'] or row['harmed']] == []


def test_reports_of_our_own_are_understood():
    assert is_report({**REPORT, 'step': None, 'phase': None})
    for end in ('done', *protocol.ENDS):
        assert is_report({**REPORT, 'end': end, 'sentence': 's', 'secondary': random.random() < 1})
