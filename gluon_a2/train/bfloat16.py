"""Training in bfloat16 on CPUs: the network's own graph, with casts in it.

Convolutions, and the BatchNorms, ReLUs, pools and sums behind them, read and write bfloat16, there
and back. Everything else is computed in float32: the blocks' products and softmaxes, the
classifier, and whatever MXNet could not do in bfloat16. The weights stay float32, and so do their
gradients and BatchNorm's statistics. Tests are in float32, as the exported network is.
"""
from __future__ import annotations

from ..backend import mx
from ..deploy.graph import Graph, Node
from ..deploy.precision import place_casts, quiet


def in_bfloat16(net: mx.gluon.HybridBlock) -> mx.gluon.SymbolBlock:
    """`net` (float32, on the CPU) as a network that computes in bfloat16 on the same parameters."""
    with mx.autograd.train_mode():  # as it is traced where it is trained in float32
        graph = _on_copies(net)
    place_casts(graph)
    return _network(graph, net)


def in_float32(net: mx.gluon.HybridBlock) -> mx.gluon.SymbolBlock:
    """`net` as a network to be tested while another in bfloat16 is trained."""
    return _network(_on_copies(net), net)


def _on_copies(net: mx.gluon.HybridBlock) -> Graph:
    """The graph of `net`, in which each weight is copied before it is read.

    In training, because `amp_cast` loses the gradient of a parameter to which gradients are added.
    In tests, because a test rewrites the weights that it reads into a layout of oneDNN's own, where
    `nag_mom_update` has another formula. Training in float32 takes that back, in bfloat16 it does
    not.
    """
    symbol = net(_pixels())
    weights, graph = set(symbol.list_arguments()) - {'data'}, Graph(symbol.tojson().encode())
    copies = {node: Node('_copy', f'{node.name}_copy', {}, [(node, 0)], {})
              for node in graph.nodes() if node.name in weights}
    for reader in graph.nodes():
        reader.inputs = [(copies.get(node, node), output) for node, output in reader.inputs]
    return graph


def _pixels() -> mx.sym.Symbol:
    return mx.sym.var('data', dtype='float32')


def _network(graph: Graph, net: mx.gluon.HybridBlock) -> mx.gluon.SymbolBlock:
    """The graph with the parameters of `net`."""
    symbol = mx.sym.load_json(graph.to_bytes().decode())
    return mx.gluon.SymbolBlock(symbol, _pixels(), net.collect_params())


def is_computed() -> bool:
    """Whether oneDNN computes bfloat16 on this CPU, which it is asked by a small convolution."""
    net = mx.gluon.nn.Conv2D(16, 3, in_channels=16)
    net.initialize()
    try:
        with quiet():
            in_bfloat16(net)(mx.nd.zeros((1, 16, 4, 4))).wait_to_read()
    except mx.MXNetError:
        return False
    return True
