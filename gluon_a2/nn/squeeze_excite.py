"""Squeeze-and-excitation (Hu et al. 2018, ref. [11]), which the paper compares with."""
from __future__ import annotations

from ..backend import mx
from .preact import SPACES, conv, inner_width
from .workarounds import Tensor


class SqueezeExcite(mx.gluon.nn.HybridBlock):
    """x · sigmoid(W₂ relu(W₁ mean(x))): one gate for each channel, the same at every position.

    In a residual unit it scales the branch, before the sum, as its authors place it.

    Parameters
    ----------
    channels : int
        c, channels of the input and the output.
    width : int
        Of the hidden layer; by default c/16, at least 1.
    dims : 2 or 3
        Space axes of the input.
    identity : bool
        Start as an exact identity. The gate is then 2·sigmoid(·), which is 1 where W₂ starts, at
        zero, and can move both ways.

    Examples
    --------
    >>> block = SqueezeExcite(channels=32, identity=True)
    >>> block.initialize()
    >>> x = mx.nd.ones((1, 32, 7, 7))
    >>> bool((block(x) == x).asnumpy().all())
    True
    """

    def __init__(self, channels: int, width: int | None = None, dims: int = 2,
                 identity: bool = False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        width, point = inner_width(channels, width, None, usual=16), (1,) * dims
        self._scale = 2.0 if identity else 1.0
        with self.name_scope():
            self.mean = SPACES[dims].average_pool(prefix='mean_')
            self.squeeze = conv(channels, width, point, bias=True, prefix='squeeze_conv_')
            self.relu = mx.gluon.nn.Activation('relu', prefix='squeeze_relu_')
            self.excite = conv(width, channels, point, bias=True, zero=identity,
                               prefix='excite_conv_')
            self.sigmoid = mx.gluon.nn.Activation('sigmoid', prefix='excite_sigmoid_')

    def hybrid_forward(self, F, x):
        hidden = self.relu(self.squeeze(self.mean(x)))         # N×c/16×1×1
        gate = self.sigmoid(self.excite(hidden))               # N×c×1×1
        if self._scale != 1:
            gate = gate * self._scale
        return scaled(F, x, gate, mx.autograd.is_training())   # N×c×h×w


def scaled(F, x: Tensor, gate: Tensor, training: bool) -> Tensor:
    """x · gate of N×c×(d×)h×w and N×c×(1×)1×1, either way with the same bits.

    On a CPU the backward pass of `broadcast_mul` takes several times as long. A network that is
    traced for export has it nevertheless: `broadcast_like` is not in MXNet before 1.3.
    """
    if training:
        return F.elemwise_mul(x, F.broadcast_like(gate, x, name='spread'), name='scale')
    return F.broadcast_mul(x, gate, name='scale')
