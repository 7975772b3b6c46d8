"""Reading MXNet's symbol JSON without letting a malformed graph crash the process, or do what no
network does.

MXNet's own reader follows indices and addresses that a file holds, and trusts it in the number of
inputs and in the values of attributes. So a graph is checked first, whole: known operators only
(`OPERATORS`), each with the attributes it has, of values that are of the attribute's type and not
absurd, with as many inputs as it then takes, read from outputs that exist. MXNet is then given what
was understood here, written anew, and not the file. Reading runs nothing.
"""
import contextlib
import functools
import io
import json
import math
import re
import warnings
from typing import Any, Callable, Dict, NamedTuple, Optional

from ..backend import mx
from ..errors import UserError


def _words(text):
    return frozenset(text.split())


# What networks for classification consist of, in MXNet, in GluonCV and after its quantization and
# AMP. Operators that run code, read files, hold addresses, wait for other processes or have
# subgraphs of any kind are not among them.
OPERATORS = _words('''
    Activation BatchNorm Convolution Deconvolution Dropout Embedding Flatten FullyConnected GroupNorm InstanceNorm
    L2Normalization LRN LayerNorm LeakyReLU Pad Pooling RNN SoftmaxActivation SoftmaxOutput UpSampling
    _contrib_AdaptiveAvgPooling2D _contrib_BatchNormWithReLU _contrib_BilinearResize2D _rnn_param_concat
    log_softmax softmax

    _copy abs clip cos erf exp hard_sigmoid log negative reciprocal relu rsqrt sigmoid sin softsign sqrt square tanh
    _div_scalar _equal_scalar _greater_equal_scalar _greater_scalar _lesser_equal_scalar _lesser_scalar
    _maximum_scalar _minimum_scalar _minus_scalar _mul_scalar _not_equal_scalar _plus_scalar _power_scalar
    _rdiv_scalar _rminus_scalar _rpower_scalar
    add_n elemwise_add elemwise_div elemwise_mul elemwise_sub where
    broadcast_add broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal broadcast_lesser
    broadcast_lesser_equal broadcast_maximum broadcast_minimum broadcast_mul broadcast_power broadcast_sub
    _linalg_gemm2 batch_dot dot
    argmax argmin max mean min norm prod sum topk

    BlockGrad Cast Concat Reshape SliceChannel SwapAxis _ones _split_v2 _zeros broadcast_axis broadcast_like
    broadcast_to expand_dims ones_like repeat reshape_like reverse slice slice_axis slice_like squeeze stack tile
    transpose zeros_like

    _contrib_dequantize _contrib_quantize _contrib_quantize_v2 _contrib_quantized_act _contrib_quantized_batch_norm
    _contrib_quantized_concat _contrib_quantized_conv _contrib_quantized_elemwise_add
    _contrib_quantized_elemwise_mul _contrib_quantized_flatten _contrib_quantized_fully_connected
    _contrib_quantized_pooling _contrib_requantize _sg_mkldnn_conv _sg_mkldnn_fully_connected
    amp_cast amp_multicast
''')

# Attributes that MXNet's registry does not tell, in its words.
_FLAG, _RANGE = 'boolean, optional, default=0', 'float or None, optional, default=None'
_QUANTIZED = {'quantized': _FLAG, 'min_calib_range': _RANGE, 'max_calib_range': _RANGE}
UNTOLD = {
    'add_n': {'num_args': 'int, required'}, '_sg_mkldnn_conv': {
        'with_bn': _FLAG, 'with_act': _FLAG, 'with_sum': _FLAG, 'with_postsum_act': _FLAG,
        **_QUANTIZED
    }, '_sg_mkldnn_fully_connected': {
        'with_eltwise': _FLAG, 'enable_float_output': _FLAG, 'channel_wise_quantize': _FLAG,
        **_QUANTIZED
    },
}

# What oneDNN fuses into one node: a chain of these operators, each there if the node's attribute is
# true.
_ACTIVATIONS = ('Activation', 'LeakyReLU', 'clip')
FUSED = {
    '_sg_mkldnn_conv': ((None, ('Convolution', )), ('with_bn', ('BatchNorm', )), ('with_act',
                                                                                  _ACTIVATIONS),
                        ('with_sum', ('elemwise_add', )), ('with_postsum_act', _ACTIVATIONS)),
    '_sg_mkldnn_fully_connected': ((None, ('FullyConnected', )),
                                   ('with_eltwise', (*_ACTIVATIONS, 'abs', 'exp', 'sqrt',
                                                     'square'))),
}


def _unless_no_bias(attrs):
    return 2 if attrs['no_bias'] else 3


# The number of inputs where it depends on the attributes; that of a fused node also on its chain's
# variables. All others take what the registry lists, or num_args of them.
INPUTS = {
    'Convolution': _unless_no_bias, 'Deconvolution': _unless_no_bias,
    'FullyConnected': _unless_no_bias, 'LeakyReLU': lambda attrs: 1 +
    (attrs['act_type'] == 'prelu'), 'RNN': lambda attrs: 3 +
    (attrs['mode'] == 'lstm') + attrs['use_sequence_length'], 'UpSampling': lambda attrs: 2
    if attrs['sample_type'] == 'bilinear' else attrs['num_args'],
    'log_softmax': lambda attrs: 1 + bool(attrs['use_length']),
    'softmax': lambda attrs: 1 + bool(attrs['use_length']),
    'amp_multicast': lambda attrs: attrs['num_outputs'],
    '_contrib_BilinearResize2D': lambda attrs: 1 + (attrs['mode'] == 'like'),
    '_contrib_quantized_concat': lambda attrs: 3 * attrs['num_args'],
    '_contrib_quantized_conv': lambda attrs: 3 * _unless_no_bias(attrs),
    '_contrib_quantized_fully_connected': lambda attrs: 3 * _unless_no_bias(attrs),
    '_sg_mkldnn_conv': lambda attrs, variables: variables + attrs['quantized'] * (2 + 2 * attrs[
        'with_sum']), '_sg_mkldnn_fully_connected': lambda attrs, variables: variables + attrs[
            'quantized'] * (2 if attrs['channel_wise_quantize'] else 2 * variables),
}

# The number of outputs where it is not 1, with those that are only for the backward pass.
OUTPUTS = {
    'BatchNorm': lambda attrs: 3, 'LayerNorm': lambda attrs: 3, 'GroupNorm': lambda attrs: 3,
    'InstanceNorm': lambda attrs: 3, '_contrib_BatchNormWithReLU': lambda attrs: 4,
    'Dropout': lambda attrs: 2, 'LRN': lambda attrs: 2, 'L2Normalization': lambda attrs: 2,
    'RNN': lambda attrs: 1 + attrs['state_outputs'] * (1 + (attrs['mode'] == 'lstm')),
    'topk': lambda attrs: 2 if attrs['ret_typ'] in ('both', 'value') else 1,
    'SliceChannel': lambda attrs: attrs['num_outputs'],
    'amp_multicast': lambda attrs: attrs['num_outputs'],
    '_split_v2': lambda attrs: attrs['sections'] or len(attrs['indices']),
    '_sg_mkldnn_conv': lambda attrs: 1 + 2 * attrs['quantized'],
    '_sg_mkldnn_fully_connected': lambda attrs: 1 + 2 * (attrs['quantized'] and not attrs[
        'enable_float_output']), '_contrib_quantized_elemwise_mul': lambda attrs: 1 + 2 *
    (not attrs['enable_float_output']), **dict.fromkeys(
        _words('''
        _contrib_quantize _contrib_quantize_v2 _contrib_quantized_act _contrib_quantized_batch_norm
        _contrib_quantized_concat _contrib_quantized_conv _contrib_quantized_elemwise_add _contrib_quantized_flatten
        _contrib_quantized_fully_connected _contrib_quantized_pooling _contrib_requantize'''), lambda attrs: 3),
}

# Bounds of integers by the attribute's name, far above what networks have: MXNet divides by some of
# them and makes lists as long as others. A tuple holds at most MOST_AXES of them (pads have two
# each axis), and MOST_VALUES is the most that their product may be: a gigabyte of floats. What a
# network takes when it is run is not bounded here.
MOST, MOST_AXES, MOST_VALUES = 2 ** 24, 16, 2 ** 28
BOUNDS = {
    **dict.fromkeys(_words('''
        kernel stride dilate num_filter num_group num_groups num_hidden state_size scale height width output_size
        input_dim output_dim nsize k reps repeats repeat size p_value'''), (1, MOST)),
    **dict.fromkeys(('pad', 'pad_width', 'adj'), (0, MOST)),
    **dict.fromkeys(('num_args', 'num_outputs', 'num_layers'), (1, 2 ** 10)),
    **dict.fromkeys(_words('axis axes dim dim1 dim2 lhs_axes rhs_axes lhs_begin lhs_end rhs_begin '
                           'rhs_end'),
                    (-MOST_AXES, MOST_AXES)),
    'sections': (0, 2 ** 10), 'ord': (1, 2),
}

# Attributes any node may have, (type, bounds): hints of Gluon and Module, which no operator reads.
HINTS = {
    '__shape__': ('Shape(tuple)',
                  (-1, MOST)), '__dtype__': ('int', (-1, 12)), '__storage_type__': ('int', (-1, 2)),
    '__lr_mult__': ('float', ()), '__wd_mult__': ('float', ()), '__init__': ('initializer', ()),
    **dict.fromkeys(('__layout__', '__profiler_scope__', '__ctx_group__', '__force_mirroring__', '__mirror_stage__'), ('text', ())),
}

# What one file may hold. The largest symbol of the GluonCV zoo has 3.6 MB and 9,307 nodes.
MOST_BYTES, MOST_NODES, MOST_OUTPUTS, MOST_CHARACTERS, MOST_DIGITS = 2**22, 2**14, 2**10, 4096, 9
OLDEST, NEWEST = 905, 20000  # from MXNet 0.9.5 on, and before 2, attributes have meant the same
NODE = {'op', 'name', 'attrs', 'attr', 'inputs', 'subgraphs'}


class SymbolError(UserError):
    """A file is not the symbol of a network."""


# ---- operators

class Attribute(NamedTuple):
    """One attribute of an operator; `parse` turns text into a value, or raises ValueError."""
    parse: Callable[[str], Any]
    required: bool
    default: Any


class Operator(NamedTuple):
    """What MXNet's registry tells of an operator; `tensors` is its number of inputs, None where
    num_args is."""
    tensors: Optional[int]
    attributes: Dict[str, Attribute]


@functools.lru_cache(maxsize=None)
def _operator(name):
    """The `Operator` of a name; ValueError unless it is in `OPERATORS` and in the MXNet at hand."""
    if name not in _registered():
        raise ValueError(f'has the unknown operator {name!r}')
    if name not in OPERATORS:
        raise ValueError(f'is a {name}, which is not accepted from a file')
    _, names, types = mx.operator.get_operator_arguments(name)
    tensors = [kind for kind in types if 'Symbol' in kind]
    told = {key: kind for key, kind in zip(names, types) if 'Symbol' not in kind}
    return Operator(
        None if any('[]' in kind for kind in tensors) else len(tensors),
        {key: _attribute(key, kind) for key, kind in {**told, **UNTOLD.get(name, {})}.items()})


@functools.lru_cache(maxsize=None)
def _registered():
    return frozenset(mx.operator.get_all_registered_operators())


def _attribute(name, description):
    """The `Attribute` of a type as MXNet describes it: "int, required", "{'a', 'b'},optional,
    default='a'"."""
    kind, required, default = re.fullmatch(
        r"(.*?), ?(?:(required)|optional, default='?(.*?)'?)", description).groups()
    parse = functools.partial(_value, kind, BOUNDS.get(name, (-MOST, MOST)))
    return Attribute(parse, bool(required), None if required else _default(kind, default))


def _default(kind, text):
    """A default's value; it is not held to the bounds, which some that mean 'none' exceed."""
    return _value(kind, (-math.inf, math.inf), text) if text else None


def _value(kind, bounds, text):
    """The value of an attribute of a `kind` of MXNet's; ValueError unless it is one, within
    `bounds` if integer."""
    kind, optional, _ = kind.partition(' or None')
    if optional and text == 'None':
        return None
    if kind.startswith('{'):
        return _choice(kind, text)
    return _PARSERS[kind.split(' ')[0]](text, bounds)


def _choice(kind, text):
    if text not in [choice.strip(" '") for choice in kind[1:-1].split(',')]:
        raise ValueError(f'is none of {kind}')
    return text


def _boolean(text, bounds):
    if text not in ('True', 'true', '1', 'False', 'false', '0'):
        raise ValueError('is neither True nor False')
    return text in ('True', 'true', '1')


def _integer(text, bounds):
    if not re.fullmatch(f'-?[0-9]{{1,{MOST_DIGITS}}}',
                        text) or not bounds[0] <= int(text) <= bounds[1]:
        raise ValueError('is not an integer from {} to {}'.format(*bounds))
    return int(text)


def _real(text, bounds):
    if not re.fullmatch(r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?', text) or not abs(
            float(text)) < 1e38:
        raise ValueError('is not a number')
    return float(text)


def _shape(text, bounds):
    """(2, 3), [2, 3] or 2; None stands for an entry left out, as in slices, but never for all of
    them."""
    bracketed = (text[:1], text[-1:]) in (('(', ')'), ('[', ']'))
    inner = (text[1:-1] if bracketed else text).strip(' ')
    entries = [
        entry.strip(' ') for entry in (inner[:-1] if inner[-1:] == ',' else inner).split(',')
    ] if inner else []
    if len(entries) > MOST_AXES or not (bracketed or entries):
        raise ValueError(f'has {len(entries)} entries')
    values = tuple(None if bracketed and entry == 'None' else _integer(entry, bounds)
                   for entry in entries)
    if math.prod(abs(value) for value in values if value) > MOST_VALUES:
        raise ValueError(f'asks for more than {MOST_VALUES} values')
    return values


def _context(text, bounds):
    if not re.fullmatch(r'(cpu|gpu)\([0-9]{1,2}\)', text):
        raise ValueError('is no device')
    return text


def _text(text, bounds):
    return text


def _initializer(text, bounds):
    """A name, or JSON that begins with one; whoever initializes the network will create it."""
    if re.match(r'\W*load\b', text.lower()):
        raise ValueError('reads a file')
    return text


_PARSERS = {
    'boolean': _boolean, 'int': _integer, 'long': _integer, 'float': _real, 'double': _real,
    'Shape(tuple)': _shape, 'Shape': _shape, 'string': _context, 'text': _text,
    'initializer': _initializer
}


@functools.lru_cache(maxsize=512)  # most nodes of a network are alike
def _values(name, attrs):
    """{attribute: value} of an operator's `attrs`, (name, text) pairs, and the defaults of those
    left out."""
    known = {} if name == 'null' else _operator(name).attributes
    values = {key: attribute.default for key, attribute in known.items()}
    for key, text in attrs:
        if name == 'null' and re.fullmatch('[a-z][a-z0-9_]*', key):
            # a weight made by naming its layer alone keeps the layer's attributes; nothing reads
            # them
            continue
        if key not in known and key not in HINTS:
            raise ValueError(f'has the attribute {key!r}, which {name} does not have')
        try:
            values[key] = known[key].parse(text) if key in known else _value(*HINTS[key], text)
        except ValueError as error:
            raise ValueError(f'has the attribute {key} {text[:40]!r}, which {error}') from error
    for key, attribute in known.items():
        if attribute.required and key not in dict(attrs):
            raise ValueError(f'has no attribute {key}')
    return values


# ---- graphs

def read_symbol(path):
    """The symbol in a JSON file; `SymbolError` where it cannot be read or its graph is not
    sound."""
    try:
        with open(path, 'rb') as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SymbolError(f'{path} cannot be read: {error.strerror}; give a symbol.json file or a '
                          'name of the zoo') from error
    return parse_symbol(content, path)


def parse_symbol(content, source):
    """The symbol in JSON bytes; `SymbolError`, naming `source`, where its graph is not sound. Runs
    nothing."""
    try:
        graph = _checked(_parsed_json(content))
    except ValueError as error:
        raise SymbolError(f'{source} is not the symbol of a network: {error}') from error
    try:
        return mx.sym.load_json(json.dumps(graph, ensure_ascii=False))
    except mx.MXNetError as error:
        raise SymbolError(f'{source} is not a symbol MXNet can read: '
                          f'{str(error).strip().splitlines()[-1]}') from error


def check_values(symbol, values, source, data_shape):
    """Hold the arrays of a params file against the symbol they are for: all it takes is there, and
    nothing else.

    `values` is {'arg:name' or 'aux:name': array}; `data_shape` is that of the input `data`, N
    first, for which the shapes are inferred. Labels (names ending in `_label`) may be left out.
    SymbolError, naming `source`, tells the first that does not fit; types are not compared.
    """
    shapes = _shapes(symbol, source, data_shape)
    for key, shape in shapes.items():
        if key.endswith('_label') and key not in values:
            continue
        found = tuple(values[key].shape) if key in values else 'none'
        if found != shape:
            raise SymbolError(f'{source} does not fit the symbol, which takes {key} of shape '
                              f'{shape}: it has {found}; export both again')
    extra = sorted(set(values) - set(shapes))
    if extra:
        raise SymbolError(f'{source} does not fit the symbol, which takes no {extra[0]}: export '
                          'both again')


def _shapes(symbol, source, data_shape):
    """{'arg:name' or 'aux:name': shape} of all that a symbol takes but its input."""
    if 'data' not in symbol.list_arguments():
        raise SymbolError(f'the symbol of {source} has no input named data')
    try:
        # MXNet prints the shapes before it raises, and warns of what is raised below.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)
            arguments, _, statistics = symbol.infer_shape(data=data_shape)
    except mx.MXNetError as error:
        raise SymbolError(f'the symbol of {source} cannot take data of shape {data_shape}: '
                          f'{str(error).strip().splitlines()[-1]}') from error
    if arguments is None:
        raise SymbolError(f'the symbol of {source} does not tell all its shapes for data of shape '
                          f'{data_shape}')
    shapes = {
        f'arg:{name}': shape for name, shape in zip(symbol.list_arguments(), arguments)
        if name != 'data'
    }
    return {
        **shapes, **{
            f'aux:{name}': shape for name, shape in zip(symbol.list_auxiliary_states(), statistics)
        }
    }


def _require(condition, sentence):
    if not condition:
        raise ValueError(sentence)


def _parsed_json(content):
    """What JSON bytes hold: objects without two values of one name, and no numbers but integers of
    nine digits."""
    _require(len(content) <= MOST_BYTES, f'it has more than {MOST_BYTES} bytes')

    def unique(pairs):
        _require(len(dict(pairs)) == len(pairs), 'it names something twice')
        return dict(pairs)

    def integer(text):
        _require(len(text) <= MOST_DIGITS, f'it has the number {text[:40]}')
        return int(text)

    def refuse(text):
        raise ValueError(f'it has the number {text[:40]}')
    try:
        return json.loads(content.decode(), object_pairs_hook=unique, parse_int=integer,
                          parse_float=refuse, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError('it is nested too deep') from error


def _checked(graph, nested=False):
    """The graph as MXNet is given it, of what JSON held; ValueError unless it is sound."""
    _require(isinstance(graph, dict), 'it is no object')
    for key in ('nodes', 'arg_nodes', 'heads'):
        _require(isinstance(graph.get(key), list), f'it has no list of {key}')
    _require(set(graph) <= {'nodes', 'arg_nodes', 'heads', 'node_row_ptr', 'attrs'}, 'it has parts '
                                                                                     'no symbol '
                                                                                     'has')
    _require(len(graph['nodes']) <= MOST_NODES, f'it has more than {MOST_NODES} nodes')
    nodes, outputs = [], []
    for index, node in enumerate(graph['nodes']):
        with _about(f'node {index}'):
            nodes.append(_checked_node(node, outputs, nested))
            outputs.append(_outputs(nodes[-1]))
    variables = [index for index, node in enumerate(nodes) if node['op'] == 'null']
    _require(_integers(graph['arg_nodes']) and graph['arg_nodes'] == variables, 'arg_nodes are not '
                                                                                'its variables')
    _require(len({nodes[index]['name'] for index in variables}) == len(variables), 'two variables '
                                                                                   'have one name')
    _check_rows(graph.get('node_row_ptr'), nodes)
    _require(0 < len(graph['heads']) <= MOST_OUTPUTS, f'it has {len(graph["heads"]) or "no"} '
                                                      'outputs')
    for head in graph['heads']:
        with _about('its output'):
            _check_entry(head, outputs)
    _check_version(graph.get('attrs', {}))
    # Stated as ours, it is not 'upgraded': nothing of older versions that would need that has
    # passed.
    whole = {} if nested else {'attrs': {'mxnet_version': ['int', _version()]}}
    return {'nodes': nodes, 'arg_nodes': variables, 'heads': graph['heads'], **whole}


def _checked_node(node, outputs, nested):
    """The node as MXNet is given it; `outputs` has the number of outputs of each node before it."""
    _require(isinstance(node, dict) and {'op', 'name', 'inputs'} <= set(node) <= NODE, 'is not as '
                                                                                       'nodes are')
    _require(_is_text(node['op']) and _is_text(node['name']) and node['name'], 'has no name, or a '
                                                                               'strange one')
    checked = {
        'op': node['op'], 'name': node['name'], 'attrs': _texts(node), 'inputs': node['inputs']
    }
    values = _values(node['op'], tuple(checked['attrs'].items()))
    if node['op'] in FUSED:
        _require(not nested, 'is fused twice')
        checked['subgraphs'] = [_chain(node, values)]
    else:
        _require('subgraphs' not in node, 'has subgraphs')
    takes = _inputs(node['op'], values,
                    *(len(chain['arg_nodes']) for chain in checked.get('subgraphs', [])))
    _require(isinstance(node['inputs'], list), 'has inputs that are no list')
    _require(len(node['inputs']) == takes, f'takes {takes} inputs and has {len(node["inputs"])}')
    for entry in node['inputs']:
        _check_entry(entry, outputs)
    return checked


def _texts(node):
    """The attributes of a node as text; older versions of MXNet call them attr."""
    attrs = node.get('attrs', node.get('attr', {}))
    _require(
        isinstance(attrs, dict) and len(attrs) <= 64
        and all(map(_is_text, (*attrs, *attrs.values()))),
        'has attributes that are no texts, or strange ones')
    return attrs


def _is_text(text):
    return isinstance(text, str) and len(text) <= MOST_CHARACTERS and text.isprintable()


def _inputs(name, values, *variables):
    """The number of inputs of an operator whose attributes have these values; `variables` is that
    of its chain."""
    if name == 'null':
        return 0
    if name in INPUTS:
        return INPUTS[name](values, *variables)
    tensors = _operator(name).tensors
    return values['num_args'] if tensors is None else tensors


def _outputs(node):
    """The number of outputs of a checked node."""
    rule = OUTPUTS.get(node['op'])
    return rule(_values(node['op'], tuple(node['attrs'].items()))) if rule else 1


def _chain(node, values):
    """The one subgraph of a fused node: its operators one after another, each variable read once
    and in order."""
    _require(isinstance(node.get('subgraphs'), list) and len(node['subgraphs']) == 1, 'has no '
                                                                                      'subgraph, '
                                                                                      'or several')
    with _about('has a subgraph:'):
        graph = _checked(node['subgraphs'][0], nested=True)
    links = [choices for flag, choices in FUSED[node['op']] if flag is None or values[flag]]
    operators = [index for index, inner in enumerate(graph['nodes']) if inner['op'] != 'null']
    _require(len(operators) == len(links) and all(graph['nodes'][index]['op'] in choices
                                                  for index, choices in zip(operators, links)),
             'has a subgraph of other operators than its attributes say')
    reads = [entry[:2] for index in operators for entry in graph['nodes'][index]['inputs']]
    reads = reads + [entry[:2] for entry in graph['heads']]
    chain = [entry for entry in reads if entry[0] in operators]
    variables = [entry[0] for entry in reads if entry[0] not in operators]
    _require(chain == [[index, 0] for index in operators] and variables == graph['arg_nodes'],
             'has a subgraph that is no chain')
    return graph


def _check_entry(entry, outputs):
    """ValueError unless `entry`, [node, output, version], is one of `outputs`, their number for
    each earlier node."""
    _require(_integers(entry) and 2 <= len(entry) <= 3, 'reads from no [node, output, version]')
    source, output = entry[:2]
    _require(0 <= source < len(outputs), 'reads from a node that does not come before it')
    _require(0 <= output < outputs[source], f'reads output {output} of node {source}, which has '
                                            f'{outputs[source]}')
    _require(all(0 <= version <= MOST_NODES for version in entry[2:]), 'reads a version that is '
                                                                       'none')


def _check_rows(rows, nodes):
    """ValueError unless `rows` is absent or, as in files, the number of outputs before each node
    and of all."""
    if rows is not None:
        _require(_integers(rows) and len(rows) == len(nodes) + 1 and rows[0] == 0
                 and all(before < after for before, after in zip(rows, rows[1:])), 'its '
                                                                                   'node_row_ptr '
                                                                                   'does not fit')


def _integers(values):
    # a bool is an int, too
    return isinstance(values, list) and all(type(value) is int for value in values)


def _check_version(attrs):
    """ValueError unless a graph's own attributes are at most the version of MXNet that wrote it,
    one we can read."""
    if attrs:
        _require(isinstance(attrs, dict) and list(attrs) == ['mxnet_version'], 'it has attributes '
                                                                               'no symbol has')
        version = attrs['mxnet_version']
        _require(isinstance(version, list) and version[:1] == ['int'] and len(version) == 2
                 and _integers(version[1:]), 'its mxnet_version is none')
        _require(OLDEST <= version[1] < NEWEST, f'MXNet {version[1]} wrote it: load and save it '
                                                'with MXNet 1')


def _version():
    """The version of MXNet as a file states it: 10901 for 1.9.1."""
    major, minor, patch = map(int, re.match(r'(\d+)\.(\d+)\.(\d+)', mx.__version__).groups())
    return 10000 * major + 100 * minor + patch


@contextlib.contextmanager
def _about(subject):
    """A ValueError raised in here begins with its subject."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f'{subject} {error}') from error
