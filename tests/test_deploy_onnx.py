import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bundle

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import engines, onnx_graph, parity
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.deploy.mxnet_engine import MXNetEngine
from gluon_a2.deploy.onnx import OPSET, to_onnx
from gluon_a2.errors import UserError
from gluon_a2.models import baselines, get_model
from gluon_a2.run import network

NAMES = ['nought', 'one', 'two', 'three', 'four', 'five', 'six']
# docs/operators.md of onnx-tensorrt for TensorRT 8.4, read and not run, has these in float32, Conv
# and MaxPool in 2-D and 3-D, and the weights of Conv as initializers.
TENSORRT = {'Add', 'BatchNormalization', 'Conv', 'Flatten', 'Gemm', 'GlobalAveragePool', 'MatMul',
            'MaxPool', 'Mul', 'ReduceMean', 'Relu', 'Reshape', 'Shape', 'Sigmoid', 'Softmax',
            'Transpose'}


pytestmark = pytest.mark.usefixtures('tiny_zoo')


@pytest.fixture(autouse=True)
def quiet():
    """MXNet's converter tells the root logger of each layer."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def export(model, size=32):
    bundle = network.from_zoo(model, class_names=NAMES, input_size=size)
    return bundle, to_onnx(bundle)


@pytest.mark.parametrize('model', ['tiny_pooled_3d', *(
    f'{kind}tiny{dims}' for kind in ('a2_', 'nl_', 'se_') for dims in ('', '_3d'))])
def test_every_kind_of_network_says_the_same_in_onnx_runtime(model):
    """At two sizes and batches, none of which the file was written for. The whole zoo is in
    proofs/export_zoo.py."""
    bundle, content = export(model)
    mxnet, other = MXNetEngine(bundle), engines.OnnxFile(content, bundle.meta)
    for batch, side in ((1, 47), (3, 32)):
        preprocessing = (data.ClipPreprocessing(side, frames=6) if model.endswith('_3d') else
                         data.Preprocessing(side))
        pixels = data.photo_batch(batch, preprocessing)
        expected = mxnet(pixels)
        assert expected.shape == (batch, 7) and expected.std() > 0
        assert parity.relative_gap(other(pixels), expected) < parity.TOLERANCE


def test_frames_that_are_joined_to_the_batch(monkeypatch):
    """ConvNet+LSTM, here with one convolution for a ResNet, takes its own size only, and any batch.
    """
    monkeypatch.setattr(baselines, 'ResNet', lambda row, classes: SimpleNamespace(
        features=mx.gluon.nn.Conv2D(2048, 3, 16, in_channels=3),
        pool=mx.gluon.nn.GlobalAvgPool2D()))
    net = get_model('convnet_lstm', classes=7, input_size=(3, 32, 32))
    net.initialize(mx.init.Xavier())
    bundle = from_gluon(net, 'convnet_lstm', NAMES, data.ClipPreprocessing(32, frames=3))
    content = to_onnx(bundle)
    assert {(gap.batch, gap.size) for gap in parity.onnx_gaps(bundle, content)} == {(1, 32),
                                                                                    (2, 32)}


def test_what_the_file_says_of_itself():
    import onnx
    bundle, content = export('a2_tiny_3d')
    model = onnx.load_from_string(content)
    assert [(opset.domain, opset.version)
            for opset in model.opset_import] == [('', OPSET)] == [('', 17)]
    assert model.ir_version == 8
    (fed,), (said,) = model.graph.input, model.graph.output
    shapes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (fed, said)]
    assert (fed.name, shapes[0]) == ('data', ['batch', 3, 'frames', 'height', 'width'])
    assert (said.name, shapes[1]) == ('logits', ['batch', 7])
    assert json.loads({entry.key: entry.value
                       for entry in model.metadata_props}['gluon_a2']) == bundle.meta
    read = {name for node in model.graph.node for name in node.input}
    assert {value.name for value in model.graph.initializer} <= read
    onnx.checker.check_model(model, full_check=True)


def ranks(onnx, model):
    """{output of a node: number of its axes}, as far as onnx infers them."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.graph.value_info
            if value.type.tensor_type.HasField('shape')}


@pytest.mark.parametrize('model, dynamic, opset', [
    ('a2_tiny', 'all', 13), ('a2_tiny', 'all', 17), ('a2_tiny', 'batch', 13),
    ('a2_tiny', 'batch', 20), ('nl_tiny_3d', 'all', 17), ('nl_tiny_3d', 'batch', 18),
    ('se_tiny', 'batch', 17), ('a2_tiny none', 'batch', 17),
    ('a2_tiny gather', 'all', 17), ('a2_tiny distribute', 'all', 13)])
def test_every_form_says_the_same_and_states_its_ranks(model, dynamic, opset):
    """In ONNX Runtime, and in onnx's own evaluator, which takes a BatchNorm of 13 for training's.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator
    name, _, softmax = model.partition(' ')
    bundle = (tiny_bundle.make(name, tiny_bundle.IMAGE, softmax=softmax) if softmax
              else network.from_zoo(name, class_names=NAMES, input_size=32))
    content = to_onnx(bundle, dynamic, opset)
    loaded = onnx.load_from_string(content)
    assert loaded.opset_import[0].version == opset
    axes = len(bundle.meta['input_shape']) + 1
    known = ranks(onnx, loaded)
    for node in loaded.graph.node:
        if node.op_type in ('Conv', 'BatchNormalization', 'MatMul'):
            assert known[node.output[0]] == (3 if node.op_type == 'MatMul' else axes)
    kinds, weights = ({node.op_type for node in loaded.graph.node},
                      {value.name for value in loaded.graph.initializer})
    assert kinds <= TENSORRT | {'Constant'} and kinds.isdisjoint(
        {*(['Shape'] if dynamic == 'batch' else []), *(['GlobalAveragePool'] if axes == 5 else [])})
    assert all(node.input[1] in weights for node in loaded.graph.node if node.op_type == 'Conv')
    pixels = data.photo_batch(2, data.Preprocessing.from_meta(bundle.meta))
    expected = MXNetEngine(bundle)(pixels)
    assert parity.relative_gap(engines.OnnxFile(content, bundle.meta)(pixels),
                               expected) < parity.TOLERANCE
    if opset > 13:
        (said,) = ReferenceEvaluator(loaded).run(None, {'data': pixels})
        assert parity.relative_gap(said, expected) < parity.TOLERANCE


@pytest.mark.parametrize('window, becomes', [((1, 3, 5), 4), ((2, 3, 5), 5)])
@pytest.mark.parametrize('fixed', [True, False])
def test_pools_of_videos_are_written_as_every_tool_has_them(window, becomes, fixed):
    """Windows of one frame in 2-D, where sizes are fixed, and the global average as a mean."""
    import onnx
    from onnx.reference import ReferenceEvaluator
    inputs, outputs = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (None, 3, *sides))
        for name, sides in (('data', (5, 7, 11)), ('logits', (1, 1, 1))))
    nodes = [onnx.helper.make_node('Relu', ['data'], ['x']),
             onnx.helper.make_node('MaxPool', ['x'], ['pool'], kernel_shape=window,
                                   strides=(1, 2, 3), pads=(0, 1, 2) * 2),
             onnx.helper.make_node('GlobalAveragePool', ['pool'], ['logits'])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, 'pools', [inputs], [outputs]),
        opset_imports=[onnx.helper.make_opsetid('', onnx_graph.WRITTEN)])
    pixels = np.random.default_rng(0).normal(size=(2, 3, 5, 7, 11)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {'data': pixels})
    shapes = onnx_graph.infer_shapes(onnx, model, (3, 5, 7, 11))
    onnx_graph.pool_plainly(onnx, model.graph, shapes, fixed)
    onnx.checker.check_model(model, full_check=True)
    known, kinds = ranks(onnx, model), [node.op_type for node in model.graph.node]
    (pool,) = (node.output[0] for node in model.graph.node if node.op_type == 'MaxPool')
    assert known[pool] == (becomes if fixed else 5) and 'GlobalAveragePool' not in kinds
    (said,) = ReferenceEvaluator(model).run(None, {'data': pixels})
    np.testing.assert_allclose(said, expected, rtol=1e-5, atol=1e-6)


def test_a_file_of_one_size_refuses_others():
    bundle = network.from_zoo('a2_tiny', class_names=NAMES, input_size=32)
    content = to_onnx(bundle, 'batch')
    engine = engines.OnnxFile(content, bundle.meta)
    with pytest.raises(UserError, match='the ONNX file of a2_tiny takes inputs of 3×32×32 '
                                        'only, not 3×48×48: export it again'):
        engine(data.photo_batch(1, data.Preprocessing(48)))
    import cv2
    assert engine.fixed and not cv2.dnn.readNetFromONNX(
        np.frombuffer(content, np.uint8)).empty()


def test_unknown_axes_are_refused():
    bundle = network.from_zoo('tiny', class_names=NAMES, input_size=32)
    with pytest.raises(UserError, match='`dynamic` must be one of all, batch, not .height.'):
        to_onnx(bundle, 'height')


@pytest.mark.parametrize('opset', [12, 999])
def test_unknown_operator_sets_are_refused(opset):
    bundle = network.from_zoo('tiny', class_names=NAMES, input_size=32)
    with pytest.raises(UserError, match=f'`opset` must be from 13 to .*, not {opset}'):
        to_onnx(bundle, opset=opset)


def test_onnx_itself_is_left_as_it_was():
    import onnx
    before = onnx.defs.onnx_opset_version(), dict(onnx.checker.DEFAULT_CONTEXT.opset_imports)
    export('tiny')
    assert (onnx.defs.onnx_opset_version(), dict(
        onnx.checker.DEFAULT_CONTEXT.opset_imports)) == before


def test_an_operator_that_onnx_lacks_is_a_sentence():
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(4, 3, in_channels=3),
            mx.gluon.nn.HybridLambda(lambda F, x: F.reshape(x, (0, 0, -3))),
            mx.gluon.nn.Dense(7, in_units=4 * 30 * 30))
    net.initialize()
    bundle = from_gluon(net, 'odd', NAMES, data.Preprocessing(32))
    with pytest.raises(UserError, match='odd cannot be written as ONNX, which lacks one of its op'):
        to_onnx(bundle)
