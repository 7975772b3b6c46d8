"""Reading MXNet's symbol JSON without letting a malformed graph crash the process, or do what no
network does.

MXNet's own reader follows indices and addresses that a file holds. So a graph is checked first,
whole: known operators only (`operators`), each with as many inputs as its attributes say, read from
outputs that exist. MXNet is then given what was understood here, written anew, and not the file.
Reading runs nothing.
"""
from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..backend import mx
from ..errors import UserError
from . import operators
from .operators import FUSED, FUSED_ARITY, MOST_DIGITS

# What one file may hold. The largest symbol of the GluonCV zoo has 3.6 MB and 9,307 nodes.
MOST_BYTES, MOST_NODES, MOST_OUTPUTS, MOST_CHARACTERS = 2 ** 22, 2 ** 14, 2 ** 10, 4096
OLDEST, NEWEST = 905, 20000  # from MXNet 0.9.5 on, and before 2, attributes have meant the same
NODE = {'op', 'name', 'attrs', 'attr', 'inputs', 'subgraphs'}


class SymbolError(UserError):
    """A file is not the symbol of a network."""


def read_symbol(path: str | os.PathLike) -> Any:
    """The symbol in a JSON file; `SymbolError` where it cannot be read or is not sound."""
    try:
        with open(path, 'rb') as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SymbolError(f'{path} cannot be read: {error.strerror}; give a symbol.json file or a '
                          'name of the zoo') from error
    return parse_symbol(content, path)


def parse_symbol(content: bytes, source: str | os.PathLike) -> Any:
    """The symbol in JSON bytes; `SymbolError`, naming `source`, where its graph is not sound."""
    try:
        graph = _checked(_parsed_json(content))
    except ValueError as error:
        raise SymbolError(f'{source} is not the symbol of a network: {error}') from error
    try:
        return mx.sym.load_json(json.dumps(graph, ensure_ascii=False))
    except mx.MXNetError as error:
        raise SymbolError(
            f'{source} is not a symbol MXNet can read: {_last_line(error)}') from error


def check_values(symbol: Any, values: Mapping[str, Any], source: str | os.PathLike,
                 data_shape: Sequence[int]) -> None:
    """Hold the arrays of a params file against the symbol they are for: all it takes is there, and
    nothing else.

    `values` is {'arg:name' or 'aux:name': array}; `data_shape` is that of the input `data`, N
    first, for which the shapes are inferred. Labels (names ending in `_label`) may be left out.
    SymbolError, naming `source`, says which is the first that does not fit; types are not compared.
    """
    if 'data' not in symbol.list_arguments():
        raise SymbolError(f'the symbol of {source} has no input named data')
    try:
        arguments, _, statistics = infer_shapes(symbol, data=tuple(data_shape))
    except UserError as error:
        raise SymbolError(f'the symbol of {source} cannot take data of shape {data_shape}: '
                          f'{error}') from error
    if arguments is None:
        raise SymbolError(f'the symbol of {source} does not tell all its shapes for data of shape '
                          f'{data_shape}')
    names = [*(f'arg:{name}' for name in symbol.list_arguments()),
             *(f'aux:{name}' for name in symbol.list_auxiliary_states())]
    shapes = dict(zip(names, [*arguments, *statistics]))
    del shapes['arg:data']
    for key, shape in shapes.items():
        if key.endswith('_label') and key not in values:
            continue
        found = tuple(values[key].shape) if key in values else 'none'
        if found != shape:
            raise SymbolError(f'{source} does not fit the symbol, which takes {key} of shape '
                              f'{shape}: it has {found}; export both again')
    for key in sorted(set(values) - set(shapes)):
        raise SymbolError(f'{source} does not fit the symbol, which takes no {key}: export both '
                          'again')


def infer_shapes(symbol: mx.sym.Symbol, **shapes: tuple) -> tuple:
    """As `symbol.infer_shape`: shapes of arguments, outputs, statistics; UserError with a reason.

    It is silent: MXNet prints the shapes before it raises, and warns of shapes left open, for which
    it gives None.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)
            return symbol.infer_shape(**shapes)
    except mx.MXNetError as error:
        reason = _last_line(error).rsplit(' : ', 1)[-1]
        if 'shape dim size must be' in reason:  # a product of sizes overflowed
            reason = 'it has more positions than MXNet counts, choose a smaller one'
        raise UserError(reason) from error


def _last_line(error):
    return str(error).strip().splitlines()[-1]


# ---- the rules of a graph

def _require(condition, sentence):
    if not condition:
        raise ValueError(sentence)


def _parsed_json(content):
    """What JSON bytes hold: no name twice in an object, and no numbers but short integers."""
    _require(len(content) <= MOST_BYTES, f'it has more than {MOST_BYTES} bytes')

    def unique(pairs):
        _require(len(dict(pairs)) == len(pairs), 'it names something twice')
        return dict(pairs)

    def integer(text):
        return int(text) if len(text) <= MOST_DIGITS else refuse(text)

    def refuse(text):
        raise ValueError(f'it has the number {text[:40]}')
    try:
        return json.loads(content.decode(), object_pairs_hook=unique, parse_int=integer,
                          parse_float=refuse, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError('it is nested too deep') from error


def _checked(graph, nested=False):
    """The graph as MXNet is given it, of what JSON held; ValueError unless it is sound. What else
    it holds follows from that, and is left out."""
    _require(isinstance(graph, dict), 'it is no object')
    for key in ('nodes', 'heads'):
        _require(isinstance(graph.get(key), list), f'it has no list of {key}')
    _require(len(graph['nodes']) <= MOST_NODES, f'it has more than {MOST_NODES} nodes')
    nodes, outputs = [], []
    for index, node in enumerate(graph['nodes']):
        with _about(f'node {index}'):
            nodes.append(_checked_node(node, outputs, nested))
    variables = [index for index, node in enumerate(nodes) if node['op'] == 'null']
    _require(len({nodes[index]['name'] for index in variables}) == len(variables),
             'two variables have one name')
    _require(0 < len(graph['heads']) <= MOST_OUTPUTS,
             f'it has {len(graph["heads"]) or "no"} outputs')
    for head in graph['heads']:
        with _about('its output'):
            _check_entry(head, outputs)
    if graph.get('attrs'):
        found = re.fullmatch(r'{"mxnet_version": \["int", (\d+)\]}', json.dumps(graph['attrs']))
        _require(found, 'it has attributes other than the version of MXNet')
        _require(OLDEST <= int(found[1]) < NEWEST,
                 f'MXNet {found[1]} wrote it: load and save it with MXNet 1')
    checked = {'nodes': nodes, 'arg_nodes': variables, 'heads': graph['heads']}
    # Stated as ours, it is not 'upgraded': nothing that would need that has passed.
    return checked if nested else {**checked, 'attrs': _own_attrs()}


@functools.lru_cache(maxsize=None)
def _own_attrs():
    """The attributes of a graph that the MXNet at hand writes."""
    return json.loads(mx.sym.var('data').tojson())['attrs']


def _checked_node(node, outputs, nested):
    """The node as MXNet is given it; its number of outputs is appended to `outputs`."""
    _require(isinstance(node, dict) and {'op', 'name', 'inputs'} <= set(node) <= NODE,
             'is not as nodes are')
    _require(_is_text(node['op']) and _is_text(node['name']) and node['name'],
             'has no name, or a strange one')
    attrs = node.get('attrs', node.get('attr', {}))  # older versions of MXNet call them attr
    _require(isinstance(attrs, dict) and len(attrs) <= 64
             and all(map(_is_text, (*attrs, *attrs.values()))),
             'has attributes that are no texts, or strange ones')
    checked = {'op': node['op'], 'name': node['name'], 'attrs': attrs, 'inputs': node['inputs']}
    values = operators.values(node['op'], tuple(attrs.items()))
    if node['op'] in FUSED:
        _require(not nested, 'is fused twice')
        chain = _chain(node, values)
        checked['subgraphs'] = [chain]
        takes, gives = FUSED_ARITY[node['op']](values, len(chain['arg_nodes']))
    else:
        _require('subgraphs' not in node, 'has subgraphs')
        takes, gives = operators.arity(node['op'], tuple(attrs.items()))
    _require(isinstance(node['inputs'], list), 'has inputs that are no list')
    _require(len(node['inputs']) == takes, f'takes {takes} inputs and has {len(node["inputs"])}')
    for entry in node['inputs']:
        _check_entry(entry, outputs)
    outputs.append(gives)
    return checked


def _is_text(text):
    return isinstance(text, str) and len(text) <= MOST_CHARACTERS and text.isprintable()


def _chain(node, values):
    """The one subgraph of a fused node: a chain that reads each variable once and in order."""
    _require(isinstance(node.get('subgraphs'), list) and len(node['subgraphs']) == 1,
             'has no subgraph, or several')
    with _about('has a subgraph:'):
        graph = _checked(node['subgraphs'][0], nested=True)
    links = [choices for flag, choices in FUSED[node['op']] if flag is None or values.get(flag)]
    nodes = graph['nodes']
    found = [index for index, inner in enumerate(nodes) if inner['op'] != 'null']
    _require(len(found) == len(links)
             and all(nodes[index]['op'] in choices for index, choices in zip(found, links)),
             'has a subgraph of other operators than its attributes say')
    reads = [entry[:2] for index in found for entry in nodes[index]['inputs']]
    reads += [entry[:2] for entry in graph['heads']]
    _require([entry for entry in reads if entry[0] in found] == [[index, 0] for index in found]
             and [entry[0] for entry in reads if entry[0] not in found] == graph['arg_nodes'],
             'has a subgraph that is no chain')
    return graph


def _check_entry(entry, outputs):
    """ValueError unless `entry`, [node, output, version], is among the `outputs` of each node."""
    _require(_integers(entry) and 2 <= len(entry) <= 3, 'reads from no [node, output, version]')
    source, output = entry[:2]
    _require(0 <= source < len(outputs), 'reads from a node that does not come before it')
    _require(0 <= output < outputs[source],
             f'reads output {output} of node {source}, which has {outputs[source]}')
    _require(all(0 <= version <= MOST_NODES for version in entry[2:]),
             'reads a version that is none')


def _integers(values):
    # a bool is an int, too
    return isinstance(values, list) and all(type(value) is int for value in values)


@contextlib.contextmanager
def _about(subject: str) -> Iterator[None]:
    """A ValueError raised in here begins with its subject."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f'{subject} {error}') from error
