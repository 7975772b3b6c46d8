"""Weights from a file or another network: what is taken, what is inflated, and what is refused."""
import re
from pathlib import Path

import numpy as np
import pytest
from test_nn_oracle import randomize

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.formats import params
from gluon_a2.models import get_model, inflate, load_weights


def ready(name, seed=1, classes=7):
    net = get_model(name, classes=classes)
    net.initialize()
    return net, randomize(net, seed)


def first_stage(net, x):
    """The map after conv2: the stem's convolution, BN-ReLU and pool, then its three units."""
    for child in list(net.features._children.values())[:6]:
        x = child(x)
    return x.asnumpy()


def test_a_still_clip_gives_what_its_frame_gives():
    """conv1 and three units of k = 3 see four frames either side, so of 11 frames 4 to 6 are free
    of the padding."""
    image, _ = ready('resnet50')
    video, _ = ready('resnet50_3d', seed=2)
    assert inflate(image, video) == []
    frame = np.random.RandomState(3).normal(size=(2, 3, 33, 29))
    expected = first_stage(image, mx.nd.array(frame))
    clip = first_stage(video, mx.nd.array(np.repeat(frame[:, :, None], 11, axis=2)))
    assert expected.shape == (2, 256, 9, 8) and clip.shape == (2, 256, 11, 9, 8)
    for t in (4, 5, 6):
        np.testing.assert_allclose(clip[:, :, t], expected, rtol=0,
                                   atol=1e-5 * np.abs(expected).max())
    # the edge does see the padding
    assert np.abs(clip[:, :, 0] - expected).max() > 0.01 * np.abs(expected).max()


def test_kernels_are_repeated_and_divided():
    image, p = ready('a2_resnet50')
    video, _ = ready('a2_resnet50_3d', seed=2)
    assert inflate(image, video) == []
    values = {name: value.data().asnumpy() for name, value in video.collect_params().items()}
    assert values.keys() == p.keys()
    for name, value in values.items():
        if name.endswith('conv_weight'):
            frames = {'conv1_conv_weight': 3, 'conv3_unit2_conv2_conv_weight': 1,
                      'conv3_unit3_conv2_conv_weight': 3, 'conv5_unit1_conv2_conv_weight': 1,
                      'conv5_unit2_conv2_conv_weight': 3,
                      'conv3_unit1_a2_phi_conv_weight': 1}.get(name, value.shape[2])
            assert value.shape == (*p[name].shape[:2], frames, *p[name].shape[2:])
            for t in range(frames):
                np.testing.assert_allclose(value[:, :, t] * frames, p[name], rtol=1e-6,
                                           err_msg=name)
        else:
            np.testing.assert_array_equal(value, p[name].astype('float32'), err_msg=name)


def test_new_blocks_and_another_classifier_are_left_as_they_were():
    image, p = ready('resnet26', classes=3)
    video, before = ready('a2_resnet26_3d', seed=2)
    left = inflate(image, video)
    assert sorted(left) == sorted([n for n in before if '_a2_' in n]
                                  + ['fc_bias', 'fc_weight']) and len(left) == 82
    for name in left:
        np.testing.assert_array_equal(video.collect_params()[name].data().asnumpy(), before[name])
    moved = video.collect_params()['conv4_unit2_conv3_bn_running_var'].data().asnumpy()
    np.testing.assert_array_equal(moved, p['conv4_unit2_conv3_bn_running_var'])


def misfits(weights, target):
    """(lacking, unknown, of another shape), from the names and shapes of two networks alone."""
    flat = {name: p.shape[:2] + p.shape[3:] if len(p.shape) == 5 else p.shape
            for name, p in target.items()}
    return (len(set(flat) - set(weights)), len(set(weights) - set(flat)),
            sum(weights[name].shape != flat[name] for name in set(weights) & set(flat)
                if not name.startswith('fc_')))  # a classifier may be new


@pytest.mark.parametrize('image,video,first', [
    ('a2_resnet26', 'resnet26_3d', 'conv3_unit1_a2_phi_bn_gamma is unknown'),
    ('se_resnet26', 'a2_resnet26_3d', 'conv2_unit1_se_squeeze_conv_weight is unknown'),
    ('resnet50', 'resnet26_3d', 'conv2_unit3_bn_gamma is unknown'),
    ('resnet26', 'resnet50_3d', 'conv2_unit3_bn_gamma is lacking')])
def test_networks_of_two_backbones_are_refused(image, video, first):
    source, _ = ready(image)
    target, before = ready(video, seed=2)
    lacking, unknown, shapes = misfits(source.collect_params(), target.collect_params())
    if video == 'a2_resnet26_3d':
        lacking = 0  # blocks may be new
    with pytest.raises(UserError) as caught:
        inflate(source, target)
    assert str(caught.value).startswith(
        f'the image network does not fit {video}: {lacking} arrays are lacking, {unknown} unknown, '
        f'{shapes} of another shape ({first}; ')
    assert str(caught.value).endswith(f'; and {lacking + unknown + shapes - 10} more); give '
                                      'weights of one backbone, with no other blocks')
    for name, value in target.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(), before[name])  # nothing was half done


def test_a_refusal_leaves_the_video_network_as_it_was():
    """Here most weights fit, and the block's ratio does not."""
    source = get_model('a2_resnet26', classes=7, ratio=2)
    source.initialize()
    target, before = ready('a2_resnet26_3d', seed=2)
    with pytest.raises(UserError, match=r'0 arrays are lacking, 0 unknown, 32 of another shape '
                                        r'\(conv3_unit1_a2_phi_conv_weight is \(128, 256, 1, 1\), '
                                        r'not \(64, 256, 1, 1, 1\); '):
        inflate(source, target)
    changed = [n for n, value in target.collect_params().items()
               if (value.data().asnumpy() != before[n]).any()]
    assert changed == []


# ---- files

def small(name='resnet26', **options):
    net = get_model(name, classes=5, **options)
    net.initialize()
    return net, randomize(net, 1)


def outputs(net, size=(32, 32)):
    return net(mx.nd.array(np.random.RandomState(4).normal(size=(2, 3, *size)))).asnumpy()


def saved_by_export(net, path):
    net.hybridize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.export(str(path / 'net'))
    return path / 'net-0000.params'


def saved_by_names(net, path):
    net.collect_params().save(str(path / 'net.params'))
    return path / 'net.params'


def saved_by_structure(net, path):
    net.save_parameters(str(path / 'net.params'))
    return path / 'net.params'


@pytest.mark.parametrize('save, kind', [(saved_by_export, str), (saved_by_names, Path),
                                        (saved_by_structure, str)])
def test_pretrained_is_a_file_exported_or_saved_by_gluon(tmp_path, save, kind):
    net, p = small('a2_resnet26')
    again = get_model('A2_ResNet26', pretrained=kind(save(net, tmp_path)), classes=5)
    assert {name: value.data().asnumpy().tolist() for name, value in again.collect_params().items()
            if 'bn' in name} == {name: value.tolist() for name, value in p.items() if 'bn' in name}
    np.testing.assert_array_equal(outputs(again), outputs(small('a2_resnet26')[0]))
    assert [value.list_ctx() for value in again.collect_params().values()] == [[mx.cpu()]] * len(p)


def test_pretrained_goes_to_the_context_asked_for(tmp_path):
    path = saved_by_names(small()[0], tmp_path)
    net = get_model('resnet26', pretrained=path, classes=5, ctx=mx.cpu(1))
    assert {context for value in net.collect_params().values()
            for context in value.list_ctx()} == {mx.cpu(1)}


@pytest.mark.parametrize('name,classes,sentence', [
    ('a2_resnet26', 5, '80 arrays are lacking, 0 unknown, 0 of another shape '
                       '(conv3_unit1_a2_phi_bn_gamma is lacking; '),
    ('resnet26', 7, '0 arrays are lacking, 0 unknown, 2 of another shape (fc_weight is (5, 1024), '
                    'not (7, 1024); fc_bias is (5,), not (7,)); give `classes` 5, as it has, or '
                    'let the classifier start anew'),
    ('resnet50', 5, '120 arrays are lacking, 0 unknown, 134 of another shape '
                    '(conv2_unit3_bn_gamma is lacking; ')])
def test_weights_of_another_network_are_refused(tmp_path, name, classes, sentence):
    path = saved_by_names(small()[0], tmp_path)
    with pytest.raises(UserError) as caught:
        get_model(name, pretrained=path, classes=classes)
    assert str(caught.value).startswith(f'{path} does not fit {name}: {sentence}')


def test_blocks_alone_that_are_lacking_may_start_anew(tmp_path):
    path = saved_by_names(small()[0], tmp_path)
    with pytest.raises(UserError, match=r"; and 70 more\); choose a network without blocks, or let "
                                        r"them start anew: load_weights\(net, path, "
                                        r"new=\('blocks',\)\)$"):
        get_model('a2_resnet26', pretrained=path, classes=5)
    net = get_model('a2_resnet26', classes=5)
    assert len(load_weights(net, path, new=('blocks',))) == 80  # it is initialized then
    np.testing.assert_array_equal(net.fc.weight.data().asnumpy(),
                                  small()[1]['fc_weight'].astype('float32'))


@pytest.mark.parametrize('name', ['a2_resnet26', 'se_resnet26', 'nl_resnet26_3d'])
def test_blocks_start_anew_beside_weights_saved_by_structure(tmp_path, name):
    """Blocks shift the numbers that Gluon's structure gives to the units after them."""
    plain, p = small()
    path = saved_by_structure(plain, tmp_path)
    net = get_model(name, classes=5)
    new = [key for key in net.collect_params() if key not in p]
    with pytest.raises(UserError, match=rf'{len(new)} arrays are lacking, 0 unknown, 0 of .* start '
                                        'anew'):
        load_weights(net, path)
    assert load_weights(net, path, new=('blocks',)) == new and new
    for key, value in p.items():
        found = net.collect_params()[key].data().asnumpy()
        wanted = value if found.ndim < 5 else np.repeat(
            value[:, :, None], found.shape[2], axis=2) / found.shape[2]
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=key)


@pytest.mark.parametrize('weight,bias,way_out', [
    ((), (5,), 'let'), (None, None, 'let'),
    ((3, 1024), (3,), 'give `classes` 3, as it has, or let'), ((3, 1024), (4,), 'let'),
    ((3, 2048), (3,), 'give `classes` 3, as it has, or let')])
def test_a_classifier_that_does_not_fit_may_start_anew(weight, bias, way_out):
    values = {**small()[1], 'fc_weight': weight, 'fc_bias': bias}
    values = {name: np.zeros(value) if isinstance(value, tuple) else value
              for name, value in values.items() if value is not None}
    net = get_model('resnet26', classes=5)
    with pytest.raises(UserError, match=rf"\)\); {way_out} the classifier start anew: load_weights"
                                        r"\(net, path, new=\('classifier',\)\)$"
                       if weight is not None else 'let the classifier start anew'):
        load_weights(net, values)
    left = load_weights(net, values, new=('classifier',))
    assert set(left) <= {'fc_weight', 'fc_bias'} and 'fc_weight' in left


def test_weights_with_too_much_are_refused(tmp_path):
    path = saved_by_names(small('a2_resnet26')[0], tmp_path)
    with pytest.raises(UserError, match=r'0 arrays are lacking, 80 unknown, 0 of another shape '
                                        r'\(conv3_unit1_a2_phi_bn_gamma is unknown; '):
        get_model('resnet26', pretrained=path, classes=5)


def test_halves_are_widened(tmp_path):
    """Of `.params` files as of PyTorch's; bfloat16 is the upper half of a float32."""
    net, p = small()
    upper = {name: value.astype('float32').view('<u4') >> 16 for name, value in p.items()}
    (tmp_path / 'net.params').write_bytes(params.to_bytes(
        {f'arg:{name}': value.astype('<u2').view(params.BFLOAT16)
         for name, value in upper.items()}))
    load_weights(net, tmp_path / 'net.params')
    for name, value in net.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(),
                                      (upper[name].astype('<u4') << 16).view('float32'))


@pytest.mark.parametrize('content', [
    b'', b'<!DOCTYPE html><html><body>404 Not Found</body></html>' * 9, b'\x00' * 100],
    ids=['empty', 'html', 'zeros'])
def test_a_file_that_is_no_weights_is_refused(tmp_path, content):
    path = tmp_path / 'net.params'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} is not a sound .params file: it '
                                        '.*export it again$'):
        get_model('resnet26', pretrained=path)


def test_arrays_without_names_are_refused(tmp_path):
    path = tmp_path / 'net.params'
    mx.nd.save(str(path), [mx.nd.ones((2, 3))])
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} '):
        get_model('resnet26', pretrained=path)


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(UserError, match=f'^the weights {re.escape(str(tmp_path))} cannot be read: '
                                        'Is a directory$'):
        get_model('resnet26', pretrained=tmp_path)
