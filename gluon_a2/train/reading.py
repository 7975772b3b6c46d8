"""How fast the training samples can be read, and which cannot: a run without its network."""
from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from .. import data
from ..run.options import Options
from ..run.recipes import Recipe
from ..visualization import plots
from .datasets import eval_transform, open_sources, train_transform
from .distributed import Group

log = logging.getLogger(__name__)


def save_contact_sheet(recipe: Recipe, options: Options, png: str | Path, count: int = 8) -> None:
    """Draw the first training clips of the first epoch, as the network gets them."""
    source = open_sources(recipe, options)[0]
    order = data.epoch_order(len(source), recipe.seed, 0)[:count]
    with data.Loader(source, train_transform(recipe), 0, recipe.seed) as loader:
        batch = next(iter(loader.load([order], 0)))
        if len(batch.images):
            pixels = eval_transform(recipe).restore(batch.images)  # n×T×H×W×3
            plots.contact_sheet(pixels, [source.classes[label] for label in batch.labels], png)


def measure(recipe: Recipe, options: Options) -> tuple[int, int, float]:
    """Read the first `options.test_io` samples (0: all) of an epoch on all ranks, and log the
    damaged ones; (samples read, damaged, seconds) of all together."""
    group = Group()
    with group.all_or_none('preparation'):
        source, transform = open_sources(recipe, options)[0], train_transform(recipe)
    order = data.epoch_order(len(source), recipe.seed, 0)[:options.test_io or None]
    batches = data.batches(order, recipe.batch_size)[group.rank::group.size]
    read, damaged, start = 0, [], time.perf_counter()
    with data.Loader(source, transform, options.num_data_workers, recipe.seed) as loader, \
            logging_redirect_tqdm(), \
            tqdm(total=sum(map(len, batches)), unit='img', desc='reading', dynamic_ncols=True,
                 disable=None if group.first else True) as bar:
        for batch in loader.load(batches, 0):
            read += len(batch.labels)
            damaged += batch.damaged
            bar.update(len(batch.labels) + len(batch.damaged))
    seconds = time.perf_counter() - start
    damaged = sorted(map(tuple, sum(group.all_gather(damaged, 'damaged'), [])))
    if group.first:
        for name, reason in damaged:
            log.warning('damaged: %s: %s', name, reason)
    seconds = max(group.all_gather(seconds, 'seconds'))
    return int(group.all_reduce(np.array([float(read)]), 'read')[0]), len(damaged), seconds
