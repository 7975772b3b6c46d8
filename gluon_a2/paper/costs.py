"""Every #Params, FLOPs and ΔFLOPs figure the paper prints, and its claims about costs, as data."""
from __future__ import annotations

from typing import Any, NamedTuple

MILLION, GIGA = 1e6, 1e9


class Figure(NamedTuple):
    """One network as the paper prints it: figures in units, `None` where it prints none.

    Each figure is (value, step): the printed value, and what one step of its last printed digit is
    worth.
    """
    where: str
    label: str
    model: str
    blocks: dict[str, tuple[int, ...]] | None  # placement; None is the row's own
    params: tuple[float, float] | None = None
    flops: tuple[float, float] | None = None
    delta: tuple[float, float] | None = None  # FLOPs more than ResNet-26


class Baseline(NamedTuple):
    """Another system of Tables 5 and 6: its network here, its printed FLOPs, why ours differ."""
    where: str
    label: str
    flops: tuple[float, float] | None
    model: str
    note: str = ''


def _m(value, digits=3):
    return value * MILLION, MILLION / 10 ** digits


def _g(value, digits=1):
    return value * GIGA, GIGA / 10 ** digits


def _ablation(where, kind, count, at, blocks, params, flops, delta):
    label = f'ResNet-26 + {count} {"A²" if kind == "a2" else "NL"} @ {at}'
    return Figure(where, label, f'{kind}_resnet26_3d', blocks, _m(params), _g(flops), delta)


_SINGLE = [  # "placed after the second residual unit of a certain stage"
    ('nl', 'Conv2', 7.061, 49.0, _g(40.69, 2)), ('nl', 'Conv3', 7.112, 13.7, _g(5.45, 2)),
    ('nl', 'Conv4', 7.312, 9.3, _g(1.04, 2)), ('a2', 'Conv2', 7.061, 8.7, _m(463, 0)),
    ('a2', 'Conv3', 7.112, 8.7, _m(463, 0)), ('a2', 'Conv4', 7.312, 8.7, _m(463, 0))]

_MULTIPLE = [
    ('nl', 1, 'Conv4', {'conv4': (2,)}, 7.312, 9.3, _g(1.04, 2)),
    ('nl', 2, 'Conv4', {'conv4': (1, 2)}, 7.581, 10.4, _g(2.08, 2)),
    ('nl', 4, 'Conv3&4', None, 7.719, 21.3, _g(12.97, 2)),
    ('a2', 1, 'Conv4', {'conv4': (2,)}, 7.312, 8.7, _m(463, 0)),
    ('a2', 2, 'Conv4', {'conv4': (1, 2)}, 7.581, 9.2, _m(925, 0)),
    ('a2', 4, 'Conv3&4', None, 7.719, 10.1, _g(1.85, 2))]

_PLAIN = [('ResNet-26', 'resnet26_3d', 7.043, 8.3, None),
          ('ResNet-29', 'resnet29_3d', 7.620, 9.2, _m(900, 0))]


FIGURES = [
    Figure('Table 1', 'ResNet-26', 'resnet26_3d', None, _m(7.0, 1), _g(8.3)),
    Figure('Table 1', 'ResNet-29', 'resnet29_3d', None, _m(7.6, 1), _g(9.2)),
    Figure('Table 1', 'ResNet-50', 'resnet50_3d', None, _m(33.4, 1), _g(31.3)),
    *(Figure('Table 2', name, model, None, _m(p), _g(f), d) for name, model, p, f, d in _PLAIN),
    *(_ablation('Table 2', kind, 1, at, {at.lower(): (2,)}, *printed)
      for kind, at, *printed in _SINGLE),
    *(Figure('Table 3', name, model, None, _m(p), _g(f), d) for name, model, p, f, d in _PLAIN),
    *(_ablation('Table 3', *row) for row in _MULTIPLE),
    Figure('Table 5', 'A²-Net ResNet-50, video', 'a2_resnet50_3d', None, None, _g(40.8)),
    Figure('Table 6', 'A²-Net ResNet-50, video', 'a2_resnet50_3d', None, None, _g(41.6)),
    Figure('Section 3.3', 'A²-Net ResNet-50, image', 'a2_resnet50', None, _m(33.0, 1), _g(6.5)),
]

# 31.3 G (Table 1, without blocks) and 41.6 G (Table 6, with) differ by what 30.5 G and 40.8 G
# (Table 5) differ by: the paper counts two networks under one name. The design here is Table 5's.
CONTRADICT_TABLE_5 = {('Table 1', 'ResNet-50'), ('Table 6', 'A²-Net ResNet-50, video')}

MEMORY_SIZE = {'m': 512, 'n': 512, 'positions': 32 * 28 * 28}  # of Section 2.3's example
# The text's figures, as `compare.Comparison` takes them; True where printed as a lower bound.
MEMORY: dict[str, Any] = {
    'left': ('Section 2.3', '32 frames of 28×28, c=512, left', 'memory', 1.0, 1.0, 'MB'),
    'right': ('Section 2.3', '32 frames of 28×28, c=512, right', 'memory', 2048.0, 1.0, 'MB',
              '"more than 2 GB"', True)}
SAVINGS: list[Any] = [
    ('Section 3.3', 'A²-Net ResNet-50 below ResNet-152', quantity, 0.40, 0.01, '%', '"over 40 %"',
     True) for quantity in ('#Params', 'FLOPs')]

I3D = 'an inflated Inception-V1, as the original; the difference is not explained'
R2PLUS1D = ("where a stage begins, GluonCV's block has one middle width for both its convolutions, "
            'the original one for each, which is 1.95 G more')
RES3D = 'as printed by Tran et al.; the difference is not explained'
LSTM = 'the paper prints none; here the frames go through its image ResNet-50'

BASELINES = [
    Baseline('Table 5', 'ConvNet+LSTM', None, 'convnet_lstm', LSTM),
    Baseline('Table 5', 'I3D', _g(107.9), 'i3d_inceptionv1', I3D),
    Baseline('Table 5', 'R(2+1)D', _g(152.4), 'r2plus1d_resnet34', R2PLUS1D),
    Baseline('Table 6', 'C3D', _g(38.5), 'c3d'),
    Baseline('Table 6', 'Res3D ResNet-18', _g(19.3), 'res3d_resnet18', RES3D),
    Baseline('Table 6', 'I3D-RGB', _g(107.9), 'i3d_inceptionv1', I3D),
    Baseline('Table 6', 'R(2+1)D-RGB', _g(152.4), 'r2plus1d_resnet34', R2PLUS1D),
]
