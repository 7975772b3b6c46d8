"""The ranks of a job: what each of them has to tell the others, through Horovod.

One process, a rank, drives one device. Started without a launcher there is one rank, Horovod is not
needed, and every function here is the identity. A rank that cannot reach the others any more gets
`Disconnected`.
"""
import contextlib
import json
import os
import sys
import time

import numpy as np

from ..backend import BackendError, mx
from ..errors import UserError
from ..launch.launcher import ranks


class Disconnected(UserError):
    """A collective operation failed, because another rank or the network is gone: no mistake,
    trying again may help."""

    exit_code = 1


class Group:
    """All ranks of the job, seen from one of them.

    `heart` (a `watchdog.Heart`, or None) hears where this rank is and when it waits for the others.
    """

    def __init__(self):
        self._hvd, self.heart, self._at = (_start_horovod()
                                           if ranks() > 1 else None), None, (0, 'start')
        hvd = self._hvd
        self.rank, self.size, self.local_rank = (hvd.rank(), hvd.size(),
                                                 hvd.local_rank()) if hvd else (0, 1, 0)

    @property
    def first(self):
        """Whether this is rank 0, the one that writes the run folder."""
        return self.rank == 0

    def nccl_built(self):
        """Whether Horovod can reduce on GPUs."""
        return self._hvd is None or bool(self._hvd.nccl_built())

    # ---- where this rank is

    def beat(self, step, phase):
        """Tell the watchdog that this rank has got further."""
        self._at = step, phase
        if self.heart:
            self.heart.beat(step, phase)

    @contextlib.contextmanager
    def _together(self):
        """Around a collective operation: waiting is no fault of ours, and a failure is somebody
        else's."""
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

    def add(self, values, name):
        """The element-wise sum over all ranks of a float64 vector (numpy)."""
        if self.size == 1:
            return values
        with self._together():
            array = mx.nd.array(values, dtype='float64')
            self._hvd.allreduce_(array, op=self._hvd.Sum, name=name)
            return array.asnumpy()

    def add_gradients(self, flat, compression, count):
        """Replace `flat` (float32 or float64, one buffer for all gradients) by its sum over all
        ranks.

        One buffer, since one all-reduce adds in one order: the result is the same on every repeat.
        In float64 it is the same on any number of ranks, too, since sums of float32 values are
        exact there. `compression='fp16'` sends half the bytes; `count`, the samples behind the sum,
        keeps it in float16's range: what travels has the size of a mean gradient, which may be
        65504 / `size` at most.
        """
        if self.size == 1:
            return
        with self._together():
            if compression == 'fp16':
                half = (flat * (self.size / count)).astype('float16')
                self._hvd.allreduce_(half, op=self._hvd.Sum, name='gradients.fp16')
                flat[:] = half.astype('float32') * (count / self.size)
            else:
                self._hvd.allreduce_(flat, op=self._hvd.Sum, name='gradients')
            flat.wait_to_read()

    def gather(self, value, name):
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

    def tell(self, value, name):
        """Rank 0's plain value, on every rank."""
        return self.gather(value if self.first else None, name)[0]

    def broadcast(self, arrays):
        """Overwrite these NDArrays with rank 0's."""
        if self.size == 1:
            return
        with self._together():
            for number, array in enumerate(arrays):
                self._hvd.broadcast_(array, root_rank=0, name=f'broadcast.{number}')
            for array in arrays:
                array.wait_to_read()

    # ---- faults that all ranks must hear of

    @contextlib.contextmanager
    def all_or_none(self, what):
        """What is done in here succeeds on all ranks, or fails on all with the sentence of those
        where it failed.

        It must not contain collective operations: a rank that failed would not take part.
        """
        fault = None
        try:
            yield
        except UserError as error:
            fault = error
        except OSError as error:
            if error.filename is None:
                raise
            fault = UserError(f'{error.filename} cannot be used: {error.strerror}')
        if self.size == 1 and fault:
            raise fault
        self.agree(str(fault) if fault else None, what, fault)

    def agree(self, fault, what, cause=None):
        """Raise UserError on every rank if any has a `fault` (a sentence), naming the ranks that
        do."""
        faults = self.gather(fault, what)
        first = next((sentence for sentence in faults if sentence), None)
        if first is None:
            return
        guilty = [rank for rank, sentence in enumerate(faults) if sentence == first]
        self.end(UserError(first if len(guilty) == self.size else f'{name_ranks(guilty)}: {first}'),
                 cause)

    def end(self, error, cause=None):
        """Raise an error that all ranks have at once: rank 0 says it, the others leave with its
        exit code."""
        if self.heart:
            self.heart.done()
        if self.first:
            raise error from cause
        sys.exit(2)


def name_ranks(numbers):
    """'rank 3', or 'ranks 0, 3 and 5'."""
    *most, last = map(str, numbers)
    return f'ranks {", ".join(most)} and {last}' if most else f'rank {last}'


def _start_horovod():
    """Horovod for MXNet, initialized. Fusing buffers would change the order of sums from run to
    run, so it is off."""
    os.environ.setdefault('HOROVOD_FUSION_THRESHOLD', '0')
    try:
        import horovod.mxnet as hvd
        from horovod.common.exceptions import HorovodInternalError
    except ImportError as error:
        raise BackendError(f'{ranks()} ranks were started and Horovod cannot be imported '
                           f'({error}): run make horovod') from error
    hvd.HorovodInternalError = HorovodInternalError
    hvd.init()
    return hvd
