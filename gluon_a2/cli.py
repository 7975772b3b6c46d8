"""What every command shares: its streams, its flags, and how a mistake becomes one sentence.

It imports nothing that must be installed, so that a missing package is a sentence, too.
"""
from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import os
import re
import select
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from .errors import Interrupted, UserError
from .machine.ranks import PREEMPTED

UNIX = ('fcntl', 'grp', 'pwd', 'resource', 'termios')
# pip's names of modules that have another
PACKAGES = {'cv2': 'opencv-python-headless', 'PIL': 'pillow', 'sklearn': 'scikit-learn'}
BROKEN_PIPE = 141  # as of a program that the signal has ended: 128 and its number

# The way out, for the errors of the operating system that choosing another file does not cure.
LIMITS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT),
                    'no space left on the disk while writing {}: free some and run again'),
    errno.EFBIG: '{} is larger than this process may write: raise the limit (ulimit -f unlimited)',
    errno.EMFILE: 'this process may not open as many files as it needs: raise the limit '
                  '(ulimit -n 4096), or use fewer data workers (-j)',
    errno.ENFILE: 'the machine has too many files open: end other programs and run again',
    errno.ENOMEM: 'the machine has too little memory left: end other programs and run again',
}

_flags: argparse.ArgumentParser | None = None  # of the running command
_command: str | None = None  # its name, where it was started as `gluon-a2 <name>`


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the command's docstring as it is written, and adds the default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An `ArgumentParser` described by a command's docstring, in which %(prog)s is how it was
    called; it refuses abbreviated flags."""
    global _flags
    _flags = argparse.ArgumentParser(f'gluon-a2 {_command}' if _command else None, description=doc,
                                     formatter_class=HelpFormatter, allow_abbrev=False)
    return _flags


def program() -> list[str]:
    """What the interpreter is given to start this program again, before its flags."""
    if _command is None:
        return [sys.argv[0]]
    as_module = Path(sys.argv[0]).name == '__main__.py'
    return [*(['-m', 'gluon_a2'] if as_module else [sys.argv[0]]), _command]


def entry(main: Callable) -> Callable:
    """Decorate a `main(argv)`: what the user can correct ends in one sentence on stderr.

    `command` is the name under which `gluon-a2` calls it; a script leaves it out.

    Exit codes: that of the `UserError`, which is 2 unless it has another. 2 for a full disk, an
    unusable file or a missing package. 130 for Ctrl-C. 141, silently, where the reader of stdout
    has gone. Every other exception is a defect of ours and keeps its traceback.
    """
    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None, command: str | None = None) -> Any:
        global _flags, _command
        _flags, _command = None, command
        _open_streams()
        try:
            try:
                return main(argv)
            finally:
                sys.stdout.flush()  # at the end of the process nobody could catch what this raises
        except BrokenPipeError:
            if not _reader_has_gone():
                raise
            _close_stdout()
            sys.exit(BROKEN_PIPE)
        except KeyboardInterrupt as error:
            sentence, code = with_flags(str(error) or 'interrupted'), Interrupted.exit_code
        except UserError as error:
            sentence, code = with_flags(str(error)), error.exit_code
        except (OSError, ModuleNotFoundError, RuntimeError) as error:
            sentence, code = _explain(error), 2
            if not sentence:
                raise
        with contextlib.suppress(OSError):  # stderr may be the pipe without a reader
            label = '' if code in (Interrupted.exit_code, PREEMPTED) else 'error: '
            print(f'{label}{sentence}', file=sys.stderr)
        sys.exit(code)
    return run


def _open_streams() -> None:
    """Open closed streams, whose numbers the next file would take; escape what has no encoding."""
    for number, name, mode in ((0, 'stdin', 'r'), (1, 'stdout', 'w'), (2, 'stderr', 'w')):
        stream = getattr(sys, name)
        if stream is None:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115
        elif number and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def _reader_has_gone() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads; a worker's pipe breaks otherwise.
    Windows cannot be asked."""
    if not hasattr(select, 'poll'):
        return True
    poll = select.poll()
    poll.register(1, 0)
    poll.register(2, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _close_stdout() -> None:
    """Send what is still buffered nowhere, so that the end of the process cannot fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def with_flags(sentence: str) -> str:
    """The sentence with each backticked option of the running command as its flag."""
    def flag(match: re.Match) -> str:
        for action in _flags._actions if _flags else ():
            spellings = [text for text in action.option_strings if text.startswith('--')]
            names = {action.dest, *(text[2:].replace('-', '_') for text in spellings)}
            if spellings and match.group(1) in names:
                return spellings[0]
        return match.group()
    return re.sub('`([a-z][a-z0-9_]*)`', flag, sentence)


def _explain(error: Any) -> str:
    """A sentence for an error that the surroundings have caused; empty for others."""
    if isinstance(error, ModuleNotFoundError):
        return _about_module(error)
    if isinstance(error, RuntimeError):  # Matplotlib asks for a home
        known = 'home directory' in str(error)
        return 'this user has no home folder: set HOME to one' if known else ''
    if error.errno in LIMITS:
        if error.filename is None:
            _close_stdout()  # it may be what is full
        return LIMITS[error.errno].format(error.filename or 'a file')
    if 'temporary directory' in str(error):  # Python's and Matplotlib's words
        return ('no folder for temporary files can be written: set TMPDIR to one that can, and '
                'MPLCONFIGDIR for Matplotlib')
    if error.filename is None:
        return ''
    return f'{error.filename} cannot be used: {error.strerror}; choose another path'


def _about_module(error: Any) -> str:
    """A sentence for a missing package and how to get it; empty for a module of ours."""
    name = (error.name or 'gluon_a2').partition('.')[0]
    if name == 'gluon_a2':
        return ''
    if name in UNIX:
        return f'this needs {name}, a part of Python that Windows lacks: run it on Linux'
    root = Path(__file__).resolve().parents[1]
    python = root / '.venv' / 'bin' / 'python'
    if python.exists() and Path(sys.prefix) != root / '.venv':
        way_out = f'run this with {python}'
    elif (root / 'Makefile').exists():
        way_out = f'run make doctor in {root}, which makes an environment that has it'
    else:
        way_out = f'run {sys.executable} -m pip install {PACKAGES.get(name, name)}'
    return f'{name} is not installed for {sys.executable}: {way_out}'


def show_table(rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in aligned columns, the first as a header; integers with separators, right."""
    cells = [[f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for values, row in zip(rows, cells):
        print('  '.join(cell.rjust(width) if isinstance(value, int) else cell.ljust(width)
                        for value, cell, width in zip(values, row, widths)).rstrip())
        if row is cells[0]:
            print('  '.join('-' * width for width in widths))
