"""Blocks behind places in GluonCV's networks: nothing changes until they learn, and learn they
do."""

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.legacy import lent_to_gluoncv
from gluon_a2.models import plug
from gluon_a2.nn import DoubleAttention, NonLocal, SqueezeExcite

with lent_to_gluoncv():
    from gluoncv.model_zoo import get_model as gluoncv_model

CLASSES = {'a2': DoubleAttention, 'nl': NonLocal, 'se': SqueezeExcite}
PLACES = {'resnet18_v1b': ['layer2.0', 'layer3.1'], 'resnet18_v2': ['features.6.1', 'features.7.0'],
          'mobilenetv2_0.25': ['features.6', 'features.12']}
CHANNELS = {'resnet18_v1b': [128, 256], 'resnet18_v2': [128, 256], 'mobilenetv2_0.25': [8, 16]}


def ready(name='resnet18_v1b', hybrid=False, seed=3):
    mx.random.seed(seed)
    net = gluoncv_model(name, pretrained=False, classes=5)
    net.initialize(mx.init.Xavier())
    if hybrid:
        net.hybridize()
    return net


def image(shape=(2, 3, 64, 64)):
    return mx.nd.array(np.random.RandomState(4).normal(size=shape))


@pytest.mark.parametrize('name,kind,hybrid', [
    *((name, 'a2', True) for name in PLACES), ('resnet18_v1b', 'se', True),
    ('mobilenetv2_0.25', 'nl', True), ('mobilenetv2_0.25', 'a2', False),
    ('resnet18_v2', 'se', False)])
def test_outputs_stay_and_gradients_arrive(name, kind, hybrid):
    net, x = ready(name, hybrid), image()
    before, names = net(x).asnumpy(), list(net.collect_params())
    values = {n: p.data().asnumpy() for n, p in net.collect_params().items() if 'running' not in n}
    blocks = plug(net, kind, PLACES[name], input_size=(64, 64))
    assert list(blocks) == PLACES[name] and {type(block)
                                             for block in blocks.values()} == {CLASSES[kind]}
    np.testing.assert_allclose(net(x).asnumpy(), before, rtol=0, atol=1e-6 * np.abs(before).max())
    after = net.collect_params()
    new = [n for n in after if n not in names]
    assert [n for n in after if n in names] == names and sorted(new) == sorted(
        n for block in blocks.values() for n in block.collect_params())
    for place, block in blocks.items():
        assert all(n.startswith(f'{net.prefix}{place.replace(".", "_")}_{kind}_')
                   for n in block.collect_params())
    for n, value in values.items():
        np.testing.assert_array_equal(after[n].data().asnumpy(), value)
    trainer = mx.gluon.Trainer(after, 'sgd', {'learning_rate': 0.1})
    start = {n: after[n].data().asnumpy() for n in new if after[n].grad_req != 'null'}
    for _ in range(2):
        with mx.autograd.record():
            loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()(net(x), mx.nd.array([1, 4]))
        loss.backward()
        trainer.step(2)
    assert [n for n, value in start.items() if (after[n].data().asnumpy() == value).all()] == []


@pytest.mark.parametrize('name', PLACES)
def test_blocks_fit_the_channels_of_their_places(name):
    blocks = plug(ready(name), 'a2', PLACES[name], ratio=4, input_size=(64, 64), association='auto')
    shapes = [block.collect_params()[f'{block.prefix}phi_conv_weight'].shape
              for block in blocks.values()]
    assert shapes == [(channels // 4, channels, 1, 1) for channels in CHANNELS[name]]


def test_without_identity_outputs_change_at_once():
    net, x = ready(), image()
    before = net(x).asnumpy()
    plug(net, 'a2', ['layer2.0'], identity=False, input_size=(64, 64))
    assert np.abs(net(x).asnumpy() - before).max() > 1e-3 * np.abs(before).max()


def test_the_block_follows_its_place():
    """Its input is the child's output, and the next child's input is its output."""
    net, seen = ready(), {}
    block, = plug(net, 'se', ['layer2.0'], identity=False, input_size=(64, 64)).values()
    after = net.layer2[0]
    for child, name in ((after[0], 'child'), (block, 'block'), (net.layer2[1], 'next')):
        child.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    net(image())
    np.testing.assert_array_equal(seen['block'][0].asnumpy(), seen['child'][1].asnumpy())
    np.testing.assert_array_equal(seen['next'][0].asnumpy(), seen['block'][1].asnumpy())
    assert (seen['block'][0] != seen['block'][1]).asnumpy().any()


def test_video_networks_take_blocks_too():
    net = mx.gluon.nn.HybridSequential(prefix='tiny_')
    with net.name_scope():
        net.add(mx.gluon.nn.Conv3D(8, (3, 3, 3), in_channels=3),
                mx.gluon.nn.Conv3D(16, (1, 3, 3), in_channels=8))
    net.initialize()
    x = image((2, 3, 5, 11, 7))
    before = net(x).asnumpy()
    for kind in CLASSES:
        plug(net, kind, ['0'], input_size=(5, 11, 7))
        np.testing.assert_array_equal(net(x).asnumpy(), before)
    assert len(list(net.collect_params())) == 4 + 20 + 20 + 4


def test_blocks_take_the_type_of_the_network():
    net = ready()
    net.cast('float64')
    x = image().astype('float64')
    before = net(x).asnumpy()
    plug(net, 'a2', ['layer2.0'], input_size=(64, 64))
    np.testing.assert_array_equal(net(x).asnumpy(), before)


def test_a_plugged_network_exports(tmp_path):
    net, x = ready(), image()
    plug(net, 'a2', ['layer2.0'], identity=False, input_size=(64, 64))
    expected = net(x).asnumpy()
    net.hybridize()
    net(x)
    net.export(str(tmp_path / 'net'))
    symbol, arguments, states = mx.model.load_checkpoint(str(tmp_path / 'net'), 0)
    executor = symbol.bind(mx.cpu(), {**arguments, 'data': x}, aux_states=states)
    got = executor.forward(is_train=False)[0].asnumpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope='module')
def plain():
    """A network that no test changes, and its outputs."""
    net = ready()
    return net, net(image()).asnumpy()


CHILDREN = 'conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, flat, fc'


@pytest.mark.parametrize('kind,places,sentence', [
    ('cbam', ['layer2.0'], "unknown block 'cbam': choose one of a2, nl, se"),
    ('a2', ['layer9'], "no place 'layer9': the network has no child 'layer9'; its children are "
                       f"{CHILDREN}"),
    ('a2', ['layer2.9'], "no place 'layer2.9': layer2 has no child '9'; its children are 0, 1"),
    ('a2', ['relu.x'], "no place 'relu.x': relu has no child 'x'; its children are none"),
    ('a2', [''], f"no place '': the network has no child ''; its children are {CHILDREN}"),
    ('a2', ['layer2.0', 'layer2.0'], "a place is named twice in ['layer2.0', 'layer2.0']"),
    ('a2', ['fc'], 'fc yields no feature map to put a block behind, but (1, 5)'),
    ('a2', ['layer2.0', 'flat'], 'flat yields no feature map to put a block behind, but (1, 512)')])
def test_a_mistake_is_one_sentence_and_changes_nothing(plain, kind, places, sentence):
    net, before = plain
    names = list(net.collect_params())
    with pytest.raises(UserError) as caught:
        plug(net, kind, places, input_size=(64, 64))
    assert str(caught.value) == sentence
    assert list(net.collect_params()) == names
    np.testing.assert_array_equal(net(image()).asnumpy(), before)


def test_the_same_block_twice_at_one_place_is_refused():
    net = ready()
    plug(net, 'a2', ['layer2.0'], input_size=(64, 64))
    with pytest.raises(UserError, match='^layer2.0 already has a block a2 behind it$'):
        plug(net, 'a2', ['layer2.0'], input_size=(64, 64))


def test_a_refusal_leaves_every_place_as_it_was():
    """The second place is taken, so the first gets no block either."""
    net = ready()
    plug(net, 'a2', ['layer2.1'], input_size=(64, 64))
    names = list(net.collect_params())
    with pytest.raises(UserError, match='^layer2.1 already has a block a2 behind it$'):
        plug(net, 'a2', ['layer2.0', 'layer2.1'], input_size=(64, 64))
    assert list(net.collect_params()) == names


def test_a_network_without_weights_is_refused():
    net = gluoncv_model('resnet18_v1b', pretrained=False)
    with pytest.raises(UserError, match='^the network has no weights yet .*: initialize or load it '
                                        'before blocks'):
        plug(net, 'a2', ['layer2.0'])


@pytest.mark.parametrize('size', [(8, 64, 64), (64,)])
def test_a_size_the_network_cannot_take_is_named(plain, size):
    """It has its weights: that must not be what the sentence says is missing."""
    net, _ = plain
    with pytest.raises(UserError, match='input') as caught:
        plug(net, 'a2', ['layer2.0'], input_size=size)
    assert 'no weights' not in str(caught.value)


def test_a_mistake_that_a_block_names_itself_is_not_rewritten():
    class Picky(mx.gluon.nn.HybridBlock):
        def hybrid_forward(self, F, x):
            raise UserError('`alpha` must be 1')
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, in_channels=3), Picky())
    net.initialize()
    with pytest.raises(UserError, match='^`alpha` must be 1$'):
        plug(net, 'se', ['0'])


def test_one_place_as_a_string_is_understood_or_named():
    net = ready()
    with pytest.raises(UserError, match='places'):
        plug(net, 'a2', 'layer2.0', input_size=(64, 64))
    with pytest.raises(UserError, match='ratio'):
        plug(net, 'a2', ['layer2.0'], ratio=100000, input_size=(64, 64))


@pytest.mark.parametrize('kind,option,value,whose', [
    ('nl', 'softmax', 'none', 'a2 blocks'),
    ('nl', 'association', 'right', 'a2 blocks'), ('se', 'association', 'auto', 'a2 blocks'),
    ('se', 'ratio', 4, 'a2 and nl blocks')])
def test_an_option_without_effect_is_refused(plain, kind, option, value, whose):
    net, _ = plain
    with pytest.raises(UserError) as caught:
        plug(net, kind, ['layer2.0'], input_size=(64, 64), **{option: value})
    assert str(caught.value) == (f'`{option}` has no effect on a block {kind}: leave it out (it is '
                                 f'for {whose})')
