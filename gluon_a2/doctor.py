"""Tell what this installation is, which faults it has, and how to correct them.

`python -m gluon_a2.doctor` is the same. Exit code 0 when training can run, 1 otherwise. Whatever
could take this process down with it, MXNet above all, is tried in another one.
"""
from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import __version__, cli
from .machine import gpus, installation, resources

MXNET_PROBE = '''
from gluon_a2.backend import mx, threads
assert mx.nd.ones((2, 3)).sum().asscalar() == 6
features = [name for name, feature in mx.runtime.Features().items() if feature.enabled]
answer = {'version': mx.__version__, 'features': features, 'threads': threads()}
'''
OPENCV_PROBE = 'import cv2; answer = cv2.__version__'
HOROVOD_PROBE = '''
import gluon_a2.backend
import horovod.mxnet as hvd
answer = [name for name in ('gloo', 'mpi', 'nccl') if getattr(hvd, name + '_built')()]
'''
REQUIRED = ('tqdm', 'onnxruntime', 'matplotlib', 'tensorboardX', 'scikit-learn', 'safetensors',
            'requests')
NEEDED_BY_ONNX = ('numpy', 'OpenCV', 'tqdm', 'onnxruntime')  # as faults begin
OPTIONAL = {'gluoncv': 'zoo', 'onnx': 'onnx', 'av': 'video'}


class Found(NamedTuple):
    """Rows (label, text) of the table, faults that stop training, and notes on what else fails."""
    rows: list[tuple[str, str]]
    faults: list[str]
    notes: list[str]


def probe(code: str, timeout: float = 300) -> tuple[Any, str | None]:
    """Run code in a process of its own: (its `answer`, None), or (None, how the process ended)."""
    command = [sys.executable, '-c', f'{code}\nimport json\nprint("\\n" + json.dumps(answer))']
    try:
        done = subprocess.run(command, capture_output=True, encoding='utf-8',
                              errors='replace', timeout=timeout)
    except subprocess.TimeoutExpired:
        return None, f'no answer within {timeout} s'
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), None
    if done.returncode < 0:
        return None, f'the process was killed by {signal.Signals(-done.returncode).name}'
    return None, (done.stderr.strip() or f'exit code {done.returncode}').splitlines()[-1]


def examine() -> Found:
    """All there is to say about this installation."""
    mxnet = examine_mxnet()
    parts = [Found([('gluon_a2', __version__), ('Python', sys.version.split()[0])], [], []), mxnet,
             examine_opencv(), examine_packages(), examine_horovod(usable=not mxnet.faults),
             examine_gpus()]
    return Found(*(sum(lists, []) for lists in zip(*parts)))


def examine_mxnet() -> Found:
    """MXNet, numpy, threads and oneDNN: as MXNet answers, or as is known without it."""
    faults = installation.import_faults()
    answer, ended = (None, None) if faults else probe(MXNET_PROBE)
    if ended:  # by the backend's own sentence, or without one
        sentence = ended.partition('BackendError: ')[2]
        faults = [sentence or f'MXNet cannot be used ({ended}): make a fresh environment (in '
                              'the checkout, make clean, then make doctor)']
    wheels = ', '.join(f'{name} {version}' for name, version in installation.wheels().items())
    features = answer['features'] if answer else []
    count, where_from = answer['threads'] if answer else resources.choose_threads()

    def has(feature):
        return ('yes' if feature in features else 'no') if answer else 'unknown'

    version = (wheels or f'{answer["version"]}, built from source') if answer else (
        f'{wheels or "none"}, unusable')
    return Found([('MXNet', version), ('features', ' '.join(features) or 'unknown'),
                  ('oneDNN', has('MKLDNN')),  # its name in MXNet 1.9
                  ('CUDA', has('CUDA')), ('CPU threads', f'{count} ({where_from})'),
                  ('numpy', installation.installed('numpy') or 'not installed')], faults, [])


def examine_opencv() -> Found:
    """OpenCV reads and augments every image, so training needs it."""
    version, ended = probe(OPENCV_PROBE)
    known = installation.installed('opencv-python-headless') or '4.11.0.86'
    faults = [f'OpenCV cannot be imported ({ended}): run pip install --force-reinstall --no-deps '
              f'opencv-python-headless=={known}'] if ended else []
    return Found([('OpenCV', version or 'cannot be imported')], faults, [])


def examine_packages() -> Found:
    """The small packages that training needs, and those that only an extra has."""
    versions = {name: installation.installed(name) for name in (*REQUIRED, *OPTIONAL)}
    return Found([(name, versions[name] or f'not installed (the {extra} extra has it)')
                  for name, extra in OPTIONAL.items()],
                 [f'{name} is not installed: run pip install {name}'
                  for name in REQUIRED if versions[name] is None], [])


def examine_horovod(usable: bool = True) -> Found:
    """Horovod and what it was built with, where MXNet is `usable`; one process needs none."""
    version, notes = installation.installed('horovod'), []
    if version is None:
        text = 'not installed (several processes need it: make horovod in the checkout)'
    elif not usable:
        text = f'{version}, not tried without MXNet'
    else:
        built, ended = probe(HOROVOD_PROBE)
        text = f'{version}, ' + ('unusable with MXNet' if ended
                                 else f'built with {", ".join(["MXNet", *built])}')
        if ended:
            notes = [f'Horovod {version} cannot be used with MXNet ({ended}): run pip uninstall -y '
                     'horovod, then make horovod in the checkout']
    return Found([('Horovod', text)], [], notes)


def examine_gpus() -> Found:
    """Each GPU against the machine code in the wheel; training runs on the CPU without any."""
    found = gpus.gpus()
    faults = [gpus.gpu_fault(index, found) for index in range(len(found))]
    usable = f'{installation.gpu_wheel()} has machine code for it'
    rows = [(f'GPU {index}', f'{name}, sm_{major}{minor}: {"not usable here" if fault else usable}')
            for index, ((name, (major, minor)), fault) in enumerate(zip(found, faults))]
    return Found(rows or [('GPU', 'none that an NVIDIA driver shows')], [],
                 [fault for fault in faults if fault])


@cli.entry
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, the faults, the notes and the verdict; 0 when training can run, else 1."""
    cli.parser(__doc__).parse_args(argv)
    rows, faults, notes = examine()
    served = not any(fault.startswith(NEEDED_BY_ONNX) for fault in faults)
    verdict = 'training cannot run' + '; .onnx files can be used' * served
    width = max(len(label) for label, _ in rows)
    print('\n'.join([*(f'{label:{width}}  {text}' for label, text in rows), '',
                     *(f'fault: {fault}' for fault in faults), *(f'note: {note}' for note in notes),
                     verdict if faults else 'training can run']))
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
