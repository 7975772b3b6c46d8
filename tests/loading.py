"""Scripts and benchmarks, which are in no package, as modules."""
import contextlib
import importlib.util
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gluon_a2.legacy import lent_to_gluoncv

ROOT = Path(__file__).resolve().parents[1]
# For a process that imports MXNet by itself: the names that numpy no longer has are lent to it.
LENDS = os.pathsep.join([str(ROOT / 'tools' / 'horovod'), str(ROOT)])
WITH_TOSTRING = pytest.mark.skipif(
    not hasattr(np.ndarray, 'tostring'),
    reason='im2rec packs pictures and several labels by what numpy 2.3 took out')


def gluoncv(module='gluoncv'):
    """GluonCV or a module of it, beside any PyTorch; without it the test is skipped."""
    with lent_to_gluoncv():
        return pytest.importorskip(module)


def load(path):
    """The module in a file of this project, such as 'benchmarks/block.py'; its neighbours can be
    imported by it."""
    path = ROOT / path
    sys.path.insert(0, str(path.parent))  # as when it is run
    try:
        spec = importlib.util.spec_from_file_location(f'{path.parent.name}_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def call(script, *words, code=0):
    """(stdout, stderr) of a script of ours that is called in this process, as its own would do."""
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    handlers, root.handlers = root.handlers, []  # a process has none, until the script says so
    ended = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = load(f'scripts/{script}').main(list(map(str, words))) or 0
    except SystemExit as end:
        ended = end.code
    finally:
        root.handlers = handlers
    assert ended == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def process(script, *words, code=0):
    """(stdout, stderr) of a script of ours in a process of its own."""
    done = subprocess.run([sys.executable, str(ROOT / 'scripts' / script), *map(str, words)],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert 'Traceback' not in done.stderr
    return done.stdout, done.stderr
