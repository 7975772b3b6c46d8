"""Opening runs and files, and what must be said of files without metadata."""
import numpy as np
import pytest
import tiny_bundle
from loading import call

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import write_bundle
from gluon_a2.errors import UserError
from gluon_a2.run import load

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # GluonCV's, of pixels from 0 to 1
GLUONCV = load.Stated(size=48, mean=MEAN, std=STD, pixels=1, interpolation='bilinear')


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A pair as plain MXNet and GluonCV write it."""
    prefix = tmp_path_factory.mktemp('bare') / 'net'
    write_bundle(tiny_bundle.make('resnet26'), prefix)
    prefix.with_name('net-meta.json').unlink()
    return prefix


def test_gluoncvs_preprocessing_is_what_gluoncv_does(bare):
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    net = load.classifier(bare, stated=GLUONCV)
    theirs = ((image / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(net.preprocessing.normalise(image), theirs, atol=1e-5)
    assert (net.preprocessing.interpolation, net.preprocessing.crop_ratio) == ('bilinear', 0.875)
    assert net.classes == ('0', '1', '2')


@pytest.mark.parametrize('stated', [
    {'mean': (123.675, 116.28, 103.53), 'std': (58.395, 57.12, 57.375), 'pixels': 255},
    {'mean': MEAN, 'scale': tuple(1 / s for s in STD), 'pixels': 1}])
def test_the_same_in_other_units(bare, stated):
    found = load.Stated(size=48, interpolation='bilinear', **stated).preprocessing(bare)
    expected = GLUONCV.preprocessing(bare)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.scale, expected.scale)


def test_one_scale_is_for_all_channels(bare):
    found = load.Stated(size=48, mean=(1, 2, 3), scale=(0.5,), pixels=255).preprocessing(bare)
    assert (found.mean, found.scale) == ((1, 2, 3), (0.5, 0.5, 0.5))


@pytest.mark.parametrize('stated, sentence', [
    ({}, 'net has no metadata, so nothing says how its pixels are prepared: give `size`, `mean`, '
         "`pixels`, `std` or `scale`; GluonCV's ImageNet networks take `size` 224, `mean` 0.485,"),
    ({'size': 48, 'mean': MEAN, 'std': STD}, 'give `pixels`;'),
    ({'size': 48, 'mean': MEAN, 'pixels': 1}, 'give `std` or `scale`;')])
@pytest.mark.parametrize('use', [load.load, load.classifier])
def test_what_nothing_says_is_asked_for(bare, stated, sentence, use):
    with pytest.raises(UserError) as error:
        use(bare, stated=load.Stated(**stated))
    assert sentence in str(error.value)


@pytest.mark.parametrize('stated, sentence', [
    ({'mean': (1, 2)}, '`mean` must be three numbers'),
    ({'std': STD, 'scale': STD}, 'exclude each other'),
    ({'std': (1, 0, 1)}, '`std` must be above 0'),
    ({'pixels': 128}, '`pixels` must be one of 1, 255'),
    ({'interpolation': 'lanczos'}, '`interpolation` must be one of bicubic, bilinear'),
    ({'crop_ratio': 1.5}, '`crop_ratio` must be above 0 and at most 1')])
def test_what_cannot_be_said(stated, sentence):
    with pytest.raises(UserError, match=sentence):
        load.Stated(**stated)


def test_exporting_the_pair_writes_its_metadata(bare, tmp_path):
    write_bundle(load.load(bare, stated=GLUONCV), tmp_path / 'net')
    again, before = (load.classifier(tmp_path / 'net', engine='mxnet'),
                     load.classifier(bare, stated=GLUONCV))
    assert again.preprocessing == before.preprocessing
    pixels = data.photo_batch(2, again.preprocessing)
    np.testing.assert_array_equal(again.logits(pixels), before.logits(pixels))


def dual_path(classes):
    """A symbol in the manner of Dual Path Networks: grouped, sliced, concatenated and added paths,
    ε 1e-3, the classifier a convolution, and the softmax of Module at the end."""
    def layer(x, name, filters, side=1, **more):
        x = mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-3, name=f'{name}__bn')
        x = mx.sym.Activation(x, act_type='relu', name=f'{name}__relu')
        return mx.sym.Convolution(x, num_filter=filters, kernel=(side, side), no_bias=True,
                                  pad=(side // 2, side // 2), name=f'{name}__conv', **more)
    x = mx.sym.Convolution(mx.sym.var('data'), num_filter=8, kernel=(3, 3), stride=(2, 2),
                           pad=(1, 1), no_bias=True, name='conv1_x_1__conv')
    path = layer(x, 'conv2_w', 24)
    kept = [mx.sym.slice_axis(path, axis=1, begin=a, end=b) for a, b in ((0, 16), (16, 24))]
    unit = layer(layer(layer(x, 'conv2_a', 8), 'conv2_b', 8, 3, num_group=4), 'conv2_c', 24)
    new = [mx.sym.slice_axis(unit, axis=1, begin=a, end=b) for a, b in ((0, 16), (16, 24))]
    x = mx.sym.concat(kept[0] + new[0], kept[1], new[1], dim=1)
    x = mx.sym.Pooling(x, global_pool=True, pool_type='avg', kernel=(7, 7), name='pool5')
    x = mx.sym.Convolution(x, num_filter=classes, kernel=(1, 1), name='fc6')
    return mx.sym.SoftmaxOutput(mx.sym.Flatten(x), name='softmax')


def test_files_in_the_manner_of_dual_path_networks_work_in_all_forms(tmp_path):
    """Module's probabilities are those of `Classifier`: no softmax is taken twice."""
    module = mx.mod.Module(dual_path(3), label_names=['softmax_label'])
    module.bind([('data', (1, 3, 32, 32))], [('softmax_label', (1,))])
    module.init_params(mx.init.Xavier(magnitude=3))
    module.save_checkpoint(str(tmp_path / 'dpn'), 0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pixels = (image.transpose(2, 0, 1)[None] - np.reshape((124, 117, 104), (3, 1, 1))) * 0.0167
    module.forward(mx.io.DataBatch([mx.nd.array(pixels)], [mx.nd.zeros(1)]), is_train=False)
    expected = dict(zip('abc', module.get_outputs()[0].asnumpy()[0]))
    assert 0.01 < max(expected.values()) < 0.999
    (tmp_path / 'names.txt').write_text('a\nb\nc\n')
    said, _ = call('export.py', tmp_path / 'dpn', '--out', tmp_path / 'net', '--size', 32, '--mean',
                   '124,117,104', '--scale', '0.0167', '--pixels', 255, '--crop-ratio', 1,
                   '--class-names', tmp_path / 'names.txt', '--fold', '--onnx')
    assert '2 of 4 BatchNorms folded' in said
    for path in ('net', 'net.onnx'):
        found = dict(load.classifier(tmp_path / path).predict(image))
        assert found == pytest.approx(expected, abs=1e-5)


def test_files_with_metadata_say_it_themselves(tmp_path):
    write_bundle(tiny_bundle.make('resnet26'), tmp_path / 'net')
    for use, stated, sentence in (
            (load.classifier, GLUONCV, '`mean` is for files without metadata, and .*net says'),
            (load.load, load.Stated(size=64), '`size` is for files without metadata here')):
        with pytest.raises(UserError, match=sentence):
            use(tmp_path / 'net', stated=stated)
    assert load.classifier(tmp_path / 'net', stated=load.Stated(size=64)).size == 64


@pytest.mark.parametrize('use', [load.load, load.classifier])
def test_the_name_of_a_network_is_not_files(use):
    with pytest.raises(UserError, match='A2_ResNet50 is a network of the zoo, and there are no '
                                        'files of that name: give .* runs/demo/export/a2_resnet50'):
        use('A2_ResNet50')
    with pytest.raises(UserError, match='nothing-meta.json does not exist'):
        use('nothing')
    with pytest.raises(UserError, match='`checkpoint` best needs the folder of a run'):
        use('nothing', 'best')
