"""Gather and distribute: the one form (Eq. 1) that the paper's block and its two baselines share.

    z_i = F_distr(G_gather(X), v_i)      i = 1 … dhw

| block           | G_gather(X)                              | F_distr(G, v_i)                            |
|-----------------|------------------------------------------|--------------------------------------------|
| DoubleAttention | n weighted sums of features (Eq. 4)      | a soft choice among the n (Eq. 5)          |
| NonLocal        | every position, as key and value         | a soft choice among all dhw, by embedding  |
| SqueezeExcite   | one plain mean                           | the same gate for every position           |
"""
import numpy as np

from ..backend import mx


class GatherDistribute(mx.gluon.nn.HybridBlock):
    """X (N×C×H×W or N×C×D×H×W) → the same shape, by a subclass's `gather` and `distribute` (Eq. 1).

    `gather(F, x)` gives what the block keeps of the whole space; `distribute(F, bag, x)` gives each
    position its share of it, put back into x.

    `branch` says where a residual unit takes the block: on the unit's sum (False) or on
    its residual branch, before the sum (True).
    """
    branch = False

    def __init__(self, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self._half = False

    def cast(self, dtype):
        """Cast the parameters; with float16 every softmax still runs in float32."""
        self._half = np.dtype(dtype) == np.float16
        super().cast(dtype)

    def hybrid_forward(self, F, x):
        return self.distribute(F, self.gather(F, x), x)

    def _softmax(self, F, x, name):
        """Softmax over the last axis: the only axis that ONNX opset 12 exports with the maximum
        subtracted."""
        if self._half:
            return F.cast(F.softmax(F.cast(x, 'float32'), axis=-1, name=name), 'float16')
        return F.softmax(x, axis=-1, name=name)


def inner_width(channels, width, ratio=4):
    """`width`, or channels/ratio (at least 1) where it is None; ValueError for less than 1."""
    width = max(1, channels // ratio) if width is None else width
    if width < 1:
        raise ValueError(f'a block needs an inner width of at least 1, not {width}')
    return width


def flatten_space(F, x):
    """N×C×H×W or N×C×D×H×W → N×C×dhw.

    Only for what `batch_dot` reads. The reshaped output of a Conv3D keeps oneDNN's blocked layout,
    and oneDNN's own softmax and transpose then take it for a plain array: wrong numbers, or an
    error.
    """
    return F.reshape(x, (0, 0, -1))


def positions_first(F, x, channels, dims):
    """N×C×H×W or N×C×D×H×W → N×dhw×C, given C and the number of space axes, in a plain layout.

    A fence: the transpose comes before the flattening, since oneDNN reads the layout of a Conv3D
    output only while it has five axes.
    """
    channels_last = F.transpose(x, (0, *range(2, 2 + dims), 1))  # N×(D×)H×W×C
    return F.reshape(channels_last, (0, -1, channels))


def positions_last(F, x, channels, dims):
    """N×C×H×W or N×C×D×H×W → N×C×dhw, as `flatten_space`, but in a plain layout, for oneDNN's
    softmax."""
    return F.transpose(positions_first(F, x, channels, dims), (0, 2, 1))
