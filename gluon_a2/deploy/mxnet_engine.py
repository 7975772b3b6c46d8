"""Exported networks in MXNet: float32, bfloat16 and INT8 alike, since the files say which they
are."""
import math

import numpy as np

from ..backend import mx
from ..errors import UserError
from ..formats.symbol import check_values, parse_symbol
from .graph import Graph


class MXNetEngine:
    """Pixels to logits by MXNet. `dtype` is what the network computes in where its files are
    float32: float64 is for checks.
    """

    def __init__(self, bundle, ctx=None, source=None, dtype='float32'):
        meta, self.ctx, self._dtype = bundle.meta, ctx or mx.cpu(), dtype
        source = source or meta['network']
        symbol = parse_symbol(bundle.graph if dtype == 'float32' else _retyped(bundle.graph),
                              source)
        self.classes = _classes(symbol, meta['input'], (1, *meta['input_shape']), source)
        self._network = mx.gluon.SymbolBlock(symbol, mx.sym.var(meta['input'], dtype=dtype))
        values = {name: _array(value, dtype) for name, value in bundle.values.items()}
        self._network.collect_params().load_dict(values, ctx=self.ctx, cast_dtype=True,
                                                 dtype_source='saved')
        self._network.hybridize(static_alloc=True, static_shape=True)

    def __call__(self, pixels):
        logits = self._network(mx.nd.array(pixels, self.ctx, dtype=self._dtype))
        return logits.asnumpy() if self._dtype == 'float64' else logits.astype('float32').asnumpy()


def check_sound(bundle, source):
    """`SymbolError` unless the arrays are those of the symbol: what hashes would say of files with
    metadata."""
    values = {
        f'{kind}:{name}': value
        for kind, group in (('arg', bundle.arguments), ('aux', bundle.statistics))
        for name, value in group.items()
    }
    check_values(parse_symbol(bundle.graph, source), values, source,
                 (1, *bundle.meta['input_shape']))


def _retyped(content):
    """The graph with its float32 variables declared float64."""
    graph = Graph(content)
    for node in graph.nodes():
        if node.op == 'null' and node.attrs.get('__dtype__') == '0':
            node.attrs['__dtype__'] = '1'
    return graph.to_bytes()


def _array(value, dtype):
    wide = dtype == 'float64' and value.dtype == np.float32
    return mx.nd.array(value, dtype='float64' if wide else value.dtype)


def _classes(symbol, name, shape, source):
    outputs = symbol.infer_shape(**{name: shape})[1]
    if len(outputs) != 1 or len(outputs[0]) != 2:
        raise UserError(f'{source} is not a classifier: its outputs are {outputs}, not one of '
                        'N×classes')
    return outputs[0][1]


def mean_max_pooled(bundle):
    """The `Bundle` with its pooling and classifier made convolutional, and mean-max pooling at the
    end."""
    meta, name = bundle.meta, bundle.meta['classifier']
    if meta['features'] is None or meta['precision'] != 'float32':
        raise UserError(f'{meta["network"]} cannot take mean-max pooling: it is for float32 files '
                        'of our own networks')
    window = tuple(
        math.ceil(side / stride) for side, stride in zip(meta['input_shape'][1:], meta['stride']))
    weight = bundle.arguments[f'{name}_weight']  # classes×C
    # N×C×h×w
    features = parse_symbol(bundle.graph, meta['network']).get_internals()[meta['features']]
    pooled = mx.sym.Pooling(features, pool_type='avg', kernel=window, stride=(1, 1))  # N×C×h'×w'
    maps = mx.sym.Convolution(pooled, mx.sym.var(f'{name}_weight'), mx.sym.var(f'{name}_bias'),
                              kernel=(1, 1), num_filter=weight.shape[0])  # N×classes×h'×w'
    mean, largest = (mx.sym.Pooling(maps, pool_type=kind, kernel=(1, 1), global_pool=True)
                     for kind in ('avg', 'max'))
    symbol = mx.sym.flatten((mean + largest) / 2)  # N×classes
    return bundle._replace(graph=symbol.tojson().encode(), arguments={
        **bundle.arguments, f'{name}_weight': weight.reshape((*weight.shape, 1, 1))})
