"""Random pixels in the place of images."""
import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.data import ImageError, SyntheticLoader, SyntheticSource


def test_batches_have_the_shapes_and_labels_of_real_ones():
    source = SyntheticSource(10, 3)
    assert len(source) == 10 and source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    loader = SyntheticLoader(source, data.Preprocessing(16, 1.0), 0)
    big, small = list(loader.load([np.array([1, 9, 4]), np.array([5])], 0))
    assert big.images.shape == (3, 3, 16, 16) and big.images.dtype == np.float32
    assert big.labels.tolist() == [1, 0, 1] and big.damaged == []
    assert big.indices.tolist() == [1, 9, 4]
    assert small.images.shape == (1, 3, 16, 16) and small.labels.tolist() == [2]
    assert np.std(big.images) == pytest.approx(1, abs=0.1)
    assert list(loader.load([], 0)) == []
    loader.close()


def test_there_is_nothing_to_read():
    with pytest.raises(ImageError, match='synthetic#3 has no file'):
        SyntheticSource(10, 3).read(3)
