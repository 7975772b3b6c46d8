"""A look at all ranks before a long run: the preflight, and how fast their network sums."""
from __future__ import annotations

import contextlib
import socket
import statistics
import time

import numpy as np

from ..backend import mx, threads
from ..errors import UserError
from ..machine.resources import free_memory
from ..run.options import Options
from ..run.recipes import Recipe
from .distributed import Group
from .loop import choose_device, prepare, watch

REPEATS = 5


def check(recipe: Recipe, options: Options) -> str:
    """Do all that precedes the first step, and sum `options.check` MB over all ranks; a line a rank
    and one for the sum. Nothing is written. UserError as training would raise it."""
    with contextlib.ExitStack() as stack:
        group = Group()
        folder, sources, _ = prepare(group, recipe, options)
        watch(group, options, folder, stack)
        device = choose_device(recipe, options, group.local_rank)
        ranks = group.all_gather(
            f'rank {group.rank} on {socket.gethostname()}: {device}, {threads()[0]} CPU threads, '
            f'{free_memory() / 1e9:.1f} GB of memory free', 'ranks')
        images = ' and '.join(map(str, map(len, sources)))
        said = [*ranks, f'the same code, recipe and data everywhere: {images} samples']
        if group.size > 1:
            said.append(_sum(group, device, options.check or 0))
    return '\n'.join(said)


def _sum(group: Group, device: object, megabytes: float) -> str:
    """Sum a vector as gradients are, and say how fast; bandwidths as nccl-tests define them."""
    size, expected = max(1, int(megabytes * 1e6 / 4)), group.size * (group.size + 1) / 2
    seconds = []
    for repeat in range(REPEATS + 1):
        vector = mx.nd.full(size, group.rank + 1, ctx=device)  # float32
        vector.wait_to_read()
        group.all_reduce(np.zeros(1), 'meet')
        begun = time.perf_counter()
        group.begin_sum(vector, 'check', 'none', 1)
        group.finish([vector])
        slowest = max(group.all_gather(time.perf_counter() - begun, 'seconds'))
        low, high = vector.min().asscalar(), vector.max().asscalar()
        if not low == high == expected:
            raise UserError(f'the ranks sum wrongly: {expected:g} is expected everywhere, and rank '
                            f'{group.rank} has {low:g} to {high:g}; check the network')
        if repeat:  # the first finds its memory and connections cold
            seconds.append(slowest)
    middle = statistics.median(seconds)
    rate = size * 4 / middle / 1e9
    return (f'all-reduce of {megabytes:g} MB over {group.size} ranks: {1000 * middle:.1f} ms, '
            f'algbw {rate:.2f} GB/s, busbw {rate * 2 * (group.size - 1) / group.size:.2f} GB/s')
