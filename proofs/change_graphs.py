"""Changes of a symbol's graph, which is parsed JSON: (graph, random) → None, where the graph itself
is changed, or the text that it becomes."""
import functools
import json
import re

from change_bytes import INTEGERS

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


@functools.lru_cache(maxsize=None)
def all_operators():
    from gluon_a2.backend import mx
    return sorted(mx.operator.get_all_registered_operators())


@functools.lru_cache(maxsize=None)
def known_operators():
    from gluon_a2.formats.operators import OPERATORS
    return sorted(OPERATORS)


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
    _node(graph, rng)['op'] = rng.choice(all_operators())


def replace_by_known(graph, rng):
    """By one that is accepted, with those of its attributes that it knows and as many inputs as it
    may take."""
    from gluon_a2.backend import mx
    node = _node(graph, rng, _is_operator)
    node['op'] = rng.choice(known_operators())
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
    return rng.choice({'int': ('0', '1', '2', '3', '-1', '-2', '16777216'),
                       'Sha': ('(1, 1)', '(2, 2, 2)', '(0, -1)', '(0, 1, 2, 3)', '(3,)', '()',
                               '(16777216, 16)'),
                       'flo': ('0', '0.5'), 'boo': ('True', 'False')}.get(kind[:3], ('1',)))


def grow(graph, rng):
    """One to five accepted operators on top of any nodes and of new variables, with attributes of
    their types."""
    for _ in range(rng.randint(1, 5)):
        _grow_one(graph, rng, rng.choice(known_operators()))
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
    if node['op'] in all_operators():
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
    node = rng.randrange(len(graph['nodes']))
    part.insert(rng.randrange(len(part) + 1), rng.choice((*CONFUSED, [node, 0, 0], node)))
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
    at = rng.choice([match.start() for match in
                     re.finditer(r'"(op|name|attrs|inputs|nodes|heads)":', text)])
    key = re.match(r'"\w+":', text[at:]).group()
    return f'{text[:at]}{key} {json.dumps(rng.choice(CONFUSED))}, {text[at:]}'


def several(graph, rng):
    """Two to four of those that change the graph in place."""
    changes = (replace_by_known, set_attribute, add_attribute, set_index, swap_operators,
               change_inputs)
    for _ in range(rng.randint(2, 4)):
        rng.choice(changes)(graph, rng)


GRAPH = (replace_operator, replace_by_known, grow, set_attribute, add_attribute, add_hint,
         remove_attribute, set_index, change_inputs, delete_node, duplicate_node, swap_nodes,
         swap_operators, change_ends, graft, confuse, rename, remove, nest, write_number,
         repeat_key, several)
