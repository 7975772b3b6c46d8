"""Gradients side by side in a few vectors, each of which all ranks sum at once. The first hold the
last layers, whose gradients are there first, so that they travel while backward still runs."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ..backend import mx

VALUES = 2 ** 22  # of a vector, before it is full


class Bucket:
    """A `vector` of `dtype` with room for the values of some arrays.

    An operation on the arrays waits for what computes them, not for the whole backward pass.
    """

    def __init__(self, arrays: Sequence[Any], dtype: str) -> None:
        ends = np.cumsum([array.size for array in arrays]).tolist()
        self.vector = mx.nd.zeros(ends[-1], arrays[0].context, dtype=dtype)
        self._pairs = [(array, self.vector[end - array.size:end].reshape(array.shape))
                       for array, end in zip(arrays, ends)]

    def copy(self) -> None:
        """Take the values of the arrays."""
        for array, view in self._pairs:
            array.copyto(view)

    def add(self) -> None:
        """Add the values of the arrays."""
        for array, view in self._pairs:
            view += array.astype(view.dtype)

    def give(self) -> None:
        """Overwrite the arrays by what is here."""
        for array, view in self._pairs:
            view.copyto(array)


def shared_out(arrays: Sequence[Any]) -> list[list]:
    """The arrays from the last to the first, in lists of `VALUES` values or, by one array, more."""
    lists: list[list] = []
    room = 0
    for array in reversed(arrays):
        if room <= 0:
            lists.append([])
            room = VALUES
        lists[-1].append(array)
        room -= array.size
    return lists
