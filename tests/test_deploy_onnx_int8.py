"""ONNX in INT8: what is quantized, how far the logits move, and that nothing else is needed."""
import json

import numpy as np
import pytest
import tiny_bundle

from gluon_a2 import data
from gluon_a2.deploy.engines import OnnxFile
from gluon_a2.deploy.onnx import to_onnx
from gluon_a2.deploy.onnx_int8 import to_onnx_int8
from gluon_a2.deploy.precision import to_int8
from gluon_a2.errors import UserError

onnx = pytest.importorskip('onnx')
pytestmark = pytest.mark.usefixtures('tiny_zoo')


@pytest.fixture(scope='module', params=['a2_tiny', 'a2_tiny_3d'])
def made(request, tiny_zoo):
    """(bundle, pixels, its ONNX file, the same in INT8)."""
    recipe = tiny_bundle.VIDEO if request.param.endswith('3d') else tiny_bundle.IMAGE
    bundle = tiny_bundle.make(request.param, recipe)
    draw = np.random.default_rng(1)
    pixels = draw.normal(size=(6, *bundle.meta['input_shape'])).astype('float32')
    return bundle, pixels, to_onnx(bundle), to_onnx_int8(bundle, pixels)


def test_logits_stay_near(made):
    bundle, pixels, plain, quantized = made
    expected, found = (OnnxFile(content, bundle.meta)(pixels) for content in (plain, quantized))
    apart = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-6 < apart < 0.2


def test_convolutions_are_in_bytes_and_products_are_not(made):
    quantized = made[3]
    graph = onnx.load_from_string(quantized).graph
    types = {values.name: values.data_type for values in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    kinds = [node.op_type for node in graph.node]
    assert kinds.count('MatMul') > 0 and kinds.count('Softmax') > 0
    last = next(node for node in reversed(graph.node) if node.op_type in ('Conv', 'Gemm'))
    for node in graph.node:
        weight = made_by.get(node.input[1]) if node.op_type in ('Conv', 'Gemm') else None
        if node.op_type in ('Conv', 'Gemm'):
            assert weight.op_type == 'DequantizeLinear'
            assert types[weight.input[0]] == onnx.TensorProto.INT8
            quantizes = node.input[0] in made_by and made_by[
                node.input[0]].op_type == 'DequantizeLinear'
            assert quantizes == (node.name != last.name)
        elif node.op_type in ('MatMul', 'Softmax'):
            assert all(made_by[name].op_type != 'DequantizeLinear' or node.op_type == 'MatMul'
                       for name in node.input)
    said = {prop.key: prop.value for prop in onnx.load_from_string(quantized).metadata_props}
    assert json.loads(said['gluon_a2'])['precision'] == 'int8'


def test_its_form_is_the_one_asked_for():
    bundle = tiny_bundle.make('a2_tiny')
    pixels = np.zeros((2, *bundle.meta['input_shape']), 'float32')
    content = to_onnx_int8(bundle, pixels, dynamic='batch', opset=13)
    assert onnx.load_from_string(content).opset_import[0].version == 13
    assert OnnxFile(content, bundle.meta).fixed


def test_the_classifier_is_stored_in_bytes_with_a_scale_a_class():
    """A weight is at most half a step of its class off, by hand."""
    bundle = tiny_bundle.make('resnet26')
    content = to_onnx_int8(bundle, np.zeros((2, *bundle.meta['input_shape']), 'float32'))
    assert len(content) < 0.5 * sum(value.nbytes for value in bundle.values.values())
    graph = onnx.load_from_string(content).graph
    stored = {values.name: onnx.numpy_helper.to_array(values) for values in graph.initializer}
    weight = bundle.arguments['fc_weight']
    (name,) = (node.output[0] for node in graph.node if node.op_type == 'DequantizeLinear'
               and node.input[0].endswith('_bytes'))
    restored = stored[f'{name}_bytes'] * stored[f'{name}_scale'][:, None]
    step = np.abs(weight).max(1, keepdims=True) / 127
    assert (np.abs(restored - weight) <= 0.5001 * step).all()
    np.testing.assert_allclose(np.abs(stored[f'{name}_bytes']).max(1), 127)


def test_entropy_cuts_what_is_rare():
    bundle = tiny_bundle.make('resnet26')
    pixels = data.photo_batch(8, data.Preprocessing(bundle.meta['input_shape'][-1]))
    scales = []
    for calibration in ('min-max', 'entropy'):
        graph = onnx.load_from_string(to_onnx_int8(bundle, pixels, calibration)).graph
        stored = {values.name: onnx.numpy_helper.to_array(values) for values in graph.initializer}
        scales.append({name: value for name, value in stored.items()
                       if name.endswith('_scale') and value.ndim == 0})
    assert scales[0].keys() == scales[1].keys()
    ratios = [float(scales[1][name] / scales[0][name]) for name in scales[0]]
    assert max(ratios) < 1.001 and min(ratios) < 0.9


def test_what_is_no_float32_network_is_refused():
    bundle = tiny_bundle.make('tiny')
    pixels = np.zeros((2, *bundle.meta['input_shape']), 'float32')
    with pytest.raises(UserError, match='is in int8 already: start from float32 files'):
        to_onnx_int8(to_int8(bundle, pixels), pixels)
