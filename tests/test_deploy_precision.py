import json
from collections import Counter

import numpy as np
import pytest
from tiny_bundle import avx512

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier, read_bundle, write_bundle
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.deploy.mxnet_engine import MXNetEngine
from gluon_a2.deploy.precision import _rounded, to_bf16, to_int8
from gluon_a2.errors import UserError
from gluon_a2.formats.params import BFLOAT16
from gluon_a2.run import network

# non-local blocks consist of the same operators as A²
MODELS = ['a2_resnet26', 'a2_resnet26_3d', 'se_resnet26_3d']
NAMES = list('0123456789')


def bundle_of(model):
    return network.from_zoo(model, class_names=NAMES,
                            input_size=32 if model.endswith('3d') else 48)


def photos(bundle, count):
    return data.photo_batch(count, data.Preprocessing.from_meta(bundle.meta))


def operators(bundle):
    return Counter(node['op'] for node in json.loads(bundle.graph)['nodes'] if node['op'] != 'null')


@pytest.mark.parametrize('precision, tolerance, share', [
    pytest.param('bfloat16', 0.15, 0.55, marks=avx512), ('int8', 0.3, 1.05)])
@pytest.mark.parametrize('model', MODELS)
def test_both_forms_are_written_read_back_and_say_much_the_same(model, precision, tolerance, share,
                                                                tmp_path):
    bundle = bundle_of(model)
    pixels = photos(bundle, 5)
    expected = MXNetEngine(bundle)(pixels)
    converted = to_bf16(bundle) if precision == 'bfloat16' else to_int8(bundle, pixels)
    assert write_bundle(converted, tmp_path / 'form') < share * write_bundle(bundle,
                                                                             tmp_path / 'net')
    read = read_bundle(tmp_path / 'form')
    assert read.meta['precision'] == precision
    logits = MXNetEngine(read)(pixels)
    assert logits.dtype == np.float32 and np.array_equal(logits, MXNetEngine(converted)(pixels))
    gap = np.abs(logits - expected).max() / np.abs(expected).max()
    assert 1e-4 < gap < tolerance  # none at all would mean that nothing was converted


@avx512
def test_module_gives_the_same_bits_where_it_folds_nothing(tmp_path, monkeypatch):
    """By default it lets oneDNN fold BatchNorms, whose weights are rounded to bfloat16 again."""
    bundle = to_bf16(bundle_of('a2_resnet26'))
    write_bundle(bundle, tmp_path / 'net')
    pixels = photos(bundle, 2)

    def logits():
        module = mx.mod.Module.load(str(tmp_path / 'net'), 0, label_names=None)
        module.bind([('data', pixels.shape)], for_training=False)
        module.forward(mx.io.DataBatch([mx.nd.array(pixels)]), is_train=False)
        return module.get_outputs()[0].asnumpy()
    folded = logits()
    monkeypatch.setenv('MXNET_SUBGRAPH_BACKEND', 'NONE')
    np.testing.assert_array_equal(logits(), MXNetEngine(bundle)(pixels))
    assert not np.array_equal(folded, logits())


def test_bfloat16_is_the_nearest_upper_half():
    values = np.array([1.0, -2.5, 3.1415927, 1 + 2**-8, 1 + 3 * 2**-8, 1e-40, 3.0e38], np.float32)
    halves = _rounded(values)
    assert halves.dtype == BFLOAT16
    back = (halves.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    # 8 bits: π is 3.140625; a tie goes to the even neighbour, down to 1 and up to 1 + 4/256.
    assert back[:5].tolist() == [1.0, -2.5, 3.140625, 1.0, 1 + 4 * 2 ** -8]
    # of others it cuts the lower half off
    theirs = mx.nd.array(values[:2]).astype(BFLOAT16).asnumpy()
    np.testing.assert_array_equal(theirs.view(np.uint16), halves.view(np.uint16)[:2])


def test_what_is_bfloat16_and_what_stays_float32():
    bundle = bundle_of('a2_resnet26')
    converted = to_bf16(bundle)
    half = {name for name, value in converted.arguments.items() if value.dtype == BFLOAT16}
    assert half == {name for name in bundle.arguments
                    if 'conv' in name.rsplit('_', 2)[-2] and name.endswith('_weight')}
    assert not {value.dtype for value in converted.statistics.values()} - {np.dtype('float32')}
    nodes = json.loads(converted.graph)['nodes']
    for node in nodes:
        if node['op'] in ('softmax', 'batch_dot', 'FullyConnected'):  # nothing feeds them bfloat16
            sources = [nodes[source[0]] for source in node['inputs']]
            assert all(
                source['op'] != 'Convolution' and source.get('attrs', {}).get('dtype') != 'bfloat16'
                for source in sources), node['name']


def test_int8_is_oneDNNs_and_says_how_it_was_calibrated():
    bundle = bundle_of('a2_resnet26')
    converted = to_int8(bundle, photos(bundle, 3))
    assert converted.meta['calibration'] == {'kind': 'min-max', 'samples': 3}
    assert operators(converted)['_sg_mkldnn_conv'] == operators(bundle)['Convolution']


def test_entropy_gives_other_ranges():
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, activation='relu', in_channels=3),
            mx.gluon.nn.Conv2D(8, 3, in_channels=8), mx.gluon.nn.GlobalAvgPool2D(),
            mx.gluon.nn.Dense(10, in_units=8))
    net.initialize(mx.init.Xavier())
    bundle = from_gluon(net, 'small', NAMES, data.Preprocessing(48))
    graphs = [json.loads(to_int8(bundle, photos(bundle, 8), kind).graph)
              for kind in ('min-max', 'entropy')]
    ranges = [[node['attrs'].get('max_calib_range') for node in graph['nodes']
               if node['op'] == '_sg_mkldnn_conv'] for graph in graphs]
    assert ranges[0] != ranges[1]


def test_mistakes_are_sentences():
    bundle = bundle_of('resnet26')
    with pytest.raises(UserError, match="unknown calibration 'median': choose one of min-max, "
                                        "entropy"):
        to_int8(bundle, photos(bundle, 1), 'median')
    with pytest.raises(UserError, match='resnet26 is in bfloat16 already: start from float32 '
                                        'files'):
        to_int8(to_bf16(bundle), photos(bundle, 1))
    with pytest.raises(UserError, match='mean-max pooling: it is for float32 files'):
        Classifier(to_bf16(bundle), mean_max=True)
