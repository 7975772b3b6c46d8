"""Costs worked out by hand: one layer at a time, shared weights, layers called twice, and two
GluonCV networks."""
import math

import pytest

from gluon_a2.backend import mx
from gluon_a2.cost import count, count_network
from gluon_a2.errors import UserError
from gluon_a2.legacy import lent_to_gluoncv

with lent_to_gluoncv():
    from gluoncv.model_zoo import get_model as gluoncv_model

DATA = mx.sym.var('data')
OTHER = mx.sym.var('other')


@pytest.mark.parametrize('symbol,shapes,flops,trained,output', [
    # 3 filters of 5·(3·2), at 5×9 positions
    (mx.sym.Convolution(DATA, num_filter=3, kernel=(3, 2), no_bias=True), {'data': (1, 5, 7, 10)},
     3 * 5 * 6 * 45, 3 * 5 * 6, (1, 3, 5, 9)),
    # strided and padded: ⌈7/2⌉ × ⌈11/3⌉ positions; a bias adds parameters, not products
    (mx.sym.Convolution(DATA, num_filter=13, kernel=(3, 3), stride=(2, 3), pad=(1, 1)),
     {'data': (2, 5, 7, 11)},
     2 * 13 * 5 * 9 * 4 * 4, 13 * 5 * 9 + 13, (2, 13, 4, 4)),
    # grouped: each filter sees 6/3 channels
    (mx.sym.Convolution(DATA, num_filter=9, kernel=(1, 5), num_group=3, no_bias=True),
     {'data': (1, 6, 7, 11)},
     9 * 2 * 5 * 7 * 7, 9 * 2 * 5, (1, 9, 7, 7)),
    # depthwise, and one and three space axes
    (mx.sym.Convolution(DATA, num_filter=7, kernel=(3,), num_group=7, no_bias=True),
     {'data': (1, 7, 13)},
     7 * 3 * 11, 21, (1, 7, 11)),
    (mx.sym.Convolution(DATA, num_filter=5, kernel=(3, 1, 2), no_bias=True),
     {'data': (1, 2, 5, 7, 3)},
     5 * 2 * 6 * 3 * 7 * 2, 60, (1, 5, 3, 7, 2)),
    # dilated: the kernel spans 5, and still has 3 taps
    (mx.sym.Convolution(DATA, num_filter=2, kernel=(3, 3), dilate=(2, 2), no_bias=True),
     {'data': (1, 3, 7, 5)},
     2 * 3 * 9 * 3 * 1, 54, (1, 2, 3, 1)),
    # transposed: each of 3·7·5 inputs is spread over 11 filters of 2·2; output (7-1)·3+2 by
    # (5-1)·2+2
    (mx.sym.Deconvolution(DATA, num_filter=11, kernel=(2, 2), stride=(3, 2), no_bias=True),
     {'data': (1, 3, 7, 5)},
     3 * 7 * 5 * 11 * 4, 3 * 11 * 4, (1, 11, 20, 10)),
    (mx.sym.Deconvolution(DATA, num_filter=6, kernel=(2, 2), num_group=2, no_bias=True),
     {'data': (1, 4, 7, 5)},
     4 * 7 * 5 * 3 * 4, 4 * 3 * 4, (1, 6, 8, 6)),
    (mx.sym.FullyConnected(DATA, num_hidden=11),
     {'data': (3, 5, 7)}, 3 * 35 * 11, 35 * 11 + 11, (3, 11)),
    (mx.sym.FullyConnected(DATA, num_hidden=11, flatten=False, no_bias=True), {'data': (3, 5, 7)},
     3 * 5 * 7 * 11, 77, (3, 5, 11)),
    (mx.sym.batch_dot(DATA, OTHER),
     {'data': (2, 3, 5), 'other': (2, 5, 7)}, 2 * 3 * 5 * 7, 0, (2, 3, 7)),
    (mx.sym.batch_dot(DATA, OTHER, transpose_a=True),
     {'data': (2, 5, 3), 'other': (2, 5, 7)}, 210, 0, (2, 3, 7)),
    (mx.sym.batch_dot(DATA, OTHER, transpose_b=True),
     {'data': (2, 3, 5), 'other': (2, 7, 5)}, 210, 0, (2, 3, 7)),
    (mx.sym.batch_dot(DATA, OTHER, transpose_a=True, transpose_b=True),
     {'data': (2, 5, 3), 'other': (2, 7, 5)},
     210, 0, (2, 3, 7)),
    (mx.sym.linalg.gemm2(DATA, OTHER, transpose_a=True),
     {'data': (2, 5, 3), 'other': (2, 5, 7)}, 210, 0, (2, 3, 7)),
    (mx.sym.dot(DATA, OTHER), {'data': (3, 5), 'other': (5, 7)}, 105, 0, (3, 7)),
    (mx.sym.dot(DATA, OTHER, transpose_a=True), {'data': (5, 3), 'other': (5, 7)}, 105, 0, (3, 7)),
    (mx.sym.dot(DATA, OTHER, transpose_b=True), {'data': (3, 5), 'other': (7, 5)}, 105, 0, (3, 7)),
    (mx.sym.dot(DATA, OTHER),
     {'data': (2, 3, 5), 'other': (5, 7, 11)}, 2 * 3 * 5 * 7 * 11, 0, (2, 3, 7, 11)),
    (mx.sym.dot(DATA, OTHER, transpose_a=True),
     {'data': (5, 2, 3), 'other': (5, 7)}, 210, 0, (2, 3, 7))])
def test_one_layer(symbol, shapes, flops, trained, output):
    cost = count(symbol, **shapes)
    assert (cost.flops, cost.trained, cost.parameters) == (flops, trained, trained)
    layer, = cost.layers
    assert layer.output == output and layer.flops == flops


def test_batch_norm_has_statistics_and_no_products():
    layer, = count(mx.sym.BatchNorm(DATA, fix_gamma=False, name='bn'), data=(2, 7, 3, 5)).layers
    assert layer == ('bn', 'BatchNorm', (2, 7, 3, 5), 14, 14, 0)
    cost = count(mx.sym.BatchNorm(DATA), data=(2, 7, 3, 5))
    assert (cost.trained, cost.parameters, cost.flops) == (14, 28, 0)


def test_what_neither_multiplies_nor_learns_is_no_layer():
    symbol = mx.sym.softmax(mx.sym.Activation(DATA + DATA * 2, act_type='relu'))
    assert count(mx.sym.Pooling(symbol, kernel=(2, 2)), data=(1, 3, 4, 6)).layers == ()


def test_a_shared_weight_is_counted_once_and_its_products_twice():
    weight = mx.sym.var('weight')
    first = mx.sym.FullyConnected(DATA, weight=weight, num_hidden=7, no_bias=True, name='first')
    second = mx.sym.FullyConnected(first, weight=weight, num_hidden=7, no_bias=True, name='second')
    cost = count(second, data=(3, 7))
    assert [(layer.name, layer.parameters, layer.flops) for layer in cost.layers] == [
        ('first', 49, 147), ('second', 0, 147)]
    assert (cost.trained, cost.flops) == (49, 294)


def test_a_layer_called_twice_is_two_layers_with_their_own_sizes():
    """Gluon gives both calls one name."""
    conv = mx.gluon.nn.Conv2D(3, 3, use_bias=False, in_channels=3, prefix='conv_')
    cost = count(conv(conv(DATA)), data=(1, 3, 7, 11))
    assert [(layer.name, layer.output, layer.parameters, layer.flops) for layer in cost.layers] == [
        ('conv_fwd', (1, 3, 5, 9), 81, 81 * 45), ('conv_fwd', (1, 3, 3, 7), 0, 81 * 21)]


def test_several_inputs_and_outputs():
    parts = mx.sym.split(DATA, num_outputs=3, axis=1)
    symbol = mx.sym.Group([mx.sym.batch_dot(parts[0], OTHER, name='a'),
                           mx.sym.batch_dot(parts[2], OTHER, name='b')])
    cost = count(symbol, data=(2, 15, 7), other=(2, 7, 11))
    assert [(layer.name, layer.flops) for layer in cost.layers] == [('a', 2 * 5 * 7 * 11),
                                                                    ('b', 2 * 5 * 7 * 11)]


def test_costs_grow_with_the_batch_and_parameters_do_not():
    net = mx.gluon.nn.Conv2D(5, 3, in_channels=3, prefix='')
    one, seven = (count_network(net, (11, 13), batch=batch) for batch in (1, 7))
    assert seven.flops == 7 * one.flops == 7 * 5 * 3 * 9 * 9 * 11
    assert seven.parameters == one.parameters == 140


def test_an_unknown_input_is_named():
    with pytest.raises(UserError, match='^the symbol has no input named image$'):
        count(mx.sym.FullyConnected(DATA, num_hidden=3), data=(1, 2), image=(1, 3))


def test_a_shape_that_does_not_fit_is_named():
    net = mx.gluon.nn.Conv2D(5, 3, in_channels=3, prefix='')
    for shape in ((1, 3, 7), (1, 4, 7, 7)):
        with pytest.raises(UserError, match='^the network cannot take data of 1×') as caught:
            count(net(DATA), data=shape)
        assert '×'.join(map(str, shape)) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.filterwarnings('ignore:Cannot decide shape')  # MXNet says it too
def test_shapes_left_open_are_named():
    with pytest.raises(UserError, match='do not determine every layer: name all inputs of the '
                                        'symbol$'):
        count(mx.sym.batch_dot(DATA, OTHER), data=(2, 3, 5))


def independent(net, size):
    """Multiply-adds and parameters from the weights' and outputs' shapes of one forward pass."""
    flops, hooks = [], []

    def tally(block, inputs, output):
        if isinstance(block, (mx.gluon.nn.Conv2D, mx.gluon.nn.Dense)):
            # a weight acts at each position
            flops.append(math.prod(block.weight.shape) * math.prod(output.shape[2:]))

    net.initialize()
    net.apply(lambda block: hooks.append(block.register_forward_hook(tally)))
    net(mx.nd.zeros((1, 3, size, size)))
    return sum(flops), sum(math.prod(value.shape) for value in net.collect_params().values())


@pytest.mark.parametrize('name,giga', [('resnet50_v1b', 4.089), ('mobilenetv2_1.0', 0.3008)])
def test_networks_of_gluoncv(name, giga):
    """ResNet-50 v1b as its zoo says, MobileNetV2 as its paper says (300 M), and both as their
    weights say."""
    net = gluoncv_model(name, pretrained=False)
    cost = count_network(net, (224, 224))
    assert cost.flops / 1e9 == pytest.approx(giga, abs=0.0005)
    assert (cost.flops, cost.parameters) == independent(net, 224)
