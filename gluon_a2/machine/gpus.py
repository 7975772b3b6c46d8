"""The GPUs of this machine, and whether MXNet's wheel has machine code for them."""
from __future__ import annotations

import ctypes
from typing import Any, List, Tuple

from . import installation
from .installation import DRIVER, GPU_WHEEL

# The generations that each wheel of MXNet 1.9.1 holds machine code for, as read from it. None holds
# PTX, which a newer GPU could translate for itself. Code for sm_XY runs on GPUs of the same X and
# the same or a higher Y. So the paper's K80, sm_37, is left with the two oldest wheels.
_CUDA_10 = ((3, 0), (5, 0), (6, 0), (7, 0), (7, 5))
_CUDA_11 = ((5, 0), (6, 0), (7, 0), (8, 0))
ARCHITECTURES = {
    'mxnet-cu101': _CUDA_10, 'mxnet-cu102': _CUDA_10, 'mxnet-cu110': _CUDA_11,
    **{f'mxnet-cu11{minor}': (*_CUDA_11, (8, 6)) for minor in range(2, 8)},
}

Found = List[Tuple[str, Tuple[int, int]]]  # (name, compute capability) of each GPU


def gpus(cuda: Any = None) -> Found:
    """The GPUs that the driver shows this process; `cuda` stands for the driver's library."""
    try:
        cuda = cuda or ctypes.CDLL(DRIVER)
        failed = cuda.cuInit(0)
    except (OSError, AttributeError):  # no driver, or an empty library in its place
        return []
    count = ctypes.c_int()
    if failed or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_gpu(cuda, index) for index in range(count.value)]


def _gpu(cuda, index):
    device, name = ctypes.c_int(), ctypes.create_string_buffer(100)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    return name.value.decode(errors='replace'), (major.value, minor.value)


def gpu_fault(index: int = 0, found: Found | None = None) -> str | None:
    """Why MXNet cannot use GPU `index`, or None; `found` stands for the answer of `gpus()`."""
    wheel = installation.gpu_wheel()
    if wheel is None:
        return (f'a GPU was asked for and no MXNet for GPUs is installed. Install {GPU_WHEEL} (the '
                'cu112 extra) in an environment of its own, or ask for none (`num_gpus` 0)')
    found = gpus() if found is None else found
    if index >= len(found):
        return (f'GPU {index} was asked for and the driver shows {len(found) or "none"}: '
                'see nvidia-smi and CUDA_VISIBLE_DEVICES, or ask for none (`num_gpus` 0)')
    name, (major, minor) = found[index]
    built = ARCHITECTURES.get(wheel, ())
    if any(major == x and minor >= y for x, y in built):
        return None
    return (f'GPU {index} ({name}) is sm_{major}{minor}, and {wheel} has machine code for '
            f'{", ".join(f"sm_{x}{y}" for x, y in built) or "none"} alone: use a GPU of one of '
            'these generations, or none (`num_gpus` 0)')
