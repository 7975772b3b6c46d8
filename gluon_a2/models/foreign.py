"""Image networks of GluonCV as those of the zoo: any number of classes, and blocks put in by name.

    get_model('gluoncv:resnet50_v1b', plug='a2', classes=5)
    get_model('gluoncv:mobilenet0.25', plug='se@stage3;features.44')

`known` says which there are, and where blocks go where no place is named.
"""
from __future__ import annotations

import fnmatch
import functools
import json
import math
import re
from typing import Any

from .. import known
from ..backend import mx
from ..errors import UserError
from ..nn import BLOCKS
from .baselines import gluoncv_network, uninitialized
from .plug import plug, trace
from .table import STAGES, BaselineRow, Row, find_row, usual_blocks


def with_blocks(name: str, text: str | None) -> tuple[Row | BaselineRow, dict | None]:
    """(the row of `name` with blocks as `text` says, their placement in a network of the paper).

    `text` is a kind, a key of `nn.BLOCKS`, and where it goes: 'a2', 'a2@stage3:1,2;stage4', or
    'a2@layer3.*', or nothing. UserError for a network that takes none, and for an unknown kind.
    """
    row = find_row(name)
    if text is None:
        return row, None
    kind, _, places = text.partition('@')
    if kind not in BLOCKS:
        raise UserError(f'unknown block {kind!r} in `plug`: choose one of {", ".join(BLOCKS)}')
    if '@' in text and not places:
        raise UserError(f'`plug` {text} names no place: give some, such as {kind}@stage3:1,2, or '
                        f'say {kind}')
    if isinstance(row, BaselineRow):
        if row.builder != 'foreign':
            raise UserError(f'`plug` has no effect on {row.name}: choose a network of the paper '
                            'without blocks, or one of GluonCV')
        return row._replace(kind=kind, options=BLOCKS[kind].options, places=places), None
    if row.kind:
        raise UserError(f'`plug` and {row.name}: it has blocks already; choose {row.backbone}'
                        f'{"_3d" if row.dims == 3 else ""}, or place them by `blocks`')
    row = row._replace(name=f'{kind}_{row.name}', kind=kind, blocks=usual_blocks(kind, row.table))
    return row, _stages(row, places) if places else None


def _stages(row, places):
    """The placement in a network of the paper: {'conv3': (1, 2)} of 'stage3:1,2'."""
    units = {stage: getattr(row.table, stage).units for stage in STAGES}
    found = {}
    for place in places.split(';'):
        match = re.fullmatch(r'(?:stage|conv)(\d+)(?::([\d,]+))?', place)
        stage = match and f'conv{match[1]}'
        if stage not in units:
            raise UserError(f'no place {place!r} in {row.name}: its places are ' + ', '.join(
                f'stage{name[4:]}:1 to {count}' for name, count in units.items()))
        found[stage] = _numbers(match[2]) if match[2] else tuple(range(1, units[stage] + 1))
    return found


def _numbers(text):
    return tuple(int(number) for number in text.split(',') if number)


def build(row: BaselineRow, classes: int, size: tuple[int, ...],
          **options: Any) -> mx.gluon.HybridBlock:
    """The network of a row of `find_row`, not yet initialized, its shapes those of input `size`.

    It has blocks where the row has a kind and places; their `options` are those of `get_model`.
    """
    family = known.family(row.name)
    net = gluoncv_network(row.name, str(row.source), **{family.counts: classes})
    net.apply(_agree)
    symbol, children = trace(net, dict(_descendants(net)))
    values = _shapes(symbol, size, row.name)
    parameters = net.collect_params()
    for name, parameter in parameters.items():
        parameter.shape = values[name]
    sides = [2 ** k for k in range(max(size).bit_length()) if 2 ** k < max(size)]
    takes = functools.partial(_takes, symbol, values, classes)
    smallest = next((side for side in sides if takes((side, side))), max(size))
    larger = takes(tuple(2 * s for s in size))
    row = row._replace(classifier=_classifier(symbol), fixed=not larger, classes=classes,
                       stride=(smallest, smallest) if larger else size)
    net.plain = net._collect_params_with_prefix()  # names by structure, which blocks change
    if row.kind:
        places = _places(row, family, children)
        net.initialize()
        plug(net, row.kind, places, input_size=size, **options)
    net.row, net.classes = row, classes
    return uninitialized(net)


def _agree(block):
    """Give a Dense the shape of its units: pruned networks say 1000 whatever they are asked for."""
    if isinstance(block, mx.gluon.nn.Dense):
        block.weight._shape = (block._units, *block.weight.shape[1:])
        if block.bias is not None:
            block.bias._shape = (block._units,)


def _places(row, family, children):
    """The paths of the children that `row.places`, or else the family, says blocks go behind."""
    stages = _units(row, family, children)
    if not row.places:
        usual = ({stage: range(1, len(units) + 1) for stage, units in stages.items()}
                 if BLOCKS[row.kind].everywhere and family.units != known.TRUNK
                 else family.blocks)
        found = [stages[stage][unit if unit < 0 else unit - 1] for stage, units in usual.items()
                 for unit in units if unit <= len(stages.get(stage, ())) != 0]
        if not found:
            raise UserError(f'{row.name} has no usual places for blocks: name some, as in '
                            f'{row.kind}@{next(iter(children))}')
        return found
    found = []
    for place in row.places.split(';'):
        match = re.fullmatch(r'stage(\d+)(?::([\d,]+))?', place)
        if match:
            units = stages.get(int(match[1]), [])
            numbers = _numbers(match[2]) if match[2] else range(1, len(units) + 1)
            paths = [units[number - 1] for number in numbers if 1 <= number <= len(units)]
            lacking = not paths or len(paths) < len(numbers)
        else:
            paths = [path for path in children if fnmatch.fnmatchcase(path, place)
                     and path.count('.') == place.count('.')]
            lacking = not paths
        if lacking:
            listed = ', '.join(f'stage{stage}:1 to {len(units)} ({units[0]} to {units[-1]})'
                               for stage, units in sorted(stages.items()))
            raise UserError(f'no place {place!r} in {row.name}: its places are {listed}, and the '
                            'paths of other children that give a map')
        found += [path for path in paths if path not in found]
    return found


def _units(row, family, children):
    """{stage: paths of its units, from the input on}, at the size the network was made for."""
    stages = {}
    for path, output in children.items():
        if re.fullmatch(family.units, path) and isinstance(output, mx.sym.Symbol):
            shape = output.infer_shape_partial(data=(1, 3, *row.input_size))[1][0]
            if len(shape) == 4 and shape[2] > 1:
                stages.setdefault(round(math.log2(row.input_size[0] / shape[2])), []).append(path)
    return stages


def _descendants(block, above=''):
    for name, child in block._children.items():
        if isinstance(child, mx.gluon.nn.Dropout):
            continue  # a block behind it would relate positions with gaps
        yield above + name, child
        yield from _descendants(child, f'{above}{name}.')


def _shapes(symbol, size, name):
    """{parameter: its shape} for an input of `size`."""
    try:
        arguments, _, statistics = symbol.infer_shape_partial(data=(1, 3, *size))
    except mx.MXNetError as error:
        raise UserError(f'{name} cannot take an input of {"×".join(map(str, size))}: choose '
                        'another `input_size`, such as the one it was made for') from error
    names = symbol.list_arguments() + symbol.list_auxiliary_states()
    return dict(zip(names, arguments + statistics))


def _takes(symbol, values, classes, size):
    """Whether the network, its parameters of the shapes `values`, gives a logit for each class
    where an input is of `size`: SqueezeNet's last pool has a fixed window, and gives more."""
    try:
        _, outputs, _ = symbol.infer_shape_partial(**{**values, 'data': (1, 3, *size)})
    except mx.MXNetError:
        return False
    return outputs[0] == (1, classes)


def _classifier(symbol):
    """What the names of the parameters of the last layer begin with."""
    graph = json.loads(symbol.tojson())
    node = graph['nodes'][graph['heads'][0][0]]
    while node['op'] not in ('FullyConnected', 'Convolution'):
        node = graph['nodes'][node['inputs'][0][0]]
    return graph['nodes'][node['inputs'][1][0]]['name'][:-len('weight')]
