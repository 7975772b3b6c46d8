#!/usr/bin/env python3
"""Does a damaged or hostile file crash us, hang us or take our memory? Mutations of real ones
through our readers.

    python proofs/fuzz_files.py -j 2

Half of the files are params (float32, int8 and bfloat16), half symbols (exported ones of the zoo,
quantized, fused and AMP ones). File `i` of seed `s` is always the same file. It is read in a worker
that may take `MARGIN` bytes more than it began with, and a second of processor time (or ten by the
clock) for each file; params are read whole, a symbol that is accepted is loaded by MXNet and asked
for its arguments and, for a small input, for its shapes and types.

    refused     with our sentence: `ParamsError`, `SymbolError`
    accepted    some changes do no harm
    exception   any other: a traceback for the user
    crash, hang, memory     the worker died by a signal; by the watchdog; the memory was not given

Prints and keeps `fuzz_files.csv`, and ends with 1 if there was any exception, crash, hang or excess
of memory; `--keep` names a folder for the files that caused one. `--reader mxnet` gives the same
files to MXNet's own readers.
"""
import collections
import contextlib
import functools
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import job
from bench import at_least, keep
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.machine.resources import cores

RESULT = Path(__file__).with_suffix('.csv')
MARGIN, SECONDS, CLOCK_SECONDS = 2 ** 29, 1, 10
DEFECTS = ('exception', 'crash', 'hang', 'memory')
VERDICTS = ('refused', 'accepted', *DEFECTS)
ZOO = (('resnet26', (1, 3, 32, 32)), ('a2_resnet26', (1, 3, 32, 32)),
       ('nl_resnet26', (1, 3, 32, 32)), ('se_resnet26', (1, 3, 32, 32)), ('a2_resnet26_3d',
                                                                          (1, 3, 8, 32, 32)))


class Base(NamedTuple):
    """A sound file; `shape` is what a symbol is fed, () for params."""
    content: bytes
    shape: Tuple[int, ...] = ()


# ---- changes of bytes: (content, random) → content

INTEGERS = (0, 1, -1, 2, 127, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63,
            2**64 - 1)


def _place(content, rng):
    """A random slice of at most 64 bytes."""
    start = rng.randrange(len(content))
    return slice(start, start + rng.randint(1, 64))


def _noise(length, rng):
    return bytes(rng.randrange(256) for _ in range(length))


def flip_bits(content, rng):
    """One to eight bits, anywhere."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content, rng):
    """The end is missing."""
    return content[:rng.randrange(len(content))]


def insert(content, rng):
    """Up to 64 random bytes more."""
    at = rng.randrange(len(content))
    return content[:at] + _noise(rng.randint(1, 64), rng) + content[at:]


def delete(content, rng):
    """Up to 64 bytes less."""
    place = _place(content, rng)
    return content[:place.start] + content[place.stop:]


def overwrite(content, rng):
    """Up to 64 bytes are others."""
    place = _place(content, rng)
    return content[:place.start] + _noise(place.stop - place.start, rng) + content[place.stop:]


def splice(content, rng):
    """A piece of the file once more, elsewhere."""
    place, at = _place(content, rng), rng.randrange(len(content))
    return content[:at] + content[place] * rng.choice((1, 1, 1, 1000)) + content[at:]


def swap(content, rng):
    """Two pieces change places."""
    changed, size = bytearray(content), rng.choice((1, 2, 4, 8))
    here, there = rng.randrange(len(content) - size), rng.randrange(len(content) - size)
    changed[here:here + size], changed[there:there + size] = content[there:there
                                                                     + size], content[here:here
                                                                                      + size]
    return bytes(changed)


def set_integer(content, rng, at=None):
    """Bytes anywhere, or at `at`, become an extreme integer of 4 or 8 bytes."""
    at = rng.randrange(len(content)) if at is None else at
    value = struct.pack('<Q', rng.choice(INTEGERS) % 2 ** 64)[:rng.choice((4, 8))]
    return content[:at] + value + content[at + len(value):]


def set_header(content, rng):
    """A field of the file's or an array's header becomes an extreme integer."""
    magic = struct.pack('<I', 0xF993FAC9)
    starts = [0, 8, 16, *(match.start() + offset for match in re.finditer(re.escape(magic), content)
                          for offset in range(0, 40, 4))]
    return set_integer(content, rng, rng.choice(starts))


def set_length(content, rng):
    """The length of a name, or the number of names, becomes an extreme integer."""
    ends = [match.start() - 8 for match in re.finditer(b'a(rg|ux):', content)]
    return set_integer(content, rng, rng.choice([*ends, min(ends) - 8]))


# ---- changes of a graph, in place, or → the text it becomes

VALUES = ('', '0', '1', '-1', '2', '15', '16', '1024', '4096', '16777216', '16777217', '-16777216',
          '268435456', '2147483647', '2147483648', '-2147483648', '4294967296',
          '9223372036854775807', '1' * 400, '0.0', '1e-45', '1e9', '1e38', '1e999', '-1e38', 'nan',
          'inf', 'None', 'True', 'False', '()', '[]', '(0,)', '(1,)', '(1, 1)', '(0, 0)',
          '(1, 1, 1)', '(2, 3, 4, 5)', '(-1, -1)', '(-2,)', '(-3, -3)', '(-4, 0, 0, 0)',
          '(-4, -1, -1)', '(0, 0, -1)', '(0, 0, 0, 0, 0, 0, 0, 0)', '(None, None)',
          '(16777216, 16)', '(16777216, 16777216)', '(3000000000,)', '(1,' * 40,
          '(' + '1, ' * 5000 + '1)', 'relu', 'prelu', 'rrelu', 'gelu', 'max', 'lp', 'full', 'same',
          'like', 'both', 'NHWC', 'NCW', 'lstm', 'gru', 'bilinear', 'nearest', 'int8', 'uint8',
          'bfloat16', 'bool', 'valid', 'cpu(0)', '["load", {"param": "/etc/passwd"}]', 'λ',
          'a\x00b', '\ud800', '%s%n', '\\', '"')
CONFUSED = (None, True, False, 0, 1, -1, 0.5, 10**9, 10**30, '', '0', 'null', [], [0], [[0, 0, 0]],
            {}, {'a': 'b'}, [-1, -1, -1], [2**31, 0, 0], [0, 2**32, 0], [0, 0, 0, 0])
STRANGE = ('', 'a' * 5000, 'λ' * 9, '\x00', 'a\nb', '\u202eabc', '\ud83d\ude00', '\ud800', '..',
           '/etc/passwd', '%s%n', '"', '\\', 'data')


def _node(graph, rng, wanted=lambda node: True):
    """A random node that is wanted, of the graph or of a subgraph; any, if none is."""
    nodes = list(graph['nodes'])
    inner = [node for outer in nodes for sub in outer.get('subgraphs', []) for node in sub['nodes']]
    if inner and rng.random() < 0.3:
        nodes = inner
    return rng.choice([node for node in nodes if wanted(node)] or nodes)


def _is_operator(node):
    return node['op'] != 'null'


def _attrs(node):
    return node.setdefault('attrs', {})


def _spots(value, found):
    """(container, key) of everything below a JSON value."""
    for key, inner in (value.items() if isinstance(value, dict) else enumerate(value)):
        found.append((value, key))
        if isinstance(inner, (dict, list)):
            _spots(inner, found)
    return found


def _spot(graph, rng):
    return rng.choice(_spots(graph, []))


def replace_operator(graph, rng):
    """By any that MXNet has, of which some are pointers, callbacks or read files."""
    _node(graph, rng)['op'] = rng.choice(_all_operators())


def replace_by_known(graph, rng):
    """By one that is accepted, with those of its attributes that it knows and as many inputs as it
    may take."""
    from gluon_a2.backend import mx
    node = _node(graph, rng, _is_operator)
    node['op'] = rng.choice(_known_operators())
    _, names, types = mx.operator.get_operator_arguments(node['op'])
    told = [name for name, kind in zip(names, types) if 'Symbol' not in kind]
    node['attrs'] = {key: text for key, text in _attrs(node).items() if key in told}
    for name, kind in zip(names, types):
        if 'required' in kind and name in told and name not in node['attrs']:
            node['attrs'][name] = _plausible(kind, rng)
    count = sum('Symbol' in kind for kind in types)
    if node['inputs']:
        node['inputs'] = [rng.choice(node['inputs']) for _ in range(count)]


def _plausible(kind, rng):
    """The text of a value of a type as MXNet describes it."""
    if kind.startswith('{'):
        return rng.choice(re.findall(r'[\w.]+', kind.split('}')[0]))
    return rng.choice({
        'int': ('0', '1', '2', '3', '-1', '-2', '16777216'),
        'Sha': ('(1, 1)', '(2, 2, 2)', '(0, -1)', '(0, 1, 2, 3)', '(3,)', '()',
                '(16777216, 16)'), 'flo': ('0', '0.5'), 'boo': ('True', 'False')
    }.get(kind[:3], ('1', )))


def grow(graph, rng):
    """One to five accepted operators on top of any nodes and of new variables, with attributes of
    their types."""
    for _ in range(rng.randint(1, 5)):
        _grow_one(graph, rng, rng.choice(_known_operators()))
    graph['heads'] = [[len(graph['nodes']) - 1, 0, 0]]
    graph.pop('node_row_ptr')


def _grow_one(graph, rng, name):
    from gluon_a2.backend import mx
    nodes, count = graph['nodes'], rng.randint(1, 3)
    _, names, types = mx.operator.get_operator_arguments(name)
    attrs = {key: _plausible(kind, rng) for key, kind in zip(names, types)
             if 'Symbol' not in kind and ('required' in kind or rng.random() < 0.2)}
    if any('[]' in kind for kind in types):
        attrs['num_args'] = str(count)
    else:
        count = sum('Symbol' in kind for kind in types) - (rng.random() < 0.2)
    inputs = []
    for _ in range(count):
        if inputs and rng.random() < 0.7:  # most operators take one array and weights
            graph['arg_nodes'].append(len(nodes))
            nodes.append({'op': 'null', 'name': f'grown{len(nodes)}', 'inputs': []})
            inputs.append([len(nodes) - 1, 0, 0])
        else:
            inputs.append([rng.randrange(len(nodes)), 0, 0])
    nodes.append({'op': name, 'name': f'grown{len(nodes)}', 'attrs': attrs, 'inputs': inputs})


def set_attribute(graph, rng):
    """One that the node has."""
    node = _node(graph, rng, lambda node: node.get('attrs'))
    if _attrs(node):
        node['attrs'][rng.choice(sorted(node['attrs']))] = rng.choice(VALUES)


def add_attribute(graph, rng):
    """One that its operator may have."""
    from gluon_a2.backend import mx
    node = _node(graph, rng, _is_operator)
    if node['op'] in _all_operators():
        names = mx.operator.get_operator_arguments(node['op'])[1]
        if names:
            _attrs(node)[rng.choice(names)] = rng.choice(VALUES)


def add_hint(graph, rng):
    """One that any node may have, or another's."""
    names = ('__shape__', '__dtype__', '__storage_type__', '__init__', '__lr_mult__', '__wd_mult__',
             'num_args', *_attrs(_node(graph, rng)))
    _attrs(_node(graph, rng))[rng.choice(names)] = rng.choice(VALUES)


def remove_attribute(graph, rng):
    """A node lacks one that it had."""
    node = _node(graph, rng, lambda node: node.get('attrs'))
    if _attrs(node):
        del node['attrs'][rng.choice(sorted(node['attrs']))]


def set_index(graph, rng):
    """An input comes from elsewhere: mostly from an earlier node, which is legal."""
    inputs = _node(graph, rng, lambda node: node['inputs'])['inputs']
    if inputs:
        inputs[rng.randrange(len(inputs))][rng.choice((0, 0, 1, 2))] = rng.choice(
            (rng.randrange(len(graph['nodes'])), rng.randrange(4), rng.randrange(-3, 4), *INTEGERS))


def change_inputs(graph, rng):
    """One more or one less."""
    inputs = _node(graph, rng, lambda node: node['inputs'])['inputs']
    if inputs and rng.random() < 0.5:
        inputs.pop(rng.randrange(len(inputs)))
    else:
        inputs.insert(0, [rng.randrange(len(graph['nodes'])), rng.randrange(3), 0])


def delete_node(graph, rng):
    """The indices behind it now mean their neighbours."""
    graph['nodes'].pop(rng.randrange(len(graph['nodes'])))


def duplicate_node(graph, rng):
    """A second node of that name, anywhere."""
    graph['nodes'].insert(rng.randrange(len(graph['nodes'])),
                          json.loads(json.dumps(_node(graph, rng))))


def swap_nodes(graph, rng):
    """Two nodes change places, so some are read before they come."""
    here, there = (rng.randrange(len(graph['nodes'])) for _ in range(2))
    nodes = graph['nodes']
    nodes[here], nodes[there] = nodes[there], nodes[here]


def swap_operators(graph, rng):
    """Two nodes' operators and attributes change places; their inputs stay."""
    here, there = (_node(graph, rng, _is_operator) for _ in range(2))
    for key in ('op', 'attrs', 'subgraphs'):
        values = here.pop(key, None), there.pop(key, None)
        here.update({} if values[1] is None else {key: values[1]})
        there.update({} if values[0] is None else {key: values[0]})


def change_ends(graph, rng):
    """The lists beside the nodes."""
    part = graph[rng.choice(sorted(set(graph) & {'arg_nodes', 'heads', 'node_row_ptr'}))]
    part.insert(rng.randrange(len(part) + 1), rng.choice((
        *CONFUSED, [rng.randrange(len(graph['nodes'])), 0, 0], rng.randrange(len(graph['nodes'])))))
    if rng.random() < 0.7:
        part.pop(rng.randrange(len(part)))


def graft(graph, rng):
    """A node gains, or changes, a subgraph: another's, or the whole graph."""
    subs = [sub for node in graph['nodes'] for sub in node.get('subgraphs', [])] or [graph]
    sub = json.loads(json.dumps(rng.choice([*subs, graph])))
    _node(graph, rng, _is_operator)['subgraphs'] = [sub] * rng.choice((0, 1, 1, 1, 2))


def confuse(graph, rng):
    """A value anywhere becomes one of another type."""
    container, key = _spot(graph, rng)
    container[key] = rng.choice(CONFUSED)


def rename(graph, rng):
    """A name or a text becomes a strange one, or another's."""
    node = _node(graph, rng)
    node[rng.choice(('name', 'name', 'op'))] = rng.choice((*STRANGE, _node(graph, rng)['name']))


def remove(graph, rng):
    """A value anywhere is missing."""
    container, key = _spot(graph, rng)
    del container[key]


def nest(graph, rng):
    """Lists or objects in each other."""
    container, key = _spot(graph, rng)
    container[key] = '@@'
    depth, way = rng.choice((5, 500, 50000)), rng.choice(('[]', '{}'))
    opening, closing = ('[', ']') if way == '[]' else ('{"a":', '}')
    return json.dumps(graph).replace('"@@"', opening * depth + '0' + closing * depth, 1)


def write_number(graph, rng):
    """A number as no reader expects it."""
    container, key = _spot(graph, rng)
    container[key] = '@@'
    return json.dumps(graph).replace(
        '"@@"',
        rng.choice(('9' * 5000, '9' * 200000, '-9' * 5, '1e5', '1e400', '-1E+400', 'NaN',
                    'Infinity', '-Infinity', '0x10', '01', '-0', '1.0', '2147483648',
                    '18446744073709551616', '9223372036854775808')), 1)


def repeat_key(graph, rng):
    """An object names something twice."""
    text = json.dumps(graph)
    at = rng.choice([
        match.start() for match in re.finditer(r'"(op|name|attrs|inputs|nodes|heads)":', text)
    ])
    key = re.match(r'"\w+":', text[at:]).group()
    return f'{text[:at]}{key} {json.dumps(rng.choice(CONFUSED))}, {text[at:]}'


def several(graph, rng):
    """Two to four of those that change the graph in place."""
    changes = replace_by_known, set_attribute, add_attribute, set_index, swap_operators, change_inputs
    for _ in range(rng.randint(2, 4)):
        rng.choice(changes)(graph, rng)


BYTES = (flip_bits, truncate, insert, delete, overwrite, splice, swap, set_integer)
GRAPH = (replace_operator, replace_by_known, grow, set_attribute, add_attribute, add_hint,
         remove_attribute, set_index, change_inputs, delete_node, duplicate_node, swap_nodes,
         swap_operators, change_ends, graft, confuse, rename, remove, nest, write_number,
         repeat_key, several)
CHANGES = {'params': (*BYTES, set_header, set_length), 'symbol': (*BYTES, *GRAPH)}


# ---- sound files

def sound_files():
    """{'params' or 'symbol': the `Base`s}: always the same ones."""
    import numpy as np

    from gluon_a2.backend import mx
    mx.random.seed(1)
    np.random.seed(1)
    files = {
        'params': [], 'symbol': [
            Base((job.ROOT / f'symbols/{name}-symbol.json').read_bytes(), shape)
            for name, shape in ZOO
        ]
    }
    for symbol, values in _small_networks(mx):
        files['symbol'].append(Base(symbol.tojson().encode(), (2, 3, 16, 16)))
        files['params'].append(Base(_saved(values, symbol.list_auxiliary_states())))
    return files


def _small_networks(mx):
    """(symbol, {name: NDArray}) of a small network as it is, fused, under AMP and quantized."""
    from mxnet.contrib import amp, quantization
    symbol, arguments, statistics = _exported(_network(mx))
    yield symbol, {**arguments, **statistics}
    yield symbol.get_backend_symbol('MKLDNN'), {**arguments, **statistics}
    mixed = amp.convert_model(symbol, arguments, statistics, target_dtype='bfloat16',
                              cast_optional_params=True)
    yield mixed[0], {**mixed[1], **mixed[2]}
    for granularity in ('tensor-wise', 'channel-wise'):
        # New each time: calibrated on an iterator at its end, the network is one that MXNet 1.9.1
        # crashes in.
        images = mx.io.NDArrayIter(mx.nd.random.uniform(shape=(4, 3, 16, 16)), batch_size=2)
        quantized = quantization.quantize_net_v2(_network(mx), quantize_granularity=granularity,
                                                 calib_data=images, calib_mode='naive',
                                                 ctx=mx.cpu())
        symbol, arguments, statistics = _exported(quantized)
        yield symbol, {**arguments, **statistics}


def _network(mx):
    """Something of everything: convolutions, an A² block, an excitation, a sum, a fully connected
    layer."""
    from gluon_a2.nn import DoubleAttention, SqueezeExcite
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, in_channels=3), mx.gluon.nn.BatchNorm(in_channels=8),
            mx.gluon.nn.Activation('relu'), DoubleAttention(8, m=4, n=4), SqueezeExcite(8),
            mx.gluon.nn.MaxPool2D(), mx.gluon.nn.Dense(7, in_units=8 * 49, activation='relu'),
            mx.gluon.nn.Dense(5, in_units=7))
    net.initialize(mx.init.Xavier())
    return net


def _exported(net):
    """(symbol, arguments, statistics) of a Gluon network, through the files that it exports."""
    from gluon_a2.backend import mx
    net.hybridize()
    net(mx.nd.zeros((2, 3, 16, 16)))
    with tempfile.TemporaryDirectory() as folder:
        net.export(f'{folder}/net')
        return mx.model.load_checkpoint(f'{folder}/net', 0)


def _saved(values, statistics):
    from gluon_a2.formats.params import to_bytes
    return to_bytes({f'{"aux" if name in statistics else "arg"}:{name}': value.asnumpy()
                     for name, value in values.items()})


# ---- one file

@functools.lru_cache(maxsize=None)
def _all_operators():
    from gluon_a2.backend import mx
    return sorted(mx.operator.get_all_registered_operators())


@functools.lru_cache(maxsize=None)
def _known_operators():
    from gluon_a2.formats.operators import OPERATORS
    return sorted(OPERATORS)


class Case(NamedTuple):
    """A mutated file."""
    format: str
    change: str
    content: bytes
    shape: Tuple[int, ...]


def kind(number):
    """(format, change) of a number: even ones are params, and the changes take turns."""
    form = ('params', 'symbol')[number % 2]
    return form, CHANGES[form][number // 2 % len(CHANGES[form])]


def make_case(files, seed, number):
    """The `Case` of a number."""
    rng = random.Random(f'{seed} {number}')
    form, change = kind(number)
    base = rng.choice(files[form])
    if change in GRAPH:
        graph = json.loads(base.content)
        changed = change(graph, rng) or graph
        text = changed if isinstance(changed, str) else json.dumps(changed,
                                                                   ensure_ascii=rng.random() < 0.5)
        content = text.encode(errors='surrogatepass')
    else:
        content = change(base.content, rng)
    return Case(form, change.__name__, content, base.shape)


def judge(case, reader):
    """Read a case as a user's file would be; the verdict, unless that ends the process."""
    try:
        READERS[reader][case.format](case)
    except UserError as error:
        return 'memory' if 'bad_alloc' in str(error) else 'refused'
    except MemoryError:
        return 'memory'
    except Exception:
        return 'exception'
    return 'accepted'


def _our_params(case):
    from gluon_a2.formats.params import from_bytes
    for array in from_bytes(case.content, 'file').values():
        array.tobytes()


def _our_symbol(case):
    from gluon_a2.backend import mx
    from gluon_a2.formats.symbol import parse_symbol
    symbol = parse_symbol(case.content, 'file')
    try:
        _ask(symbol, case.shape)
    # sound, and of no network that takes such an input
    except (mx.MXNetError, ValueError) as error:
        if 'bad_alloc' in str(error):
            raise MemoryError from error


def _mxnets_params(case):
    from gluon_a2.backend import mx
    with _refusals(mx):
        mx.nd.load_frombuffer(case.content)


def _mxnets_symbol(case):
    from gluon_a2.backend import mx
    with _refusals(mx):
        _ask(mx.sym.load_json(case.content.decode(errors='replace')), case.shape)


def _ask(symbol, shape):
    """What any user of a symbol asks of it."""
    symbol.list_outputs()
    symbol.list_auxiliary_states()
    arguments = symbol.list_arguments()
    fed = 'data' if 'data' in arguments or not arguments else arguments[0]
    symbol.infer_shape(**{fed: shape})
    symbol.infer_type(**{fed: 'float32'})


@contextlib.contextmanager
def _refusals(mx):
    """MXNet's own sentences count as refusals."""
    try:
        yield
    except mx.MXNetError as error:
        raise UserError(str(error)) from error


READERS = {'ours': {'params': _our_params, 'symbol': _our_symbol},
           'mxnet': {'params': _mxnets_params, 'symbol': _mxnets_symbol}}


# ---- workers

def silence():
    """MXNet prints what it does not like, from C++ and from Python."""
    warnings.simplefilter('ignore')
    void = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(void, standard)


class Run(NamedTuple):
    """What the workers share."""
    files: Dict[str, List[Base]]
    seed: int
    reader: str


def work(pipe, run, numbers):
    """Send the verdict on each number; whatever ends the process ends it at the first that was not
    sent."""
    silence()
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MARGIN,) * 2)
    for number in numbers:
        case = make_case(run.files, run.seed, number)
        # neither signal is handled: it ends the process
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, CLOCK_SECONDS)
        verdict = judge(case, run.reader)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(verdict)


class Worker:
    """A process that works through numbers, begun anew after each one that ends it."""

    def __init__(self, run, numbers):
        self.run, self.numbers = run, collections.deque(numbers)
        self._start()

    def _start(self):
        context = multiprocessing.get_context('fork')
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(theirs, self.run, list(self.numbers)),
                                       daemon=True)
        self.process.start()
        theirs.close()

    def receive(self):
        """(number, verdict) of the next."""
        number = self.numbers.popleft()
        try:
            return number, self.pipe.recv()
        except EOFError:
            self.process.join()
        verdict = 'hang' if -self.process.exitcode in (signal.SIGPROF, signal.SIGALRM) else 'crash'
        if self.numbers:
            self._start()
        return number, verdict


def results(run, count, jobs):
    """Yield (number, verdict) of all, from `jobs` workers."""
    workers = {worker.pipe: worker for worker in (
        Worker(run, range(job, count, jobs)) for job in range(min(jobs, count)))}
    while workers:
        for pipe in multiprocessing.connection.wait(list(workers)):
            worker = workers.pop(pipe)
            yield worker.receive()
            if worker.numbers:
                workers[worker.pipe] = worker


def table(verdicts):
    """Rows, one a kind, of {number: verdict}."""
    counts = collections.Counter((*kind(number), verdict) for number, verdict in verdicts.items())
    return [{'format': form, 'change': change.__name__.replace('_', ' '),
             'files': sum(counts[form, change, verdict] for verdict in VERDICTS),
             **{verdict: counts[form, change, verdict] for verdict in VERDICTS}}
            for form, changes in CHANGES.items() for change in changes]


@entry
def main(argv=None):
    """Returns the exit code."""
    args = _parser().parse_args(argv)
    # MXNet and our reader, once, before the forks and the limits
    for load in (_all_operators, _known_operators):
        load()
    with ProcessPoolExecutor(1, multiprocessing.get_context('fork'), silence) as pool:
        files = pool.submit(sound_files).result()
    verdicts, run = {}, Run(files, args.seed, args.reader)
    for number, verdict in tqdm(results(run, args.count, args.jobs), total=args.count,
                                disable=None):
        verdicts[number] = verdict
        if verdict in DEFECTS and args.keep:
            case, folder = make_case(files, args.seed, number), Path(args.keep)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{args.seed}-{number}-{case.change}-{verdict}.{case.format}').write_bytes(
                case.content)
    rows = table(verdicts)
    keep(rows, args.out)
    defects = {verdict: sum(row[verdict] for row in rows) for verdict in DEFECTS}
    print(f'{args.count:,} files: ' + ', '.join(f'{number} {verdict}'
                                                for verdict, number in defects.items()))
    return int(any(defects.values()))


def _parser():
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=100_000, metavar='N', help='files')
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--reader', choices=READERS, default='ours',
                       help="whose reader is tried: MXNet's own shows "
                       'what it is spared')
    flags.add_argument('-j', '--jobs', type=at_least(1), default=cores(), metavar='N',
                       help='worker processes')
    flags.add_argument('--keep', metavar='DIR', help='where to keep the files that caused a defect')
    flags.add_argument('--out', default=RESULT, metavar='CSV')
    return flags


if __name__ == '__main__':
    sys.exit(main())
