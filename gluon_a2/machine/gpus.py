"""The GPUs of this machine, and whether MXNet's wheel has machine code for them."""
from __future__ import annotations

import ctypes
from typing import Any, List, Tuple

from . import installation
from .installation import DRIVER, GPU_WHEEL

# The GPU wheel holds machine code for these and no PTX, so no newer GPU can translate it for
# itself. Code for sm_XY runs on GPUs of the same X and the same or a higher Y.
ARCHITECTURES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

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
    if GPU_WHEEL not in installation.wheels():
        return (f'a GPU was asked for and {GPU_WHEEL} is not installed: install the cu112 extra '
                'in an environment of its own, or ask for none (`num_gpus` 0)')
    found = gpus() if found is None else found
    if index >= len(found):
        return (f'GPU {index} was asked for and the driver shows {len(found) or "none"}: '
                'see nvidia-smi and CUDA_VISIBLE_DEVICES, or ask for none (`num_gpus` 0)')
    name, (major, minor) = found[index]
    if any(major == built_major and minor >= built_minor
           for built_major, built_minor in ARCHITECTURES):
        return None
    built = ', '.join(f'sm_{x}{y}' for x, y in ARCHITECTURES)
    return (f'GPU {index} ({name}) is sm_{major}{minor}, and {GPU_WHEEL} has machine code for '
            f'{built} and no PTX: use a GPU of one of these generations, or none (`num_gpus` 0)')
