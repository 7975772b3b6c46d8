"""Accuracies that others published, as data.

None was measured here, and none stands in a column with what was. A network that is not among them
has no published accuracy that is known here.
"""
from __future__ import annotations

from typing import NamedTuple

PAPER = 'https://arxiv.org/abs/1810.11579'
GLORE = 'https://github.com/facebookresearch/GloRe'
ZOO_TABLES = 'https://github.com/dmlc/gluon-cv/blob/master/docs/model_zoo/csv_tables'

# What the figures of a source are of.
PAPER_IMAGE = 'ImageNet-1k validation, single 224×224 crop; the paper, not reproduced here'
PAPER_VIDEO = ('Kinetics-400 validation, by video, clips of 8 frames, 8 apart; the paper, not '
               'reproduced here')
GLORE_IMAGE = 'ImageNet-1k validation, as the README of GloRe gives it'
ZOO_IMAGE = 'ImageNet-1k validation, 224×224, as its model zoo gives it'
ZOO_VIDEO = 'Kinetics-400 validation, as its model zoo gives it, clips'


class Accuracy(NamedTuple):
    """Of one network, in per cent: where that stands, and how it was measured there."""
    network: str
    top1: float
    top5: float | None  # None where it was not published
    source: str
    protocol: str


def _paper(network, table, top1, top5, protocol):
    return Accuracy(network, top1, top5, f'{PAPER}, {table}', protocol)


def _zoo(network, file, top1, top5, protocol):
    return Accuracy(network, top1, top5, f'{ZOO_TABLES}/{file}', protocol)


_RESNET, _MOBILENET = 'Classifications/ResNet.csv', 'Classifications/MobileNet.csv'
_KINETICS = 'Action_Recognitions/Kinetics400.csv'

ACCURACIES = {row.network: row for row in (
    # Table 4 quotes the competitors from their own papers; their stems are wider than those here.
    _paper('resnet50', 'Table 4, quoting He et al. 2016', 75.3, 92.2, PAPER_IMAGE),
    _paper('resnet152', 'Table 4, quoting He et al. 2016', 77.0, 93.3, PAPER_IMAGE),
    _paper('se_resnet50', 'Table 4, quoting Hu et al. 2018', 76.7, 93.4, PAPER_IMAGE),
    _paper('a2_resnet50', 'Table 4', 77.0, 93.5, PAPER_IMAGE),
    _paper('a2_resnet50_3d', 'Table 5', 74.6, 91.5, PAPER_VIDEO),
    _zoo('resnet18_v1b', _RESNET, 70.94, 89.83, ZOO_IMAGE),
    _zoo('resnet50_v1b', _RESNET, 77.67, 93.82, ZOO_IMAGE),
    _zoo('resnet50_v2', _RESNET, 77.11, 93.43, ZOO_IMAGE),
    _zoo('resnet152_v1b', _RESNET, 79.69, 94.74, ZOO_IMAGE),
    _zoo('mobilenetv2_1.0', _MOBILENET, 72.04, 90.57, ZOO_IMAGE),
    _zoo('mobilenetv2_0.25', _MOBILENET, 51.76, 74.89, ZOO_IMAGE),
    _zoo('c3d', _KINETICS, 59.5, None, f'{ZOO_VIDEO} of 16 frames, 2 apart, 112×112'),
    _zoo('r2plus1d_resnet34', _KINETICS, 71.6, None,
         f'{ZOO_VIDEO} of 16 frames, 2 apart, 112×112'),
    _zoo('i3d_inceptionv1', _KINETICS, 71.8, None, f'{ZOO_VIDEO} of 32 frames, 2 apart, 224×224'),
    _zoo('i3d_nl5_resnet50_v1', _KINETICS, 75.2, None,
         f'{ZOO_VIDEO} of 32 frames, 2 apart, 224×224'))}


# What the paper's authors reached themselves with backbones that are pre-activation, like those
# here: nearer to what to expect than what Table 4 quotes of others.
AUTHORS = {row.network: row for row in (
    Accuracy('resnet50', 76.2, None, GLORE, GLORE_IMAGE),
    Accuracy('se_resnet50', 77.2, None, GLORE, GLORE_IMAGE))}
