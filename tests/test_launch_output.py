"""What the launcher shows of its ranks' output, and what it keeps."""
import os
import re
from types import SimpleNamespace

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


def test_it_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(output, 'DRAIN', 0.1)
    ranks = Ranks(1)
    shown = output.Output(ranks, ())
    shown.drain()
    assert shown.is_alive()
    ranks.hang_up(shown)
