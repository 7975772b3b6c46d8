"""A video network that starts from an image network: repeated kernels, and the same answer for a
still clip."""
import numpy as np
import pytest
from test_nn_oracle import randomize

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.models import get_model, inflate


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
            frames = {
                'conv1_conv_weight': 3, 'conv3_unit2_conv2_conv_weight': 1,
                'conv3_unit3_conv2_conv_weight': 3, 'conv5_unit1_conv2_conv_weight': 1,
                'conv5_unit2_conv2_conv_weight': 3, 'conv3_unit1_a2_phi_conv_weight': 1
            }.get(name, value.shape[2])
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


@pytest.mark.parametrize('image,video,sentence', [
    ('a2_resnet26', 'resnet26_3d', '^the video network has no conv3_unit1_a2_'),
    ('se_resnet26', 'a2_resnet26_3d', '^the video network has no conv2_unit1_se_'),
    ('resnet50', 'resnet26_3d', '^the video network has no conv2_unit3_'),
    ('resnet26', 'resnet50_3d', r'^conv1_conv_weight is \(16, 3, 5, 5\) in the image network and \(32, 3, 3, 5, 5\) in '
                                'the video network: give two networks of one backbone$')])
def test_networks_of_two_backbones_are_refused(image, video, sentence):
    source, _ = ready(image)
    target, before = ready(video, seed=2)
    with pytest.raises(UserError, match=sentence):
        inflate(source, target)
    for name, value in target.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(), before[name])  # nothing was half done


def test_a_refusal_leaves_the_video_network_as_it_was():
    """Here most weights fit, and the block's ratio does not."""
    source = get_model('a2_resnet26', classes=7, ratio=2)
    source.initialize()
    target, before = ready('a2_resnet26_3d', seed=2)
    with pytest.raises(UserError, match='^conv3_unit1_a2_phi_conv_weight is'):
        inflate(source, target)
    changed = [
        n for n, value in target.collect_params().items()
        if (value.data().asnumpy() != before[n]).any()
    ]
    assert changed == []
