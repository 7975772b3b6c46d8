"""A network as three files: `<prefix>-symbol.json`, `<prefix>-0000.params`, `<prefix>-meta.json`.

The first two are what plain MXNet loads (`SymbolBlock.imports`, `mx.model.load_checkpoint`, Module);
the third says what else a user of the network must know, and what the other two must hash to.
MXNet parses damaged files into wrong numbers, gigabytes of memory or a crash, so nothing of ours hands
it a byte before size and SHA-256 agree. This module reads and writes files; it knows no network.
"""
import json
import platform
from pathlib import Path
from typing import Dict, NamedTuple

from .. import __version__, params
from ..backend import mx
from ..errors import UserError
from ..files import sha256, write_whole
from ..symbol import parse_symbol

FORMAT = 'gluon_a2 bundle 1'
SYMBOL, PARAMS, META = '-symbol.json', '-0000.params', '-meta.json'


class BundleError(UserError):
    """An exported file is missing, damaged, or not what its metadata says."""


class Bundle(NamedTuple):
    """A network: symbol, values by name (float32), and what its metadata file says."""
    symbol: 'mx.sym.Symbol'
    arguments: Dict[str, 'mx.nd.NDArray']
    statistics: Dict[str, 'mx.nd.NDArray']
    meta: dict


def write_bundle(bundle, prefix):
    """Write the three files of a `Bundle`; its metadata gains their hashes and the versions.

    The metadata is written last: a write cut in between leaves files that are refused, not files that are wrong.
    """
    prefix = Path(prefix)
    values = {f'arg:{name}': value.asnumpy() for name, value in bundle.arguments.items()}
    values.update({f'aux:{name}': value.asnumpy() for name, value in bundle.statistics.items()})
    files = {prefix.name + SYMBOL: bundle.symbol.tojson().encode(), prefix.name + PARAMS: params.to_bytes(values)}
    meta = {
        **bundle.meta, 'format': FORMAT,
        'files': {name: {'size': len(content), 'sha256': sha256(content)} for name, content in files.items()},
        'versions': {'gluon_a2': __version__, 'mxnet': mx.__version__, 'python': platform.python_version()},
    }
    for name, content in files.items():
        write_whole(prefix.with_name(name), content)
    write_whole(prefix.with_name(prefix.name + META), json.dumps(meta, indent=2, ensure_ascii=False).encode())


def bundle_prefix(path):
    """The prefix of a bundle, given the prefix itself or any of its three files."""
    path = str(path)
    for ending in (SYMBOL, PARAMS, META):
        if path.endswith(ending):
            path = path[:-len(ending)]
    return Path(path)


def read_meta(path):
    """The metadata of a bundle (a dict), given its prefix or one of its files; `BundleError` if there is none."""
    prefix = bundle_prefix(path)
    meta_path = prefix.with_name(prefix.name + META)
    try:
        meta = json.loads(_read(meta_path))
    except ValueError as error:
        raise BundleError(f'{meta_path} is not valid JSON ({error}): export the network again') from error
    if not isinstance(meta, dict) or meta.get('format') != FORMAT:
        raise BundleError(f'{meta_path} is not the metadata of an exported network ({FORMAT}): export it again')
    return meta


def read_bundle(path):
    """The `Bundle` at a prefix (or named by one of its files), verified before MXNet sees a byte of it."""
    prefix, meta = bundle_prefix(path), read_meta(path)
    graph, content = (_read_verified(prefix.with_name(prefix.name + ending), meta) for ending in (SYMBOL, PARAMS))
    values = params.from_bytes(content, prefix.name + PARAMS)
    split = {kind: {name[4:]: mx.nd.array(value, dtype=value.dtype) for name, value in values.items()
                    if name.startswith(kind)} for kind in ('arg:', 'aux:')}
    return Bundle(parse_symbol(graph, prefix.name + SYMBOL), split['arg:'], split['aux:'], meta)


def _read(path):
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f'{path} does not exist: give the prefix of an exported network, such as '
                          'runs/demo/export/a2_resnet26, or export one with scripts/export.py') from error
    except OSError as error:
        raise BundleError(f'{path} cannot be read: {error.strerror}') from error


def _read_verified(path, meta):
    content, expected = _read(path), meta['files'].get(path.name)
    if expected is None:
        raise BundleError(f'{path} is not named in its metadata: the files were renamed; keep the names they were '
                          'exported under')
    if len(content) != expected['size']:
        raise BundleError(f'{path} has {len(content)} bytes, not the {expected["size"]} its metadata records: '
                          'copy or export it again')
    if sha256(content) != expected['sha256']:
        raise BundleError(f'{path} is damaged: its SHA-256 differs from the one its metadata records; '
                          'copy or export it again')
    return content
