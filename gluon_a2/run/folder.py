"""A run's folder: what made it, what it logged, and where its checkpoints are.

    run.json        recipe, command, versions, threads train.log       the lines of the console
    log.jsonl       loss, accuracy, learning rate: the same for every run of the same recipe on the
    same threads timing.jsonl    images per second, and where the time went events…
    TensorBoard curve.png       log.jsonl as a picture checkpoints/    see checkpoint.py export/
    see deploy/bundle.py
"""
import contextlib
import fcntl
import json
import logging
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
from tensorboardX import SummaryWriter

from .. import __version__
from ..backend import mx, threads
from ..errors import UserError
from ..files import write_whole
from ..machine.ranks import launch_id
from ..visualization import plots as viz
from . import recipes

log = logging.getLogger('gluon_a2')
# how a global batch is cut: a resumed run may cut it otherwise
SHARES = ('batch_size', 'accumulate', 'ranks')


@dataclass(frozen=True)
class Options:
    """What a run needs but does not compute with: where data and results are, and how often to say
    and save."""
    data_dir: Optional[str] = None
    rec_train: Optional[str] = None
    rec_train_idx: Optional[str] = None
    rec_val: Optional[str] = None
    rec_val_idx: Optional[str] = None
    num_gpus: int = 0
    num_data_workers: int = 2
    save_dir: Optional[str] = None
    resume: bool = False
    overwrite: bool = False
    save_frequency: int = 1
    save_steps: int = 0
    log_interval: int = 50
    logging_file: Optional[str] = None
    max_damaged: Optional[int] = None
    rank_timeout: float = 20
    synthetic_data: Optional[int] = None
    list_train: Optional[str] = None
    list_val: Optional[str] = None
    list_format: Optional[str] = None
    split: Optional[int] = None
    splits: Optional[str] = None

    def __post_init__(self):
        for name, low in (('num_data_workers', 0), ('save_frequency', 1), ('save_steps', 0),
                          ('log_interval', 1)):
            if getattr(self, name) < low:
                raise UserError(f'--{name.replace("_", "-")} must be {low} or more, not '
                                f'{getattr(self, name)}')
        if not 1 <= self.rank_timeout < float('inf'):
            raise UserError(f'--rank-timeout must be 1 second or more, not {self.rank_timeout}')
        if self.max_damaged is not None and self.max_damaged < 0:
            raise UserError(f'--max-damaged must be 0 or more, not {self.max_damaged}')
        if (self.rec_train is None) != (self.rec_val is None):
            missing = 'train' if self.rec_train is None else 'val'
            raise UserError(f'--rec-{missing} is missing: give both record files, or --data-dir')
        if self.rec_train and self.data_dir:
            raise UserError('--data-dir and --rec-train exclude each other: give one of them')
        if self.synthetic_data is not None and (self.rec_train or self.data_dir):
            raise UserError('--synthetic-data takes the place of --data-dir and --rec-train: leave '
                            'them out')
        if self.synthetic_data is not None and self.synthetic_data < 1:
            raise UserError('--synthetic-data must be 1 step an epoch or more, not '
                            f'{self.synthetic_data}')
        if (self.rec_train_idx or self.rec_val_idx) and not self.rec_train:
            raise UserError('--rec-train-idx and --rec-val-idx need --rec-train and --rec-val')
        self._check_lists()
        if self.num_gpus not in (0, 1):
            raise UserError(f'--num-gpus must be 0 or 1, not {self.num_gpus}: one process drives '
                            'one device')
        if self.resume and not self.save_dir:
            raise UserError('--resume needs the --save-dir of the run to go on with')
        if self.resume and self.overwrite:
            raise UserError('--resume and --overwrite exclude each other: go on with the run, or '
                            'delete it')

    def _check_lists(self):
        lists = {
            '--list-train': self.list_train, '--list-val': self.list_val,
            '--list-format': self.list_format
        }
        missing = [flag for flag, value in lists.items() if value is None]
        if missing and len(missing) < len(lists):
            raise UserError(f'{missing[0]} is missing: lists of videos need {", ".join(lists)}')
        if self.list_train and self.split is not None:
            raise UserError('--split and --list-train exclude each other: UCF-101 has its own '
                            'lists')
        if self.split is not None and not self.data_dir:
            raise UserError('--split needs --data-dir, the folder of UCF-101')
        if self.splits and self.split is None:
            raise UserError('--splits needs --split 1, 2 or 3')
        if self.synthetic_data is not None and self.list_train:
            raise UserError('--synthetic-data takes the place of --list-train: leave it out')

    @property
    def data(self):
        """What is trained on, for the record: 'synthetic', a path, or None for the embedded set."""
        return 'synthetic' if self.synthetic_data else self.rec_train or self.list_train or self.data_dir


def versions():
    """What computes: versions of this package, of what it stands on, and the machine."""
    return {'gluon_a2': __version__, 'mxnet': mx.__version__, 'numpy': np.__version__,
            'python': platform.python_version(), 'machine': platform.platform()}


def global_batch(recipe):
    """Images per step of a recipe in plain values."""
    return recipe['batch_size'] * recipe['accumulate'] * recipe.get('ranks', 1)


def lock(folder):
    """An open file that keeps other processes out of a run folder until it is closed, or this
    process ends."""
    file = open(folder / 'lock', 'w')  # noqa: SIM115 (held while the run is open)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(f'another process is at work in {folder}: wait for it, or choose another '
                        '--save-dir') from error
    return file


class LogFile(logging.FileHandler):
    """A log file whose failures, such as a full disk, stop the run instead of being printed and
    forgotten."""

    def handleError(self, record):  # noqa: N802 (logging's name)
        raise  # noqa: PLE0704 (logging calls this while it handles the error)


class Run:
    """An open run folder and the logs in it; use it as a context manager."""

    def __init__(self, folder, recipe, options):
        self.folder = Path(folder)
        self.checkpoints = self.folder / 'checkpoints'
        self._new, self._replaced, self._lock, self._board = not options.resume, None, None, None
        self._claim(recipe, options)
        if self._lock:
            self._lock.close()  # of the run that was replaced
        self._lock = lock(self.folder)
        try:
            self._open_log(options)
        except OSError:
            self._undo()
            raise

    def _open_log(self, options):
        self._handler = LogFile(options.logging_file or self.folder / 'train.log')
        self._handler.setFormatter(logging.Formatter('%(asctime)s %(message)s'))
        log.setLevel(logging.INFO)
        log.addHandler(self._handler)

    def _claim(self, recipe, options):
        """Make the folder ours: new, emptied, or the one of the same recipe that is to be
        resumed."""
        made_by = self.folder / 'run.json'
        if options.resume:
            self._check_same(made_by, recipe)
            return
        for stray in self.folder.glob('.run.json.*.tmp'):  # of a start that was cut here
            stray.unlink()
        if self.folder.exists() and {path.name for path in self.folder.iterdir()} - {'fault.json'}:
            if not made_by.exists():
                raise UserError(f'{self.folder} holds files that are not a run of ours: choose '
                                'another --save-dir')
            if not options.overwrite:
                raise UserError(f'{self.folder} already holds a run: --resume to go on with it, '
                                '--overwrite to delete it, or another --save-dir')
            self._lock = lock(self.folder)
            self._replaced = self.folder.with_name(f'.{self.folder.name}.replaced')
            shutil.rmtree(self._replaced, ignore_errors=True)
            self.folder.rename(self._replaced)
        write_whole(
            made_by,
            json.dumps(
                {
                    'recipe': recipes.to_json(recipe), 'command': sys.argv,
                    'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'), 'threads': threads()[0],
                    'launch': launch_id(), 'versions': versions()
                }, indent=1).encode())

    def _check_same(self, made_by, recipe):
        if not made_by.exists():
            raise UserError(f'{self.folder} holds no run to resume: leave out --resume, or give '
                            'its --save-dir')
        made = json.loads(made_by.read_bytes())
        then, now = made['recipe'], json.loads(json.dumps(recipes.to_json(recipe)))
        if global_batch(then) != global_batch(now):
            raise UserError(f'{self.folder} was trained with a global batch of '
                            f'{global_batch(then)}, not {global_batch(now)}: choose --batch-size '
                            'and --accumulate so that ranks × batch size × accumulate is the same')
        if then['batch_size'] != now['batch_size']:
            log.warning('BatchNorm normalises %d images at a time from here on, and did %d before',
                        now['batch_size'], then['batch_size'])
        changed = [
            name for name in now if name not in SHARES and then.get(name, now[name]) != now[name]
        ]
        if changed:
            name = changed[0]
            raise UserError(f'{self.folder} was trained with {name}={then.get(name)}, not '
                            f'{now[name]}: resume with the same flags, or start another run')
        if now['deterministic'] and made['threads'] != threads()[0]:
            raise UserError(f'{self.folder} was begun with --deterministic on {made["threads"]} '
                            f'CPU threads, not {threads()[0]}: set '
                            f'OMP_NUM_THREADS={made["threads"]}')
        if now['deterministic'] and not now['exact_sums'] and then.get('ranks', 1) != now['ranks']:
            raise UserError(f'{self.folder} was begun with --deterministic on '
                            f'{then.get("ranks", 1)} ranks, not {now["ranks"]}: start as many; '
                            'only with --exact-sums may a run go on with others')
        if made['threads'] != threads()[0]:
            log.warning('the run was begun on %d CPU threads and goes on with %d: its last bits '
                        'will differ',
                        made['threads'], threads()[0])

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        log.removeHandler(self._handler)
        with contextlib.suppress(OSError):  # on a full disk, the error under way is the one to tell
            if kind is not None:  # in the file only: whoever catches the error says it to the user
                reason = str(error) if isinstance(error, (UserError, OSError)) else repr(error)
                self._handler.handle(
                    log.makeRecord(log.name, logging.ERROR, __file__, 0, reason, (), None))
        with contextlib.suppress(OSError):
            self._handler.close()
        if self._board:
            self._board.close()
        mistake = isinstance(error, (UserError, OSError))
        if mistake and self._new and not (self.folder / 'log.jsonl').exists():
            self._undo()
        elif self._replaced:
            shutil.rmtree(self._replaced, ignore_errors=True)
        self._lock.close()

    def _undo(self):
        """No step was made: the same command, mended, finds nothing in its way, and what was to be
        replaced is back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._replaced:
            self._replaced.rename(self.folder)

    def rewind(self, step):
        """Forget the log lines after `step`, so that a resumed run writes each once."""
        # a killed process's
        for unfinished in (*self.folder.glob('.*.tmp'), *self.folder.glob('export/.*.tmp')):
            unfinished.unlink()
        for name in ('log.jsonl', 'timing.jsonl'):
            path = self.folder / name
            if path.exists():
                lines = path.read_text().splitlines(keepends=True)
                kept = [
                    line for line in lines
                    if line.endswith('\n') and json.loads(line)['step'] <= step
                ]
                write_whole(path, ''.join(kept).encode())
        self._board = SummaryWriter(str(self.folder), purge_step=step + 1)

    def record(self, step, values, name='log.jsonl'):
        """Append {step, **values} to a log of JSON lines, and to TensorBoard."""
        with open(self.folder / name, 'a') as file:
            file.write(json.dumps({'step': step, **values}) + '\n')
        for key, value in values.items():
            self._board.add_scalar(key, value, step)

    def draw(self):
        """Draw curve.png from log.jsonl."""
        viz.learning_curve(self.folder / 'log.jsonl', self.folder / 'curve.png')


class Spectator:
    """Stands in for `Run` on all ranks but the first: they write nothing, and say nothing but
    errors."""

    def __init__(self, folder):
        self.folder = Path(folder)
        log.setLevel(logging.ERROR)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        log.setLevel(logging.INFO)

    def rewind(self, step):
        """Nothing was written."""

    def record(self, step, values, name='log.jsonl'):
        """Rank 0 does it."""

    def draw(self):
        """Rank 0 does it."""
