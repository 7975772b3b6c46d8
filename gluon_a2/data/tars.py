"""Images inside tar files, read where they lie: nothing is extracted.

One pass over the headers finds every member; an image is then read by its offset. So a `TarSource`
is as good as a `FolderSource` of what would be extracted: the same bytes, labels and order.
"""
from __future__ import annotations

import logging
import os
import tarfile
from typing import BinaryIO, Iterable, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .classes import check_names, printable, some
from .headers import ImageError
from .listing import entries
from .sources import EXTENSIONS

_log = logging.getLogger(__name__)

TAR = '.tar'
_BLOCK = 512  # bytes; behind the last member of a tar come blocks of zeros


class Member(NamedTuple):
    """A file inside a tar file: its path there, and where its bytes lie in the tar file."""
    name: str
    tar: str
    start: int
    size: int


class TarSource:
    """Images inside tar files, with labels that are known; the interface is that of `sources`.

    `names` are what the `members` would be called as files: `class/file`, or `file`.
    """

    named = True

    def __init__(self, folder: str, members: Sequence[Member], names: Iterable[str],
                 labels: np.ndarray, classes: Sequence[str]) -> None:
        self.folder, self._names = folder, list(names)
        self.labels, self.classes = labels, tuple(classes)
        self._tars = sorted({member.tar for member in members})
        number = {tar: i for i, tar in enumerate(self._tars)}
        self._places = np.array([(number[member.tar], member.start, member.size)
                                 for member in members], np.int64)  # N×3

    def __len__(self) -> int:
        return len(self._names)

    def read(self, i: int) -> bytes:
        tar, start, size = self._places[i].tolist()
        try:
            with open(self._tars[tar], 'rb') as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise ImageError(f'it cannot be read: {error.strerror}') from error

    def name(self, i: int) -> str:
        """`file.tar#class/file`."""
        return printable(f'{self._tars[self._places[i, 0]]}#{self._names[i]}')

    def relative(self, i: int) -> str:
        """`class/file`, or `file`."""
        return self._names[i]


def class_tars(path: str) -> TarSource:
    """The images of a tar file that holds one for each class, `<class>.tar`, or of a folder of
    such files; classes and images in alphabetical order, whatever theirs is.

    What else is there is left out, counted and named in the log. UserError for a tar that is not
    whole, for a class without an image, and where there is none.
    """
    if os.path.isdir(path):
        there = [Member(entry.name, entry.path, 0, entry.stat().st_size) for entry in entries(path)
                 if entry.is_file()]
    else:
        there = _members(path)
    tars = {os.path.basename(one.name)[:-len(TAR)]: one for one in there if one.name.endswith(TAR)}
    if not tars:
        raise UserError(f'{printable(path)} holds no tar of a class, such as n01440764.tar: '
                        'download it again')
    check_names(tars, f'the tars of classes in {printable(path)}')
    images: dict[str, list[Member]] = {}
    left = [printable(one.name) for one in there if not one.name.endswith(TAR)]
    for name in tqdm(sorted(tars), f'listing {os.path.basename(path)}', unit='class',
                     dynamic_ncols=True, disable=None):
        images[name] = _images(tars[name].tar, left, tars[name])
        if not images[name]:
            raise UserError(f'{printable(path)}: {name}{TAR} holds no images: download it again, '
                            'or remove it')
    _warn_of_left(path, left)
    return TarSource(path, [member for found in images.values() for member in found],
                     [f'{name}/{os.path.basename(member.name)}' for name, found in images.items()
                      for member in found],
                     np.repeat(np.arange(len(images)), list(map(len, images.values()))),
                     list(images))


def flat_tar(path: str) -> list[Member]:
    """The images of a tar file, by their names without folders; what else is there is left out,
    and named in the log. UserError for a tar that is not whole, and where there is none."""
    left: list[str] = []
    found = _images(path, left)
    if not found:
        raise UserError(f'{printable(path)} holds no images: download it again')
    _warn_of_left(path, left)
    return found


def _images(path, left, inner=None):
    """The images of a tar, hidden ones passed over, sorted by their names without folders; the
    names of others go to `left`."""
    found = {}
    for member in _members(path, inner):
        name = os.path.basename(member.name)
        if name.startswith('.'):
            continue
        if not name.lower().endswith(EXTENSIONS):
            left.append(printable(member.name))
        elif found.setdefault(name, member) is not member:
            raise UserError(f'{printable(path)} holds two images of the name {printable(name)}: '
                            'rename one')
    return [found[name] for name in sorted(found)]


def _members(path, inner=None):
    """The files in a tar file, or in one that is its member `inner`."""
    with open(path, 'rb') as file:
        what = printable(path) + (f': {printable(inner.name)}' if inner else '')
        start = inner.start if inner else 0
        end = start + inner.size if inner else os.fstat(file.fileno()).st_size
        # a tar to which a file was added again holds it twice, and the last one counts
        return list({one.name: Member(one.name, path, one.offset_data, one.size)
                     for one in _walk(file, start, end, what)}.values())


def _walk(file: BinaryIO, start: int, end: int, what: str) -> list[tarfile.TarInfo]:
    """The regular files of the tar at bytes start…end of an open file, which must be whole.

    Offsets are those of the open file. `tarfile` takes a header that is damaged, or missing, for
    the end of the tar; so the zeros that must come there are looked for.
    """
    try:
        file.seek(start)
        with tarfile.open(fileobj=file, mode='r:') as tar:
            found = [member for member in tar if member.isreg()]
            file.seek(tar.offset)
            whole = tar.offset + _BLOCK <= end and file.read(_BLOCK) == bytes(_BLOCK)
            reason = f'at byte {tar.offset - start} of {end - start}'
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        whole, reason = False, str(error)
    if not whole:
        raise UserError(f'{what} is cut short, damaged or no tar file ({reason}): download or copy '
                        'it again')
    return found


def _warn_of_left(path, left):
    if left:
        _log.warning('%s: left out what is no image, %d in all: %s', printable(path), len(left),
                     some(left))
