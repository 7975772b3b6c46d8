"""The judge: the culprit is named or nobody is, whatever comes late or never."""
import sys
from pathlib import Path

import pytest

from gluon_a2.launch.judge import STALLED, Judge
from gluon_a2.launch.protocol import GRACE, JOIN_SLACK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'proofs'))

import simulate_ranks
from fuzz_hub import ByHand

TIMEOUT = 20
LOST = {'end': 'failed', 'sentence': 'lost the others', 'secondary': True}


class Court:
    """A judge of ranks 0, 1, … on the hosts of a word, which all report once a second."""

    def __init__(self, hosts='aabb', absent=()):
        self.judge = Judge(len(hosts), TIMEOUT, ByHand())
        self.since = {}  # {rank: when it last made progress}
        self.state = {rank: {'step': 3, 'phase': 'compute', 'waiting': False}
                      for rank in range(len(hosts)) if rank not in absent}
        self.silent, self.frozen = set(), {}  # frozen: {rank: since when}
        for rank, state in self.state.items():
            self.judge.join({'rank': rank, 'host': hosts[rank],
                             'name': f'rank {rank} on {hosts[rank]}', **state, 'age': 0, 'idle': 0})

    def say(self, rank, **more):
        now = self.judge.clock.now
        self.judge.hear(self.judge.peers[rank], {
            **self.state[rank], 'age': now - self.frozen.get(rank, now),
            'idle': now - self.since.get(rank, 0), **more})

    def wait(self, *ranks):
        for rank in ranks:
            self.state[rank]['waiting'], self.since[rank] = True, self.judge.clock.now

    def end(self, *ranks, **how):
        for rank in ranks:
            self.say(rank, **how)
            self.silent.add(rank)

    def live(self, seconds):
        """The first verdict within so many seconds, and when it comes; (None, None) without."""
        for _ in range(10 * seconds):
            self.judge.clock.now += 0.1
            if round(10 * self.judge.clock.now) % 10 == 0:
                for rank in set(self.state) - self.silent:
                    self.say(rank)
            verdict = self.judge.verdict()
            if verdict:
                return (verdict[0] and verdict[0].rank, verdict[1]), self.judge.clock.now
        return None, None


def test_leaving_in_order_is_progress():
    """The others waited long for an export, and their last reports say so a moment longer."""
    court = Court()
    court.wait(1, 2, 3)
    court.say(0)
    court.judge.clock.now += 2 * TIMEOUT
    for rank in 1, 2, 3:
        court.say(rank)
    court.end(0, end='done', idle=0)
    assert court.live(2) == (None, None)
    court.end(1, 2, 3, end='done')
    assert court.live(100) == (None, None) and court.judge.all_left()


def test_consequences_alone_do_not_convict():
    """Horovod loses patience with rank 2 before its timeout is over."""
    court = Court()
    court.wait(0, 1, 3)
    assert court.live(6) == (None, None)
    court.end(0, 1, 3, **LOST)
    (rank, sentence), when = court.live(60)
    assert rank == 2 and 'keeps the others waiting' in sentence
    assert TIMEOUT < when <= TIMEOUT + 1


def test_nobody_is_named_where_all_lost_each_other():
    court = Court()
    court.end(1, 2, **LOST)
    court.end(0, 3, **LOST)
    assert court.live(5)[0] == (None, 'the ranks have lost each other at step 3 (compute): the '
                                      'network?')


def test_a_cause_that_comes_late():
    court = Court()
    court.end(0, 1, 3, **LOST)
    assert court.live(5) == (None, None)
    court.end(2, end='dead')
    assert court.live(1)[0][0] == 2


def test_the_missing_rank_is_the_cause():
    court = Court(absent=[2])
    court.wait(0, 1, 3)
    court.live(8)
    court.end(0, 1, 3, **LOST)
    (rank, sentence), when = court.live(60)
    assert rank is None and 'rank 2 cannot be reached: it has not joined' in sentence
    assert when == pytest.approx(TIMEOUT + JOIN_SLACK, abs=0.2)


@pytest.mark.parametrize('hosts, expected', [
    ('aabbcc', (None, 'rank 0 on a reaches no other host: its network is gone')),
    ('aabb', (2, 'rank 2 on b cannot be reached: its watchdog, its machine or the network is '
                 'gone'))])
def test_whose_network_is_gone(hosts, expected):
    """Of two hosts nobody can know; it is the hub's if several fall silent together."""
    court = Court(hosts)
    court.silent.update(range(2, len(hosts)))
    assert court.live(60)[0] == expected


def test_one_host_of_three_is_gone():
    """The others have told their end, and are silent for that reason."""
    court = Court('abc')
    court.silent.add(2)
    court.live(1)
    court.end(1, **LOST)
    court.end(0, **LOST)
    assert court.live(60)[0][0] == 2


def test_the_launcher_is_the_cause_of_what_follows():
    court = Court()
    court.end(3, end='dead')
    court.end(0, 1, end='orphan')
    (rank, sentence), when = court.live(5)
    assert (rank, sentence) == (0, 'rank 0 on a was ended at step 3 (compute): the launcher is '
                                   'gone, or its remote shell')
    assert when == pytest.approx(GRACE, abs=0.2)


def test_a_frozen_rank_that_waits():
    """It made no progress since before it froze, but to be frozen says more."""
    court = Court()
    court.wait(0, 1, 2, 3)
    court.frozen[2] = 3
    court.live(3)
    (rank, sentence), _ = court.live(60)
    assert rank == 2 and 'is frozen' in sentence


@pytest.mark.parametrize('hosts, rank', [('aabb', None), ('a', 0)])
def test_nobody_moves(hosts, rank):
    """As on a file system that hangs: whose fault is it?"""
    verdict, when = Court(hosts).live(STALLED * TIMEOUT + 5)
    assert verdict[0] == rank and when == pytest.approx(STALLED * TIMEOUT, abs=2)


def test_a_step_that_is_no_number_yet():
    court = Court('ab')
    court.state[0]['step'] = None
    court.wait(0, 1)
    assert court.live(60)[0] == (None, 'no rank advances: all of them have waited for each other '
                                       'for 20 s at different steps (-1–3)')


@pytest.mark.parametrize('last', [LOST, {'end': 'dead'}])
def test_words_after_the_last_one(last):
    court = Court('a')
    court.end(0, **last)
    court.end(0, end='done')
    assert court.live(2)[0] is not None
    other = Court('a')
    other.end(0, end='done')
    other.end(0, **last)
    assert other.live(2) == (None, None)


def test_schedules():
    """Some of those of proofs/simulate_ranks.py: each kind of trouble a few times."""
    counts, _ = simulate_ranks.survey(range(3 * len(simulate_ranks.KINDS)), seed=2)
    assert [(kind, some) for kind, some in counts.items()
            if any(some[end] for end in simulate_ranks.DEFECTS)] == []
    assert {kind.__name__ for kind in simulate_ranks.HARMLESS} <= {
        kind for kind, some in counts.items() if some['in_order'] == 3}


def test_a_rank_that_is_stopped_after_its_last_word():
    """No watchdog watches it any more, and the launcher ends it."""
    assert simulate_ranks.simulate(1, 42317)[:2] == (simulate_ranks.stopped, 'named')
