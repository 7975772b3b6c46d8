"""Which sample comes when, and what it draws: pure functions of seed, epoch and index, so training
can resume."""
from __future__ import annotations

import numpy as np


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """int64 permutation of 0…n−1: the order in which the epoch visits the samples."""
    return _generator(seed, epoch).permutation(n)


def batches(order: np.ndarray, batch_size: int, start: int = 0) -> list[np.ndarray]:
    """Cut `order` from its `start`-th sample on into arrays of `batch_size`; the last may be
    shorter.

    `start` counts the samples already consumed: a run resumes where it stopped, at any batch size.
    """
    return [order[i:i + batch_size] for i in range(start, len(order), batch_size)]


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The `numpy.random.Generator` for the augmentation of one sample in one epoch."""
    return _generator(seed, epoch, index)


def _generator(seed, *key):
    # A spawn key, not a tuple of entropy: numpy pads entropy with zeros, so (7, 3) and (7, 3, 0)
    # would be one stream.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
