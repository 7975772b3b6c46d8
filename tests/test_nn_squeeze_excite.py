"""The two ways to scale by a gate are one function; test_nn_blocks.py holds the block to numpy."""
import json

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.nn import SqueezeExcite
from gluon_a2.nn.squeeze_excite import scaled


def operators(symbol):
    return {node['op'] for node in json.loads(symbol.tojson())['nodes']}


def test_only_a_network_in_training_has_what_older_releases_lack():
    net = SqueezeExcite(7)
    assert 'broadcast_mul' in operators(net(mx.sym.var('data')))
    with mx.autograd.train_mode():
        assert operators(net(mx.sym.var('data'))) >= {'elemwise_mul', 'broadcast_like'}


@pytest.mark.parametrize('shape', [(3, 7, 5, 11), (2, 5, 3, 7, 11)])
def test_both_give_the_same_bits(shape):
    rng, found = np.random.default_rng(0), []
    x, gate, heads = (mx.nd.array(rng.normal(size=size))
                      for size in (shape, shape[:2] + (1,) * (len(shape) - 2), shape))
    x.attach_grad()
    gate.attach_grad()
    for training in (False, True):
        with mx.autograd.record():
            y = scaled(mx.nd, x, gate, training)
        y.backward(heads)
        found.append([array.asnumpy() for array in (y, x.grad, gate.grad)])
    np.testing.assert_allclose(found[0][0], x.asnumpy() * gate.asnumpy(), rtol=1e-6)
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)
