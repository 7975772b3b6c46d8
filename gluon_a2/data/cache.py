"""Where things made once and used again are kept."""
from __future__ import annotations

import errno
import os
import tempfile
from types import MappingProxyType
from typing import Callable, Mapping

from ..errors import UserError

WAY_OUT = 'set GLUON_A2_CACHE to a folder that can be written'


def cache_folder() -> str:
    """The folder that GLUON_A2_CACHE names, or gluon_a2 in XDG_CACHE_HOME, or ~/.cache/gluon_a2.

    Raises UserError for a user without a home, whose ~ would be a folder of that name.
    """
    named = os.environ.get('GLUON_A2_CACHE')
    if named:
        return named
    caches = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser(os.path.join('~', '.cache'))
    if caches.startswith('~'):
        raise UserError(f'this user has no home folder to keep a cache in: {WAY_OUT}')
    return os.path.join(caches, 'gluon_a2')


def made_once(name: str, make: Callable[[str], object], cache: str | os.PathLike | None = None,
              counts: Mapping[str, int] = MappingProxyType({}),
              count: Callable[[str, str], int] = lambda folder, part: 0) -> str:
    """Path of the folder `name` inside `cache` (default: `cache_folder()`), filled by
    `make(folder)` if new.

    Processes may call this at the same time: each writes beside it and renames, so nobody sees half
    of it. UserError where it cannot be written, and where `count(folder, part)` is not the number
    of samples that `counts` has for the part.
    """
    folder = os.path.join(cache or cache_folder(), name)
    if not os.path.exists(folder):
        _make(folder, make)
    for part, expected in counts.items():
        found = count(folder, part)
        if found != expected:
            raise UserError(f'{folder} holds {found} instead of {expected} {part} samples: remove '
                            'it to have it rebuilt')
    return folder


def _make(folder, make):
    cache, name = os.path.split(folder)
    try:
        os.makedirs(cache, exist_ok=True)
        if not os.access(cache, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f'the cache {cache} cannot be written ({error.strerror}): '
                        f'{WAY_OUT}') from error
    with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=cache) as draft:
        content = os.path.join(draft, name)
        os.mkdir(content)
        make(content)
        try:
            os.rename(content, folder)
        except OSError:
            # otherwise another process was first: its work is as good
            if not os.path.exists(folder):
                raise
