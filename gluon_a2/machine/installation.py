"""What must be installed to run MXNet 1.9.1, each question asked in one place.

`gluon_a2.backend` asks before it imports MXNet, and `gluon_a2.doctor` asks to report, so nothing
heavy is imported here. A function named `*_fault` returns one sentence that names the fault and the
way out, or None.
"""
from __future__ import annotations

import ctypes
import errno
import importlib.util
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from . import resources

MXNET = '1.9.1'
CPU_WHEEL, GPU_WHEEL = 'mxnet', 'mxnet-cu112'
WHEEL = re.compile(r'mxnet(-native|-mkl|-cu\d+(mkl)?)?')  # each provides the package `mxnet`
OLDEST_NUMPY = (1, 20)
# MXNet's wheel asks for numpy < 2, which it does not need (`legacy`), and which pip would install.
INSTALL_CPU = f'pip install --no-deps {CPU_WHEEL}=={MXNET}'

# What mxnet-cu112 links against, each after the ones it needs itself, and the pip package that has
# it; setup.py reads the packages from here.
CUDA_LIBRARIES = (
    ('libcudart.so.11.0', 'nvidia-cuda-runtime-cu11==11.8.89'),
    ('libnvrtc.so.11.2', 'nvidia-cuda-nvrtc-cu11==11.8.89'),
    ('libnvToolsExt.so.1', 'nvidia-nvtx-cu11==11.8.86'),
    ('libcublasLt.so.11', 'nvidia-cublas-cu11==11.11.3.6'),
    ('libcublas.so.11', 'nvidia-cublas-cu11==11.11.3.6'),
    ('libcusparse.so.11', 'nvidia-cusparse-cu11==11.7.5.86'),
    ('libcufft.so.10', 'nvidia-cufft-cu11==10.9.0.58'),
    ('libcurand.so.10', 'nvidia-curand-cu11==10.3.0.86'),
    ('libcusolver.so.11', 'nvidia-cusolver-cu11==11.4.1.48'),
    ('libnccl.so.2', 'nvidia-nccl-cu11==2.21.5'),
    ('libcudnn.so.8', 'nvidia-cudnn-cu11==8.9.6.50'),
)
DRIVER = 'libcuda.so.1'


def installed(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wheels() -> dict[str, str]:
    """The installed MXNet wheels: {name: version}."""
    found = ((each.metadata['Name'] or '', each.version) for each in metadata.distributions())
    names = ((re.sub('[-_.]+', '-', name).lower(), version) for name, version in found)
    return {name: version for name, version in sorted(names) if WHEEL.fullmatch(name)}


def gpu_wheel() -> str | None:
    """The installed MXNet wheel for GPUs, or None."""
    return next((name for name in wheels() if '-cu' in name), None)


def import_faults() -> list[str]:
    """Every known reason why `import mxnet` would fail or crash here, the most decisive first."""
    faults = [docstrings_fault(), decord_fault(), wheel_fault(), numpy_fault(),
              resources.threads_fault()]
    wheel = gpu_wheel()
    if wheel:
        faults.append(driver_fault(wheel) or cuda_fault(wheel))
    return [fault for fault in faults if fault]


def docstrings_fault(level: int = sys.flags.optimize) -> str | None:
    """MXNet composes its classes from docstrings, which `python -OO` leaves out."""
    return ('MXNet cannot be imported without docstrings: run Python without -OO, and unset '
            'PYTHONOPTIMIZE' if level > 1 else None)


def decord_fault(modules: Mapping = sys.modules) -> str | None:
    """decord and MXNet in one process: the wrong order is a segmentation fault."""
    if 'decord' not in modules or 'mxnet' in modules:
        return None
    return 'decord was imported before MXNet, which then crashes: import gluon_a2.backend first'


def wheel_fault() -> str | None:
    """There must be exactly one MXNet wheel, of the tested version, or a build from source."""
    found = wheels()
    if len(found) > 1:
        return (f'{" and ".join(found)} are both installed and overwrite each other: '
                f'run pip uninstall -y {" ".join(found)}, then install one of them')
    if not found and importlib.util.find_spec('mxnet') is None:
        return f'MXNet is not installed: run {INSTALL_CPU}'
    for name, version in found.items():
        if version != MXNET:
            return (f'{name} {version} is installed and gluon_a2 needs {MXNET}: run pip install '
                    f'{name}=={MXNET}')
    return None


def numpy_fault() -> str | None:
    """There must be a numpy that the package can use."""
    version = installed('numpy')
    if version is None:
        return 'numpy is not installed: run pip install numpy'
    if tuple(map(int, re.findall(r'\d+', version)[:2])) < OLDEST_NUMPY:
        return (f'numpy {version} is older than {".".join(map(str, OLDEST_NUMPY))}: run pip '
                'install --upgrade numpy')
    return None


def import_error_fault(error: Exception) -> str:
    """The sentence for an error that `import mxnet` raised although no fault was known."""
    text = str(error).strip()
    library = re.match(r'(\S+\.so[.\d]*): cannot open shared object file', text)
    if getattr(error, 'errno', None) == errno.EMFILE or 'Too many open files' in text:
        return 'MXNet opens more files than this process may: raise the limit (ulimit -n 4096)'
    if library and library.group(1).startswith(('libcu', 'libnv', 'libnccl')):
        return (f'{library.group(1)}, which {gpu_wheel()} needs, is missing: install the CUDA that '
                f'the wheel is named after, or use {GPU_WHEEL}, whose CUDA comes by pip')
    if library:
        return (f'{library.group(1)}, which MXNet needs, is missing: install it as a system '
                'package (Debian: apt-get install libgomp1 libquadmath0)')
    if isinstance(error, ModuleNotFoundError) and error.name != 'mxnet':
        return f'{error.name}, which MXNet needs, is not installed: run pip install {error.name}'
    if isinstance(error, AttributeError) and 'numpy' in text:
        return (f'MXNet {MXNET} asks numpy {installed("numpy")} for a name that it no longer has '
                f'({text.splitlines()[0]}): run pip install "numpy<2.6"')
    first_line = text.splitlines()[0] if text else 'no message'
    return (f'importing MXNet failed with {type(error).__name__} ({first_line}): run pip install '
            f'--force-reinstall --no-deps {next(iter(wheels()), CPU_WHEEL)}=={MXNET}')


def driver_fault(wheel: str = GPU_WHEEL) -> str | None:
    """The driver's own library is the one part of CUDA that no pip package has."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return (f'{DRIVER} is missing, so there is no NVIDIA driver for {wheel}: install the '
                f'driver, or run pip uninstall -y {wheel}, then {INSTALL_CPU}')
    return None


def cuda_fault(wheel: str = GPU_WHEEL) -> str | None:
    """Load the CUDA 11 libraries, which lie where the linker does not look, ahead of MXNet.

    The wheels from cu112 on need the same ones; those before it look for an installed CUDA.
    """
    if wheel < GPU_WHEEL:
        return None
    missing = {}
    for name, package in CUDA_LIBRARIES:
        try:
            ctypes.CDLL(_cuda_library(name))
        except OSError:
            missing[name] = package
    if not missing:
        return None
    packages = ' '.join(dict.fromkeys(missing.values()))
    return (f'{wheel} needs {", ".join(missing)}, missing or broken: run pip install '
            f'--force-reinstall {packages}')


def _cuda_library(name):
    """The library's path in the nvidia wheels, else its name, since the system may have it."""
    spec = importlib.util.find_spec('nvidia')
    roots = spec.submodule_search_locations if spec else ()
    return str(next((path for root in roots or () for path in Path(root).glob(f'*/lib/{name}')),
                    name))
