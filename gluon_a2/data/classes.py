"""Class names: reading, writing and checking them, and matching those of data and network; text of
any encoding, read and printed."""
from __future__ import annotations

import collections
import logging
import os
from typing import Any, Iterable, Sequence, TextIO

import numpy as np

from ..errors import UserError
from ..files import write_whole

_log = logging.getLogger(__name__)

CLASSES_FILE = 'classes.txt'
MAX_CLASSES = 2 ** 20  # far above any data set; a damaged label is larger


def open_text(path: str) -> TextIO:
    """A list, opened: UTF-8 with or without a byte-order mark; bytes of other encodings survive as
    surrogates. UserError if it cannot be read."""
    try:
        return open(path, encoding='utf-8-sig', errors='surrogateescape', newline='')
    except OSError as error:
        raise UserError(f'{printable(path)} cannot be read: {error.strerror}') from error


def printable(path: str | os.PathLike) -> str:
    """A path that can be printed and logged: bytes that are not UTF-8 become \\x escapes."""
    return os.fsencode(path).decode('utf-8', 'backslashreplace')


def read_classes(path: str) -> tuple[str, ...]:
    """The class names in a `classes.txt`, one a line; UserError unless they are sound."""
    with open_text(path) as file:
        names = file.read().rstrip('\r\n').splitlines()
    check_names(names, path)
    return tuple(names)


def write_classes(folder: str, names: Iterable[str]) -> None:
    """Write `classes.txt`, whole or not at all; UserError unless the names are sound."""
    names = list(names)
    check_names(names, 'the class names')
    write_whole(os.path.join(folder, CLASSES_FILE), ''.join(f'{name}\n' for name in names).encode())


def check_names(names: Iterable[str], where: str) -> None:
    """UserError unless each class name is one line of UTF-8 and differs from the others."""
    for name, count in collections.Counter(list(names)).items():
        shown = name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
        wrong = ('is not UTF-8' if shown != name else 'is blank' if not name.strip() else
                 'is not one line' if len(name.splitlines()) != 1 else
                 f'stands {count} times' if count > 1 else None)
        if wrong:
            raise UserError(f"{where}: the class name '{shown}' {wrong}: rename or remove it")


def some(names: Sequence[str], count: int = 5) -> str:
    """The first few names, for a message."""
    return ', '.join(names[:count]) + (', …' if len(names) > count else '')


def numbers(count: int, where: str) -> tuple[str, ...]:
    """The names '0', '1', … of classes that have none; UserError above `MAX_CLASSES`, which names
    `where` the largest label is."""
    if count > MAX_CLASSES:
        raise UserError(f'{where} has the label {count - 1}, and classes are fewer than '
                        f'{MAX_CLASSES}: correct the label')
    return tuple(map(str, range(count)))


def check_labels(source: Any, classes: int) -> None:
    """UserError, naming the sample, unless every label is one of 0…classes−1."""
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
    if len(outside):
        first = outside[0]
        raise UserError(f'{len(outside)} of {len(source)} labels are outside 0…{classes - 1}, '
                        f'such as {source.labels[first]} at {source.name(first)}: '
                        'choose as many `classes` as the data has')


def match_classes(source: Any, names: Sequence[str], named: bool = False) -> None:
    """Give a source the labels and class names of a network, whose class i is `names[i]`.

    Classes are matched by name. Record files and lists without `classes.txt`, and networks trained
    on them, have only numbers. Where one side has these, classes are matched by number, with a
    warning if the other side has names. A network's numbers must then be as many as the names, and
    none of them a name. Classes without a sample are counted and named in the log. UserError for a
    class that the network does not know. `named` says that numbers are the network's names, as of
    digits.
    """
    own, known = source.classes, tuple(names)
    count = collections.Counter(known)
    label = {name: i for i, name in enumerate(known) if count[name] == 1}
    unknown = [] if own == known else [name for name in own if name not in label]
    numbered = not named and known == tuple(map(str, range(len(known))))
    if source.named and not unknown:
        check_labels(source, len(own))
        labels = source.labels if own == known else np.array(
            [label[name] for name in own])[source.labels]
    elif not source.named or numbered and len(own) == len(known) == len(unknown):
        check_labels(source, len(known))
        labels = source.labels
        if source.named or not numbered:
            _log.warning('classes are matched by number, because %s: class 0 is %r in the data and '
                         '%r to the network', 'the network has no names for them' if source.named
                         else 'the data has no names for them', own[0], known[0])
    else:
        raise UserError(f'the data has {len(own)} classes and the network {len(known)}. '
                        f"{len(unknown)} of the data's are unknown to it, such as {unknown[0]!r}. "
                        f'Those of the network are {some(list(map(repr, known)))}. Name the '
                        "data's as the network does, or leave out those it was not trained on")
    absent = [known[i] for i in np.flatnonzero(np.bincount(labels, minlength=len(known)) == 0)]
    if absent:
        _log.warning('%d of the %d classes have no sample in this data: %s', len(absent),
                     len(known), some(absent))
    source.labels, source.classes = labels, known
