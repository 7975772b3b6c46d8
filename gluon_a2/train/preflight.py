"""What must be there, and the same on all ranks, before the first step: a sentence a fault."""
from __future__ import annotations

import functools
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

import gluon_a2

from ..backend import mx
from ..cost import attention_memory
from ..data import ImageError
from ..errors import UserError
from ..files import sha256
from ..machine.resources import free_memory
from ..run.options import Options
from ..run.recipes import Recipe, to_json
from .datasets import fingerprint
from .distributed import Group

CHECKPOINTS = 4  # two are kept, the best one, and the one being written
WAYS_OUT = {
    'code': 'gluon_a2 or the training script is another version there: install the same one '
            'everywhere',
    'flags': 'start every rank with the same command',
    'training images': 'give every host the same files',
    'validation images': 'give every host the same files'}


def check(group: Group, recipe: Recipe, options: Options, sources: list, net: Any,
          folder: Path) -> None:
    """UserError on all ranks unless they agree and rank 0's disk has room for checkpoints."""
    facts = {'code': code(), 'flags': sha256(json.dumps(to_json(recipe), sort_keys=True).encode()),
             'training images': contents(sources[0]), 'validation images': contents(sources[1])}
    everyone = group.all_gather(facts, 'preflight')
    for name, way_out in WAYS_OUT.items():
        other = [rank for rank, theirs in enumerate(everyone) if theirs[name] != everyone[0][name]]
        if other:
            group.raise_once(
                UserError(f'{group.name(other)} started with other {name} than rank 0 ({way_out})'))
    fault = None
    if options.num_gpus and not group.nccl_built():
        fault = ('Horovod was built without NCCL, which GPUs need: remove the mark .horovod-cu112 '
                 'from the environment and run HOROVOD_GPU_OPERATIONS=NCCL make horovod in the '
                 'checkout')
    group.raise_if_any(fault or (disk_fault(net, folder, recipe) if group.first else None),
                       'preflight.faults')


@functools.lru_cache(maxsize=None)
def code() -> str:
    """SHA-256 of the sources of this package and of the script that was started. An installed
    command is left out: its first line names the Python of its host."""
    sources = sorted(Path(gluon_a2.__file__).parent.rglob('*.py'))
    script = getattr(sys.modules['__main__'], '__file__', None) or ''
    if script.endswith('.py'):
        sources.append(Path(script))
    return sha256(b'\0'.join(path.read_bytes() for path in sources))


def contents(source: Any) -> list:
    """[images, SHA-256 of all labels and class names, SHA-256 of a few images]."""
    some = sorted({0, len(source) // 2, len(source) - 1})
    return [len(source), fingerprint(source),
            sha256(b'\0'.join(_bytes(source, i) for i in some if 0 <= i < len(source)))]


def _bytes(source: Any, i: int) -> bytes:
    """An image's encoded bytes; for a damaged one, its fault, which is the same everywhere."""
    try:
        return bytes(source.read(i))
    except ImageError as error:
        return str(error).encode('utf-8', 'replace')


def check_memory(net: Any, recipe: Recipe, free: int | None = None) -> None:
    """UserError where the attention maps of a micro-batch and their gradient do not fit into `free`
    bytes of memory.

    MXNet keeps what a block's products and softmaxes put out, and one gradient of it at a time. Of
    a non-local block these are 3·4·N·(dhw)² bytes, which `benchmarks/video_blocks.py` compares with
    what is measured. Otherwise the system would kill the process: the paper, too, could not train
    non-local blocks at conv2 (Table 2).
    """
    size = '×'.join(map(str, recipe.space))
    try:  # of one sample, for sizes of a whole batch may overflow
        maps = attention_memory(net(mx.sym.var('data')), data=(1, 3, *recipe.space))
    except UserError as error:
        raise UserError(f'an input of {size} is more than MXNet can count: lower `input_size`'
                        ) from error
    needed = {block: recipe.batch_size * size * 3 // 2 for block, size in maps.items()}
    needed['the images'] = recipe.batch_size * 3 * math.prod(recipe.space) * 4
    total, free = sum(needed.values()), free_memory() if free is None else free
    if total > free:
        block = max(needed, key=lambda name: needed[name])
        raise UserError(
            f'the images and attention maps of a micro-batch of {recipe.batch_size} inputs of '
            f'{size}, with their gradient, need {total / 1e9:.2f} GB, and {free / 1e9:.2f} GB of '
            f'memory are free. {block} needs {needed[block] / 1e9:.2f} of them. Lower `batch_size` '
            'or `input_size`, place the blocks later (`blocks`), or take A² blocks')


def disk_fault(net: Any, folder: Path, recipe: Recipe) -> str | None:
    """The sentence for a disk without room for the checkpoints of `net` in `folder`, or None."""
    copies = 3 if recipe.ema else 2  # parameters, momenta, averages
    values = sum(int(np.prod(p.shape)) for p in net.collect_params().values())
    needed = CHECKPOINTS * copies * 4 * values
    there = Path(os.path.abspath(folder))
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free >= needed:
        return None
    return (f'{folder} has {free / 1e6:.0f} MB free, and the checkpoints of this network need '
            f'{needed / 1e6:.0f} MB: free some, or choose another `save_dir`')
