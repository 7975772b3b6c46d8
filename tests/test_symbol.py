import json

import pytest

from gluon_a2.backend import mx
from gluon_a2.models import get_model
from gluon_a2.symbol import SymbolError, read_symbol


def test_symbols_without_metadata_are_read_when_sound(tmp_path):
    symbol = get_model('resnet26')(mx.sym.var('data'))
    (tmp_path / 's.json').write_text(symbol.tojson())
    assert read_symbol(tmp_path / 's.json').tojson() == symbol.tojson()


def _node(**changes):
    relu = {'op': 'Activation', 'name': 'r', 'attrs': {'act_type': 'relu'}, 'inputs': [[0, 0, 0]], **changes}
    return {'nodes': [{'op': 'null', 'name': 'data', 'inputs': []}, relu], 'arg_nodes': [0], 'heads': [[1, 0, 0]]}


@pytest.mark.parametrize('graph, sentence', [
    ('<html>', 'is not the symbol of a network'),
    ({}, "is not the symbol of a network: 'nodes'"),
    ([], 'is not the symbol of a network'),
    (_node(op='_Native'), 'node 1 is a _Native, which a file cannot hold'),
    (_node(op='Frobnicate'), "node 1 has the unknown operator 'Frobnicate'"),
    (_node(inputs=[[1, 0, 0]]), 'node 1 reads from a node that does not come before it'),
    (_node(inputs=[[-1, 0, 0]]), 'node 1 reads from a node that does not come before it'),
    (_node(inputs=[[0, 5, 0]]), 'node 1 reads output 5 of node 0, which has 1'),
    ({**_node(), 'heads': []}, 'it has no outputs'),
    ({**_node(), 'heads': [[7, 0, 0]]}, 'its output reads from a node that does not come before it'),
    ({**_node(), 'heads': [[1, 7, 0]]}, 'its output reads output 7 of node 1, which has 1'),
    (_node(attrs={'act_type': 'nonsense'}), 'is not a symbol MXNet can read')])
def test_unsound_symbols_are_refused(tmp_path, graph, sentence):
    (tmp_path / 's.json').write_text(graph if isinstance(graph, str) else json.dumps(graph))
    with pytest.raises(SymbolError, match=sentence):
        read_symbol(tmp_path / 's.json')


def test_outputs_of_operators_with_several_are_read(tmp_path):
    halves = mx.sym.split(mx.sym.var('data'), num_outputs=2, name='halves')
    symbol = mx.sym.Group([halves[1], mx.sym.topk(halves[0], ret_typ='both')[1]])
    (tmp_path / 's.json').write_text(symbol.tojson())
    assert len(read_symbol(tmp_path / 's.json').list_outputs()) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SymbolError, match='none.json cannot be read: No such file'):
        read_symbol(tmp_path / 'none.json')
