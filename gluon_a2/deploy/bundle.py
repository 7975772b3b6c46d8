"""A network as three files: `<prefix>-symbol.json`, `<prefix>-0000.params`, `<prefix>-meta.json`.

The first two are what plain MXNet loads (`SymbolBlock.imports`, `mx.model.load_checkpoint`,
Module); the third says what else a user of the network must know, and what the others must hash to.
Where it was exported as ONNX too, a fourth, `<prefix>.onnx`, is named in it. MXNet parses damaged
files into wrong numbers, gigabytes of memory or a crash, so nothing of ours hands it a byte before
size and SHA-256 agree, or, of files that come without metadata, before our own readers have found
them sound. This module reads and writes files; it knows no network and needs no MXNet.
"""
import json
import platform
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np

from .. import __version__
from ..errors import UserError
from ..files import sha256, write_whole
from ..formats import params

FORMAT = 'gluon_a2 bundle 1'
SYMBOL, PARAMS, META, ONNX = '-symbol.json', '-0000.params', '-meta.json', '.onnx'
REQUIRED = {
    'files': dict, 'network': str, 'classes': list, 'input': str, 'input_shape': list, 'mean': list,
    'scale': (int, float, list), 'crop_ratio': (int, float), 'stride': list, 'training': dict
}


class BundleError(UserError):
    """An exported file is missing, damaged, or not what its metadata says."""


class Bundle(NamedTuple):
    """A network: its symbol as JSON, its values by name, and what its metadata file says."""
    graph: bytes
    arguments: Dict[str, np.ndarray]
    statistics: Dict[str, np.ndarray]
    meta: dict

    @property
    def values(self):
        """Arguments and statistics in one dict."""
        return {**self.arguments, **self.statistics}


def write_bundle(bundle, prefix, onnx=None):
    """Write the files of a `Bundle`, and the ONNX file `onnx` (bytes) beside them; the metadata
    gains their hashes.

    Returns the bytes written, metadata excepted. The metadata is written first: a write cut in
    between leaves files that are refused, neither wrong ones nor a pair that lacks its metadata.
    """
    prefix = Path(prefix)
    values = {f'arg:{name}': value for name, value in bundle.arguments.items()}
    values.update({f'aux:{name}': value for name, value in bundle.statistics.items()})
    files = {prefix.name + SYMBOL: bundle.graph, prefix.name + PARAMS: params.to_bytes(values)}
    if onnx is not None:
        files[prefix.name + ONNX] = onnx
    meta = {
        **bundle.meta, 'format': FORMAT, 'files': {
            name: {'size': len(content), 'sha256': sha256(content)}
            for name, content in files.items()
        }, 'versions': {
            **bundle.meta.get('versions', {}), 'gluon_a2': __version__,
            'python': platform.python_version()
        },
    }
    write_whole(prefix.with_name(prefix.name + META),
                json.dumps(meta, indent=2, ensure_ascii=False).encode())
    for name, content in files.items():
        write_whole(prefix.with_name(name), content)
    return sum(map(len, files.values()))


def bundle_prefix(path):
    """The prefix of a bundle, given the prefix itself or any of its files."""
    path = str(path)
    for ending in (SYMBOL, PARAMS, META, ONNX):
        if path.endswith(ending):
            path = path[:-len(ending)]
    return Path(path)


def read_meta(path):
    """The metadata of a bundle (a dict), given its prefix or one of its files; `BundleError` if
    there is none."""
    prefix = bundle_prefix(path)
    meta_path = prefix.with_name(prefix.name + META)
    try:
        meta = json.loads(_read(meta_path))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f'{meta_path} is not valid JSON ({error}): export the network again') from error
    if not isinstance(meta, dict) or meta.get('format') != FORMAT:
        raise BundleError(f'{meta_path} is not the metadata of an exported network ({FORMAT}): '
                          'export it again')
    for name, kind in REQUIRED.items():
        if not isinstance(meta.get(name), kind):
            raise BundleError(f'{meta_path} says nothing that can be used as {name}: export the '
                              'network again')
    return {'precision': 'float32', **meta}  # older files do not say


def require_float32(bundle):
    """UserError unless a `Bundle` is in float32, from which all other forms are made."""
    if bundle.meta['precision'] != 'float32':
        raise UserError(f'{bundle.meta["network"]} is in {bundle.meta["precision"]} already: start '
                        'from float32 files')


def is_bare(path):
    """Whether symbol and params are there without their metadata, as plain MXNet or GluonCV exports
    them."""
    prefix = bundle_prefix(path)
    return (not prefix.with_name(prefix.name + META).exists()
            and all(prefix.with_name(prefix.name + ending).exists() for ending in (SYMBOL, PARAMS)))


def read_bundle(path):
    """The `Bundle` at a prefix (or named by one of its files), verified against its metadata."""
    prefix, meta = bundle_prefix(path), read_meta(path)
    graph, content = (read_verified(prefix, ending, meta) for ending in (SYMBOL, PARAMS))
    return Bundle(graph, *split_values(content, prefix.name + PARAMS), meta)


def read_bare(path, meta):
    """The `Bundle` of a pair of files without metadata; `meta` is what the caller says of them.

    Its values are read by our strict reader; whoever gives the graph to MXNet parses it by
    `symbol.parse_symbol`.
    """
    prefix = bundle_prefix(path)
    graph, content = (_read(prefix.with_name(prefix.name + ending)) for ending in (SYMBOL, PARAMS))
    return Bundle(graph, *split_values(content, prefix.name + PARAMS), meta)


def split_values(content, source):
    """({argument: numpy array}, {auxiliary state: numpy array}) of the bytes of a .params file."""
    values = params.from_bytes(content, source)
    strange = [name for name in values if name[:4] not in ('arg:', 'aux:')]
    if strange:
        raise BundleError(f'{source} holds {strange[0]}, which is neither arg: nor aux:, so it '
                          'belongs to no symbol: export the network with its symbol')
    return tuple({name[4:]: value for name, value in values.items() if name[:4] == kind}
                 for kind in ('arg:', 'aux:'))


def read_verified(prefix, ending, meta):
    """The bytes of the file `<prefix><ending>`; `BundleError` unless they are those that `meta`
    records."""
    path = prefix.with_name(prefix.name + ending)
    if path.name not in meta['files'] and ending == ONNX:
        raise BundleError(f'{prefix} was not exported as ONNX: export it again with --onnx')
    content, expected = _read(path), meta['files'].get(path.name)
    if expected is None:
        raise BundleError(f'{path} is not named in its metadata: the files were renamed; keep the '
                          'names they were exported under')
    if len(content) != expected['size']:
        raise BundleError(f'{path} has {len(content)} bytes, not the {expected["size"]} its '
                          'metadata records: copy or export it again')
    if sha256(content) != expected['sha256']:
        raise BundleError(f'{path} is damaged: its SHA-256 differs from the one its metadata '
                          'records; copy or export it again')
    return content


def _read(path):
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f'{path} does not exist: give the prefix of an exported network, such as '
            'runs/demo/export/a2_resnet26, or export one with scripts/export.py') from error
    except OSError as error:
        raise BundleError(f'{path} cannot be read: {error.strerror}') from error
