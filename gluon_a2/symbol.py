"""Reading MXNet's symbol JSON without letting a malformed graph crash the process."""
import functools
import json
from pathlib import Path

from .backend import mx
from .errors import UserError

# Operators with more outputs than one, and how many; of all others only output 0 may be read.
OUTPUTS = {
    'BatchNorm': lambda attrs: 3, 'LayerNorm': lambda attrs: 3, 'Dropout': lambda attrs: 2, 'topk': lambda attrs: 2,
    'RNN': lambda attrs: 4, 'SliceChannel': lambda attrs: int(attrs['num_outputs']),
    'amp_multicast': lambda attrs: int(attrs['num_outputs'])}


class SymbolError(UserError):
    """A file is not the symbol of a network."""


def read_symbol(path):
    """The symbol in a JSON file; `SymbolError` where it cannot be read or its graph is not sound."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SymbolError(f'{path} cannot be read: {error.strerror}; give a symbol.json file or a name of the '
                          'zoo') from error
    return parse_symbol(content, path)


def parse_symbol(content, source):
    """The symbol in JSON bytes; `SymbolError`, naming `source`, where its graph is not sound."""
    try:
        graph = json.loads(content)
        nodes = graph['nodes']
        for index, node in enumerate(nodes):
            _check_node(index, node, nodes)
        if not graph['heads']:
            raise ValueError('it has no outputs')
        for head in graph['heads']:
            _check_entry(head, nodes, 'its output')
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SymbolError(f'{source} is not the symbol of a network: {error}') from error
    try:
        return mx.sym.load_json(content.decode())
    except mx.MXNetError as error:
        raise SymbolError(f'{source} is not a symbol MXNet can read: {str(error).strip().splitlines()[-1]}') from error


def _check_node(index, node, nodes):
    """ValueError unless the node is a known operator fed by outputs of earlier nodes.

    `_Native` and `_NDArray` hold addresses of live objects, which a file cannot have.
    """
    if node['op'] in ('_Native', '_NDArray', '_CachedOp'):
        raise ValueError(f'node {index} is a {node["op"]}, which a file cannot hold')
    if node['op'] != 'null' and node['op'] not in _operators():
        raise ValueError(f'node {index} has the unknown operator {node["op"]!r}')
    for entry in node['inputs']:
        _check_entry(entry, nodes[:index], f'node {index}')


def _check_entry(entry, nodes, reader):
    """ValueError unless `entry`, [node, output, version], is an output of one of `nodes`."""
    source, output = entry[0], entry[1]
    if not 0 <= source < len(nodes):
        raise ValueError(f'{reader} reads from a node that does not come before it')
    node = nodes[source]
    outputs = OUTPUTS.get(node['op'], lambda attrs: 1)(node.get('attrs', {}))
    if not 0 <= output < outputs:
        raise ValueError(f'{reader} reads output {output} of node {source}, which has {outputs}')


@functools.lru_cache(maxsize=None)
def _operators():
    return frozenset(mx.operator.get_all_registered_operators())
