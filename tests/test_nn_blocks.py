"""What the three blocks share, each held to its numpy oracle: values, gradients, identity, float16,
names."""
import json

import numpy as np
import pytest
from test_nn_oracle import BLOCKS, randomize

from gluon_a2.backend import mx
from gluon_a2.nn import DoubleAttention, NonLocal, SqueezeExcite

SHAPES = {2: (2, 7, 5, 3), 3: (2, 7, 3, 5, 11)}  # N×c×(d×)h×w, no two alike
EACH = pytest.mark.parametrize('kind,dims', [(kind, dims) for kind in BLOCKS for dims in (2, 3)])


def make(kind, dims=2, channels=7, **options):
    options = {'dims': dims, 'prefix': '', **options}
    if kind == 'a2':
        return DoubleAttention(channels, 11, 13, **options)
    return NonLocal(channels, 11, **options) if kind == 'nl' else SqueezeExcite(
        channels, 5, **options)


def ready(kind, dims=2, dtype='float64', seed=1, **options):
    """A block with random values, and those values."""
    net = make(kind, dims, **options)
    net.initialize()
    net.cast(dtype)
    return net, randomize(net, seed)


def array(shape, seed=5, dtype='float64'):
    return mx.nd.array(np.random.RandomState(seed).normal(size=shape), dtype=dtype)


def gradients(net, x, weights, training=True):
    """(output, {name: gradient}) of Σ weights·net(x), for x and every trained parameter."""
    x.attach_grad()
    with mx.autograd.record(train_mode=training):
        y = net(x)
        loss = (y * weights).sum()
    loss.backward(train_mode=training)
    grads = {name: v.grad().asnumpy() for name, v in net.collect_params().items()
             if v.grad_req != 'null'}
    return y.asnumpy(), {**grads, 'x': x.grad.asnumpy()}


@EACH
@pytest.mark.parametrize('training', [False, True])
def test_output_equals_the_oracle(kind, dims, training):
    net, p = ready(kind, dims)
    x = array(SHAPES[dims])
    with mx.autograd.record(train_mode=training):
        y = net(x).asnumpy()
    expected = BLOCKS[kind](x.asnumpy(), p, training=training)
    assert np.abs(expected - x.asnumpy()).max() > 0.1  # there is something to see
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-10)


@EACH
@pytest.mark.parametrize('training', [False, True])
def test_gradients_equal_differences_of_the_oracle(kind, dims, training):
    """Along a random direction of each parameter, and in two entries of each."""
    net, p = ready(kind, dims)
    x, weights = array(SHAPES[dims]), array(SHAPES[dims], seed=6)
    _, grads = gradients(net, x, weights, training)
    place, rng, step = {**p, 'x': x.asnumpy()}, np.random.RandomState(7), 1e-6
    assert set(grads) == {name for name in place if 'running' not in name}

    def loss(name, move):
        moved = {**place, name: place[name] + move}
        return (BLOCKS[kind](moved['x'], moved, training=training) * weights.asnumpy()).sum()

    for name, gradient in grads.items():
        directions = [rng.normal(size=gradient.shape)]
        for index in rng.choice(gradient.size, min(2, gradient.size), replace=False):
            directions.append((np.arange(gradient.size) == index).reshape(gradient.shape))
        assert np.abs(gradient).max() > 1e-6, name
        for direction in directions:
            slope = (loss(name, step * direction) - loss(name, -step * direction)) / (2 * step)
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6), name


@EACH
@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('channels', [7, 64])
def test_float32_equals_the_oracle_hybridized_or_not(kind, dims, hybrid, channels):
    """In training and in predict mode, and with the gradients that float64 gives.

    64 channels are what oneDNN lays out in blocks; what reads such a layout as a plain array goes
    wrong here.
    """
    shape = {2: (2, channels, 8, 6), 3: (2, channels, 2, 8, 6)}[dims]
    options = {'m': 16, 'n': 32} if kind == 'a2' else {'width': 16}
    block = {'a2': DoubleAttention, 'nl': NonLocal, 'se': SqueezeExcite}[kind]
    results = []
    for dtype in ('float64', 'float32'):
        net = block(channels, dims=dims, prefix='', **options)
        net.initialize()
        net.cast(dtype)
        p = randomize(net, 1)
        if hybrid and dtype == 'float32':
            net.hybridize(static_alloc=True, static_shape=True)
        predicted = net(array(shape, dtype=dtype)).asnumpy()
        y, grads = gradients(net, array(shape, dtype=dtype), array(shape, 6, dtype))
        results.append({**grads, 'y': y, 'predicted': predicted})
    x = array(shape).asnumpy()
    exact, single = results
    np.testing.assert_allclose(single['predicted'], BLOCKS[kind](x, p), rtol=0, atol=1e-4)
    np.testing.assert_allclose(single['y'], BLOCKS[kind](x, p, training=True), rtol=0, atol=1e-4)
    assert exact.keys() == single.keys()
    for name, value in exact.items():
        error = np.linalg.norm(single[name] - value) / np.linalg.norm(value)
        assert error < 1e-3, (name, error)


@EACH
@pytest.mark.parametrize('hybrid', [False, True])
def test_identity_to_the_bit_and_still_learning(kind, dims, hybrid):
    net = make(kind, dims, identity=True)
    net.initialize(mx.init.Xavier(rnd_type='gaussian'))
    if hybrid:
        net.hybridize()
    x, weights = array(SHAPES[dims], dtype='float32'), array(SHAPES[dims], 6, 'float32')
    start = {name: v.data().asnumpy() for name, v in net.collect_params().items()
             if v.grad_req != 'null'}
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    y, _ = gradients(net, x, weights)
    np.testing.assert_array_equal(y, x.asnumpy())
    np.testing.assert_array_equal(net(x).asnumpy(), x.asnumpy())
    trainer.step(1)
    assert np.abs(net(x).asnumpy() - x.asnumpy()).max() > 1e-4
    gradients(net, x, weights)
    trainer.step(1)
    still = [name for name, value in start.items()
             if (net.collect_params()[name].data().asnumpy() == value).all()]
    assert still == []


@EACH
def test_without_identity_the_block_does_something_at_once(kind, dims):
    net = make(kind, dims)
    net.initialize(mx.init.Xavier(rnd_type='gaussian'))
    x = array(SHAPES[dims], dtype='float32')
    assert np.abs(net(x).asnumpy() - x.asnumpy()).max() > 1e-3


def softmax_neighbours(net):
    """[(what feeds it, its own attributes, what reads it)] of each softmax in the exported
    graph."""
    nodes = json.loads(net(mx.sym.var('data')).tojson())['nodes']
    found = []
    for index, node in enumerate(nodes):
        if node['op'] == 'softmax':
            readers = [other for other in nodes
                       if index in [source[0] for source in other['inputs']]]
            found.append((nodes[node['inputs'][0][0]], node, readers))
    return found


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('kind,count', [('a2', 2), ('nl', 1), ('se', 0)])
def test_float16_leaves_every_softmax_in_float32(kind, count, dims):
    plain = softmax_neighbours(make(kind, dims))
    assert len(plain) == count and not any(before['op'] == 'Cast' for before, _, _ in plain)
    net = mx.gluon.nn.HybridSequential(prefix='')  # the cast must reach the block from a parent
    net.add(make(kind, dims))
    net.cast('float16')
    half = softmax_neighbours(net)
    assert len(half) == count
    for before, softmax, readers in half:
        assert (before['op'], before['attrs']['dtype']) == ('Cast', 'float32')
        assert softmax['attrs']['axis'] == '-1'
        assert [(reader['op'], reader['attrs']['dtype'])
                for reader in readers] == [('Cast', 'float16')]
    net.cast('float32')
    assert not any(before['op'] == 'Cast' for before, _, _ in softmax_neighbours(net))


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('kind', ['a2', 'nl'])
def test_the_casts_change_no_result(kind, dims):
    """A CPU multiplies no float16 matrices, so the same graph runs with float64 in float16's place.

    The result is the oracle's but for the rounding of softmax to float32, and that rounding is
    there.
    """
    net, p = ready(kind, dims)
    x = array(SHAPES[dims])
    net.cast('float16')
    symbol = mx.sym.load_json(net(mx.sym.var('data')).tojson().replace('float16', 'float64'))
    values = {name: mx.nd.array(value, dtype='float64')
              for name, value in {**p, 'data': x.asnumpy()}.items()}
    executor = symbol.bind(
        mx.cpu(), {name: values[name] for name in symbol.list_arguments()}, aux_states={
            name: values[name] for name in symbol.list_auxiliary_states()})
    expected = BLOCKS[kind](x.asnumpy(), p)
    error = np.abs(executor.forward(is_train=False)[0].asnumpy()
                   - expected).max() / np.abs(expected).max()
    assert 1e-10 < error < 1e-5


PIECE = ['bn_beta', 'bn_gamma', 'bn_running_mean', 'bn_running_var', 'conv_weight']


@pytest.mark.parametrize('kind,names', [
    ('a2', [f'{part}_{name}' for part in ('expand', 'phi', 'rho', 'theta') for name in PIECE]),
    ('nl', [f'{part}_{name}' for part in ('expand', 'g', 'phi', 'theta') for name in PIECE]),
    ('se', ['excite_conv_bias', 'excite_conv_weight', 'squeeze_conv_bias', 'squeeze_conv_weight'])])
def test_parameters_are_named_after_what_they_do(kind, names):
    assert sorted(make(kind, prefix='conv4_unit2_x_').collect_params()) == [
        f'conv4_unit2_x_{name}' for name in names]


@pytest.mark.parametrize('dims', [2, 3])
def test_default_widths(dims):
    """c/4 for both attentions (Section 3.2), c/16 for squeeze-and-excitation, which is never less
    than one."""
    one = (1,) * dims
    shapes = {
        kind: {
            name: value.shape
            for name, value in net(channels, dims=dims, prefix='').collect_params().items()
        } for kind, net, channels in (('a2', DoubleAttention, 28), ('nl', NonLocal, 28),
                                      ('se', SqueezeExcite, 48), ('small', SqueezeExcite, 8))}
    for name in ('phi', 'theta', 'rho'):
        assert shapes['a2'][f'{name}_conv_weight'] == (7, 28, *one)
    for name in ('phi', 'theta', 'g'):
        assert shapes['nl'][f'{name}_conv_weight'] == (7, 28, *one)
    assert shapes['a2']['expand_conv_weight'] == shapes['nl']['expand_conv_weight'] == (28, 7, *one)
    assert shapes['a2']['expand_bn_gamma'] == (7,)  # its BatchNorm acts on the m channels of Z
    assert shapes['se']['squeeze_conv_weight'] == (
        3, 48, *one) and shapes['se']['excite_conv_weight'] == (48, 3, *one)
    assert shapes['small']['squeeze_conv_weight'] == (1, 8, *one)
