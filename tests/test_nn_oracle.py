"""Numpy oracles written from the paper's equations, in float64; first held to loops and to values
worked out by hand.

Arrays are N×C×(D×)H×W. `p` is {parameter name: array}, `at` the prefix of the names to use. With
`training` a BatchNorm normalises by the batch, else by the running statistics.
"""
import itertools

import numpy as np
import pytest


def batch_norm(x, p, at, training=False):
    """(x − mean) / √(var + 1e-5) · γ + β, for each channel."""
    axes = (0, *range(2, x.ndim))
    mean, var = (x.mean(axes), x.var(axes)) if training else (p[at + 'bn_running_mean'],
                                                              p[at + 'bn_running_var'])
    mean, var, gamma, beta = (values.reshape(-1, *(1,) * (x.ndim - 2))
                              for values in (mean, var, p[at + 'bn_gamma'], p[at + 'bn_beta']))
    return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0)


def windows(x, kernel, stride, pad, fill):
    """(offset, the N×C×… values each output position sees at that offset), for all offsets of a
    kernel."""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)], constant_values=fill)
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride)]
    for offset in itertools.product(*map(range, kernel)):
        yield offset, x[(..., *(slice(o, o + s * (n - 1) + 1, s)
                                for o, s, n in zip(offset, stride, out)))]


def conv(x, weight, stride=None, bias=None):
    """A convolution padded by k // 2; the weight is O×I×k…"""
    kernel = weight.shape[2:]
    y = sum(
        np.einsum('oi,ni...->no...', weight[(..., *offset)], seen)
        for offset, seen in windows(x, kernel, stride or (1, )
                                    * len(kernel), [k // 2 for k in kernel], 0))
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


def max_pool(x, kernel, stride):
    """A max pool padded by k // 2."""
    return np.max(
        [seen for _, seen in windows(x, kernel, stride, [k // 2 for k in kernel], -np.inf)], axis=0)


def piece(x, p, at, training=False, stride=None):
    """BN-ReLU-Conv."""
    return conv(relu(batch_norm(x, p, at, training)), p[at + 'conv_weight'], stride)


def softmax(x, axis):
    """e^x / Σ e^x along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def flat(x):
    """N×C×dhw."""
    return x.reshape(*x.shape[:2], -1)


def double_attention_z(phi, theta, rho, softmaxes='both'):
    """Eq. 6, with the indices of Eq. 4 and 5: g_j = Σ_k a_k softmax(θ)_jk, z_i = Σ_j g_j
    softmax(ρ)_ji; without a softmax, θ over the number of positions, ρ over that of descriptors."""
    # each row of softmax(θ) sums to 1 over positions
    b = softmax(theta, 2) if softmaxes in ('both', 'gather') else theta / theta.shape[2]
    g = np.einsum('nmk,njk->nmj', phi, b)
    # each column of softmax(ρ) sums to 1 over the descriptors
    v = softmax(rho, 1) if softmaxes in ('both', 'distribute') else rho / rho.shape[1]
    return np.einsum('nmj,nji->nmi', g, v)


def double_attention(x, p, at='', training=False, softmaxes='both'):
    """X + expand(Z), Figure 2."""
    phi, theta, rho = (piece(x, p, f'{at}{name}_', training) for name in ('phi', 'theta', 'rho'))
    z = double_attention_z(flat(phi), flat(theta), flat(rho), softmaxes).reshape(phi.shape)
    return x + piece(z, p, at + 'expand_', training)


def non_local(x, p, at='', training=False):
    """X + expand(Z), z_i = Σ_j softmax_j(θ_i · φ_j) g_j (ref. [25], embedded Gaussian)."""
    theta, phi, g = (piece(x, p, f'{at}{name}_', training) for name in ('theta', 'phi', 'g'))
    weight = softmax(np.einsum('nki,nkj->nij', flat(theta), flat(phi)), 2)
    z = np.einsum('nij,nkj->nki', weight, flat(g)).reshape(g.shape)
    return x + piece(z, p, at + 'expand_', training)


def squeeze_excite(x, p, at='', training=False):
    """x · σ(W₂ relu(W₁ mean(x) + b₁) + b₂) (ref. [11])."""
    mean = flat(x).mean(2)
    w1, w2 = (p[f'{at}{name}_conv_weight'].reshape(p[f'{at}{name}_conv_weight'].shape[:2])
              for name in ('squeeze', 'excite'))
    hidden = relu(mean @ w1.T + p[at + 'squeeze_conv_bias'])
    gate = 1 / (1 + np.exp(-(hidden @ w2.T + p[at + 'excite_conv_bias'])))
    return x * gate.reshape(*gate.shape, *(1,) * (x.ndim - 2))


BLOCKS = {'a2': double_attention, 'nl': non_local, 'se': squeeze_excite}


def randomize(net, seed, spread=0.4):
    """Give every parameter of an initialized `net` its own random values; {name: float64 array}."""
    rng, values = np.random.RandomState(seed), {}
    for name, parameter in net.collect_params().items():
        if name.endswith('running_var'):
            value = rng.uniform(0.5, 2, parameter.shape)
        elif name.endswith('gamma'):
            value = rng.uniform(0.5, 1.5, parameter.shape) * rng.choice((-1, 1, 1), parameter.shape)
        elif name.endswith('weight'):
            value = rng.normal(0, (2 / np.prod(parameter.shape[1:])) ** 0.5, parameter.shape)
        else:
            value = rng.normal(0, spread, parameter.shape)
        values[name] = value
        parameter.set_data(value)
    return {name: parameter.data().asnumpy().astype('float64')
            for name, parameter in net.collect_params().items()}


@pytest.mark.parametrize('stride', [(1, 1), (2, 1), (3, 2)])
def test_convolution_and_pool_are_what_their_loops_say(stride):
    rng = np.random.RandomState(3)
    x, weight = rng.normal(size=(2, 3, 7, 11)), rng.normal(size=(5, 3, 3, 5))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (2, 2)])
    lowest = np.pad(x, [(0, 0), (0, 0), (1, 1), (2, 2)], constant_values=-np.inf)
    y, top = conv(x, weight, stride), max_pool(x, (3, 5), stride)
    assert y.shape == (2, 5, -(-7 // stride[0]),
                       -(-11 // stride[1])) and top.shape == (2, 3, *y.shape[2:])
    for n, o, i, j in np.ndindex(*y.shape):
        row, column = i * stride[0], j * stride[1]
        assert y[n, o, i, j] == pytest.approx(
            (padded[n, :, row:row + 3, column:column + 5] * weight[o]).sum())
    for n, c, i, j in np.ndindex(*top.shape):
        row, column = i * stride[0], j * stride[1]
        assert top[n, c, i, j] == lowest[n, c, row:row + 3, column:column + 5].max()


def test_convolution_has_a_third_axis():
    x = np.arange(3.0).reshape(1, 1, 3, 1, 1)
    assert conv(x,
                np.array([1.0, 10, 100]).reshape(1, 1, 3, 1, 1)).ravel().tolist() == [100, 210, 21]


def test_double_attention_by_hand():
    """Two positions, two descriptors: θ₁ attends 3:1, θ₂ evenly; position 1 picks g₁ and g₂ 4:1,
    position 2 only g₂."""
    phi = np.array([[[8.0, 16]]])
    theta = np.log(np.array([[[3.0, 1], [5, 5]]]))
    rho = np.log(np.array([[[4.0, 1e-30], [1, 1]]]))
    # g₁ = ¾·8 + ¼·16 = 10, g₂ = 12; z₁ = ⅘·10 + ⅕·12 = 10.4, z₂ = 12
    np.testing.assert_allclose(double_attention_z(phi, theta, rho), [[[10.4, 12]]], rtol=1e-12)


def test_double_attention_without_softmaxes_by_hand():
    """G is Eq. 2's sum of outer products over the two positions, halved; z_i its mean under ρ_i."""
    phi, theta, rho = (np.array(rows, float)[None] for rows in (
        [[8, 16]], [[3, 1], [5, 5]], [[4, 0], [1, 1]]))
    # g₁ = (8·3 + 16·1) / 2 = 20, g₂ = (8·5 + 16·5) / 2 = 60; z₁ = (4·20 + 60) / 2, z₂ = 60 / 2
    np.testing.assert_array_equal(double_attention_z(phi, theta, rho, 'none'), [[[70, 30]]])


def test_batch_norm_by_hand():
    x = np.array([1.0, 3]).reshape(1, 1, 2)
    p = {'bn_gamma': np.array([5.0]), 'bn_beta': np.array([7.0]),
         'bn_running_mean': np.array([-1.0]), 'bn_running_var': np.array([4 - 1e-5])}
    np.testing.assert_allclose(batch_norm(x, p, '').ravel(), [12, 17], rtol=1e-12)
    np.testing.assert_allclose(batch_norm(x, p, '', training=True).ravel(), [2, 12], atol=1e-4)
