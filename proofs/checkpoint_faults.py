#!/usr/bin/env python3
"""Every write, fsync and rename of a checkpoint fails in turn: is a valid one left, and is no
success claimed falsely?

    python proofs/checkpoint_faults.py

Takes Linux and a C compiler; no MXNet. `failing_disk.c` is preloaded, so that the faults come from
below Python and below safetensors. For each scenario, each libc call on the checkpoints' folder and
each fault that may befall it:

    ENOSPC, EIO       the call fails
    full, gone        from then on all calls that take space fail, or all whatsoever
    short write       half is written, and the call says so
    silent loss       half is written, and the call claims that all was, as some full disks do
    kill before/after SIGKILL
    power cut         killed, and each file that was written and not synced loses its second half

Afterwards the newest checkpoint and the best must be valid, bit for bit what was there before or
what was saved; the latter if the child said 'saved'. An error must be the sentence that scripts
print, and nothing may hang. Then an undisturbed save must work, and nothing must remain that is of
no use. Prints a summary, keeps `checkpoint_faults.csv` (`newest_after` is a step, or a step and
which try), and ends with 1 if anything was violated.
"""
import argparse
import collections
import ctypes
import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple, Tuple

import job  # noqa: F401 (it makes `bench` importable)
import numpy as np
from bench import keep
from tqdm import tqdm

from gluon_a2 import cli
from gluon_a2.errors import UserError
from gluon_a2.run import checkpoint

SOURCE, RESULT = (Path(__file__).with_name(name)
                  for name in ('failing_disk.c', 'checkpoint_faults.csv'))
COLUMNS = ('scenario', 'call', 'name', 'file', 'fault', 'outcome', 'newest_after', 'verdict')
KILLS = ('kill before', 'kill after', 'power cut')
FAILS = ('EIO', 'gone')
TAKES_SPACE = ('ENOSPC', 'full')
STICKY = ('gone', 'full')
SYNCS = ('fsync', 'fdatasync')
WRITES = ('short write', 'silent loss')
SECONDS = 20  # what takes longer hangs: a save here takes milliseconds


# ---- what is saved

def tensors(step, again=0):
    """Deterministic, some kB in several types; `again` gives another try at the same step other
    values."""
    rng = np.random.default_rng((step, again))
    return {'param/w': rng.normal(size=(61, 67)).astype(np.float32),
            'param/b': rng.normal(size=7).astype(np.float16),
            'state/w/0': rng.integers(0, 99, (3, 5)), 'param/none': np.zeros((0, 3), np.float32)}


def state(step, again=0):
    """Plain values, some of which JSON must keep to the last bit."""
    return {'at': {'step': step}, 'try': again, 'loss': 0.1 * step}


KEYS = {'1': (1,), '2': (2,), '2 again': (2, 1), '3': (3,), '4': (4,)}


def save(folder, key, **options):
    """Write the checkpoint that `KEYS` describes; its path."""
    what = KEYS[key]
    return checkpoint.save(folder, what[0], tensors(*what), state(*what), **options)


def identify(found):
    """The key of a `Checkpoint` that holds, bit for bit, what was given; 'none' or 'unknown'
    otherwise."""
    if found is None:
        return 'none'
    for key, what in KEYS.items():
        given = tensors(*what)
        if found.state == state(*what) and found.tensors.keys() == given.keys() and all(
                found.tensors[name].dtype == array.dtype and found.tensors[name].shape ==
                array.shape and found.tensors[name].tobytes() == array.tobytes()
                for name, array in given.items()):
            return key
    return 'unknown'


# ---- scenarios

class Scenario(NamedTuple):
    """What the child does in a folder with checkpoints 1 and 2, and which are the newest and best
    before and after."""
    name: str
    act: Callable
    newest: Tuple[str, str] = ('2', '2')
    best: Tuple[str, str] = ('1', '1')
    damaged: bool = False  # step 2 is


def mark_two(folder):
    """Make step 2 the best."""
    checkpoint.mark_best(folder, folder / 'step-00000002')


SCENARIOS = (
    Scenario('a new step', lambda folder: save(folder, '3'), ('2', '3')),
    Scenario('a new step, the best', lambda folder: save(folder, '3', best=True), ('2', '3'),
             ('1', '3')),
    Scenario('the same step, same content', lambda folder: save(folder, '2')),
    Scenario('the same step, other content', lambda folder: save(folder, '2 again'),
             ('2', '2 again')),
    Scenario('the same step, the best', lambda folder: save(folder, '2 again', best=True),
             ('2', '2 again'), ('2', '2 again')),
    Scenario('the same step, damaged', lambda folder: save(folder, '2'), ('1', '2'), damaged=True),
    Scenario('mark the best', mark_two, best=('1', '2')))


def prepare(folder, scenario):
    """The folder before anything fails."""
    paths = {key: save(folder, key) for key in ('1', '2')}
    checkpoint.mark_best(folder, paths[scenario.best[0]])
    if scenario.damaged:
        os.truncate(paths['2'] / checkpoint.TENSORS, 99)


# ---- the child

class Call(NamedTuple):
    """A libc call that was seen."""
    name: str
    takes_space: bool
    file: str

    def faults(self):
        """The faults that can befall it."""
        # that of a file that was only read does not fail
        fails = self.takes_space or self.name != 'close'
        return (*KILLS, *FAILS * fails, *TAKES_SPACE * self.takes_space,
                *WRITES * (self.name in ('write', 'pwrite')))


class Ending(NamedTuple):
    """How a child ended: 'saved', 'killed', 'hung' or its error's type, the calls it made, and what
    was printed."""
    outcome: str
    calls: Tuple[Call, ...]
    text: str

    @property
    def refused(self):
        """Whether it ended with an error, in one sentence or not."""
        return self.outcome not in ('saved', 'killed', 'hung')


class Disk(NamedTuple):
    """Runs scenarios in forks of this process, which `failing_disk.c` was preloaded into; two files
    to write to."""
    log: BinaryIO
    report: BinaryIO

    def run(self, scenario, folder, number=0, fault=''):
        """The `Ending` of a child whose call `number` in `folder` meets `fault`."""
        for file in (self.log, self.report):
            file.seek(0)
            file.truncate()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._child(scenario, folder, number, fault)
        status = os.waitpid(pid, 0)[1]
        self.log.seek(0)
        self.report.seek(0)
        calls = tuple(_call(line.decode(), folder, pid) for line in self.log)
        text = self.report.read().decode().replace(str(folder), '…').strip()
        return Ending(_outcome(status, text), calls, text)

    def _child(self, scenario, folder, number, fault):
        """Never returns. Nothing is printed but 'saved', or an error as scripts print it and a line
        with its type."""
        code = 1
        try:
            signal.alarm(SECONDS)
            for standard in (1, 2):
                os.dup2(self.report.fileno(), standard)
            ctypes.CDLL(None).failing_disk(os.fsencode(folder), self.log.fileno(),
                                           ctypes.c_long(number), fault.encode())
            cli.entry(_telling_the_type(scenario.act))(folder)
            print('saved', flush=True)
            code = 0
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def _telling_the_type(act):
    """`act` that prints what it raises: 'OSError EIO'."""
    def told(folder):
        try:
            act(folder)
        except Exception as error:
            number = getattr(error, 'errno', None)
            print(type(error).__name__, errno.errorcode.get(number, ''), flush=True)
            raise
    return told


def _outcome(status, text):
    if os.WIFSIGNALED(status):
        return {signal.SIGKILL: 'killed',
                signal.SIGALRM: 'hung'}.get(os.WTERMSIG(status), f'signal {status}')
    if os.WEXITSTATUS(status) == 0:
        return text  # 'saved', whatever else is no success
    return text.partition('\n')[0].strip() or f'exit {os.WEXITSTATUS(status)}'


def _call(line, folder, pid):
    """A line of the log; files are named from the folder on, without what differs from run to
    run."""
    name, takes_space, *paths = line.rstrip('\n').split('\t')
    names = (os.path.relpath(path.replace(' (deleted)', ''), folder).replace(str(pid), 'PID')
             for path in paths)
    return Call(name, takes_space == '1', ' -> '.join(names))


# ---- what must hold

def violations(scenario, folder, ending, spoiled=()):
    """What is wrong in the folder a child left, whose calls `spoiled` failed; and the newest
    checkpoint in it."""
    newest, wrong = identify(checkpoint.newest(folder)), []
    best = _best(folder)
    saved = ending.outcome == 'saved'
    for what, found, (before, after) in (('newest', newest, scenario.newest),
                                         ('best', best, scenario.best)):
        if found not in ((after,) if saved else (before, after)):
            wrong.append(f'{what} is {found}' + ', though it said saved' * saved)
    # the data is in memory, so it looks well from here
    if saved and any(call.name in SYNCS for call in spoiled):
        wrong.append('said saved, though an fsync failed')
    if ending.outcome == 'hung':
        wrong.append('hangs')
    if ending.refused and not ending.text.partition('\n')[2].startswith('error: '):
        wrong.append('an error that is no sentence')
    return wrong + _afterwards(scenario, folder, newest, best, saved), newest


def _best(folder):
    try:
        return identify(checkpoint.find(folder, 'best'))
    except Exception as error:
        return f'lost ({type(error).__name__})'


def _afterwards(scenario, folder, newest, best, saved):
    """Go on as a resumed run does: whether an undisturbed save works, and what remains then."""
    try:
        checkpoint.remove_unfinished(folder)
        save(folder, '4')
    except Exception as error:
        return [f'the next save ends in {type(error).__name__}']
    wrong = []
    if identify(checkpoint.newest(folder)) != '4':
        wrong.append('the next save is not the newest')
    if _best(folder) != best:
        wrong.append(f'after the next save the best is {_best(folder)}')
    expected, there = {checkpoint.BEST, newest, best, '4'}, set(map(_key, folder.iterdir()))
    if scenario.damaged:
        there.discard('damaged')  # whether it stays does not matter
    changing = re.compile(r'\d+(?=\.tmp)')
    for what, some in (('remains', there - expected), ('is gone', expected - there)):
        wrong += [f'{changing.sub("PID", name)} {what}' for name in sorted(some)]
    return wrong


def _key(path):
    """What a checkpoint holds, by `KEYS`; of another file, its name."""
    if not path.name.startswith('step-'):
        return path.name
    try:
        return identify(checkpoint.load(path))
    except UserError:
        return 'damaged'


def check(scenario, disk, template, scratch):
    """Rows of the CSV for one scenario: every call with every fault, and first without any."""
    folder = scratch / 'checkpoints'

    def fresh():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)

    fresh()
    whole = disk.run(scenario, folder)
    if whole.outcome != 'saved' or not {'open', 'write', 'fsync', 'rename'
                                        } <= {call.name for call in whole.calls}:
        raise UserError(f'{scenario.name}: without a fault it ends in {whole.text!r}, after '
                        f'{len(whole.calls)} calls')
    wrong, newest = violations(scenario, folder, whole)
    yield (scenario.name, 0, '', '', 'none', whole.outcome, newest, '; '.join(wrong) or 'good')
    cases = [(number, fault) for number, call in enumerate(whole.calls, 1)
             for fault in call.faults()]
    for number, fault in tqdm(cases, desc=scenario.name, unit='case', leave=False,
                              dynamic_ncols=True, disable=None):
        fresh()
        ending = disk.run(scenario, folder, number, fault)
        spoiled = ending.calls[number - 1:] if fault in STICKY else ending.calls[number - 1:number]
        if not spoiled or (fault in KILLS and ending.outcome != 'killed'):
            raise UserError(f'{scenario.name}: {fault} did not happen at call {number}: '
                            f'{ending.text!r}')
        wrong, newest = violations(scenario, folder, ending, spoiled)
        yield (scenario.name, number, spoiled[0].name, spoiled[0].file, fault, ending.outcome,
               newest, '; '.join(wrong) or 'good')


# ---- all of it

def check_all(scratch, scenarios):
    """The rows of scenarios. In a process with `failing_disk.c` preloaded."""
    logging.disable(logging.WARNING)  # damaged checkpoints are what we come for
    template, rows = scratch / 'template', []
    with tempfile.TemporaryFile(dir=scratch) as log, tempfile.TemporaryFile(dir=scratch) as report:
        for scenario in scenarios:
            prepare(template, scenario)
            rows += check(scenario, Disk(log, report), template, scratch)
            shutil.rmtree(template)
    return rows


def summarise(rows, scenarios):
    """Print a line per scenario and one per kind of violation; how many cases are bad."""
    table = [('scenario', 'calls', 'cases', 'saved', 'refused', 'killed', 'violations')]
    for scenario in scenarios:
        mine = [row for row in rows if row[0] == scenario.name and row[1]]
        outcomes = collections.Counter(row[5] for row in mine)
        table.append((scenario.name, max(row[1] for row in mine), len(mine), outcomes['saved'],
                      len(mine) - outcomes['saved'] - outcomes['killed'], outcomes['killed'],
                      sum(row[7] != 'good' for row in mine)))
    table.append(('all', *(sum(column) for column in list(zip(*table[1:]))[1:])))
    cli.show_table(table)
    bad = [row for row in rows if row[7] != 'good']
    for (scenario, verdict), count in collections.Counter((row[0], row[7]) for row in bad).items():
        _, call, name, file, fault, *_ = next(row for row in bad
                                              if (row[0], row[7]) == (scenario, verdict))
        print(f'{count} × {scenario}: {verdict} (as after {fault} at call {call}, {name} {file})')
    return len(bad)


def compile_disk(target):
    """Build the shared library; UserError without a compiler that does."""
    command = ['cc', '-shared', '-fPIC', '-o', str(target), str(SOURCE), '-ldl']
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError('no C compiler: install one that is called cc (Debian: apt-get install '
                        'gcc)') from None
    except subprocess.CalledProcessError as error:
        raise UserError(
            f'{SOURCE} does not compile here: {error.stderr.strip().splitlines()[0]}') from None


@cli.entry
def main(argv=None):
    """Build the library, start this script again with it preloaded, there check all; 1 if anything
    was violated."""
    parser = cli.parser(__doc__)
    parser.add_argument('--scenarios', nargs='+', choices=[scenario.name for scenario in SCENARIOS],
                        help='only these, and nothing is kept')
    # the scratch folder, in the second start
    parser.add_argument('--child', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        chosen = [scenario for scenario in SCENARIOS
                  if not args.scenarios or scenario.name in args.scenarios]
        rows = check_all(args.child, chosen)
        if not args.scenarios:
            keep([dict(zip(COLUMNS, row)) for row in rows], RESULT, show=False)
        return int(summarise(rows, chosen) > 0)
    memory = '/dev/shm'  # where syncs take no time: what is tested are failures, not the disk
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory(dir=place) as scratch:
        library = Path(built) / 'failing_disk.so'
        compile_disk(library)
        # One thread of OpenBLAS, because the process forks.
        environment = {**os.environ, 'LD_PRELOAD': str(library), 'OPENBLAS_NUM_THREADS': '1'}
        command = [sys.executable, __file__, '--child', str(Path(scratch).resolve()),
                   *(['--scenarios', *args.scenarios] if args.scenarios else [])]
        return subprocess.run(command, env=environment).returncode


if __name__ == '__main__':
    sys.exit(main())
