"""The same work on many files, by several processes, in order."""
from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import signal
from typing import Any, Callable, Iterator, Sequence

import cv2
from tqdm import tqdm

from ..errors import UserError
from ..machine.resources import cores

_PER_CORE, _ALWAYS = 4, 32  # worker processes that are allowed: a core's, and on any machine


def check_workers(count: int, low: int = 1) -> None:
    """UserError unless so many worker processes make sense on this machine."""
    high = max(_ALWAYS, _PER_CORE * cores())
    if not low <= count <= high:
        raise UserError(f'`num_data_workers` must be {low} to {high}, not {count}: each is a '
                        f'process, and there are {cores()} cores')


def in_parallel(work: Callable[[Any], Any], items: Sequence, jobs: int, title: str, unit: str,
                chunk: int = 16) -> Iterator[Any]:
    """Yield work(item) of each item in order, by `jobs` processes (1: in this one), with a progress
    bar. `work` is sent to each process once; `chunk` items are, at a time."""
    check_workers(jobs)
    with tqdm(total=len(items), unit=unit, desc=title, dynamic_ncols=True, disable=None) as bar:
        for result in map(work, items) if jobs == 1 else _spread(work, items, jobs, chunk):
            yield result
            bar.update()


def _spread(work, items, jobs, chunk):
    others = multiprocessing.active_children()
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context('spawn'),
                                                  _start, (work,))
    waiting = collections.deque()
    try:
        for start in range(0, len(items), chunk):
            waiting.append(pool.submit(_do, items[start:start + chunk]))
            if len(waiting) > 4 * jobs:  # a bound on what waits in memory for the disk
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError('a worker process ended; a frequent reason is too little memory: try fewer '
                        '`num_data_workers`') from error
    except BaseException:  # Ctrl-C, or a caller who wants no more
        for process in set(multiprocessing.active_children()) - set(others):
            process.terminate()
        raise
    finally:
        pool.shutdown()


def begin_worker(*signals: int) -> None:
    """What a worker process does first: leave these signals to its parent, and keep OpenCV to one
    thread, because the other cores belong to the other workers."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _start(work):
    global _work
    _work = work
    begin_worker(signal.SIGINT)


def _do(items):
    return [_work(item) for item in items]
