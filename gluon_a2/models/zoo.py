"""`get_model`: a network of the zoo by name, as in GluonCV."""
import numbers
from pathlib import Path

from .. import params
from ..backend import mx
from ..errors import UserError
from .resnet import ResNet
from .table import STAGES, find_row


def get_model(name, pretrained=False, classes=None, ctx=None, *, blocks=None, ratio=None, association='left',
              input_size=None, identity=False, last_gamma=False, dropout=0.0):
    """A network of the zoo; its parameters are loaded from `pretrained`, or not yet initialized.

    Parameters
    ----------
    name : str
        A name of `list_models()`, in any case; an unknown one raises `UnknownModel` (a ValueError) listing all.
    pretrained : False or path
        A `.params` file, exported or saved by Gluon, of the same network.
    classes : int
        Number of logits; 1000 (ImageNet-1k) for image networks and 400 (Kinetics) for video where not given.
    ctx : mx.Context
        Where `pretrained` is loaded; CPU by default.
    blocks : dict, optional
        Placement instead of the row's, for ablations: {'conv4': (1, 2)} puts a block after units 1 and 2 of conv4.
    ratio : int, optional
        Inner widths of A² and non-local blocks are the stage's channels over this.
    association : 'left', 'right' or 'auto'
        Of A² blocks; 'auto' decides for each block at `input_size` (Section 2.3).
    input_size : int or tuple, optional
        Side, or (height, width), or for video (frames, height, width); the paper's where not given.
    identity : bool
        The extra blocks start as exact identities.
    last_gamma : bool
        Every residual branch starts at zero, as GluonCV's flag of this name does for its networks.
    dropout : float
        Rate in front of the classifier.
    """
    row = find_row(name)
    if pretrained is True:
        raise UserError(f'no weights of {row.name} are published: give the path of a .params file as pretrained')
    classes = row.classes if classes is None else classes
    if classes < 1:
        raise UserError(f'classes must be at least 1, not {classes}')
    if not 0 <= dropout < 1:
        raise UserError(f'dropout must lie in [0, 1), not {dropout}')
    net = ResNet(row, classes, check_blocks(row, blocks), ratio, association,
                 check_input_size(row, input_size), identity, last_gamma, dropout)
    if pretrained:
        load_parameters(net, pretrained, ctx or mx.cpu())
    return net


def check_input_size(row, size):
    """`size` as a tuple with a number for each space axis; UserError if the network cannot take it."""
    if size is None:
        return row.input_size
    if isinstance(size, numbers.Integral):
        size = row.input_size[:row.dims - 2] + (size, size)
    elif len(size) == 2:
        size = row.input_size[:row.dims - 2] + tuple(size)
    if len(size) != row.dims or any(n < s for n, s in zip(size, row.stride)):
        least = '×'.join(map(str, row.stride))
        raise UserError(f'{row.name} cannot take an input of {"×".join(map(str, size))}: '
                        f'its total stride is {least}, so that is the smallest')
    return tuple(size)


def check_blocks(row, blocks):
    """`blocks` itself, or UserError naming the stage or unit that does not exist."""
    if blocks is None:
        return None
    if blocks and row.kind is None:
        raise UserError(f'{row.name} has no blocks to place: put a2_, nl_ or se_ in front of its name')
    for stage, units in blocks.items():
        if stage not in STAGES:
            raise UserError(f'unknown stage {stage!r} in blocks: choose from {", ".join(STAGES)}')
        last = getattr(row.table, stage).units
        wrong = [unit for unit in units if not 1 <= unit <= last]
        if wrong:
            raise UserError(f'{stage} of {row.name} has no unit {wrong[0]}: its units are 1 to {last}')
    return blocks


def load_parameters(net, path, ctx):
    """Load a `.params` file into `net`; UserError if it is missing, damaged, or of another network."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'the weights {path} cannot be read: {error.strerror}') from error
    values = params.from_bytes(content, path)
    set_parameters(net, {name.split(':', 1)[-1]: value for name, value in values.items()}, path, ctx)


def set_parameters(net, values, source, ctx):
    """Set every parameter of `net` from {name: array}, by name and shape; UserError on the first mismatch."""
    parameters = dict(net.collect_params().items())
    missing, extra = sorted(set(parameters) - set(values)), sorted(set(values) - set(parameters))
    if missing or extra:
        what = f'it lacks {missing[0]}' if missing else f'it has {extra[0]}, which the network lacks'
        raise UserError(f'{source} holds weights of another network: {what} '
                        f'({len(missing)} missing, {len(extra)} unknown of {len(parameters)})')
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != tuple(values[name].shape):
            raise UserError(f'{source} holds weights of another network: {name} is {tuple(values[name].shape)}, '
                            f'not {tuple(parameter.shape)}')
    net.initialize(ctx=ctx, force_reinit=True)
    for name, parameter in parameters.items():
        parameter.set_data(mx.nd.array(values[name], dtype=parameter.dtype))
