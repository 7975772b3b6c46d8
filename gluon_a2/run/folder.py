"""A run's folder: what made it, what it logged, and where its checkpoints are.

    run.json        recipe, options, command, versions, threads: what `config` starts again
    train.log       the lines of the console
    log.jsonl       loss, accuracy, learning rate: the same for every run of the same recipe on the
                    same threads
    timing.jsonl    images per second, and where the time went
    events…         TensorBoard
    curve.png       log.jsonl as a picture
    checkpoints/    see checkpoint.py
    export/         see deploy/bundle.py
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tensorboardX import SummaryWriter

from .. import __version__, flags
from ..backend import mx, threads
from ..errors import UserError
from ..files import check_folder, sync_folder, write_whole
from ..machine.ranks import launch_id
from ..visualization import plots
from . import recipes
from .network import effective
from .options import Options
from .recipes import Recipe

log = logging.getLogger(__name__)
PACKAGE = logging.getLogger('gluon_a2')  # above all loggers of ours: what a run folder keeps
LOGS = 'log.jsonl', 'timing.jsonl'
# how a global batch is cut: a resumed run may cut it otherwise
SHARES = ('batch_size', 'accumulate', 'ranks')


def versions() -> dict[str, str]:
    """What computes: versions of this package, of what it stands on, and the machine."""
    return {'gluon_a2': __version__, 'mxnet': mx.__version__, 'numpy': np.__version__,
            'python': platform.python_version(), 'machine': platform.platform()}


def lock(folder: Path) -> TextIO:
    """An open file that keeps other processes out of a run folder until it is closed."""
    file = open(folder / 'lock', 'w')  # noqa: SIM115 (held while the run is open)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(f'another process is at work in {folder}: wait for it, or choose another '
                        '`save_dir`') from error
    return file


def check_resumable(folder: Path, recipe: Recipe) -> None:
    """UserError unless the run in `folder` can go on with `recipe`; logs what it changes."""
    path = folder / 'run.json'
    if not path.exists():
        raise UserError(f'{folder} holds no run to resume: leave out `resume`, or give its '
                        '`save_dir`')
    try:
        made = json.loads(path.read_bytes())
        then, began = effective(recipes.from_json(made['recipe'])), made['threads']
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{path} is damaged: start another run') from error
    changed = [name for name, value in vars(recipe).items()
               if name not in SHARES and getattr(then, name) != value]
    if changed:
        name = changed[0]
        words = shlex.join(flags.to_args(Recipe, {name: getattr(then, name) for name in changed}))
        raise UserError(f'{folder} was trained with {name}={getattr(then, name)}, not '
                        f'{getattr(recipe, name)}: resume with the same flags'
                        f'{f" ({words})" if words else ""}, or start another run')
    if then.global_batch != recipe.global_batch:
        raise UserError(f'{folder} was trained with a global batch of {then.global_batch}, not '
                        f'{recipe.global_batch}: choose `batch_size` and `accumulate` so that '
                        'ranks × batch size × accumulate is the same')
    if recipe.deterministic and began != threads()[0]:
        raise UserError(f'{folder} was begun with `deterministic` on {began} CPU threads, not '
                        f'{threads()[0]}: set OMP_NUM_THREADS={began}')
    if recipe.deterministic and not recipe.exact_sums and then.ranks != recipe.ranks:
        raise UserError(f'{folder} was begun with `deterministic` on {then.ranks} ranks, not '
                        f'{recipe.ranks}: start as many; only with `exact_sums` may a run go on '
                        'with others')
    if then.batch_size != recipe.batch_size:
        log.warning('BatchNorm normalises %d images at a time from here on, and did %d before',
                    recipe.batch_size, then.batch_size)
    if began != threads()[0]:
        log.warning('the run was begun on %d CPU threads and goes on with %d: its last bits will '
                    'differ', began, threads()[0])


class LogFile(logging.FileHandler):
    """A log file whose failures, such as a full disk, stop the run instead of being printed and
    forgotten. It is UTF-8 in every locale, and escapes names that are not."""

    def _open(self):
        return open(self.baseFilename, self.mode, encoding='utf-8', errors='backslashreplace')

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        raise  # noqa: PLE0704 (logging calls this while it handles the error)


class Run:
    """An open run folder and the logs in it; use it as a context manager."""

    def __init__(self, folder: str | Path, recipe: Recipe, options: Options) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / 'checkpoints'
        self._new = not options.resume
        hidden = self.folder.with_name(f'.{self.folder.name}.replaced')
        # the run that was here; of a run that was killed, what it had not removed yet
        self._replaced: Path | None = hidden if options.resume else None
        self._board: SummaryWriter = None  # opened by `rewind`
        if options.resume:
            check_resumable(self.folder, recipe)
        else:
            self._claim(recipe, options, hidden)
        self._lock = lock(self.folder)
        try:
            self._handler = LogFile(options.logging_file or self.folder / 'train.log')
        except OSError:
            self._undo()
            self._lock.close()
            raise
        self._handler.setFormatter(logging.Formatter('%(asctime)s %(message)s'))
        PACKAGE.setLevel(logging.INFO)
        PACKAGE.addHandler(self._handler)

    def _claim(self, recipe: Recipe, options: Options, hidden: Path) -> None:
        """Make a new folder, in place of an earlier run where the user says so."""
        made_by = self.folder / 'run.json'
        check_folder(self.folder.parent)
        for stray in self.folder.glob('.run.json.*.tmp'):  # of a start that was cut here
            stray.unlink()
        if self.folder.exists() and {path.name for path in self.folder.iterdir()} - {'fault.json'}:
            if not made_by.exists():
                raise UserError(f'{self.folder} holds files that are not a run of ours: choose '
                                'another `save_dir`')
            if not options.overwrite:
                raise UserError(f'{self.folder} already holds a run: `resume` to go on with it, '
                                '`overwrite` to delete it, or another `save_dir`')
            with lock(self.folder):
                shutil.rmtree(hidden, ignore_errors=True)
                self._replaced = self.folder.rename(hidden)
        write_whole(made_by, json.dumps({'recipe': recipes.to_json(recipe),
                                         'options': options.to_json(), 'command': sys.argv,
                                         'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
                                         'threads': threads()[0], 'launch': launch_id(),
                                         'versions': versions()}, indent=1).encode())

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        PACKAGE.removeHandler(self._handler)
        with contextlib.suppress(OSError):  # on a full disk, the error under way is the one to tell
            if kind is not None:  # in the file only: whoever catches the error says it to the user
                reason = str(error) if isinstance(error, (UserError, OSError)) else repr(error)
                self._handler.handle(
                    log.makeRecord(log.name, logging.ERROR, __file__, 0, reason, (), None))
        with contextlib.suppress(OSError):
            self._handler.close()
        if self._board:
            self._board.close()
        if isinstance(error, (UserError, OSError)):
            self._undo()
        if self._replaced:
            shutil.rmtree(self._replaced, ignore_errors=True)
        self._lock.close()

    def _undo(self) -> None:
        """Where no step was made, leave the folder free, or as the run that was there had it."""
        made = (self.folder / 'log.jsonl').exists() or any(self.checkpoints.glob('step-*'))
        if self._new and not made:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._replaced:
                self._replaced.rename(self.folder)

    def rewind(self, step: int) -> None:
        """Forget the log lines after `step`, so that a resumed run writes each once."""
        # a killed process's
        for unfinished in (*self.folder.glob('.*.tmp'), *self.folder.glob('export/.*.tmp')):
            unfinished.unlink()
        for name in LOGS:
            path = self.folder / name
            if path.exists():
                lines = path.read_bytes().splitlines(keepends=True)
                write_whole(path, b''.join(line for line in lines if _is_of(line, step)))
        self._board = SummaryWriter(str(self.folder), purge_step=step + 1)

    def record(self, step: int, values: dict[str, Any], name: str = 'log.jsonl') -> None:
        """Append {step, **values} to a log of JSON lines, and to TensorBoard."""
        with open(self.folder / name, 'a') as file:
            file.write(json.dumps({'step': step, **values}) + '\n')
        for key, value in values.items():
            self._board.add_scalar(key, value, step)

    def sync(self) -> None:
        """Have the logs survive a power cut, as the checkpoint must that comes next."""
        for name in LOGS:
            with contextlib.suppress(FileNotFoundError), open(self.folder / name, 'rb') as file:
                os.fsync(file.fileno())
        sync_folder(self.folder)

    def draw(self) -> None:
        """Draw curve.png from log.jsonl."""
        plots.learning_curve(self.folder / 'log.jsonl', self.folder / 'curve.png')


def _is_of(line: bytes, step: int) -> bool:
    """Whether a line of a log is of `step` or one before, and whole: a power cut may leave zeros,
    and a killed process a part of it."""
    try:
        return line.endswith(b'\n') and json.loads(line)['step'] <= step
    except ValueError:
        return False


class Spectator(Run):
    """Stands in for `Run` on all ranks but the first, which write nothing and say only errors."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / 'checkpoints'
        PACKAGE.setLevel(logging.ERROR)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        PACKAGE.setLevel(logging.INFO)

    def record(self, *args: Any, **kwargs: Any) -> None:
        """Rank 0 does it."""

    rewind = draw = sync = record
