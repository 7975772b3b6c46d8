"""The doctor on this installation, and on ones that ail: it answers even where `import mxnet` kills
the process."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gluon_a2 import doctor
from gluon_a2.machine import gpus, installation

ROOT = Path(__file__).resolve().parents[1]


def consult(folder=None):
    """Run the doctor with `folder` first on the path: (exit code, its lines)."""
    path = os.pathsep.join(str(part) for part in (folder, ROOT) if part)
    done = subprocess.run([sys.executable, '-m', 'gluon_a2.doctor'],
                          env={**os.environ, 'PYTHONPATH': path
                               }, capture_output=True, text=True, timeout=300)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def rows(lines):
    """The table as a dict."""
    return dict(line.split('  ', 1) for line in lines[:lines.index('')])


def test_this_installation_is_well():
    code, lines = consult()
    table = {label: text.strip() for label, text in rows(lines).items()}
    assert (code, lines[-1]) == (0, 'training can run')
    assert table['Python'] == sys.version.split()[0]
    assert table['MXNet'].endswith(' 1.9.1')
    assert table['oneDNN'] == 'yes'
    assert table['CPU threads'] == f'{os.environ["OMP_NUM_THREADS"]} (OMP_NUM_THREADS)'
    assert {'gluon_a2', 'features', 'CUDA', 'numpy', 'OpenCV', 'Horovod',
            *doctor.OPTIONAL} < set(table)


@pytest.mark.parametrize('code, sentence', [
    ('import os; os.abort()', 'MXNet cannot be used (the process was killed by SIGABRT): '
                              'make a fresh environment (in the checkout, make clean, then '
                              'make doctor)'),
    ('raise AttributeError("broken")', 'importing MXNet failed with AttributeError (broken): '
                                       'run pip install --force-reinstall --no-deps ')])
def test_an_mxnet_that_cannot_be_imported(tmp_path, code, sentence):
    (tmp_path / 'mxnet.py').write_text(code)
    code, lines = consult(tmp_path)
    assert code == 1
    assert lines[-2].startswith(f'fault: {sentence}')
    assert lines[-1] == 'training cannot run; .onnx files can be used'


def test_every_fault_is_told_and_not_only_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet': '1.6.0'})
    monkeypatch.setattr(installation, 'installed', {'numpy': '1.19.5', 'tqdm': '4'}.get)
    monkeypatch.setattr(doctor, 'probe', lambda code: (None, 'ImportError: libGL.so.1: cannot open '
                                                             'shared object file'))
    assert doctor.main([]) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith('fault: ')]
    assert told == [
        'fault: mxnet 1.6.0 is installed and gluon_a2 needs 1.9.1: run pip install mxnet==1.9.1',
        'fault: numpy 1.19.5 is older than 1.20: run pip install --upgrade numpy',
        'fault: OpenCV cannot be imported (ImportError: libGL.so.1: cannot open shared object '
        'file): run pip install --force-reinstall --no-deps opencv-python-headless==4.11.0.86',
        *(f'fault: {name} is not installed: run pip install {name}'
          for name in doctor.REQUIRED[1:])]


@pytest.mark.parametrize('version, answer, row, notes', [
    (None, None, 'not installed (several processes need it: make horovod in the checkout)', []),
    ('0.28.1', (['gloo'], None), '0.28.1, built with MXNet, gloo', []),
    ('0.28.1', (['gloo', 'nccl'], None), '0.28.1, built with MXNet, gloo, nccl', []),
    ('0.28.1', (None, 'ImportError: not built'), '0.28.1, unusable with MXNet',
     ['Horovod 0.28.1 cannot be used with MXNet (ImportError: not built): '
      'run pip uninstall -y horovod, then make horovod in the checkout'])])
def test_horovod(monkeypatch, version, answer, row, notes):
    monkeypatch.setattr(installation, 'installed', lambda name: version)
    monkeypatch.setattr(doctor, 'probe', lambda code: answer)
    assert doctor.examine_horovod() == ([('Horovod', row)], [], notes)


def test_horovod_is_not_blamed_for_mxnet(monkeypatch):
    monkeypatch.setattr(installation, 'installed', lambda name: '0.28.1')
    assert doctor.examine_horovod(usable=False) == ([('Horovod', '0.28.1, not tried without MXNet')
                                                     ], [], [])


def test_gpus_that_the_wheel_can_and_cannot_use(monkeypatch):
    monkeypatch.setattr(installation, 'wheels', lambda: {'mxnet-cu112': '1.9.1'})
    monkeypatch.setattr(gpus, 'gpus', lambda: [('NVIDIA A100', (8, 0)), ('NVIDIA H100', (9, 0))])
    table, faults, notes = doctor.examine_gpus()
    assert table == [('GPU 0', 'NVIDIA A100, sm_80: mxnet-cu112 has machine code for it'),
                     ('GPU 1', 'NVIDIA H100, sm_90: not usable here')]
    assert faults == []
    assert [note.split(',')[0] for note in notes] == ['GPU 1 (NVIDIA H100) is sm_90']


@pytest.mark.parametrize('code, answer', [
    ('print("noise", end="")\nanswer = [1]', ([1], None)),
    ('import os\nos.kill(os.getpid(), 11)', (None, 'the process was killed by SIGSEGV')),
    ('raise SystemExit(3)', (None, 'exit code 3')),
    ('raise ValueError("why")', (None, 'ValueError: why'))])
def test_probe(code, answer):
    assert doctor.probe(code) == answer


def test_a_probe_that_never_ends():
    assert doctor.probe('import time\ntime.sleep(60)', timeout=0.2) == (None, 'no answer within '
                                                                              '0.2 s')
