"""Where labelled images come from: record files, class folders, or tar files (`tars`), behind one
small interface.

A source has `len(source)` and

- `source.labels`: int64, one per image, read without decoding any;
- `source.classes`: the tuple of class names; `source.named` is False where these are only numbers;
- `source.read(i)`: the encoded bytes (raises `ImageError`);
- `source.name(i)`: for messages.

It can be pickled, so that every worker opens its files for itself.
"""
from __future__ import annotations

import contextlib
import functools
import os
from typing import Sequence

import numpy as np

from .classes import CLASSES_FILE, numbers, open_text, printable, read_classes
from .headers import ImageError, is_image
from .listing import class_folders
from .recordio import RecordError, RecordReader

EXTENSIONS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm',
              '.pgm', '.pbm')


class RecordSource:
    """The images of a RecordIO file; see `RecordReader` for `rec`, `idx` and errors.

    Labels come from the `.lst` beside the file if it lists every record: one short file instead of
    a seek per image. Each is compared with the record's own when that is read.
    """

    def __init__(self, rec: str | os.PathLike, idx: str | os.PathLike | None = None) -> None:
        self._reader = RecordReader(rec, idx)
        self._stem = os.path.splitext(self._reader.path)[0]
        self._listed = _read_list(self._stem + '.lst', self._reader.keys)
        self._classes = os.path.join(os.path.dirname(self._reader.path), CLASSES_FILE)
        self.named = os.path.exists(self._classes)

    def __len__(self) -> int:
        return len(self._reader)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int64; raises `RecordError` for a record whose label is not one whole number."""
        if self._listed is not None:
            return self._listed
        found = np.zeros(len(self), np.int64)  # of a damaged record 0, which `read` keeps from use
        for i in range(len(self)):
            with contextlib.suppress(ImageError):
                labels = self._reader.labels(i)
                if len(labels) != 1 or not _is_label(labels[0]):
                    raise RecordError(f'{self.name(i)} must have one whole number as its label, '
                                      f'not {labels}')
                found[i] = labels[0]
        return found

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The lines of `classes.txt` beside the file, or the numbers up to the highest label."""
        if self.named:
            return read_classes(self._classes)
        largest = int(self.labels.argmax())
        return numbers(self.labels[largest] + 1, self.name(largest))

    def check_complete(self) -> None:
        self._reader.check_complete()

    def read(self, i: int) -> bytes:
        record = self._reader.read(i)
        if self._listed is not None and record.labels != (self._listed[i],):
            raise ImageError(f'its label {record.labels} is not the {self._listed[i]} listed in '
                             f'{self._stem}.lst')
        return record.image

    def name(self, i: int) -> str:
        """`file.rec#key`."""
        return printable(self._reader.name(i))


class FolderSource:
    """The images directly inside `folder/<class>/`; see `listing.class_folders` for the order, and
    for what is left out or refused. The first class has label 0."""

    named = True

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = os.fspath(folder)
        self.classes, files = class_folders(self.folder, is_image_file, 'images')
        self._files = [name for names in files for name in names]
        self.labels = np.repeat(np.arange(len(files)), [len(names) for names in files])

    def __len__(self) -> int:
        return len(self._files)

    def read(self, i: int) -> bytes:
        try:
            with open(os.path.join(self.folder, self._files[i]), 'rb') as file:
                return file.read()
        except OSError as error:
            raise ImageError(f'it cannot be read: {error.strerror}') from error

    def name(self, i: int) -> str:
        """Its path."""
        return printable(os.path.join(self.folder, self._files[i]))

    def relative(self, i: int) -> str:
        """`class/file`."""
        return self._files[i]


class FlatSource(FolderSource):
    """The images `names` directly inside `folder`, with labels that are known otherwise."""

    def __init__(self, folder: str, names: Sequence[str], labels: np.ndarray,
                 classes: Sequence[str]) -> None:
        self.folder, self._files = folder, list(names)
        self.labels, self.classes = labels, tuple(classes)


def is_image_file(entry: os.DirEntry) -> bool:
    """Whether this is an image, by the ending of its name; a name without one by its content."""
    if '.' in entry.name or not entry.is_file():
        return entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir()
    try:
        with open(entry.path, 'rb') as file:
            return is_image(file.read(16))
    except OSError:
        return False


def _read_list(path, keys):
    """int64 labels of `keys` from a `.lst`, or None unless each has one whole number there."""
    if not os.path.exists(path):
        return None
    with open_text(path) as file:
        rows = [line.rstrip('\r\n').split('\t') for line in file]
    try:
        labels = {int(key): float(label) for key, label, _ in rows}
        found = [labels[key] for key in keys.tolist()]
    except (ValueError, KeyError):
        return None
    return np.array(found, np.int64) if all(map(_is_label, found)) else None


def _is_label(value):
    return value.is_integer() and abs(value) < 2 ** 31
