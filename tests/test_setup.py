"""setup.py's ranges, and the Makefile run with Pythons that only write down what they were
asked."""
import email
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging import markers, requirements

import gluon_a2
from gluon_a2 import doctor
from gluon_a2.machine import gpus, installation

ROOT = Path(__file__).resolve().parents[1]
LOCKS = [f'locks/{name}.txt' for name in ('packages', 'cpu', 'cu112', 'horovod', 'docs')]


# ---- setup.py

@pytest.fixture
def packaging(monkeypatch):
    """What setup.py hands to setuptools."""
    handed = {}
    monkeypatch.setattr(setuptools, 'setup', handed.update)
    runpy.run_path(str(ROOT / 'setup.py'))
    return handed


def test_version_and_python(packaging):
    assert packaging['version'] == gluon_a2.__version__
    assert packaging['python_requires'] == '>=3.8'
    assert f'version: {gluon_a2.__version__}\n' in (ROOT
                                                    / 'CITATION.cff').read_text(encoding='utf-8')


def test_every_package_is_packed(packaging):
    folders = {
        '.'.join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / 'gluon_a2').rglob('__init__.py')
    }
    assert set(packaging['packages']) == {*folders, 'gluon_a2.symbols', 'gluon_a2.compare'}


def test_extras(packaging):
    extras = packaging['extras_require']
    has_numpy_1 = '; python_version < "3.13"'
    assert extras['cpu'] == [f'mxnet=={installation.MXNET}{has_numpy_1}', *extras['train']]
    assert extras['cu112'] == [f'{installation.GPU_WHEEL}=={installation.MXNET}{has_numpy_1}',
                               *extras['cuda']]
    assert extras['distributed'] == ['horovod==0.28.1']
    assert 'gluoncv==0.10.5.post0' in extras['zoo']
    assert {re.match('[a-z-]+', line).group() for line in extras['dev']} >= {
        'pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy', 'pillow'}


def test_the_cuda_packages_are_those_the_backend_loads(packaging):
    extras = packaging['extras_require']
    assert extras['cuda'] == [*dict.fromkeys(package for _, package in installation.CUDA_LIBRARIES),
                              *extras['train']]


def test_the_oldest_numpy_is_the_one_that_is_checked(packaging):
    oldest = '.'.join(map(str, installation.OLDEST_NUMPY))
    assert packaging['install_requires'][0] == f'numpy>={oldest}'


def test_the_doctor_asks_for_every_package_of_training(packaging):
    names = {re.match('[A-Za-z-]+', line).group()
             for line in packaging['install_requires'] + packaging['extras_require']['train']}
    assert names == {'numpy', 'opencv-python-headless', *doctor.REQUIRED}


def test_both_opencvs_share_one_range(packaging):
    ranges = {
        line.partition('>=')[2]
        for line in packaging['install_requires'] + packaging['extras_require']['zoo']
        if line.startswith('opencv')
    }
    assert len(ranges) == 1


# ---- the locks

def locked(name):
    """The lines of a lock that name a package, without their hashes."""
    text = (ROOT / name).read_text(encoding='utf-8')
    return re.findall(r'^([\w-]+==.*?) \\$', text, re.MULTILINE)


@pytest.mark.parametrize('version', ['3.8.0', '3.9.0', '3.10.0', '3.11.0', '3.12.0', '3.13.0'])
def test_the_lock_has_one_allowed_release_of_all_that_is_asked_for(packaging, version):
    environment = {**markers.default_environment(), 'python_full_version': version,
                   'python_version': version.rpartition('.')[0]}
    lines = [requirements.Requirement(line) for line in locked('locks/packages.txt')]
    lines = [line for line in lines if not line.marker or line.marker.evaluate(environment)]
    release = {line.name: str(line.specifier)[2:] for line in lines}
    assert len(release) == len(lines)
    extras = packaging['extras_require']
    for line in [*packaging['install_requires'], *extras['train'], *extras['zoo'], *extras['onnx'],
                 *extras['video'], *extras['dev']]:
        asked = requirements.Requirement(line)
        if asked.name != 'opencv-python':  # a second cv2
            assert release[asked.name.lower()] in asked.specifier
    assert release['numpy'].startswith('1.23.' if version == '3.8.0' else '2.')
    assert 'torch' not in release


def test_each_mxnet_and_horovod_are_locked_apart(packaging):
    extras = packaging['extras_require']
    assert locked('locks/cpu.txt') == [f'mxnet=={installation.MXNET}']
    assert locked('locks/horovod.txt') == extras['distributed']
    docs, = map(requirements.Requirement, extras['docs'])
    kept = [line for line in map(requirements.Requirement, locked('locks/docs.txt'))
            if line.name == docs.name]
    assert kept and all(str(line.specifier)[2:] in docs.specifier for line in kept)
    assert set(locked('locks/cu112.txt')) == {
        f'{installation.GPU_WHEEL}=={installation.MXNET}', *extras['cuda']} - {*extras['train']}


@pytest.mark.parametrize('name', LOCKS)
def test_every_line_has_hashes(name):
    lines = (ROOT / name).read_text(encoding='utf-8').splitlines()
    packages = [at for at, line in enumerate(lines) if '==' in line]
    assert packages and all('--hash=sha256:' in lines[at + 1] for at in packages)


# ---- where it is installed otherwise

def test_the_container_is_set_up_by_the_same_script():
    lines = (ROOT / 'Dockerfile').read_text(encoding='utf-8').splitlines()
    steps = [line.split(' ', 1) for line in lines if line and not line.startswith('#')]
    runs = [words for step, words in steps if step == 'RUN']
    assert runs[0].startswith('apt-get update && apt-get install ')
    assert runs[1:] == ['sh tools/setup.sh .venv $DEVICE']
    assert [words for step, words in steps if step == 'COPY'] == ['. .']
    ignored = (ROOT / '.dockerignore').read_text(encoding='utf-8').split()
    assert not {'gluon_a2', 'symbols', 'scripts', 'setup.py', 'README.md', 'tools', 'locks',
                'docs'} & set(ignored)


def test_a_public_forge_tests_every_python(packaging):
    jobs = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text(encoding='utf-8'))['jobs']
    assert [f'Programming Language :: Python :: {version}'
            for version in jobs['tests']['strategy']['matrix']['python']] == [
        line for line in packaging['classifiers'] if 'Python :: 3' in line]
    runs = [step['run'] for job in jobs.values() for step in job['steps'] if 'run' in step]
    assert runs == ['make lint PYTHON=python', 'make test PYTHON=python', 'make docs PYTHON=python',
                    'python -m pip install build twine', 'python -m build',
                    'python -m twine check --strict dist/*']


def test_the_page_of_installing_says_what_each_wheel_has_code_for():
    page = (ROOT / 'docs/install.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| (`mxnet-.*?) \| (sm_.*?) \|', page, re.MULTILINE))
    assert len(rows) == len(set(gpus.ARCHITECTURES.values()))
    for names, code in rows.items():
        for name in re.findall(r'mxnet-cu\d+', names):
            assert code == 'sm_' + ', '.join(f'{x}{y}' for x, y in gpus.ARCHITECTURES[name])


# ---- what is built from it

BUILD = '''
import sys
from setuptools import build_meta
kind, out = sys.argv[1:]
print(getattr(build_meta, 'build_' + kind)(out))
'''
# What a checkout has and an installed package does without is there, too.
SOURCES = ('gluon_a2', 'symbols', 'benchmarks', 'proofs', 'scripts', 'tests', 'setup.py',
           'README.md', 'LICENSE', 'MANIFEST.in')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel that the sdist builds, and the names that the sdist has."""
    pytest.importorskip('wheel')
    folder = tmp_path_factory.mktemp('build')
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)

    def build(kind, where):
        done = subprocess.run([sys.executable, '-c', BUILD, kind, str(folder)], cwd=where,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return folder / done.stdout.splitlines()[-1]

    sdist = build('sdist', folder)
    with tarfile.open(sdist) as packed:
        names = packed.getnames()
        packed.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    with zipfile.ZipFile(build('wheel', folder / names[0])) as opened:
        yield opened, names


def test_the_wheel_holds_the_package_the_symbols_and_nothing_else(wheel):
    found = {name for name in wheel[0].namelist() if '.dist-info/' not in name}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / 'gluon_a2').rglob('*')
             if path.is_file() and path.suffix != '.pyc'}
    symbols = {f'gluon_a2/symbols/{path.name}' for path in (ROOT / 'symbols').iterdir()
               if path.suffix in ('.py', '.json') and path.name != 'generate.py'}
    assert {'gluon_a2/py.typed', 'gluon_a2/visualization/page.html',
            'gluon_a2/data/imagenet_names.txt'} < files
    assert {'gluon_a2/symbols/a2_resnet50-symbol.json',
            'gluon_a2/symbols/symbol_a2_resnet50.py'} < symbols
    measuring = {f'gluon_a2/compare/{name}.py' for name in (
        'bench', 'compare_child', 'compare_networks', 'compare_picture',
        'compare_published', 'compare_report', 'compare_rounds', 'mxnet_steps', 'tables')}
    assert found == files | symbols | measuring


def test_the_sdist_holds_no_tests_and_no_proofs(wheel):
    assert {name.split('/')[1] for name in wheel[1][1:]} <= {
        'gluon_a2', 'symbols', 'benchmarks', 'gluon_a2.egg-info', 'setup.py', 'setup.cfg',
        'README.md', 'LICENSE', 'MANIFEST.in', 'PKG-INFO'}


def metadata(wheel, name):
    """The text of a file about the wheel."""
    path, = (path for path in wheel[0].namelist() if path.endswith(f'.dist-info/{name}'))
    return wheel[0].read(path).decode()


def test_the_wheel_has_one_command(wheel):
    assert metadata(wheel, 'entry_points.txt').split('\n')[:2] == [
        '[console_scripts]', 'gluon-a2 = gluon_a2.commands:main']


def test_the_description_has_no_link_that_leads_nowhere(wheel):
    about = email.message_from_string(metadata(wheel, 'METADATA'))
    text = about.get_payload()
    assert text.lstrip().startswith('# gluon_a2')
    links = re.findall(r'\]\(([^)]*)\)', text)
    assert links and all(link.startswith('https://') for link in links)
    assert about['Project-URL'] and about['Keywords']
    assert 'Programming Language :: Python :: 3.13' in about.get_all('Classifier')


# ---- Makefile

# It answers the two questions make asks of a Python, and writes down what pip, pytest and the
# others are to do.
FAKE_PYTHON = r'''#!/bin/sh
case "$*" in
*'sys.version_info >='*) [ -z "$TOO_OLD" ] && echo "$0" ;;
'-m venv '*) [ -z "$NO_VENV" ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*) echo "$*" >>"$CALLS"; case "$*" in *"$BREAK"*) exit "${STATUS:-0}" ;; esac ;;
esac
'''
FAKE_UV = r'''#!/bin/sh
echo "uv $*" >>"$CALLS"
for folder; do :; done
mkdir -p "$folder/bin" && cp "$BIN/python3.13" "$folder/bin/python"
'''
TOOLS = ('sh', 'awk', 'cp', 'find', 'grep', 'mkdir', 'rm', 'rmdir', 'touch', 'uname', 'bash',
         'dirname', 'make')
LINT = ['-m ruff check .', '-m mypy']
LOCKED = '-m pip install -q --no-deps --require-hashes -r locks/packages.txt -r locks/{}.txt'
OURS = '-m pip install -q --no-deps --no-build-isolation -e .'


class Machine:
    """A checkout, and a PATH that holds only make's tools and what a test puts there."""

    def __init__(self, folder):
        self.checkout, self.bin, self.calls = folder / 'checkout', folder / 'bin', folder / 'calls'
        for name in ('Makefile', 'setup.py', 'tools/setup.sh', '.ci/run', *LOCKS):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.checkout / name)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add('ldconfig', '#!/bin/sh\n')

    def add(self, name, script):
        """Put a program on the PATH, in place of one of that name."""
        if (self.bin / name).exists():
            (self.bin / name).unlink()  # a link to the real tool would be written through
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def run(self, *command, **environ):
        """(exit code, what was asked of the Pythons, stderr), in an environment without an outer
        make's settings."""
        self.calls.write_text('')
        done = subprocess.run(
            command, cwd=self.checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=60, env={
                'PATH': str(self.bin), 'CALLS': str(self.calls), 'BIN': str(self.bin),
                'BREAK': 'nothing', **environ
            })
        return done.returncode, self.calls.read_text().splitlines(), done.stderr


@pytest.fixture
def machine(tmp_path):
    """A machine with Python 3.13."""
    made = Machine(tmp_path)
    made.add('python3.13', FAKE_PYTHON)
    return made


def test_set_up_resolves_nothing_and_is_done_once(machine):
    tests = '-m pytest -n 2 -q -k one'
    assert machine.run('make', 'DEVICE=cpu', 'test', 'ARGS=-k one') == (
        0, [LOCKED.format('cpu'), OURS, tests], '')
    assert machine.run('make', 'DEVICE=cpu', 'test', 'ARGS=-k one') == (0, [tests], '')


@pytest.mark.parametrize('changed', ['setup.py', 'locks/packages.txt', 'locks/cpu.txt'])
def test_another_device_setup_py_or_lock_sets_up_anew(machine, changed):
    machine.run('make', 'DEVICE=cpu', 'lint')
    assert machine.run('make', 'DEVICE=cu112', 'lint')[1] == [
        LOCKED.format('cu112'), OURS, *LINT]
    assert machine.run('make', 'DEVICE=cpu', 'lint')[1][0] == LOCKED.format('cpu')
    os.utime(machine.checkout / changed, (2**32, 2**32))
    assert machine.run('make', 'DEVICE=cpu', 'lint')[1][0] == LOCKED.format('cpu')


@pytest.mark.parametrize('step', ['--require-hashes', '-e .'])
def test_an_interrupted_set_up_is_done_again(machine, step):
    code, _, error = machine.run('make', 'DEVICE=cpu', 'lint', BREAK=step, STATUS='9')
    assert code == 2
    assert 'Error 9' in error
    (machine.checkout / '.venv' / 'half-written').touch()
    assert machine.run('make', 'DEVICE=cpu', 'lint')[1] == [
        LOCKED.format('cpu'), OURS, *LINT]
    assert not (machine.checkout / '.venv' / 'half-written').exists()


@pytest.mark.parametrize('processor, program, says, device', [
    ('x86_64', 'nvidia-smi', 'GPU 0', 'cu112'),
    ('x86_64', 'ldconfig', 'libcuda.so.1 (libc6,x86-64) => /lib/libcuda.so.1', 'cu112'),
    ('x86_64', 'ldconfig', 'libcudart.so.12 (libc6,x86-64) => /lib/libcudart.so.12', 'cpu'),
    ('aarch64', 'nvidia-smi', 'GPU 0', 'cpu')])
def test_the_device_is_found_out(machine, processor, program, says, device):
    machine.add('uname', f'#!/bin/sh\necho {processor}\n')
    machine.add(program, f'#!/bin/sh\necho "{says}"\n')
    assert machine.run('make', 'lint')[1][0] == LOCKED.format(device)


def test_a_wheelhouse_takes_the_place_of_the_network(machine):
    (machine.checkout / 'wheels').mkdir()
    machine.add('python3.13', FAKE_PYTHON.replace('"$*" >', '"$PIP_NO_INDEX $PIP_FIND_LINKS" >'))
    assert machine.run('make', 'DEVICE=cpu', 'WHEELHOUSE=wheels', 'lint')[1][0] == '1 wheels'
    code, calls, error = machine.run('make', 'DEVICE=cpu', 'WHEELHOUSE=wheel', 'lint')
    assert (code, calls) == (2, [])
    assert "WHEELHOUSE is 'wheel', and there is no such folder" in error


def test_the_wheelhouse_is_what_set_up_installs(machine):
    machine.run('make', 'DEVICE=cpu', 'lint')
    assert machine.run('make', 'DEVICE=cpu', 'wheelhouse')[1] == [
        '-m pip download --dest wheelhouse --no-deps --no-build-isolation --require-hashes '
        '-r locks/packages.txt -r locks/cpu.txt -r locks/horovod.txt -r locks/docs.txt']


def test_an_unknown_device_is_refused(machine):
    code, calls, error = machine.run('make', 'DEVICE=tpu', 'test')
    assert (code, calls) == (2, [])
    assert "DEVICE is 'tpu': say DEVICE=cpu or DEVICE=cu112" in error


def test_an_environment_of_the_users_is_left_alone(machine):
    (machine.checkout / '.venv').mkdir()
    (machine.checkout / '.venv' / 'mine').touch()
    code, calls, error = machine.run('make', 'DEVICE=cpu', 'test')
    assert (code, calls) == (2, [])
    assert ('error: .venv was not made by make: move it away, or say make VENV=another-folder\n'
            in error)
    assert machine.run('make', 'clean')[0] == 0
    assert (machine.checkout / '.venv' / 'mine').exists()


def test_a_launcher_that_starts_nothing_is_passed_over(machine):
    (machine.bin / 'python3.13').rename(machine.bin / 'python3.9')
    machine.add('python3.13', '#!/bin/sh\necho no such version >&2\nexit 127\n')
    assert machine.run('make', 'DEVICE=cpu', 'lint')[0] == 0


def test_uv_brings_a_python_where_there_is_none(machine):
    machine.add('uv', FAKE_UV)
    code, calls, _ = machine.run('make', 'DEVICE=cpu', 'lint', TOO_OLD='1')
    assert (code, calls[0]) == (0, 'uv venv --quiet --seed --allow-existing --python 3.13 .venv')


def test_uv_stands_in_for_a_missing_venv_module(machine):
    machine.add('uv', FAKE_UV)
    code, calls, _ = machine.run('make', 'DEVICE=cpu', 'lint', NO_VENV='1')
    python = machine.bin / 'python3.13'
    assert (code, calls[0]) == (0, f'uv venv --quiet --seed --allow-existing --python {python} '
                                   '.venv')


@pytest.mark.parametrize('lack, sentence', [
    ({'TOO_OLD': '1'}, 'error: gluon_a2 needs Python 3.8 or newer, none is here and uv could '
                       'not bring one: install Python 3.13\n'),
    ({'NO_VENV': '1'}, 'python3.13 cannot make a virtual environment: install its venv module '
                       '(Debian: apt-get install python3-venv)\n')])
def test_a_machine_that_cannot_be_set_up_says_what_to_install(machine, lack, sentence):
    code, _, error = machine.run('make', 'DEVICE=cpu', 'test', BREAK='uv', STATUS='1', **lack)
    assert code == 2
    assert sentence in error


def test_horovod_is_built_once_against_the_installed_mxnet(machine):
    machine.add('c++', '#!/bin/sh\n')
    _, calls, _ = machine.run('make', 'DEVICE=cpu', 'horovod')
    assert calls[2:] == [
        '-m pip install --no-deps --no-build-isolation --no-cache-dir --require-hashes -r '
        'locks/horovod.txt',
        '-c import gluon_a2.backend, horovod.mxnet']
    assert machine.run('make', 'DEVICE=cpu', 'horovod')[:2] == (0, [])


def test_clean_removes_what_make_made_and_no_other_run(machine):
    machine.run('make', 'DEVICE=cpu', 'lint')
    for folder in ('runs/demo-a2', 'runs/mine', 'gluon_a2/__pycache__', '.pytest_cache'):
        (machine.checkout / folder).mkdir(parents=True)
    assert machine.run('make', 'clean')[0] == 0
    left = {
        str(path.relative_to(machine.checkout)) for path in machine.checkout.rglob('*')
        if path.is_dir()
    }
    assert left == {'.ci', 'locks', 'tools', 'gluon_a2', 'runs', 'runs/mine'}


def test_make_alone_lists_the_targets(machine):
    listed = subprocess.run(['make'], cwd=machine.checkout, capture_output=True, text=True,
                            check=True, env={'PATH': str(machine.bin)}).stdout
    assert [line.split()[1] for line in listed.splitlines()] == [
        'help', 'demo', 'video', 'test', 'lint', 'docs', 'doctor', 'matrix', 'horovod', 'bench',
        'study', 'release', 'wheelhouse', 'lock', 'clean']


@pytest.mark.parametrize('failing, status', [('ruff', '1'), ('mypy', '1'), ('pytest', '1'),
                                             ('pytest', '5')])
def test_ci_fails_with_style_types_tests_and_with_no_tests(machine, failing, status):
    command = ('bash', '.ci/run')
    assert machine.run(*command, DEVICE='cpu')[0] == 0
    assert machine.run(*command, DEVICE='cpu', BREAK=failing, STATUS=status)[0] != 0
