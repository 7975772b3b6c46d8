"""From a recipe to a network with its weights, and from a checkpoint to a network for use."""
from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import known
from ..backend import mx
from ..data import ClipPreprocessing, Preprocessing
from ..data.preprocess import of_bytes
from ..deploy.bundle import PARAMS, Bundle, require_float32
from ..deploy.gluon import from_gluon
from ..errors import UserError
from ..machine.resources import free_memory
from ..models import get_model, load_weights, released
from ..models.baselines import downloaded
from ..models.foreign import with_blocks
from ..models.resnet import ResNet
from ..models.table import BaselineRow, find_row
from ..models.weights import NEW, classes_of, own_names, read_weights
from ..models.zoo import check_input_size
from ..nn.blocks import block_of, refuse_options
from . import checkpoint
from .checkpoint import Checkpoint
from .recipes import RECIPES, Recipe, from_json

GLUONCV = 'gluoncv'  # as `pretrained`: its own download
FEATURES, CLASSIFIER = 'final_relu_fwd_output', 'fc'
LAST_OF_BRANCH = '.*_(conv3|expand)_conv_weight'
START = {'image': 'an ImageNet network', 'video': 'a Kinetics network'}


def build(recipe: Recipe, ctx: mx.Context | None = None,
          new: Collection[str] = NEW) -> mx.gluon.HybridBlock:
    """The recipe's network on `ctx`, initialized as its seed says, or from its pretrained file,
    which may lack what `new` names (see `load_weights`). `notes` of the network say what was taken.
    """
    ctx = ctx or mx.cpu()
    net = create(recipe)
    mx.random.seed(recipe.seed)
    # Gaussian with variance 2 / fan-in (He et al. 2015).
    net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2), ctx=ctx)
    net.notes = []
    if recipe.pretrained:
        weights = read_start(recipe)
        left = load_weights(net, weights, new=new, source=recipe.pretrained)
        _quieten(net, left, ctx)
        net.notes = _notes(net, recipe, weights, left)
    if recipe.weights_dtype != 'float32':
        net.cast(recipe.weights_dtype)
    return net


def _quieten(net, left, ctx):
    """Let a classifier that starts anew begin with small logits, as torchvision's SqueezeNet does.

    By its fan-in it would give SqueezeNet's features a loss of about 15 for ten classes, and the
    first steps would spoil what the weights know.
    """
    for name in left:
        if name.startswith(net.row.classifier) and name.endswith('weight'):
            net.collect_params()[name].initialize(mx.init.Normal(0.01), ctx, force_reinit=True)


def read_start(recipe: Recipe) -> dict[str, Any]:
    """{name: array} of what `pretrained` names.

    That is a file of weights, the prefix of exported files, the folder of a run or of a checkpoint,
    or gluoncv, which downloads those of its networks.
    """
    path = Path(str(recipe.pretrained))
    if str(path) == GLUONCV and not path.exists():
        row = find_row(recipe.model)
        if not isinstance(row, BaselineRow) or row.builder != 'foreign':
            raise UserError(f'`pretrained` {GLUONCV} is for its networks, such as '
                            f'gluoncv:resnet50_v1b: give a file of weights for {recipe.model}')
        path = Path(downloaded(row.name, str(row.source)))
    if (path / 'checkpoints').is_dir():
        return checkpoint.find(path / 'checkpoints', 'last').parameters
    if (path / checkpoint.MANIFEST).exists():
        return checkpoint.load(path).parameters
    exported = path.with_name(path.name + PARAMS)
    return read_weights(exported if not path.is_file() and exported.exists() else path)


def _notes(net, recipe, weights, left):
    """What is said of initial weights, a line each."""
    named = str(recipe.pretrained)
    classifier = [name for name in left if name.startswith(net.row.classifier)]
    rest = [name for name in left if name not in classifier]
    said = [f'weights of {named}']
    if rest:
        start = 'as identities' if recipe.identity in (None, True) else 'at random'
        blocks = dict.fromkeys(map(block_of, rest))
        said.append(f'blocks start anew, {start}: {", ".join(map(str, blocks))}')
    if classifier:
        before = classes_of(net, weights, named)
        said.append(f'classifier starts anew: {before or "none"} → {recipe.classes} classes')
    return said


def check_model(recipe: Recipe) -> None:
    """UserError where the recipe's network does not fit its input or lacks initial weights."""
    dims = find_row(recipe.model).dims
    if dims == 3 and not recipe.frames:
        raise UserError(f'{recipe.model} is a video network: choose an image network, or train '
                        'it on videos')
    if dims == 2 and recipe.frames:
        raise UserError(f'{recipe.model} is an image network: choose a video network, or train '
                        'it on images')
    if recipe.starts_from != 'random' and not recipe.pretrained:
        raise UserError(f'the recipe starts from the weights of {START[recipe.starts_from]}: give '
                        'its .params file as `pretrained`, or say `starts_from` random')


def create(recipe: Recipe) -> mx.gluon.HybridBlock:
    """The recipe's network, not yet initialized."""
    row, _ = with_blocks(recipe.model, recipe.plug)
    identity = recipe.identity
    if identity is None:
        identity = bool(recipe.pretrained) and 'identity' in row.options
    else:
        refuse_options(recipe.model, row.options, ['identity'])
    return get_model(recipe.model, classes=recipe.classes, plug=recipe.plug,
                     blocks=recipe.placement, ratio=recipe.ratio, m=recipe.m, n=recipe.n,
                     identity=identity, association=recipe.association, softmax=recipe.softmax,
                     input_size=recipe.space, last_gamma=recipe.last_gamma, dropout=recipe.dropout)


def from_zoo(name: str, pretrained: str | None = None, class_names: Sequence[str] | None = None,
             input_size: int | None = None) -> Bundle:
    """A network of the zoo as a `Bundle`, with the preprocessing of the paper's recipe for it.

    Its weights are those of the file or release `pretrained`; without one they are random (He et
    al. 2015), those that end a branch a quarter, since dozens of branches would add up, and
    rounding with them. `class_names` are as many as the network has classes, by default numbers.
    `input_size` is the side of its input, by default the paper's; UserError where this machine
    could not run it.
    """
    row, release = find_row(name), released.find(pretrained)
    usual = release.input_size if release else row.input_size[-1]
    side = usual if input_size is None else input_size
    if release and class_names is None:
        class_names = release.classes
    check_input_size(row, (*row.input_size[:-2], side, side))
    recipe = dataclasses.replace(RECIPES[release.recipe if release else row.recipe], **{
        **known.brought(row.name), 'model': row.name, 'blocks': None, 'input_size': side,
        'frames': row.input_size[0] if row.dims == 3 else 0,
        'classes': row.classes if class_names is None else len(class_names),
        'pretrained': pretrained, 'starts_from': 'random'})
    net = build(recipe, new=())
    if pretrained is None:
        for parameter in net.collect_params(LAST_OF_BRANCH).values():
            parameter.set_data(parameter.data() / 4)
    names = list(map(str, range(recipe.classes))) if class_names is None else class_names
    data = 'unknown data' if pretrained else 'nothing: the weights are random'
    made = bundle(net, recipe, names, {'data': release.data if release else data})
    needed, free = made.meta['memory'], free_memory()
    if needed > free:
        raise UserError(f'{row.name} needs about {needed / 1e9:.1f} GB of memory for one input of '
                        f'{side}×{side}, and {free / 1e9:.1f} GB are free: choose a lower '
                        '`input_size`')
    return made


def with_weights(bundle: Bundle, path: str) -> Bundle:
    """A float32 `Bundle` with the values in a file for its own: what PyTorch made of them, say.

    UserError for a file with other names or shapes.
    """
    require_float32(bundle)
    given = {name: value for name, (_, value) in own_names(read_weights(path)).items()}
    for name in sorted(bundle.values.keys() | given.keys()):
        shapes = [values[name].shape if name in values else None
                  for values in (bundle.values, given)]
        if shapes[0] != shapes[1]:
            raise UserError(f'{path} is not of {bundle.meta["network"]} as it was exported: {name} '
                            f'is {shapes[0]} there and {shapes[1]} in the file (None: lacking). '
                            'Give weights of the same network and classes')
    arguments, statistics = ({name: given[name].astype(np.float32) for name in values}
                             for values in (bundle.arguments, bundle.statistics))
    return bundle._replace(arguments=arguments, statistics=statistics,
                           meta={**bundle.meta, 'training': {'data': 'unknown data'}})


def restored(found: Checkpoint) -> Bundle:
    """The network of a `Checkpoint` as a `Bundle` in float32, to be exported or scored."""
    recipe = effective(from_json(found.state['recipe']))
    net = create(dataclasses.replace(recipe, last_gamma=False, dropout=0.0))
    load_weights(net, found.parameters, source=str(found.path))
    return bundle(net, recipe, found.state['classes'], {
        'data': found.state['data'], 'recipe': found.state['recipe'],
        'step': found.state['at']['step'], 'split': found.state.get('split'),
        **({'named': found.state['named']} if 'named' in found.state else {})})


def effective(recipe: Recipe) -> Recipe:
    """`recipe` without an association that has no effect, which older runs may name."""
    takes = 'association' in with_blocks(recipe.model, recipe.plug)[0].options
    return recipe if takes else dataclasses.replace(recipe, association='left')


def preprocessing(recipe: Recipe) -> Preprocessing:
    """What the recipe's network is fed in tests."""
    common: dict[str, Any] = {'size': recipe.input_size, 'crop_ratio': recipe.crop_ratio,
                              'interpolation': recipe.interpolation}
    if recipe.mean and recipe.std and recipe.pixels:
        common['mean'], common['scale'] = of_bytes(
            recipe.mean, [1 / value for value in recipe.std], recipe.pixels)
    if not recipe.frames:
        return Preprocessing(**common)
    return ClipPreprocessing(**common, frames=recipe.frames, frame_stride=recipe.frame_stride,
                             views=recipe.views, crops=recipe.crops, stretch=recipe.stretch)


def bundle(net: Any, recipe: Recipe, classes: Sequence[str], training: dict) -> Bundle:
    """`net` (float32, CPU) as a `Bundle`; `training` says where the weights come from."""
    return from_gluon(net, recipe.title, classes, preprocessing(recipe), training,
                      stride=net.row.stride, classifier=CLASSIFIER, fixed=net.row.fixed,
                      features=FEATURES if isinstance(net, ResNet) else None)
