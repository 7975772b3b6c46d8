"""MXNet's `.params` file format, read and written by us; dense arrays only.

    0x112, 0, count | count arrays | count | count names         (little-endian, 8 bytes each)
    array: magic, storage type 0, ndim, dims, device type, device id, type flag, values
    name:  length, UTF-8

`mx.nd.save` truncates the old file first, does not sync, and can report success on a full disk;
`mx.nd.load` takes damaged files silently, or crashes, or allocates gigabytes. What is written here
is what it writes, byte for byte. What is read shares the memory of the file's bytes: a file can ask
for no more than it brings.
"""
from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping

import numpy as np

from ..errors import UserError

# the last also where shapes may hold zeros
LIST, ARRAY, ARRAY_NUMPY = 0x112, 0xF993FAC9, 0xF993FACA
# numpy has none; MXNet gives the upper halves of float32 this type
BFLOAT16 = np.dtype([('bfloat16', '<u2')])
TYPES = {**dict(enumerate(map(np.dtype, ('<f4', '<f8', '<f2', 'u1', '<i4', 'i1', '<i8')))),
         12: BFLOAT16}
FLAGS = {dtype: flag for flag, dtype in TYPES.items()}
DEVICES = (1, 2, 3, 5)  # CPU, GPU, and the pinned and shared memory of a CPU
MOST_AXES, MOST_ARRAYS, MOST_CHARACTERS = 32, 2 ** 16, 1024  # numpy's, and far above networks'


class ParamsError(UserError):
    """A file is not a sound `.params` file."""


def to_bytes(values: Mapping[str, np.ndarray]) -> bytes:
    """The file of `values`, {name: numpy array}, in their order; ValueError where there is none."""
    parts = [struct.pack('<QQQ', LIST, 0, len(values))]
    for name, array in values.items():
        if array.dtype not in FLAGS or not array.ndim or not array.size:
            raise ValueError(f'{name} is of type {array.dtype} and shape {array.shape}, which a '
                             '.params file cannot hold')
        parts.append(struct.pack(f'<IiI{array.ndim}q', ARRAY, 0, array.ndim, *array.shape))
        parts.append(struct.pack('<iii', 1, 0, FLAGS[array.dtype]))  # on cpu(0)
        parts.append(np.ascontiguousarray(array).tobytes())
    parts.append(struct.pack('<Q', len(values)))
    for name in values:
        parts.append(struct.pack('<Q', len(name.encode())) + name.encode())
    return b''.join(parts)


def from_bytes(content: bytes, source: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: numpy array} of a file's bytes; `ParamsError`, naming `source`, on anything that does
    not add up.

    The arrays are read-only views of `content`, not always aligned; bfloat16 is of type `BFLOAT16`.
    """
    reader = _Reader(content)
    try:
        if reader.take('<QQ') != (LIST, 0):
            raise ValueError('it does not begin as one')
        arrays = [_array(reader) for _ in range(reader.count(least=32))]
        names = [_name(reader) for _ in range(reader.count(least=8))]
        if len(names) != len(arrays) or len(set(names)) != len(names):
            raise ValueError(f'it has {len(arrays)} arrays and {len(set(names))} different names')
        if reader.left:
            raise ValueError(f'{reader.left} bytes follow its end')
    except ValueError as error:  # UnicodeDecodeError is one
        raise ParamsError(
            f'{source} is not a sound .params file: {error}; copy or export it again') from error
    return dict(zip(names, arrays))


def _array(reader):
    magic, storage, ndim = reader.take('<IiI')
    if magic not in (ARRAY, ARRAY_NUMPY) or storage != 0:
        raise ValueError('an array in it is sparse, or of a format before MXNet 1.0')
    if not 1 <= ndim <= MOST_AXES:
        raise ValueError(f'an array in it has {ndim} axes')
    shape = reader.take(f'<{ndim}q')
    device, index, flag = reader.take('<iii')
    if flag not in TYPES or min(shape) < 1:
        raise ValueError(f'an array in it has type {flag} and shape {shape}')
    if device not in DEVICES or index < 0:
        raise ValueError(f'an array in it is of device {index} of type {device}')
    return np.frombuffer(reader.bytes(math.prod(shape) * TYPES[flag].itemsize),
                         TYPES[flag]).reshape(shape)


def _name(reader):
    name = bytes(reader.bytes(*reader.take('<Q'))).decode()
    if not 1 <= len(name) <= MOST_CHARACTERS or not name.isprintable():
        raise ValueError(f'an array in it has the name {name[:40]!r}')
    return name


class _Reader:
    """Bytes taken from the front, never past the end."""

    def __init__(self, content):
        self._content, self._at = memoryview(content).toreadonly(), 0

    @property
    def left(self):
        return len(self._content) - self._at

    def bytes(self, length):
        """A view of the next `length` bytes."""
        if length > self.left:
            raise ValueError(f'it ends {length - self.left} bytes early')
        self._at += length
        return self._content[self._at - length:self._at]

    def take(self, form):
        return struct.unpack(form, self.bytes(struct.calcsize(form)))

    def count(self, least):
        """A number of items of at least `least` bytes each."""
        (count,) = self.take('<Q')
        if count > MOST_ARRAYS or count * least > self.left:
            raise ValueError(f'it has no room for {count} items')
        return count
