"""Multi-fiber networks: the unit by an oracle in float64, the published costs, blocks in them."""
import numpy as np
import pytest
from test_nn_oracle import batch_norm, conv, piece, randomize, relu

from gluon_a2.backend import mx
from gluon_a2.cost import count_network
from gluon_a2.models import get_model
from gluon_a2.models.multi_fiber import FIBERS, MultiFiber
from gluon_a2.models.table import ZOO


def grouped(x, p, at, stride=None):
    """BN-ReLU-Conv, fiber by fiber."""
    x, weight = relu(batch_norm(x, p, at)), p[at + 'conv_weight']
    return np.concatenate([conv(*each, stride) for each in zip(
        np.split(x, FIBERS, 1), np.split(weight, FIBERS))], 1)


@pytest.mark.parametrize('channels, stride, first', [
    (32, (1, 1, 1), False), (16, (1, 1, 1), True), (32, (1, 2, 2), True)])
@pytest.mark.parametrize('dims', [2, 3])
def test_the_unit_is_the_oracle(dims, channels, stride, first):
    """Also hybridized, with a float32 gradient that reaches every weight."""
    kernel, stride = (3, 3, 3)[-dims:], stride[-dims:]
    net = MultiFiber(channels, 32, kernel, stride, prefix='')
    net.initialize()
    net.cast('float64')
    p = randomize(net, 1)
    x = np.random.RandomState(2).normal(size=(2, channels, *(3, 7, 5)[-dims:]))
    mixed = x + piece(piece(x, p, 'mix1_'), p, 'mix2_')
    fibers = grouped(mixed, p, 'conv2_', stride)
    expected = (piece(fibers, p, 'conv3_') + piece(x, p, 'shortcut_', stride=stride) if first
                else grouped(fibers, p, 'conv3_') + x)
    np.testing.assert_allclose(net(mx.nd.array(x, dtype='float64')).asnumpy(), expected, rtol=1e-9,
                               atol=1e-9)
    net.cast('float32')
    net.hybridize()
    with mx.autograd.record():
        loss = (net(mx.nd.array(x)) ** 2).sum()
    loss.backward()
    assert all(np.abs(value.grad().asnumpy()).max() > 0 for name, value in
               net.collect_params().items() if name.endswith('weight'))


@pytest.mark.parametrize('name, parameters, flops, shown', [
    ('mfnet', 5753240, 859379712, (5.8e6, 861e6)), ('mfnet_3d', 8033120, 11045449728,
                                                     (8.0e6, 11.1e9))])
def test_costs_are_the_published_ones(name, parameters, flops, shown):
    """5.8 M and 8.0 M are met; 861 M and 11.1 G to 0.2 and 0.5 %."""
    cost = count_network(get_model(name), ZOO[name].input_size)
    assert (cost.parameters, cost.flops) == (parameters, flops)
    assert round(parameters, -5) == shown[0] and flops == pytest.approx(shown[1], rel=0.005)


@pytest.mark.parametrize('kind, count', [('a2', 5), ('nl', 5), ('se', 16)])
def test_blocks_are_plugged_by_name(kind, count):
    net = get_model('mfnet', plug=kind, classes=3)
    assert net.row.name == f'{kind}_mfnet'
    ends = {'a2': 'expand_conv_weight', 'nl': 'expand_conv_weight', 'se': 'excite_conv_weight'}
    found = [name for name in net.collect_params() if name.endswith(f'{kind}_{ends[kind]}')]
    assert len(found) == count
    if kind != 'se':
        assert [name[:11] for name in found] == [
            'conv3_unit1', 'conv3_unit3', 'conv4_unit1', 'conv4_unit3', 'conv4_unit5']
