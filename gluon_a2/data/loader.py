"""Batches of training or validation images, made by worker processes in shared memory.

The parent writes tasks (a few indices of one batch) into one pipe. Whichever worker is free takes
the next, and writes its pixels straight into the batch's slot of shared memory. It reports on a
pipe of its own. Several batches are under way at once, so that workers go on while the network
computes.
"""
from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import struct
import traceback
import weakref
from multiprocessing import resource_tracker
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from ..errors import UserError
from .headers import ImageError
from .order import sample_rng
from .parallel import begin_worker, check_workers

_log = logging.getLogger(__name__)

# Ctrl-C and SIGTERM may come to the whole group of processes; the parent decides how the run ends.
_FOR_THE_PARENT = signal.SIGINT, signal.SIGTERM

# Slot, first position, last position + 1, epoch. Pipes write and read so few bytes in one piece,
# which lets all workers read from one pipe without a lock.
_TASK = struct.Struct('<4q')
_AHEAD = 2  # batches that are prepared while the caller looks at one
_TASKS_PER_WORKER = 4  # of each batch: enough for the workers to finish it together


class Batch(NamedTuple):
    """Samples, and (name, reason) of those left out."""
    images: np.ndarray  # float32 n×3×h×w (clips: n×3×t×h×w), normalised
    labels: np.ndarray  # int64 n
    indices: np.ndarray  # int64 n, positions in the source
    damaged: list[tuple[str, str]]


class WorkerError(UserError):
    """A data worker died, most often for want of memory."""


class Loader:
    """Loads batches of `source` with `workers` processes; 0 loads in this one.

    `transform` has the `shape` of a sample, and `fill(source, index, rng, out)`, which makes one: a
    `preprocess.Preprocessing`, or one of `augment`'s. A sample's pixels depend on (`seed`, epoch,
    index) alone. Use it as a context manager, or `close()` it. Workers start at the first batch and
    stay. They are spawned, so each imports again what a script imports at its top level: import
    MXNet inside `main`.
    """

    def __init__(self, source: Any, transform: Any, workers: int, seed: int = 0) -> None:
        check_workers(workers, low=0)
        self._source, self._transform, self._seed = source, transform, seed
        # Windows has neither pipes that processes share nor signals that can be held back
        self._workers = workers if hasattr(signal, 'pthread_sigmask') else 0
        self._crew: _Crew | _Alone | None = None
        self._run: object = None

    def load(self, index_batches: Iterable[Sequence[int] | np.ndarray],
             epoch: int) -> Iterator[Batch]:
        """Iterate over the `Batch`es of these arrays of indices, in their order.

        `Batch.images` is memory that is used again: it is valid until the next batch is asked for.
        A damaged sample is left out of its batch, which may so become shorter, even empty, and
        listed in `damaged`. Calling `load` again ends an iteration that was left halfway; going on
        with that one is an error. Raises `WorkerError` when a worker died.
        """
        arrays = [np.asarray(indices, np.int64) for indices in index_batches]
        size = max([1, *map(len, arrays)])
        if self._crew is not None and self._crew.batch_size >= size:
            self._crew.finish()  # it may still be at a batch nobody waits for
        else:
            self.close()
            job = _Job(self._source, self._transform, self._seed, _AHEAD + 1, size)
            self._crew = _Crew(job, self._workers) if self._workers else _Alone(job)
        self._run = run = object()
        return self._iterate(arrays, epoch, run)

    def _iterate(self, arrays, epoch, run):
        self._check_current(run)
        ahead = _AHEAD if self._workers else 0
        for number in range(-ahead, len(arrays)):  # of the batch that the caller gets
            if number + ahead < len(arrays):
                self._crew.begin((number + ahead) % (_AHEAD + 1), arrays[number + ahead], epoch)
            if number >= 0:
                images, damaged = self._crew.wait(number % (_AHEAD + 1))
                yield self._batch(images[:len(arrays[number])], arrays[number], damaged)
                self._check_current(run)

    def _check_current(self, run):
        if run is not self._run:
            raise RuntimeError('this iteration ended when load() or close() was called')

    def _batch(self, images, indices, damaged):
        good = [i for i in range(len(indices)) if i not in damaged]
        if damaged:
            images[:len(good)] = images[good]
        names = [(self._source.name(indices[i]), reason) for i, reason in sorted(damaged.items())]
        return Batch(images[:len(good)], self._source.labels[indices[good]], indices[good], names)

    def close(self) -> None:
        """End the workers. Calling `load` afterwards starts new ones."""
        self._run = None
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        self.close()


class DamageLog:
    """Counts damaged samples, names each once in the log, and ends the run above a cap.

    `cap` is a number of samples; by default 1 % of the `total`, rounded down, and at least one.
    `names` are those known already, as a resumed run finds them in its checkpoint.
    """

    def __init__(self, total: int, cap: int | None = None, names: Iterable[str] = ()) -> None:
        self.cap = max(1, total // 100) if cap is None else cap
        self._names = set(names)

    @property
    def names(self) -> list[str]:
        """The names of the damaged samples so far, sorted."""
        return sorted(self._names)

    def add(self, damaged: Iterable[tuple[str, str]]) -> None:
        """Take in a `Batch.damaged`; raises `UserError` above the cap."""
        for name, reason in damaged:
            if name not in self._names:
                self._names.add(name)
                _log.warning('left out %s: %s', name, reason)
            if len(self._names) > self.cap:
                raise UserError(f'{len(self._names)} damaged samples, the last of them {name}, are '
                                f'more than the {self.cap} allowed: repair the data, or raise '
                                '`max_damaged`')


class _Job:
    """What a worker needs to turn indices into pixels. Workers are given it when they start.

    Its `slots`, for the indices and the images of batches, lie in memory that all of them share.

    The memory is anonymous: the system frees it with the last process that maps it, however that
    ends. And where `/dev/shm` is too small, as in containers, Python takes a temporary file.
    """

    def __init__(self, source, transform, seed, slots, batch_size):
        self.source, self.transform, self.seed = source, transform, seed
        self.shape = slots, batch_size, *transform.shape
        self._images = multiprocessing.RawArray('f', math.prod(self.shape))
        self._indices = multiprocessing.RawArray('q', slots * batch_size)

    def views(self):
        """Indices int64 slots×batch, images float32 slots×batch×…."""
        return (np.ctypeslib.as_array(self._indices).reshape(self.shape[:2]),
                np.ctypeslib.as_array(self._images).reshape(self.shape))

    def fill(self, images, indices, epoch):
        """Write the sample of each index into `images`; {position: reason} of the damaged ones."""
        damaged = {}
        for position, index in enumerate(indices.tolist()):
            rng = sample_rng(self.seed, epoch, index)
            try:
                self.transform.fill(self.source, index, rng, images[position])
            except ImageError as error:
                damaged[position] = str(error)
        return damaged


class _Alone:
    """Stands in for a crew where there are no workers."""

    def __init__(self, job):
        self._job, (_, self._images) = job, job.views()
        self.batch_size = job.shape[1]

    def begin(self, slot, indices, epoch):
        self._task = indices, epoch

    def wait(self, slot):
        return self._images[slot], self._job.fill(self._images[slot], *self._task)

    def finish(self):
        """Nothing is ever under way."""

    close = finish


class _Crew:
    """The worker processes, and what is under way in each slot."""

    def __init__(self, job, count):
        self._indices, self._images = job.views()
        self.batch_size = job.shape[1]
        self._missing = [0] * len(self._images)  # tasks not yet reported, per slot
        self._damaged = [{} for _ in self._images]
        spawn = multiprocessing.get_context('spawn')
        takes, self._tasks = spawn.Pipe(duplex=False)
        self._workers = {}  # the pipe it reports on: the process
        self.close = weakref.finalize(self, _end, self._workers, self._tasks)
        with takes, _signals_held_back():
            for number in range(count):
                reports, sends = spawn.Pipe(duplex=False)
                with sends:  # open in the worker alone, so that its death closes it
                    worker = spawn.Process(target=_work, args=(job, takes, sends), daemon=True,
                                           name=f'data worker {number}')
                    worker.start()
                self._workers[reports] = worker

    def begin(self, slot, indices, epoch):
        """Have the images of `indices` written into the slot."""
        self._indices[slot, :len(indices)] = indices
        self._damaged[slot] = {}
        size = -(-len(indices) // (_TASKS_PER_WORKER * len(self._workers)))
        for start in range(0, len(indices), max(1, size)):
            try:
                os.write(self._tasks.fileno(), _TASK.pack(
                    slot, start, min(start + size, len(indices)), epoch))
            except BrokenPipeError:  # nobody reads any more: all of them died
                raise _death(next(iter(self._workers.values()))) from None
            self._missing[slot] += 1

    def wait(self, slot):
        """The slot's images and {position: reason} of the damaged ones, once all is done."""
        while self._missing[slot]:
            self._receive()
        return self._images[slot], self._damaged[slot]

    def finish(self):
        """Wait until nothing is under way."""
        while any(self._missing):
            self._receive()

    def _receive(self):
        for reports in multiprocessing.connection.wait(list(self._workers)):
            try:
                slot, damaged, failure = reports.recv()
            except EOFError:
                raise _death(self._workers[reports]) from None
            self._missing[slot] -= 1
            self._damaged[slot].update(damaged)
            if failure is not None:
                raise failure


@contextlib.contextmanager
def _signals_held_back():
    """Children started in here never see Ctrl-C and SIGTERM, not even while they import; the parent
    sees them afterwards."""
    resource_tracker.ensure_running()  # spawning would do it, and let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(workers, tasks):
    tasks.close()
    for reports, worker in workers.items():
        worker.kill()  # they hold nothing that needs tidying
        worker.join()
        reports.close()


def _death(worker):
    worker.join()
    code = worker.exitcode
    how = (f'was killed by {signal.Signals(-code).name}' if code < 0 else
           f'ended with exit code {code}')
    return WorkerError(f'{worker.name} (process {worker.pid}) {how}; a frequent reason is too '
                       'little memory: try fewer `num_data_workers`')


def _work(job, takes, sends):
    """A worker's life, until the parent's end of a pipe is closed, as when the parent dies."""
    begin_worker(*_FOR_THE_PARENT)
    indices, images = job.views()
    while True:
        task = os.read(takes.fileno(), _TASK.size)
        if not task:
            return
        slot, start, stop, epoch = _TASK.unpack(task)
        damaged, failure = {}, None
        try:
            damaged = job.fill(images[slot, start:stop], indices[slot, start:stop], epoch)
        except UserError as error:
            failure = error
        except Exception:
            failure = RuntimeError('a data worker failed:\n' + traceback.format_exc())
        damaged = {start + position: reason for position, reason in damaged.items()}
        try:
            sends.send((slot, damaged, failure))
        except BrokenPipeError:
            return
