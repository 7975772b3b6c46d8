"""Few nodes for what MXNet's converter writes in many.

So every tool finds the ranks and sizes of what lies between, and old ones meet no operator that
computes a shape.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WRITTEN = 13  # the newest operator set that MXNet's converter knows
OPSET = 17  # by default: onnx's own evaluator and onnx2torch take BatchNorms of 13 for training's
DYNAMIC = 'all', 'batch'  # axes that are free, the first by default
BATCH = 3  # of an input by which shapes are inferred


def shorten(graph: Any) -> None:
    """Make one Transpose of the eleven nodes that stand for a transposed factor of a batch_dot.

    Its factors have three axes, always. The converter allows for more, and flattens what comes
    before the last two by shapes that it computes.
    """
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type != 'MatMul':
            continue
        for i, name in enumerate(node.input):
            last, transpose, first = (made.get(f'{name}{part}')
                                      for part in ('', '_3d_transpose', '_3d'))
            if last is None or transpose is None or first is None:
                continue
            transpose.input[0] = first.input[0]
            node.input[i] = transpose.output[0]
    drop_unread(graph)


def state_shapes(onnx: Any, graph: Any, shapes: dict[str, list[int]], fixed: bool) -> None:
    """Write down the shapes that Reshapes lead to; `shapes` are those of `infer_shapes`.

    `fixed` says that the batch alone is free. The shapes are then constants, in which the batch is
    what is left (-1). Else those that are computed are stated by their number of axes, the batch,
    and the channels, without which some tools find no rank behind them.
    """
    computed = {name for node in graph.node if node.op_type == 'Shape' for name in node.output}
    for node in graph.node:
        name, found = node.output[0], shapes.get(node.output[0], [])
        if node.op_type != 'Reshape' or not all(found) or found[:1] != [BATCH]:
            continue
        if fixed:
            node.input[1] = _constant(onnx, graph, f'{name}_shape', [-1, *found[1:]])
        elif node.input[1] in computed:
            graph.value_info.append(onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, ['batch', found[1], *[None] * len(found[2:])]))
    drop_unread(graph)


def pool_plainly(onnx: Any, graph: Any, shapes: dict[str, list[int]], fixed: bool) -> None:
    """Write what pools in 3-D by operators that all tools have; the arguments are as above.

    OpenCV 4 and 5 have no global average of five axes. MNN 3.6 computes wrong values, without a
    word, for that and for every window that is wider than one pixel. So the former is a mean, and
    where sizes are `fixed`, a maximum within frames is one of images whose channels are c·T.
    """
    for at, node in reversed(list(enumerate(graph.node))):
        if len(shapes.get(node.output[0], [])) != 5:
            continue
        if node.op_type == 'GlobalAveragePool':
            node.op_type = 'ReduceMean'
            node.attribute.extend(onnx.helper.make_attribute(*each)
                                  for each in (('axes', [2, 3, 4]), ('keepdims', 1)))
        elif node.op_type == 'MaxPool' and fixed:
            _pool_frames(onnx, graph, at, shapes)


def _pool_frames(onnx, graph, at, shapes):
    """Let the MaxPool at a place of `graph` work on N×cT×h×w, if its windows are of one frame."""
    node = graph.node[at]
    of_frames = {'kernel_shape': [1], 'strides': [1], 'pads': [0, 0], 'dilations': [1]}
    sizes = {each.name: each.ints for each in node.attribute if each.name in of_frames}
    if any(list(ints[::3]) != of_frames[name] for name, ints in sizes.items()):
        return
    for ints in sizes.values():
        del ints[::3]
    (_, c, frames, *sides), name = shapes[node.input[0]], node.output[0]
    shape = [_constant(onnx, graph, f'{name}_{part}', [-1, *values]) for part, values in (
        ('flat', (c * frames, *sides)), ('shape', shapes[name][1:]))]
    before, after = (onnx.helper.make_node('Reshape', [source, to], [out], out) for source, to, out
                     in ((node.input[0], shape[0], f'{name}_of'), (f'{name}_2d', shape[1], name)))
    node.input[0], node.output[0], node.name = f'{name}_of', f'{name}_2d', f'{name}_2d'
    graph.node.insert(at + 1, after)
    graph.node.insert(at, before)


def _constant(onnx, graph, name, values):
    """The name of a new initializer of integers."""
    graph.initializer.append(onnx.helper.make_tensor(
        name, onnx.TensorProto.INT64, [len(values)], values))
    return name


def infer_shapes(onnx: Any, model: Any, shape: Sequence[int]) -> dict[str, list[int]]:
    """{output of a node: its shape} for a batch of `BATCH` inputs of `shape`; 0 where an axis is
    not known."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    graph = sized.graph
    for dim, size in zip(graph.input[0].type.tensor_type.shape.dim, (BATCH, *shape)):
        dim.dim_value = size
    # the weights by their shapes: they would be copied each time
    graph.input.extend(onnx.helper.make_tensor_value_info(value.name, value.data_type, value.dims)
                       for value in graph.initializer
                       if value.data_type == onnx.TensorProto.FLOAT)
    keep(graph.initializer, lambda value: value.data_type != onnx.TensorProto.FLOAT)
    like = {node.output[0]: node.input[0] for node in graph.node if node.op_type == 'Shape'}
    while True:  # onnx does not follow a shape that was computed: one after the other is stated
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
                  for value in (*inferred.graph.value_info, *inferred.graph.output)}
        stated = [node for node in graph.node if node.op_type == 'Reshape'
                  and node.input[1] in like and all(shapes.get(like[node.input[1]]) or [0])]
        if not stated:
            return shapes
        for node in stated:
            found = shapes[like[node.input[1]]]
            node.input[1] = _constant(onnx, graph, f'{node.output[0]}_stated', found)


def drop_unread(graph: Any) -> None:
    """Take out the nodes and initializers that nothing reads."""
    read = {value.name for value in graph.output}
    for node in reversed(graph.node):  # they stand in the order in which they are computed
        if not read.isdisjoint(node.output):
            read.update(node.input)
    keep(graph.node, lambda node: not read.isdisjoint(node.output))
    keep(graph.initializer, lambda value: value.name in read)


def keep(repeated: Any, condition: Any) -> None:
    """Leave those of a list of protobuf's that meet a condition."""
    kept = [value for value in repeated if condition(value)]
    del repeated[:]
    repeated.extend(kept)
