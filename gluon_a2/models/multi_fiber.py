"""The unit of multi-fiber networks (Chen et al., ECCV 2018), which the paper names as future work.

    x → x + mix(x) → grouped convolution → grouped convolution, + x

The groups are the fibers: none sees another, so a unit costs a sixteenth. The multiplexer `mix`,
two 1×1 convolutions through a quarter of the channels, lets them exchange what they found.
"""
from __future__ import annotations

import math

from ..backend import mx
from ..nn import BNReLUConv

FIBERS = 16


class MultiFiber(mx.gluon.nn.HybridBlock):
    """in_channels → width; arguments as of `resnet.Bottleneck`.

    A stage's first unit ends in a plain 1×1 convolution and has a projection, with a BN-ReLU of its
    own, as the authors' code has it (cypw/PyTorch-MFNet).
    """
    expansion = 1  # channels it puts out, over its width

    def __init__(self, in_channels: int, width: int, kernel: tuple[int, ...],
                 stride: tuple[int, ...], branch_block: mx.gluon.Block | None = None,
                 zero: bool = False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        point, inner = (1,) * len(kernel), width // 4
        first = in_channels != width or math.prod(stride) != 1
        with self.name_scope():
            self.mix = mx.gluon.nn.HybridSequential(prefix='')
            self.mix.add(BNReLUConv(in_channels, inner, point, prefix='mix1_'),
                         BNReLUConv(inner, in_channels, point, prefix='mix2_'))
            self.conv2 = BNReLUConv(in_channels, width, kernel, stride, groups=FIBERS,
                                    prefix='conv2_')
            self.conv3 = BNReLUConv(width, width, point if first else (*point[2:], 3, 3), zero=zero,
                                    groups=1 if first else FIBERS, prefix='conv3_')
            self.branch_block = branch_block
            self.shortcut = BNReLUConv(in_channels, width, point, stride,
                                       prefix='shortcut_') if first else None

    def hybrid_forward(self, F, x):
        y = self.conv3(self.conv2(x + self.mix(x)))  # N×width×d'×h'×w'
        if self.branch_block is not None:
            y = self.branch_block(y)
        return y + (x if self.shortcut is None else self.shortcut(x))
