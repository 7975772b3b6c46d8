"""A float32 network as an ONNX file in INT8, by ONNX Runtime's converter: needs no MXNet to run."""
from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import quantization

from .bundle import Bundle
from .fold import fold
from .onnx import to_onnx
from .onnx_graph import DYNAMIC, OPSET
from .precision import quiet

# What is computed in INT8. The block's products and softmaxes are not among them.
OPERATORS = ['Conv', 'Gemm', 'Add', 'Relu', 'Clip', 'Concat', 'MaxPool', 'AveragePool',
             'GlobalAveragePool']
# As `precision` names them. What is rare is cut off by its share: ONNX Runtime's own entropy
# compares 128 steps with 128, and cuts nothing.
CALIBRATIONS = {'min-max': (quantization.CalibrationMethod.MinMax, {}),
                'entropy': (quantization.CalibrationMethod.Percentile, {'CalibPercentile': 99.99})}
BATCH = 8  # images at a time


def to_onnx_int8(bundle: Bundle, images: np.ndarray, calibration: str = 'min-max',
                 dynamic: str = DYNAMIC[0], opset: int = OPSET) -> bytes:
    """The ONNX file of the `Bundle` in INT8. `images` and `calibration` are those of
    `precision.to_int8`, where 'entropy' leaves out one value in 10,000 here; `dynamic` and `opset`
    are those of `to_onnx`.

    BatchNorms are folded first. Weights are stored in 8 bits, with a scale a channel. Operators
    stand in float32 between nodes that quantize and dequantize (QDQ), and a runtime fuses these.
    The classifier and what follows it are computed in float32, because 256 steps are too few to
    tell a thousand logits apart; its weights are stored in 8 bits, too.
    """
    import onnx
    folded = fold(bundle)[0]
    content = to_onnx(folded, dynamic, opset)
    last = _from_classifier(onnx.load_from_string(content))
    with tempfile.TemporaryDirectory() as folder, quiet():
        before, after = (Path(folder, name) for name in ('float32.onnx', 'int8.onnx'))
        before.write_bytes(content)
        method, more = CALIBRATIONS[calibration]
        quantization.quantize_static(
            str(before), str(after), _Batches(bundle.meta['input'], images),
            quant_format=quantization.QuantFormat.QDQ, op_types_to_quantize=OPERATORS,
            nodes_to_exclude=last, per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, calibrate_method=method,
            extra_options=more)
        model = onnx.load(str(after))
    _store_in_bytes(onnx, model.graph, last[0])
    onnx.helper.set_model_props(model, {'gluon_a2': json.dumps(
        {**folded.meta, 'precision': 'int8'}, ensure_ascii=False)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _from_classifier(model: Any) -> list[str]:
    """The names of the nodes from the last convolution or matrix product on."""
    nodes = model.graph.node
    last = max(i for i, node in enumerate(nodes) if node.op_type in ('Conv', 'Gemm'))
    return [node.name for node in nodes[last:]]


def _store_in_bytes(onnx: Any, graph: Any, name: str) -> None:
    """Store the weights of a node, classes×…, as int8 with a scale a class; nothing else of it."""
    at, node = next((i, node) for i, node in enumerate(graph.node) if node.name == name)
    stored = next(values for values in graph.initializer if values.name == node.input[1])
    weight = onnx.numpy_helper.to_array(stored)
    scale = np.abs(weight).reshape(len(weight), -1).max(1) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    by_class = scale.reshape(-1, *[1] * (weight.ndim - 1))
    parts = {'bytes': np.round(weight / by_class).astype(np.int8), 'scale': scale,
             'zero': np.zeros(len(weight), np.int8)}
    graph.initializer.remove(stored)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, f'{stored.name}_{part}')
                             for part, value in parts.items())
    graph.node.insert(at, onnx.helper.make_node(
        'DequantizeLinear', [f'{stored.name}_{part}' for part in parts], [stored.name],
        f'{stored.name}_float32', axis=0))


class _Batches(quantization.CalibrationDataReader):
    """The images, a few at a time, as the converter asks for them."""

    def __init__(self, name: str, images: np.ndarray):
        self._rest = iter([{name: images[i:i + BATCH]} for i in range(0, len(images), BATCH)])

    def get_next(self) -> Any:
        """{input: float32 N×3×(T×)H×W}, or None at the end."""
        return next(self._rest, None)
