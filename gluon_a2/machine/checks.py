"""What a machine must have to run MXNet 1.9.1, each question asked in one place.

`gluon_a2.backend` asks before it imports MXNet and `gluon_a2.doctor` asks to report, so nothing
heavy is imported here. A function named `*_fault` returns one sentence that names the fault and the
way out, or None.
"""
import ctypes
import importlib.util
import math
import os
import re
import sys
from importlib import metadata
from pathlib import Path

MXNET = '1.9.1'
CPU_WHEEL, GPU_WHEEL = 'mxnet', 'mxnet-cu112'
WHEELS = (CPU_WHEEL, 'mxnet-native', 'mxnet-cu101', 'mxnet-cu102', 'mxnet-cu110', GPU_WHEEL)
INSTALL_CPU = f'pip install {CPU_WHEEL}=={MXNET} "numpy<1.24"'

# The GPU wheel holds machine code for these and no PTX, so no newer GPU can translate it for
# itself. Code for sm_XY runs on GPUs of the same X and the same or a higher Y.
ARCHITECTURES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

# What mxnet-cu112 links against, each after the ones it needs itself, and the pip package that has
# it.
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

# Where each launcher tells a process how many ranks share its machine.
LOCAL_RANKS = ('HOROVOD_LOCAL_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'MPI_LOCALNRANKS',
               'SLURM_NTASKS_PER_NODE')


# ---- what is installed

def installed(name):
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wheels():
    """The installed MXNet wheels: {name: version}."""
    found = {name: installed(name) for name in WHEELS}
    return {name: version for name, version in found.items() if version}


def import_faults():
    """Every known reason why `import mxnet` would fail or crash here, the most decisive first."""
    faults = [python_fault(), decord_fault(), wheel_fault(), numpy_fault(), threads_fault()]
    if GPU_WHEEL in wheels():
        faults.append(driver_fault() or cuda_fault())
    return [fault for fault in faults if fault]


def python_fault(version=None):
    """MXNet needs numpy<1.24, which exists for Python up to 3.11."""
    version = tuple(version or sys.version_info)[:2]
    if (3, 8) <= version < (3, 12):
        return None
    return f'Python {version[0]}.{version[1]} cannot run MXNet {MXNET}: use Python 3.8, 3.9, 3.10 or 3.11'


def decord_fault(modules=None):
    """decord and MXNet in one process: the wrong order is a segmentation fault."""
    modules = sys.modules if modules is None else modules
    if 'decord' not in modules or 'mxnet' in modules:
        return None
    return 'decord was imported before MXNet, which then crashes: import gluon_a2.backend first'


def wheel_fault():
    """Exactly one MXNet wheel, of the tested version; a build from source has no wheel's name and
    passes."""
    found = wheels()
    if len(found) > 1:
        return (f'{" and ".join(found)} are both installed and overwrite each other: '
                f'run pip uninstall -y {" ".join(found)}, then install one of them')
    if not found and importlib.util.find_spec('mxnet') is None:
        return f'MXNet is not installed: run {INSTALL_CPU} (the cpu extra)'
    for name, version in found.items():
        if version != MXNET:
            return f'{name} {version} is installed and gluon_a2 needs {MXNET}: run pip install {name}=={MXNET}'
    return None


def numpy_fault():
    """MXNet uses np.bool, which numpy 1.24 removed."""
    version = installed('numpy')
    if version is None:
        return 'numpy is not installed: run pip install "numpy<1.24"'
    if tuple(int(part) for part in re.findall(r'\d+', version)[:2]) < (1, 24):
        return None
    return f'numpy {version} is too new for MXNet {MXNET}, which needs numpy below 1.24: run pip install "numpy<1.24"'


def import_error_fault(error):
    """The sentence for an error that `import mxnet` raised although no fault was known."""
    text = str(error).strip()
    library = re.match(r'(\S+\.so[.\d]*): cannot open shared object file', text)
    if library:
        return (f'{library.group(1)}, which MXNet needs, is missing: install it as a system '
                'package (Debian: apt-get install libgomp1 libquadmath0)')
    if isinstance(error, ModuleNotFoundError) and error.name != 'mxnet':
        return f'{error.name}, which MXNet needs, is not installed: run pip install {error.name}'
    first_line = text.splitlines()[0] if text else 'no message'
    return (f'importing MXNet failed with {type(error).__name__} ({first_line}): run pip install '
            f'--force-reinstall --no-deps {next(iter(wheels()), CPU_WHEEL)}=={MXNET}')


def opencv_fault(ended):
    """The sentence for `import cv2` that ended with this message (None: it worked)."""
    if ended is None:
        return None
    headless = f'opencv-python-headless=={installed("opencv-python-headless") or "4.11.0.86"}'
    return f'OpenCV cannot be imported ({ended}): run pip install --force-reinstall --no-deps {headless}'


# ---- GPUs

def driver_fault():
    """The driver's own library is the one part of CUDA that no pip package has."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return (f'{DRIVER} is missing, so there is no NVIDIA driver for {GPU_WHEEL}: install the '
                f'driver, or run pip uninstall -y {GPU_WHEEL}, then {INSTALL_CPU} (the cpu extra)')
    return None


def cuda_fault():
    """Load the CUDA 11 libraries, which lie where the linker does not look: MXNet then finds them
    loaded."""
    missing = {}
    for name, package in CUDA_LIBRARIES:
        try:
            ctypes.CDLL(cuda_library(name))
        except OSError:
            missing[name] = package
    if not missing:
        return None
    packages = ' '.join(dict.fromkeys(missing.values()))
    return f'{GPU_WHEEL} needs {", ".join(missing)}, missing or broken: run pip install --force-reinstall {packages}'


def cuda_library(name):
    """The library's path in the nvidia wheels, else its bare name: the system may have it."""
    spec = importlib.util.find_spec('nvidia')
    roots = spec.submodule_search_locations if spec else ()
    paths = (path for root in roots for path in Path(root).glob(f'*/lib/{name}'))
    return str(next(paths, name))


def gpus(cuda=None):
    """The GPUs this process may use, as the driver tells: [(name, (major, minor))]; none without a
    driver."""
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
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    return name.value.decode(errors='replace'), (major.value, minor.value)


def gpu_fault(index=0, found=None):
    """Why GPU `index` cannot be used; `found` stands for the answer of `gpus()`."""
    if GPU_WHEEL not in wheels():
        return (f'a GPU was asked for and {GPU_WHEEL} is not installed: install the cu112 extra '
                'in an environment of its own, or ask for none (--num-gpus 0)')
    found = gpus() if found is None else found
    if index >= len(found):
        return (f'GPU {index} was asked for and the driver shows {len(found) or "none"}: '
                'see nvidia-smi and CUDA_VISIBLE_DEVICES, or ask for none (--num-gpus 0)')
    name, capability = found[index]
    return architecture_fault(f'GPU {index} ({name})', capability)


def architecture_fault(gpu, capability):
    """The GPU wheel has no machine code for GPUs of compute capability 9.0 (Hopper) and later."""
    major, minor = capability
    if any(major == built_major and minor >= built_minor
           for built_major, built_minor in ARCHITECTURES):
        return None
    built = ', '.join(f'sm_{x}{y}' for x, y in ARCHITECTURES)
    return (f'{gpu} is sm_{major}{minor}, and {GPU_WHEEL} has machine code for {built} and no PTX: '
            'use a GPU of one of these generations, or none (--num-gpus 0)')


# ---- CPU threads

def cores():
    """CPU cores this process may use: its affinity, or fewer where a container's quota grants
    fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os,
                                                      'sched_getaffinity') else os.cpu_count() or 1
    return min(allowed, cpu_quota() or allowed)


def free_memory(root='/sys/fs/cgroup', meminfo='/proc/meminfo'):
    """Bytes a process may still take: what the machine has free, or what is left of a container's
    limit."""
    with open(meminfo) as file:
        fields = dict(line.split(':') for line in file)
    free = int(fields['MemAvailable'].split()[0]) * 1024
    for limit, used in (('memory.max', 'memory.current'),
                        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes')):
        try:
            left = int(Path(root, limit).read_text()) - int(Path(root, used).read_text())
        except (OSError, ValueError):  # no such control group, or one without a limit ('max')
            continue
        free = min(free, left)
    return max(0, free)


def cpu_quota(root='/sys/fs/cgroup'):
    """The CPUs that the container's quota is worth, rounded up, or None without one."""
    root = Path(root)
    try:
        if (root / 'cpu.max').exists():  # cgroup v2: 'quota period'
            quota, period = (root / 'cpu.max').read_text().split()
        else:
            quota, period = ((root / 'cpu' / f'cpu.cfs_{part}_us').read_text()
                             for part in ('quota', 'period'))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):  # no cgroup, or the quota is 'max'
        return None


def local_ranks(environ):
    """(ranks on this machine, the launcher's variable that says so), or (1, None)."""
    for name in LOCAL_RANKS:
        number = re.match(r'\d+', environ.get(name, ''))
        if number:
            return max(1, int(number.group())), name
    return 1, None


def threads_fault(environ=os.environ):
    """The user's OMP_NUM_THREADS must be one number: OpenMP takes '4,2' as well, and MXNet aborts
    the process on it."""
    asked = environ.get('OMP_NUM_THREADS')
    if not asked or re.match(r'[1-9][0-9]*\Z', asked):
        return None
    return f'OMP_NUM_THREADS is {asked!r}: set it to a whole number, or unset it to use all cores'


def choose_threads(environ=os.environ, available=None):
    """(CPU threads for MXNet, where the number comes from): the user's, else every core shared by
    the local ranks."""
    asked = environ.get('OMP_NUM_THREADS')
    if asked and not threads_fault(environ):
        return int(asked), 'OMP_NUM_THREADS'
    available = available or cores()
    ranks, variable = local_ranks(environ)
    if ranks == 1:
        return available, 'all cores'
    return max(
        1, available // ranks), f'{available} cores shared by the {ranks} local ranks of {variable}'
