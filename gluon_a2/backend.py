"""The only place that imports MXNet, and the way it must be imported: `from gluon_a2.backend import
mx`.

Before the import it sets the number of CPU threads (left alone, MXNet takes half the logical cores)
and, for the GPU wheel, loads the CUDA 11 libraries; what stands in the way is raised as one
sentence.
"""
import os
import sys
import warnings

from .errors import UserError
from .machine import checks

__all__ = ['BackendError', 'check_gpu', 'device', 'mx', 'threads']


class BackendError(UserError, ImportError):
    """MXNet cannot be used here; the message says why and what mends it."""


def threads():
    """(CPU threads that MXNet computes with, where the number comes from): `(2, 'all cores')`."""
    return _THREADS


def check_gpu(index=0, found=None):
    """Raise BackendError unless MXNet can run on GPU `index`; `found` stands for the answer of
    `checks.gpus()`."""
    fault = checks.gpu_fault(index, found)
    if fault:
        raise BackendError(fault)


def device(num_gpus, index=0):
    """The context of a process that is given 0 GPUs, or GPU `index`; BackendError where MXNet
    cannot use it."""
    if not num_gpus:
        return mx.cpu()
    check_gpu(index)
    return mx.gpu(index)


def _import_mxnet():
    """Import MXNet and turn its error into a sentence."""
    try:
        with warnings.catch_warnings():
            # MXNet 1.9.1 reads deprecated names of numpy and distutils while it is imported; nobody
            # can mend that.
            warnings.simplefilter('ignore', DeprecationWarning)
            import mxnet
    except Exception as error:
        raise BackendError(checks.import_error_fault(error)) from error
    return mxnet


def _running_threads(mxnet, unknown):
    """What OpenMP itself answers; `unknown` where MXNet's library does not reach it, as in builds
    without OpenMP."""
    ask = getattr(mxnet.base._LIB, 'omp_get_max_threads', None)
    return ask() if ask else unknown


def _start():
    """(MXNet, (its number of threads, where that comes from)), or the first fault that stands in
    the way."""
    early = 'mxnet' in sys.modules
    for fault in [] if early else checks.import_faults():
        raise BackendError(fault)
    count, where_from = checks.choose_threads()
    os.environ['OMP_NUM_THREADS'] = str(count)  # OpenMP reads it once, when it is loaded
    mxnet = _import_mxnet()
    running = _running_threads(mxnet, count)
    if running != count:
        where_from = f'{"mxnet" if early else "OpenMP"} was loaded before gluon_a2.backend could ask for {count}'
    return mxnet, (running, where_from)


mx, _THREADS = _start()
