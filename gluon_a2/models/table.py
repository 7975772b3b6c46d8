"""The networks as rows of data: Table 1, the placement of blocks, and the names of the zoo."""
from __future__ import annotations

import difflib
from typing import NamedTuple

from .. import known
from ..errors import UserError
from ..nn import BLOCKS


class Stem(NamedTuple):
    """The first convolution: kernel (time, height, width), channels, stride; then a max pool."""
    kernel: tuple[int, int, int]
    channels: int
    stride: tuple[int, int, int]
    pool: tuple[int, int, int] | None = None  # kernel; its stride is 2 wherever the kernel is 3


class Stage(NamedTuple):
    """Units: bottlenecks width → width → 4·width, or others; the middle kernel of unit u is k[u mod
    len(k)]×3×3."""
    width: int
    units: int
    k: tuple[int, ...]
    stride: tuple[int, int, int]  # of the first unit's middle convolution


class Backbone(NamedTuple):
    """One column of Table 1, or a network like it."""
    stem: Stem
    conv2: Stage
    conv3: Stage
    conv4: Stage
    conv5: Stage
    frames: int
    size: int
    # where A² and non-local blocks go: after these units, counted from 1
    blocks: dict[str, tuple[int, ...]]
    ratio: int  # their inner widths are the stage's channels over this
    dims: tuple[int, ...] = (2, 3)  # which of image (2) and video (3) are in the zoo
    video_recipe: str = 'kinetics_a2_resnet50'  # whose preprocessing a video network takes
    unit: str = 'bottleneck'  # a key of `resnet.UNITS`
    kinds: tuple[str | None, ...] = (None, *BLOCKS)  # of blocks in the zoo; `plug` takes all
    local: tuple[str, ...] = ()  # stages whose middle kernels are 1×1, and see no neighbour


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
        frames=16, size=112, blocks={'conv3': (1, 2), 'conv4': (1, 2)}, ratio=4,
        video_recipe='kinetics_ablation'),
    'resnet29': Backbone(
        Stem((3, 5, 5), 16, (1, 2, 2)),
        Stage(32, 2, (3,), (2, 1, 1)),
        Stage(64, 2, (3,), (1, 2, 2)),
        Stage(128, 3, (3,), (1, 2, 2)),
        Stage(256, 2, (3,), (1, 2, 2)),
        frames=16, size=112, blocks={'conv3': (1, 2), 'conv4': (1, 2)}, ratio=4,
        video_recipe='kinetics_ablation'),
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
    # MF-Net (ref. [4]), of the paper's future work, as cypw/PyTorch-MFNet has it for video; blocks
    # where ResNet-50 of as many units has them, a quarter as wide, as in the ablations
    'mfnet': Backbone(
        Stem((3, 5, 5), 16, (1, 2, 2), pool=(1, 3, 3)),
        Stage(96, 3, (3,), (2, 1, 1)),
        Stage(192, 4, (3,), (1, 2, 2)),
        Stage(384, 6, (3,), (1, 2, 2)),
        Stage(768, 3, (3,), (1, 2, 2)),
        frames=16, size=224, blocks={'conv3': (1, 3), 'conv4': (1, 3, 5)}, ratio=4,
        video_recipe='kinetics_ablation', unit='multi-fiber', kinds=(None,)),
}
# ResNet-26 that sees 13×13 pixels at a time, after the BagNets of Brendel and Bethge (2019).
# Without blocks, nothing but the last pool brings together what lies farther apart.
BACKBONES['bagnet26'] = BACKBONES['resnet26']._replace(
    dims=(2,), kinds=(None,), local=('conv3', 'conv4', 'conv5'))


class Row(NamedTuple):
    """One network of the paper: a backbone, on images (2) or video (3), with blocks."""
    name: str
    backbone: str
    dims: int
    kind: str | None  # of the blocks, a key of `nn.BLOCKS`
    blocks: dict[str, tuple[int, ...]]
    classifier: str = 'fc_'  # what the names of the last layer's parameters begin with
    builder: str = 'resnet'  # a key of `zoo.BUILDERS`
    fixed: bool = False  # whether it takes no other size

    @property
    def table(self) -> Backbone:
        """The column of Table 1 that this network is built from."""
        return BACKBONES[self.backbone]

    @property
    def input_size(self) -> tuple[int, ...]:
        """(height, width) or (frames, height, width) the paper feeds it."""
        return (self.table.frames, self.table.size, self.table.size)[3 - self.dims:]

    @property
    def classes(self) -> int:
        """Of the data set the paper trains it on: ImageNet-1k or Kinetics-400."""
        return {2: 1000, 3: 400}[self.dims]

    @property
    def recipe(self) -> str:
        """The recipe (`run.recipes`) whose preprocessing it takes."""
        return {2: 'imagenet_a2_resnet50', 3: self.table.video_recipe}[self.dims]

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `get_model` that have an effect on it."""
        blocks = ('blocks', *BLOCKS[self.kind].options) if self.kind else ()
        return (*blocks, 'last_gamma', 'dropout')

    @property
    def stride(self) -> tuple[int, ...]:
        """Input (frames,) rows and columns to one position of the last feature map."""
        total = [1, 1, 1]
        for stride in (self.table.stem.stride, pool_stride(self.table.stem.pool),
                       *(getattr(self.table, stage).stride for stage in STAGES)):
            total = [t * s for t, s in zip(total, stride)]
        return tuple(total[3 - self.dims:])


def pool_stride(kernel: tuple[int, ...] | None) -> tuple[int, ...]:
    """A pool halves the axes it spans."""
    return tuple(2 if k > 1 else 1 for k in kernel or (1, 1, 1))


def usual_blocks(kind: str | None, table: Backbone) -> dict[str, tuple[int, ...]]:
    """Where the blocks of a kind go, unless the user places them."""
    if kind is None:
        return {}
    if BLOCKS[kind].everywhere:
        return {stage: tuple(range(1, getattr(table, stage).units + 1)) for stage in STAGES}
    return table.blocks


def _zoo():
    for name, table in BACKBONES.items():
        for dims in table.dims:
            for kind in table.kinds:
                full = (f'{kind}_' if kind else '') + name + ('_3d' if dims == 3 else '')
                yield Row(full, name, dims, kind, usual_blocks(kind, table))


ZOO = {row.name: row for row in _zoo()}


class BaselineRow(NamedTuple):
    """Another system of Tables 5 and 6, or an image network of GluonCV: what a `Row` has, without
    a column of Table 1."""
    name: str
    builder: str
    input_size: tuple[int, ...]
    stride: tuple[int, ...]  # the smallest input; C3D takes its own size only
    classifier: str
    source: str | None = None  # its name in the GluonCV zoo
    fixed: bool = False
    recipe: str = 'kinetics_a2_resnet50'
    dims: int = 3
    classes: int = 400
    table: None = None
    kind: str | None = None
    options: tuple[str, ...] = ()
    places: str = ''  # of the blocks, as the user names them


BASELINE_ROWS = {row.name: row for row in (
    BaselineRow('c3d', 'gluoncv', (16, 112, 112), (16, 112, 112), 'c3d0_dense2_',
                'c3d_kinetics400', fixed=True, recipe='kinetics_ablation'),
    BaselineRow('i3d_inceptionv1', 'gluoncv', (64, 224, 224), (8, 32, 32),
                'i3d_inceptionv10_dense0_', 'i3d_inceptionv1_kinetics400'),
    BaselineRow('r2plus1d_resnet34', 'gluoncv', (32, 112, 112), (8, 16, 16), 'r2plus1d0_dense0_',
                'r2plus1d_resnet34_kinetics400'),
    BaselineRow('res3d_resnet18', 'res3d', (8, 112, 112), (8, 16, 16), 'fc_'),
    BaselineRow('convnet_lstm', 'convnet_lstm', (25, 224, 224), (1, 32, 32), 'fc_'))}


def list_models() -> list[str]:
    """The names of the paper's networks, sorted."""
    return sorted(ZOO)


def list_baselines() -> list[str]:
    """The names of the other systems of Tables 5 and 6, sorted."""
    return sorted(BASELINE_ROWS)


def find_row(name: str) -> Row | BaselineRow:
    """The row of a name in any case; UserError lists all names."""
    if known.is_known(name):
        family = known.family(name)
        return BaselineRow(name.lower(), 'foreign', (family.size, family.size), (1, 1), '',
                           name.lower()[len(known.PREFIX):], recipe='imagenet_a2_resnet50', dims=2,
                           classes=family.classes)
    rows = {**ZOO, **BASELINE_ROWS}
    if name.lower() not in rows:
        near = difflib.get_close_matches(name.lower(), rows, n=1)
        hint = f' (did you mean {near[0]}?)' if near else ''
        raise UserError(f'unknown model {name!r}{hint}: choose one of '
                        f'{", ".join(list_models())}, {", ".join(list_baselines())}, or one of '
                        f'GluonCV, such as {known.PREFIX}resnet50_v1b')
    return rows[name.lower()]
