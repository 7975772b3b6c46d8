"""Weights into a network of the zoo: one way and one report, wherever they come from."""
from __future__ import annotations

import io
import posixpath
import re
from pathlib import Path
from typing import Collection, Mapping

import numpy as np
import safetensors

from ..backend import mx
from ..errors import UserError
from ..formats import archive, params
from ..formats.pytorch import BATCH_NORM
from ..nn import BLOCKS, block_of
from . import released
from .convert import EPSILON, name_map, translate

TORCH = ('.safetensors', '.pth', '.pt', '.tar')
# what a network may have that the weights lack, where the caller says so
NEW = ('blocks', 'classifier')
SHOWN = 10  # misfits that are written out
CHECKPOINT = ('is a checkpoint, not weights alone: export it first, and give the .params file that '
              'makes')

# numpy's types by the names safetensors gives them; BF16 is the upper half of a float32.
TYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4'}


def load_weights(net: mx.gluon.Block, weights: str | Path | Mapping[str, np.ndarray], *,
                 new: Collection[str] = (), ctx: mx.Context | None = None, epsilon: float = EPSILON,
                 source: str = 'the weights') -> list[str]:
    """Give `net` the `weights`; returns the names of the parameters that start anew.

    `net`, of `get_model`, is initialized on `ctx` (by default the CPU) if it was not. `weights` are
    one of these:

    - a `.params` file, exported or saved by Gluon by name or by structure, or a `.tar` of it and
      its symbol;
    - a PyTorch `state_dict` of `pytorch/a2_torch.py`, in the layout that `convert` knows, or with
      the names of the network. `.safetensors` needs no PyTorch; `.pth`, `.pt` and `.tar` need it,
      and cannot run code;
    - the arrays of one of them, {name: array}, which messages call `source`.

    `new` names what may stay as it is initialized: 'blocks' that the weights lack, and a
    'classifier' that they lack or that has another number of classes. See `convert.translate` for
    `epsilon`.

    A kernel that gains T frames is repeated T times and divided by T (Section 3.4; Carreira and
    Zisserman, ref. [1]). A clip of one repeated frame then gives, away from its first and last
    frames, what the frame gave. Everything else is copied.

    Raises UserError for a file that is missing or damaged, and for weights of another network. It
    lists all arrays that are lacking, unknown or of another shape. Nothing has changed then.
    """
    if isinstance(new, str) or not set(new) <= set(NEW):
        raise UserError(f'`new` is a tuple of {" and ".join(map(repr, NEW))}, or of none, not '
                        f'{new!r}')
    if isinstance(weights, (str, Path)):
        source, weights = str(weights), read_weights(weights)
    parameters = net.collect_params()
    named = _by_our_names(net, weights, source, epsilon)
    fitted, left, misfits = {}, [], []
    for name, parameter in parameters.items():
        wanted, (there, value) = tuple(parameter.shape), named.pop(name, (name, None))
        fit = value
        if value is not None and len(wanted) == 5 and value.ndim == 4:
            fit = np.repeat(value[:, :, None], wanted[2], axis=2) / wanted[2]  # O×I×T×h×w
        if fit is not None and fit.shape == wanted:
            fitted[name] = fit
        elif 'classifier' in new and name.startswith(net.row.classifier) or (
                value is None and 'blocks' in new and block_of(name)):
            left.append(name)
        else:
            misfits.append((name, there, value, wanted))
    if misfits or named:
        raise UserError(_report(net, misfits, [there for there, _ in named.values()], source))
    if any(parameter._data is None for parameter in parameters.values()):
        net.initialize(ctx=ctx or mx.cpu(), force_reinit=True)
    elif ctx:
        parameters.reset_ctx(ctx)
    for name, value in fitted.items():
        parameters[name].set_data(mx.nd.array(value, dtype=parameters[name].dtype))
    return left


def classes_of(net: mx.gluon.Block, weights: Mapping[str, np.ndarray],
               source: str = 'the weights', epsilon: float = EPSILON) -> int | None:
    """The number of classes of `weights` for `net`; None where they have no classifier."""
    named = _by_our_names(net, weights, source, epsilon)
    _, value = named.get(f'{net.row.classifier}weight', ('', None))
    return None if value is None else value.shape[0]


def inflate(image_net: mx.gluon.Block, video_net: mx.gluon.Block) -> list[str]:
    """Start `video_net` from the weights of `image_net`, both initialized, as `load_weights` does.

    New blocks and another classifier stay as they were; their parameters' names are returned.
    """
    values = {name: parameter.data().asnumpy()
              for name, parameter in image_net.collect_params().items()}
    return load_weights(video_net, values, new=NEW, source='the image network')


def _by_our_names(net, weights, source, epsilon):
    """{our name: (name in the weights, array)}."""
    spelt = _gluon_names(weights)
    for structure in _structures(net):
        if set(spelt) <= set(structure):
            return {structure[here].name: (there, weights[there])
                    for here, there in spelt.items()}
    table, parameters = net.row.table, net.collect_params()
    if table is None:
        named = _of_another_instance(weights, parameters)
        if Path(source).suffix in TORCH and parameters.keys().isdisjoint(named):
            raise UserError(f'no array of the PyTorch file {source} is named as one of '
                            f'{net.row.name}: give its .params file, or name them as Gluon does')
        return {name: (there, weights[there]) for name, there in named.items()}
    own = own_names(weights)
    if len(name_map(table).keys() & weights.keys()) > len(parameters.keys() & own.keys()):
        return translate(net, weights, epsilon)
    return own


def own_names(weights: Mapping[str, np.ndarray]) -> dict[str, tuple[str, np.ndarray]]:
    """{name in one of our networks: (name in the weights, array)}, also of our PyTorch form's."""
    return {here.replace('.', '_'): (there, weights[there])
            for here, there in _gluon_names(weights).items()}


def _of_another_instance(weights, parameters):
    """{name here: name there}, which differ where Gluon counted networks: mobilenet1_conv0_weight.
    """
    here, there = (posixpath.commonprefix(list(names)) for names in (parameters, weights))
    renamed = {here + name[len(there):]: name for name in weights}
    return renamed if parameters.keys() >= renamed.keys() else {name: name for name in weights}


def _gluon_names(weights):
    """{name as Gluon spells it: name there}: BatchNorms of PyTorch have weights and biases."""
    norms = {name[:-len('running_mean')] for name in weights if name.endswith('.running_mean')}
    spelt = {}
    for name in weights:
        layer, _, value = name.rpartition('.')
        if f'{layer}.' in norms:
            value = BATCH_NORM.get(value, value)
        if value is not None:
            spelt[f'{layer}.{value}' if layer else value] = name
    return spelt


def _structures(net):
    """{name that Gluon's save_parameters gives: parameter} of `net`, and of it without blocks."""
    whole = net._collect_params_with_prefix()
    yield whole
    if net.row.table is None:
        yield getattr(net, 'plain', whole)
    elif net.row.kind:
        cls = BLOCKS[net.row.kind].cls
        kept = [at for at, child in net.features._children.items() if not isinstance(child, cls)]
        numbers = {f'features.{at}.': f'features.{i}.' for i, at in enumerate(kept)}
        yield {re.sub(r'^features\.\d+\.', lambda found: numbers[found.group()], name): parameter
               for name, parameter in whole.items() if not block_of(parameter.name)}


def _report(net, misfits, unknown, source):
    """The one sentence for weights that do not fit."""
    lacking = [name for name, _, value, _ in misfits if value is None]
    shapes = [f'{there} is {value.shape}, ' + (f'{name} is {wanted}' if name != there
                                               else f'not {wanted}')
              for name, there, value, wanted in misfits if value is not None]
    listed = [*(f'{name} is lacking' for name in lacking),
              *(f'{name} is unknown' for name in unknown), *shapes]
    more = f'; and {len(listed) - SHOWN} more' if len(listed) > SHOWN else ''
    torch = Path(source).suffix in TORCH or any('.' in there for _, there, _, _ in misfits)
    return (f'{source} does not fit {net.row.name}: {len(lacking)} arrays are lacking, '
            f'{len(unknown)} unknown, {len(shapes)} of another shape '
            f'({"; ".join(listed[:SHOWN])}{more}); {_way_out(net, misfits, unknown, torch)}')


def _way_out(net, misfits, unknown, torch):
    names = [name for name, *_ in misfits]
    if any('conv_w1.bn' in name for name in unknown):
        return ('projections there have a BatchNorm of their own, and here they share one: call '
                'gluon_a2.models.convert.separate_projections(net) first')
    if not unknown and all(name.startswith(net.row.classifier) for name in names):
        classes = {value.shape[0] for _, _, value, wanted in misfits if value is not None
                   and value.shape[1:] == wanted[1:] and value.ndim == len(wanted)}
        given = f'give `classes` {classes.pop()}, as it has, or ' if len(classes) == 1 else ''
        return f"{given}let the classifier start anew: load_weights(net, path, new=('classifier',))"
    if not unknown and all(block_of(name) for name in names):
        return ("choose a network without blocks, or let them start anew: load_weights(net, path, "
                "new=('blocks',))")
    if net.row.table is None:
        return f'give weights of {net.row.name}'
    if torch:
        return ('give the state_dict of a ResNet in the layout of GloRe '
                '(conv2.B01.conv_m1.conv.weight, …), of the same backbone and classes')
    return 'give weights of one backbone, with no other blocks'


# ---- out of a file

def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """{name: array} of a `.params` or PyTorch file, halves as float32; UserError if it is none.

    A name of `released.RELEASES` is its file. The prefixes that others put before all names, such
    as `arg:` and `module.`, are taken off.
    """
    if released.find(path):
        path = released.path_of(str(path))
    if (Path(path) / 'manifest.json').exists():
        raise UserError(f'{path} {CHECKPOINT}')
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'the weights {path} cannot be read: {error.strerror}') from error
    suffix = Path(path).suffix
    packed = suffix == '.tar' and archive.is_archive(content)
    if suffix not in TORCH or packed:
        values = (archive.read_model(content, path)[1] if packed
                  else params.from_bytes(content, path))
        return {name.split(':', 1)[-1]: _widened(value, value.dtype == params.BFLOAT16)
                for name, value in values.items()}
    state = (_from_safetensors if suffix == '.safetensors' else _from_pickle)(content, path)
    if any(name.startswith('param/') for name in state):
        raise UserError(f'{path} {CHECKPOINT}')
    wrapped = all(name.startswith('module.') for name in state)  # by DataParallel
    return {name[len('module.'):] if wrapped else name: value for name, value in state.items()}


def _widened(values, bfloat16=False):
    """float32 of float16; `bfloat16`: of the upper halves of float32."""
    if bfloat16:
        return (values.view('<u2').astype('uint32') << 16).view('float32')
    return values.astype('float32') if values.dtype == np.float16 else values


def _from_safetensors(content, path):
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise UserError(
            f'{path} is not a sound safetensors file ({error}): copy or save it again') from error
    for name, tensor in tensors:
        if tensor['dtype'] not in TYPES:
            raise UserError(f'{name} in {path} is of type {tensor["dtype"]}: save it as one of '
                            f'{", ".join(TYPES)}')
    return {name: _widened(np.frombuffer(tensor['data'], TYPES[tensor['dtype']]).reshape(
        tensor['shape']), tensor['dtype'] == 'BF16') for name, tensor in tensors}


def _from_pickle(content, path):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(f'{path} takes PyTorch to read, which is not here. Run pip install torch. '
                        'Or save the weights where PyTorch is, and give that file: '
                        'safetensors.torch.save_file({name: value.contiguous() for name, value in '
                        "state_dict.items()}, 'weights.safetensors')") from error
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
    return {name: (value.float() if value.is_floating_point() else value).numpy()
            for name, value in state.items()}
