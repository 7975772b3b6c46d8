import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.run.recipes import choose
from gluon_a2.train.optimizer import LossScale, Updater


def parameters(values):
    made = {}
    for name, value in values.items():
        parameter = mx.gluon.Parameter(name, shape=value.shape)
        parameter.initialize()
        parameter.set_data(mx.nd.array(value))
        made[name] = parameter
    return made


def numpy_step(kind, w, g, m, lr, momentum, wd):
    """Momentum SGD, plain or Nesterov's. MXNet's NAG decays the momentum by the weight it has
    already moved."""
    decayed = g + wd * w
    ahead = momentum * m - lr * decayed
    if kind == 'sgd':
        return w + ahead, ahead
    moved = w + momentum * ahead - lr * decayed
    return moved, momentum * m - lr * (g + wd * moved)


@pytest.mark.parametrize('kind', ['nag', 'sgd'])
@pytest.mark.parametrize('no_wd', [False, True])
def test_updates_follow_the_formula(kind, no_wd):
    rng = np.random.default_rng(5)
    values = {
        name: rng.normal(size=7) for name in ('conv_weight', 'bn_gamma', 'bn_beta', 'fc_bias')}
    made = parameters(values)
    updater = Updater(
        made, choose('digits', {'optimizer': kind, 'no_wd': no_wd, 'wd': 0.1, 'momentum': 0.7}))
    momenta = {name: np.zeros(7) for name in values}
    for lr in (0.5, 0.5, 0.5):
        for name, parameter in made.items():
            gradient = rng.normal(size=7)
            parameter.grad()[:] = mx.nd.array(gradient)
            wd = 0 if no_wd and name != 'conv_weight' else 0.1
            values[name], momenta[name] = numpy_step(kind, values[name], gradient / 3,
                                                     momenta[name], lr, 0.7, wd)
        updater.update(lr, 1 / 3)
    for name, parameter in made.items():
        np.testing.assert_allclose(parameter.data().asnumpy(), values[name], rtol=1e-5, atol=1e-6)


def test_states_are_the_live_momenta_and_frozen_parameters_have_none():
    made = parameters({'a_weight': np.ones(3), 'b_running_mean': np.ones(2)})
    made['b_running_mean'].grad_req = 'null'
    updater = Updater(made, choose('digits', {}))
    assert list(updater.states) == ['a_weight'] and len(updater.gradients()) == 1
    made['a_weight'].grad()[:] = 1
    updater.update(0.1, 1)
    assert (updater.states['a_weight'][0].asnumpy() != 0).all()


def test_float16_keeps_a_float32_master_weight():
    made = parameters({'a_weight': np.ones(3)})
    made['a_weight'].cast('float16')
    updater = Updater(made, choose('digits', {'dtype': 'float16', 'wd': 0.0, 'momentum': 0.0}))
    (master,) = updater.states['a_weight']
    assert updater.weights() == {'a_weight': master}
    for _ in range(8):  # each step is far below float16's resolution at 1
        made['a_weight'].grad()[:] = 1
        updater.update(1e-4, 1)
    np.testing.assert_allclose(master.asnumpy(), 1 - 8e-4, rtol=1e-6)
    assert made['a_weight'].data().dtype == np.float16
    assert made['a_weight'].data().asnumpy()[0] == np.float16(1 - 8e-4)


def gradients(*values):
    return [mx.nd.array([value]) for value in values]


def test_loss_scale_halves_on_overflow_and_doubles_after_a_clean_window():
    scale = LossScale(True, window=3, scale=8.0)
    assert not scale.accept(False) and scale.scale == 4
    assert not scale.accept(False) and scale.scale == 2
    assert all(scale.accept(True) for _ in range(3)) and scale.scale == 4
    assert scale.accept(True) and not scale.accept(False) and scale.clean == 0


def test_loss_scale_off_takes_everything():
    scale = LossScale(False)
    assert scale.accept(False) and scale.scale == 1


@pytest.mark.parametrize('bad', [None, 0, 199, 200, 255])
def test_one_value_that_is_not_finite_is_found_among_more_arrays_than_mxnet_takes_at_once(bad):
    """ResNet-50 has 155, A²-ResNet-50 215."""
    made = parameters({f'w{i}_weight': np.ones(3) for i in range(256)})
    for i, parameter in enumerate(made.values()):
        parameter.grad()[:] = mx.nd.array([1, np.nan if i == bad else 2, 3])
    assert Updater(made, choose('digits', {})).finite() is (bad is None)
