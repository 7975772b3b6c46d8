"""The ranks of a job and their collective operations, through Horovod.

One process, a rank, drives one device. Without a launcher there is one rank, Horovod is not needed,
and every function here is the identity.
"""
from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Iterator, NoReturn, Sequence

import numpy as np

from ..backend import BackendError, mx
from ..errors import UserError
from ..launch import start
from ..machine import network
from ..machine.ranks import ranks

if TYPE_CHECKING:
    from ..launch.heart import Heart


class Disconnected(UserError):
    """A collective operation failed because another rank or the network is gone. It is no mistake
    of the user's, and trying again may help."""

    exit_code = 1


class Group:
    """All ranks of the job, seen from one of them; `heart` hears where this rank is and when it
    waits for the others."""

    def __init__(self) -> None:
        self._hvd: Any = _start_horovod() if ranks() > 1 else None
        self.heart: Heart | None = None
        self._at = 0, 'start'  # the step and the phase
        hvd = self._hvd
        self.rank: int = hvd.rank() if hvd else 0
        self.size: int = hvd.size() if hvd else 1
        self.local_rank: int = hvd.local_rank() if hvd else 0
        self._hosts = self.all_gather(socket.gethostname(), 'hosts')

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the run folder."""
        return self.rank == 0

    def nccl_built(self) -> bool:
        """Whether Horovod can reduce on GPUs."""
        return self._hvd is None or bool(self._hvd.nccl_built())

    # ---- where this rank is

    def beat(self, step: int, phase: str) -> None:
        """Tell the watchdog that this rank has made progress."""
        self._at = step, phase
        if self.heart:
            self.heart.beat(step, phase)

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Around work of this rank alone, for which the others may have to wait."""
        with self.heart.during(self._at[0], phase) if self.heart else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Around a collective operation: waiting is no fault, and failure is another rank's."""
        if self.heart:
            self.heart.waiting(self._at[0])
        try:
            yield
        except (mx.base.MXNetError, self._hvd.HorovodInternalError) as error:
            sentence = f'rank {self.rank} lost the others at step {self._at[0]}'
            if self.heart:
                self.heart.fail(sentence, secondary=True)
                # the watchdog, who knows the cause, ends this process meanwhile
                time.sleep(self.heart.timeout)
            raise Disconnected(f'{sentence}: {str(error).strip().splitlines()[-1]}') from error
        self.beat(*self._at)

    # ---- collective operations: all ranks must call them in the same order

    def all_reduce(self, values: np.ndarray, name: str) -> np.ndarray:
        """The element-wise sum over all ranks of a float64 vector."""
        if self.size == 1:
            return values
        with self._together():
            array = mx.nd.array(values, dtype='float64')
            self._hvd.allreduce_(array, op=self._hvd.Sum, name=name)
            return array.asnumpy()

    def begin_sum(self, vector: Any, name: str, compression: str, count: float) -> None:
        """Replace `vector` (float32 or float64) by its sum over all ranks, as soon as all have
        computed theirs, while the caller goes on; `finish` waits for it.

        One vector is one all-reduce, which adds in one order, so the result is the same on every
        repeat. In float64 it is the same on any number of ranks, too, because sums of float32
        values are exact there. `compression='fp16'` sends half the bytes. `count`, the samples
        behind the sum, then keeps it in float16's range: what travels has the size of a mean
        gradient, which may be 65504 / `size` at most.
        """
        if self.size == 1:
            return
        if compression == 'fp16':
            half = (vector * (self.size / count)).astype('float16')
            self._hvd.allreduce_(half, op=self._hvd.Sum, name=name)
            vector[:] = half.astype('float32') * (count / self.size)
        else:
            self._hvd.allreduce_(vector, op=self._hvd.Sum, name=name)

    def finish(self, vectors: Sequence[mx.nd.NDArray]) -> None:
        """Wait for what was begun. Each vector that comes is progress, over a slow network, too."""
        for vector in vectors if self.size > 1 else ():
            with self._together():
                vector.wait_to_read()

    def all_gather(self, value: Any, name: str) -> list:
        """[value of rank 0, of rank 1, …] on every rank; values are plain (JSON)."""
        if self.size == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        with self._together():
            lengths = self._hvd.allgather(mx.nd.array([len(text)], dtype='int32'),
                                          name=f'{name}.length').asnumpy()
            joined = self._hvd.allgather(mx.nd.array(text, dtype='uint8'),
                                         name=name).asnumpy().tobytes()
        ends = np.cumsum(lengths)
        return [json.loads(joined[end - length:end]) for length, end in zip(lengths, ends)]

    def broadcast(self, value: Any, name: str) -> Any:
        """Rank 0's plain value, on every rank."""
        return self.all_gather(value if self.first else None, name)[0]

    def broadcast_arrays(self, arrays: Sequence[mx.nd.NDArray]) -> None:
        """Overwrite these arrays with rank 0's."""
        if self.size == 1:
            return
        with self._together():
            for number, array in enumerate(arrays):
                self._hvd.broadcast_(array, root_rank=0, name=f'broadcast.{number}')
        self.finish(arrays)

    def barrier(self, name: str) -> None:
        """Wait until all ranks are here."""
        self.all_gather(None, name)

    # ---- errors that all ranks must raise

    @contextlib.contextmanager
    def all_or_none(self, name: str) -> Iterator[None]:
        """What the block does succeeds on all ranks, or fails on all with the sentence of those
        where it failed.

        It must not contain collective operations, because a rank that failed would not take part.
        """
        fault = None
        try:
            yield
        except UserError as error:
            fault = error
        except OSError as error:
            if error.filename is None:
                raise
            fault = UserError(f'{error.filename} cannot be used: {error.strerror}; choose another '
                              'path')
        if self.size == 1 and fault:
            raise fault
        self.raise_if_any(str(fault) if fault else None, name, fault)

    def raise_if_any(self, fault: str | None, name: str,
                     cause: BaseException | None = None) -> None:
        """Raise UserError on every rank if any has a `fault` (a sentence), naming those ranks."""
        faults = self.all_gather(fault, name)
        first = next((sentence for sentence in faults if sentence), None)
        if first is None:
            return
        guilty = [rank for rank, sentence in enumerate(faults) if sentence == first]
        where = '' if len(guilty) == self.size else f'{self.name(guilty)}: '
        self.raise_once(UserError(where + first), cause)

    def name(self, numbers: Sequence[int]) -> str:
        """`name_ranks`, with their hosts where the job has several."""
        if len(set(self._hosts)) == 1:
            return name_ranks(numbers)
        by_host: dict[str, list[int]] = {}
        for number in numbers:
            by_host.setdefault(self._hosts[number], []).append(number)
        return ', '.join(f'{name_ranks(those)} on {host}' for host, those in by_host.items())

    def raise_once(self, error: UserError, cause: BaseException | None = None) -> NoReturn:
        """Raise, on rank 0, an error that all ranks have; the others leave with its exit code."""
        if self.heart:
            self.heart.done()
        if self.first:
            raise error from cause
        sys.exit(error.exit_code)


def name_ranks(numbers: Sequence[int]) -> str:
    """'rank 3', or 'ranks 0, 3 and 5'."""
    *most, last = map(str, numbers)
    return f'ranks {", ".join(most)} and {last}' if most else f'rank {last}'


def _start_horovod() -> Any:
    """Horovod for MXNet, initialized. Fusion of buffers is off, because it would change the order
    of sums from run to run."""
    os.environ.setdefault('HOROVOD_FUSION_THRESHOLD', '0')
    _check_own_name()
    start.show()
    try:
        import horovod.mxnet as hvd
        from horovod.common.exceptions import HorovodInternalError
    except ImportError as error:
        raise BackendError(f'{ranks()} ranks were started and Horovod cannot be imported '
                           f'({error}): run make horovod in the checkout') from error
    hvd.HorovodInternalError = HorovodInternalError
    hvd.init()
    start.met()
    return hvd


def _check_own_name() -> None:
    """UserError where the others could not reach this machine, which is not the launcher's; the
    launcher checks its own."""
    launcher = network.launcher_address()
    if launcher and not network.one_machine():
        address = network.job_address()
        if address != launcher:
            network.check_own_name(address)
