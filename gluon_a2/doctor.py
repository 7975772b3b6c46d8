"""What this installation is, what ails it and what mends it: `python -m gluon_a2.doctor`.

Exit code 0 when training can run, 1 otherwise. Whatever could take this process down with it,
MXNet above all, is tried in another one.
"""
import json
import signal
import subprocess
import sys

from . import __version__
from .machine import checks

MXNET_PROBE = '''
from gluon_a2.backend import mx, threads
assert mx.nd.ones((2, 3)).sum().asscalar() == 6
features = [name for name, feature in mx.runtime.Features().items() if feature.enabled]
answer = {'version': mx.__version__, 'features': features, 'threads': threads()}
'''
OPENCV_PROBE = '''
import cv2
answer = cv2.__version__
'''
HOROVOD_PROBE = '''
import gluon_a2.backend
import horovod.mxnet as hvd
answer = [name for name in ('gloo', 'mpi', 'nccl') if getattr(hvd, name + '_built')()]
'''
REQUIRED = ('tqdm', 'matplotlib', 'tensorboardX', 'scikit-learn', 'safetensors')
OPTIONAL = {'gluoncv': 'zoo', 'onnx': 'onnx', 'onnxruntime': 'onnx', 'av': 'video'}


def probe(code, timeout=300):
    """Run code in a process of its own: (its `answer`, None), or (None, how the process ended)."""
    command = [sys.executable, '-c', f'{code}\nimport json\nprint("\\n" + json.dumps(answer))']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None, f'no answer within {timeout} s'
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), None
    if done.returncode < 0:
        return None, f'the process was killed by {signal.Signals(-done.returncode).name}'
    return None, (done.stderr.strip() or f'exit code {done.returncode}').splitlines()[-1]


def examine():
    """(rows of the table, faults that keep training from running, notes on what else is amiss)."""
    rows, faults, notes = [('gluon_a2', __version__), ('Python', sys.version.split()[0])], [], []
    mxnet = examine_mxnet()
    for part in (mxnet, examine_opencv(), examine_packages(), examine_horovod(usable=not mxnet[1]),
                 examine_gpus()):
        for total, more in zip((rows, faults, notes), part):
            total += more
    return rows, faults, notes


def examine_mxnet():
    """MXNet, numpy, threads and oneDNN: as MXNet answers, or as far as can be told without it."""
    faults = checks.import_faults()
    answer, ended = (None, None) if faults else probe(MXNET_PROBE)
    if ended:
        faults = [mxnet_fault(ended)]
    wheels = ', '.join(f'{name} {version}' for name, version in checks.wheels().items())
    count, where_from = answer['threads'] if answer else checks.choose_threads()
    features = answer['features'] if answer else ()
    rows = [
        ('MXNet', (wheels or f'{answer["version"]}, built from source')
         if answer else f'{wheels or "none"}, '
         'unusable'),
        ('features', ' '.join(features) or 'unknown'),
        # MXNet 1.9 still calls it MKLDNN
        ('oneDNN', yes_no('MKLDNN' in features) if answer else 'unknown'),
        ('CUDA', yes_no('CUDA' in features) if answer else 'unknown'),
        ('CPU threads', f'{count} ({where_from})'),
        ('numpy', checks.installed('numpy') or 'not installed'),
    ]
    return rows, faults, []


def mxnet_fault(ended):
    """The backend's own sentence, or what to do about a process that gave none."""
    _, raised, sentence = ended.partition('BackendError: ')
    if raised:
        return sentence
    return f'MXNet cannot be used ({ended}): make a fresh environment (make clean, then make doctor)'


def yes_no(truth):
    """A truth value as a table says it."""
    return 'yes' if truth else 'no'


def examine_opencv():
    """OpenCV reads and augments every image, so training needs it."""
    version, ended = probe(OPENCV_PROBE)
    fault = checks.opencv_fault(ended)
    return [('OpenCV', version or 'cannot be imported')], [fault] if fault else [], []


def examine_packages():
    """The small packages that training needs, and those that only an extra has."""
    missing = [name for name in REQUIRED if checks.installed(name) is None]
    faults = [f'{name} is not installed: run pip install {name} "numpy<1.24"' for name in missing]
    rows = [(name, checks.installed(name) or f'not installed (the {extra} extra has it)')
            for name, extra in OPTIONAL.items()]
    return rows, faults, []


def examine_horovod(usable=True):
    """Horovod and what it was built with, where MXNet is `usable`; one process trains without
    it."""
    version = checks.installed('horovod')
    if version is None:
        return [('Horovod', 'not installed (several processes need it: make horovod)')], [], []
    if not usable:
        return [('Horovod', f'{version}, not tried without MXNet')], [], []
    built, ended = probe(HOROVOD_PROBE)
    if ended:
        note = f'Horovod {version} cannot be used with MXNet ({ended}): run pip uninstall -y horovod, then make horovod'
        return [('Horovod', f'{version}, unusable with MXNet')], [], [note]
    return [('Horovod', f'{version}, built with {", ".join(["MXNet", *built])}')], [], []


def examine_gpus():
    """Each GPU against the machine code in the wheel; training runs on the CPU without any."""
    found = checks.gpus()
    if not found:
        return [('GPU', 'none that an NVIDIA driver shows')], [], []
    rows, notes = [], []
    for index, (name, (major, minor)) in enumerate(found):
        fault = checks.gpu_fault(index, found)
        rows.append((f'GPU {index}', f'{name}, sm_{major}{minor}: '
                     + ('not usable here' if fault else f'{checks.GPU_WHEEL} has machine code for '
                                                        'it')))
        notes += [fault] if fault else []
    return rows, [], notes


def report(rows, faults, notes):
    """The table, then each fault and note on a line of its own, then the verdict."""
    width = max(len(label) for label, _ in rows)
    lines = [f'{label:{width}}  {text}' for label, text in rows]
    lines += ['', *(f'fault: {fault}' for fault in faults), *(f'note: {note}' for note in notes)]
    return '\n'.join([*lines, 'training cannot run' if faults else 'training can run'])


def main():
    """Print the report; 0 when training can run, 1 otherwise."""
    rows, faults, notes = examine()
    print(report(rows, faults, notes))
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
