"""BN-ReLU-Conv, the one piece all blocks and networks here are made of (He et al. 2016, ref. [10]).

The number of space axes is the only thing that tells an image layer (N×C×H×W) from a video layer
(N×C×D×H×W): `SPACES[2]` and `SPACES[3]` hold the layers to use, and no other code branches on it.
"""
from typing import NamedTuple

from ..backend import mx

gluon_nn = mx.gluon.nn


class FoldedBatchNorm(gluon_nn.BatchNorm):
    """BatchNorm of N×C×D×H×W, computed on the same values as N×C×(DH)×W.

    A fence: on a CPU, MXNet 1.9.1 cannot train a Conv3D beside a 5-D BatchNorm
    (backward fails with `Check failed: !is_view`). The result is the same.
    """

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        folded = F.reshape(x, (0, 0, -3, 0), name='fold')  # N×C×DH×W
        normal = super().hybrid_forward(F, folded, gamma, beta, running_mean, running_var)
        return F.reshape_like(normal, x, name='unfold')  # N×C×D×H×W


def plain_pool(pool):
    """Gluon's `pool`, its `layout` left unsaid: it is the default, and MXNet before 1.5 has no such
    attribute."""

    class Pool(pool):
        def hybrid_forward(self, F, x):
            return F.Pooling(
                x, name='fwd', **{
                    key: value for key, value in self._kwargs.items() if key != 'layout'
                })

    return Pool


class Space(NamedTuple):
    """The layers of one number of space axes."""
    conv: type
    batch_norm: type
    max_pool: type
    average_pool: type


SPACES = {
    2: Space(gluon_nn.Conv2D, gluon_nn.BatchNorm, plain_pool(gluon_nn.MaxPool2D),
             plain_pool(gluon_nn.GlobalAvgPool2D)),
    3: Space(gluon_nn.Conv3D, FoldedBatchNorm, plain_pool(gluon_nn.MaxPool3D),
             plain_pool(gluon_nn.GlobalAvgPool3D)),
}


def conv(in_channels, channels, kernel, stride=None, bias=False, zero=False, prefix='conv_'):
    """A convolution padded to keep its size at stride 1; as many space axes as `kernel` has
    numbers.

    `zero` starts its weight at zero, so that the branch it ends adds nothing at first.
    """
    return SPACES[len(kernel)].conv(channels, kernel, stride or (1, ) * len(kernel),
                                    tuple(k // 2
                                          for k in kernel), use_bias=bias, in_channels=in_channels,
                                    weight_initializer='zeros' if zero else None, prefix=prefix)


class BNReLU(gluon_nn.HybridBlock):
    """BatchNorm (momentum 0.9, ε 1e-5), then ReLU."""

    def __init__(self, channels, dims=2, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.bn = SPACES[dims].batch_norm(in_channels=channels, prefix='bn_')
            # Activation, not F.relu: only the former runs in oneDNN.
            self.relu = gluon_nn.Activation('relu', prefix='relu_')

    def hybrid_forward(self, F, x):
        return self.relu(self.bn(x))


class BNReLUConv(gluon_nn.HybridBlock):
    """BatchNorm, ReLU, convolution without bias: in_channels → channels."""

    def __init__(self, in_channels, channels, kernel, stride=None, zero=False, prefix=None,
                 params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.bn_relu = BNReLU(in_channels, len(kernel), prefix='')
            self.conv = conv(in_channels, channels, kernel, stride, zero=zero)

    def hybrid_forward(self, F, x):
        return self.conv(self.bn_relu(x))


def pointwise(in_channels, channels, dims, prefix, zero=False):
    """BN-ReLU-Conv with a 1×1 (dims 2) or 1×1×1 (dims 3) kernel."""
    return BNReLUConv(in_channels, channels, (1,) * dims, zero=zero, prefix=prefix)
