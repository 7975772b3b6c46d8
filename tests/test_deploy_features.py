"""What enters the classifier, of every engine and form, against the classifier itself."""
import sys

import numpy as np
import pytest
import tiny_bundle

from gluon_a2.backend import mx
from gluon_a2.data import Preprocessing
from gluon_a2.deploy import engines, precision
from gluon_a2.deploy.bundle import write_bundle
from gluon_a2.deploy.features import with_features
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.deploy.onnx import to_onnx
from gluon_a2.errors import UserError

pytestmark = pytest.mark.usefixtures('tiny_zoo')
PIXELS = np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)


def logits_of(bundle, features):
    return features @ bundle.arguments['fc_weight'].T + bundle.arguments['fc_bias']


@pytest.fixture(scope='module')
def bundle(tiny_zoo):
    return tiny_bundle.make('a2_tiny')


@pytest.mark.parametrize('form, error', [
    ('float32', 1e-5), pytest.param('bf16', 1e-5, marks=tiny_bundle.avx512), ('int8', 0.1)])
def test_the_classifier_makes_the_logits_of_them(bundle, form, error):
    made = {'float32': lambda: bundle, 'bf16': lambda: precision.to_bf16(bundle),
            'int8': lambda: precision.to_int8(bundle, PIXELS)}[form]()
    engine = engines.start(made, features=True)
    logits = engine(PIXELS)
    assert engine.features.shape == (2, 16) and engine.features.dtype == np.float32
    np.testing.assert_allclose(logits_of(bundle, engine.features), logits, rtol=0,
                               atol=error * np.abs(logits).max())
    np.testing.assert_array_equal(engines.start(made)(PIXELS), logits)


def test_onnx_gives_the_same(bundle, tmp_path):
    pytest.importorskip('onnxruntime')
    write_bundle(bundle, tmp_path / 'net', to_onnx(bundle))
    found = [engines.start(engines.find(tmp_path / 'net', engine), features=True)
             for engine in ('mxnet', 'onnxruntime')]
    for engine in found:
        engine(PIXELS)
    np.testing.assert_allclose(found[1].features, found[0].features, rtol=1e-4, atol=1e-5)


def test_onnx_files_need_onnx_for_it(bundle, tmp_path, monkeypatch):
    write_bundle(bundle, tmp_path / 'net', to_onnx(bundle))
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(UserError, match='the `features` of an .onnx file need onnx: pip install'):
        engines.start(engines.find(tmp_path / 'net', 'onnxruntime'), features=True)


def test_a_classifier_that_is_a_convolution(tmp_path):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(5, 3, in_channels=3), mx.gluon.nn.Activation('relu'),
            mx.gluon.nn.Dropout(0.5), mx.gluon.nn.Conv2D(4, 1, in_channels=5, use_bias=False),
            mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Flatten())
    net.initialize(mx.init.Normal(1))
    made = from_gluon(net, 'conv', 'abcd', Preprocessing(8), {'data': 'none'})
    pixels = PIXELS[:, :, :8, :8]
    write_bundle(made, tmp_path / 'net', to_onnx(made))
    for name in ('mxnet', 'onnxruntime'):
        engine = engines.start(engines.find(tmp_path / 'net', name), features=True)
        logits = engine(pixels)
        weight = net[3].weight.data().asnumpy()[:, :, 0, 0]
        np.testing.assert_allclose(engine.features @ weight.T, logits, rtol=1e-4, atol=1e-5)


def test_logits_out_of_two_layers_have_none():
    data = mx.sym.var('data')
    both = [mx.sym.FullyConnected(data, num_hidden=2, name=name) for name in 'ab']
    with pytest.raises(UserError, match='net has no layer that its logits come out of alone'):
        with_features((both[0] + both[1]).tojson().encode(), 'net')
