"""Each fault is provoked in a child process, where packages can be missing, doubled, too new or
broken."""
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_a2.errors import UserError
from gluon_a2.machine import gpus, installation, resources

ROOT = Path(__file__).resolve().parents[1]
IMPORT = 'from gluon_a2.backend import mx, threads'


def child(code, folder=None, site=True, **environ):
    """Run code in a fresh Python; `folder` comes first on its path, and without `site` nothing else
    is installed."""
    unset = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', *resources.LOCAL_RANKS)
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    path = os.pathsep.join(str(part) for part in (folder, ROOT) if part)
    command = [sys.executable, *([] if site else ['-S']), '-c', code]
    return subprocess.run(command, env={**kept, 'PYTHONPATH': path, **environ},
                          capture_output=True, text=True, timeout=120)


def last_error(done):
    """The child's last line on stderr; it must have failed as an exception, not as a crash."""
    assert done.returncode == 1, done
    return done.stderr.strip().splitlines()[-1]


def install(folder, name, version):
    """A distribution by name alone, as pip leaves it."""
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def package(folder, name, code):
    """A package that runs code when it is imported."""
    (folder / name).mkdir()
    (folder / name / '__init__.py').write_text(code)


# ---- faults of the import

def test_numpy_too_old(tmp_path):
    install(tmp_path, 'numpy', '1.19.5')
    assert last_error(child(IMPORT, tmp_path)) == (
        'gluon_a2.backend.BackendError: numpy 1.19.5 is older than 1.20: run pip install --upgrade '
        'numpy')


@pytest.mark.parametrize('other', ['mxnet_cu117', 'mxnet-native', 'mxnet-cu92mkl'])
def test_both_wheels(tmp_path, other):
    install(tmp_path, 'mxnet', '1.9.1')
    install(tmp_path, other, '1.9.1')
    other = other.replace('_', '-')
    assert last_error(child(IMPORT, tmp_path)) == (
        f'gluon_a2.backend.BackendError: mxnet and {other} are both installed and overwrite '
        f'each other: run pip uninstall -y mxnet {other}, then install one of them')


def test_numpy_has_no_name_that_a_newer_mxnet_needs(tmp_path):
    package(tmp_path, 'mxnet', 'import numpy\nnumpy.no_such_name')
    install(tmp_path, 'mxnet', '1.9.1')
    sentence = last_error(child(IMPORT, tmp_path))
    assert f'MXNet 1.9.1 asks numpy {np.__version__} for a name that it no longer has' in sentence
    assert sentence.endswith('run pip install "numpy<2.6"')


def test_no_wheel():
    assert last_error(child(IMPORT, site=False)) == (
        'gluon_a2.backend.BackendError: MXNet is not installed: '
        'run pip install --no-deps mxnet==1.9.1')


def test_another_version(tmp_path):
    install(tmp_path, 'mxnet', '1.6.0')
    assert last_error(child(IMPORT, tmp_path, site=False)).endswith(
        'mxnet 1.6.0 is installed and gluon_a2 needs 1.9.1: run pip install mxnet==1.9.1')


def test_no_numpy(tmp_path):
    install(tmp_path, 'mxnet', '1.9.1')
    assert last_error(child(IMPORT, tmp_path, site=False)).endswith(
        'numpy is not installed: run pip install numpy')


def test_decord_first(tmp_path):
    package(tmp_path, 'decord', '')
    assert last_error(child(f'import decord\n{IMPORT}', tmp_path)) == (
        'gluon_a2.backend.BackendError: decord was imported before MXNet, which then crashes: '
        'import gluon_a2.backend first')


@pytest.mark.parametrize('value', ['4,2', '0', '1.5'])
def test_threads_that_are_no_number(value):
    """MXNet would abort the process on '4,2'."""
    assert last_error(child(IMPORT, OMP_NUM_THREADS=value)) == (
        f'gluon_a2.backend.BackendError: OMP_NUM_THREADS is {value!r}: '
        'set it to a whole number, or unset it to use all cores')


@pytest.mark.parametrize('code, sentence', [
    ('raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")',
     'libgomp.so.1, which MXNet needs, is missing: install it as a system package '
     '(Debian: apt-get install libgomp1 libquadmath0)'),
    ('import requests_of_another_name',
     'requests_of_another_name, which MXNet needs, is not installed: run pip install '
     'requests_of_another_name'),
    ('raise AttributeError("a broken wheel\\nmore")',
     'importing MXNet failed with AttributeError (a broken wheel): '
     'run pip install --force-reinstall --no-deps mxnet==1.9.1'),
    ('raise OSError("libx.so: cannot open shared object file: Too many open files")',
     'MXNet opens more files than this process may: raise the limit (ulimit -n 4096)')])
def test_errors_of_the_import_itself(tmp_path, code, sentence):
    package(tmp_path, 'mxnet', code)
    install(tmp_path, 'mxnet', '1.9.1')
    assert last_error(child(IMPORT, tmp_path)) == f'gluon_a2.backend.BackendError: {sentence}'


def test_backend_error_is_a_users_and_an_import_error():
    from gluon_a2.backend import BackendError
    assert issubclass(BackendError, UserError)
    assert issubclass(BackendError, ImportError)


def test_docstrings_that_are_not_there():
    """MXNet would fail with a TypeError, which no reinstallation cures."""
    assert last_error(child(IMPORT, PYTHONOPTIMIZE='2')) == (
        'gluon_a2.backend.BackendError: MXNet cannot be imported without docstrings: run Python '
        'without -OO, and unset PYTHONOPTIMIZE')
    assert installation.docstrings_fault(1) is None


# ---- the GPU wheel

def gpu_wheel(folder, code='', change=''):
    """A child with only mxnet-cu112 installed, its package being `code`."""
    package(folder, 'mxnet', code)
    install(folder, 'mxnet-cu112', '1.9.1')
    install(folder, 'numpy', '1.23.5')
    package(folder, 'numpy', 'def __getattr__(name): return None')
    code = f'from gluon_a2.machine import installation\n{change}\n{IMPORT}'
    return child(code, folder, site=False)


def test_no_driver(tmp_path):
    change = 'installation.DRIVER = "libcuda-of-nobody.so.1"'
    assert last_error(gpu_wheel(tmp_path, change=change)) == (
        'gluon_a2.backend.BackendError: libcuda-of-nobody.so.1 is missing, so there is no NVIDIA '
        'driver for mxnet-cu112: install the driver, or run pip uninstall -y mxnet-cu112, then pip '
        'install --no-deps mxnet==1.9.1')


def test_missing_cuda_libraries_are_named_with_their_packages(tmp_path):
    change = '''
installation.driver_fault = lambda wheel: None
installation.CUDA_LIBRARIES = (('libx.so.8', 'nvidia-x==1'), ('libxLt.so.8', 'nvidia-x==1'),
                               ('liby.so.2', 'nvidia-y==3'))'''
    assert last_error(gpu_wheel(tmp_path, change=change)) == (
        'gluon_a2.backend.BackendError: mxnet-cu112 needs libx.so.8, libxLt.so.8, liby.so.2, '
        'missing or broken: run pip install --force-reinstall nvidia-x==1 nvidia-y==3')


def test_cuda_libraries_are_loaded_before_mxnet_in_order(tmp_path):
    libraries = tmp_path / 'nvidia' / 'cudnn' / 'lib'
    libraries.mkdir(parents=True)
    (libraries / 'libcudnn.so.8').touch()
    change = '''
import ctypes
ctypes.CDLL = print'''
    done = gpu_wheel(tmp_path, 'print("import mxnet")\nfrom types import SimpleNamespace\n'
                               'base = SimpleNamespace(_LIB=None)', change)
    assert done.stdout.split('\n') == ['libcuda.so.1',
                                       *(name for name, _ in installation.CUDA_LIBRARIES[:-1]),
                                       str(libraries / 'libcudnn.so.8'), 'import mxnet', '']


class FakeDriver:
    """libcuda's calls that `gpus` makes, answered from a list."""

    def __init__(self, found, failure=0):
        self.found, self.failure = found, failure

    def cuInit(self, flags):
        return self.failure

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.found)
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = index

    def cuDeviceGetName(self, name, size, device):
        name.value = self.found[device.value][0].encode()

    def cuDeviceGetAttribute(self, number, attribute, device):
        number._obj.value = self.found[device.value][1][{75: 0, 76: 1}[attribute]]


def test_gpus_are_read_from_the_driver():
    found = [('NVIDIA A100', (8, 0)), ('Tesla T4', (7, 5))]
    assert gpus.gpus(FakeDriver(found)) == found
    assert gpus.gpus(FakeDriver(found, failure=100)) == []
    assert gpus.gpus(SimpleNamespace()) == []


def test_gpus_without_a_driver(monkeypatch):
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: (_ for _ in ()).throw(OSError(name)))
    assert gpus.gpus() == []


@pytest.mark.parametrize('capability', [(5, 0), (5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6),
                                        (8, 9)])
def test_architectures_with_machine_code(monkeypatch, capability):
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet-cu112': '1.9.1'})
    assert gpus.gpu_fault(found=[('NVIDIA X', capability)]) is None


@pytest.mark.parametrize('wheel, capability, fits', [
    ('mxnet-cu101', (3, 7), True), ('mxnet-cu102', (3, 7), True), ('mxnet-cu110', (3, 7), False),
    ('mxnet-cu102', (8, 0), False), ('mxnet-cu110', (8, 6), True), ('mxnet-cu117', (8, 9), True),
    ('mxnet-cu117', (9, 0), False), ('mxnet-cu118', (8, 0), False)])
def test_each_wheel_has_its_generations(monkeypatch, wheel, capability, fits):
    monkeypatch.setattr(installation, 'wheels', lambda: {wheel: '1.9.1'})
    fault = gpus.gpu_fault(found=[('NVIDIA X', capability)])
    assert (fault is None) == fits
    assert fits or f'{wheel} has machine code for ' in fault


@pytest.mark.parametrize('capability, name', [
    ((3, 7), 'sm_37'), ((9, 0), 'sm_90'), ((10, 0), 'sm_100'), ((12, 0), 'sm_120')])
def test_architectures_without(monkeypatch, capability, name):
    from gluon_a2.backend import BackendError, device
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet-cu112': '1.9.1'})
    monkeypatch.setattr(gpus, 'gpus', lambda: [('NVIDIA X', capability)])
    with pytest.raises(BackendError) as error:
        device(1)
    assert str(error.value) == (
        f'GPU 0 (NVIDIA X) is {name}, and mxnet-cu112 has machine code for sm_50, sm_60, sm_70, '
        'sm_80, sm_86 alone: use a GPU of one of these generations, or none (`num_gpus` 0)')


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet-cu112': '1.9.1'})
    assert gpus.gpu_fault(found=[]) == (
        'GPU 0 was asked for and the driver shows none: '
        'see nvidia-smi and CUDA_VISIBLE_DEVICES, or ask for none (`num_gpus` 0)')
    assert gpus.gpu_fault(1, [('A', (8, 0))]).startswith('GPU 1 was asked for and the driver '
                                                           'shows 1: ')
    assert gpus.gpu_fault(1, [('A', (3, 0)), ('B', (8, 0))]) is None


def test_a_gpu_with_the_cpu_wheel(monkeypatch):
    from gluon_a2.backend import BackendError, device, mx
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet': '1.9.1'})
    assert device(0) == mx.cpu()
    with pytest.raises(BackendError, match='a GPU was asked for and no MXNet for GPUs '
                                           'is installed. '):
        device(1)


# ---- threads

@pytest.mark.parametrize('environ, answer', [
    ({}, (12, 'all cores')),
    ({'OMP_NUM_THREADS': ''}, (12, 'all cores')),
    ({'OMP_NUM_THREADS': '5', 'HOROVOD_LOCAL_SIZE': '4'}, (5, 'OMP_NUM_THREADS')),
    ({'HOROVOD_LOCAL_SIZE': '1'}, (12, 'all cores')),
    ({'HOROVOD_LOCAL_SIZE': '5'}, (2, '12 cores shared by the 5 local ranks of '
                                      'HOROVOD_LOCAL_SIZE')),
    ({'OMPI_COMM_WORLD_LOCAL_SIZE': '3'}, (4, '12 cores shared by the 3 local ranks of '
                                              'OMPI_COMM_WORLD_LOCAL_SIZE')),
    ({'MPI_LOCALNRANKS': '6'}, (2, '12 cores shared by the 6 local ranks of MPI_LOCALNRANKS')),
    ({'SLURM_NTASKS_PER_NODE': '4(x2)'}, (3, '12 cores shared by the 4 local ranks of '
                                             'SLURM_NTASKS_PER_NODE')),
    ({'HOROVOD_LOCAL_SIZE': '2', 'SLURM_NTASKS_PER_NODE': '9'},
     (6, '12 cores shared by the 2 local ranks of HOROVOD_LOCAL_SIZE')),
    ({'HOROVOD_LOCAL_SIZE': '64'}, (1, '12 cores shared by the 64 local ranks of '
                                       'HOROVOD_LOCAL_SIZE'))])
def test_choice_of_threads(environ, answer):
    assert resources.choose_threads(environ, available=12) == answer


@pytest.mark.parametrize('files, cpus', [
    ({}, None), ({'cpu.max': 'max 100000\n'}, None), ({'cpu.max': '150000 100000\n'}, 2),
    ({'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n'}, None),
    ({'cpu/cpu.cfs_quota_us': '300000\n', 'cpu/cpu.cfs_period_us': '100000\n'}, 3)])
def test_quota_of_a_container(tmp_path, files, cpus):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert resources.cpu_quota(tmp_path) == cpus


COUNT = f'''
import os
{IMPORT}
idle = len(os.listdir('/proc/self/task'))
mx.nd.dot(mx.nd.ones((512, 512)), mx.nd.ones((512, 512))).wait_to_read()
print(*threads(), mx.base._LIB.omp_get_max_threads(), os.environ.get('OMP_NUM_THREADS'),
      len(os.listdir('/proc/self/task')) - idle, sep='|')
'''


def test_mxnet_computes_with_the_threads_it_was_given():
    """Every further thread of OpenMP is a further task of the process once it has computed."""
    started = {}
    for count in (1, 4):
        *answer, tasks = child(COUNT, OMP_NUM_THREADS=str(count)).stdout.strip().split('|')
        assert answer == [str(count), 'OMP_NUM_THREADS', str(count), str(count)]
        started[count] = int(tasks)
    assert started[4] - started[1] == 3


def test_threads_are_all_cores_by_default_and_the_environment_stays_as_it_was():
    cores = resources.cores()
    assert child(COUNT).stdout.startswith(f'{cores}|all cores|{cores}|None|')


def test_importing_the_library_sets_nothing_for_the_host_program():
    code = '''
import os, cv2
cv2.setNumThreads(3)
before = dict(os.environ), cv2.getNumThreads()
import gluon_a2.data, gluon_a2.backend, gluon_a2.deploy, gluon_a2.run.load
assert (dict(os.environ), cv2.getNumThreads()) == before
'''
    done = child(code)
    assert (done.returncode, done.stderr) == (0, '')


def test_mxnet_imported_first_is_told_truthfully():
    code = f'''
import os
from gluon_a2.legacy import lent
with lent():
    import mxnet
del os.environ['OMP_NUM_THREADS']
{IMPORT}
print(*threads(), mx.base._LIB.omp_get_max_threads(), sep='|')
'''
    done = child(code, OMP_NUM_THREADS='3', HOROVOD_LOCAL_SIZE='9999')
    assert done.stdout == '3|mxnet was loaded before gluon_a2.backend could ask for 1|3\n'


def test_the_import_prints_nothing_even_where_warnings_are_errors():
    done = child('import warnings\nwarnings.simplefilter("error")\n' + IMPORT)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('given, policy', [
    ({}, '10000'), ({'OMP_WAIT_POLICY': 'ACTIVE'}, 'ACTIVE'), ({'GOMP_SPINCOUNT': '7'}, '7')])
def test_threads_wait_spinning_shortly_unless_told_otherwise(given, policy):
    """By what OpenMP itself displays when MXNet loads it; the environment stays what it was."""
    done = child('import os; before = dict(os.environ); import gluon_a2.backend; '
                 'assert {k: v for k, v in os.environ.items() if "OMP" in k} == '
                 '{k: v for k, v in before.items() if "OMP" in k}',
                 OMP_DISPLAY_ENV='VERBOSE', OMP_NUM_THREADS='2', **given)
    assert done.returncode == 0, done.stderr
    name = 'OMP_WAIT_POLICY' if 'OMP_WAIT_POLICY' in given else 'GOMP_SPINCOUNT'
    assert f"{name} = '{policy}'" in done.stderr


@pytest.mark.parametrize('vendor, family, flags, unknown', [
    ('AuthenticAMD', 25, 'fma avx2', True), ('AuthenticAMD', 23, 'fma avx2', False),
    ('GenuineIntel', 25, 'fma avx2', False), ('AuthenticAMD', 26, 'fma avx', False)])
def test_processors_younger_than_openblas(vendor, family, flags, unknown, tmp_path):
    (tmp_path / 'cpuinfo').write_text(
        f'vendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {flags} sse\n')
    assert resources.unknown_to_openblas(str(tmp_path / 'cpuinfo')) == unknown
    assert not resources.unknown_to_openblas(str(tmp_path / 'none'))


@pytest.mark.skipif(not {'avx2', 'fma'} <= set(Path('/proc/cpuinfo').read_text().split()),
                    reason='this CPU has no AVX2')
@pytest.mark.parametrize('given, core', [({}, 'Haswell'), ({'OPENBLAS_CORETYPE': 'Sandybridge'},
                                                           'Sandybridge')])
def test_openblas_is_told_of_such_a_processor_unless_the_user_says_another(given, core,
                                                                          monkeypatch):
    monkeypatch.delenv('OPENBLAS_CORETYPE', raising=False)
    done = child('import os; from gluon_a2.machine import resources\n'
                 'resources.unknown_to_openblas = lambda: True\n'
                 'before = os.environ.get("OPENBLAS_CORETYPE"); import gluon_a2.backend; '
                 'assert os.environ.get("OPENBLAS_CORETYPE") == before',
                 OPENBLAS_VERBOSE='2', **given)
    assert done.returncode == 0, done.stderr
    assert f'Core: {core}\n' in done.stderr
