"""`get_model`: a network of the zoo by name, as in GluonCV."""
from __future__ import annotations

import numbers
from pathlib import Path

from ..backend import mx
from ..errors import UserError
from ..nn.blocks import refuse_options
from . import foreign, released
from .baselines import ConvNetLSTM, Res3D, from_gluoncv
from .resnet import ResNet
from .table import STAGES, BaselineRow, Row
from .weights import load_weights

# Each is called with (row, classes, input size, **options of the row).
BUILDERS = {'resnet': ResNet, 'res3d': Res3D, 'convnet_lstm': ConvNetLSTM, 'gluoncv': from_gluoncv,
            'foreign': foreign.build}


def get_model(name: str, pretrained: bool | str | Path = False, classes: int | None = None,
              ctx: mx.Context | None = None, *, plug: str | None = None,
              blocks: dict | None = None, ratio: int | None = None, m: int | None = None,
              n: int | None = None, association: str = 'left', softmax: str = 'both',
              input_size: int | tuple[int, ...] | None = None,
              identity: bool = False, last_gamma: bool = False,
              dropout: float = 0.0) -> mx.gluon.Block:
    """A network of the zoo; its parameters are loaded from `pretrained`, or not yet initialized.

    UserError for an unknown name (it lists all), a value out of range, and an option that has no
    effect on this network.

    Parameters
    ----------
    name : str
        A name of `list_models()` or `list_baselines()`, or of an image network of GluonCV such as
        gluoncv:resnet50_v1b, in any case.
    pretrained : False, True, name or path
        True for the weights of this network that come along, a name of `released.RELEASES` for
        others of them; or a file that `load_weights` takes, of the same network.
    classes : int
        Number of logits; by default that of the weights that come along, or 1000 (ImageNet-1k) for
        images and 400 (Kinetics) for video.
    ctx : mx.Context
        Where `pretrained` is loaded; CPU by default.
    plug : str, optional
        Blocks put into a network that has none: a2, nl or se, at the usual places of its family.
        'a2@stage3:1,2;stage4' names other places: units of the maps that are 2³ and 2⁴ times
        smaller than the input. GluonCV's networks also take paths of children:
        'se@features.6;layer3.*'.
    blocks : dict, optional
        Placement instead of the row's, for ablations: {'conv4': (1, 2)} puts a block in units 1 and
        2 of conv4.
    ratio : int, optional
        Inner widths of A² and non-local blocks are the stage's channels over this.
    m, n : int, optional
        Inner widths of A² blocks, of features and of descriptors, instead of the ratio's.
    association : 'left', 'right' or 'auto'
        Of A² blocks; 'auto' decides for each block at `input_size` (Section 2.3).
    softmax : 'both', 'gather', 'distribute' or 'none'
        The softmaxes that A² blocks have (`nn.attention`).
    input_size : int or tuple, optional
        Side, or (height, width), or for video (frames, height, width); by default the paper's.
    identity : bool
        The extra blocks start as exact identities.
    last_gamma : bool
        Every residual branch starts at zero, as GluonCV's flag of this name does for its networks.
    dropout : float
        Rate in front of the classifier.

    Examples
    --------
    >>> net = get_model('a2_resnet26', classes=10, input_size=32)
    >>> net.initialize(mx.init.MSRAPrelu())
    >>> net(mx.nd.zeros((2, 3, 32, 32))).shape
    (2, 10)
    """
    row, placed = foreign.with_blocks(name, plug)
    if placed is not None and blocks is not None:
        raise UserError('`plug` names places and `blocks` others: give one of them')
    blocks = placed if blocks is None else blocks
    pretrained = released.usual(row.name) if pretrained is True else pretrained
    if classes is None:
        release = released.find(pretrained)
        classes = len(release.classes) if release else row.classes
    if not isinstance(classes, numbers.Integral) or classes < 1:
        raise UserError(f'`classes` must be 1 or more, not {classes}')
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise UserError(f'`dropout` must be 0 or more and below 1, not {dropout}')
    options = {'blocks': blocks, 'ratio': ratio, 'm': m, 'n': n, 'association': association,
               'softmax': softmax, 'identity': identity, 'last_gamma': last_gamma,
               'dropout': dropout}
    usual = get_model.__kwdefaults__
    refuse_options(row.name, row.options, [n for n in options if options[n] != usual[n]])
    if blocks is not None:
        check_blocks(row, blocks)
    net = BUILDERS[row.builder](row, classes, check_input_size(row, input_size),
                                **{n: options[n] for n in row.options if n in options})
    if pretrained:
        load_weights(net, pretrained, ctx=ctx)
    return net


def check_input_size(row: Row | BaselineRow, size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """`size` with a number for each space axis; UserError if the network cannot take it."""
    if size is None:
        return row.input_size
    frames = row.input_size[:row.dims - 2]
    axes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if not all(isinstance(n, numbers.Integral) for n in axes):
        raise UserError(f'an input size is made of whole numbers, not {size!r}')
    axes = frames + axes if len(axes) == 2 else axes
    shown = '×'.join(map(str, axes))
    if len(axes) != row.dims:
        wanted = 'frames, height and width' if frames else 'height and width'
        raise UserError(f'{row.name} cannot take an input of {shown}: it has {row.dims} axes, '
                        f'{wanted}')
    if row.fixed and axes != row.input_size:
        raise UserError(f'{row.name} takes inputs of {"×".join(map(str, row.input_size))} only, '
                        f'not {shown}')
    if any(n < s for n, s in zip(axes, row.stride)):
        least = '×'.join(map(str, row.stride))
        raise UserError(f'{row.name} cannot take an input of {shown}: '
                        f'its total stride is {least}, so that is the smallest')
    return axes


def check_blocks(row: Row, blocks: dict) -> None:
    """UserError naming the stage or unit of a placement that does not exist."""
    if not isinstance(blocks, dict):
        raise UserError(f"`blocks` must be a dict such as {{'conv4': (1, 2)}}, not {blocks!r}")
    for stage, units in blocks.items():
        if stage not in STAGES:
            raise UserError(f'unknown stage {stage!r} in `blocks`: choose from {", ".join(STAGES)}')
        if not isinstance(units, (tuple, list, set, range)):
            raise UserError(f'the units of {stage} must be a tuple such as (1, 2), not {units!r}')
        last = getattr(row.table, stage).units
        for unit in units:
            if unit not in range(1, last + 1):
                raise UserError(f'{stage} of {row.name} has no unit {unit}: its units are 1 to '
                                f'{last}')
