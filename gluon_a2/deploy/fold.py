"""Folding BatchNorms into convolutions, wherever that is exact in inference.

A BatchNorm is s·x + t by channel. Behind a convolution that nothing else reads, s scales the
convolution's kernels and t becomes its bias. The expansion's BatchNorm stands behind attention
instead, on Z, whose columns are means of the columns of φ(X): each is weighted by a softmax, and
such weights sum to 1. So s·Z + t is Z of s·φ(X) + t, and the BatchNorm folds into φ (of a non-local
block, into g). What stays is the BatchNorms between a sum and a ReLU, of which a pre-activation
network has one in every unit.
"""
from __future__ import annotations

import numpy as np

from .bundle import Bundle
from .graph import Graph, Node

RESHAPED = (0, 0, -3, 0)  # the reshape of nn.workarounds.FoldedBatchNorm


def fold(bundle: Bundle) -> tuple[Bundle, int, int]:
    """(the `Bundle` with BatchNorms folded, how many were, how many there are)."""
    graph = Graph(bundle.graph)
    arguments, statistics = dict(bundle.arguments), dict(bundle.statistics)
    remove_workaround(graph)
    norms = [node for node in graph.nodes() if node.op == 'BatchNorm']
    folded = [norm for norm in norms if _fold_one(graph, norm, arguments, statistics)]
    names = {node.name for node in graph.nodes() if node.op == 'null'}
    kept = [{name: value for name, value in values.items() if name in names}
            for values in (arguments, statistics)]
    meta = {**bundle.meta, 'folded': bundle.meta.get('folded', 0) + len(folded)}
    return bundle._replace(graph=graph.to_bytes(), arguments=kept[0], statistics=kept[1],
                           meta=meta), len(folded), len(norms)


def without_workaround(bundle: Bundle) -> Bundle:
    """The `Bundle` with each BatchNorm on the array itself, which training must avoid."""
    graph = Graph(bundle.graph)
    remove_workaround(graph)
    return bundle._replace(graph=graph.to_bytes())


def remove_workaround(graph: Graph) -> None:
    """reshape_like(BatchNorm(reshape(x)), x) → BatchNorm(x), in place."""
    for node in graph.nodes():
        if node.op != 'reshape_like' or node.inputs[0][0].op != 'BatchNorm':
            continue
        norm, (x, _) = node.inputs[0][0], node.inputs[1]
        folding = norm.inputs[0][0]
        if (folding.op == 'Reshape' and folding.attr('shape', ()) == RESHAPED
                and folding.inputs[0] == (x, 0)):
            norm.inputs[0] = (x, 0)
            graph.replace(node, norm)


def _fold_one(graph: Graph, norm: Node, arguments: dict, statistics: dict) -> bool:
    """Fold a BatchNorm into the layer that it scales; False, and no change, where inexact."""
    layer = _layer_before(graph, norm)
    # Dense may keep other axes
    if layer is None or norm.attr('axis', 1) != 1 or not layer.attr('flatten', True):
        return False
    known = [source.name for node in (layer, norm) for source, _ in node.inputs[1:]]
    values = {**arguments, **statistics}
    if not values.keys() >= set(known):  # a weight that is computed
        return False
    gamma, beta, mean, variance = (values[source.name].astype(np.float64)
                                   for source, _ in norm.inputs[1:])
    if norm.attr('fix_gamma', True):
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + norm.attr('eps', 1e-3))
    weight = layer.inputs[1][0].name
    bias = arguments[layer.inputs[2][0].name] if len(layer.inputs) > 2 else 0
    if len(layer.inputs) == 2:
        layer.inputs.append((Node('null', f'{layer.name}_bias', {}, [], {}), 0))
        layer.attrs['no_bias'] = 'False'
    kernels = arguments[weight] * scale.reshape(-1, *[1] * (arguments[weight].ndim - 1))
    folded = {weight: kernels, layer.inputs[2][0].name: (bias - mean) * scale + beta}
    dtype = arguments[weight].dtype
    arguments.update({name: value.astype(dtype) for name, value in folded.items()})
    graph.replace(norm, norm.inputs[0][0])
    return True


def _layer_before(graph: Graph, norm: Node) -> Node | None:
    """The convolution or fully connected layer that `norm` can be folded into, or None."""
    readers, (source, _) = graph.readers(), norm.inputs[0]
    if len(readers[source]) != 1 or len(readers[norm]) < 1 or any(
            len(readers[variable]) != 1 for variable, _ in norm.inputs[1:]):
        return None
    layer = source if source.op in ('Convolution', 'FullyConnected') else _averaged(source)
    if layer is None or layer.op not in ('Convolution', 'FullyConnected'):
        return None
    # weights that are shared
    if any(len(readers[variable]) != 1 for variable, _ in layer.inputs[1:]):
        return None
    # Attention reads its values once, flattened; whoever takes only their shape does not mind.
    values = [reader for reader, index in readers[layer]
              if not (reader and reader.op == 'reshape_like' and index == 1)]
    return layer if len(values) == 1 and _leads_only_to(values[0], source, norm, readers) else None


def _leads_only_to(node: Node | None, end: Node, norm: Node, readers: dict) -> bool:
    """Whether all that `node`, which may be `norm` itself, feeds up to `end` is one chain."""
    while node is not None and node not in (end, norm):
        if len(readers[node]) != 1:
            return False
        node = readers[node][0][0]
    return node is not None


def _averaged(z: Node) -> Node | None:
    """The node whose columns those of `z` (N×m×positions) are weighted means of, or None."""
    if z.op == 'reshape_like':
        return _averaged(z.inputs[0][0])
    if z.op == 'Reshape' and z.attr('shape', ()) == (0, 0, -1):
        return z.inputs[0][0]
    if z.op != 'batch_dot' or z.attr('transpose_a', False):
        return None
    values, weights = (source for source, _ in z.inputs)
    if z.attr('transpose_b', False):
        return _averaged(values) if _sums_to_one(weights) else None  # Σ_j x_j w_ij, Eq. 4 and 5
    product = (weights.op == 'batch_dot' and weights.attr('transpose_a', False)
               and weights.attr('transpose_b', False))
    if product and all(_sums_to_one(source) for source, _ in weights.inputs):
        return _averaged(values)  # Σ_i x_i Σ_k b_ki v_jk, Eq. 7
    return None


def _sums_to_one(node: Node) -> bool:
    return node.op == 'softmax' and node.attr('axis', -1) == -1
