"""From a recipe to a network with its weights, and from a checkpoint to a network for use."""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Sequence
from typing import Any

from ..backend import mx
from ..data import ClipPreprocessing, Preprocessing
from ..deploy.bundle import Bundle
from ..deploy.gluon import from_gluon
from ..errors import UserError
from ..machine.resources import free_memory
from ..models import get_model, load_weights
from ..models.resnet import ResNet
from ..models.table import find_row
from ..models.weights import NEW
from ..models.zoo import check_input_size
from .checkpoint import Checkpoint
from .recipes import RECIPES, Recipe, from_json

log = logging.getLogger(__name__)

FEATURES, CLASSIFIER = 'final_relu_fwd_output', 'fc'
LAST_OF_BRANCH = '.*_(conv3|expand)_conv_weight'
START = {'image': 'an ImageNet network', 'video': 'a Kinetics network'}


def build(recipe: Recipe, ctx: mx.Context | None = None,
          new: Collection[str] = NEW) -> mx.gluon.HybridBlock:
    """The recipe's network on `ctx`, initialized as its seed says, or from its pretrained file,
    where a video network may lack what `new` names (see `load_weights`)."""
    ctx = ctx or mx.cpu()
    net = create(recipe)
    mx.random.seed(recipe.seed)
    # Gaussian with variance 2 / fan-in (He et al. 2015), as in the Dual Path Networks code.
    net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2), ctx=ctx)
    if recipe.pretrained:
        left = load_weights(net, recipe.pretrained, new=new if recipe.frames else ())
        log.info('%s: all arrays taken but %d, which start at random%s', recipe.pretrained,
                 len(left), f' ({", ".join(left[:3])}, …)' if left else '')
    if recipe.dtype != 'float32':
        net.cast(recipe.dtype)
    return net


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
    return get_model(recipe.model, classes=recipe.classes, blocks=recipe.placement,
                     association=recipe.association, input_size=recipe.space,
                     last_gamma=recipe.last_gamma, dropout=recipe.dropout)


def from_zoo(name: str, pretrained: str | None = None, class_names: Sequence[str] | None = None,
             input_size: int | None = None) -> Bundle:
    """A network of the zoo as a `Bundle`, with the preprocessing of the paper's recipe for it.

    Its weights are those of the file `pretrained`; without one they are random (He et al. 2015),
    those that end a branch a quarter, since dozens of branches would add up, and rounding with
    them. `class_names` are as many as the network has classes, by default numbers. `input_size` is
    the side of its input, by default the paper's; UserError where this machine could not run it.
    """
    row = find_row(name)
    side = row.input_size[-1] if input_size is None else input_size
    check_input_size(row, (*row.input_size[:-2], side, side))
    recipe = dataclasses.replace(RECIPES[row.recipe], model=row.name, blocks=None, input_size=side,
                                 frames=row.input_size[0] if row.dims == 3 else 0,
                                 classes=row.classes if class_names is None else len(class_names),
                                 pretrained=pretrained, starts_from='random')
    net = build(recipe, new=())
    if pretrained is None:
        for parameter in net.collect_params(LAST_OF_BRANCH).values():
            parameter.set_data(parameter.data() / 4)
    names = list(map(str, range(recipe.classes))) if class_names is None else class_names
    made = bundle(net, recipe, names, {
        'data': 'unknown data' if pretrained else 'nothing: the weights are random'})
    needed, free = made.meta['memory'], free_memory()
    if needed > free:
        raise UserError(f'{row.name} needs about {needed / 1e9:.1f} GB of memory for one input of '
                        f'{side}×{side}, and {free / 1e9:.1f} GB are free: choose a lower '
                        '`input_size`')
    return made


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
    takes = 'association' in find_row(recipe.model).options
    return recipe if takes else dataclasses.replace(recipe, association='left')


def preprocessing(recipe: Recipe) -> Preprocessing:
    """What the recipe's network is fed in tests."""
    if not recipe.frames:
        return Preprocessing(recipe.input_size, recipe.crop_ratio)
    return ClipPreprocessing(recipe.input_size, recipe.crop_ratio, frames=recipe.frames,
                             frame_stride=recipe.frame_stride, views=recipe.views,
                             crops=recipe.crops)


def bundle(net: Any, recipe: Recipe, classes: Sequence[str], training: dict) -> Bundle:
    """`net` (float32, CPU) as a `Bundle`; `training` says where the weights come from."""
    return from_gluon(net, net.row.name, classes, preprocessing(recipe), training,
                      stride=net.row.stride, classifier=CLASSIFIER, fixed=net.row.fixed,
                      features=FEATURES if isinstance(net, ResNet) else None)
