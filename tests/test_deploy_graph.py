import json

import pytest

from gluon_a2.backend import mx
from gluon_a2.deploy.graph import Graph, Node
from gluon_a2.models import get_model


def names(graph):
    return [node.name for node in graph.nodes()]


def a_graph():
    """r = relu(x), s = r + y, t = r · s, with s and t as outputs."""
    x, y = mx.sym.var('x'), mx.sym.var('y')
    r = mx.sym.Activation(x, act_type='relu', name='r')
    s = mx.sym.elemwise_add(r, y, name='s')
    return mx.sym.Group([s, mx.sym.elemwise_mul(r, s, name='t')])


@pytest.mark.parametrize('model', ['a2_resnet50', 'nl_resnet26_3d', 'se_resnet152'])
def test_written_as_it_was_read(model):
    symbol = get_model(model)(mx.sym.var('data'))
    again = mx.sym.load_json(Graph(symbol.tojson()).to_bytes().decode())
    found, expected = (json.loads(one.tojson())['nodes'] for one in (again, symbol))
    # the third number of an input counts its changes; MXNet does without it
    for node in found + expected:
        node['inputs'] = [source[:2] for source in node['inputs']]
    assert found == expected


def test_nodes_come_behind_what_they_read():
    graph = Graph(a_graph().tojson())
    assert names(graph) == ['x', 'r', 'y', 's', 't']
    readers = {node.name: [(reader and reader.name, index) for reader, index in found]
               for node, found in graph.readers().items()}
    assert readers == {
        'x': [('r', 0)], 'r': [('s', 0), ('t', 0)], 'y': [('s', 1)], 's': [('t', 1), (None, 0)],
        't': [(None, 1)]}


def test_replacing_reaches_readers_and_outputs_and_drops_what_nobody_reads():
    graph = Graph(a_graph().tojson())
    nodes = {node.name: node for node in graph.nodes()}
    graph.replace(nodes['s'], Node('null', 'z', {}, [], {}))
    assert names(graph) == ['z', 'x', 'r', 't']
    again = mx.sym.load_json(graph.to_bytes().decode())
    assert again.list_arguments() == ['z', 'x'] and again.list_outputs() == ['z', 't_output']


def test_attributes_as_python_values():
    symbol = mx.sym.Convolution(mx.sym.var('x'), kernel=(3, 5), num_filter=7, no_bias=True,
                                layout='NCHW', name='c')
    node = Graph(symbol.tojson()).nodes()[-1]
    read = [node.attr(name, None) for name in ('kernel', 'num_filter', 'no_bias', 'layout')]
    assert read == [(3, 5), 7, True, 'NCHW']
    assert node.attr('pad', (0, 0)) == (0, 0)
