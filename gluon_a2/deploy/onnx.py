"""An exported network as an ONNX file: one file that runs without MXNet.

Input `data`, float32 N×3×H×W or N×3×T×H×W, preprocessed as the metadata says; output `logits`,
N×classes. The batch is dynamic, and so are the sizes where they are wanted and the network takes
others. The file carries the metadata under the key `gluon_a2`.
"""
from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import mx
from ..errors import UserError, install_extra
from ..formats.symbol import parse_symbol
from ..legacy import onnx_mapping
from .bundle import Bundle, require_float32
from .fold import without_workaround
from .graph import Graph
from .onnx_graph import (
    DYNAMIC,
    OPSET,
    WRITTEN,
    infer_shapes,
    keep,
    pool_plainly,
    shorten,
    state_shapes,
)

AXES = {4: ('height', 'width'), 5: ('frames', 'height', 'width')}


def to_onnx(bundle: Bundle, dynamic: str = DYNAMIC[0], opset: int = OPSET) -> bytes:
    """The ONNX file of a float32 `Bundle` in the operator set `opset`, 13 or later.

    With `dynamic` 'batch', inputs are of the network's own size, all shapes are constants, and no
    operator computes one, as old or small runtimes need it. UserError without onnx, for what ONNX
    lacks, and for a set that the installed onnx does not know.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(f'writing ONNX files needs onnx: {install_extra("onnx")}') from error
    require_float32(bundle)
    if dynamic not in DYNAMIC:
        raise UserError(f'`dynamic` must be one of {", ".join(DYNAMIC)}, not {dynamic!r}')
    newest = onnx.defs.onnx_opset_version()
    if not WRITTEN <= opset <= newest:
        raise UserError(f'`opset` must be from {WRITTEN} to {newest}, the newest that onnx '
                        f'{onnx.__version__} knows, not {opset}')
    bundle, joined = _readable(without_workaround(bundle))  # their reshapes have no counterpart
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
    shorten(model.graph)
    fixed = joined or dynamic == 'batch' or bool(bundle.meta.get('fixed'))
    _describe(model, onnx, bundle.meta, fixed)
    shapes = infer_shapes(onnx, model, bundle.meta['input_shape'])
    state_shapes(onnx, model.graph, shapes, fixed)
    pool_plainly(onnx, model.graph, shapes, fixed)
    if opset != WRITTEN:
        model = _converted(onnx, model, opset)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _readable(bundle: Bundle) -> tuple[Bundle, bool]:
    """The `Bundle` as the converter reads it rightly, and whether it now takes its own size only.

    ConvNet+LSTM's frames are joined to the batch by a constant shape. Where `flatten` is not said,
    as symbols of Module leave it, the converter takes the default for False.
    """
    graph, fixed = Graph(bundle.graph), False
    for node in graph.nodes():
        if node.op == 'FullyConnected':
            node.attrs.setdefault('flatten', 'True')
        elif node.op == 'Reshape' and node.attr('shape', ()) == (-3, 0, 0, 0):
            channels, _, *sides = bundle.meta['input_shape']
            node.attrs['shape'], fixed = str((-1, channels, *sides)), True
    return bundle._replace(graph=graph.to_bytes()), fixed


def _converted(onnx: Any, model: Any, opset: int) -> Any:
    """The model in another operator set."""
    try:
        model = onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:
        raise UserError(f'onnx cannot convert {model.doc_string} to operator set {opset} '
                        f'({next(iter(str(error).splitlines()), "")}): give `opset` {WRITTEN}'
                        ) from error
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    return model


@contextlib.contextmanager
def _opset(onnx: Any) -> Iterator[None]:
    """Let MXNet's converter check what it writes by the set it writes, not by onnx's newest."""
    context, version = onnx.checker.DEFAULT_CONTEXT, onnx.defs.onnx_opset_version
    imports = context.opset_imports
    context.opset_imports, onnx.defs.onnx_opset_version = {'': WRITTEN}, lambda: WRITTEN
    try:
        yield
    finally:
        context.opset_imports, onnx.defs.onnx_opset_version = imports, version


def _describe(model: Any, onnx: Any, meta: dict, fixed: bool) -> None:
    """State the operator set, the names of input, output and axes, and the metadata."""
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid('', WRITTEN))
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)  # for old runtimes
    model.producer_name = 'gluon_a2'
    model.doc_string = f'{meta["network"]}: logits of preprocessed pixels'
    model.metadata_props.add(key='gluon_a2', value=json.dumps(meta, ensure_ascii=False))
    graph = model.graph
    known = {value.name for value in graph.initializer}
    keep(graph.input, lambda value: value.name not in known)  # the converter lists the weights too
    axes = len(meta['input_shape']) + 1
    names = {} if fixed else dict(zip(range(2, axes), AXES[axes]))
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

