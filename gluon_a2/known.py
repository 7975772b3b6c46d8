"""The image networks of GluonCV as rows of data: what they are fed, and where blocks go in them.

Those with GroupNorm are missing, of which MXNet 1.9.1 can make no symbol, and NASNet, which it
cannot train on a CPU.

A stage is named by its resolution, as the paper's conv2 to conv5 are. The maps of stage3 are
2³ = 8 times smaller than the input, and conv3 is stage3 of the paper's networks.
"""
from __future__ import annotations

import difflib
from typing import Any, Mapping, NamedTuple

from .errors import UserError

PREFIX = 'gluoncv:'  # of their names as ours
# Paths of the children that count as units: those within stages, or the children of the trunk.
RESIDUAL, TRUNK = r'(features\.\d+|layer\d+)\.\d+', r'features\.\d+|(?!features|output)\w+'
LAST = {3: (-1,), 4: (-1,)}  # the middle resolutions: behind the last unit of each

# Of pixels from 0 to 1; GluonCV resizes with its default, bilinear.
IMAGENET = {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225), 'pixels': 1,
            'interpolation': 'bilinear'}
CIFAR = {**IMAGENET, 'mean': (0.4914, 0.4822, 0.4465), 'std': (0.2023, 0.1994, 0.2010),
         'crop_ratio': 1.0}


class Family(NamedTuple):
    """Networks of one kind: their names, input, units, and where A² and non-local blocks go."""
    names: tuple[str, ...]
    size: int = 224
    units: str = RESIDUAL
    blocks: Mapping[int, tuple[int, ...]] = LAST  # {stage: after which units, from 1; -1: the last}
    brings: Mapping[str, Any] = IMAGENET  # fields of a recipe
    classes: int = 1000
    counts: str = 'classes'  # what GluonCV's function calls their number


def _names(pattern: str, *parts: str) -> tuple[str, ...]:
    """`pattern` with each of the words of `parts[0]` in it, each of those with `parts[1]`, …"""
    for words in parts:
        pattern = ' '.join(name.replace('*', word, 1) for name in pattern.split()
                           for word in words.split())
    return tuple(pattern.split())


DEEP = '50 101 152'
FAMILIES = (
    # of two units a stage: where the paper has them in ResNet-26
    Family((*_names('resnet18_v* se_resnet18_v*', '1 2'), 'resnet18_v1b', 'resnet18_v1b_0.89',
            'resnest14', 'resnest26'), blocks={3: (1, 2), 4: (1, 2)}),
    # of 3, 4, 6, 3 units and deeper ones: where the paper has them in ResNet-50
    Family((*_names('resnet*_v1 resnet*_v2 se_resnet*_v1 se_resnet*_v2', f'34 {DEEP}'),
            'resnet34_v1b', *_names('resnet*_v1*', DEEP, 'b c d e s'),
            *_names('resnet50_v1d_0.*', '86 48 37 11'), *_names('resnet101_v1d_0.*', '76 73'),
            *_names('resnext* se_resnext*', '50_32x4d 101_32x4d 101_64x4d 101e_64x4d'),
            'senet_154', 'senet_154e', 'resnest50'), blocks={3: (1, 3), 4: (1, 3, 5)}),
    *(Family((f'resnest{depth}',), size, blocks={3: (1, 3), 4: (1, 3, 5)})
      for depth, size in ((101, 256), (200, 320), (269, 416))),
    Family(_names('shufflenet_v*', '1 2'), units=r'features\.[234]\.\d+'),
    Family(('alexnet', *_names('vgg* vgg*_bn', '11 13 16 19'),
            *_names('densenet*', '121 161 169 201'),
            'squeezenet1.0', 'squeezenet1.1', 'googlenet', 'darknet53', 'dla34',
            *_names('mobilenet* mobilenetv2_*', '1.0 0.75 0.5 0.25'),
            *_names('mobilenetv3_*', 'large small'),
            *_names('residualattentionnet*', '56 92 128 164 200 236 452')), units=TRUNK),
    # of parallel branches: in front of the classifier, where each is one map
    Family(_names('hrnet_w*_c', '18 18_small_v1 18_small_v2 30 32 40 44 48 64'),
           units=r'incre_blocks\.\d+', counts='num_classes'),
    Family(('inceptionv3', 'xception', 'xception71'), 299, TRUNK),
    Family((*_names('cifar_resnet*_v1 cifar_resnet*_v2', '20 56 110'),
            *_names('cifar_wideresnet*', '16_10 28_10 40_8'),
            *_names('cifar_resnext29_*', '32x4d 16x64d')),
           32, RESIDUAL, {0: (-1,), 1: (-1,)}, CIFAR, 10),
    Family(_names('cifar_residualattentionnet*', '56 92 452'),
           32, TRUNK, {0: (-1,), 1: (-1,)}, CIFAR, 10))
BY_NAME = {name: family for family in FAMILIES for name in family.names}


def is_known(name: str) -> bool:
    """Whether a name is meant for GluonCV: it begins with `gluoncv:`."""
    return name.lower().startswith(PREFIX)


def family(name: str) -> Family:
    """The `Family` of a name such as gluoncv:resnet50_v1b; UserError lists all names."""
    bare = name.lower()[len(PREFIX):]
    if bare not in BY_NAME:
        near = difflib.get_close_matches(bare, BY_NAME, n=1)
        hint = f' (did you mean {PREFIX}{near[0]}?)' if near else ''
        raise UserError(f'{name} is no classification network of GluonCV{hint}: choose one of '
                        f'{", ".join(sorted(BY_NAME))}, with {PREFIX} in front')
    return BY_NAME[bare]


def brought(name: str) -> dict[str, Any]:
    """The fields of a recipe that a network brings, as it was trained; none but GluonCV's do."""
    if not is_known(name):
        return {}
    row = family(name)
    return {'input_size': row.size, **row.brings}
