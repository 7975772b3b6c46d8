"""Random pixels instead of images: how fast a network trains when nothing is read."""
from __future__ import annotations

from typing import Any, Iterator, Sequence

import numpy as np

from .headers import ImageError
from .loader import Batch


class SyntheticSource:
    """`count` images of `classes` classes that exist only as labels; see sources.py."""

    named = False

    def __init__(self, count: int, classes: int) -> None:
        self.labels = np.arange(count, dtype=np.int64) % classes
        self.classes = tuple(map(str, range(classes)))

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        return f'synthetic#{i}'

    def read(self, i: int) -> bytes:
        """Always an `ImageError`."""
        raise ImageError(f'{self.name(i)} has no file')


class SyntheticLoader:
    """Stands in for `Loader`: every batch holds the same random pixels (normal, variance 1)."""

    def __init__(self, source: Any, transform: Any, workers: int, seed: int = 0) -> None:
        self._source, self._shape, self._seed = source, transform.shape, seed

    def load(self, index_batches: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """Iterate over a `Batch` for each of these arrays of indices."""
        shape = (max(map(len, index_batches), default=0), *self._shape)
        images = np.random.default_rng(self._seed).standard_normal(shape, np.float32)
        for indices in index_batches:
            yield Batch(images[:len(indices)], self._source.labels[indices], indices, [])

    def close(self) -> None:
        """Nothing was opened."""
