import numpy as np
import pytest
import tiny_bundle

from gluon_a2.backend import mx
from gluon_a2.deploy.bundle import Bundle
from gluon_a2.deploy.fold import fold, without_workaround
from gluon_a2.deploy.graph import Graph
from gluon_a2.formats.symbol import parse_symbol


def forward(bundle, pixels, dtype='float64'):
    """Outputs by a plain executor, in float64."""
    def arrays(values):
        return {name: mx.nd.array(value, dtype=dtype) for name, value in values.items()}
    bound = parse_symbol(bundle.graph, 'the test').bind(
        mx.cpu(), {**arrays(bundle.arguments), 'data': mx.nd.array(pixels, dtype=dtype)},
        aux_states=arrays(bundle.statistics))
    return bound.forward()[0].asnumpy()


def wide(bundle):
    """The bundle's values in float64, so that what folding does is not hidden by rounding."""
    return bundle._replace(**{
        kind: {name: value.astype(np.float64) for name, value in getattr(bundle, kind).items()}
        for kind in ('arguments', 'statistics')})


def bundle_of(model, **options):
    recipe = tiny_bundle.VIDEO if model.endswith('3d') else tiny_bundle.IMAGE
    return wide(tiny_bundle.make(model, recipe, **options))


# conv1, two convolutions in each unit, and one in each A² or non-local block stand directly before
# a BatchNorm.
@pytest.mark.parametrize('model, options, folded, total', [
    ('a2_resnet26', {}, 1 + 16 + 4, 42), ('a2_resnet26', {'association': 'right'}, 1 + 16 + 4, 42),
    *(('a2_resnet26', {'softmax': softmax, 'association': association}, 1 + 16, 42)
      for softmax in ('gather', 'distribute', 'none') for association in ('left', 'right')),
    ('nl_resnet26', {}, 1 + 16 + 4, 42), ('se_resnet26', {}, 1 + 16, 26),
    ('resnet26_3d', {}, 1 + 16, 26), ('a2_resnet26_3d', {}, 1 + 16 + 4, 42),
    ('nl_resnet26_3d', {'blocks': {'conv4': (2,)}}, 1 + 16 + 1, 30)])
def test_logits_stay_to_float64s_last_digits(model, options, folded, total):
    bundle = bundle_of(model, **options)
    after, done, of = fold(bundle)
    assert (done, of) == (folded, total)
    assert sum(node.op == 'BatchNorm' for node in Graph(after.graph).nodes()) == total - folded
    pixels = np.random.default_rng(1).normal(
        size=(2, *((3, 4, 29, 31) if model.endswith('3d') else (3, 29, 31))))
    before, now = forward(bundle, pixels), forward(after, pixels)
    assert np.abs(now - before).max() < 1e-10 * np.abs(before).max()


def test_the_expansion_folds_into_phi_with_scale_and_shift_by_hand():
    bundle = bundle_of('a2_resnet26', blocks={'conv4': (2,)})
    block = 'conv4_unit2_a2_'
    values, after = bundle.values, fold(bundle)[0]
    scale = values[block + 'expand_bn_gamma'] / np.sqrt(values[block + 'expand_bn_running_var']
                                                        + 1e-5)
    shift = values[block + 'expand_bn_beta'] - scale * values[block + 'expand_bn_running_mean']
    np.testing.assert_allclose(after.arguments[block + 'phi_conv_weight'],
                               values[block + 'phi_conv_weight'] * scale[:, None, None, None],
                               rtol=1e-13)
    np.testing.assert_allclose(after.arguments[block + 'phi_conv_fwd_bias'], shift, rtol=1e-13)
    for name in ('theta_conv_weight', 'rho_conv_weight', 'expand_conv_weight'):
        np.testing.assert_array_equal(after.arguments[block + name], values[block + name])


def test_workarounds_are_taken_off_and_nothing_else_changes():
    bundle = bundle_of('a2_resnet26_3d')
    after = without_workaround(bundle)
    ops = [[node.op for node in Graph(one.graph).nodes()] for one in (bundle, after)]
    assert [kinds.count('BatchNorm') for kinds in ops] == [42, 42]
    assert [kinds.count('reshape_like') for kinds in ops] == [42 + 4, 4]
    pixels = np.random.default_rng(1).normal(size=(1, 3, 4, 16, 16))
    np.testing.assert_allclose(forward(after, pixels), forward(bundle, pixels), rtol=1e-10)


def small(network, **values):
    """A `Bundle` of a symbol, with random values where none are given; N×3×5×5 in."""
    shapes, _, states = network.infer_shape(data=(2, 3, 5, 5))
    rng = np.random.default_rng(0)
    arguments = {name: rng.uniform(0.5, 2, shape)
                 for name, shape in zip(network.list_arguments(), shapes) if name != 'data'}
    statistics = {name: rng.uniform(0.5, 2, shape)
                  for name, shape in zip(network.list_auxiliary_states(), states)}
    return Bundle(network.tojson().encode(), {**arguments, **values}, statistics,
                  {'network': 'small'})


def layer(data, name='c', **attributes):
    return mx.sym.Convolution(data, kernel=(3, 3), num_filter=4, name=name, **attributes)


def norm(data, **attributes):
    return mx.sym.BatchNorm(data, name='bn', **{'fix_gamma': False, 'eps': 1e-3, **attributes})


def shared_weight(x):
    weight = mx.sym.var('w', shape=(4, 3, 3, 3))
    return mx.sym.broadcast_add(norm(layer(x, weight=weight, no_bias=True)), mx.sym.sum(weight))


def read_twice(x):
    inner = layer(x)
    return norm(inner) + inner


def weights_that_do_not_sum_to_one(x):
    a = mx.sym.reshape(layer(x), (0, 0, -1))
    return norm(mx.sym.batch_dot(a, mx.sym.softmax(a, axis=1), transpose_b=True))


def kept_axes(x):
    return norm(
        mx.sym.FullyConnected(mx.sym.reshape(x, (0, 0, -1)), num_hidden=3, flatten=False, name='c'))


def computed_weight(x):
    return norm(layer(x, weight=mx.sym.var('w', shape=(4, 3, 3, 3)) * 2))


def attention(x):
    weights = mx.sym.softmax(mx.sym.reshape(layer(x, 'd'), (0, 0, -1)), axis=-1)
    return norm(mx.sym.batch_dot(mx.sym.reshape(layer(x), (0, 0, -1)), weights, transpose_b=True))


SMALL = {  # network: whether its BatchNorm can be folded
    'bias': (lambda x: norm(layer(x)), True),
    'no bias': (lambda x: norm(layer(x, no_bias=True)), True),
    'fixed gamma': (lambda x: norm(layer(x), fix_gamma=True), True),
    'groups': (lambda x: norm(mx.sym.Convolution(x, kernel=(1, 1), num_filter=6, num_group=3,
                                                 name='c')), True),
    'fully connected': (lambda x: norm(mx.sym.FullyConnected(x, num_hidden=5, name='c')), True),
    'attention': (attention, True), 'other axis': (lambda x: norm(layer(x), axis=3), False),
    'read twice': (read_twice, False),
    'a ReLU between': (lambda x: norm(mx.sym.relu(layer(x))), False),
    'nothing before': (lambda x: layer(norm(x)), False), 'shared weight': (shared_weight, False),
    'axes that are kept': (kept_axes, False), 'a computed weight': (computed_weight, False),
    'an average over the wrong axis': (weights_that_do_not_sum_to_one, False)}


@pytest.mark.parametrize('name', SMALL)
def test_what_folds_and_what_must_not(name):
    build, expected = SMALL[name]
    bundle = small(build(mx.sym.var('data')))
    after, done, total = fold(bundle)
    assert (done, total) == (int(expected), 1)
    assert after.meta['folded'] == done
    pixels = np.random.default_rng(3).normal(size=(2, 3, 5, 5))
    before = forward(bundle, pixels)
    assert np.abs(forward(after, pixels) - before).max() <= 1e-12 * np.abs(before).max()
