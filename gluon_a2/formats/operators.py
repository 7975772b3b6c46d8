"""The operators that a symbol file may use, and the attributes, inputs and outputs of each.

MXNet's own reader trusts a file in the values of attributes and in the number of inputs, and a
wrong one crashes the process later. So an attribute must be one that MXNet's registry lists for the
operator, with a value of its type and not absurd; the registry also has the defaults. What the
registry does not list stands in the tables below.
"""
from __future__ import annotations

import functools
import math
import re
from typing import Any, Callable, NamedTuple

from ..backend import mx


def _words(text):
    return frozenset(text.split())


# What networks for classification consist of, in MXNet, in GluonCV and after its quantization and
# AMP. Operators that run code, read files, hold addresses, wait for other processes or have
# subgraphs of any kind are not among them.
OPERATORS = _words('''
    Activation BatchNorm Convolution Deconvolution Dropout Embedding Flatten FullyConnected
    GroupNorm InstanceNorm L2Normalization LRN LayerNorm LeakyReLU Pad Pooling RNN SoftmaxActivation
    SoftmaxOutput UpSampling _contrib_AdaptiveAvgPooling2D _contrib_BatchNormWithReLU
    _contrib_BilinearResize2D _rnn_param_concat log_softmax softmax

    _copy abs clip cos erf exp hard_sigmoid log negative reciprocal relu rsqrt sigmoid sin softsign
    sqrt square tanh
    _div_scalar _equal_scalar _greater_equal_scalar _greater_scalar _lesser_equal_scalar
    _lesser_scalar _maximum_scalar _minimum_scalar _minus_scalar _mul_scalar _not_equal_scalar
    _plus_scalar _power_scalar _rdiv_scalar _rminus_scalar _rpower_scalar
    add_n elemwise_add elemwise_div elemwise_mul elemwise_sub where
    broadcast_add broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal
    broadcast_lesser broadcast_lesser_equal broadcast_maximum broadcast_minimum broadcast_mul
    broadcast_power broadcast_sub
    _linalg_gemm2 batch_dot dot
    argmax argmin max mean min norm prod sum topk

    BlockGrad Cast Concat Reshape SliceChannel SwapAxis _ones _split_v2 _zeros broadcast_axis
    broadcast_like broadcast_to expand_dims ones_like repeat reshape_like reverse slice slice_axis
    slice_like squeeze stack tile transpose zeros_like

    _contrib_dequantize _contrib_quantize _contrib_quantize_v2 _contrib_quantized_act
    _contrib_quantized_batch_norm _contrib_quantized_concat _contrib_quantized_conv
    _contrib_quantized_elemwise_add _contrib_quantized_elemwise_mul _contrib_quantized_flatten
    _contrib_quantized_fully_connected _contrib_quantized_pooling _contrib_requantize
    _sg_mkldnn_conv _sg_mkldnn_fully_connected amp_cast amp_multicast
''')

# Attributes that MXNet's registry does not list, in its words.
_FLAG, _RANGE = 'boolean, optional, default=0', 'float or None, optional, default=None'
_QUANTIZED = {'quantized': _FLAG, 'min_calib_range': _RANGE, 'max_calib_range': _RANGE}
UNLISTED = {
    'add_n': {'num_args': 'int, required'},
    '_sg_mkldnn_conv': {'with_bn': _FLAG, 'with_act': _FLAG, 'with_sum': _FLAG,
                        'with_postsum_act': _FLAG, **_QUANTIZED},
    '_sg_mkldnn_fully_connected': {'with_eltwise': _FLAG, 'enable_float_output': _FLAG,
                                   'channel_wise_quantize': _FLAG, **_QUANTIZED},
}

# What oneDNN fuses into one node: a chain of these operators, each there if its attribute is true.
_ACTIVATIONS = ('Activation', 'LeakyReLU', 'clip')
FUSED = {
    '_sg_mkldnn_conv': (
        (None, ('Convolution', )), ('with_bn', ('BatchNorm', )), ('with_act', _ACTIVATIONS),
        ('with_sum', ('elemwise_add', )), ('with_postsum_act', _ACTIVATIONS)),
    '_sg_mkldnn_fully_connected': (
        (None, ('FullyConnected', )),
        ('with_eltwise', (*_ACTIVATIONS, 'abs', 'exp', 'sqrt', 'square'))),
}


def _unless_no_bias(attrs):
    return 2 if attrs['no_bias'] else 3


def _with_length(attrs):
    return 1 + bool(attrs['use_length'])


def _num_outputs(attrs):
    return attrs['num_outputs']


# The number of inputs where it depends on the attributes; that of a fused node also on its chain's
# variables. All others take what the registry lists, or num_args of them.
INPUTS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(('Convolution', 'Deconvolution', 'FullyConnected'), _unless_no_bias),
    'LeakyReLU': lambda attrs: 1 + (attrs['act_type'] == 'prelu'),
    'RNN': lambda attrs: 3 + (attrs['mode'] == 'lstm') + attrs['use_sequence_length'],
    'UpSampling': lambda attrs: 2 if attrs['sample_type'] == 'bilinear' else attrs['num_args'],
    'log_softmax': _with_length, 'softmax': _with_length, 'amp_multicast': _num_outputs,
    '_contrib_BilinearResize2D': lambda attrs: 1 + (attrs['mode'] == 'like'),
    '_contrib_quantized_concat': lambda attrs: 3 * attrs['num_args'],
    '_contrib_quantized_conv': lambda attrs: 3 * _unless_no_bias(attrs),
    '_contrib_quantized_fully_connected': lambda attrs: 3 * _unless_no_bias(attrs),
    '_sg_mkldnn_conv': lambda attrs, variables:
        variables + attrs['quantized'] * (2 + 2 * attrs['with_sum']),
    '_sg_mkldnn_fully_connected': lambda attrs, variables:
        variables + attrs['quantized'] * (2 if attrs['channel_wise_quantize'] else 2 * variables),
}

# The number of outputs where it is not 1, with those that are only for the backward pass.
OUTPUTS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(('BatchNorm', 'LayerNorm', 'GroupNorm', 'InstanceNorm'), lambda attrs: 3),
    **dict.fromkeys(('Dropout', 'LRN', 'L2Normalization'), lambda attrs: 2),
    '_contrib_BatchNormWithReLU': lambda attrs: 4,
    'RNN': lambda attrs: 1 + attrs['state_outputs'] * (1 + (attrs['mode'] == 'lstm')),
    'topk': lambda attrs: 2 if attrs['ret_typ'] in ('both', 'value') else 1,
    'SliceChannel': _num_outputs, 'amp_multicast': _num_outputs,
    '_split_v2': lambda attrs: attrs['sections'] or len(attrs['indices']),
    **dict.fromkeys((name for name in OPERATORS if name.startswith('_contrib_quantize')),
                    lambda attrs: 3),
    '_contrib_requantize': lambda attrs: 3,
    '_contrib_quantized_elemwise_mul': lambda attrs: 1 + 2 * (not attrs['enable_float_output']),
    '_sg_mkldnn_conv': lambda attrs: 1 + 2 * attrs['quantized'],
    '_sg_mkldnn_fully_connected': lambda attrs:
        1 + 2 * (attrs['quantized'] and not attrs['enable_float_output']),
}

# Bounds of integers by the attribute's name, far above what networks have: MXNet divides by some of
# them and makes lists as long as others. A tuple holds at most MOST_AXES of them (pads have two
# each axis), and MOST_VALUES is the most that their product may be: a gigabyte of floats. What a
# network takes when it is run is not bounded here.
MOST, MOST_AXES, MOST_VALUES, MOST_DIGITS = 2 ** 24, 16, 2 ** 28, 9
BOUNDS = {
    **dict.fromkeys(_words('''
        kernel stride dilate num_filter num_group num_groups num_hidden state_size scale height
        width output_size input_dim output_dim nsize k reps repeats repeat size p_value'''),
                    (1, MOST)),
    **dict.fromkeys(('pad', 'pad_width', 'adj'), (0, MOST)),
    **dict.fromkeys(('num_args', 'num_outputs', 'num_layers'), (1, 2 ** 10)),
    **dict.fromkeys(_words('axis axes dim dim1 dim2 lhs_axes rhs_axes lhs_begin lhs_end rhs_begin '
                           'rhs_end'), (-MOST_AXES, MOST_AXES)),
    'sections': (0, 2 ** 10), 'ord': (1, 2),
}

# Attributes any node may have, (type, bounds): hints of Gluon and Module, which no operator reads.
HINTS = {'__shape__': ('Shape(tuple)', (-1, MOST)), '__dtype__': ('int', (-1, 12)),
         '__storage_type__': ('int', (-1, 2)), '__lr_mult__': ('float', ()),
         '__wd_mult__': ('float', ()), '__init__': ('initializer', ()),
         **dict.fromkeys(_words('__layout__ __profiler_scope__ __ctx_group__ __force_mirroring__ '
                                '__mirror_stage__'), ('text', ()))}


class Operator(NamedTuple):
    """What MXNet's registry says of an operator."""
    tensors: int | None  # its number of inputs; None where the attribute num_args has it
    parse: dict[str, Callable[[str], Any]]  # by attribute: a value of its text, or ValueError
    required: frozenset  # names of attributes
    defaults: dict[str, Any]


@functools.lru_cache(maxsize=None)
def _operator(name):
    """The `Operator` of a name; ValueError unless it is in `OPERATORS` and in the MXNet at hand."""
    if name not in _registered():
        raise ValueError(f'has the unknown operator {name!r}')
    if name not in OPERATORS:
        raise ValueError(f'is a {name}, which is not accepted from a file')
    _, names, types = mx.operator.get_operator_arguments(name)
    tensors = [kind for kind in types if 'Symbol' in kind]
    listed = {key: kind for key, kind in zip(names, types) if 'Symbol' not in kind}
    parse, required, defaults = {}, set(), {}
    for key, description in {**listed, **UNLISTED.get(name, {})}.items():
        # "int, required", "{'a', 'b'},optional, default='a'"
        kind, is_required, default = re.fullmatch(
            r"(.*?), ?(?:(required)|optional, default='?(.*?)'?)", description).groups()
        parse[key] = functools.partial(_value, kind, BOUNDS.get(key, (-MOST, MOST)))
        # A default is not held to the bounds, which some that mean 'none' exceed.
        defaults[key] = _value(kind, (-math.inf, math.inf), default) if default else None
        if is_required:
            required.add(key)
    return Operator(None if any('[]' in kind for kind in tensors) else len(tensors), parse,
                    frozenset(required), defaults)


@functools.lru_cache(maxsize=None)
def _registered():
    return frozenset(mx.operator.get_all_registered_operators())


@functools.lru_cache(maxsize=512)  # most nodes of a network are alike
def values(name: str, attrs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """{attribute: value} of an operator, defaults included; ValueError if no file may have it."""
    variable = name == 'null'
    operator = Operator(0, {}, frozenset(), {}) if variable else _operator(name)
    found = dict(operator.defaults)
    for key, text in attrs:
        if variable and re.fullmatch('[a-z][a-z0-9_]*', key):
            continue  # a weight made by naming its layer keeps the layer's, which nothing reads
        if key not in operator.parse and key not in HINTS:
            raise ValueError(f'has the attribute {key!r}, which {name} does not have')
        try:
            found[key] = (operator.parse[key](text) if key in operator.parse
                          else _value(*HINTS[key], text))
        except ValueError as error:
            raise ValueError(f'has the attribute {key} {text[:40]!r}, which {error}') from error
    for key in sorted(operator.required - set(dict(attrs))):
        raise ValueError(f'has no attribute {key}')
    return found


def inputs(name: str, attrs: dict[str, Any], *variables: int) -> int:
    """The number of inputs of an operator with these `values` (and its chain's `variables`)."""
    if name == 'null':
        return 0
    if name in INPUTS:
        return INPUTS[name](attrs, *variables)
    tensors = _operator(name).tensors
    return attrs['num_args'] if tensors is None else tensors


def outputs(name: str, attrs: dict[str, Any]) -> int:
    """The number of outputs of an operator with these `values`."""
    return OUTPUTS[name](attrs) if name in OUTPUTS else 1


# ---- the value of an attribute, by its kind

def _value(kind, bounds, text):
    """The value of an attribute of MXNet's `kind`; ValueError unless it is one within `bounds`."""
    kind, optional, _ = kind.partition(' or None')
    if optional and text == 'None':
        return None
    if kind.startswith('{'):
        if text not in [choice.strip(" '") for choice in kind[1:-1].split(',')]:
            raise ValueError(f'is none of {kind}')
        return text
    return _PARSERS[kind.split(' ')[0]](text, bounds)


def _boolean(text, bounds):
    if text not in ('True', 'true', '1', 'False', 'false', '0'):
        raise ValueError('is neither True nor False')
    return text in ('True', 'true', '1')


def _integer(text, bounds):
    if not (re.fullmatch(f'-?[0-9]{{1,{MOST_DIGITS}}}', text)
            and bounds[0] <= int(text) <= bounds[1]):
        raise ValueError('is not an integer from {} to {}'.format(*bounds))
    return int(text)


def _real(text, bounds):
    if not (re.fullmatch(r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?', text)
            and abs(float(text)) < 1e38):
        raise ValueError('is not a number')
    return float(text)


def _shape(text, bounds):
    """(2, 3), [2, 3] or 2; None is an entry left out, as in slices, but never all of them."""
    bracketed = (text[:1], text[-1:]) in (('(', ')'), ('[', ']'))
    inner = (text[1:-1] if bracketed else text).strip(' ')
    entries = [entry.strip(' ') for entry in inner.split(',')] if inner else []
    if inner.endswith(','):
        entries.pop()
    if len(entries) > MOST_AXES or not (bracketed or entries):
        raise ValueError(f'has {len(entries)} entries')
    numbers = tuple(None if bracketed and entry == 'None' else _integer(entry, bounds)
                    for entry in entries)
    if math.prod(abs(number) for number in numbers if number) > MOST_VALUES:
        raise ValueError(f'asks for more than {MOST_VALUES} values')
    return numbers


def _context(text, bounds):
    if not re.fullmatch(r'(cpu|gpu)\([0-9]{1,2}\)', text):
        raise ValueError('is no device')
    return text


def _initializer(text, bounds):
    """A name, or JSON that begins with one; whoever initializes the network will create it."""
    if re.match(r'\W*load\b', text.lower()):
        raise ValueError('reads a file')
    return text


_PARSERS = {'boolean': _boolean, 'int': _integer, 'long': _integer, 'float': _real, 'double': _real,
            'Shape(tuple)': _shape, 'Shape': _shape, 'string': _context,
            'initializer': _initializer, 'text': lambda text, bounds: text}
