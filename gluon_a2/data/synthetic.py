"""Random pixels in the place of images: how fast a network trains when nothing is read."""
import numpy as np

from .images import ImageError
from .loader import Batch


class SyntheticSource:
    """`count` images of `classes` classes that exist only as labels; see sources.py."""

    def __init__(self, count, classes):
        self.labels = np.arange(count, dtype=np.int64) % classes
        self.classes = tuple(map(str, range(classes)))

    def __len__(self):
        return len(self.labels)

    def name(self, i):
        return f'synthetic#{i}'

    def read(self, i):
        raise ImageError(f'{self.name(i)} has no file')


class SyntheticLoader:
    """Stands in for `Loader`: every batch holds the same random pixels (normal, variance 1)."""

    def __init__(self, source, transform, workers, seed=0):
        self._source, self._shape, self._seed = source, transform.shape, seed

    def load(self, index_batches, epoch):
        """Iterate over a `Batch` for each of these arrays of indices."""
        shape = (max(map(len, index_batches), default=0), *self._shape)
        images = np.random.default_rng(self._seed).standard_normal(shape, np.float32)
        for indices in index_batches:
            yield Batch(images[:len(indices)], self._source.labels[indices], indices, [])

    def close(self):
        """Nothing was opened."""
