"""Networks of the zoo with random weights and statistics, as bundles, and what can be read out of
them."""
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.formats.symbol import parse_symbol
from gluon_a2.models import get_model
from gluon_a2.run import network
from gluon_a2.run.recipes import RECIPES

# what MXNet's bfloat16 needs of a CPU
AVX512 = 'avx512bw' in Path('/proc/cpuinfo').read_text()
avx512 = pytest.mark.skipif(not AVX512, reason='MXNet computes bfloat16 with AVX-512 only')

IMAGE = dataclasses.replace(RECIPES['digits'], input_size=48)
VIDEO = dataclasses.replace(RECIPES['moving_digits'], input_size=48, frames=4, frame_stride=3)


def make(model, recipe=IMAGE, classes=('one', 'two', 'three'), seed=0, **options):
    """A `Bundle` in which no two numbers are alike, running statistics included, and every softmax
    is far from flat."""
    net = get_model(model, classes=len(classes), **options)
    net.initialize()
    rng = np.random.default_rng(seed)
    for name, parameter in net.collect_params().items():
        spread = 3 if name.endswith(('theta_conv_weight', 'rho_conv_weight')) else 1
        fan_in = np.prod(parameter.shape[1:]) if len(parameter.shape) > 1 else 4
        values = spread * rng.normal(0, 1 / np.sqrt(fan_in), parameter.shape)
        if name.endswith(('gamma', 'running_var')):
            values = 1 + 0.5 * np.tanh(values)
        parameter.set_data(mx.nd.array(values))
    return network.bundle(net, dataclasses.replace(recipe, model=model), classes, {'data': 'none'})


def internals(bundle, pixels, names):
    """float64 arrays of some of a network's inner outputs for one input, 3×(T×)H×W, the batch axis
    taken off."""
    found = parse_symbol(bundle.graph, 'the test').get_internals()
    net = mx.gluon.SymbolBlock([found[f'{name}_output'] for name in names],
                               mx.sym.var('data', dtype='float32'))
    net.collect_params().load_dict(
        {name: mx.nd.array(value)
         for name, value in bundle.values.items()}, ctx=mx.cpu(), ignore_extra=True)
    return [array[0].asnumpy().astype(np.float64) for array in net(mx.nd.array(pixels[None]))]
