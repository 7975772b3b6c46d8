"""Orders, batches and generators are pure functions, and no two of them share a stream."""
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gluon_a2.data import batches, epoch_order, sample_rng


@given(st.integers(0, 300), st.integers(0, 2 ** 40), st.integers(0, 1000))
def test_order_is_a_repeatable_permutation(n, seed, epoch):
    order = epoch_order(n, seed, epoch)
    assert order.dtype == np.int64 and sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))


def test_orders_differ():
    orders = {tuple(epoch_order(31, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 220))
def test_batches_hold_the_rest_of_the_order(n, size, start):
    order = epoch_order(n, 3, 4)
    cut = batches(order, size, start)
    assert [i for batch in cut for i in batch] == order[start:].tolist()
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(1 <= len(batch) <= size for batch in cut[-1:])


def test_every_sample_has_its_own_stream():
    keys = [(seed, epoch, index) for seed in (0, 1, 7) for epoch in (0, 1, 7)
            for index in (0, 1, 7)]
    assert len({sample_rng(*key).integers(2 ** 62) for key in keys}) == len(keys)
    assert sample_rng(1, 2, 3).integers(2 ** 62) == sample_rng(1, 2, 3).integers(2 ** 62)


def test_the_order_shares_no_stream_with_a_sample():
    """numpy pads entropy with zeros, so that a plain (seed, epoch) would equal (seed, epoch, 0)."""
    order = epoch_order(97, 5, 6)
    assert all((sample_rng(5, 6, index).permutation(97) != order).any() for index in range(100))
