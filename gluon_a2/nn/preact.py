"""BN-ReLU-Conv, the one piece all blocks and networks here are made of (He et al. 2016, ref. [10]).

The number of space axes is the only thing that tells an image layer (N×C×H×W) from a video layer
(N×C×D×H×W): `SPACES[2]` and `SPACES[3]` hold the layers to use, and no other code branches on it.
"""
from __future__ import annotations

import numbers
from typing import NamedTuple

from ..backend import mx
from ..errors import UserError
from .workarounds import FoldedBatchNorm, plain_pool


class Space(NamedTuple):
    """The layers of one number of space axes."""
    conv: type
    batch_norm: type
    max_pool: type
    average_pool: type


SPACES = {
    2: Space(mx.gluon.nn.Conv2D, mx.gluon.nn.BatchNorm, plain_pool(mx.gluon.nn.MaxPool2D),
             plain_pool(mx.gluon.nn.GlobalAvgPool2D)),
    3: Space(mx.gluon.nn.Conv3D, FoldedBatchNorm, plain_pool(mx.gluon.nn.MaxPool3D),
             plain_pool(mx.gluon.nn.GlobalAvgPool3D)),
}


def conv(in_channels: int, channels: int, kernel: tuple[int, ...],
         stride: tuple[int, ...] | None = None, bias: bool = False, zero: bool = False,
         groups: int = 1, prefix: str = 'conv_') -> mx.gluon.nn.HybridBlock:
    """A convolution with as many space axes as `kernel` has numbers, of the same size at stride 1.

    `zero` starts its weight at zero, so that the branch it ends adds nothing at first.
    """
    padding = tuple(k // 2 for k in kernel)
    return SPACES[len(kernel)].conv(
        channels, kernel, stride or (1,) * len(kernel), padding, groups=groups, use_bias=bias,
        in_channels=in_channels, weight_initializer='zeros' if zero else None, prefix=prefix)


class BNReLU(mx.gluon.nn.HybridBlock):
    """BatchNorm (momentum 0.9, ε 1e-5), then ReLU."""

    def __init__(self, channels: int, dims: int = 2, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.bn = SPACES[dims].batch_norm(in_channels=channels, prefix='bn_')
            # Activation, not F.relu: only the former runs in oneDNN.
            self.relu = mx.gluon.nn.Activation('relu', prefix='relu_')

    def hybrid_forward(self, F, x):
        return self.relu(self.bn(x))


class BNReLUConv(mx.gluon.nn.HybridBlock):
    """BatchNorm, ReLU, convolution without bias: in_channels → channels."""

    def __init__(self, in_channels: int, channels: int, kernel: tuple[int, ...],
                 stride: tuple[int, ...] | None = None, zero: bool = False, groups: int = 1,
                 prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.bn_relu = BNReLU(in_channels, len(kernel), prefix='')
            self.conv = conv(in_channels, channels, kernel, stride, zero=zero, groups=groups)

    def hybrid_forward(self, F, x):
        return self.conv(self.bn_relu(x))


def pointwise(in_channels: int, channels: int, dims: int, prefix: str,
              zero: bool = False) -> BNReLUConv:
    """BN-ReLU-Conv with a 1×1 (dims 2) or 1×1×1 (dims 3) kernel."""
    return BNReLUConv(in_channels, channels, (1,) * dims, zero=zero, prefix=prefix)


def inner_width(channels: int, width: int | None, ratio: int | None, usual: int = 4) -> int:
    """`width`, else channels/`ratio`, else channels/`usual` (at least 1); UserError below 1."""
    if ratio is not None and not (isinstance(ratio, numbers.Integral) and 1 <= ratio <= channels):
        raise UserError(f'`ratio` must be a whole number from 1 to {channels}, the channels of the '
                        f'block, not {ratio!r}')
    if width is None:
        width = max(1, channels // (ratio or usual))
    if width < 1:
        raise UserError(f'a block needs an inner width of at least 1, not {width}')
    return width
