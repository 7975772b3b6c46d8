"""Parameters and multiply-adds of an MXNet symbol, ours or another's, layer by layer.

One multiply-add is one FLOP, as in the paper (Section 3.1). As there, only convolutions, fully
connected layers and matrix products are counted. The batch is 1 unless the given shapes differ.
"""
from __future__ import annotations

import ast
import functools
import json
import math
from typing import Any, Callable, NamedTuple

from .backend import mx
from .errors import UserError
from .formats.symbol import infer_shapes
from .nn import block_of


class Layer(NamedTuple):
    """One operator: `parameters` are trained, `statistics` are running means and variances."""
    name: str
    op: str
    output: tuple[int, ...]
    parameters: int
    statistics: int
    flops: int


class Cost(NamedTuple):
    """A network's layers; totals as properties."""
    layers: tuple[Layer, ...]

    @property
    def trained(self) -> int:
        """Values changed by gradients."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters(self) -> int:
        """What the paper prints as #Params: trained values and BatchNorm's running statistics."""
        return self.trained + sum(layer.statistics for layer in self.layers)

    @property
    def flops(self) -> int:
        """Multiply-adds."""
        return sum(layer.flops for layer in self.layers)


def _channels(attrs, shape):
    layout = attrs.get('layout')
    return shape[1 if layout in (None, 'None') else layout.index('C')]


def _convolution(attrs, inputs, output):
    kernel = math.prod(ast.literal_eval(attrs['kernel']))
    groups = int(attrs.get('num_group', 1))
    return math.prod(output) * kernel * _channels(attrs, inputs[0]) // groups


def _deconvolution(attrs, inputs, output):
    return _convolution(attrs, [output], inputs[0])  # the same products, in the other direction


def _product(attrs, inputs, output, first_axis=-2):
    transposed = attrs.get('transpose_a', 'False') in ('True', '1')
    return math.prod(output) * inputs[0][first_axis if transposed else -1]


def _recurrent(attrs, inputs, output):
    """For each step, layer and gate a matrix of the input and of the state: h·(input + h)."""
    time, batch, channels = inputs[0]
    hidden, gates = int(attrs['state_size']), {'lstm': 4, 'gru': 3}.get(attrs['mode'], 1)
    ways = 2 if attrs.get('bidirectional', 'False') in ('True', '1') else 1
    widths = [channels] + [ways * hidden] * (int(attrs['num_layers']) - 1)
    return time * batch * ways * sum(gates * hidden * (width + hidden) for width in widths)


# Operators that multiply and add. Others count as nothing, as in the paper, except the REFUSED.
FLOPS: dict[str, Callable[..., int]] = {
    'Convolution': _convolution,
    'Deconvolution': _deconvolution,
    'FullyConnected': lambda attrs, inputs, output: math.prod(output) * inputs[1][1],
    'batch_dot': _product,
    '_linalg_gemm2': _product,
    'dot': functools.partial(_product, first_axis=0),
    'RNN': _recurrent,
}

# Operators that multiply too, in ways not known here: a total without them would be a wrong one.
REFUSED = ('_sg_', '_contrib_quantized', '_contrib_interleaved', '_contrib_Deformable', '_npi_',
           'Correlation')


def count(symbol: Any, **shapes: tuple[int, ...]) -> Cost:
    """The `Cost` of `symbol` fed arrays of `shapes`, e.g. count(symbol, data=(1, 3, 224, 224)).

    Every variable not named in `shapes` is a parameter, but for labels (names ending in `_label`);
    one used twice is counted once, where it is first used. Shapes that do not fit, and operators
    that cannot be counted, raise UserError.
    """
    unknown = sorted(set(shapes) - set(symbol.list_inputs()))
    if unknown:
        raise UserError(f'the symbol has no input named {unknown[0]}')
    shown = ', '.join(f'{name} of {"×".join(map(str, shape))}' for name, shape in shapes.items())
    if any(size < 1 for shape in shapes.values() for size in shape):
        raise UserError(f'the network cannot take {shown}: every size must be 1 or more')
    internals = symbol.get_internals()
    try:
        _, outputs, _ = infer_shapes(internals, **shapes)
    except UserError as error:
        raise UserError(f'the network cannot take {shown}: {error}') from error
    if outputs is None:
        raise UserError(f'the shapes {shapes} do not determine every layer: name all inputs of the '
                        'symbol')
    nodes, known = _graph(internals, outputs)
    fed = set(shapes) | {name for name in symbol.list_inputs() if name.endswith('_label')}
    return Cost(tuple(_layers(nodes, known, fed, set(symbol.list_auxiliary_states()))))


def _graph(internals, outputs):
    """The nodes, and {(node, slot): shape}: a layer called twice gives two nodes one name."""
    graph = json.loads(internals.tojson())
    return graph['nodes'], {(node, slot): shape for (node, slot, *_), shape in zip(
        graph['heads'], outputs)}


def _layers(nodes, known, fed, statistics):
    counted = set(fed)
    for index, node in enumerate(nodes):
        if node['op'] == 'null':
            continue
        sources = [tuple(source[:2]) for source in node['inputs']]
        sizes = {nodes[i]['name']: math.prod(known[i, slot]) for i, slot in sources
                 if nodes[i]['op'] == 'null' and nodes[i]['name'] not in counted}
        counted.update(sizes)
        if node['op'].startswith(REFUSED):
            raise UserError(f'{node["name"]} is a {node["op"]}, whose multiply-adds are not known '
                            'here: count it before it was fused, quantized or unrolled')
        output, rule = known[index, 0], FLOPS.get(node['op'])
        fed_by = [known[source] for source in sources]
        flops = rule(node.get('attrs', {}), fed_by, output) if rule else 0
        running = sum(size for name, size in sizes.items() if name in statistics)
        if sizes or flops:
            yield Layer(node['name'], node['op'], tuple(output),
                        sum(sizes.values()) - running, running, flops)


def attention_memory(symbol: Any, **shapes: tuple[int, ...]) -> dict[str, int]:
    """{block: bytes} that each block's matrix products and softmaxes put out for such inputs.

    Of a non-local block these are above all 2·N·(dhw)² floats, the relation of all positions and
    its softmax. Of an A² block they are N·mn and what belongs to the positions (Eq. 6), or N·(dhw)²
    (Eq. 7).
    """
    internals = symbol.get_internals()
    nodes, known = _graph(internals, infer_shapes(internals, **shapes)[1])
    found: dict[str, int] = {}
    for (index, _), shape in known.items():
        if nodes[index]['op'] in ('batch_dot', 'softmax'):
            name = nodes[index]['name']
            block = block_of(name) or name
            found[block] = found.get(block, 0) + 4 * math.prod(shape)
    return found


def count_network(net: mx.gluon.Block, input_size: tuple[int, ...], batch: int = 1) -> Cost:
    """The `Cost` of a Gluon network on `batch` RGB inputs of `input_size`, (h, w) or (d, h, w)."""
    return count(net(mx.sym.var('data')), data=(batch, 3, *input_size))
