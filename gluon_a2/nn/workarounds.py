"""Operators that compute what MXNet's own get wrong, refuse or round on a CPU (docs/traps.md)."""
from __future__ import annotations

from typing import Union

import numpy as np

from ..backend import mx

Tensor = Union[mx.nd.NDArray, mx.sym.Symbol]  # what Gluon hands to hybrid_forward, beside F


class FoldedBatchNorm(mx.gluon.nn.BatchNorm):
    """BatchNorm of N×C×D×H×W, computed on the same values as N×C×(DH)×W.

    MXNet 1.9.1 cannot train a Conv3D beside a 5-D BatchNorm on a CPU: backward fails with
    `Check failed: !is_view`. The result is the same.
    """

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        folded = F.reshape(x, (0, 0, -3, 0), name='fold')  # N×C×DH×W
        normal = super().hybrid_forward(F, folded, gamma, beta, running_mean, running_var)
        return F.reshape_like(normal, x, name='unfold')  # N×C×D×H×W


def plain_pool(pool: type) -> type:
    """Gluon's `pool` without the attribute `layout`, which MXNet before 1.5 does not know."""

    class Pool(pool):
        def hybrid_forward(self, F, x):
            options = {key: value for key, value in self._kwargs.items() if key != 'layout'}
            return F.Pooling(x, name='fwd', **options)

    return Pool


class Softmax(mx.gluon.nn.HybridBlock):
    """Softmax over the last axis, in float32 even where the network is cast to float16.

    The last axis is the only one that ONNX opset 12 exports with the maximum subtracted.
    """
    _half = False

    def cast(self, dtype: str | type) -> None:
        self._half = np.dtype(dtype) == np.float16
        super().cast(dtype)

    def hybrid_forward(self, F, x):
        if self._half:
            return F.cast(self.weights(F, F.cast(x, 'float32')), 'float16')
        return self.weights(F, x)

    def weights(self, F, x: Tensor) -> Tensor:
        """Of each row, the weights, which sum to 1."""
        return F.softmax(x, axis=-1, name='attention')


class Mean(Softmax):
    """x over the length of its last axis, so that a product with it is a mean, as with a softmax.

    A softmax of zeros is 1 over that length. Operators that divide by a length are not in every
    MXNet, and ONNX has none.
    """

    def weights(self, F, x: Tensor) -> Tensor:
        return F.elemwise_mul(x, F.softmax(x * 0, axis=-1, name='even'), name='attention')


def flatten(F, x: Tensor) -> Tensor:
    """N×C×(D×)H×W → N×C×dhw, only for what `batch_dot` reads.

    The reshaped output of a Conv3D keeps oneDNN's blocked layout. oneDNN's own softmax and
    transpose then take it for a plain array: wrong numbers, or an error.
    """
    return F.reshape(x, (0, 0, -1))


def positions_first(F, x: Tensor, channels: int, dims: int) -> Tensor:
    """N×C×(D×)H×W → N×dhw×C in a plain layout, given C and the number of space axes.

    The transpose comes before the flattening, because oneDNN reads the layout of a Conv3D output
    only while it has five axes.
    """
    channels_last = F.transpose(x, (0, *range(2, 2 + dims), 1))  # N×(D×)H×W×C
    return F.reshape(channels_last, (0, -1, channels))


def positions_last(F, x: Tensor, channels: int, dims: int) -> Tensor:
    """N×C×(D×)H×W → N×C×dhw, as `flatten`, but in a plain layout, for oneDNN's softmax."""
    return F.transpose(positions_first(F, x, channels, dims), (0, 2, 1))
