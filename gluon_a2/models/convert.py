"""Weights from PyTorch: a `state_dict` in the layout of the authors' later release, into a network
of ours.

    net = get_model('resnet50') net.initialize() separate_projections(net)  # the release's
    projections do not share a BatchNorm, as the paper's do load_torch(net, 'resnet50-lite.pth')

The release is GloRe (Chen et al., "Graph-Based Global Reasoning Networks", CVPR 2019), whose
ResNets are built of the same pre-activation units. The tables below are the map of names. Nothing
is guessed: what has no place in our network, or another shape there, is listed and refused. That is
so for GloRe's own units, and for its video networks, whose first convolutions look through time
(k×1×1, then 1×3×3) where Table 1 has k×3×3 in the middle. Image networks inflate.
"""
import io
from pathlib import Path

import numpy as np
import safetensors

from ..backend import mx
from ..errors import UserError
from ..nn import BNReLU, block_of
from .inflate import adopt
from .plug import After, replace_child
from .resnet import Bottleneck
from .table import STAGES, Row

SUFFIXES = ('.safetensors', '.pth', '.pt', '.tar')
# what a network may have that a file lacks, where the caller says so
NEW = ('blocks', 'classifier')
EPSILON, OURS = 1e-4, 1e-5  # of the release's BatchNorms, and of those here
SHOWN = 10  # mismatches that are written out

# Values of a layer: name there, name here (None: not needed).
BATCH_NORM = {
    'weight': 'gamma', 'bias': 'beta', 'running_mean': 'running_mean', 'running_var': 'running_var',
    'num_batches_tracked': None
}  # only for a BatchNorm without momentum
CONV = {'weight': 'weight'}
LINEAR = {'weight': 'weight', 'bias': 'bias'}

# Layers: name there, name here, values.
ENDS = (('conv1.conv', 'conv1_conv', CONV), ('conv1.bn', 'conv1_bn', BATCH_NORM),
        ('tail.bn', 'final_bn', BATCH_NORM), ('classifier', 'fc', LINEAR))
UNIT = (('conv_m1.bn', 'bn', BATCH_NORM), ('conv_m1.conv', 'conv1_conv', CONV),
        ('conv_m2.bn', 'conv2_bn', BATCH_NORM), ('conv_m2.conv', 'conv2_conv', CONV),
        ('conv_m3.bn', 'conv3_bn', BATCH_NORM), ('conv_m3.conv', 'conv3_conv', CONV))
PROJECTION = (('conv_w1.bn', 'shortcut_bn', BATCH_NORM), ('conv_w1.conv', 'shortcut_conv', CONV))

# numpy's types by the names safetensors gives them; BF16 is the upper half of a float32.
TYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4'}


# ---- into a network

def load_torch(net, path, new=(), epsilon=EPSILON):
    """Load a PyTorch file into `net`, a network of the zoo that is initialized; as `convert` does.

    `path` is a `.safetensors` file, or a `.pth`, `.pt` or `.tar` that `torch.save` wrote, which
    takes PyTorch to read and is read with weights_only=True: it cannot run code.
    """
    return convert(net, read_state_dict(path), path, new, epsilon)


def convert(net, state_dict, source='the state_dict', new=(), epsilon=EPSILON):
    """Give `net`, initialized, the weights of `state_dict` ({name: numpy array}); the names left as
    they were.

    Values become float32, and a video network inflates the kernels of an image network
    (`inflate.adopt`). `new` names what may keep its initialization: 'blocks', those that the file
    lacks, and 'classifier', where it has another number of classes. `epsilon` is that of the
    BatchNorms there, which no file tells: the difference to ours is added to the running variances,
    so that inference is the same.

    Raises UserError, naming `source` and listing all names and shapes that do not match, and
    changes nothing then.
    """
    return adopt(net, match(net, state_dict, source, new, epsilon), source)


def match(net, state_dict, source, new=(), epsilon=EPSILON):
    """{our name: float32 array} for `convert`, every name and shape checked; UserError lists what
    does not match."""
    if not isinstance(net.row, Row):
        raise UserError(f'{source} is a PyTorch file, and {net.row.name} takes a .params file '
                        'only: choose a network of list_models()')
    if not set(new) <= set(NEW):
        raise UserError(f'new is a tuple of {" and ".join(map(repr, NEW))}, or of none, not '
                        f'{new!r}')
    names, parameters = name_map(net.row.table), net.collect_params()
    there = {here: name for name, here in names.items() if here and name in state_dict}
    values = {here: _value(here, state_dict[name]) for here, name in there.items()}
    # A network whose projections share the first BatchNorm has no place for theirs.
    spare = {
        here: values.pop(here) for here in list(values)
        if '_shortcut_bn_' in here and here not in parameters
    }
    faults = [f'{name} has no place' for name in state_dict if name not in names]
    faults += _mismatches(values, parameters, there, new)
    if faults:
        more = f'; and {len(faults) - SHOWN} more' if len(faults) > SHOWN else ''
        anew = ", or let its blocks start anew: load_torch(net, path, new=('blocks',))" if net.blocks else ''
        shown = '; '.join(faults[:SHOWN])
        raise UserError(f'{source} does not fit {net.row.name} in {len(faults)} places '
                        f'({shown}{more}): give the state_dict of a ResNet in the layout of GloRe '
                        '(conv2.B01.conv_m1.conv.weight, …), of the same backbone and '
                        f'classes{anew}')
    own = [there[here] for here, value in spare.items()
           if not np.array_equal(value, values[here.replace('_shortcut_bn_', '_bn_')])]
    if own:
        raise UserError(f'{source} has projections with a BatchNorm of their own ({own[0]} and '
                        f'{len(own) - 1} more), and those of {net.row.name} share the first '
                        'convolution\'s: call gluon_a2.models.convert.separate_projections(net) '
                        'first, then load_torch(net, path)')
    return {here: value + np.float32(epsilon - OURS) if here.endswith('running_var') else value
            for here, value in values.items()}


def _value(here, value):
    """A float32 array; a classifier that was a 1×1 convolution, classes×C×1×1, as a matrix."""
    value = np.asarray(value, 'float32')
    return value.reshape(
        value.shape[:2]) if here == 'fc_weight' and set(value.shape[2:]) == {1} else value


def _mismatches(values, parameters, there, new):
    """A phrase for every parameter that lacks its value, and for every shape that is not the
    parameter's."""
    for here, parameter in parameters.items():
        wanted = tuple(parameter.shape)
        # an image network's, to be inflated
        flat = wanted[:2] + wanted[3:] if len(wanted) == 5 else wanted
        if here not in values:
            if not ('blocks' in new and block_of(here)):
                yield f'{here} is lacking'
        elif values[here].shape not in (wanted, flat) and not ('classifier' in new
                                                               and here.startswith('fc_')):
            yield f'{there[here]} is {values[here].shape}, {here} is {wanted}'


def name_map(table):
    """{name in the release: name here, or None where it is not needed} for a ResNet of the columns
    of `table`."""
    layers = list(ENDS)
    for stage in STAGES:
        for unit in range(1, getattr(table, stage).units + 1):
            rows = UNIT + PROJECTION if unit == 1 else UNIT
            layers += [(f'{stage}.B{unit:02}.{there}', f'{stage}_unit{unit}_{here}', values)
                       for there, here, values in rows]
    return {f'{there}.{value}': name and f'{here}_{name}'
            for there, here, values in layers for value, name in values.items()}


def separate_projections(net):
    """Give each projection of `net`, a ResNet, a BN-ReLU of its own, as the release's have; returns
    `net`.

    The paper's share that of the first 1×1 convolution. The outputs stay what they were: the new
    BatchNorm, named `…_shortcut_bn_…`, starts with the values of the shared one, where these are
    there already.
    """
    for unit in net.features._children.values():
        if isinstance(unit, Bottleneck) and unit.shortcut is not None and isinstance(
                unit.preact, BNReLU):
            shared = unit.preact
            own = BNReLU(shared.bn.gamma.shape[0], net.row.dims, prefix=f'{unit.prefix}shortcut_')
            if shared.bn.gamma._data is not None:
                _copy(shared, own)
            replace_child(unit, 'conv1', After(shared, unit.conv1))
            replace_child(unit, 'shortcut', After(own, unit.shortcut))
            replace_child(unit, 'preact', mx.gluon.contrib.nn.Identity(prefix=''))
    net.apply(lambda block: block._clear_cached_op()
              if isinstance(block, mx.gluon.HybridBlock) else None)
    return net


def _copy(source, target):
    """Initialize `target` with the values of `source`, a block like it."""
    gamma = source.bn.gamma
    target.initialize(ctx=gamma.list_ctx())
    target.cast(gamma.dtype)
    for value, parameter in zip(source.collect_params().values(), target.collect_params().values()):
        parameter.set_data(value.data())


# ---- out of a file

def is_torch(path):
    """Whether a path ends as PyTorch's files do."""
    return Path(path).suffix in SUFFIXES


def read_state_dict(path):
    """{name: numpy array} of a PyTorch file, floats as float32, the names without `module.`;
    UserError if it is none.

    A checkpoint that wraps it, {'state_dict': …}, is unwrapped. See `load_torch` for the files.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'the weights {path} cannot be read: {error.strerror}') from error
    read = _from_safetensors if Path(path).suffix == '.safetensors' else _from_pickle
    state = read(content, path)
    if any(name.startswith('param/') for name in state):
        raise UserError(checkpoint_refusal(path))
    wrapped = all(name.startswith('module.') for name in state)  # by DataParallel
    return {name[len('module.'):] if wrapped else name: value for name, value in state.items()}


def checkpoint_refusal(path):
    """The sentence for a checkpoint of our own, which holds more than weights."""
    return (f'{path} is a checkpoint, not weights alone: export it first (scripts/export.py), and '
            'give the .params file that makes')


def _from_safetensors(content, path):
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise UserError(
            f'{path} is not a sound safetensors file ({error}): copy or save it again') from error
    return {name: _array(tensor, name, path) for name, tensor in tensors}


def _array(tensor, name, path):
    if tensor['dtype'] not in TYPES:
        raise UserError(f'{name} in {path} is of type {tensor["dtype"]}: save it as one of '
                        f'{", ".join(TYPES)}')
    values = np.frombuffer(tensor['data'], TYPES[tensor['dtype']]).reshape(tensor['shape'])
    if tensor['dtype'] == 'BF16':
        return (values.astype('uint32') << 16).view('float32')
    return values.astype('float32') if values.dtype.kind == 'f' else values


def _from_pickle(content, path):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(f'{path} takes PyTorch to read, which is not here: pip install torch, or '
                        'save it where PyTorch is with safetensors.torch.save_file({name: '
                        "value.contiguous() for name, value in state_dict.items()}, "
                        "'weights.safetensors') and give that file") from error
    try:
        state = torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
    except Exception as error:  # of a damaged file: of any kind
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f'{path} cannot be read as PyTorch weights ({reason}): save its state_dict '
                        'alone with torch.save, or as safetensors') from error
    if isinstance(state, dict):
        state = state.get('state_dict', state)
    if not (isinstance(state, dict) and state
            and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise UserError(f'{path} holds no state_dict: save one with torch.save(net.state_dict(), '
                        'path)')
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in state.items()
    }
