"""What all readers of folders and lists agree on: hidden files, links, class folders."""
from __future__ import annotations

import logging
import os
from typing import Callable, Iterator

from ..errors import UserError
from .classes import check_names, printable, some

_log = logging.getLogger(__name__)


def entries(folder: str) -> list[os.DirEntry]:
    """What is in a folder, sorted by name, without hidden files (macOS writes a `._name` beside
    each file); UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith('.')),
                          key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f'cannot list the folder {printable(folder)}: '
                        f'{error.strerror}') from error


def files_below(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the files in and below a folder, sorted; hidden ones are left out.

    Links are followed, but not back into a folder that is being listed. A link to nothing is a
    file, which cannot be read.
    """
    above += (os.path.realpath(folder),)
    for entry in entries(folder):
        if not entry.is_dir():
            yield entry.path
        elif os.path.realpath(entry.path) not in above:
            yield from files_below(entry.path, above)


def class_folders(folder: str, is_sample: Callable[[os.DirEntry], bool],
                  what: str) -> tuple[tuple[str, ...], list[list[str]]]:
    """The class folders in `folder`, and the paths `class/file` of the samples directly in each;
    all in alphabetical order. Links are followed, hidden entries are passed over.

    What else is there is left out, counted and named in the log. UserError where there is no class
    folder, and for one without a sample, with a name that is not UTF-8, or that is a link to
    nothing. Each would shift the labels of the classes behind it. `what` is the plural of a sample.
    """
    samples, left = {}, []
    for entry in entries(folder):
        if os.path.islink(entry.path) and not os.path.exists(entry.path):
            raise UserError(f'{printable(entry.path)} is a link to nothing: restore what it points '
                            'to, or remove it')
        if entry.is_dir():
            inside = entries(entry.path)
            samples[entry.name] = [f'{entry.name}/{file.name}' for file in inside
                                   if is_sample(file)]
            left += [file.path for file in inside if not is_sample(file)]
        elif is_sample(entry):
            left.append(entry.path)
    if not samples:
        flat = f', but {len(left)} {what} without a class' if left else ''
        raise UserError(f'{printable(folder)} holds no class folders{flat}: {what} belong into '
                        f'{printable(folder)}/<class>/')
    check_names(samples, f'the class folders in {printable(folder)}')
    for name, found in samples.items():
        if not found:
            raise UserError(f'the class folder {printable(folder)}/{name} holds no {what}: fill or '
                            'remove it')
    if left:
        _log.warning('%s: left out what is no %s directly in a class folder, %d in all: %s',
                     printable(folder), what[:-1], len(left),
                     some([printable(path) for path in left]))
    return tuple(samples), list(samples.values())
