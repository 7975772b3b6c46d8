import json
import re

import pytest

from gluon_a2.backend import mx
from gluon_a2.formats import operators

d, e, sym = mx.sym.var('data'), mx.sym.var('e'), mx.sym
# Each gives an operator whose number of inputs or outputs depends on its attributes, or is not 1.
CASES = [
    *(sym.Convolution(d, kernel=(1, 1), num_filter=2, no_bias=flag) for flag in (True, False)),
    *(sym.Deconvolution(d, kernel=(1, 1), num_filter=2, no_bias=flag) for flag in (True, False)),
    sym.Deconvolution(d, kernel=(1, 1), num_filter=2), sym.FullyConnected(d, num_hidden=2),
    *(sym.LeakyReLU(d, act_type=kind) for kind in ('leaky', 'prelu', 'gelu', 'elu')),
    *(sym.RNN(d, mode=mode, state_size=3, num_layers=2, state_outputs=states,
              use_sequence_length=length) for mode in ('lstm', 'gru', 'rnn_tanh')
      for states in (True, False) for length in (True, False)),
    sym.UpSampling(d, scale=2, sample_type='bilinear', num_filter=3, num_args=1),
    sym.UpSampling(d, e, scale=2, sample_type='nearest', num_args=2), sym.softmax(d),
    sym.softmax(d, e, use_length=True), sym.add_n(d, e, d), sym.Concat(d, e, dim=1),
    sym.stack(d, e), sym.amp_multicast(d, e, num_outputs=2),
    sym.contrib.BilinearResize2D(d, e, mode='like'),
    sym.contrib.BilinearResize2D(d, height=2, width=3), sym.zeros((2, 3)), sym.BatchNorm(d),
    sym.contrib.BatchNormWithReLU(d), sym.LayerNorm(d), sym.GroupNorm(d), sym.InstanceNorm(d),
    sym.LRN(d, nsize=3), sym.L2Normalization(d), sym.Dropout(d),
    *(sym.topk(d, ret_typ=kind) for kind in ('both', 'value', 'indices', 'mask')),
    sym.SliceChannel(d, num_outputs=3), sym.split_v2(d, 3), sym.split_v2(d, (2, 4)),
    sym.slice(d, begin=(None, 1), end=(None, 2)), sym.contrib.quantize(d),
    sym.contrib.quantize_v2(d), sym.contrib.requantize(d), sym.contrib.dequantize(d),
    *(sym.contrib.quantized_conv(d, kernel=(1, 1), num_filter=2, no_bias=flag)
      for flag in (True, False)),
    sym.contrib.quantized_fully_connected(d, num_hidden=2), sym.contrib.quantized_flatten(d),
    sym.contrib.quantized_concat(*map(sym.var, 'abcdef'), num_args=2),
    *(sym.contrib.quantized_elemwise_mul(d, enable_float_output=flag) for flag in (True, False)),
    sym.contrib.quantized_elemwise_add(d), sym.contrib.quantized_act(d, act_type='relu'),
    sym.contrib.quantized_batch_norm(d)]


@pytest.mark.parametrize('symbol', CASES, ids=lambda symbol: symbol.name)
def test_inputs_and_outputs_are_counted_as_mxnet_counts_them(symbol):
    graph = json.loads(symbol.tojson())
    node = graph['nodes'][graph['heads'][0][0]]
    attrs = tuple(node.get('attrs', {}).items())
    operators.values(node['op'], attrs)
    assert operators.arity(node['op'], attrs) == (len(node['inputs']), len(symbol.list_outputs()))


@pytest.mark.parametrize('name', sorted(operators.OPERATORS))
def test_every_operator_is_one_of_mxnet_and_its_attributes_are_understood(name):
    """Where an attribute must be given, that is what is missed: the registry has been read."""
    assert name in mx.operator.get_all_registered_operators()
    try:
        values = operators.values(name, ())
        takes, gives = (operators.FUSED_ARITY[name](values, 3) if name in operators.FUSED
                        else operators.arity(name, ()))
        assert takes >= 0 and gives >= 1
    except ValueError as error:
        assert re.match('has no sections|is refused by MXNet.*(is not presented|kernel)',
                        str(error))


def test_a_variable_has_hints_only():
    assert operators.values('null', (('__dtype__', '0'), ('__init__', 'zeros'))) == {
        '__dtype__': 0, '__init__': 'zeros'}
    assert operators.arity('null', ()) == (0, 1)
