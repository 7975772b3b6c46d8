"""The pre-activation ResNet of the paper, or a multi-fiber network, built from a row of `table`."""
from __future__ import annotations

import math
from typing import Any

from ..backend import mx
from ..nn import BLOCKS, BNReLU, BNReLUConv, make_block
from ..nn.preact import SPACES, conv
from .multi_fiber import MultiFiber
from .table import STAGES, Row, Stage, Stem, pool_stride


class Bottleneck(mx.gluon.nn.HybridBlock):
    """1×1, k×3×3, 1×1, each behind BN-ReLU; the stride is the middle one's.

    The first BN-ReLU is shared with the projection shortcut, where there is one. `branch_block` is
    a block on the branch, before the sum. `zero` starts the branch at zero. It zeroes the last
    convolution: a zero γ in front of a ReLU, the post-activation habit, would never receive a
    gradient here.
    """
    expansion = 4  # channels it puts out, over its width

    def __init__(self, in_channels: int, width: int, kernel: tuple[int, ...],
                 stride: tuple[int, ...], branch_block: mx.gluon.Block | None = None,
                 zero: bool = False, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        channels, point = self.expansion * width, (1,) * len(kernel)
        with self.name_scope():
            self.preact = BNReLU(in_channels, len(kernel), prefix='')
            self.conv1 = conv(in_channels, width, point, prefix='conv1_conv_')
            self.conv2 = BNReLUConv(width, width, kernel, stride, prefix='conv2_')
            self.conv3 = BNReLUConv(width, channels, point, zero=zero, prefix='conv3_')
            self.branch_block = branch_block
            projected = in_channels != channels or math.prod(stride) != 1
            self.shortcut = conv(in_channels, channels, point, stride,
                                 prefix='shortcut_conv_') if projected else None

    def hybrid_forward(self, F, x):
        a = self.preact(x)  # N×in×d×h×w
        shortcut = x if self.shortcut is None else self.shortcut(a)  # N×4·width×d'×h'×w'
        y = self.conv3(self.conv2(self.conv1(a)))  # N×4·width×d'×h'×w'
        if self.branch_block is not None:
            y = self.branch_block(y)
        return y + shortcut


UNITS: dict[str, Any] = {'bottleneck': Bottleneck, 'multi-fiber': MultiFiber}


class ResNet(mx.gluon.nn.HybridBlock):
    """`features` (the last map, after its BN-ReLU), average pool, dropout, `fc` to the logits.

    Built by `get_model`, which checks its arguments. Input N×3×(D×)H×W; output N×classes. `size`
    is what association='auto' is decided for. Parameter names say where they are:
    `conv3_unit1_a2_phi_conv_weight`.
    """

    def __init__(self, row: Row, classes: int = 1000, size: tuple[int, ...] | None = None,
                 blocks: dict | None = None, ratio: int | None = None, m: int | None = None,
                 n: int | None = None, association: str = 'left', softmax: str = 'both',
                 identity: bool = False, last_gamma: bool = False, dropout: float = 0.0):
        super().__init__(prefix='')
        self.row, self.classes = row, classes
        self.blocks = row.blocks if blocks is None else blocks
        self._block_options = {'ratio': row.table.ratio if ratio is None else ratio, 'm': m, 'n': n,
                               'association': association, 'softmax': softmax,
                               'identity': identity}
        self._last_gamma = last_gamma
        with self.name_scope():
            self.features = mx.gluon.nn.HybridSequential(prefix='')
            channels, size = self._add_stem(row.table.stem, size or row.input_size)
            for stage in STAGES:
                channels, size = self._add_stage(stage, getattr(row.table, stage), channels, size)
            self.features.add(BNReLU(channels, row.dims, prefix='final_'))
            self.pool = SPACES[row.dims].average_pool(prefix='pool_')
            self.dropout = mx.gluon.nn.Dropout(dropout, prefix='dropout_') if dropout else None
            self.fc = mx.gluon.nn.Dense(classes, in_units=channels, prefix='fc_')

    def _space(self, numbers):
        """The numbers of a row that this network has: all three, or without time."""
        return tuple(numbers)[3 - self.row.dims:]

    def _add_stem(self, stem: Stem, size):
        stride = self._space(stem.stride)
        self.features.add(
            conv(3, stem.channels, self._space(stem.kernel), stride, prefix='conv1_conv_'),
            BNReLU(stem.channels, self.row.dims, prefix='conv1_'))
        size = shrink(size, stride)
        if stem.pool:
            kernel, stride = self._space(stem.pool), self._space(pool_stride(stem.pool))
            padding = tuple(k // 2 for k in kernel)
            self.features.add(SPACES[self.row.dims].max_pool(kernel, stride, padding,
                                                             prefix='pool1_'))
            size = shrink(size, stride)
        return stem.channels, size

    def _add_stage(self, name: str, stage: Stage, channels: int, size):
        kind, unit_type = self.row.kind, UNITS[self.row.table.unit]
        stride = self._space(stage.stride)
        size, out = shrink(size, stride), unit_type.expansion * stage.width
        for unit in range(1, stage.units + 1):
            prefix, on_sum, on_branch = f'{name}_unit{unit}_', None, None
            if kind and unit in self.blocks.get(name, ()):
                block = make_block(kind, out, size, prefix, **self._block_options)
                on_branch, on_sum = (block, None) if BLOCKS[kind].on_branch else (None, block)
            side = 1 if name in self.row.table.local else 3
            kernel = self._space((stage.k[(unit - 1) % len(stage.k)], side, side))
            self.features.add(unit_type(
                channels, stage.width, kernel, stride if unit == 1 else (1,) * len(stride),
                on_branch, self._last_gamma, prefix=prefix))
            if on_sum is not None:
                self.features.add(on_sum)
            channels = out
        return channels, size

    def hybrid_forward(self, F, x):
        x = self.pool(self.features(x))  # N×C×1×1
        x = F.flatten(x, name='flatten')  # N×C
        return self.fc(x if self.dropout is None else self.dropout(x))  # N×classes


def shrink(size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """Positions left after a padded convolution or pool of this stride."""
    return tuple(-(-n // s) for n, s in zip(size, stride))
