"""Checkpoints: folders that are whole or absent, hold no pickle, and are verified before they are
used.

    <run>/checkpoints/step-00001437/
        tensors.safetensors     parameters (param/…) and optimizer states (state/…/0) manifest.json
        counters, recipe, size and SHA-256 of the tensors, and of the manifest itself

A checkpoint is written under a temporary name, synced, and renamed. The newest valid one is found
even when a newer one is damaged. The last two are kept, and the best.
"""
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..errors import UserError
from ..files import naming, sha256, sync_folder, write_synced, write_whole

_log = logging.getLogger(__name__)
FORMAT = 'gluon_a2 checkpoint 2'
FIELDS = {'format', 'step', 'best', 'state', 'size', 'sha256', 'digest'}
TENSORS, MANIFEST, BEST = 'tensors.safetensors', 'manifest.json', 'best.json'
REPLACED = '.old'  # what a checkpoint of the same step is called while a new one takes its place


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or of another run."""


class Checkpoint(NamedTuple):
    """Tensors by name (numpy), the `state` (plain values), and whether it was the best of its run
    when written."""
    path: Path
    tensors: Dict[str, np.ndarray]
    state: dict
    best: bool = False

    def check(self, expected):
        """Raise CheckpointError unless the tensors are exactly those of {name: shape}; names some
        that are not."""
        wrong = [f'{name} is missing' for name in expected if name not in self.tensors]
        wrong += [f'{name} is not of this network' for name in self.tensors if name not in expected]
        wrong += [
            f'{name} is {self.tensors[name].shape}, not {tuple(shape)}'
            for name, shape in expected.items()
            if name in self.tensors and self.tensors[name].shape != tuple(shape)
        ]
        if wrong:
            more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
            raise CheckpointError(f'{self.path} does not fit this network '
                                  f'({"; ".join(wrong[:3])}{more}): resume the run it belongs to, '
                                  'with the code that wrote it')


# ---- writing

def save(folder, step, tensors, state, keep=2, best=False):
    """Write checkpoint `step` into `folder`, then remove all but the newest `keep` and the best;
    its path.

    `tensors` is {name: array}, `state` plain JSON values; `best` marks it as the best so far.
    Non-finite tensors raise `CheckpointError`. After an OSError the newest valid checkpoint is no
    older than before.
    """
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f'{name} is no longer finite at step {step}: not saved, the ones '
                                  'before it stay')
    folder = Path(folder)
    final, temporary = folder / f'step-{step:08d}', folder / f'.step-{step:08d}.{os.getpid()}.tmp'
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed and had our number
    try:
        temporary.mkdir(parents=True)
        content = safetensors.numpy.save({
            name: np.ascontiguousarray(array) for name, array in tensors.items()
        })
        write_synced(temporary / TENSORS, content)
        write_synced(temporary / MANIFEST, _encode({
            'format': FORMAT, 'step': step, 'best': best, 'state': state, 'size': len(content),
            'sha256': sha256(content)}))
        sync_folder(temporary)
        _make_way(final)
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder)
    if best:
        mark_best(folder, final)
    _prune(folder, final, keep)
    return final


def _make_way(final):
    """Free the name `final`: the checkpoint that is there stays, under a name `newest` knows, until
    it is replaced."""
    if not final.exists():
        return
    old = final.with_suffix(REPLACED)
    # an earlier replacement was cut, before it was tidied up or before it was good
    if old.exists():
        superfluous = old if _is_valid(final) else final
        _remove(superfluous)
    if final.exists():
        os.replace(final, old)


def _is_valid(path):
    try:
        return bool(load(path))
    except CheckpointError:
        return False


def _prune(folder, written, keep):
    """Remove what `written` makes superfluous: older checkpoints, and later ones it was resumed
    past as damaged."""
    best, steps = _best_name(folder), _steps(folder)
    standing = [path for path in steps if not _is_replaced(path)]
    place = standing.index(written) + 1
    kept = standing[max(0, place - keep):place]
    for path in steps:
        if path not in kept and (path.stem != best or _is_replaced(path)):
            _remove(path)


def _is_replaced(path):
    return path.suffix == REPLACED and path.with_suffix('').exists()


def _remove(path):
    """Delete a checkpoint, which is hidden first: one whose removal was cut shall not look like a
    damaged one."""
    hidden = path.with_name(f'.{path.name}.gone.tmp')
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def remove_unfinished(folder):
    """Tidy up after writing or removing was cut; nobody else may be writing."""
    for path in Path(folder).glob('.*.tmp'):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for old in Path(folder).glob(f'step-*{REPLACED}'):
        if not _is_replaced(old):
            os.replace(old, old.with_suffix(''))


def mark_best(folder, path):
    """Remember the checkpoint at `path` as the best of its run; it is kept until another is."""
    write_whole(Path(folder) / BEST, json.dumps({'checkpoint': path.name}).encode())


class Writer:
    """Saves in the background, so that training does not wait for the disk; one checkpoint at a
    time.

    An error of a save is raised once, by the next `save` or `wait`. A process ends only after the
    last is written.
    """

    def __init__(self, folder):
        self.folder, self._thread, self._error = Path(folder), None, None

    def save(self, step, tensors, state, best=False):
        """Begin to write; arrays must not be changed afterwards. Waits for the save before this
        one."""
        self.wait()
        self._thread = threading.Thread(target=self._save, args=(step, tensors, state, best),
                                        name='checkpoint')
        self._thread.start()

    def _save(self, step, tensors, state, best):
        try:
            save(self.folder, step, tensors, state, best=best)
        except BaseException as error:
            self._error = error

    def wait(self):
        """Return once everything is on the disk; raises the error of the last save."""
        self.settle()
        error, self._error = self._error, None
        if error:
            raise error

    def settle(self):
        """Return once nothing is being written, whatever came of it."""
        if self._thread:
            self._thread.join()
            self._thread = None


# ---- reading

def load(path):
    """The `Checkpoint` in a folder `step-…`; `CheckpointError` on anything missing or damaged."""
    path = Path(path)
    manifest, content = _read_manifest(path / MANIFEST), None
    try:
        if (path / TENSORS).stat().st_size == manifest['size']:
            content = (path / TENSORS).read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path} is not a whole checkpoint ({error})') from error
    if content is None or sha256(content) != manifest['sha256']:
        raise CheckpointError(f'{path / TENSORS} is damaged: its size or SHA-256 does not match '
                              'the manifest')
    try:
        tensors = safetensors.numpy.load(content)
    # the last three: types numpy does not have
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{path / TENSORS} cannot be read: {error}') from error
    return Checkpoint(path, tensors, manifest['state'], manifest['best'])


def _read_manifest(path):
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


def _encode(manifest):
    digest = sha256(json.dumps(manifest, sort_keys=True).encode())
    return json.dumps({**manifest, 'digest': digest}, indent=1).encode()


def newest(folder):
    """The newest valid `Checkpoint` of a folder, or None; damaged newer ones are named in the log
    and left alone."""
    for path in reversed(_steps(folder)):
        try:
            return load(path)
        except CheckpointError as error:
            _log.warning('%s; trying the one before it', error)
    return None


def find(folder, which):
    """The `Checkpoint` 'last' or 'best' of a run's checkpoint folder, or the one at the path
    `which`."""
    if which not in ('last', 'best'):
        return load(which)
    found = newest(folder) if which == 'last' else _best(folder)
    if found is None:
        raise CheckpointError(f'{folder} holds no valid checkpoint: give the folder of a run of '
                              'train_imagenet.py')
    return found


def _best(folder):
    name = _best_name(folder)
    if not name:
        return None
    path = Path(folder) / name
    return load(path if path.exists() else path.with_suffix(REPLACED))


def _best_name(folder):
    path = Path(folder) / BEST
    try:
        with naming(path):
            return json.loads(path.read_bytes())['checkpoint'] if path.exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f'{path} is damaged: delete it to go on without a best checkpoint') from error


def _steps(folder):
    """Checkpoints from the oldest to the newest; of one step, the one that replaces another comes
    last."""
    return sorted(
        Path(folder).glob('step-*'), key=lambda path: (path.stem, path.suffix != REPLACED))
