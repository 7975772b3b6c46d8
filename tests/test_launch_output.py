"""What the launcher shows of its ranks' output, and what it keeps."""
import contextlib
import os
import pty
import re
import select
import socket
import sys
import time
from types import SimpleNamespace
from unittest import mock

from gluon_a2.launch import output


class Ranks(list):
    """Pipes in place of processes."""

    def __init__(self, count):
        self.ends = []
        for number in range(count):
            pipes = [os.pipe() for _ in range(2)]
            self.ends.append([end for _, end in pipes])
            out, err = (os.fdopen(end, 'rb') for end, _ in pipes)
            self.append(SimpleNamespace(number=number, host=f'h{number}', stdout=out, stderr=err,
                                        name=f'rank {number} on h{number}'))

    def say(self, number, content, stream=1):
        os.write(self.ends[number][stream], content)

    def hang_up(self, shown):
        for end in sum(self.ends, []):
            os.close(end)
        shown.drain()
        assert not shown.is_alive()


def test_every_line_names_its_rank_and_host_on_its_own_stream(capfd):
    ranks = Ranks(2)
    shown = output.Output(ranks, ())
    ranks.say(0, b'Epoch[0]\tSpeed')
    ranks.say(1, 'ein Stück \xff\n'.encode('latin-1'), stream=0)
    ranks.say(0, b': 3\r\n\nnot ended')
    ranks.hang_up(shown)
    out, err = capfd.readouterr()
    assert out == '[1 h1] ein St\\xfcck \\xff\n'
    assert err == '[0 h0] Epoch[0]\tSpeed: 3\n[0 h0] \n[0 h0] not ended\n'
    assert shown.last_words(ranks[0]) == ''


def test_the_last_lines_of_ranks_that_are_not_shown_are_kept(capfd):
    ranks = Ranks(3)
    shown = output.Output(ranks, [2])
    ranks.say(0, b''.join(b'%d\n' % number for number in range(output.LAST + 3)))
    ranks.say(2, b'shown\n')
    ranks.hang_up(shown)
    assert capfd.readouterr().err == '[2 h2] shown\n'
    lines = shown.last_words(ranks[0]).splitlines()
    assert lines[0] == 'the last lines of rank 0 on h0:'
    assert lines[1:] == [f'    {number}' for number in range(3, output.LAST + 3)]
    assert [shown.last_words(rank) for rank in ranks[1:]] == ['', '']


def test_a_line_without_end_has_a_bound(capfd):
    ranks = Ranks(1)
    shown = output.Output(ranks, ())
    for _ in range(3):
        ranks.say(0, b'x' * (output.LONGEST // 2))
    ranks.hang_up(shown)
    assert [len(line) for line in re.findall('x+', capfd.readouterr().err)] == [
        output.LONGEST // 2 * 3]


@contextlib.contextmanager
def terminal():
    """In place of stderr, inside the block; what is written to it can be read."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with os.fdopen(theirs, 'w') as stream, mock.patch.object(sys, 'stderr', stream), open(
            ours, 'rb', buffering=0) as screen:
        yield screen


def test_the_bar_of_rank_0_stays_below_the_lines():
    with terminal() as screen:
        ranks = Ranks(2)
        shown = output.Output(ranks, ())
        for number, content in ((0, b'\r 1/9'), (0, b'\r 2/9'), (1, b'\r 3/9'),
                                (1, b'\rhello\n'), (0, b'\r    \rdone\n'), (0, b'\r 9/9\n')):
            ranks.say(number, content)
            time.sleep(0.1)
        ranks.hang_up(shown)
        seen = screen.read().decode().replace('\r\n', '\n').replace(output.CLEAR, '<')
    assert seen == ('[0 h0] 1/9<[0 h0] 2/9<[1 h1] hello\n[0 h0] 2/9<[0 h0] done\n[0 h0] 2/9<'
                    '[0 h0]  9/9\n')


def test_the_width_of_the_bar(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    monkeypatch.setattr(socket, 'gethostname', lambda: 'h')
    with terminal():
        assert [output.bar_columns(['node2'], chosen) for chosen in ((), [0, 1], [1])] == [
            70, 70, 0]
    assert output.bar_columns([], ()) == 0


def test_a_terminal_that_stands_still_keeps_no_rank_from_its_work(monkeypatch):
    """Far more is said than pipes and terminals hold, and nobody reads it."""
    monkeypatch.setattr(output, 'MOST', 10)
    ranks = Ranks(1)
    for end in ranks.ends[0]:
        os.set_blocking(end, False)
    with terminal():
        output.Output(ranks, ())
        until = time.monotonic() + 10
        for _ in range(50):
            while select.select([], ranks.ends[0][1:], [], 0.1) == ([], [], []):
                assert time.monotonic() < until
            ranks.say(0, b'x' * 4000 + b'\n')


def test_it_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(output, 'DRAIN', 0.1)
    ranks = Ranks(1)
    shown = output.Output(ranks, ())
    shown.drain()
    assert shown.is_alive()
    ranks.hang_up(shown)
