"""Writing files whole or not at all."""
from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import UserError


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """An OSError raised in here names the file; by itself only `open` does."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync_folder(folder: str | os.PathLike) -> None:
    """Make a rename in `folder` survive a power cut; Windows cannot open a folder."""
    if os.name == 'nt':
        return
    with naming(folder):
        handle = os.open(str(folder), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: str | os.PathLike) -> None:
    """Make a folder, and those above it, where they are not there yet; a power cut does not undo
    it."""
    folder = Path(folder)
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        sync_folder(each.parent)


def write_synced(path: str | os.PathLike, content: bytes) -> None:
    """Write bytes to `path` and wait until they are on the disk; an OSError names the file."""
    with naming(path), open(path, 'wb') as file:
        file.write(content)
        file.flush()
        written = os.fstat(file.fileno()).st_size
        if written != len(content):  # some full disks, on a network, report success
            raise OSError(errno.ENOSPC, f'only {written} of {len(content)} bytes were written')
        os.fsync(file.fileno())


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write bytes to `path` so that a reader, or a crash, sees the old file or the new one, never a
    part; make its folder where there is none.

    Raises OSError (a full disk, no permission) and then leaves the old file as it was.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        if isinstance(error, OSError):  # the user knows this name, not the temporary one
            error.filename, error.filename2 = str(path), None
        raise
    sync_folder(path.parent)


def check_folder(path: str | os.PathLike) -> None:
    """UserError unless the folder of a file to be written exists: it may be a typing error."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise UserError(f'{path} cannot be written: there is no folder {folder}; make it, or '
                        'correct the name')


def write_csv(path: str | os.PathLike, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, the first a header, into an existing folder; what is no UTF-8 keeps its bytes."""
    check_folder(path)
    text = io.StringIO(newline='')
    csv.writer(text).writerows(rows)
    write_whole(path, text.getvalue().encode('utf-8', 'surrogateescape'))


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
