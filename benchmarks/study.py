#!/usr/bin/env python3
"""Carry out a study: train the networks of a plan, each with several seeds, and keep a row a run.

    python benchmarks/study.py benchmarks/study/mechanism.json              # goes on where it was
    python benchmarks/study.py PLAN --workers 2 --minutes 60                # begins none after 60
    python benchmarks/study.py PLAN --only a2x4 plain                       # some networks of it
    python benchmarks/study.py PLAN --again 3                               # are rows reproducible?

A plan is a JSON file: the data, the networks (arms), the questions, the seeds in the order in which
they are run (stages), and what is expected of them (hypotheses). It is committed before the first
run. `study_report.py` reads it and the rows, and computes no network.

A run is the project's training command in a process of its own, on one thread, or for photographs
`train_cifar10.py`, which trains in PyTorch. The seed draws the training pictures where they are
made, the initial weights, the order and the augmentation. A row is appended as soon as its run
ends, to PLAN.csv beside the plan; a run that fails leaves a row with the reason. Any number of
processes may work on a plan: a run is claimed by a lock on a file, which the system lifts when its
process ends, however that happens.
"""
import contextlib
import csv
import fcntl
import io
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from bench import ROOT, accelerator, at_least, processor, read_rows

from gluon_a2.cli import entry, parser
from gluon_a2.data.cache import made_once
from gluon_a2.errors import UserError
from gluon_a2.files import sha256
from gluon_a2.flags import flag_name

FIELDS = ('plan', 'run', 'question', 'arm', 'seed', 'status', 'top1', 'curve', 'train_curve',
          'cpu_seconds', 'flops', 'parameters', 'weights', 'threads', 'commit', 'processor',
          'finished')
OK = 'ok'
THREADS = 1
TORCH_SCRIPT = 'train_cifar10.py'
KEYS = {'title', 'about', 'data', 'questions', 'script', 'train', 'arms', 'stages', 'hypotheses'}


# ---- plans

class Run(NamedTuple):
    """One training: flags are {field of a recipe: value}."""
    question: str
    arm: str
    seed: int
    flags: Dict[str, Any]
    key: str  # of all that decides what it computes

    @property
    def name(self) -> str:
        """For files and messages."""
        return f'{self.question}-{self.arm}-{self.seed}-{self.key[:4]}'


class Plan(NamedTuple):
    """A plan, read and checked; `runs` in the order in which they are taken."""
    path: Path
    content: Dict[str, Any]
    digest: str
    runs: Tuple[Run, ...]

    @property
    def rows(self) -> Path:
        """The file of its rows."""
        return self.path.with_suffix('.csv')


def read_plan(path):
    """The plan in a JSON file; UserError where it says something that cannot be done."""
    path = Path(path)
    if path.suffix != '.json':
        raise UserError(f'{path} must end in .json, because its rows go into a .csv beside it')
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}; give the JSON file of a '
                        'plan') from error
    except ValueError as error:
        raise UserError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, dict) or set(content) != KEYS:
        raise UserError(f'{path} must have exactly the entries {", ".join(sorted(KEYS))}')
    runs = {}
    for stage in content['stages']:
        first, end = stage['seeds']
        for seed in range(first, end):
            for question in stage['questions']:
                for arm in stage['arms']:
                    _check_names(path, content, question, [arm])
                    run = make_run(content, question, arm, seed)
                    runs.setdefault((question, arm, seed), run)
    for one in content['hypotheses']:
        _check_names(path, content, one['question'], [one['better'], one['than']])
    return Plan(path, content, sha256(raw)[:12], tuple(runs.values()))


def _check_names(path, content, question, arms):
    for kind, name in [('questions', question), *(('arms', arm) for arm in arms)]:
        if name not in content[kind]:
            raise UserError(f'{path} names {name!r}, which is none of its {kind}: '
                            f'{", ".join(content[kind])}')


def make_run(content, question, arm, seed):
    """The run of a plan's content for one network, question and seed."""
    flags = {**content['train'], **content['arms'][arm]}
    decides = json.dumps([content['data'], content['script'], question, flags, seed],
                         sort_keys=True)
    return Run(question, arm, seed, flags, sha256(decides.encode())[:12])


def in_torch(plan):
    """Whether a plan's runs train in PyTorch, and so on a GPU where there is one."""
    return plan.content['script'] == TORCH_SCRIPT


def to_words(flags):
    """The command-line words of {field: value}; false is --no-field."""
    return [flag_name(name) if value is True else flag_name(f'no_{name}') if value is False
            else f'{flag_name(name)}={value}' for name, value in flags.items()]


# ---- rows

def all_rows(folder):
    """The rows of all plans of a folder: a run that several plans ask for is done once."""
    beside = (path.with_suffix('.csv') for path in sorted(Path(folder).glob('*.json')))
    return [row for path in beside if path.exists() for row in read_rows(path)]


def done(plan, retry=False):
    """The keys of the runs that have a row, whatever came of them; to `retry`, a good one."""
    return {row['run'] for row in all_rows(plan.path.parent) if row['status'] == OK or not retry}


def append(path, row):
    """Append a row to a CSV file that other processes append to."""
    with open(path, 'a', newline='', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = io.StringIO(newline='')
        writer = csv.DictWriter(text, FIELDS, lineterminator='\n')
        if os.fstat(file.fileno()).st_size == 0:
            writer.writeheader()
        writer.writerow(row)
        file.write(text.getvalue())


@contextlib.contextmanager
def claim(path):
    """The descriptor of a lock that nobody else holds, or None.

    A child that inherits the descriptor holds the lock, too: a run whose worker was killed is
    free only when its training has ended as well. A number of 10 or more stays clear of those
    that shell scripts use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w') as file:
        handle = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


# ---- runs

class Workshop:
    """Carries out runs of a plan in the folder `work`; every command goes through `wrap`."""

    def __init__(self, plan, work, wrap='', keep=False):
        self.plan, self.work, self.wrap, self.keep = plan, Path(work), shlex.split(wrap), keep
        self.stopped, self._children, self._counting = False, set(), threading.Lock()
        self.commit = commit()

    @property
    def processor(self):
        """The name of what computes its runs."""
        return in_torch(self.plan) and accelerator() or processor()

    def stop(self):
        """End what is being trained; no row is written of it."""
        self.stopped = True
        for process in list(self._children):
            _end(process)

    def carry_out(self, run, lock=None):
        """The row of a run, or None where `stop` ended it."""
        row = {'plan': self.plan.digest, 'run': run.key, 'question': run.question, 'arm': run.arm,
               'seed': run.seed, 'threads': THREADS, 'commit': self.commit,
               'processor': self.processor}
        folder = self.work / 'runs' / run.name
        data = self.data(run.seed)  # without it no run could be done: that is no result
        try:
            torch, script = in_torch(self.plan), self.plan.content['script']
            command = [ROOT / ('benchmarks' if torch else 'scripts') / script,
                       *to_words(run.flags), f'--seed={run.seed}',
                       f'--data-dir={data / run.question}', f'--save-dir={folder}', '--overwrite',
                       *([] if torch else ['-j', '0'])]
            row['cpu_seconds'] = f'{self.command(run.name, command, lock):.1f}'
            row.update(self.results(folder), status=OK)
        except UserError as error:
            row['status'] = f'failed: {error}'
        if self.stopped:
            return None
        if not self.keep and row['status'] == OK:
            shutil.rmtree(folder)
        return {**row, 'finished': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}

    def data(self, seed):
        """The folder of the data of a seed, which is made when it is first asked for."""
        script, *flags = self.plan.content['data']
        digest = sha256(json.dumps([script, *flags]).encode())[:8]
        return Path(made_once(f'{seed}-{digest}', lambda folder: self.command(
            f'data-{seed}', [ROOT / 'benchmarks' / script, folder, *flags, f'--seed={seed}']),
            self.work / 'data'))

    def command(self, name, words, lock=None):
        """CPU seconds of a Python script; UserError with its last words where it fails."""
        log = self.work / 'logs' / f'{name}.txt'
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, 'w') as out:
            process = subprocess.Popen(
                [*self.wrap, sys.executable, *map(str, words)], stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                pass_fds=() if lock is None else (lock,),
                env={**os.environ, 'OMP_NUM_THREADS': str(THREADS)})
        self._children.add(process)
        if self.stopped:
            _end(process)
        _, status, usage = os.wait4(process.pid, 0)
        self._children.discard(process)
        process.returncode = status  # it has been waited for
        if status:
            said = log.read_text(errors='replace').split('\n')
            last = next((line for line in reversed(said) if line.strip()), 'it said nothing')
            how = (f'signal {os.WTERMSIG(status)}' if os.WIFSIGNALED(status)
                   else f'exit code {os.WEXITSTATUS(status)}')
            raise UserError(f'{how}, {last.strip()[-300:]}')
        return usage.ru_utime + usage.ru_stime

    def results(self, folder):
        """What a run's folder says of it."""
        from gluon_a2.cost import count
        from gluon_a2.deploy.bundle import read_meta
        from gluon_a2.formats.symbol import read_symbol
        lines = map(json.loads, (folder / 'log.jsonl').read_text().splitlines())
        epochs = [line for line in lines if 'val_top1' in line]
        params, = (folder / 'export').glob('*-0000.params')
        prefix = str(params)[:-len('-0000.params')]
        with self._counting:
            shape = read_meta(prefix)['input_shape'][1:]
            cost = count(read_symbol(f'{prefix}-symbol.json'), data=(1, 3, *shape))
        return {'top1': f'{epochs[-1]["val_top1"]:.6f}',
                'curve': ' '.join(f'{epoch["val_top1"]:.6f}' for epoch in epochs),
                'train_curve': ' '.join(f'{epoch["train_top1"]:.6f}' for epoch in epochs),
                'flops': cost.flops, 'parameters': cost.parameters,
                'weights': sha256(params.read_bytes())[:16]}


def _end(process):
    """End a child and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def commit():
    """The commit of the code, with + where it was changed since."""
    def git(*words):
        said = subprocess.run(['git', *words], cwd=ROOT, capture_output=True, text=True)
        return said.stdout.strip() if said.returncode == 0 else ''
    changed = git('status', '--porcelain', '--', 'gluon_a2', 'scripts', 'benchmarks/*.py')
    return (git('rev-parse', '--short=12', 'HEAD') or 'unknown') + ('+' if changed else '')


# ---- workers

def take_runs(shop, runs, until, retry, bar):
    """One worker: carry out what nobody has done or claimed, in order, until it is late."""
    for run in runs:
        if shop.stopped or time.monotonic() > until:
            return
        if run.key in done(shop.plan, retry):
            continue
        with claim(shop.work / 'claims' / run.key) as lock:
            if lock is None or run.key in done(shop.plan, retry):
                continue
            row = shop.carry_out(run, lock)
            if row:
                append(shop.plan.rows, row)
                keys = done(shop.plan)
                bar.n = sum(run.key in keys for run in runs)
                bar.set_postfix_str(f'{run.name}: {row.get("top1", "failed")}')


def work(shop, runs, workers, minutes, retry=False):
    """Let so many workers take runs, with a bar of all runs of the plan, also of other processes.
    """
    from tqdm import tqdm
    keys = done(shop.plan)
    until = time.monotonic() + 60 * minutes
    with tqdm(total=len(runs), initial=sum(run.key in keys for run in runs), unit='run') as bar, \
            ThreadPoolExecutor(workers) as pool:
        try:
            for worker in [pool.submit(take_runs, shop, runs, until, retry, bar)
                           for _ in range(workers)]:
                worker.result()
        except BaseException:  # Ctrl-C, or a worker that failed: the others end, too
            shop.stop()
            raise


def again(shop, count):
    """Carry out some finished runs anew; UserError where one ends in other bits."""
    runs = {run.key: run for run in shop.plan.runs}
    kept = [row for row in all_rows(shop.plan.path.parent)
            if row['status'] == OK and row['run'] in runs and row['processor'] == shop.processor]
    if len(kept) < count:
        raise UserError(f'`again` {count}: only {len(kept)} runs of {shop.plan.path} have finished '
                        f'on this kind of processor, {shop.processor}; another rounds in its own '
                        'way')
    differing = []
    for row in random.sample(kept, count):
        anew = shop.carry_out(runs[row['run']])
        if anew is None:
            return
        same = all(str(anew.get(name)) == row[name] for name in ('curve', 'weights'))
        print(f'{runs[row["run"]].name}: {"the same" if same else "other"} bits '
              f'({row["top1"]}, {anew.get("top1", anew["status"])})', flush=True)
        differing += [] if same else [runs[row['run']].name]
    if differing:
        raise UserError(f'not reproduced: {", ".join(differing)}; the rows are of the commits that '
                        'they name')


@entry
def main(argv=None):
    """Carry out a plan."""
    flags = parser(__doc__)
    flags.add_argument('plan', help='its JSON file')
    flags.add_argument('--workers', type=at_least(1), default=1, help='runs at once (%(default)s)')
    flags.add_argument('--only', nargs='+', metavar='ARM', help='of these networks alone')
    flags.add_argument('--minutes', type=float, default=float('inf'),
                       help='begin no run after so many')
    flags.add_argument('--retry', action='store_true', help='also what failed before')
    flags.add_argument('--again', type=at_least(1), metavar='N',
                       help='carry out N finished runs anew, drawn at random, and compare the bits')
    flags.add_argument('--work', type=Path, help='folder of data, claims and runs (runs/study)')
    flags.add_argument('--keep', action='store_true', help='keep the folder of every run')
    flags.add_argument('--wrap', default='', metavar='COMMAND',
                       help='put this before every command, such as "nice -n 19"')
    args = flags.parse_args(argv)
    plan = read_plan(args.plan)
    unknown = [arm for arm in args.only or () if arm not in plan.content['arms']]
    if unknown:
        raise UserError(f'{plan.path} has no arm {unknown[0]!r}: choose from '
                        f'{", ".join(plan.content["arms"])}')
    shop = Workshop(plan, args.work or ROOT / 'runs' / 'study', args.wrap, args.keep)
    if args.again:
        again(shop, args.again)
    else:
        runs: List[Run] = [run for run in plan.runs if run.arm in (args.only or [run.arm])]
        work(shop, runs, args.workers, args.minutes, args.retry)


if __name__ == '__main__':
    sys.exit(main())
