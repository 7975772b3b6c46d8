"""What enters the classifier, as another output of an exported network.

The classifier is the last layer with weights, found from the logits backwards over operators that
have no other input. What enters a convolution is averaged over its positions.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UserError, install_extra
from .graph import Graph, Node

LAYERS = ('FullyConnected', 'Convolution', '_sg_mkldnn_fully_connected', '_sg_mkldnn_conv')
ONNX_LAYERS = ('Gemm', 'MatMul', 'Conv')
ONNX_BESIDE = ('Add', 'Reshape')  # the bias of a product, a shape: their second input is a number
FOUND_NOT = ('{} has no layer that its logits come out of alone, so its features are unknown: '
             'leave `features` out')


def with_features(graph: bytes, name: str) -> bytes:
    """A symbol's JSON with the features as its second output; UserError where it has none."""
    network = Graph(graph)
    (node, output), = network.heads
    while node.op not in LAYERS:
        inner = [source for source in node.inputs if source[0].op != 'null'
                 and source[0] is not node.inputs[0][0]]
        if node.op == 'null' or inner or not node.inputs:
            raise UserError(FOUND_NOT.format(name))
        node, output = node.inputs[0]
    source, output = node.inputs[0]
    if source.op.startswith('_contrib_quantize'):  # in INT8, with its range
        ranges = [(source, 0), (source, 1), (source, 2)]
        source, output = Node('_contrib_dequantize', 'features', {}, ranges, {}), 0
    network.heads.append((source, output))
    return network.to_bytes()


def onnx_with_features(content: bytes, name: str) -> tuple[bytes, str]:
    """(an ONNX file with the features as its second output, the name of that); UserError without
    the package onnx, or where it has none."""
    try:
        import onnx
    except ImportError as error:
        raise UserError('the `features` of an .onnx file need onnx: '
                        f'{install_extra("onnx")}') from error
    model = onnx.load_from_string(content)
    made = {output: node for node in model.graph.node for output in node.output}
    known = {value.name for value in model.graph.initializer}
    node: Any = made[model.graph.output[0].name]
    while node.op_type not in ONNX_LAYERS:
        inner = [source for source in node.input if source and source not in known
                 and (node.op_type not in ONNX_BESIDE or source in made
                      and made[source].op_type != 'Constant')]
        if len(inner) != 1 or inner[0] not in made:
            raise UserError(FOUND_NOT.format(name))
        node = made[inner[0]]
    features = node.input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(features, 1, None))
    return model.SerializeToString(), features


def pooled(features: np.ndarray) -> np.ndarray:
    """float32 N×numbers of what enters a classifier, N×numbers(×positions)."""
    features = np.asarray(features, np.float32)
    return features.reshape(*features.shape[:2], -1).mean(axis=2)
