"""Where labelled images come from: record files and class folders, behind one small interface.

A source has `len(source)`; `source.labels`, int64, one per image, read without decoding any;
`source.classes`, the tuple of class names; `source.read(i)`, the encoded bytes (raises
`ImageError`); and `source.name(i)`, for messages. It can be pickled, so that every worker opens its
files for itself.
"""
import functools
import logging
import os

import numpy as np

from ..errors import UserError
from .images import ImageError
from .recordio import RecordError, RecordReader

_log = logging.getLogger(__name__)

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
CLASSES_FILE = 'classes.txt'


class RecordSource:
    """The images of a RecordIO file; see `RecordReader` for `rec`, `idx` and errors.

    Labels come from the `.lst` beside the file, if it lists every record: one short file instead of
    a seek per image. Each is compared with the record's own when that is read.
    """

    def __init__(self, rec, idx=None):
        self._reader = RecordReader(rec, idx)
        self._listed = _read_list(self._stem + '.lst', self._reader.keys)

    @property
    def _stem(self):
        return os.path.splitext(self._reader.path)[0]

    def __len__(self):
        return len(self._reader)

    @functools.cached_property
    def labels(self):
        """int64 labels; raises `RecordError` for a record without exactly one whole number as its
        label."""
        if self._listed is not None:
            return self._listed
        return np.array([self._header_label(i) for i in range(len(self))], np.int64)

    def _header_label(self, i):
        try:
            labels = self._reader.labels(i)
        except ImageError:
            return 0  # a stand-in nobody meets: `read` raises for this record too
        if len(labels) != 1 or not _is_label(labels[0]):
            raise RecordError(f'{self.name(i)} must have one whole number as its label, not '
                              f'{labels}')
        return int(labels[0])

    @functools.cached_property
    def classes(self):
        """The lines of `classes.txt` beside the file; without it, every label up to the highest, as
        a string."""
        path = os.path.join(os.path.dirname(self._reader.path), CLASSES_FILE)
        if os.path.exists(path):
            return read_classes(path)
        return tuple(str(label) for label in range(self.labels.max() + 1))

    def check_complete(self):
        """See `RecordReader.check_complete`."""
        self._reader.check_complete()

    def read(self, i):
        """The encoded bytes of image i."""
        record = self._reader.read(i)
        if self._listed is not None and record.labels != (self._listed[i],):
            raise ImageError(f'its label {record.labels} is not the {self._listed[i]} listed in '
                             f'{self._stem}.lst')
        return record.image

    def name(self, i):
        """`file.rec#key`."""
        return self._reader.name(i)


class FolderSource:
    """The images directly inside `folder/<class>/`, both in alphabetical order; the first class has
    label 0.

    Other files and hidden folders are passed over. A folder without classes, and a class without
    images, is a `UserError`: it would shift the labels of the classes behind it.
    """

    def __init__(self, folder):
        self.folder = os.fspath(folder)
        self.classes = tuple(sorted(entry.name for entry in _entries(self.folder)
                                    if entry.is_dir() and not entry.name.startswith('.')))
        files = [_images(os.path.join(self.folder, name)) for name in self.classes]
        if not files:
            raise UserError(f'{self.folder} holds no class folders: images belong into '
                            f'{self.folder}/<class>/')
        self._files = [name for names in files for name in names]
        self.labels = np.repeat(np.arange(len(files)), [len(names) for names in files])

    def __len__(self):
        return len(self._files)

    def read(self, i):
        """The encoded bytes of image i."""
        try:
            with open(self.name(i), 'rb') as file:
                return file.read()
        except OSError as error:
            raise ImageError(f'it cannot be read: {error.strerror}') from error

    def name(self, i):
        """Its path."""
        return os.path.join(self.folder, self.relative(i))

    def relative(self, i):
        """`class/file`."""
        return os.path.join(self.classes[self.labels[i]], self._files[i])


def open_source(path, split):
    """The source at `path`: a `.rec` file, or a folder that holds `<split>.rec` or a folder
    `<split>` of classes.

    Where a folder holds both, the records are taken. Raises `UserError` when there is none.
    """
    path = os.fspath(path)
    if path.endswith('.rec'):
        return RecordSource(path)
    rec, folder = os.path.join(path, split + '.rec'), os.path.join(path, split)
    if os.path.exists(rec):
        return RecordSource(rec)
    if os.path.isdir(folder):
        return FolderSource(folder)
    raise UserError(f'no {split} data in {path}: neither the file {rec} nor the folder {folder} '
                    'with class folders exists; --data-dir is the folder that holds them')


def check_labels(source, classes):
    """Raise `UserError`, naming the record, unless every label is one of 0…classes−1."""
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
    if len(outside):
        first = outside[0]
        raise UserError(f'{len(outside)} of {len(source)} labels are outside 0…{classes - 1}, the '
                        f'first of them {source.labels[first]} at {source.name(first)}: the '
                        f'network has {classes} classes, choose as many as the data has')


def read_classes(path):
    """The class names in a `classes.txt`, one a line."""
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        return tuple(file.read().splitlines())


def write_classes(folder, names):
    """Write `classes.txt` into the folder, in one step; a name with a line break is a
    `UserError`."""
    for name in names:
        if len(name.splitlines()) != 1:
            raise UserError(f'a class name must be one line: rename {name!r}')
    path = os.path.join(folder, CLASSES_FILE)
    draft = f'{path}.{os.getpid()}'
    with open(draft, 'w', encoding='utf-8', errors='surrogateescape') as file:
        file.writelines(name + '\n' for name in names)
    os.replace(draft, path)


def _entries(folder):
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f'cannot list the folder {folder}: {error.strerror}') from error


def _images(folder):
    names = sorted(entry.name for entry in _entries(folder)
                   if entry.name.lower().endswith(EXTENSIONS))
    if not names:
        raise UserError(f'the class folder {folder} holds no images ({" ".join(EXTENSIONS)}): fill '
                        'or remove it')
    return names


def _read_list(path, keys):
    """int64 labels of `keys` from a `.lst`, or None unless it lists each of them with one whole
    number."""
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        rows = [line.rstrip('\n').split('\t') for line in file]
    try:
        labels = {int(key): float(label) for key, label, _ in rows}
        found = [labels[key] for key in keys.tolist()]
    except (ValueError, KeyError):
        return None
    return np.array(found, np.int64) if all(map(_is_label, found)) else None


def _is_label(value):
    return value.is_integer() and abs(value) < 2 ** 31


def check_classes(source, names):
    """Raise `UserError` unless each class name of the source is the one a network knows under its
    label.

    A validation folder that lacks a class, or has one more, shifts the labels of all behind it.
    Where one side calls its classes by number, as record files without `classes.txt` do, names
    cannot be compared; that is a warning.
    """
    for label, (own, known) in enumerate(zip(source.classes, names)):
        if own == known:
            continue
        if str(label) in (own, known):
            _log.warning('class %d of the data is %r, and %r to the network: taken for the same, '
                         'by number',
                         label, own, known)
            return
        raise UserError(f'class {label} of the data is {own!r}, but {known!r} to the network: the '
                        'data must have the same class folders, or the same classes.txt, as the '
                        'data the network was trained on')
