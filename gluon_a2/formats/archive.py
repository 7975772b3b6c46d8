"""MXNet models in a tar file, as the authors' later release (GloRe) has its image networks.

    model.tar
        <prefix>-symbol.json
        <prefix>-NNNN.params    of several, the one of the last epoch counts
"""
from __future__ import annotations

import io
import json
import os
import re
import tarfile

from ..errors import UserError
from . import params

SHOWN = 8  # names that are written out


def is_archive(content: bytes) -> bool:
    """Whether the bytes are of a tar file; PyTorch's files of that name are not."""
    try:  # `tarfile.is_tarfile` takes no file but a path before Python 3.9
        with tarfile.open(fileobj=io.BytesIO(content)):
            return True
    except tarfile.TarError:
        return False


def read_model(content: bytes, source: str | os.PathLike) -> tuple[bytes, dict]:
    """(symbol, {name: array}) of the bytes of a tar file; UserError says what is in it instead."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: member for member in tar if member.isfile()}
            pair = _pair(files)
            if pair is None:
                names = sorted(files)
                more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
                raise UserError(f'{source} holds {", ".join(names[:SHOWN]) or "nothing"}{more}, '
                                'and not one MXNet model, which is <prefix>-symbol.json and '
                                '<prefix>-NNNN.params: take out the weights, and give their file')
            graph, weights = (tar.extractfile(files[name]).read() for name in pair)  # type: ignore
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f'{source} is a damaged tar file ({error}): copy it again') from error
    values = params.from_bytes(weights, f'{source}: {pair[1]}')
    try:
        known = {node['name'] for node in json.loads(graph)['nodes']}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f'{source}: {pair[0]} is not a symbol of MXNet: copy it again') from error
    strange = [name for name in values if name.split(':', 1)[-1] not in known]
    if strange:
        raise UserError(f'{source}: {pair[1]} holds {strange[0]}, which {pair[0]} does not name: '
                        'they are of two networks, so take out the weights, and give their file')
    return graph, values


def _pair(files):
    """(name of the symbol, name of its params), where there is one model in the tar file."""
    found = {}
    for name in sorted(files):
        match = re.fullmatch(r'(.*)-(\d{4,})\.params', name)
        if match and f'{match[1]}-symbol.json' in files:
            found[f'{match[1]}-symbol.json'] = name  # of several, the last
    return next(iter(found.items())) if len(found) == 1 else None
