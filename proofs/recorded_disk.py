"""A disk that remembers what was synced: which folders can a power cut leave behind?

`recording` notes the operations on files below a folder that Python code makes. `Disk` applies them
and then answers what may be there after a cut: of the writes to a file that was not synced any
blocks, and of the changes to a folder that was not synced any subset. A rename is done or not; a
folder is synced by an fsync of its own. So strict is no file system in use, but all keep to it.
"""
import builtins
import contextlib
import os
from pathlib import Path
from unittest import mock

BLOCK = 512  # bytes that reach the disk together, or not


class _File:
    """A file that is written, whose writes are noted."""

    def __init__(self, file, path, note):
        self._file, self._path, self._note = file, path, note

    def write(self, content):
        """Note it; text is UTF-8."""
        self._note('write', self._path,
                   content.encode() if isinstance(content, str) else bytes(content))
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *given):
        self._file.close()


@contextlib.contextmanager
def recording(root):
    """[(operation, path, …)], which grows, of what happens below the folder `root`. Needs Python
    3.10: before, pathlib has taken its functions from `os` when it was imported."""
    root, done, real_open = Path(root), [], builtins.open

    def place(path, folder=None):
        base = os.readlink(f'/proc/self/fd/{folder}') if folder is not None else ''
        path = Path(os.path.join(base, path))
        return str(path.relative_to(root)) if path.is_relative_to(root) else None

    def note(name, *given):
        if None not in given:
            done.append((name, *given))

    def opened(path, mode='r', *rest, **more):
        inside = None if isinstance(path, int) or set(mode) <= set('rbt') else place(path)
        before = inside is not None and os.path.exists(path)
        file = real_open(path, mode, *rest, **more)
        if inside is None:
            return file
        if not before:
            note('create', inside)
        elif 'w' in mode:
            note('truncate', inside)
        return _File(file, inside, note)

    def noting(name, call):
        def noted(path, *given, dir_fd=None, **more):
            result = call(path, *given, **more, **({} if dir_fd is None else {'dir_fd': dir_fd}))
            targets = [place(given[0])] if name == 'rename' else []
            note(name, place(path, dir_fd), *targets)
            return result
        return noted

    def fsync(file):
        os_fsync(file)
        note('sync', place(os.readlink(f'/proc/self/fd/{file}')))
    os_fsync = os.fsync
    calls = {'mkdir': 'mkdir', 'rename': 'rename', 'replace': 'rename', 'unlink': 'unlink',
             'remove': 'unlink', 'rmdir': 'unlink'}
    changed = {name: noting(kind, getattr(os, name)) for name, kind in calls.items()}
    with mock.patch.multiple(os, fsync=fsync, **changed), mock.patch.object(
            builtins, 'open', opened):
        yield done


class File:
    """What is written, and what of it is on the disk for certain."""

    def __init__(self):
        self.content = self.synced = b''

    def sync(self):
        """All of it is."""
        self.synced = self.content

    def after_cut(self, rng):
        """Bytes that a cut may leave: blocks that were not synced are old, new or zero, and the
        length is any between. What was synced and only added to stays."""
        if self.content == self.synced or rng.random() < 0.2:
            return self.content
        length = rng.choice([len(self.synced), len(self.content),
                             rng.randint(*sorted([len(self.synced), len(self.content)]))])
        old, new = (text.ljust(length, b'\0') for text in (self.synced, self.content))
        lost, added_to = rng.random(), self.content.startswith(self.synced)
        return b''.join(
            new[at:at + BLOCK] if rng.random() > lost else
            old[at:at + BLOCK] if rng.random() < 0.5 or added_to else
            bytes(len(old[at:at + BLOCK]))
            for at in range(0, length, BLOCK))[:length]


class Folder(dict):
    """Entries by name, as the program sees them; `synced` are those on the disk."""

    def __init__(self):
        super().__init__()
        self.synced = {}


class Disk:
    """Applies recorded operations to an empty folder."""

    def __init__(self):
        self.root = Folder()
        self.pending = []  # changes that no sync has made certain: [[(folder, name, entry)]]

    def _find(self, path):
        found = self.root
        for part in Path(path).parts:
            found = found[part]
        return found

    def apply(self, name, path, *given):
        """One operation."""
        at = Path(path)
        if name == 'write':
            self._find(path).content += given[0]
        elif name == 'truncate':
            self._find(path).content = b''
        elif name == 'sync':
            self._sync(self._find(path))
        elif name == 'rename':
            entry, to = self._find(path), Path(given[0])
            self._change([(self._find(at.parent), at.name, None),
                          (self._find(to.parent), to.name, entry)])
        else:
            entry = {'create': File, 'mkdir': Folder}.get(name, lambda: None)()
            self._change([(self._find(at.parent), at.name, entry)])

    def _change(self, entries):
        _set(entries, lambda folder: folder)
        self.pending.append(entries)

    def _sync(self, entry):
        if isinstance(entry, File):
            entry.sync()
            return
        for change in self.pending:
            if any(folder is entry for folder, *_ in change):
                _set(change, lambda folder: folder.synced)
        self.pending = [change for change in self.pending
                        if not any(folder is entry for folder, *_ in change)]

    def after_cut(self, rng):
        """{path: bytes, or None for a folder} of what a cut may leave."""
        kept = rng.choice([0, 0.2, 0.5, 0.8, 1])
        left = {}  # {id of a folder: its entries}
        for change in self.pending:
            if rng.random() < kept:
                _set(change, lambda folder: left.setdefault(id(folder), dict(folder.synced)))
        return dict(_walk(self.root, '', left, rng))


def _set(change, entries_of):
    for folder, name, entry in change:
        entries = entries_of(folder)
        entries.pop(name, None)
        if entry is not None:
            entries[name] = entry


def _walk(folder, path, left, rng):
    for name, entry in left.get(id(folder), folder.synced).items():
        inside = os.path.join(path, name)
        if isinstance(entry, File):
            yield inside, entry.after_cut(rng)
        else:
            yield inside, None
            yield from _walk(entry, inside, left, rng)


def write_out(files, place):
    """Make what `after_cut` has answered in an empty folder."""
    for path, content in files.items():
        if content is None:
            (place / path).mkdir()
        else:
            (place / path).write_bytes(content)
