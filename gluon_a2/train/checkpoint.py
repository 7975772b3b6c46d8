"""Checkpoints: folders that are whole or absent, hold no pickle, and are verified before they are used.

    <run>/checkpoints/step-00001437/
        tensors.safetensors     parameters (param/…) and optimizer states (state/…/0)
        manifest.json           counters, recipe, size and SHA-256 of the tensors, and of the manifest itself

A checkpoint is written under a temporary name, synced, and renamed. The newest valid one is found even
when a newer one is damaged. The last two are kept, and the best.
"""
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..errors import UserError
from ..files import sha256, sync_folder, write_synced, write_whole

_log = logging.getLogger(__name__)
FORMAT = 'gluon_a2 checkpoint 1'
TENSORS, MANIFEST, BEST = 'tensors.safetensors', 'manifest.json', 'best.json'


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or of another run."""


class Checkpoint(NamedTuple):
    """Tensors by name (numpy) and the manifest's `state` (plain values)."""
    path: Path
    tensors: Dict[str, np.ndarray]
    state: dict


def save(folder, step, tensors, state, keep=2):
    """Write checkpoint `step` into `folder`, then remove all but the newest `keep` and the best; its path.

    `tensors` is {name: array}, `state` plain JSON values. Non-finite tensors raise `CheckpointError`, and a
    failed write leaves the earlier checkpoints as they were.
    """
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f'{name} is no longer finite at step {step}: not saved, the ones before '
                                  'it stay')
    folder = Path(folder)
    final, temporary = folder / f'step-{step:08d}', folder / f'.step-{step:08d}.{os.getpid()}.tmp'
    temporary.mkdir(parents=True)
    try:
        content = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        write_synced(temporary / TENSORS, content)
        manifest = {'format': FORMAT, 'step': step, 'state': state, 'size': len(content), 'sha256': sha256(content)}
        write_synced(temporary / MANIFEST, json.dumps({**manifest, 'digest': _digest(manifest)}, indent=1).encode())
        sync_folder(temporary)
        if final.exists():  # a damaged one of the same step, or the run was resumed from before it
            shutil.rmtree(final)
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder)
    _prune(folder, final, keep)
    return final


def load(path):
    """The `Checkpoint` in a folder `step-…`; `CheckpointError` on anything missing or damaged."""
    path = Path(path)
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        digest = manifest.pop('digest')
        content = (path / TENSORS).read_bytes()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f'{path} is not a whole checkpoint ({error})') from error
    if manifest.get('format') != FORMAT or digest != _digest(manifest):
        raise CheckpointError(f'{path / MANIFEST} is damaged: its digest does not match')
    if len(content) != manifest['size'] or sha256(content) != manifest['sha256']:
        raise CheckpointError(f'{path / TENSORS} is damaged: its size or SHA-256 does not match the manifest')
    try:
        return Checkpoint(path, safetensors.numpy.load(content), manifest['state'])
    except SafetensorError as error:
        raise CheckpointError(f'{path / TENSORS} cannot be read: {error}') from error


def newest(folder):
    """The newest valid `Checkpoint` of a folder, or None; damaged newer ones are named in the log and left alone."""
    for path in reversed(_steps(folder)):
        try:
            return load(path)
        except CheckpointError as error:
            _log.warning('%s; trying the one before it', error)
    return None


def remove_unfinished(folder):
    """Remove the temporary folders of checkpoints whose writing was cut; nobody else may be writing."""
    for path in Path(folder).glob('.step-*.tmp'):
        shutil.rmtree(path)


def mark_best(folder, path):
    """Remember the checkpoint at `path` as the best of its run; it is kept until another is."""
    write_whole(Path(folder) / BEST, json.dumps({'checkpoint': path.name}).encode())


def find(folder, which):
    """The `Checkpoint` 'last' or 'best' of a run's checkpoint folder, or the one at the path `which`."""
    if which not in ('last', 'best'):
        return load(which)
    found = newest(folder) if which == 'last' else _best(folder)
    if found is None:
        raise CheckpointError(f'{folder} holds no valid checkpoint: give the folder of a run of train_imagenet.py')
    return found


def _best(folder):
    name = _best_name(folder)
    return load(Path(folder) / name) if name else None


def _best_name(folder):
    path = Path(folder) / BEST
    try:
        return json.loads(path.read_bytes())['checkpoint'] if path.exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{path} is damaged: delete it to go on without a best checkpoint') from error


def _steps(folder):
    return sorted(Path(folder).glob('step-*'))


def _prune(folder, written, keep):
    """Remove what `written` makes superfluous: older checkpoints, and later ones it was resumed past as damaged."""
    best, steps = _best_name(folder), _steps(folder)
    earlier, later = [p for p in steps if p <= written], [p for p in steps if p > written]
    for path in earlier[:-keep] + later:
        if path.name != best:
            shutil.rmtree(path)


def _digest(manifest):
    return sha256(json.dumps(manifest, sort_keys=True).encode())
