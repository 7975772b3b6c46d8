"""Opening runs and files, and what must be said of files without metadata."""
import cv2
import numpy as np
import pytest
import tiny_bundle
from loading import call

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import write_bundle
from gluon_a2.errors import UserError
from gluon_a2.nn import DoubleAttention
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
         "`pixels`, `std` or `scale`. GluonCV's ImageNet networks take `size` 224, `mean` 0.485,"),
    ({'size': 48, 'mean': MEAN, 'std': STD}, 'give `pixels`.'),
    ({'size': 48, 'mean': MEAN, 'pixels': 1}, 'give `std` or `scale`.')])
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


def dual_path(classes, side):
    """A small symbol in the layout of Dual Path Networks for inputs of 32 × `side`: its names, ε
    1e-3, grouped, sliced, concatenated and added paths, a last pool of a fixed window, and the
    softmax of Module."""
    def layer(x, name, filters, kernel=1, stride=1, groups=1):
        x = mx.sym.BatchNorm(x, fix_gamma=False, name=f'{name}__bn')
        x = mx.sym.Activation(x, act_type='relu', name=f'{name}__ac__relu')
        return mx.sym.Convolution(
            x, num_filter=filters, kernel=(kernel, kernel), stride=(stride, stride),
            pad=(kernel // 2, kernel // 2), num_group=groups, no_bias=True, name=f'{name}__conv')

    def halves(x, name, width):
        return [mx.sym.slice_axis(x, axis=1, begin=begin, end=end, name=f'{name}-split{i}')
                for i, (begin, end) in enumerate(((0, width), (width, width + 4)), 1)]

    def unit(paths, name, width, stride):
        x = mx.sym.Concat(*paths, name=f'{name}_cat-input')
        if stride > 1:
            called = f'{name}_c1x1-w(s/{stride})'
            paths = halves(layer(x, called, width + 4, stride=stride), called, width)
        x = layer(layer(x, f'{name}_c1x1-a', 8), f'{name}_c3x3-b', 8, 3, stride, groups=4)
        kept, new = halves(layer(x, f'{name}_c1x1-c', width + 4), f'{name}_c1x1-c', width)
        return [mx.sym.ElementWiseSum(paths[0], kept, name=f'{name}_sum'),
                mx.sym.Concat(paths[1], new, name=f'{name}_cat')]
    x = mx.sym.Convolution(mx.sym.var('data'), num_filter=8, kernel=(7, 7), stride=(2, 2),
                           pad=(3, 3), no_bias=True, name='conv1_x_1__conv')
    x = mx.sym.Pooling(x, pool_type='max', kernel=(3, 3), pad=(1, 1), stride=(2, 2), name='pool1')
    paths = halves(layer(x, 'conv2_x__1_c1x1-w(s/1)', 12), 'conv2_x__1_c1x1-w(s/1)', 8)
    for name, stride in (('conv2_x__2', 1), ('conv3_x__1', 2), ('conv4_x__1', 2),
                         ('conv5_x__1', 2)):
        paths = unit(paths, name, 8, stride)
    x = mx.sym.BatchNorm(mx.sym.Concat(*paths, name='conv5_x_x_cat-final'), fix_gamma=False,
                         name='conv5_x_x__relu-sp__bn')
    x = mx.sym.Activation(x, act_type='relu', name='conv5_x_x__relu-sp__relu')
    x = mx.sym.Pooling(x, pool_type='avg', kernel=(side, side), name='pool5')
    x = mx.sym.FullyConnected(mx.sym.Flatten(x, name='flatten'), num_hidden=classes, name='fc6')
    return mx.sym.SoftmaxOutput(x, name='softmax')


def save_dual_path(prefix):
    """Write it as Module does; a function of pixels to its probabilities."""
    module = mx.mod.Module(dual_path(3, 2), label_names=['softmax_label'])
    module.bind([('data', (1, 3, 64, 64))], [('softmax_label', (1,))])
    module.init_params(mx.init.Xavier(magnitude=3))
    module.save_checkpoint(str(prefix), 0)

    def answer(image):
        pixels = (image.transpose(2, 0, 1)[None] - np.reshape((124, 117, 104), (3, 1, 1))) * 0.0167
        module.forward(mx.io.DataBatch([mx.nd.array(pixels)], [mx.nd.zeros(1)]), is_train=False)
        return module.get_outputs()[0].asnumpy()[0]
    return answer


class Prepared(mx.gluon.HybridBlock):
    """A network behind its preprocessing, as `export_block` of GluonCV writes it unless told
    otherwise: inputs are N×H×W×3, from 0 to 255."""

    def __init__(self, net):
        super().__init__()
        with self.name_scope():
            self.mean, self.std = (self.params.get_constant(
                name, mx.nd.array(values).reshape((1, 1, 1, 3)) * 255)
                for name, values in (('init_mean', MEAN), ('init_scale', STD)))
            self.net = net

    def hybrid_forward(self, F, x, mean, std):
        x = F.broadcast_div(F.broadcast_minus(x, mean), std)
        return self.net(F.transpose(x, axes=(0, 3, 1, 2)))


def save_prepared(prefix):
    """The same of a network with a block, and preprocessing of its own."""
    net = mx.gluon.nn.HybridSequential()
    with net.name_scope():
        net.add(mx.gluon.nn.Conv2D(8, 3, strides=8), mx.gluon.nn.BatchNorm(),
                DoubleAttention(8, m=4, n=4), mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Dense(3))
    net = Prepared(net)
    net.initialize(mx.init.Xavier(magnitude=3))
    net.hybridize()
    net(mx.nd.zeros((1, 64, 64, 3)))
    net.export(str(prefix))
    return lambda image: net(mx.nd.array(image[None])).softmax().asnumpy()[0]


DPN = ['--mean', '124,117,104', '--scale', '0.0167', '--pixels', 255]
CV = ['--mean', '0.485,0.456,0.406', '--std', '0.229,0.224,0.225', '--pixels', 1]


@pytest.mark.parametrize('save, stated, free, folded', [
    (save_dual_path, DPN, 'batch', '8 of 17'), (save_prepared, CV, 'batch and size', '2 of 5')])
def test_files_of_others_work_in_all_forms(save, stated, free, folded, tmp_path):
    """Their own probabilities are those of `Classifier`: no softmax is taken twice."""
    answer, image = save(tmp_path / 'theirs'), data.photo_batch(1, data.Preprocessing(
        64, mean=(0, 0, 0), scale=(1, 1, 1)))[0].transpose(1, 2, 0).round().astype(np.uint8)
    expected = dict(zip('abc', answer(image)))
    assert 0.01 < max(expected.values()) < 0.999
    (tmp_path / 'names.txt').write_text('a\nb\nc\n')
    for name in 'abc':
        (tmp_path / 'val' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'val' / name / '1.png'), image[:, :, ::-1])
    said, _ = call('export.py', tmp_path / 'theirs', '--out', tmp_path / 'net', '--size', 64,
                   *stated, '--crop-ratio', 1, '--class-names', tmp_path / 'names.txt', '--fold',
                   '--onnx')
    assert f'{folded} BatchNorms folded' in said and f'dynamic {free};' in said
    best = max(expected, key=expected.get)
    for path in ('net', 'net.onnx'):
        found = dict(load.classifier(tmp_path / path).predict(image))
        assert found == pytest.approx(expected, abs=1e-5)
        said, _ = call('predict.py', '--model', tmp_path / path, tmp_path / 'val' / 'a' / '1.png')
        assert f'{best} {100 * expected[best]:.2f} %' in said
        said, _ = call('score.py', tmp_path / path, '--data-dir', tmp_path, '-j', 0)
        assert said.startswith('33.33 % top-1')
    said, err = call('visualize_attention.py', '--model', tmp_path / 'net', '--out',
                     tmp_path / 'seen', tmp_path / 'val' / 'a' / '1.png',
                     code=2 * (save is save_dual_path))
    assert 'page.html' in said or 'no double attention or non-local block to visualize' in err


def test_preprocessing_of_a_graph_is_the_one_that_is_stated(tmp_path):
    save_prepared(tmp_path / 'theirs')
    with pytest.raises(UserError, match='theirs prepares pixels itself, with `mean` 123.675,116.28,'
                                        '103.53 and `std` 58.395,57.12,57.375 of `pixels` 255'):
        load.load(tmp_path / 'theirs', stated=load.Stated(64, mean=MEAN, std=MEAN, pixels=1))


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
                                        'files of that name. Give .* runs/digits/export/'):
        use('A2_ResNet50')
    with pytest.raises(UserError, match='nothing-meta.json does not exist'):
        use('nothing')
    with pytest.raises(UserError, match='`checkpoint` best needs the folder of a run'):
        use('nothing', 'best')
