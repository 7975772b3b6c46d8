"""The only place that imports MXNet, and the way it must be imported: `from gluon_a2.backend import
mx`.

Before the import, the CUDA 11 libraries are loaded for the GPU wheel, and the number of CPU threads
is chosen. MXNet's own choice is half the logical cores. Threads that wait for others spin for a
short while, then sleep. By default they spin for long, and take the cores from whoever else
computes (benchmarks/busy.py). OpenBLAS, which computes the block's products, does not know
processors that are younger than it, so they are named to it. Both libraries read the environment
once, when they are loaded. So variables are set for the import alone, and the environment of the
host program is then as it was. What stands in the way is raised as one sentence.
"""
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from .errors import UserError
from .machine import gpus, installation, resources

__all__ = ['BackendError', 'device', 'mx', 'threads']

SPINS = '10000'  # of libgomp, whose own are 300000


class BackendError(UserError, ImportError):
    """MXNet cannot be used here; the message says why and what to do about it."""


def threads() -> tuple[int, str]:
    """(CPU threads that MXNet computes with, where the number comes from): `(2, 'all cores')`."""
    return _THREADS


def device(num_gpus: int, index: int = 0) -> Any:
    """The CPU for 0 GPUs, else GPU `index`; BackendError where MXNet cannot use that."""
    fault = gpus.gpu_fault(index) if num_gpus else None
    if fault:
        raise BackendError(fault)
    return mx.gpu(index) if num_gpus else mx.cpu()


@contextlib.contextmanager
def _environment(count: int) -> Iterator[None]:
    given = {'OMP_NUM_THREADS': str(count)}
    if resources.unknown_to_openblas() and 'OPENBLAS_CORETYPE' not in os.environ:
        given['OPENBLAS_CORETYPE'] = 'Haswell'
    if not any(name in os.environ for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')):
        given['GOMP_SPINCOUNT'] = SPINS
    before = {name: os.environ.pop(name, None) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _start():
    """(MXNet, (its number of threads, where from)); BackendError with the first fault."""
    early = 'mxnet' in sys.modules
    for fault in [] if early else installation.import_faults():
        raise BackendError(fault)
    count, where_from = resources.choose_threads()
    try:
        from .legacy import lent
        with _environment(count), lent():
            import mxnet
    except Exception as error:
        raise BackendError(installation.import_error_fault(error)) from error
    # What OpenMP itself answers, where MXNet's library reaches it; a build without it does not.
    ask = getattr(mxnet.base._LIB, 'omp_get_max_threads', None)
    running = ask() if ask else count
    if running != count:
        where_from = (f'{"mxnet" if early else "OpenMP"} was loaded before gluon_a2.backend could '
                      f'ask for {count}')
    return mxnet, (running, where_from)


mx, _THREADS = _start()
