"""BN-ReLU-Conv against its oracle, and the workaround for 5-D BatchNorm."""
import numpy as np
import pytest
from test_nn_oracle import batch_norm, piece, randomize, relu

from gluon_a2.backend import mx
from gluon_a2.nn import BNReLU, BNReLUConv, FoldedBatchNorm
from gluon_a2.nn.preact import conv


def array(*shape, seed=5, dtype='float64'):
    return mx.nd.array(np.random.RandomState(seed).normal(size=shape), dtype=dtype)


@pytest.mark.parametrize('shape,kernel,stride', [
    ((2, 5, 11, 7), (1, 1), None), ((2, 5, 11, 7), (3, 3), (2, 2)), ((2, 5, 11, 7), (5, 3), (1, 2)),
    ((2, 5, 3, 11, 7), (1, 1, 1), None), ((2, 5, 3, 11, 7), (3, 3, 3), (2, 1, 2)),
    ((2, 5, 7, 3, 11), (1, 5, 3), (1, 2, 1))])
@pytest.mark.parametrize('training', [False, True])
def test_piece_equals_its_oracle(shape, kernel, stride, training):
    net = BNReLUConv(shape[1], 13, kernel, stride, prefix='')
    net.initialize()
    net.cast('float64')
    p, x = randomize(net, 2), array(*shape)
    with mx.autograd.record(train_mode=training):
        y = net(x)
    np.testing.assert_allclose(y.asnumpy(), piece(x.asnumpy(), p, '', training, stride), rtol=0,
                               atol=1e-10)


def test_relu_alone():
    net = BNReLU(5, prefix='')
    net.initialize()
    net.cast('float64')
    p, x = randomize(net, 2), array(2, 5, 3, 7)
    np.testing.assert_allclose(
        net(x).asnumpy(), relu(batch_norm(x.asnumpy(), p, '')), rtol=0, atol=1e-12)


def test_running_statistics_move_a_tenth_of_the_way():
    """Momentum 0.9, the biased variance; 3-D as 2-D."""
    for shape in ((3, 5, 7, 11), (3, 5, 2, 7, 11)):
        net = BNReLU(5, len(shape) - 2, prefix='')
        net.initialize()
        net.cast('float64')
        p, x = randomize(net, 2), array(*shape)
        with mx.autograd.record():
            y = net(x)
        y.backward()  # MXNet's own kernel, which takes float64, updates them here
        axes = (0, *range(2, x.ndim))
        for name, batch in (('bn_running_mean', x.asnumpy().mean(axes)), ('bn_running_var',
                                                                          x.asnumpy().var(axes))):
            moved = net.collect_params()[name].data().asnumpy()
            np.testing.assert_allclose(moved, 0.9 * p[name] + 0.1 * batch, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('hybrid', [False, True])
def test_folding_a_video_changes_nothing(hybrid):
    """FoldedBatchNorm of N×C×D×H×W equals BatchNorm of the same values laid out as an image,
    gradients too."""
    folded, plain = FoldedBatchNorm(in_channels=5, prefix=''), mx.gluon.nn.BatchNorm(
        in_channels=5, prefix='')
    results = []
    for net, shape in ((folded, (2, 5, 3, 7, 11)), (plain, (2, 5, 1, 3 * 7 * 11))):
        net.initialize()
        net.cast('float64')
        if hybrid:
            net.hybridize(static_alloc=True, static_shape=True)
        randomize(net, 4)
        x, weights = array(2, 5, 3, 7, 11).reshape(shape), array(2, 5, 3, 7, 11,
                                                                 seed=6).reshape(shape)
        x.attach_grad()
        with mx.autograd.record():
            y = net(x)
            loss = (y * weights).sum()
        loss.backward()
        assert y.shape == shape
        values = net.collect_params().values()
        results.append([y, x.grad, *(v.grad() for v in values if v.grad_req != 'null'),
                        *(v.data() for v in values)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a.asnumpy().ravel(), b.asnumpy().ravel(), rtol=1e-9, atol=1e-11)


def test_a_convolution_beside_it_trains_on_cpu():
    """Plain Conv3D and BatchNorm fail in backward in float32 (`Check failed: !is_view`); ours do
    not."""
    net = mx.gluon.nn.HybridSequential(prefix='')
    net.add(conv(3, 8, (3, 3, 3), prefix='stem_'), BNReLUConv(8, 16, (3, 3, 3), prefix='next_'))
    net.initialize()
    net.hybridize(static_alloc=True, static_shape=True)
    x = array(2, 3, 5, 8, 8, dtype='float32')
    with mx.autograd.record():
        loss = (net(x) ** 2).sum()
    loss.backward()
    gradient = net.collect_params()['stem_weight'].grad().asnumpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_convolutions_of_the_pieces_have_no_bias_and_zero_starts_them_at_zero():
    net = BNReLUConv(5, 7, (3, 3), zero=True, prefix='a_')
    net.initialize(mx.init.Xavier())
    assert set(net.collect_params()) == {'a_conv_weight', 'a_bn_gamma', 'a_bn_beta',
                                         'a_bn_running_mean', 'a_bn_running_var'}
    assert not net.collect_params()['a_conv_weight'].data().asnumpy().any()
    assert net(mx.nd.ones((1, 5, 3, 3))).shape == (1, 7, 3, 3)
