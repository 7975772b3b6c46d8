"""Squeeze-and-excitation (Hu et al. 2018, ref. [11]): first-order gathering, the same gate
everywhere."""
from ..backend import mx
from .gather import GatherDistribute, inner_width
from .preact import SPACES, conv


class SqueezeExcite(GatherDistribute):
    """x · sigmoid(W₂ relu(W₁ mean(x))): the gathering is a plain mean, the distribution ignores the
    position.

    In a residual unit it scales the branch, before the sum, as its authors place it.

    Parameters: `channels` c of the input; `width` of the hidden layer (c/16 where not given);
    `dims` 2 or 3 space axes; `identity` starts as an exact identity: the gate is then
    2·sigmoid(·), which is 1 where W₂ starts, at zero, and can move both ways.
    """
    branch = True

    def __init__(self, channels, width=None, dims=2, identity=False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        width = inner_width(channels, width, ratio=16)
        self._scale = 2.0 if identity else 1.0
        with self.name_scope():
            self.mean = SPACES[dims].average_pool(prefix='mean_')
            self.squeeze = conv(channels, width, (1,) * dims, bias=True, prefix='squeeze_conv_')
            self.relu = mx.gluon.nn.Activation('relu', prefix='squeeze_relu_')
            self.excite = conv(width, channels, (1, ) * dims, bias=True, zero=identity,
                               prefix='excite_conv_')
            self.sigmoid = mx.gluon.nn.Activation('sigmoid', prefix='excite_sigmoid_')

    def gather(self, F, x):
        """The mean over all positions, N×c×1×1."""
        return self.mean(x)

    def distribute(self, F, bag, x):
        """One gate for each channel, N×c×1×1, at every position."""
        gate = self.sigmoid(self.excite(self.relu(self.squeeze(bag))))
        if self._scale != 1:
            gate = gate * self._scale
        return F.broadcast_mul(x, gate, name='scale')  # N×c×h×w
