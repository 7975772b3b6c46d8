import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.train import buckets
from gluon_a2.train.buckets import Bucket, shared_out


def filled(*shapes):
    """Arrays of whole numbers, which differ from one another."""
    return [mx.nd.array(np.arange(np.prod(shape)).reshape(shape) + 100 * i)
            for i, shape in enumerate(shapes)]


def test_arrays_are_shared_out_from_the_last_on(monkeypatch):
    monkeypatch.setattr(buckets, 'VALUES', 5)
    arrays = filled((1,), (2, 3), (3,), (4,), (2,))
    shares = shared_out(arrays)
    assert [[array.size for array in share] for share in shares] == [[2, 4], [3, 6], [1]]
    assert shares[0][1] is arrays[3]


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_a_bucket_takes_adds_and_gives_back(dtype):
    arrays = filled((2, 3), (5,), (1, 2, 2))
    bucket = Bucket(arrays, dtype)
    bucket.copy()
    expected = np.concatenate([array.asnumpy().ravel() for array in arrays])
    found = bucket.vector.asnumpy()
    assert found.dtype == dtype and found.tolist() == expected.tolist()
    bucket.add()
    bucket.vector *= 3
    bucket.give()
    assert arrays[0].asnumpy().tolist() == [[0, 6, 12], [18, 24, 30]]
    assert arrays[2].asnumpy().tolist() == [[[1200, 1206], [1212, 1218]]]


def test_sums_in_float64_lose_nothing():
    array, total = mx.nd.ones(3), 2.0 ** 24
    bucket = Bucket([array], 'float64')
    bucket.vector[:] = total
    bucket.add()
    assert bucket.vector.asnumpy().tolist() == [total + 1] * 3
