"""`get_model`: a network of the zoo by name, as in GluonCV."""
import numbers
from pathlib import Path

from ..backend import mx
from ..errors import UserError
from ..formats import params
from ..nn.attention import ASSOCIATIONS
from .baselines import build_baseline
from .convert import NEW, checkpoint_refusal, is_torch, match, read_state_dict
from .resnet import ResNet
from .table import STAGES, BaselineRow, find_row


def get_model(name, pretrained=False, classes=None, ctx=None, *, blocks=None, ratio=None,
              association='left', input_size=None, identity=False, last_gamma=False, dropout=0.0):
    """A network of the zoo; its parameters are loaded from `pretrained`, or not yet initialized.

    Parameters
    ----------
    name : str
        A name of `list_models()` or `list_baselines()`, in any case; an unknown one raises
        `UnknownModel` (a ValueError) listing all.
    pretrained : False or path
        A `.params` file, exported or saved by Gluon, of the same network; or a PyTorch `state_dict`
        (`.safetensors`, `.pth`, `.pt` or `.tar`) in the layout that `convert` knows.
    classes : int
        Number of logits; 1000 (ImageNet-1k) for image networks and 400 (Kinetics) for video where
        not given.
    ctx : mx.Context
        Where `pretrained` is loaded; CPU by default.
    blocks : dict, optional
        Placement instead of the row's, for ablations: {'conv4': (1, 2)} puts a block after units 1
        and 2 of conv4.
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
        raise UserError(f'no weights of {row.name} are published: give the path of a .params file '
                        'as pretrained')
    classes = row.classes if classes is None else classes
    if not isinstance(classes, numbers.Integral) or classes < 1:
        raise UserError(f'classes must be at least 1, not {classes}')
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise UserError(f'dropout must lie in [0, 1), not {dropout}')
    if association not in ASSOCIATIONS:
        raise UserError(f'association must be one of {", ".join(ASSOCIATIONS)}, not '
                        f'{association!r}')
    size = check_input_size(row, input_size)
    if isinstance(row, BaselineRow):
        refuse_options(row, blocks=blocks, ratio=ratio, association=association != 'left',
                       identity=identity, last_gamma=last_gamma, dropout=dropout)
        net = build_baseline(row._replace(input_size=size), classes)
    else:
        check_blocks(row, blocks)
        net = ResNet(row, classes, blocks, ratio, association, size, identity, last_gamma, dropout)
    if pretrained:
        load_parameters(net, pretrained, ctx or mx.cpu())
    return net


def refuse_options(row, **options):
    """UserError naming the first of `options` that is given, for a network that has none of
    them."""
    for name, value in options.items():
        if value:
            raise UserError(f'{row.name} has no option {name}: it is for the networks of the '
                            'paper; leave it out')


def check_input_size(row, size):
    """`size` as a tuple with a number for each space axis; UserError if the network cannot take
    it."""
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
    if getattr(row, 'fixed', False) and axes != row.input_size:
        raise UserError(f'{row.name} takes inputs of {"×".join(map(str, row.input_size))} only, '
                        f'not {shown}')
    if any(n < s for n, s in zip(axes, row.stride)):
        least = '×'.join(map(str, row.stride))
        raise UserError(f'{row.name} cannot take an input of {shown}: '
                        f'its total stride is {least}, so that is the smallest')
    return axes


def check_blocks(row, blocks):
    """UserError naming the stage or unit of a placement that does not exist; None stands for the
    row's own."""
    if blocks is None:
        return
    if not isinstance(blocks, dict):
        raise UserError(f"blocks must be a dict such as {{'conv4': (1, 2)}}, not {blocks!r}")
    if blocks and row.kind is None:
        raise UserError(f'{row.name} has no blocks to place: put a2_, nl_ or se_ in front of its '
                        'name')
    for stage, units in blocks.items():
        if stage not in STAGES:
            raise UserError(f'unknown stage {stage!r} in blocks: choose from {", ".join(STAGES)}')
        if not isinstance(units, (tuple, list, set, range)):
            raise UserError(f'the units of {stage} must be a tuple such as (1, 2), not {units!r}')
        last = getattr(row.table, stage).units
        wrong = [
            unit for unit in units
            if not isinstance(unit, numbers.Integral) or not 1 <= unit <= last
        ]
        if wrong:
            raise UserError(f'{stage} of {row.name} has no unit {wrong[0]}: its units are 1 to '
                            f'{last}')


def load_parameters(net, path, ctx):
    """Load a `.params` or PyTorch file into `net`; UserError if it is missing, damaged, or of
    another network."""
    set_parameters(net, read_parameters(net, path, new=()), path, ctx)


def read_parameters(net, path, new=NEW):
    """{name: array} of a `.params` or PyTorch file, by the names `net` gives them; UserError if
    missing or damaged.

    A PyTorch file must also fit `net`, but for what `new` names (see `convert`).
    """
    if (Path(path) / 'manifest.json').exists():
        raise UserError(checkpoint_refusal(path))
    if is_torch(path):
        return match(net, read_state_dict(path), path, new)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'the weights {path} cannot be read: {error.strerror}') from error
    values = {
        name.split(':', 1)[-1]: value for name, value in params.from_bytes(content, path).items()
    }
    structure = net._collect_params_with_prefix()  # the names that Gluon's save_parameters gives
    if set(values) == set(structure):
        values = {structure[name].name: value for name, value in values.items()}
    return values


def set_parameters(net, values, source, ctx):
    """Set every parameter of `net` from {name: array}, by name and shape; UserError on the first
    mismatch."""
    parameters = dict(net.collect_params().items())
    missing, extra = sorted(set(parameters) - set(values)), sorted(set(values) - set(parameters))
    if missing or extra:
        what = f'it lacks {missing[0]}' if missing else f'it has {extra[0]}, which the network lacks'
        raise UserError(f'{source} holds weights of another network: {what} '
                        f'({len(missing)} missing, {len(extra)} unknown of {len(parameters)})')
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != tuple(values[name].shape):
            raise UserError(f'{source} holds weights of another network: {name} is '
                            f'{tuple(values[name].shape)}, not {tuple(parameter.shape)}')
    net.initialize(ctx=ctx, force_reinit=True)
    for name, parameter in parameters.items():
        parameter.set_data(mx.nd.array(values[name], dtype=parameter.dtype))
