"""Exported networks in MXNet: float32, bfloat16 and INT8 alike, as their files say."""
from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..backend import mx
from ..data import Preprocessing
from ..errors import UserError
from ..formats.symbol import check_values, infer_shapes, parse_symbol
from .bundle import Bundle, describe, read_pair, require_float32
from .features import pooled, with_features
from .fold import fold
from .graph import Graph

NO_BFLOAT16 = 'MXNet computes bfloat16 only on CPUs with AVX-512, which this one lacks'


class MXNetEngine:
    """Pixels to logits by MXNet.

    `dtype` is what the network computes in where its files are float32: float64 is for checks.
    `features` is as in `engines.start`. `fused`, for float32 on the CPU: BatchNorms are folded, and
    oneDNN computes a convolution with the sum and the ReLU behind it at once; the logits differ by
    rounding.
    """

    def __init__(self, bundle: Bundle, ctx: mx.Context | None = None, source: str | None = None,
                 dtype: str = 'float32', features: bool = False, fused: bool = False):
        if fused:
            require_float32(bundle)
            bundle = fold(bundle)[0]
        meta, self.ctx, self._dtype = bundle.meta, ctx or mx.cpu(), dtype
        source = source or meta['network']
        self._precision, self._input, self._symbol = meta['precision'], meta['input'], parse_symbol(
            bundle.graph if dtype == 'float32' else _retyped(bundle.graph), source)
        self.classes = count_classes(self._symbol, self._input, (1, *meta['input_shape']), source)
        self.features: np.ndarray | None = None
        symbol = self._symbol
        if features:
            symbol = parse_symbol(with_features(bundle.graph, source), source)
        if fused:
            symbol = symbol.get_backend_symbol('MKLDNN')
        self._network = mx.gluon.SymbolBlock(symbol, mx.sym.var(self._input, dtype=dtype))
        values = {name: mx.nd.array(value, dtype=dtype if value.dtype == np.float32 else
                                    value.dtype) for name, value in bundle.values.items()}
        self._network.collect_params().load_dict(values, ctx=self.ctx, cast_dtype=True,
                                                 dtype_source='saved')
        self._network.hybridize(static_alloc=True, static_shape=True)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 N×classes (float64 where that is computed) of float32 N×3×(T×)H×W."""
        try:
            logits = self._network(mx.nd.array(pixels, self.ctx, dtype=self._dtype))
            if isinstance(logits, (list, tuple)):
                logits, inner = logits
                self.features = pooled(inner.astype('float32').asnumpy())
            return (logits if self._dtype == 'float64' else logits.astype('float32')).asnumpy()
        except mx.MXNetError as error:
            if self._precision != 'bfloat16' or 'primitive' not in str(error):
                raise
            raise UserError(f'{NO_BFLOAT16}: use the float32 files') from error

    def memory(self, shape: Sequence[int]) -> int:
        """Bytes that one input of `shape`, 3×(T×)H×W, needs on its way through the network."""
        return peak_memory(self._symbol, self._input, (1, *shape))


def open_bare(prefix: Path, preprocessing: Preprocessing) -> Bundle:
    """The `Bundle` of a pair of files without metadata, or of a .tar; its classes are numbers.

    A softmax at its end, as networks of Module have, is taken off. So is preprocessing at its
    front, as GluonCV's export_block writes it. UserError where that is another than is stated.

    `SymbolError` unless the arrays are those of the symbol: what hashes say of files with metadata.
    """
    name = prefix.stem if prefix.suffix == '.tar' else prefix.name
    bundle = read_pair(prefix, describe(name, (), preprocessing))
    graph = Graph(parse_symbol(bundle.graph, str(prefix)).tojson().encode())
    (last, _), *others = graph.heads
    if last.op in ('SoftmaxOutput', 'softmax') and not others:
        graph.heads = last.inputs[:1]
    _take_off_preprocessing(graph, bundle.arguments, preprocessing, str(prefix))
    bundle = bundle._replace(graph=graph.to_bytes())
    symbol, shape = parse_symbol(bundle.graph, str(prefix)), (1, *preprocessing.input_shape)
    values = {f'{kind}:{name}': value
              for kind, group in (('arg', bundle.arguments), ('aux', bundle.statistics))
              for name, value in group.items()}
    check_values(symbol, values, str(prefix), shape)
    count = count_classes(symbol, 'data', shape, str(prefix))
    return bundle._replace(meta={
        **bundle.meta, 'classes': list(map(str, range(count))),
        'fixed': not _takes_larger(symbol, bundle, count),
        'memory': peak_memory(symbol, 'data', shape)})


def _take_off_preprocessing(graph, arguments, preprocessing, source):
    """Let the network begin behind (x − mean) / std and the transposing of x, N×H×W×3."""
    for node in graph.nodes():
        chain = [node]
        while len(chain) < 4 and chain[-1].inputs:
            chain.append(chain[-1].inputs[0][0])
        if [each.op for each in chain] != ['transpose', 'broadcast_div', 'broadcast_sub', 'null']:
            continue
        mean, std = (arguments.pop(each.inputs[1][0].name, np.zeros(3)).ravel()
                     for each in (chain[2], chain[1]))
        if not (np.allclose(mean, preprocessing.mean, rtol=1e-3)
                and np.allclose(std * preprocessing.scale, 1, rtol=1e-3)):
            raise UserError(f'{source} prepares pixels itself, with `mean` {_listed(mean)} and '
                            f'`std` {_listed(std)} of `pixels` 255: state the same')
        graph.replace(node, chain[3])


def _listed(values):
    return ','.join(f'{value:g}' for value in values)


def _takes_larger(symbol: mx.sym.Symbol, bundle: Bundle, count: int) -> bool:
    """Whether an input of twice the size gives `count` logits, too.

    The last pool of Dual Path Networks has a window of its own, so theirs does not.
    """
    channels, *sides = bundle.meta['input_shape']
    shapes = {name: value.shape for name, value in bundle.values.items()}
    try:
        return infer_shapes(symbol, data=(1, channels, *(2 * side for side in sides)),
                            **shapes)[1] == [(1, count)]
    except UserError:
        return False


def count_classes(symbol: mx.sym.Symbol, name: str, shape: Sequence[int], source: str) -> int:
    """The number of logits that `symbol` gives for its input `name` of `shape`, or UserError."""
    outputs = _output_shapes(symbol, name, shape)
    if len(outputs) != 1 or len(outputs[0]) != 2:
        raise UserError(f'{source} is not a classifier: its outputs are {outputs}, not one of '
                        'N×classes')
    return outputs[0][1]


def _output_shapes(symbol: mx.sym.Symbol, name: str, shape: Sequence[int]) -> list[tuple]:
    """UserError where the network cannot take the shape."""
    try:
        return infer_shapes(symbol, **{name: tuple(shape)})[1]
    except UserError as error:
        raise UserError('the network cannot take an input of '
                        f'{"×".join(map(str, shape[1:]))}: {error}') from error


def peak_memory(symbol: mx.sym.Symbol, name: str, shape: Sequence[int]) -> int:
    """The most bytes that arrays take together while `symbol` reads its input `name` of `shape`.

    An array lives from the node that writes it to the last that reads it, as MXNet plans memory.
    Weights are not counted, and nor is what a node needs for itself.
    """
    internals = symbol.get_internals()
    graph = json.loads(internals.tojson())
    sizes: dict[int, int] = {}  # of the outputs of a node, bytes
    for (index, *_), output in zip(graph['heads'], _output_shapes(internals, name, shape)):
        node = graph['nodes'][index]
        if node['op'] != 'null' or node['name'] == name:
            sizes[index] = sizes.get(index, 0) + 4 * math.prod(output)
    last = {source: i for i, node in enumerate(graph['nodes']) for source, *_ in node['inputs']}
    alive = peak = 0
    for i, node in enumerate(graph['nodes']):
        alive += sizes.get(i, 0)
        peak = max(peak, alive)
        alive -= sum(sizes.get(source, 0) for source in {source for source, *_ in node['inputs']}
                     if last[source] == i)
    return peak


def _retyped(content: bytes) -> bytes:
    """The graph with its float32 variables declared float64."""
    graph = Graph(content)
    for node in graph.nodes():
        if node.op == 'null' and node.attrs.get('__dtype__') == '0':
            node.attrs['__dtype__'] = '1'
    return graph.to_bytes()


def mean_max_pooled(bundle: Bundle) -> Bundle:
    """The `Bundle` with a convolution as its classifier, and mean-max pooling at the end."""
    meta, name = bundle.meta, bundle.meta['classifier']
    if meta['features'] is None or meta['precision'] != 'float32':
        raise UserError(f'{meta["network"]} cannot take mean-max pooling: it is for float32 files '
                        'of our own networks')
    window = tuple(math.ceil(side / stride)
                   for side, stride in zip(meta['input_shape'][1:], meta['stride']))
    weight = bundle.arguments[f'{name}_weight']  # classes×C
    internals = parse_symbol(bundle.graph, meta['network']).get_internals()
    features = internals[meta['features']]  # N×C×h×w
    pooled = mx.sym.Pooling(features, pool_type='avg', kernel=window, stride=(1, 1))  # N×C×h'×w'
    maps = mx.sym.Convolution(pooled, mx.sym.var(f'{name}_weight'), mx.sym.var(f'{name}_bias'),
                              kernel=(1, 1), num_filter=weight.shape[0])  # N×classes×h'×w'
    mean, largest = (mx.sym.Pooling(maps, pool_type=kind, kernel=(1, 1), global_pool=True)
                     for kind in ('avg', 'max'))
    symbol = mx.sym.flatten((mean + largest) / 2)  # N×classes
    return bundle._replace(graph=symbol.tojson().encode(), arguments={
        **bundle.arguments, f'{name}_weight': weight.reshape((*weight.shape, 1, 1))})
