"""The double attention block: Eq. 6 = Eq. 7, attention that sums to one, and the rule of Section
2.3."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_nn_oracle import (
    double_attention,
    double_attention_z,
    flat,
    piece,
    randomize,
    softmax,
)

from gluon_a2.backend import mx
from gluon_a2.cost import count, count_network
from gluon_a2.errors import UserError
from gluon_a2.models import get_model
from gluon_a2.nn import DoubleAttention, SqueezeExcite, cheaper_association, product_memory
from gluon_a2.nn import double_attention as attention_function
from gluon_a2.nn.attention import SOFTMAXES
from gluon_a2.nn.workarounds import Mean, Softmax

SHAPES = {2: (2, 7, 5, 3), 3: (2, 7, 3, 5, 11)}


def ready(dims, channels=7, m=11, n=13, seed=1, **options):
    net = DoubleAttention(channels, m, n, dims=dims, prefix='', **options)
    net.initialize()
    net.cast('float64')
    return net, randomize(net, seed)


def array(shape, seed=5):
    return mx.nd.array(np.random.RandomState(seed).normal(size=shape), dtype='float64')


@pytest.mark.parametrize('softmax', SOFTMAXES)
@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('training', [False, True])
def test_right_association_equals_left_and_the_oracle(dims, training, softmax):
    x, outputs = array(SHAPES[dims]), []
    for association in ('left', 'right'):
        net, p = ready(dims, association=association, softmax=softmax)
        x.attach_grad()
        with mx.autograd.record(train_mode=training):
            y = net(x)
            loss = (y * y).sum()
        loss.backward()
        grads = [v.grad().asnumpy() for v in net.collect_params().values() if v.grad_req != 'null']
        outputs.append([y.asnumpy(), x.grad.asnumpy(), *grads])
        expected = double_attention(x.asnumpy(), p, training=training, softmaxes=softmax)
        np.testing.assert_allclose(outputs[-1][0], expected, rtol=0, atol=1e-10)
    for left, right in zip(*outputs):
        np.testing.assert_allclose(right, left, rtol=1e-8, atol=1e-10 * np.abs(left).max())


@pytest.mark.parametrize('association', ['left', 'right'])
def test_the_function_is_the_equation(association):
    """On plain arrays, N×m×dhw, N×n×dhw and N×dhw×n."""
    rng = np.random.RandomState(2)
    phi, theta, rho = (rng.normal(size=(2, width, 5)) for width in (3, 7, 7))
    a, b, v = (mx.nd.array(values, dtype='float64')
               for values in (phi, softmax(theta, 2), softmax(rho, 1).transpose(0, 2, 1)))
    np.testing.assert_allclose(attention_function(mx.nd, a, b, v, association).asnumpy(),
                               double_attention_z(phi, theta, rho), rtol=1e-12)


@given(st.sampled_from([2, 3]), st.integers(1, 3), *[st.integers(1, 9)] * 3,
       st.lists(st.integers(1, 5), min_size=3, max_size=3),
       st.sampled_from(['left', 'right', 'auto']), st.sampled_from(list(SOFTMAXES)),
       st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_shape_association_and_softmax_equals_the_oracle(dims, batch, channels, m, n, space,
                                                             association, softmax, seed):
    space = tuple(space[:dims])
    net, p = ready(dims, channels, m, n, seed, association=association, softmax=softmax,
                   input_size=space)
    x = array((batch, channels, *space), seed)
    np.testing.assert_allclose(net(x).asnumpy(), double_attention(x.asnumpy(), p,
                                                                  softmaxes=softmax),
                               rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('association', ['left', 'right'])
def test_attention_maps_sum_to_one_along_the_right_axes(dims, association):
    """Eq. 4: over positions, for each of n. Eq. 5: over n, at each position. Both are the softmax
    of their piece."""
    net, p = ready(dims, association=association)
    x = array(SHAPES[dims])
    symbol = net(mx.sym.var('data'))
    names = ['gather_attention', 'distribute_attention']
    maps = mx.sym.Group([symbol.get_internals()[f'{name}_output'] for name in names])
    values = {name: parameter.data() for name, parameter in net.collect_params().items()}
    arguments = {name: x if name == 'data' else values[name] for name in maps.list_arguments()}
    states = {name: values[name] for name in maps.list_auxiliary_states()}
    gather, distribute = (output.asnumpy() for output in maps.bind(
        mx.cpu(), arguments, aux_states=states).forward(is_train=False))
    positions = math.prod(SHAPES[dims][2:])
    assert gather.shape == (2, 13, positions) and distribute.shape == (2, positions, 13)
    np.testing.assert_allclose(gather.sum(2), np.ones((2, 13)), rtol=1e-12)
    np.testing.assert_allclose(distribute.sum(2), np.ones((2, positions)), rtol=1e-12)
    theta, rho = (flat(piece(x.asnumpy(), p, name)) for name in ('theta_', 'rho_'))
    np.testing.assert_allclose(gather, softmax(theta, 2), rtol=0, atol=1e-12)
    np.testing.assert_allclose(distribute, softmax(rho, 1).transpose(0, 2, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize('dims', [2, 3])
def test_attention_sums_to_one_in_float32_whatever_the_layout(dims):
    """64 channels: oneDNN lays them out in blocks, and its softmax must not take a block for a
    row."""
    net = DoubleAttention(64, dims=dims, prefix='')
    net.initialize()
    values = {name: mx.nd.array(value) for name, value in randomize(net, 1).items()}
    values['data'] = array((2, 64, *(2, 4, 4)[-dims:])).astype('float32')
    internals = net(mx.sym.var('data')).get_internals()
    for name, rows in (('gather_attention', 16), ('distribute_attention', 4 ** dims // (dims - 1))):
        attention = internals[f'{name}_output']
        executor = attention.bind(
            mx.cpu(), {n: values[n] for n in attention.list_arguments()}, aux_states={
                n: values[n] for n in attention.list_auxiliary_states()})
        sums = executor.forward(is_train=False)[0].asnumpy().sum(2)
        np.testing.assert_allclose(sums, np.ones((2, rows)), rtol=1e-5, err_msg=name)


def gathered(x, softmax):
    """G of a block with identity embeddings, so that A = B = relu(x), and that without softmax."""
    net = DoubleAttention(x.shape[1], x.shape[1], x.shape[1], prefix='', softmax=softmax)
    net.initialize()
    net.cast('float64')
    for name in ('phi', 'theta'):
        net.collect_params()[f'{name}_conv_weight'].set_data(np.eye(x.shape[1])[..., None, None])
    g = net(mx.sym.var('data')).get_internals()['gather_output']
    values = {name: parameter.data() for name, parameter in net.collect_params().items()}
    return g.bind(mx.cpu(), {name: {**values, 'data': x}[name] for name in g.list_arguments()},
                  aux_states={name: values[name] for name in g.list_auxiliary_states()}
                  ).forward()[0].asnumpy()


@pytest.mark.parametrize('softmax', ['none', 'distribute'])
@pytest.mark.parametrize('space', [(5, 3), (41, 43)])
def test_without_a_softmax_on_b_the_descriptors_are_bilinear_pooling(softmax, space):
    """Eq. 2's Σ a_i b_iᵀ over the number of positions: it does not grow with them."""
    x = array((2, 7, *space))
    a = np.maximum(flat(x.asnumpy()), 0) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(gathered(x, softmax), a @ a.transpose(0, 2, 1) / math.prod(space),
                               rtol=1e-12)
    assert np.abs(gathered(x, softmax) - gathered(x, 'both')).max() > 0.1


def test_a_map_of_ones_is_a_flat_softmax():
    """θ = ρ = 1 everywhere gives one Z, with each softmax or without."""
    ones, a = mx.nd.ones((2, 5, 3)), mx.nd.random.normal(shape=(2, 7, 3))
    b, v = [kind(prefix='')(ones) for kind in (Softmax, Mean)], ones.transpose((0, 2, 1))
    np.testing.assert_array_equal(b[0].asnumpy(), b[1].asnumpy())
    v = [kind(prefix='')(v) for kind in (Softmax, Mean)]
    np.testing.assert_array_equal(*(attention_function(mx.nd, a, *each).asnumpy()
                                    for each in zip(b, v)))


def test_an_unknown_softmax_is_named():
    with pytest.raises(UserError, match="^`softmax` must be one of both, gather, distribute, none, "
                                        "not 'all'$"):
        DoubleAttention(8, softmax='all')


def test_one_even_attention_is_the_mean():
    """θ and ρ all alike: every position receives the plain mean of φ(X)."""
    net, _ = ready(2)
    for name in ('theta_conv_weight', 'rho_conv_weight'):
        net.collect_params()[name].set_data(np.zeros((13, 7, 1, 1)))
    x = array(SHAPES[2])
    phi = net.phi(x).asnumpy()
    mean = mx.nd.array(np.broadcast_to(phi.mean((2, 3), keepdims=True), phi.shape), dtype='float64')
    np.testing.assert_allclose(
        net(x).asnumpy(), (x + net.expand(mean)).asnumpy(), rtol=0, atol=1e-12)


def test_a_sharp_attention_gathers_one_position():
    """θ far above the rest at one position, ρ far above for one descriptor: every position receives
    φ(X) there."""
    rng = np.random.RandomState(2)
    phi, theta, rho = (rng.normal(size=(2, width, 7)) for width in (5, 3, 3))
    theta[:, 1, 4] = rho[:, 1] = 1e3
    b, v = softmax(theta, 2), softmax(rho, 1).transpose(0, 2, 1)
    z = attention_function(mx.nd, *(mx.nd.array(values, dtype='float64') for values in (phi, b, v)))
    np.testing.assert_allclose(z.asnumpy(), np.repeat(phi[:, :, 4:5], 7, 2), rtol=1e-12)


def test_the_rank_of_the_relation():
    """Of Eq. 7's relation of 23 positions by 5 descriptors it is 5, and of NL's by 5 channels 23.
    The descriptors themselves have all the rank that 11×5 values can have."""
    rng = np.random.RandomState(2)
    theta, rho, phi = (rng.normal(size=(1, width, 23)) for width in (5, 5, 11))
    b, v = softmax(theta, 2), softmax(rho, 1).transpose(0, 2, 1)
    relation = attention_function(mx.nd, *(mx.nd.array(values, dtype='float64') for values in (
        np.eye(23)[None], b, v)), 'right').asnumpy()
    non_local = softmax(np.einsum('nki,nkj->nij', theta, rho), 2)
    assert [np.linalg.matrix_rank(matrix, 1e-10) for matrix in (
        relation[0], non_local[0], (phi @ b.transpose(0, 2, 1))[0])] == [5, 23, 5]
    np.testing.assert_allclose(relation.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize('softmax', SOFTMAXES)
def test_every_position_reads_every_other(softmax):
    """The gradient of the output at each position, with respect to the input at each."""
    net, _ = ready(3, softmax=softmax)
    x = array((1, 7, 2, 3, 5))
    x.attach_grad()
    for position in range(30):
        with mx.autograd.record(train_mode=False):
            loss = net(x).reshape((7, -1))[:, position].sum()
        loss.backward()
        assert (np.abs(x.grad.asnumpy()).reshape(7, -1).max(0) > 0).all()


@pytest.mark.parametrize('kind', ['both', 'none'])
def test_what_the_mean_cannot_tell_the_descriptors_can(kind):
    """The same values in each channel, at other positions: squeeze-and-excitation has one gate for
    both maps, and the descriptors, of second order, differ."""
    x = np.random.RandomState(3).uniform(1, 2, (2, 7, 5, 3))
    x[1] = x[0]
    x[1, 3] = x[0, 3, ::-1]
    gates = SqueezeExcite(7, 5, prefix='')
    gates.initialize()
    gates.cast('float64')
    randomize(gates, 1)
    x = mx.nd.array(x, dtype='float64')
    gate = (gates(x) / x).asnumpy()
    np.testing.assert_allclose(gate[0], gate[1], rtol=1e-12)
    g = gathered(x, kind)
    assert np.abs(g[0] - g[1]).max() > 1e-3 * np.abs(g).max()


def test_no_position_is_special():
    """The block has no notion of where: permuting the positions permutes the output."""
    net, _ = ready(2)
    x, order = array((2, 7, 1, 17)), np.random.RandomState(3).permutation(17)
    moved = net(mx.nd.array(x.asnumpy()[..., order], dtype='float64')).asnumpy()
    np.testing.assert_allclose(moved, net(x).asnumpy()[..., order], rtol=0, atol=1e-12)


def products(m, n, space):
    """{association: multiply-adds of the two matrix products}, counted on the block's symbols."""
    costs = {}
    for association in ('left', 'right'):
        block = DoubleAttention(16, m, n, association=association, prefix='')
        cost = count(block(mx.sym.var('data')), data=(1, 16, *space))
        costs[association] = sum(layer.flops for layer in cost.layers if layer.op == 'batch_dot')
    return costs


@pytest.mark.parametrize('m,n,space', [
    (4, 4, (3, 5)), (31, 29, (3, 5)), (64, 64, (7, 7)), (8, 8, (2, 2)), (128, 128, (5, 5)),
    (2, 3, (1, 1)), (8, 8, (8, 1)), (8, 8, (3, 3))])
def test_the_rule_picks_the_association_that_costs_less(m, n, space):
    """The first product has mn or (dhw)² values; with n inner channels the work follows, 2·mn·dhw
    or (m+n)·(dhw)².

    (dhw)² > mn is the paper's approximation; it agrees with the count wherever m = n, which all its
    networks have.
    """
    positions = math.prod(space)
    costs = products(m, n, space)
    assert costs == {'left': 2 * m * n * positions, 'right': (m + n) * positions ** 2}
    chosen = cheaper_association(m, n, positions)
    assert chosen == ('left' if positions ** 2 > m * n else 'right')
    if costs['left'] != costs['right']:
        assert chosen == min(costs, key=costs.get)
    assert product_memory(m, n, positions, chosen) == min(
        product_memory(m, n, positions, each) for each in costs)


def test_the_rule_and_the_printed_cost_of_the_image_network():
    """Section 3.3 prints 6.5 G, which is Eq. 6 everywhere; by the rule it would be 6.3 G."""
    giga = [count_network(get_model('a2_resnet50', association=association), (224, 224)).flops / 1e9
            for association in ('left', 'auto')]
    assert [f'{value:.1f}' for value in giga] == ['6.5', '6.3']


@given(st.integers(1, 200), st.integers(1, 60))
def test_the_rule_is_the_count_where_m_equals_n(m, positions):
    left, right = 2 * m * m * positions, 2 * m * positions ** 2
    assert {'left': left, 'right': right}[cheaper_association(m, m, positions)] == min(left, right)


def test_memory_of_the_first_product_as_printed():
    """Section 2.3: 32 frames of 28×28 with 512 channels: 1 MB left, more than 2 GB right."""
    positions = 32 * 28 * 28
    assert product_memory(512, 512, positions, 'left') == 1.0
    assert product_memory(512, 512, positions, 'right') == 25088 ** 2 / 2 ** 18 == 2401.0
    assert product_memory(512, 512, positions, 'auto') == 1.0
    assert product_memory(512, 512, 7, 'auto') == 49 / 2 ** 18
    assert product_memory(3, 5, 7, 'left', batch=11) == 165 / 2 ** 18


@pytest.mark.parametrize('association', ['left', 'right'])
def test_memory_is_the_size_of_the_first_product_of_the_symbol(association):
    block = DoubleAttention(7, 11, 13, association=association, prefix='')
    first = next(layer for layer in count(block(mx.sym.var('data')), data=(3, 7, 5, 2)).layers
                 if layer.op == 'batch_dot')
    assert math.prod(first.output) * 4 / 2 ** 20 == product_memory(11, 13, 10, association, batch=3)


def test_auto_holds_its_choice():
    assert DoubleAttention(8, 4, 4, association='auto', input_size=(5, 7),
                           prefix='').association == 'left'
    assert DoubleAttention(64, 32, 32, association='auto', input_size=(5, 5),
                           prefix='').association == 'right'
    assert DoubleAttention(64, 32, 32, association='auto', input_size=(2, 4, 4),
                           dims=3).association == 'right'
    assert DoubleAttention(64, 32, 32, association='auto', input_size=(3, 4, 4),
                           dims=3).association == 'left'


def test_auto_needs_a_size():
    with pytest.raises(UserError, match=r"^`association` 'auto' needs `input_size`, the \(d,\) h, "
                                        'w that the block will see'):
        DoubleAttention(8, association='auto')


def test_an_unknown_association_is_named():
    for call in (lambda: DoubleAttention(8, association='middle'),
                 lambda: product_memory(4, 4, 5, 'middle')):
        with pytest.raises(UserError, match="^`association` must be one of left, right, auto, not "
                                            "'middle'$"):
            call()
