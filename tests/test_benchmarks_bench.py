"""What benchmarks and proofs share: rows, processes, rounds and rates, by hand."""
import argparse
import os
import signal
import subprocess
import sys

import bench
import pytest
from compare_networks import NETWORKS
from compare_rounds import child

from gluon_a2.errors import UserError

SQUARES = """
import sys
sys.path.insert(0, sys.argv[1])
from bench import serve

def make():
    print('a library speaks')
    def answer(order):
        print('again')
        return order ** 2 if order else [sys.argv[2], __import__('os').environ.get('GONE')]
    return answer
serve(make)
"""


@pytest.fixture
def squares(monkeypatch):
    monkeypatch.setenv('GONE', 'x')
    with bench.Child('squares', '-c', SQUARES, bench.ROOT / 'benchmarks', 7, GONE=None) as process:
        yield process


def test_a_child_answers_by_what_is_no_print(squares):
    assert [squares.ask(3), squares.ask(0.5), squares.ask()] == [9, 0.25, ['7', None]]


def test_a_process_that_ends_is_named(capfd, squares):
    """Its own sentence goes to standard error; what kills it is named by its signal."""
    impossible = NETWORKS['resnet26']._replace(input_size=(8, 8))
    with child('inference', impossible) as process, pytest.raises(
            UserError, match='process of resnet26 ended with exit code 2 for the reason above'):
        process.ask([1, 1])
    assert 'error: resnet26 cannot take an input of 8×8' in capfd.readouterr().err
    os.kill(squares._process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match='of squares was killed by SIGKILL.*memory'):
        squares.ask(1)


def test_all_take_turns_and_the_first_rounds_are_left_out():
    log = []

    def act(name):
        return lambda number: log.append((name, number)) or (name, number)
    found = bench.in_turn({'a': act('a'), 'b': act('b')}, 2, warm=1)
    assert log == [(name, number) for number in (0, 1, 2) for name in 'ab']
    assert found == {name: [(name, 1), (name, 2)] for name in 'ab'}


def test_rates_by_hand():
    assert bench.rates(8, [4, 1, 2]) == (4, 2, 8)


def test_rows_are_kept_at_once(tmp_path):
    with bench.keeping(tmp_path / 'x.csv', ('a', 'b')) as write:
        write({'a': 1, 'b': 'λ, "x"'})
        assert bench.read_rows(tmp_path / 'x.csv') == [{'a': '1', 'b': 'λ, "x"'}]


def test_numbers_below_a_bound_are_refused():
    assert bench.at_least(1)('3') == 3
    for text in ('0', 'x', '1.5'):
        with pytest.raises(argparse.ArgumentTypeError, match=f'it must be 1 or more, not {text}'):
            bench.at_least(1)(text)


def test_a_child_needs_numpy_and_nothing_of_ours():
    """An interpreter that has PyTorch has neither MXNet nor OpenCV."""
    code = 'import sys, bench; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=bench.ROOT / 'benchmarks',
                          capture_output=True, encoding='utf-8', check=True, timeout=60)
    assert not {'mxnet', 'cv2', 'tqdm', 'numpy'} & set(done.stdout.split())
