"""Checkpoints: folders that are whole or absent, hold no pickle, and are verified before they are
used.

    <run>/checkpoints/step-00001437/
        tensors.safetensors     the arrays of `named_arrays`
        manifest.json           step, whether it is the best, `State`, size and SHA-256 of the
                                tensors, and the SHA-256 of the manifest itself

A checkpoint is written under a temporary name, synced, and renamed; a later one of the same step is
`step-00001437.2`. The newest valid one is found even when a newer one is damaged. Those of the last
two steps are kept, and the best.
"""
from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..errors import UserError
from ..files import make_folder, naming, sha256, sync_folder, write_synced, write_whole

_log = logging.getLogger(__name__)
FORMAT = 'gluon_a2 checkpoint 2'
FIELDS = {'format', 'step', 'best', 'state', 'size', 'sha256', 'digest'}
TENSORS, MANIFEST, BEST = 'tensors.safetensors', 'manifest.json', 'best.json'
NAME = re.compile(r'step-(\d+)(?:\.(\d+))?')  # step, and attempt from the second one on


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or of another run."""


# ---- what a checkpoint holds

def named_arrays(parameters: Mapping[str, Any], states: Mapping[str, list],
                 averages: Mapping[str, Any]) -> dict[str, Any]:
    """{name in the file: array} of a network's parameters {name: array}, running statistics among
    them, their moving averages, and its optimizer's states.

    A state is {name: [momentum, and of float16 the master]}.
    """
    arrays = {f'param/{name}': array for name, array in parameters.items()}
    arrays.update({f'average/{name}': array for name, array in averages.items()})
    for name, several in states.items():
        arrays.update({f'state/{name}/{i}': array for i, array in enumerate(several)})
    return arrays


@dataclasses.dataclass
class Position:
    """Where a run is."""
    step: int = 0
    epoch: int = 0
    images: int = 0  # already visited in this epoch
    best: float = -1.0  # validation top-1
    stale: int = 0  # epochs since


@dataclasses.dataclass(frozen=True)
class State:
    """Everything but arrays that a resumed run needs, and what made it; all values are plain."""
    recipe: dict  # of recipes.to_json
    data: str  # what was trained on: a path, or the name of an embedded set
    labels: str  # SHA-256 of labels and class names, which a resumed run must find again
    split: int | None  # of UCF-101
    classes: list[str]  # their names
    named: bool  # whether the data names them, be it by numbers
    at: dict  # of `Position`
    sums: dict  # images, loss, top1, top5: `metrics.Sums` over the epoch so far
    plateau: dict  # best, stale, decays: of `schedule.Plateau`
    scale: list  # of the loss, and the clean steps since it changed
    damaged: list  # names of the samples left out
    threads: int
    ranks: int
    versions: dict
    batchnorm: str = 'running statistics: mean of the micro-batches of a step'


class Checkpoint(NamedTuple):
    """Tensors by name (numpy), a `State` as a dict, and whether it was the best when written."""
    path: Path
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]
    best: bool = False

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters by their own names, averaged where the run averages them."""
        return {name[len(kind):]: value for kind in ('param/', 'average/')
                for name, value in self.tensors.items() if name.startswith(kind)}

    def check(self, expected: Mapping[str, tuple]) -> None:
        """Raise CheckpointError unless the tensors are exactly those of {name: shape}."""
        wrong = [f'{name} is missing' for name in expected if name not in self.tensors]
        wrong += [f'{name} is not of this network' for name in self.tensors if name not in expected]
        wrong += [
            f'{name} is {self.tensors[name].shape}, not {tuple(shape)}'
            for name, shape in expected.items()
            if name in self.tensors and self.tensors[name].shape != tuple(shape)]
        if wrong:
            more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
            raise CheckpointError(f'{self.path} does not fit this network '
                                  f'({"; ".join(wrong[:3])}{more}): resume the run it belongs to, '
                                  'with the code that wrote it')


# ---- writing

def save(folder: str | Path, step: int, tensors: Mapping[str, np.ndarray], state: Mapping,
         keep: int = 2, best: bool = False) -> Path:
    """Write checkpoint `step` into `folder`, then remove all but the newest `keep` and the best;
    its path.

    `state` holds plain JSON values; `best` marks it as the best so far. Non-finite tensors raise
    `CheckpointError`. After an OSError the newest valid checkpoint is no older than before.
    """
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f'{name} is no longer finite at step {step}: not saved, the ones '
                                  'before it stay')
    folder = Path(folder)
    attempt = 1 + max((number for at, number in _steps(folder) if at == step), default=0)
    final = folder / (f'step-{step:08d}' + (f'.{attempt}' if attempt > 1 else ''))
    temporary = folder / f'.step-{step:08d}.{os.getpid()}.tmp'
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed and had our number
    try:
        make_folder(folder)
        temporary.mkdir()
        content = safetensors.numpy.save({
            name: np.ascontiguousarray(array) for name, array in tensors.items()})
        write_synced(temporary / TENSORS, content)
        write_synced(temporary / MANIFEST, _encode({
            'format': FORMAT, 'step': step, 'best': best, 'state': state, 'size': len(content),
            'sha256': sha256(content)}))
        sync_folder(temporary)
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder)
    if best:
        mark_best(folder, final)
    _prune(folder, step, final, keep)
    return final


def _prune(folder: Path, step: int, written: Path, keep: int) -> None:
    """Remove checkpoints older than `written`, others of its `step`, and damaged later ones that
    were resumed past."""
    best, steps = _best_name(folder), _steps(folder)
    older = [path for (at, _), path in steps.items() if at < step]
    kept = {written, *older[max(0, len(older) + 1 - keep):]}
    for path in steps.values():
        if path not in kept and path.name != best:
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a checkpoint, hidden first: half a removal must not look like damage."""
    hidden = path.with_name(f'.{path.name}.gone.tmp')
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def remove_unfinished(folder: str | Path) -> None:
    """Tidy up after writing or removing was cut; nobody else may be writing."""
    for path in Path(folder).glob('.*.tmp'):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def mark_best(folder: str | Path, path: Path) -> None:
    """Remember the checkpoint at `path` as the best of its run; it is kept until another is."""
    write_whole(Path(folder) / BEST, json.dumps({'checkpoint': path.name}).encode())


class Writer:
    """Saves in the background, one checkpoint at a time, so that training does not wait for the
    disk. The next `save` or `wait` raises the error of a save; a process ends only after its last.
    """

    def __init__(self, folder: str | Path, before: Callable[[], None] = lambda: None) -> None:
        """`before` is called in the background, before a checkpoint is written."""
        self.folder, self._thread = Path(folder), ThreadPoolExecutor(1, 'checkpoint')
        self._before = before
        self._last: Future | None = None

    def save(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping,
             best: bool = False) -> None:
        """Begin to write, once the save before is done; arrays must not change afterwards."""
        self.wait()
        self._last = self._thread.submit(self._write, step, tensors, state, best)

    def _write(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping,
               best: bool) -> None:
        self._before()
        save(self.folder, step, tensors, state, best=best)

    def wait(self) -> None:
        """Return once everything is on the disk; raises the error of the last save."""
        self.settle()
        last, self._last = self._last, None
        if last:
            last.result()

    def settle(self) -> None:
        """Return once nothing is being written, whatever came of it."""
        if self._last:
            wait([self._last])


# ---- reading

def load(path: str | Path) -> Checkpoint:
    """The `Checkpoint` in a folder `step-…`; `CheckpointError` on anything missing or damaged."""
    path = Path(path)
    manifest, content = _read_manifest(path / MANIFEST), b''
    try:
        if (path / TENSORS).stat().st_size == manifest['size']:
            content = (path / TENSORS).read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path} is not a whole checkpoint ({error})') from error
    if sha256(content) != manifest['sha256']:
        raise CheckpointError(f'{path / TENSORS} is damaged: its size or SHA-256 does not match '
                              'the manifest')
    try:
        tensors = safetensors.numpy.load(content)
    # the last three: types numpy does not have
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{path / TENSORS} cannot be read: {error}') from error
    return Checkpoint(path, tensors, manifest['state'], manifest['best'])


def _read_manifest(path: Path) -> dict:
    """The manifest's values, if the file is to the byte what we would write."""
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        del manifest['digest']
        sound = raw == _encode(manifest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f'{path.parent} is not a whole checkpoint ({error})') from error
    if not sound:
        raise CheckpointError(f'{path} is damaged: its digest does not match')
    if manifest.get('format') != FORMAT or manifest.keys() | {'digest'} != FIELDS:
        raise CheckpointError(f'{path} is of the format {manifest.get("format")!r}, and this '
                              f'version of gluon_a2 reads {FORMAT!r}: use the version that wrote '
                              'it')
    return manifest


def _encode(manifest: Mapping) -> bytes:
    digest = sha256(json.dumps(manifest, sort_keys=True).encode())
    return json.dumps({**manifest, 'digest': digest}, indent=1).encode()


def newest(folder: str | Path) -> Checkpoint | None:
    """The newest valid `Checkpoint`, or None; damaged newer ones are logged and left alone."""
    for path in reversed(list(_steps(folder).values())):
        try:
            return load(path)
        except CheckpointError as error:
            _log.warning('%s; trying the one before it', error)
    return None


def find(folder: str | Path, which: str | Path) -> Checkpoint:
    """The `Checkpoint` 'last' or 'best' of a run's checkpoint folder, or that at a path `which`."""
    if which not in ('last', 'best'):
        if not Path(which).is_dir():
            raise CheckpointError(f"there is no checkpoint '{which}': say 'last' or 'best', or "
                                  f'give the path of one, such as {folder}/step-00000001')
        return load(which)
    best = _best_name(folder) if which == 'best' else None
    found = load(Path(folder) / best) if best else newest(folder) if which == 'last' else None
    if found is None:
        raise CheckpointError(f'{folder} holds no valid checkpoint: give the folder of a '
                              'training run')
    return found


def _best_name(folder: str | Path) -> str | None:
    path = Path(folder) / BEST
    try:
        with naming(path):
            return json.loads(path.read_bytes())['checkpoint'] if path.exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f'{path} is damaged: delete it to go on without a best checkpoint') from error


def _steps(folder: str | Path) -> dict[tuple[int, int], Path]:
    """{(step, attempt): checkpoint}, from oldest to newest."""
    found = {}
    for path in Path(folder).glob('step-*'):
        match = NAME.fullmatch(path.name)
        if match:
            found[int(match[1]), int(match[2] or 1)] = path
    return dict(sorted(found.items()))
