"""An exported network as an ONNX file: one file that runs without MXNet.

Input `data`, float32 N×3×H×W or N×3×T×H×W, preprocessed as the metadata says; output `logits`,
N×classes. The batch and the sizes are dynamic, as far as the network takes others. The file carries
the metadata under the key `gluon_a2`.
"""
from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import mx
from ..errors import UserError, install_extra
from ..formats.symbol import parse_symbol
from ..legacy import onnx_mapping
from .bundle import Bundle, require_float32
from .fold import without_workaround

OPSET = 13  # the newest that MXNet's converter knows
IR_VERSION = 7  # the oldest that goes with it, for the sake of older runtimes
AXES = {4: ('height', 'width'), 5: ('frames', 'height', 'width')}


def to_onnx(bundle: Bundle) -> bytes:
    """The ONNX file of a float32 `Bundle`; UserError without onnx, or for what ONNX lacks."""
    try:
        import onnx
    except ImportError as error:
        raise UserError(f'writing ONNX files needs onnx: {install_extra("onnx")}') from error
    require_float32(bundle)
    bundle = without_workaround(bundle)  # their reshape has no counterpart
    shape = (1, *bundle.meta['input_shape'])
    values = {name: mx.nd.array(value) for name, value in bundle.values.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'network.onnx')
        try:
            with _opset(onnx), onnx_mapping(onnx):
                mx.onnx.export_model(parse_symbol(bundle.graph, bundle.meta['network']), values,
                                     [shape], [np.float32], path, dynamic=True,
                                     dynamic_input_shapes=[(None, 3) + (None, ) * (len(shape) - 2)])
        # what the converter raises of what it lacks
        except (AttributeError, NotImplementedError) as error:
            raise UserError(f'{bundle.meta["network"]} cannot be written as ONNX, which lacks one '
                            f'of its operators: {" ".join(map(str, error.args))}') from error
        model = onnx.load(path)
    _describe(model, onnx, bundle.meta, len(shape))
    onnx.checker.check_model(model)
    return model.SerializeToString()


@contextlib.contextmanager
def _opset(onnx: Any) -> Iterator[None]:
    """Let MXNet's converter check what it writes by the set it writes, not by onnx's newest."""
    context, version = onnx.checker.DEFAULT_CONTEXT, onnx.defs.onnx_opset_version
    imports = context.opset_imports
    context.opset_imports, onnx.defs.onnx_opset_version = {'': OPSET}, lambda: OPSET
    try:
        yield
    finally:
        context.opset_imports, onnx.defs.onnx_opset_version = imports, version


def _describe(model: Any, onnx: Any, meta: dict, axes: int) -> None:
    """State the operator set, the names of input, output and axes, and the metadata."""
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid('', OPSET))
    model.producer_name = 'gluon_a2'
    model.doc_string = f'{meta["network"]}: logits of preprocessed pixels'
    model.metadata_props.add(key='gluon_a2', value=json.dumps(meta, ensure_ascii=False))
    graph = model.graph
    known = {value.name for value in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    _keep(graph.input, lambda value: value.name not in known)  # the converter lists the weights too
    _keep(graph.initializer, lambda value: value.name in read)  # and numbers that nothing needs
    names = dict(zip(range(2, axes), AXES[axes])) if not meta.get('fixed') else {}
    for axis, dim in enumerate(graph.input[0].type.tensor_type.shape.dim):
        if axis == 0:
            dim.dim_param = 'batch'
        elif axis > 1 and axis in names:
            dim.dim_param = names[axis]
        else:
            dim.dim_value = (1, *meta['input_shape'])[axis]
    last = graph.output[0].name
    for node in graph.node:
        node.output[:] = ['logits' if name == last else name for name in node.output]
        node.name = node.output[0]  # the converter names some alike, and some not at all
    graph.output[0].name = 'logits'
    batch, classes = graph.output[0].type.tensor_type.shape.dim
    batch.dim_param, classes.dim_value = 'batch', len(meta['classes'])


def _keep(repeated: Any, condition: Callable[[Any], bool]) -> None:
    kept = [value for value in repeated if condition(value)]
    del repeated[:]
    repeated.extend(kept)

