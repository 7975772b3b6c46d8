"""The networks as rows of data: Table 1, the placement of blocks, and the names of the zoo.

Nothing here computes.
"""
import difflib
from typing import Dict, NamedTuple, Optional, Tuple

from ..errors import UserError
from ..nn import BLOCKS


class Stem(NamedTuple):
    """The first convolution: kernel (time, height, width), channels, stride; then, where there is
    one, a max pool."""
    kernel: Tuple[int, int, int]
    channels: int
    stride: Tuple[int, int, int]
    pool: Optional[Tuple[int, int, int]] = None  # kernel; its stride is 2 wherever the kernel is 3


class Stage(NamedTuple):
    """`units` bottlenecks width → width → 4·width; unit u's middle kernel is k[u mod
    len(k)]×3×3."""
    width: int
    units: int
    k: Tuple[int, ...]
    stride: Tuple[int, int, int]  # of the first unit's middle convolution


class Backbone(NamedTuple):
    """One column of Table 1."""
    stem: Stem
    conv2: Stage
    conv3: Stage
    conv4: Stage
    conv5: Stage
    frames: int
    size: int
    # where A² and non-local blocks go: after these units, counted from 1
    blocks: Dict[str, Tuple[int, ...]]
    ratio: int  # their inner widths are the stage's channels over this
    dims: Tuple[int, ...] = (2, 3)  # which of image (2) and video (3) are in the zoo


STAGES = ('conv2', 'conv3', 'conv4', 'conv5')

# An image network is the same row without its temporal numbers ("the same ResNet-50 but without the
# temporal dimension", Section 3.1). Each figure that Table 1 leaves open is fixed by the #Params
# and FLOPs the paper prints: the temporal strides, the pools, and the ratio 2 of the ResNet-50s.
BACKBONES = {
    'resnet26': Backbone(  # every ablation; "4 @ Conv3&4" of Table 3 is the default placement
        Stem((3, 5, 5), 16, (1, 2, 2)),
        Stage(32, 2, (3,), (2, 1, 1)),
        Stage(64, 2, (3,), (1, 2, 2)),
        Stage(128, 2, (3,), (1, 2, 2)),
        Stage(256, 2, (3,), (1, 2, 2)),
        frames=16, size=112, blocks={'conv3': (1, 2), 'conv4': (1, 2)}, ratio=4),
    'resnet29': Backbone(
        Stem((3, 5, 5), 16, (1, 2, 2)),
        Stage(32, 2, (3,), (2, 1, 1)),
        Stage(64, 2, (3,), (1, 2, 2)),
        Stage(128, 3, (3,), (1, 2, 2)),
        Stage(256, 2, (3,), (1, 2, 2)),
        frames=16, size=112, blocks={'conv3': (1, 2), 'conv4': (1, 2)}, ratio=4, dims=(3,)),
    'resnet50': Backbone(
        Stem((3, 5, 5), 32, (1, 2, 2), pool=(1, 3, 3)),
        Stage(64, 3, (3,), (1, 1, 1)),
        Stage(128, 4, (3, 1), (2, 2, 2)),
        Stage(256, 6, (3, 1), (1, 2, 2)),
        Stage(512, 3, (1, 3), (1, 2, 2)),
        frames=8, size=224, blocks={'conv3': (1, 3), 'conv4': (1, 3, 5)}, ratio=2),
    'resnet152': Backbone(  # only as Table 4's competitor; with blocks, where ResNet-50 has them
        Stem((3, 5, 5), 32, (1, 2, 2), pool=(1, 3, 3)),
        Stage(64, 3, (3,), (1, 1, 1)),
        Stage(128, 8, (3, 1), (2, 2, 2)),
        Stage(256, 36, (3, 1), (1, 2, 2)),
        Stage(512, 3, (1, 3), (1, 2, 2)),
        frames=8, size=224, blocks={'conv3': (1, 3), 'conv4': (1, 3, 5)}, ratio=2, dims=(2,)),
}

class Row(NamedTuple):
    """One network of the zoo: which backbone, on images (2) or video (3), with which blocks,
    where."""
    name: str
    backbone: str
    dims: int
    kind: Optional[str]
    blocks: Dict[str, Tuple[int, ...]]
    classifier: str = 'fc_'  # what the names of the last layer's parameters begin with

    @property
    def table(self):
        """The `Backbone` this network is built from."""
        return BACKBONES[self.backbone]

    @property
    def input_size(self):
        """(height, width) or (frames, height, width) the paper feeds it."""
        return (self.table.frames, self.table.size, self.table.size)[3 - self.dims:]

    @property
    def classes(self):
        """Of the data set the paper trains it on: ImageNet-1k or Kinetics-400."""
        return {2: 1000, 3: 400}[self.dims]

    @property
    def stride(self):
        """Input pixels (and frames) to one position of the last feature map, an entry for each
        space axis."""
        total = [1, 1, 1]
        for stride in (self.table.stem.stride, pool_stride(self.table.stem.pool),
                       *(getattr(self.table, stage).stride for stage in STAGES)):
            total = [t * s for t, s in zip(total, stride)]
        return tuple(total[3 - self.dims:])


def pool_stride(kernel):
    """A pool halves the axes it spans."""
    return tuple(2 if k > 1 else 1 for k in kernel or (1, 1, 1))


def every_unit(table):
    """Placement after (for `se`: in) every unit of every stage."""
    return {stage: tuple(range(1, getattr(table, stage).units + 1)) for stage in STAGES}


def _zoo():
    for name, table in BACKBONES.items():
        for dims in table.dims:
            for kind in (None, *BLOCKS):
                blocks = {} if kind is None else (
                    every_unit(table) if BLOCKS[kind].everywhere else table.blocks)
                full = (f'{kind}_' if kind else '') + name + ('_3d' if dims == 3 else '')
                yield Row(full, name, dims, kind, blocks)


ZOO = {row.name: row for row in _zoo()}


class BaselineRow(NamedTuple):
    """Another system of Tables 5 and 6, trained and counted by the same scripts."""
    name: str
    kind: str  # who builds it: see baselines.py
    input_size: Tuple[int, int, int]
    stride: Tuple[int, int, int]  # the smallest input; C3D takes its own size only
    classifier: str  # what the names of its last layer's parameters begin with
    source: Optional[str] = None  # its name in the GluonCV zoo
    dims: int = 3
    classes: int = 400
    fixed: bool = False  # whether it takes no other size


BASELINE_ROWS = {
    row.name: row
    for row in (BaselineRow('c3d', 'gluoncv', (16, 112, 112), (
        16, 112, 112), 'c3d0_dense2_', 'c3d_kinetics400', fixed=True),
                BaselineRow('i3d_inceptionv1', 'gluoncv', (64, 224, 224), (
                    8, 32, 32), 'i3d_inceptionv10_dense0_', 'i3d_inceptionv1_kinetics400'),
                BaselineRow('r2plus1d_resnet34', 'gluoncv', (32, 112, 112), (
                    8, 16, 16), 'r2plus1d0_dense0_', 'r2plus1d_resnet34_kinetics400'),
                BaselineRow('res3d_resnet18', 'res3d', (8, 112, 112), (8, 16, 16), 'fc_'),
                BaselineRow('convnet_lstm', 'convnet_lstm', (25, 224, 224), (1, 32, 32), 'fc_'))
}


class UnknownModel(UserError, ValueError):
    """A name that is not in the zoo."""


def list_models():
    """The names of the paper's networks, sorted; `get_model` also takes those of
    `list_baselines`."""
    return sorted(ZOO)


def list_baselines():
    """The names of the other systems of Tables 5 and 6, sorted."""
    return sorted(BASELINE_ROWS)


def find_row(name):
    """The `Row` of a zoo network, or a `BaselineRow`, its name in any case; `UnknownModel` lists
    all names."""
    row = ZOO.get(name.lower()) or BASELINE_ROWS.get(name.lower())
    if row is None:
        near = difflib.get_close_matches(name.lower(), [*ZOO, *BASELINE_ROWS], n=1)
        hint = f' (did you mean {near[0]}?)' if near else ''
        raise UnknownModel(f'unknown model {name!r}{hint}: choose one of '
                           f'{", ".join(list_models())}, {", ".join(list_baselines())}')
    return row
