"""RecordIO files of images, as MXNet's `im2rec` writes them: a reader that trusts no byte, and a
writer.

A record is a 24-byte header (flag, label, id, id2), `flag` further float32 labels, and the encoded
image. In the file it is one part, or several where its bytes hold the magic word at a multiple of
4. There the writer cuts and leaves that word out, and the reader puts it back. A part is the magic
word, a word with the part's kind and length, the bytes, and zeros up to a multiple of 4. The kind
is in the word's upper 3 bits, the length in the others. `.idx` lists `key<tab>offset`.

Records written here carry 2³² + the CRC-32 of the whole record (taken with id2 = 0) in `id2`, which
MXNet ignores. In files with such records the reader checks it, so that no damage passes for an
image; what other writers put there means nothing.
"""
from __future__ import annotations

import mmap
import os
import struct
import tempfile
import zlib
from typing import NamedTuple, Sequence

import numpy as np

from ..errors import UserError
from ..files import sync_folder
from .headers import ImageError

MAGIC = struct.pack('<I', 0xced7230a)
_PART = struct.Struct('<4sI')  # magic word, kind << 29 | length
_HEADER = struct.Struct('<IfQQ')  # number of further labels, label, id, id2
_MAX_PART = 2 ** 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_CHECKED = 2 ** 32  # added to the CRC so that id2 is never 0 in our files


class Record(NamedTuple):
    """One record: labels (one for classification), number, encoded image."""
    labels: tuple[float, ...]
    id: int
    image: bytes


class RecordError(UserError):
    """A record file or its index is damaged or foreign as a whole."""


class _CutOff(ImageError):
    """The record reaches beyond the end of the file."""


class RecordReader:
    """Random access to the records of `rec`, in the order of its index.

    `idx` defaults to the `.idx` beside it, if there is one; without, the file is scanned.
    Pickles as its path and index: every process opens the file for itself, when it first reads.
    Raises `RecordError` when the file is empty, cut short, not RecordIO, or does not fit its index.
    """

    def __init__(self, rec: str | os.PathLike, idx: str | os.PathLike | None = None) -> None:
        self.path = os.fspath(rec)
        self._map = None
        beside = os.path.splitext(self.path)[0] + '.idx'
        if idx is None and os.path.exists(beside):
            idx = beside
        if idx is None:
            self.offsets = _scan(self._data(), self.path)
            self.keys = np.arange(len(self.offsets))
        else:
            self.keys, self.offsets = _read_index(os.fspath(idx))
        self._ends = self._check_index(idx)
        self._checked = any(map(self._may_be_ours, {0, len(self) // 2, len(self) - 1}))

    def _check_index(self, idx):
        """Where each record must end: where the next one in the file starts, or with the file."""
        order = np.argsort(self.offsets)
        ordered, size = self.offsets[order], len(self._data())
        way_out = f'restore {self.path}' + (f', or remove {idx} to have it rebuilt' if idx else '')
        if ordered[-1] + _PART.size > size:
            raise RecordError(f'{idx} points to offset {ordered[-1]}, but {self.path} has only '
                              f'{size} bytes: {way_out}')
        if ordered[0] != 0 or (np.diff(ordered) < _PART.size).any() or (ordered % 4).any():
            raise RecordError(f'{idx} is damaged or of another file than {self.path}: {way_out}')
        self._check_last(int(ordered[-1]), size, way_out)
        ends = np.empty_like(self.offsets)
        ends[order] = np.append(ordered[1:], size)
        return ends

    def _check_last(self, offset, size, way_out):
        """The last record must end with the file, or the file is cut short, or the index is."""
        try:
            end = _record_end(self._data(), offset)
        except _CutOff as damage:
            raise RecordError(f'{self.path} is cut short: its last record starts at offset '
                              f'{offset} and ends beyond the {size} bytes of the file: '
                              f'{way_out}') from damage
        except ImageError:
            return  # one bad record among good ones: reading it will say so
        if end != size:
            raise RecordError(f'the last record of {self.path}, at offset {offset}, ends at byte '
                              f'{end}, but the file has {size}: {way_out}')

    def _may_be_ours(self, i):
        """Whether the i-th record has a checksum; a damaged one may have had one."""
        try:
            record = self._join(i)
            return _split_header(record, 0, len(record))[2] // _CHECKED == 1
        except ImageError:
            return True

    def __len__(self) -> int:
        return len(self.offsets)

    def check_complete(self) -> None:
        """Walk the whole file; `RecordError` unless it is sound and the index lists all of it."""
        found = _scan(self._data(), self.path)
        if not np.array_equal(found, np.sort(self.offsets)):
            raise RecordError(f'{self.path} holds {len(found)} records, its index lists '
                              f'{len(self.offsets)}: remove the .idx to have it rebuilt')

    def name(self, i: int) -> str:
        """The i-th record for messages: `file.rec#key`."""
        return f'{self.path}#{self.keys[i]}'

    def read(self, i: int) -> Record:
        """The i-th `Record`; raises `ImageError` when it is damaged."""
        record = self._join(i)
        labels, key, id2, start = _split_header(record, 0, len(record))
        if self._checked and id2 and id2 != _checksum(record):
            raise ImageError('its checksum is wrong')
        return Record(labels, key, record[start:])

    def labels(self, i: int) -> tuple[float, ...]:
        """The i-th record's labels alone, unchecked and without touching its image: cheap."""
        data, (kind, start, stop) = self._data(), _part(self._data(), int(self.offsets[i]))
        if kind != _WHOLE:
            data = self._join(i)
            start, stop = 0, len(data)
        return _split_header(data, start, stop)[0]

    def _join(self, i):
        """The i-th record's bytes, its parts put together."""
        data, end = self._data(), int(self._ends[i])
        spans = list(_parts(data, int(self.offsets[i])))
        if _aligned(spans[-1][1]) != end:
            raise ImageError(f'it ends at byte {_aligned(spans[-1][1])} instead of {end}')
        return MAGIC.join(data[start:stop] for start, stop in spans)

    def _data(self):
        if self._map is None:
            try:
                with open(self.path, 'rb') as file:
                    if os.fstat(file.fileno()).st_size == 0:
                        raise RecordError(f'{self.path} is empty: write it again')
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
                raise RecordError(f'cannot open the record file {self.path}: '
                                  f'{error.strerror}') from error
        return self._map

    def __getstate__(self):
        return {**self.__dict__, '_map': None}


def _read_index(path):
    """int64 keys and offsets, in the order of the file."""
    try:
        with open(path, 'rb') as file:
            rows = [line.split(b'\t') for line in file.read().splitlines() if line]
        table = np.array([(int(key), int(offset)) for key, offset in rows], np.int64)
        keys, offsets = np.ascontiguousarray(table.T)
    except OSError as error:
        raise RecordError(f'cannot read the index {path}: {error.strerror}') from error
    except (ValueError, OverflowError) as error:  # an empty one has no two columns
        raise RecordError(f'{path} is no record index (lines of key<tab>offset): '
                          'remove it to have it rebuilt from the records') from error
    return keys, offsets


def _scan(data, path):
    """int64 offsets of all records of a file without an index."""
    offsets, position = [], 0
    while position < len(data):
        offsets.append(position)
        try:
            position = _record_end(data, position)
        except ImageError as damage:
            raise RecordError(f'{path} is damaged at offset {position} ({damage}): restore the '
                              'file, or its .idx, with which the other records can be '
                              'read') from damage
    return np.array(offsets, np.int64)


def _record_end(data, offset):
    """Where the record at `offset` ends, padding included."""
    *_, (_, stop) = _parts(data, offset)
    return _aligned(stop)


def _parts(data, offset):
    """Yield (start, stop) of the bytes of each part of the record at `offset`."""
    kind, start, stop = _part(data, offset)
    if kind not in (_WHOLE, _FIRST):
        raise ImageError('it starts in the middle of a record')
    yield start, stop
    while kind not in (_WHOLE, _LAST):
        kind, start, stop = _part(data, _aligned(stop))
        if kind not in (_MIDDLE, _LAST):
            raise ImageError('its last part is missing')
        yield start, stop


def _part(data, offset):
    """Kind, start and stop of the part whose magic word is at `offset`."""
    if offset + _PART.size > len(data):
        raise _CutOff('it is cut off by the end of the file')
    magic, word = _PART.unpack_from(data, offset)
    if magic != MAGIC:
        raise ImageError('it does not start with the magic word')
    start, length = offset + _PART.size, word & (_MAX_PART - 1)
    if start + _aligned(length) > len(data):
        raise _CutOff('it is cut off by the end of the file')
    return word >> 29, start, start + length


def _aligned(position):
    return (position + 3) // 4 * 4


def _split_header(data, start, stop):
    """Labels, id, id2, and where the image starts, of the record at `data[start:stop]`."""
    if stop - start < _HEADER.size:
        raise ImageError('it is shorter than its header')
    count, label, key, id2 = _HEADER.unpack_from(data, start)
    labels, image = start + _HEADER.size, start + _HEADER.size + 4 * count
    if image > stop:
        raise ImageError(f'it is too short for its {count} labels')
    return struct.unpack_from(f'<{count}f', data, labels) if count else (label,), key, id2, image


def _checksum(record):
    """2³² + CRC-32 of the record as if its id2 were 0."""
    head = record[:_HEADER.size - 8] + bytes(8)
    return _CHECKED + zlib.crc32(record[_HEADER.size:], zlib.crc32(head))


class RecordWriter:
    """Write `path` (`….rec`) and its `.idx` and `.lst`, as im2rec does; a context manager.

    The files appear under their names when the block ends; after an exception nothing is left and
    nothing changed. The `.rec` comes last, so where it exists its companions do.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        if not self.path.endswith('.rec'):
            raise UserError(f'a record file\'s name ends in .rec, unlike {self.path}')
        self.count = 0

    def __enter__(self) -> RecordWriter:
        self._folder = tempfile.TemporaryDirectory(prefix='.records-',
                                                   dir=os.path.dirname(self.path) or '.')
        names = [os.path.join(self._folder.name, name) for name in ('lst', 'idx', 'rec')]
        self._lst, self._idx, self._rec = (open(name, 'wb') for name in names)  # noqa: SIM115
        return self

    def write(self, image: bytes, label: float | Sequence[float], key: int | None = None,
              name: str = '') -> None:
        """Append the encoded `image` with its `label` (a number, or several), under the number
        `key` (default: how many came before) in the index and the path `name` in the `.lst`."""
        key = self.count if key is None else key
        if any(mark in name for mark in '\t\r\n'):
            raise UserError('a tab or a line break in a file name cannot be listed: rename '
                            f'{name!r}')
        labels = np.atleast_1d(label).astype('<f4')
        several = labels.tobytes() if np.ndim(label) else b''
        given = len(several) // 4, 0. if several else float(labels[0]), key
        blank = _HEADER.pack(*given, 0) + several + image
        record = _HEADER.pack(*given, _checksum(blank)) + blank[_HEADER.size:]
        if len(record) >= _MAX_PART:
            raise UserError(f'{name or key} has {len(image)} bytes, more than a record can hold')
        offset = self._rec.tell()
        self._rec.write(b''.join(_cut(record)))
        self._idx.write(f'{key}\t{offset}\n'.encode())
        listed = '\t'.join(f'{value:f}' for value in np.atleast_1d(label))
        self._lst.write(f'{key}\t{listed}\t{name}\n'.encode('utf-8', 'surrogateescape'))
        self.count += 1

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        with self._folder, self._rec, self._idx, self._lst:
            if kind is None:
                self._publish()

    def _publish(self):
        files = self._lst, self._idx, self._rec
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(self.path):
            os.remove(self.path)  # never the old records beside the new index
        stem = os.path.splitext(self.path)[0]
        for file in files:
            os.replace(file.name, f'{stem}.{os.path.basename(file.name)}')
        sync_folder(os.path.dirname(self.path) or '.')


def _cut(record):
    """Yield the record's parts, cut at aligned magic words, and the padding."""
    start, found = 0, record.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            kind = _MIDDLE if start else _FIRST
            yield _PART.pack(MAGIC, kind << 29 | found - start) + record[start:found]
            start = found + 4
        found = record.find(MAGIC, found + 1)
    kind = _LAST if start else _WHOLE
    yield _PART.pack(MAGIC, kind << 29 | len(record) - start) + record[start:]
    yield bytes(-len(record) % 4)
