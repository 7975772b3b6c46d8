"""From PyTorch's names to ours: a `state_dict` in the layout of the authors' later release.

    net = get_model('resnet50')
    net.initialize()
    separate_projections(net)  # the release's projections have a BatchNorm each; the paper's do not
    load_weights(net, 'resnet50-lite.pth')

The release is GloRe (Chen et al., "Graph-Based Global Reasoning Networks", CVPR 2019), whose
ResNets are built of the same pre-activation units. The tables below are the map of names. Nothing
is guessed. GloRe's own units have no counterpart here. The first convolutions of its video networks
look through time (k×1×1, then 1×3×3), where Table 1 has k×3×3 in the middle. `load_weights`
lists and refuses them. Image networks inflate.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import mx
from ..formats.pytorch import BATCH_NORM
from ..nn import BNReLU
from .plug import After, forget_graphs, replace_child
from .resnet import Bottleneck
from .table import STAGES, Backbone

EPSILON, OURS = 1e-4, 1e-5  # of the release's BatchNorms, and of those here

# Values of a layer: name there, name here.
CONV = {'weight': 'weight'}
LINEAR = {'weight': 'weight', 'bias': 'bias'}

# Layers: name there, name here, values.
ENDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ('conv1.conv', 'conv1_conv', CONV), ('conv1.bn', 'conv1_bn', BATCH_NORM),
    ('tail.bn', 'final_bn', BATCH_NORM), ('classifier', 'fc', LINEAR))
UNIT = (('conv_m1.bn', 'bn', BATCH_NORM), ('conv_m1.conv', 'conv1_conv', CONV),
        ('conv_m2.bn', 'conv2_bn', BATCH_NORM), ('conv_m2.conv', 'conv2_conv', CONV),
        ('conv_m3.bn', 'conv3_bn', BATCH_NORM), ('conv_m3.conv', 'conv3_conv', CONV))
PROJECTION = (('conv_w1.bn', 'shortcut_bn', BATCH_NORM), ('conv_w1.conv', 'shortcut_conv', CONV))


def name_map(table: Backbone) -> dict[str, str | None]:
    """{name in the release: name here, or None} for a ResNet of a column of Table 1."""
    layers = list(ENDS)
    for stage in STAGES:
        for unit in range(1, getattr(table, stage).units + 1):
            rows = UNIT + PROJECTION if unit == 1 else UNIT
            layers += [(f'{stage}.B{unit:02}.{there}', f'{stage}_unit{unit}_{here}', values)
                       for there, here, values in rows]
    return {f'{there}.{value}': name and f'{here}_{name}'
            for there, here, values in layers for value, name in values.items()}


def translate(net: mx.gluon.Block, state_dict: dict[str, np.ndarray],
              epsilon: float = EPSILON) -> dict[str, tuple[str, np.ndarray]]:
    """{our name: (name there, value)} of a `state_dict` for `net`; what is unknown keeps its name.

    `epsilon` is that of the BatchNorms there, which no file tells. The difference to ours is added
    to the running variances, so that inference is the same. A projection's BatchNorm is left out
    where `net` has none and it equals the one that `net` shares.
    """
    names, parameters, values = name_map(net.row.table), net.collect_params(), {}
    for there, value in state_dict.items():
        here = names.get(there, there)
        if here == 'fc_weight' and set(value.shape[2:]) == {1}:  # it was a 1×1 convolution
            value = value.reshape(value.shape[:2])
        if here is not None:
            values[here] = there, np.asarray(value, 'float32')
    for here in [name for name in values if '_shortcut_bn_' in name and name not in parameters]:
        shared = values.get(here.replace('_shortcut_bn_', '_bn_'))
        if shared and np.array_equal(shared[1], values[here][1]):
            del values[here]
    return {here: (there, value + np.float32(epsilon - OURS) if here.endswith('running_var')
                   else value) for here, (there, value) in values.items()}


def separate_projections(net: mx.gluon.Block) -> mx.gluon.Block:
    """Give each projection of `net`, a ResNet, a BN-ReLU of its own, as the release's have.

    The paper's share that of the first 1×1 convolution. The outputs stay what they were: the new
    BatchNorm, named `…_shortcut_bn_…`, starts with the values of the shared one, where these are
    there already. Returns `net`.
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
    forget_graphs(net)
    return net


def _copy(source, target):
    """Initialize `target` with the values of `source`, a block like it."""
    gamma = source.bn.gamma
    target.initialize(ctx=gamma.list_ctx())
    target.cast(gamma.dtype)
    for value, parameter in zip(source.collect_params().values(), target.collect_params().values()):
        parameter.set_data(value.data())
