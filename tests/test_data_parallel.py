"""Work by several processes: in order, bounded, and tidy however it ends."""
import multiprocessing
import os
import signal

import pytest

from gluon_a2.data.parallel import check_workers, in_parallel
from gluon_a2.errors import UserError


def double(item):
    return 2 * item


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(item):
    if item == 50:
        raise UserError('no more')
    return item


@pytest.mark.parametrize('jobs', [1, 2])
def test_results_come_in_order(jobs):
    assert list(in_parallel(double, range(100), jobs, 'doubling', 'number')) == list(
        range(0, 200, 2))
    assert list(in_parallel(double, [], jobs, 'doubling', 'number')) == []


@pytest.mark.parametrize('jobs', [1, 2])
def test_errors_arrive_and_nobody_is_left(jobs):
    before = multiprocessing.active_children()
    with pytest.raises(UserError, match='no more'):
        list(in_parallel(fail, range(1000), jobs, 'failing', 'number'))
    assert set(multiprocessing.active_children()) <= set(before)


def test_a_caller_who_wants_no_more():
    results = in_parallel(double, range(10 ** 6), 2, 'doubling', 'number')
    assert next(results) == 0
    results.close()
    assert not multiprocessing.active_children()


def test_a_killed_process_is_a_sentence():
    with pytest.raises(UserError, match='too little memory: try fewer `num_data_workers`'):
        list(in_parallel(die, range(9), 2, 'dying', 'number'))


def test_how_many_make_sense():
    check_workers(0, low=0)
    check_workers(8)
    for count in (-1, 0, 1000):
        with pytest.raises(UserError, match=f'`num_data_workers` must be 1 to .*, not {count}: '
                                            'each is a process, and there are .* cores'):
            check_workers(count)
