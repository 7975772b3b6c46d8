#!/usr/bin/env python3
"""The training script as kills.py runs it: with somebody in each rank who kills on cue."""
import contextlib
import functools
import importlib
import json
import os
import signal
import threading
import time
from pathlib import Path

from job import read_lines

from gluon_a2.run import checkpoint

# Of the module os; before and after each is a moment to kill in.
CALLS = ('mkdir', 'fsync', 'replace', 'rename', 'unlink', 'rmdir')
# in the environment of launcher, ranks and watchdogs
CONTROL, LAUNCH, TRAIN = 'A2_KILLS_CONTROL', 'A2_KILLS_LAUNCH', 'A2_KILLS_TRAIN'


class Assassin:
    """Waits in a rank for the moment that the plan names, and tells the harness before it strikes.

    The plan is a list of kills; which one is due depends on how many lines hits.jsonl has when a
    rank starts, so that ranks that outlive a kill by a moment leave the next one alone.
    """

    def __init__(self, control, rank):
        self.control, self.rank = control, rank
        self.number = len(read_lines(control / 'hits.jsonl'))
        plan = json.loads((control / 'plan.json').read_text())
        self.plan = plan[
            self.number] if self.number < len(plan) and plan[self.number]['agent'] == rank else None
        self.phase, self.step, self.first, self.saving = 'start-up', None, None, False
        self._once, self._countdown, self._thread = threading.Lock(), None, None
        self._began = time.monotonic()
        (control / f'pid-{rank}').write_text(str(os.getpid()))
        if self.aims_at('anywhere'):
            self._strike_later()

    def aims_at(self, phase, step=None):
        """Whether the kill is due in this phase."""
        if self.plan is None or self.plan['aim'] != phase:
            return False
        return step is None or self.first is None or step >= self.first + self.plan['offset']

    @contextlib.contextmanager
    def during(self, phase, due, step=None):
        """Around a phase of the main thread; where its kill is `due`, it is hit before it ends."""
        start, self.phase, self.step = time.monotonic(), phase, step
        with self._hunting(due):
            yield
        self.phase = 'start-up' if self.first is None else 'between'
        self.note_time(phase, start)

    @contextlib.contextmanager
    def during_save(self, step):
        """Around a save, which has a thread of its own."""
        start, self.saving = time.monotonic(), True
        due = self.aims_at('save', step - 1)
        self.step = step if due else self.step
        with self._hunting(due):
            yield
        self.saving = False
        self.note_time('save', start)

    @contextlib.contextmanager
    def _hunting(self, due):
        if due and self.plan['moment'] is not None:
            self._countdown, self._thread = self.plan['moment'], threading.get_ident()
        elif due:
            self._strike_later()
        yield  # an exception is not covered up by a kill
        if due:
            self.strike('at its end')

    def _strike_later(self):
        began = time.monotonic()
        timer = threading.Timer(self.plan['delay'],
                                lambda: self.strike(f'{time.monotonic() - began:.3f} '
                                                    's in'))
        timer.daemon = True
        timer.start()

    def pass_moment(self, name):
        """Before or after a call that changes files, the kill may be due."""
        if self._countdown is None or self._thread != threading.get_ident():
            return
        if self._countdown == 0:
            self.strike(name)
        self._countdown -= 1

    def strike(self, moment):
        """Kill the victim, unless it is dead already; only once."""
        if not self._once.acquire(blocking=False):
            return
        pid = int(os.environ[LAUNCH].partition(':')[2] if self.plan['victim'] == 'launcher' else
                  (self.control / f'pid-{self.plan["victim"]}').read_text())
        if is_alive(pid):
            phase = self.phase + ('+save' if self.saving and self.plan['aim'] != 'save' else '')
            append(
                self.control / 'hits.jsonl', {
                    'number': self.number, 'pid': pid,
                    'phase': 'save' if self.plan['aim'] == 'save' else phase, 'moment': moment,
                    'step': self.step, 'time': time.time()
                })
            os.kill(pid, signal.SIGKILL)

    def note_time(self, phase, start):
        """Keep how long a phase took, for the moments of later runs."""
        if self.rank == 0:
            append(self.control / 'times.jsonl',
                   {'phase': phase, 'seconds': time.monotonic() - start})

    def note_going(self, step):
        """The first step of this process begins: training goes again."""
        self.first = step
        self.note_time('anywhere', self._began)
        if self.rank == 0:
            append(self.control / 'going.jsonl', {'kills': self.number, 'time': time.time()})


def hook(assassin):
    """Have the assassin see the phases of training in this process."""
    from gluon_a2.run import folder as run
    from gluon_a2.train import loop
    for name in CALLS:
        setattr(os, name, _watched(name, getattr(os, name), assassin))
    _hook_opening(assassin, run.Run, loop.Loop)
    _hook_training(assassin, loop)
    write = checkpoint.save

    def save(folder, step, *args, **kwargs):
        with assassin.during_save(step):
            return write(folder, step, *args, **kwargs)
    checkpoint.save = save


def _watched(name, call, assassin):
    @functools.wraps(call)
    def watched(*args, **kwargs):
        assassin.pass_moment(f'before {name}')
        result = call(*args, **kwargs)
        assassin.pass_moment(f'after {name}')
        return result
    return watched


def _hook_opening(assassin, run_class, loop_class):
    """A new run writes into its folder where `Run` begins, a resumed one where a `Loop` is
    entered."""
    open_run, enter_loop = run_class.__init__, loop_class.__enter__

    def run_init(self, folder, recipe, options):
        with assassin.during('opening', assassin.aims_at('opening') and not options.resume):
            open_run(self, folder, recipe, options)

    def loop_enter(self):
        with assassin.during('opening', assassin.aims_at('opening') and self.options.resume):
            return enter_loop(self)

    run_class.__init__, loop_class.__enter__ = run_init, loop_enter


def _hook_training(assassin, loop):
    train_step, validate, export = loop.Loop.train_step, loop.Loop.validate, loop.export

    def step(self, batches, lr):
        if assassin.first is None:
            assassin.note_going(self.at.step)
        with assassin.during('step', assassin.aims_at('step', self.at.step), self.at.step):
            return train_step(self, batches, lr)

    def validation(self):
        with assassin.during('validation', assassin.aims_at('validation'), self.at.step):
            return validate(self)

    def exporting(*args):
        # its own moment has not come in this run
        late = assassin.plan is not None and assassin.plan['late']
        with assassin.during('export', late):
            return export(*args)

    loop.Loop.train_step, loop.Loop.validate, loop.export = step, validation, exporting


def child():
    """The training script in the launcher and in each rank, and in a rank an assassin."""
    if 'GLUON_A2_LAUNCH' in os.environ:
        hook(Assassin(Path(os.environ[CONTROL]), int(os.environ.get('HOROVOD_RANK', 0))))
    else:
        os.environ[LAUNCH] += f':{os.getpid()}'
    importlib.import_module(os.environ[TRAIN]).main()


# ---- the files that ranks and harness talk by

def append(path, values):
    """Add a line of JSON to a file."""
    with open(path, 'a') as file:
        file.write(json.dumps(values) + '\n')


def is_alive(pid):
    """Whether a process exists and is more than a zombie."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == '__main__':
    child()
