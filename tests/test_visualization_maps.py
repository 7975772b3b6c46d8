import cv2
import numpy as np
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Bundle, Classifier
from gluon_a2.deploy.fold import fold
from gluon_a2.errors import UserError
from gluon_a2.nn import DoubleAttention
from gluon_a2.visualization import Attention, BlockAttention, attend, attention_maps


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def pixels(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.fixture(scope='module')
def image_bundle():
    return tiny_bundle.make('a2_resnet26')


@pytest.mark.parametrize('model, recipe, shape, sizes', [
    ('a2_resnet26', tiny_bundle.IMAGE, (3, 52, 71), [(1, 13, 18), (1, 7, 9)]),
    ('a2_resnet26_3d', tiny_bundle.VIDEO, (3, 10, 29, 52), [(5, 8, 13), (5, 4, 7)])])
@pytest.mark.parametrize('association', ['left', 'right'])
def test_maps_are_the_softmaxes_and_explain_what_the_block_computes(model, recipe, shape, sizes,
                                                                    association):
    bundle = tiny_bundle.make(model, recipe, association=association)
    x = pixels(*shape)
    logits, found = attention_maps(bundle, x)
    assert [block.name
            for block in found] == ['conv3_unit1', 'conv3_unit2', 'conv4_unit1', 'conv4_unit2']
    assert [block.size for block in found] == [sizes[0]] * 2 + [sizes[1]] * 2
    z_name = 'distribute' if association == 'left' else 'read'
    for block in found:
        phi, theta, rho, z = tiny_bundle.internals(bundle, x, [
            f'{block.name}_a2_{part}'
            for part in ('phi_conv_fwd', 'theta_conv_fwd', 'rho_conv_fwd', z_name)])
        # channels×dhw
        a, theta, rho = (array.reshape(len(array), -1) for array in (phi, theta, rho))
        b, v = softmax(theta, 1), softmax(rho, 0).T
        np.testing.assert_allclose(block.b, b, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(block.v, v, rtol=1e-4, atol=1e-8)
        assert block.b.max() > 10 * block.b.mean() and block.v.max() > 10 * block.v.mean()
        np.testing.assert_allclose(block.b.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(block.v.sum(axis=1), 1, rtol=1e-5)
        reads = np.stack([block.reads(i) for i in range(len(block.v))])
        np.testing.assert_allclose(reads, v @ b, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(reads.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(a @ reads.T, z, rtol=1e-3, atol=1e-3 * np.abs(z).max())  # Eq. 7
        np.testing.assert_allclose(block.strength, v.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(logits, Classifier(bundle).logits(x[None])[0], rtol=1e-5)


def test_a_non_local_block_reads_positions_directly():
    bundle, x = tiny_bundle.make('nl_resnet26', blocks={'conv4': (2,)}), pixels(3, 52, 71)
    _, (block,) = attention_maps(bundle, x)
    theta, phi, g, z = tiny_bundle.internals(bundle, x, [
        f'conv4_unit2_nl_{part}'
        for part in ('theta_conv_fwd', 'phi_conv_fwd', 'g_conv_fwd', 'read')])
    theta, phi, g = (array.reshape(len(array), -1) for array in (theta, phi, g))
    relation = softmax(theta.T @ phi, 1)
    assert (block.label, block.noun, block.size) == ('non-local', 'position', (1, 7, 9))
    np.testing.assert_allclose(block.v, relation, rtol=1e-3, atol=1e-7)
    assert block.b is None
    np.testing.assert_array_equal([block.gathered(j) for j in range(63)], np.eye(63))
    np.testing.assert_allclose(g @ block.reads(5), z[:, 5], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(block.reads(5), block.v[5])


@pytest.mark.parametrize('softmax', ['gather', 'distribute', 'none'])
def test_weights_that_are_no_shares_are_not_drawn(softmax):
    bundle = tiny_bundle.make('a2_resnet26', softmax=softmax)
    with pytest.raises(UserError, match='^conv4_unit2 of a2_resnet26 was made without a softmax'):
        attention_maps(bundle, pixels(3, 48, 48), ['conv4_unit2'])


def test_blocks_are_chosen_by_name_in_the_order_given(image_bundle):
    _, found = attention_maps(image_bundle, pixels(3, 48, 48), ['conv4_unit2', 'conv3_unit1'])
    assert [block.name for block in found] == ['conv4_unit2', 'conv3_unit1']
    with pytest.raises(UserError, match='^a2_resnet26 has no block \'conv5\': its blocks are '
                                        'conv3_unit1, conv3_unit2, conv4_unit1, conv4_unit2$'):
        attention_maps(image_bundle, pixels(3, 48, 48), ['conv3_unit1', 'conv5'])


def test_a_network_without_blocks_says_what_it_has():
    with pytest.raises(UserError, match='^se_resnet26 has no double attention or non-local block '
                                        'to visualize, only conv1, conv2_unit1, .*conv5_unit2, '
                                        'final, fc: give'):
        attention_maps(tiny_bundle.make('se_resnet26'), pixels(3, 48, 48))


def test_other_precisions_are_refused(image_bundle):
    bundle = image_bundle._replace(meta={**image_bundle.meta, 'precision': 'int8'})
    with pytest.raises(UserError, match='^attention is visualized in float32, and this a2_resnet26 '
                                        'is in int8: give'):
        attention_maps(bundle, pixels(3, 48, 48))


def test_a_folded_network_is_seen_too(image_bundle):
    folded, *_ = fold(image_bundle)
    x = pixels(3, 48, 48)
    (_, expected), (_, found) = attention_maps(image_bundle, x), attention_maps(folded, x)
    assert [block.name for block in found] == [block.name for block in expected]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one.v, other.v, atol=1e-4)
        np.testing.assert_allclose(one.b, other.b, atol=1e-4)


def test_a_network_gone_wrong_is_refused(image_bundle):
    name = 'conv4_unit1_a2_theta_conv_weight'
    broken = {**image_bundle.arguments, name: image_bundle.arguments[name] * np.nan}
    with pytest.raises(UserError, match='^a2_resnet26 computes values that are not numbers'):
        attention_maps(image_bundle._replace(arguments=broken), pixels(3, 48, 48))


def test_a_block_in_a_network_that_is_not_ours():
    block = DoubleAttention(channels=6, m=2, n=5, prefix='mine_')
    block.initialize(mx.init.Normal(1))
    x = pixels(6, 3, 7)
    block(mx.nd.array(x[None]))
    symbol, values = block(mx.sym.var('data')), block.collect_params()
    given = {name: value.data().asnumpy() for name, value in values.items()}
    statistics = {name: given[name] for name in symbol.list_auxiliary_states()}
    arguments = {name: given[name] for name in symbol.list_arguments() if name != 'data'}
    bundle = Bundle(symbol.tojson().encode(), arguments, statistics,
                    {'network': 'mine', 'input': 'data'})
    _, (found,) = attention_maps(bundle, x)
    assert (found.name, found.label, found.size) == ('mine', 'double attention', (1, 3, 7))
    assert (found.v.shape, found.b.shape) == ((21, 5), (5, 21))


BLOCK = BlockAttention(
    'unit', 'double attention', (1, 1, 4),
    v=np.float32([[0.5, 0.5, 0], [0.2, 0.8, 0], [0.2, 0.6, 0.2], [0, 0, 1]]),
    b=np.float32([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1]]))


def test_by_hand():
    np.testing.assert_allclose(BLOCK.reads(0), [0.475, 0.175, 0.175, 0.175], rtol=1e-6)
    np.testing.assert_allclose(BLOCK.strength, [0.225, 0.475, 0.3], rtol=1e-6)
    assert BLOCK.order().tolist() == [1, 2, 0]
    assert BLOCK.selected.tolist() == [0, 1, 1, 2]
    assert BLOCK.favourites(2).tolist() == [1, 0]
    assert BLOCK.favourites(9).tolist() == [1, 0, 2]


def test_positions_and_frames():
    block = BLOCK._replace(size=(2, 3, 5))
    assert block.position((0, 0, 0), (7, 30, 50)) == 0
    assert block.position((49, 29, 6), (7, 30, 50)) == 29
    # column 2 of 5, row 1 of 3; frame 3 of 7 is of time 0
    assert block.position((20, 19, 3), (7, 30, 50)) == 1 * 5 + 2
    assert block.position((20, 19, 4), (7, 30, 50)) == 15 + 1 * 5 + 2
    seen = Attention('net', np.zeros((7, 30, 50, 3), np.uint8), (), (block,))
    assert [seen.time(block, frame) for frame in range(7)] == [0, 0, 0, 0, 1, 1, 1]
    assert [seen.first_frame(block, t) for t in range(2)] == [0, 4]
    values = np.arange(30)
    assert block.at_time(values, 1).tolist() == [list(range(15, 20)), list(range(20, 25)),
                                                 list(range(25, 30))]
    assert block.at_time(np.stack([values, values], 1), 1).shape == (3, 5, 2)


@given(st.integers(1, 40).flatmap(lambda d: st.tuples(st.just(d), st.integers(d, 80))))
def test_every_time_of_a_map_covers_frames_in_order(times):
    d, count = times
    block = BLOCK._replace(size=(d, 1, 1))
    seen = Attention('net', np.zeros((count, 1, 1, 3), np.uint8), (), (block,))
    starts = [seen.first_frame(block, t) for t in range(d)]
    assert [seen.time(block, frame) for frame in starts] == list(range(d))
    assert [seen.time(block, frame - 1) for frame in starts[1:]] == list(range(d - 1))


def test_an_image_is_shown_as_the_network_gets_it(image_bundle, tmp_path):
    original = np.random.default_rng(3).integers(0, 256, (80, 100, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'x.png'), original)
    seen = attend(image_bundle, tmp_path / 'x.png', ['conv4_unit1'], top=2)
    net = Classifier(image_bundle)
    encoded = (tmp_path / 'x.png').read_bytes()
    np.testing.assert_array_equal(seen.frames, net.preprocessing(data.decode(encoded))[None])
    assert seen.guesses == net.predict(tmp_path / 'x.png', top=2)
    assert (seen.network, [block.size for block in seen.blocks]) == ('a2_resnet26', [(1, 6, 6)])


def test_a_guess_is_said_in_english(image_bundle, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), np.full((60, 60, 3), 9, np.uint8))
    bundle = image_bundle._replace(meta={**image_bundle.meta,
                                         'classes': ['n01440764', 'n02012849', 'n03126707']})
    assert {name for name, _ in attend(bundle, tmp_path / 'x.png', ['conv4_unit1']).guesses} == {
        'tench (n01440764)', 'crane (n02012849)', 'crane (n03126707)'}


def test_a_video_is_seen_frame_by_frame(videos):
    bundle = tiny_bundle.make('a2_resnet26_3d', tiny_bundle.VIDEO)
    path = next((videos / 'val').glob('*/*.mp4'))
    seen = attend(bundle, path)
    (clip,) = Classifier(bundle, views=1, crops=1).preprocessing.clips(
        data.open_video(path))
    assert seen.frames.shape == (4, 48, 48, 3)
    np.testing.assert_array_equal(
        seen.frames[2], np.rint(clip[0, :, 2].transpose(1, 2, 0) / data.SCALE + data.MEAN))
    assert seen.blocks[0].size == (2, 12, 12)
    assert seen.first_frame(seen.blocks[0], 1) == 2


def test_what_cannot_be_read_is_one_sentence(image_bundle, videos, tmp_path):
    clip = next((videos / 'val').glob('*/*.mp4'))
    (tmp_path / 'text.png').write_text('no picture')
    video_bundle = tiny_bundle.make('a2_resnet26_3d', tiny_bundle.VIDEO)
    for bundle, path, sentence in (
            (image_bundle, clip, 'is not an image that can be decoded: it is not a .*image; '
                                 'a2_resnet26 is a network of images'),
            (image_bundle, tmp_path / 'none.png', 'none.png cannot be read: No such file or '
                                                  'directory; a2_resnet26 is a network of images'),
            (video_bundle, tmp_path / 'text.png', 'is not a video that can be read: '),
            (video_bundle, tmp_path / 'none.mp4', 'none.mp4 .*; a2_resnet26_3d is a network of '
                                                  'videos')):
        with pytest.raises(UserError, match=sentence):
            attend(bundle, path)
