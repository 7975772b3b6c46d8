"""Parameters and multiply-adds of any MXNet symbol, layer by layer.

One multiply-add is one FLOP, as in the paper (Section 3.1), and as there only convolutions, fully connected
layers and matrix products are counted; batch 1 unless the shapes given say otherwise.
"""
import ast
import json
import math
from typing import NamedTuple, Tuple

from .backend import mx
from .errors import UserError


class Layer(NamedTuple):
    """One operator: `parameters` are trained, `statistics` are running means and variances."""
    name: str
    op: str
    output: Tuple[int, ...]
    parameters: int
    statistics: int
    flops: int


class Cost(NamedTuple):
    """A network's layers; totals as properties."""
    layers: Tuple[Layer, ...]

    @property
    def trained(self):
        """Values changed by gradients."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters(self):
        """What the paper prints as #Params: trained values and BatchNorm's running statistics."""
        return self.trained + sum(layer.statistics for layer in self.layers)

    @property
    def flops(self):
        """Multiply-adds."""
        return sum(layer.flops for layer in self.layers)


def _convolution(attrs, inputs, output):
    kernel = math.prod(ast.literal_eval(attrs['kernel']))
    return math.prod(output) * kernel * inputs[0][1] // int(attrs.get('num_group', 1))


def _deconvolution(attrs, inputs, output):
    kernel = math.prod(ast.literal_eval(attrs['kernel']))
    return math.prod(inputs[0]) * kernel * output[1] // int(attrs.get('num_group', 1))


def _fully_connected(attrs, inputs, output):
    return math.prod(output) * inputs[1][1]


def _product(attrs, inputs, output):
    left = inputs[0]
    transposed = attrs.get('transpose_a', 'False') in ('True', '1')
    return math.prod(output) * (left[-2] if transposed else left[-1])


def _dot(attrs, inputs, output):
    left = inputs[0]
    transposed = attrs.get('transpose_a', 'False') in ('True', '1')
    return math.prod(output) * (left[0] if transposed else left[-1])


# Operators that multiply and add; all others count as nothing, as in the paper.
FLOPS = {
    'Convolution': _convolution,
    'Deconvolution': _deconvolution,
    'FullyConnected': _fully_connected,
    'batch_dot': _product,
    '_linalg_gemm2': _product,
    'dot': _dot,
}


def count(symbol, **shapes):
    """The `Cost` of `symbol` fed arrays of `shapes`, e.g. count(symbol, data=(1, 3, 224, 224)).

    Every variable not named in `shapes` is a parameter; one used twice is counted once, where it is first used.
    Shapes that do not fit raise UserError.
    """
    unknown = sorted(set(shapes) - set(symbol.list_inputs()))
    if unknown:
        raise UserError(f'the symbol has no input named {unknown[0]}')
    internals = symbol.get_internals()
    try:
        _, outputs, _ = internals.infer_shape(**shapes)
    except mx.MXNetError as error:
        raise UserError(f'the network cannot take {shapes}: {str(error).strip().splitlines()[-1]}') from error
    if outputs is None:
        raise UserError(f'the shapes {shapes} do not determine every layer: name all inputs of the symbol')
    graph = json.loads(internals.tojson())
    # The heads, in the order of the outputs: names will not do, since a layer called twice names two nodes alike.
    known = {(node, slot): shape for (node, slot, *_), shape in zip(graph['heads'], outputs)}
    return Cost(tuple(_layers(graph['nodes'], known, set(shapes), set(symbol.list_auxiliary_states()))))


def _layers(nodes, known, fed, statistics):
    counted = set(fed)
    for index, node in enumerate(nodes):
        if node['op'] == 'null':
            continue
        sources = [tuple(source[:2]) for source in node['inputs']]
        sizes = {nodes[i]['name']: math.prod(known[i, slot]) for i, slot in sources
                 if nodes[i]['op'] == 'null' and nodes[i]['name'] not in counted}
        counted.update(sizes)
        output = known[index, 0]
        rule = FLOPS.get(node['op'])
        flops = rule(node.get('attrs', {}), [known[source] for source in sources], output) if rule else 0
        running = sum(size for name, size in sizes.items() if name in statistics)
        if sizes or flops:
            yield Layer(node['name'], node['op'], tuple(output), sum(sizes.values()) - running, running, flops)


def count_network(net, input_size, batch=1):
    """The `Cost` of a Gluon network on `batch` RGB inputs of `input_size`, (h, w) or (d, h, w)."""
    return count(net(mx.sym.var('data')), data=(batch, 3, *input_size))
