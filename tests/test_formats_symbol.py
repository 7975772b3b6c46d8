import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import gluoncv, load

from gluon_a2.backend import mx
from gluon_a2.formats.params import from_bytes
from gluon_a2.formats.symbol import SymbolError, check_values, parse_symbol, read_symbol
from gluon_a2.models import get_model, list_baselines

ROOT = Path(__file__).resolve().parents[1]
FUZZ = ROOT / 'proofs' / 'fuzz_files.py'
EXPORTED = sorted((ROOT / 'symbols').glob('*-symbol.json'))
GLUONCV = ['resnet50_v1b', 'resnet50_v2', 'mobilenetv2_1.0', 'mobilenetv3_large', 'densenet121',
           'inceptionv3', 'squeezenet1.1', 'vgg16_bn', 'se_resnet50_v1', 'resnest50',
           'shufflenet_v2', 'i3d_nl5_resnet50_v1_kinetics400', 'slowfast_4x16_resnet50_kinetics400']


def same(symbol):
    """Whether the symbol is read as what it is."""
    return parse_symbol(symbol.tojson().encode(), 'x').tojson() == symbol.tojson()


# ---- what is accepted

@pytest.mark.parametrize('path', EXPORTED, ids=lambda path: path.name)
def test_exported_symbols_are_read(path):
    begun = time.process_time()
    symbol = read_symbol(path)
    assert time.process_time() - begun < 1
    assert symbol.tojson() == mx.sym.load(str(path)).tojson()


@pytest.mark.parametrize('name', list_baselines())
def test_rivals_are_read(name):
    assert same(get_model(name)(mx.sym.var('data')))


@pytest.mark.parametrize('name', GLUONCV)
def test_networks_of_gluoncv_are_read(name):
    zoo = gluoncv('gluoncv.model_zoo')
    local = {'pretrained_base': False} if 'kinetics' in name else {}
    assert same(zoo.get_model(name, pretrained=False, **local)(mx.sym.var('data')))


def test_symbols_with_a_loss_are_read():
    """As Module's users and Dual Path Networks have them; variables made on the way keep their
    layer's attributes."""
    dense = mx.sym.FullyConnected(mx.sym.Flatten(mx.sym.var('data')), num_hidden=7, name='fc')
    assert same(mx.sym.SoftmaxOutput(dense, name='softmax'))


def test_older_names_are_read():
    """MXNet 1.0 calls attributes attr, and entries may have no version."""
    graph = _graph()
    graph['nodes'][1] = {'op': 'Activation', 'name': 'r', 'attr': {'act_type': 'relu'},
                         'inputs': [[0, 0]]}
    graph['attrs'] = {'mxnet_version': ['int', 1000]}
    relu = mx.sym.Activation(mx.sym.var('data'), act_type='relu', name='r')
    assert parse_symbol(json.dumps(graph).encode(), 'x').tojson() == relu.tojson()


@pytest.fixture(scope='module')
def fuzz():
    return load('proofs/fuzz_files.py')


@pytest.fixture(scope='module')
def small(fuzz):
    """[(symbol, values)] of a small network: plain, fused, in bfloat16, quantized."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # MXNet's, of what it quantizes
        files = fuzz.sound_files()
    pairs = list(zip(files['symbol'][len(fuzz.ZOO):], files['params']))
    return [(symbol.content, from_bytes(values.content, 'x')) for symbol, values in pairs]


def test_fused_mixed_and_quantized_symbols_are_read(small):
    assert len(small) == 5
    for content, _ in small:
        assert parse_symbol(content, 'x').tojson() == mx.sym.load_json(content.decode()).tojson()
    operators = {node['op'] for content, _ in small for node in json.loads(content)['nodes']}
    assert {'_sg_mkldnn_conv', '_sg_mkldnn_fully_connected', '_contrib_quantize_v2',
            '_contrib_dequantize', 'amp_cast'} <= operators


# ---- what is refused

def _graph(**changes):
    relu = {'op': 'Activation', 'name': 'r', 'attrs': {'act_type': 'relu'}, 'inputs': [[0, 0, 0]],
            **changes}
    return {'nodes': [{'op': 'null', 'name': 'data', 'inputs': []}, relu], 'arg_nodes': [0],
            'heads': [[1, 0, 0]]}


def _json(**changes):
    return json.dumps(_graph(**changes)).encode()


def _variable(**changes):
    """The input changed."""
    return {**_graph(), 'nodes': [{**_graph()['nodes'][0], **changes}, _graph()['nodes'][1]]}


def _with(op, **attrs):
    """The node of another operator."""
    return _graph(op=op, attrs=attrs)


@pytest.mark.parametrize('graph, sentence', [
    ('<html>', 'is not the symbol of a network'),
    (b'\xff\xfe{\x00', 'is not the symbol of a network'),
    ({}, 'it has no list of nodes'),
    ([], 'it is no object'),
    ({**_graph(), 'nodes': {}}, 'it has no list of nodes'),
    ({**_graph(), 'nodes': [7]}, 'node 0 is not as nodes are'),
    (_graph(control_deps=[0]), 'node 1 is not as nodes are'),
    (_graph(name=''), 'node 1 has no name, or a strange one'),
    (_graph(name='a\nb'), 'node 1 has no name, or a strange one'),
    (_graph(name='a' * 5000), 'node 1 has no name, or a strange one'),
    (_graph(op=['Activation']), 'node 1 has no name, or a strange one'),
    (_graph(op='_Native'), 'node 1 is a _Native, which is not accepted from a file'),
    (_graph(op='Custom'), 'node 1 is a Custom, which is not accepted from a file'),
    (_graph(op='_cvimread'), 'node 1 is a _cvimread, which is not accepted from a file'),
    (_graph(op='_foreach'), 'node 1 is a _foreach, which is not accepted from a file'),
    (_graph(op='Frobnicate'), "node 1 has the unknown operator 'Frobnicate'"),
    (_graph(subgraphs=[_graph()]), 'node 1 has subgraphs'),
    (_graph(op='null'), 'node 1 takes 0 inputs and has 1'),
    (_variable(attrs={'a b': '1'}), "node 0 has the attribute 'a b', which null does not have"),
    (_graph(inputs=[[1, 0, 0]]), 'node 1 reads from a node that does not come before it'),
    (_graph(inputs=[[-1, 0, 0]]), 'node 1 reads from a node that does not come before it'),
    (_graph(inputs=[[0, 5, 0]]), 'node 1 reads output 5 of node 0, which has 1'),
    (_graph(inputs=[[0, 0, -1]]), 'node 1 reads a version that is none'),
    (_graph(inputs=[[False, 0, 0]]), r'node 1 reads from no \[node, output, version\]'),
    (_graph(inputs=[[0, 0, 0, 0]]), r'node 1 reads from no \[node, output, version\]'),
    (_graph(inputs=[0]), r'node 1 reads from no \[node, output, version\]'),
    (_graph(inputs={}), 'node 1 has inputs that are no list'),
    (_graph(inputs=[]), 'node 1 takes 1 inputs and has 0'),
    ({**_graph(), 'heads': []}, 'it has no outputs'),
    ({**_graph(), 'heads': [[7, 0, 0]]}, 'its output reads from a node that does not come before '
                                         'it'),
    ({**_graph(), 'heads': [[1, 7, 0]]}, 'its output reads output 7 of node 1, which has 1'),
    ({**_graph(), 'heads': [[1, 0, 0]] * 1025}, 'it has 1025 outputs'),
    ({**_graph(), 'attrs': {'mxnet_version': ['int', 20000]}}, 'MXNet 20000 wrote it'),
    ({**_graph(), 'attrs': {'mxnet_version': ['int', 800]}}, 'MXNet 800 wrote it'),
    ({**_graph(), 'attrs': {'mxnet_version': '1.9.1'}}, 'other than the version of MXNet'),
    ({**_graph(), 'attrs': {'json': ['str', '']}}, 'other than the version of MXNet'),
    ({**_graph(), 'nodes': [_variable()['nodes'][0]] * 2, 'arg_nodes': [0, 1]}, 'two variables '
                                                                                'have one name'),
    (json.dumps(_graph()).replace('"op"', '"op": "Custom", "op"'), 'it names something twice'),
    (json.dumps(_graph()).replace('[1, 0, 0]', '[1, NaN, 0]'), 'it has the number NaN'),
    (json.dumps(_graph()).replace('[1, 0, 0]', '[1, 0.0, 0]'), 'it has the number 0.0'),
    (json.dumps(_graph()).replace('[1, 0, 0]', '[1, 1e9, 0]'), 'it has the number 1e9'),
    (json.dumps(_graph()).replace('[1, 0, 0]', '[1, ' + '9' * 10 ** 6 + ', 0]'), 'it has the '
                                                                                 'number 9999'),
    ('[' * 10 ** 6, 'it is nested too deep'),
    (' ' * (2 ** 22 + 1), 'it has more than 4194304 bytes'),
    (_graph(attrs=[]), 'node 1 has attributes that are no texts'),
    (_graph(attrs={'act_type': 1}), 'node 1 has attributes that are no texts'),
    (_with('Activation', act_type='nonsense'), 'node 1 is refused by MXNet: .*nonsense'),
    (_with('Activation'), 'node 1 is refused by MXNet: .*act_type .* is not presented'),
    (_with('Activation', act_type='relu', axis='1'), "node 1 has the attribute 'axis', which "
                                                     "Activation does not have"),
    (_with('Convolution', kernel='(1, 1)', num_filter='1000000000'), 'num_filter .* from 1 to '
                                                                     '16777216'),
    (_with('Convolution', kernel='(1, 1)', num_filter='1.0'), 'is not an integer'),
    (_with('Convolution', kernel='(1, 1)', num_filter='8', num_group='0'), 'is not an integer from '
                                                                           '1'),
    (_with('Convolution', kernel='(1, 1)', num_filter='8', no_bias='2'), 'is neither True nor '
                                                                         'False'),
    (_with('Convolution', kernel='(1000000, 1000000)', num_filter='8'), 'asks for more than '
                                                                        '268435456 values'),
    (_with('Convolution', kernel='(1, 1', num_filter='8'), 'is not an integer'),
    (_with('Convolution', kernel='(0, 1)', num_filter='8'), 'is not an integer from 1'),
    (_with('Reshape', shape='(' + '1, ' * 17 + ')'), 'has 17 entries'),
    # MXNet takes that for a shape of -1 axes
    (_with('Reshape', shape='None'), 'is not an integer'),
    (_with('Reshape', shape=''), 'has 0 entries'),
    (_with('_zeros', shape='(1000000, 1000000)'), 'asks for more than 268435456 values'),
    (_with('_zeros', ctx='disk(0)'), 'is no device'),
    (_with('tile', reps='(16777216, 16777216)'), 'asks for more than 268435456 values'),
    (_with('SliceChannel', num_outputs='16777216'), 'is not an integer from 1 to 1024'),
    (_with('softmax', axis='33'), 'is not an integer from -16 to 16'),
    (_with('_mul_scalar', scalar='nan'), 'is not a number'),
    (_with('_mul_scalar', scalar='1e999'), 'is not a number'),
    (_variable(attrs={'__shape__': '(-5,)'}), 'node 0 has the attribute __shape__'),
    (_variable(attrs={'__dtype__': '99'}), 'node 0 has the attribute __dtype__'),
    (_variable(attrs={'__init__': '["load", {"param": "x.params"}]'}), 'node 0 .* which reads a '
                                                                       'file'),
    (_variable(attrs={'__gpu__': '1'}), "node 0 has the attribute '__gpu__', which null does not "
                                        "have")])
def test_unsound_symbols_are_refused(tmp_path, graph, sentence):
    text = graph if isinstance(graph, (str, bytes)) else json.dumps(graph)
    (tmp_path / 's.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SymbolError, match=sentence) as error:
        read_symbol(tmp_path / 's.json')
    assert 's.json is not the symbol of a network: ' in str(error.value)


def test_the_graphs_above_are_sound_before_they_are_changed():
    for graph in (_graph(), _variable(attrs={'__shape__': '(0, 3, 7, 7)', '__init__': '["xavier", '
                                                                                      '{}]'}),
                  _with('Reshape', shape='(0, -1)'),
                  {**_graph(), 'node_row_ptr': [9], 'arg_nodes': [7]}):
        assert parse_symbol(json.dumps(graph).encode(), 'x').list_arguments() == ['data']


def _first_fused(small):
    """(graph, node): a quantized network, and in it a convolution with bias and BatchNorm in one
    node."""
    for content, _ in small:
        graph = json.loads(content)
        for node in graph['nodes']:
            attrs = node.get('attrs', {})
            if attrs.get('with_bn') == attrs.get('quantized') == 'true' and len(
                    node['inputs']) == 9:
                return graph, node
    raise AssertionError('no such node')


@pytest.mark.parametrize('change, sentence', [
    (lambda node: node.pop('subgraphs'), 'has no subgraph, or several'),
    (lambda node: node.update(subgraphs=node['subgraphs'] * 2), 'has no subgraph, or several'),
    (lambda node: node['attrs'].pop('with_bn'), 'of other operators than its attributes say'),
    (lambda node: node['attrs'].update(with_sum='true'), 'of other operators than its attributes '
                                                         'say'),
    (lambda node: node['attrs'].update(quantized='false'), 'takes 7 inputs and has 9'),
    (lambda node: node['inputs'].pop(), 'takes 9 inputs and has 8'),
    (lambda node: node['subgraphs'][0]['nodes'][3].update(op='Custom'), 'has a subgraph: node 3 is '
                                                                        'a Custom'),
    (lambda node: node['subgraphs'][0]['nodes'][3].update(inputs=[[1, 0, 0]] * 3), 'a subgraph '
                                                                                   'that is no '
                                                                                   'chain'),
    (lambda node: node['subgraphs'][0]['nodes'][3].update(op='_sg_mkldnn_conv', attrs={}),
     'has a subgraph: node 3 is fused twice'),
    (lambda node: node['subgraphs'][0].update(attrs={'mxnet_version': 1}), 'other than the version '
                                                                           'of MXNet')])
def test_fused_nodes_hold_what_they_say(small, change, sentence):
    graph, node = _first_fused(small)
    change(node)
    with pytest.raises(SymbolError, match=sentence):
        parse_symbol(json.dumps(graph).encode(), 'x')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SymbolError, match='none.json cannot be read: No such file'):
        read_symbol(tmp_path / 'none.json')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=9),
    lambda inner: (st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(['nodes', 'heads', 'arg_nodes', 'op', 'name', 'inputs', 'attrs',
                         'subgraphs', 'mxnet_version']), inner)))


@settings(max_examples=100, deadline=None)
@given(JSON, st.sampled_from(['nodes', 'heads', 'arg_nodes', 'node_row_ptr', 'attrs', 'node',
                              'inputs', 'name', 'op']))
def test_any_json_is_refused_in_a_sentence(value, part):
    graph = _graph(**{part: value}) if part in ('inputs', 'name',
                                                'op') else {**_graph(), part: value}
    graph = {**_graph(), 'nodes': [_graph()['nodes'][0], value]} if part == 'node' else graph
    try:
        symbol = parse_symbol(json.dumps(graph).encode(), 'x')
    except SymbolError:
        return
    assert symbol.list_arguments() == ['data']


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(['kernel', 'stride', 'pad', 'num_filter', 'num_group', 'no_bias', 'layout',
                        'workspace']),
       st.text(max_size=9) | st.integers().map(str)
       | st.lists(st.integers(-9, 2 ** 30), max_size=4).map(str)
       | st.floats().map(str))
def test_what_is_accepted_is_shaped_or_refused_by_mxnet(key, text):
    """The process lives on, whatever an attribute says."""
    attrs = {'kernel': '(1, 1)', 'num_filter': '8', 'no_bias': 'True', key: text}
    graph = _graph(op='Convolution', attrs=attrs, inputs=[[0, 0, 0]] *
                   (2 if attrs['no_bias'] == 'True' else 3))
    try:
        _, (shape, ), _ = parse_symbol(json.dumps(graph).encode(),
                                       'x').infer_shape(data=(8, 8, 1, 1))
    except (SymbolError, mx.MXNetError):
        return
    assert len(shape) == 4 and min(shape) >= 0


# ---- values

def test_values_that_fit_pass(small, fuzz):
    for content, values in small:
        check_values(parse_symbol(content, 'x'), values, 'x.params', (2, 3, 16, 16))


def _pair():
    """A symbol with all kinds of inputs, and values that fit it."""
    body = mx.sym.BatchNorm(mx.sym.FullyConnected(mx.sym.var('data'), num_hidden=5, name='fc'),
                            name='bn')
    shapes = {'arg:fc_weight': (5, 3), 'arg:fc_bias': (5, ), 'arg:bn_gamma': (5, ),
              'arg:bn_beta': (5, ), 'aux:bn_moving_mean': (5, ), 'aux:bn_moving_var': (5, )}
    return mx.sym.SoftmaxOutput(body, name='softmax'), {key: np.zeros(shape)
                                                        for key, shape in shapes.items()}


def test_labels_may_be_left_out():
    symbol, values = _pair()
    check_values(symbol, values, 'x', (2, 3))
    check_values(symbol, {**values, 'arg:softmax_label': np.zeros(2)}, 'x', (2, 3))


@pytest.mark.parametrize('changes, sentence', [
    ({'arg:fc_weight': np.zeros((3, 5))},
     r'w.params does not fit the symbol, which takes arg:fc_weight of shape \(5, 3\): it has '
     r'\(3, 5\); export both'),
    ({'arg:fc_bias': None}, r'which takes arg:fc_bias of shape \(5,\): it has none'),
    ({'aux:bn_moving_var': None, 'arg:bn_moving_var': np.zeros(5)}, 'which takes aux:bn_moving_var '
                                                                    '.* it has none'),
    ({'arg:extra': np.zeros(5)}, 'which takes no arg:extra'),
    ({'arg:data': np.zeros((2, 3))}, 'which takes no arg:data'),
    ({'arg:softmax_label': np.zeros(3)},
     r'which takes arg:softmax_label of shape \(2,\): it has \(3,\)')])
def test_values_that_do_not_fit_are_named(changes, sentence):
    symbol, values = _pair()
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}
    with pytest.raises(SymbolError, match=sentence):
        check_values(symbol, values, 'w.params', (2, 3))


@pytest.mark.parametrize('symbol, shape, sentence', [
    (mx.sym.relu(mx.sym.var('image')), (2, 3), 'the symbol of w has no input named data'),
    (mx.sym.Convolution(mx.sym.var('data'), kernel=(3, 3), num_filter=2), (1, 2), 'cannot take '
                                                                                  'data of shape'),
    (mx.sym.broadcast_add(mx.sym.var('data'), mx.sym.var('b')), (1, 2), 'does not tell all its '
                                                                        'shapes')])
def test_symbols_that_cannot_be_fed_are_named(symbol, shape, sentence):
    with pytest.raises(SymbolError, match=sentence):
        check_values(symbol, {}, 'w', shape)


# ---- fuzzing

def test_mutated_files_are_read_or_refused(tmp_path):
    """The short version of what proofs/fuzz_files.py does 100,000 times."""
    done = subprocess.run([
        sys.executable, str(FUZZ), '--count', '500', '-j', '1', '--seed', '3', '--out',
        str(tmp_path / 'x.csv')], stdout=subprocess.PIPE, encoding='utf-8', timeout=120)
    assert done.stdout.splitlines()[-1] == '500 files: 0 exception, 0 crash, 0 hang, 0 memory'
    assert done.returncode == 0


def test_files_are_always_the_same(fuzz):
    """A number and a seed are enough to make a file again."""
    files = {'params': [fuzz.Base(bytes(range(256)) + b'arg:w')],
             'symbol': [fuzz.Base(EXPORTED[2].read_bytes())]}
    for number in range(70):
        assert fuzz.make_case(files, 1, number) == fuzz.make_case(files, 1, number)
    assert fuzz.make_case(files, 1, 0) != fuzz.make_case(files, 2, 0)


DOCTORED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import fuzz_files as fuzz

def sound_files():
    return {'params': [fuzz.Base(b'')], 'symbol': [fuzz.Base(b'{}')]}

def change(name):
    made = lambda content, rng: name.encode()
    made.__name__ = name
    return made

def read(case):
    if case.content == b'dies':
        os.kill(os.getpid(), signal.SIGSEGV)
    while case.content == b'hangs':
        pass
    if case.content == b'eats':
        bytearray(2 ** 31)
    if case.content == b'raises':
        raise KeyError

fuzz.sound_files, fuzz.READERS = sound_files, {'ours': {'params': read, 'symbol': read}}
fuzz.CHANGES = {'params': [change(name) for name in ('dies', 'hangs', 'eats', 'raises', 'works')],
                'symbol': [change('works')]}
sys.exit(fuzz.main(['--count', '11', '-j', '1', '--out', sys.argv[2], '--keep', sys.argv[3]]))
"""


def test_the_fuzzer_sees_what_it_looks_for(tmp_path):
    """Each defect is counted, its file kept, and the workers go on with the next."""
    done = subprocess.run([
        sys.executable, '-c', DOCTORED, str(FUZZ.parent), str(tmp_path / 'x.csv'),
        str(tmp_path / 'kept')], stdout=subprocess.PIPE, encoding='utf-8', timeout=120)
    assert done.stdout.splitlines()[-1] == '11 files: 1 exception, 2 crash, 1 hang, 1 memory'
    assert done.returncode == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / 'kept').iterdir()} == {
        '1-0-dies-crash.params': b'dies', '1-10-dies-crash.params': b'dies',
        '1-2-hangs-hang.params': b'hangs', '1-4-eats-memory.params': b'eats',
        '1-6-raises-exception.params': b'raises'}
    rows = (tmp_path / 'x.csv').read_text().splitlines()
    assert rows[0] == 'format,change,files,refused,accepted,exception,crash,hang,memory'
    assert rows[1] == 'params,dies,2,0,0,0,2,0,0'
    assert rows[-1] == 'symbol,works,5,0,5,0,0,0,0'
