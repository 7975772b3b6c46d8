"""A network as three files: `<prefix>-symbol.json`, `<prefix>-0000.params`, `<prefix>-meta.json`.

The first two are what plain MXNet loads (`SymbolBlock.imports`, `mx.model.load_checkpoint`,
Module). The third says what else a user of the network must know, and what the others must hash to.
Where it was exported as ONNX too, a fourth, `<prefix>.onnx`, is named in it. MXNet parses damaged
files into wrong numbers, gigabytes of memory or a crash. So nothing of ours hands it a byte before
size and SHA-256 agree. Files without metadata must first be found sound by our own readers. This
module reads and writes files; it knows no network and needs no MXNet.
"""
from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..data import Preprocessing
from ..errors import UserError
from ..files import sha256, write_whole
from ..formats import archive, params

FORMAT = 'gluon_a2 bundle 1'
SYMBOL, PARAMS, META, ONNX = '-symbol.json', '-0000.params', '-meta.json', '.onnx'
REQUIRED: dict[str, Any] = {
    'files': dict, 'network': str, 'classes': list, 'input': str, 'input_shape': list, 'mean': list,
    'scale': (int, float, list), 'crop_ratio': (int, float), 'stride': list, 'training': dict
}


class BundleError(UserError):
    """An exported file is missing, damaged, or not what its metadata says."""


class Bundle(NamedTuple):
    """A network: its symbol as JSON, its values by name, and what its metadata file says."""
    graph: bytes
    arguments: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    meta: dict

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Arguments and statistics in one dict."""
        return {**self.arguments, **self.statistics}


def describe(network: str, classes: Sequence[str], preprocessing: Preprocessing, *,
             stride: Sequence[int] | None = None, training: dict | None = None,
             **more: Any) -> dict:
    """The metadata of a float32 network that nothing else is known of; `more` are further entries.

    `stride` is the smallest input, for each of its axes; any by default.
    """
    axes = len(preprocessing.input_shape)
    return {
        'network': network, 'classes': list(classes), 'layout': {3: 'NCHW', 4: 'NCDHW'}[axes],
        'input': 'data', **preprocessing.to_meta(), 'output': 'logits', 'features': None,
        'classifier': None, 'stride': list(stride or [1] * (axes - 1)), 'precision': 'float32',
        'training': training or {'data': 'unknown data'}, **more
    }


def write_bundle(bundle: Bundle, prefix: str | Path, onnx: bytes | None = None) -> int:
    """Write the files of a `Bundle`, and `onnx` beside them; the metadata gains their hashes.

    Returns the bytes written, metadata excepted. The metadata is written first: a write cut in
    between leaves files that are refused, neither wrong ones nor a pair that lacks its metadata.
    """
    prefix = Path(prefix)
    values = {f'arg:{name}': value for name, value in bundle.arguments.items()}
    values.update({f'aux:{name}': value for name, value in bundle.statistics.items()})
    files = {prefix.name + SYMBOL: bundle.graph, prefix.name + PARAMS: params.to_bytes(values)}
    if onnx is not None:
        files[prefix.name + ONNX] = onnx
    hashes = {name: {'size': len(content), 'sha256': sha256(content)}
              for name, content in files.items()}
    versions = {**bundle.meta.get('versions', {}), 'gluon_a2': __version__,
                'python': platform.python_version()}
    meta = {**bundle.meta, 'format': FORMAT, 'files': hashes, 'versions': versions}
    write_whole(prefix.with_name(prefix.name + META),
                json.dumps(meta, indent=2, ensure_ascii=False).encode())
    for name, content in files.items():
        write_whole(prefix.with_name(name), content)
    return sum(map(len, files.values()))


def bundle_prefix(path: str | Path) -> Path:
    """The prefix of a bundle, given the prefix itself or any of its files."""
    path = str(path)
    for ending in (SYMBOL, PARAMS, META, ONNX):
        if path.endswith(ending):
            path = path[:-len(ending)]
    return Path(path)


def read_meta(path: str | Path) -> dict:
    """The metadata at a prefix, or named by one of the files; `BundleError` if there is none."""
    prefix = bundle_prefix(path)
    meta_path = prefix.with_name(prefix.name + META)
    content = _read(meta_path)
    try:
        meta = json.loads(content)
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
    try:
        Preprocessing.from_meta(meta)
    except (UserError, TypeError) as error:
        raise BundleError(f'{meta_path} says nothing that can be used as preprocessing ({error}): '
                          'export the network again') from error
    return {'precision': 'float32', **meta}  # older files do not say


def require_float32(bundle: Bundle) -> None:
    """UserError unless a `Bundle` is in float32, from which all other forms are made."""
    network, precision = bundle.meta['network'], bundle.meta['precision']
    if precision != 'float32':
        raise UserError(f'{network} is in {precision} already: start from float32 files')


def is_bare(path: str | Path) -> bool:
    """Whether symbol and params lack their metadata, as plain MXNet and GluonCV write them; a .tar
    of both does."""
    prefix = bundle_prefix(path)
    return _is_archive(prefix) or (
            prefix.name != ''  # as of the folder .
            and not prefix.with_name(prefix.name + META).exists()
            and all(prefix.with_name(prefix.name + ending).exists() for ending in (SYMBOL, PARAMS)))


def read_bundle(path: str | Path) -> Bundle:
    """The `Bundle` at a prefix (or named by one of its files), verified against its metadata."""
    prefix, meta = bundle_prefix(path), read_meta(path)
    graph, content = (read_verified(prefix, ending, meta) for ending in (SYMBOL, PARAMS))
    return Bundle(graph, *_split_values(content, prefix.name + PARAMS), meta)


def read_pair(prefix: Path, meta: dict) -> Bundle:
    """The `Bundle` of a pair of files without metadata; `meta` is what the caller says of them.

    Its values are read by our strict reader; whoever gives the graph to MXNet parses it by
    `symbol.parse_symbol`.
    """
    if _is_archive(prefix):
        graph, values = archive.read_model(_read(prefix), prefix)
        return Bundle(graph, *_split(values, prefix.name), meta)
    graph, content = (_read(prefix.with_name(prefix.name + ending)) for ending in (SYMBOL, PARAMS))
    return Bundle(graph, *_split_values(content, prefix.name + PARAMS), meta)


def _is_archive(path):
    return Path(path).suffix == '.tar' and Path(path).is_file()


def _split_values(content: bytes, source: str) -> tuple[dict, dict]:
    """({argument: numpy array}, {auxiliary state: numpy array}) of the bytes of a .params file."""
    return _split(params.from_bytes(content, source), source)


def _split(values: dict, source: str) -> tuple[dict, dict]:
    strange = [name for name in values if name[:4] not in ('arg:', 'aux:')]
    if strange:
        raise BundleError(f'{source} holds {strange[0]}, which is neither arg: nor aux:, so it '
                          'belongs to no symbol: export the network with its symbol')
    return ({name[4:]: value for name, value in values.items() if name[:4] == 'arg:'},
            {name[4:]: value for name, value in values.items() if name[:4] == 'aux:'})


def read_verified(prefix: Path, ending: str, meta: dict) -> bytes:
    """The bytes of `<prefix><ending>`; `BundleError` unless they are those of `meta`."""
    path = prefix.with_name(prefix.name + ending)
    if path.name not in meta['files'] and ending == ONNX:
        raise BundleError(f'{prefix} was not exported as ONNX: export it again, with ONNX')
    content, expected = _read(path), meta['files'].get(path.name)
    if expected is None:
        raise BundleError(f'{path} is not named in its metadata: the files were renamed; keep the '
                          'names they were exported under')
    differs = 'SHA-256 differs' if len(content) == expected['size'] else (
        f'{len(content)} bytes are not {expected["size"]}')
    if sha256(content) != expected['sha256']:
        raise BundleError(f'{path} is not the file that {prefix.name}{META} was written with: its '
                          f'{differs}. It is damaged, or of another export. Copy all files of one '
                          'export again')
    return content


def check_origin(meta: dict, base: Path, prefix: Path) -> None:
    """BundleError unless the form at `prefix`, of `meta`, was made from the files at `base`."""
    now = read_meta(base)['files'].get(base.name + PARAMS, {}).get('sha256')
    if meta.get('made_from') != now:
        raise BundleError(f'{prefix} was not made from the network that {base} is now: export it '
                          'again')


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f'{path} does not exist: give the prefix of an exported network, such as '
                          'runs/digits/export/a2_resnet26') from error
    except OSError as error:
        raise BundleError(f'{path} cannot be read: {error.strerror}') from error
