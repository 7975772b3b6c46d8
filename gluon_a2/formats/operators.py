"""The operators that a symbol file may use, and the attributes, inputs and outputs of each.

MXNet's own reader trusts a file in the values of attributes and in the number of inputs, and a
wrong one crashes the process later. So an attribute must be one that MXNet's registry lists for the
operator, with a value of its type and not absurd; the registry also has the defaults. What the
registry does not list stands in the tables below.
"""
from __future__ import annotations

import ctypes
import functools
import math
import re
from typing import Any, Callable

from ..backend import mx

base = mx.base


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


# How many inputs, of a chain with so many variables, and outputs a fused node has.
FUSED_ARITY: dict[str, Callable[[dict, int], tuple[int, int]]] = {
    '_sg_mkldnn_conv': lambda attrs, variables: (
        variables + attrs.get('quantized', 0) * (2 + 2 * attrs.get('with_sum', 0)),
        1 + 2 * attrs.get('quantized', 0)),
    '_sg_mkldnn_fully_connected': lambda attrs, variables: (
        variables + attrs.get('quantized', 0) * (2 if attrs.get('channel_wise_quantize') else
                                                 2 * variables),
        1 + 2 * (attrs.get('quantized', 0) and not attrs.get('enable_float_output')))}

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


@functools.lru_cache(maxsize=None)
def _parsers(name):
    """{attribute: what makes a value of its text, or raises ValueError} of an operator; ValueError
    unless it is in `OPERATORS` and in the MXNet at hand."""
    if name == 'null':
        return {}
    if name not in _registered():
        raise ValueError(f'has the unknown operator {name!r}')
    if name not in OPERATORS:
        raise ValueError(f'is a {name}, which is not accepted from a file')
    _, names, types = mx.operator.get_operator_arguments(name)
    listed = {key: kind for key, kind in zip(names, types) if 'Symbol' not in kind}
    listed.update(UNLISTED.get(name, {}))
    # "int, required", "float or None, optional, default=None"; MXNet itself refuses what is not of
    # "{'a', 'b'},optional, default='a'", and the lack of what is required.
    return {key: functools.partial(_value, kind.partition(',')[0] if kind[0] != '{' else 'text',
                                   BOUNDS.get(key, (-MOST, MOST)))
            for key, kind in listed.items()}


@functools.lru_cache(maxsize=None)
def _registered():
    return frozenset(mx.operator.get_all_registered_operators())


@functools.lru_cache(maxsize=512)  # most nodes of a network are alike
def values(name: str, attrs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """{attribute: value} of an operator's attributes; ValueError if no file may have them."""
    parsers, found = _parsers(name), {}
    for key, text in attrs:
        if name == 'null' and re.fullmatch('[a-z][a-z0-9_]*', key):
            continue  # a weight made by naming its layer keeps the layer's, which nothing reads
        if key not in parsers and key not in HINTS:
            raise ValueError(f'has the attribute {key!r}, which {name} does not have')
        try:
            found[key] = parsers[key](text) if key in parsers else _value(*HINTS[key], text)
        except ValueError as error:
            raise ValueError(f'has the attribute {key} {text[:40]!r}, which {error}') from error
    if name == '_split_v2' and not (found.get('sections') or found.get('indices')):
        raise ValueError('has no sections')  # MXNet would die of it
    return found


@functools.lru_cache(maxsize=512)
def arity(name: str, attrs: tuple[tuple[str, str], ...]) -> tuple[int, int]:
    """The numbers of inputs and of outputs of an operator with attributes that `values` has taken:
    MXNet is asked, which makes a node of it. ValueError where it refuses."""
    if name == 'null':
        return 0, 1
    texts = {key: text for key, text in attrs if key not in HINTS}
    operator, symbol = ctypes.c_void_p(), ctypes.c_void_p()
    try:
        base.check_call(base._LIB.NNGetOpHandle(base.c_str(name), ctypes.byref(operator)))
        base.check_call(base._LIB.MXSymbolCreateAtomicSymbol(
            operator, len(texts), base.c_str_array(texts), base.c_str_array(texts.values()),
            ctypes.byref(symbol)))
        node = mx.sym.Symbol(symbol)
        node._compose(name='node')  # gives it a variable for each input
    except mx.MXNetError as error:
        raise ValueError(f'is refused by MXNet: {str(error).strip().splitlines()[-1]}') from error
    return len(node.list_inputs()), len(node.list_outputs())


# ---- the value of an attribute, by its kind

def _value(kind, bounds, text):
    """The value of an attribute of MXNet's `kind`; ValueError unless it is one within `bounds`."""
    kind, optional, _ = kind.partition(' or None')
    return None if optional and text == 'None' else _PARSERS[kind.split(' ')[0]](text, bounds)


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
