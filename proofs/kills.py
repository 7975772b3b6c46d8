#!/usr/bin/env python3
"""Kill a training job at any moment, again and again, and see that nothing is lost.

    python proofs/kills.py                              # goes on to 800 kills, in pieces
    python proofs/kills.py --kind clips --kills 200     # of video
    python proofs/kills.py --kills 12 --ranks 2 --seed 5 --csv some.csv

The job is scripts/train_imagenet.py on 40 pictures of digits, or train_video.py on 40 clips: 12
steps with a checkpoint each, on 1, 2 and 4 ranks at the same global batch. SIGKILL hits a rank,
which the launcher starts again, or the launcher, whose command is then given again with --resume.
At the end of each run everything that it wrote is compared with an undisturbed run's: the last
checkpoint's tensors and state, log.jsonl, and the exported network, byte for byte. Keeps
`kills.csv`, one row a kill, which grows: the rows that are there count, so that it can be stopped
and goes on. Exit code 1 if any run ends otherwise. A seed draws the same victims and moments, as
fractions of a phase.
"""
import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import job
import numpy as np
from assassin import CONTROL, LAUNCH, TRAIN, append, is_alive
from bench import at_least, keeping, read_rows, whole_numbers
from job import read_lines
from tqdm import tqdm

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError
from gluon_a2.run import checkpoint

ENDURING = [
    '--num-epochs', '3', '--save-steps', '1', '--max-restarts', '1000', '--rank-timeout', '6'
]

# What a kill may aim at, and how often. opening: of the run folder, new or resumed; anywhere:
# mostly start-up.
AIMS = {'opening': 0.1, 'step': 0.25, 'save': 0.35, 'validation': 0.15, 'anywhere': 0.15}
LAUNCHER = 0.25     # share of kills that hit the launcher
KILLS_A_RUN = 14    # at most; the job's 12 steps rarely leave time for more
# before and after the calls below, of which these make half as many
MOMENTS = {'save': 24, 'opening': 10}
BEYOND = 1.5        # `anywhere` reaches so many times as far as the first step
GONE = 10  # s after which no process of a killed launcher may be left; watchdogs linger for 3
STUCK = 900         # s without a kill or an end, on a machine at work
HARNESS = 'harness'
SCRIPT = Path(__file__).with_name('assassin.py')

FIELDS = ('kill', 'kind', 'ranks', 'run', 'victim', 'pid', 'aim', 'phase', 'moment', 'step',
          'ranks_gone_s', 'going_again_s', 'leftovers', 'identical')


# ---- processes

def processes_of(launch, ranks_only=False):
    """Process numbers of all that descends from a launch, by the environment that they
    inherited."""
    found, mark = [], f'{LAUNCH}={launch}'.encode()
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            wanted = not ranks_only or SCRIPT.name.encode() in (folder / 'cmdline').read_bytes()
            if wanted and mark in (folder / 'environ').read_bytes() and is_alive(folder.name):
                found.append(int(folder.name))
    return found


def seconds_until_gone(launch, ranks_only=False):
    """How long processes of a launch stay; `Orphans` if too long."""
    start = time.monotonic()
    while True:
        left = processes_of(launch, ranks_only)
        if not left:
            return time.monotonic() - start
        if time.monotonic() - start > GONE:
            raise Orphans(f'{GONE} s after its launcher was killed, these processes are left: '
                          f'{left}')
        time.sleep(0.02)


class Orphans(Exception):
    """Processes have outlived their launcher."""


# ---- a run and what became of it

class Run:
    """One training run, in `place`, that is killed as `plan` says."""

    def __init__(self, place, kind, images, ranks, plan):
        self.place, self.images, self.ranks, self.plan = place, images, ranks, plan
        self.kind = kind
        self.folder, self.control = place / 'run', place / 'control'
        self.control.mkdir(parents=True)
        (self.control / 'plan.json').write_text(json.dumps(plan))
        self.launches, self.rows, self.ended = [], [], None
        self.since = time.time()  # the last kill, or the start

    def start(self):
        """Give the command; again with --resume, once there is a run to resume."""
        self.launches.append(uuid.uuid4().hex)
        again = ['--resume'] if (self.folder / 'run.json').exists() else []
        # The launcher gives its ranks its own arguments, and so has none for us.
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', CONTROL: str(self.control),
                       LAUNCH: self.launches[-1], TRAIN: job.KINDS[self.kind][0]}
        words = [sys.executable, SCRIPT, *job.flags(self.folder, self.images, self.ranks,
                                                    self.kind), *ENDURING, *again]
        with open(self.place / 'output.txt', 'a') as output:
            self.launcher = subprocess.Popen(list(map(str, words)), stdout=output, stderr=output,
                                             env=environment, start_new_session=True)

    def complete(self, on_kill=lambda: None):
        """Start, and see to it that it goes on, until it ends; what went wrong in a sentence, or
        None."""
        self.start()
        try:
            while True:
                code = self._watch(on_kill)
                if code != -signal.SIGKILL:
                    break
                self.rows[-1]['ranks_gone_s'] = round(
                    seconds_until_gone(self.launches[-1], ranks_only=True), 2)
                self.start()
            for launch in self.launches:
                seconds_until_gone(launch)
        except (Orphans, TimeoutError) as error:
            return str(error)
        finally:
            self.end()
        return f'exit code {code}: {self.last_words()}' if code else None

    def _watch(self, on_kill):
        """The exit code of the launcher, when it has one."""
        while True:
            code = self.launcher.poll()
            for hit in read_lines(self.control / 'hits.jsonl')[len(self.rows):]:
                self._note(hit)
                on_kill()
            if code is not None:
                return code
            if time.time() - self.since > STUCK:
                raise TimeoutError(f'neither killed nor ended for {STUCK} s')
            self._strike()
            time.sleep(0.02)

    def _note(self, hit):
        plan, self.since = self.plan[hit['number']], hit['time']
        self.rows.append({
            'kind': self.kind, 'ranks': self.ranks, 'victim': plan['victim'], 'pid': hit['pid'],
            'aim': plan['aim'], 'phase': hit['phase'], 'moment': hit['moment'],
            'step': hit['step'], 'time': hit['time']
        })
        until = time.monotonic() + 5
        while is_alive(hit['pid']):  # a kill that did not kill would be no kill
            if time.monotonic() > until:
                raise TimeoutError(f'process {hit["pid"]} has survived SIGKILL')
            time.sleep(0.005)

    def _strike(self):
        """Kill the launcher wherever it is, be it before it has ranks, if that is what the plan
        says."""
        number = len(self.rows)
        if number == len(self.plan) or self.plan[number]['agent'] != HARNESS:
            return
        waited = time.time() - self.since
        if waited > self.plan[number]['delay'] and self.launcher.poll() is None:
            append(self.control / 'hits.jsonl', {
                'number': number, 'pid': self.launcher.pid, 'phase': 'any', 'step': None,
                'time': time.time(), 'moment': f'{waited:.3f} s after the last'})
            self.launcher.kill()

    def end(self):
        """Leave no process behind, and say for each kill when training was going again."""
        if self.launcher.poll() is None:
            self.launcher.kill()
        self.launcher.wait()
        going = read_lines(self.control / 'going.jsonl')
        for number, row in enumerate(self.rows):
            again = next((line['time'] for line in going if line['kills'] > number), time.time())
            row['going_again_s'] = round(again - row.pop('time'), 2)

    def last_words(self):
        """The last lines that the job has said."""
        return ' | '.join((self.place / 'output.txt').read_text().strip().splitlines()[-4:])

    def spare_restarts(self):
        """How often ranks were started again though none of them was killed."""
        restarts = (self.place / 'output.txt').read_text().count('\nrestart ')
        return max(0, restarts - sum(row['victim'] != 'launcher' for row in self.rows))

    def times(self):
        """{phase: median seconds}."""
        spent = collections.defaultdict(list)
        for line in read_lines(self.control / 'times.jsonl'):
            spent[line['phase']].append(line['seconds'])
        return {phase: float(np.median(seconds)) for phase, seconds in spent.items()}


def differences(ours, theirs):
    """What two run folders do not have in common, of what must be the same to the bit."""
    found = [f'{name} differs' for name, read in (('log.jsonl', _log), ('the export', _export)) if
             read(ours) != read(theirs)]
    a, b = (checkpoint.find(folder / 'checkpoints', 'last') for folder in (ours, theirs))
    found += [f'tensor {name} differs' for name in sorted({*a.tensors, *b.tensors})
              if name not in a.tensors or name not in b.tensors or
              a.tensors[name].tobytes() != b.tensors[name].tobytes()]
    found += [f'state {name} differs' for name in sorted({*a.state, *b.state})
              if a.state.get(name) != b.state.get(name)]
    found += [f'checkpoint {name} is not there' for name in sorted(_steps(theirs) - _steps(ours))]
    bests = [checkpoint.find(folder / 'checkpoints', 'best').path.name for folder in (ours, theirs)]
    if bests[0] != bests[1]:
        found.append(f'the best is {bests[0]}, not {bests[1]}')
    return found


def leftovers(ours, theirs):
    """Temporary files, and older checkpoints, that nobody has removed; they take room, and nothing
    else."""
    return [path.name for path in ours.rglob('.*')] + sorted(_steps(ours) - _steps(theirs))


def _steps(folder):
    return {path.name for path in (folder / 'checkpoints').glob('step-*')}


def _log(folder):
    return (folder / 'log.jsonl').read_bytes()


def _export(folder):
    return {path.name: path.read_bytes() for path in (folder / 'export').iterdir()}


# ---- all runs

def draw(rng, ranks, times, first):
    """One kill: the victim, the phase, and the moment in it. The first of a run comes while its
    folder is made."""
    aim = 'opening' if first else str(rng.choice(list(AIMS), p=list(AIMS.values())))
    victim = 'launcher' if rng.random() < LAUNCHER else int(rng.integers(ranks))
    agent, fraction, offset = int(rng.integers(ranks)), rng.random(), int(rng.integers(3))
    moment = int(rng.integers(
        MOMENTS[aim])) if aim in MOMENTS and (first or rng.random() < 0.5) else None
    if victim != 'launcher':
        agent = victim
    elif aim == 'anywhere':
        agent = HARNESS
    if aim in MOMENTS:  # which only rank 0 does
        agent = 0
    reach = times[aim] * (BEYOND if aim == 'anywhere' else 1)
    return {
        'aim': aim, 'victim': victim, 'agent': agent, 'delay': fraction * reach, 'offset': offset,
        'moment': moment, 'late': bool(rng.random() < 0.5)
    }


def torture(place, given, before, bar):
    """All runs that `before`, the rows that are there, leave to do; yields the rows of each when it
    has ended."""
    references, kind = {}, given['kind']
    images = job.KINDS[kind][1](place / kind)
    share = collections.Counter({
        ranks: given['kills'] // len(given['ranks']) for ranks in given['ranks']
    })
    share[given['ranks'][0]] += given['kills'] - sum(share.values())
    share.subtract(row['ranks'] for row in before if row['kind'] == kind)
    for ranks in [ranks for ranks in given['ranks'] if share[ranks] > 0]:
        bar.set_description(f'{ranks} ranks, undisturbed')
        references[ranks] = Run(place / f'undisturbed-{ranks}', kind, images, ranks, [])
        fault = references[ranks].complete()
        if fault:
            raise RuntimeError(fault)
    number = max((row['run'] for row in before), default=0)
    while max(share.values()) > 0:
        ranks, left = share.most_common(1)[0]
        number, times = number + 1, references[ranks].times()
        rng = np.random.default_rng([given['seed'], number])
        bar.set_description(f'{ranks} ranks, run {number}')
        plan = [draw(rng, ranks, times, first=i == 0) for i in range(min(left, KILLS_A_RUN))]
        rows = one_run(Run(place / f'run-{number}', kind, images, ranks, plan), references[ranks],
                       number, bar, given['keep'])
        share[ranks] -= len(rows)
        yield rows


def one_run(run, reference, number, bar, keep):
    """The rows of a run that is killed; unless `keep`, its files are removed if they are what they
    should be."""
    fault = run.complete(bar.update)
    found = [fault] if fault else differences(run.folder, reference.folder)
    left = leftovers(run.folder, reference.folder)
    if left or run.spare_restarts():
        bar.write(f'run {number} on {run.ranks} ranks: {run.spare_restarts()} restarts not ours; '
                  f'left over: {left}')
    if found:
        bar.write(f'run {number} on {run.ranks} ranks: {"; ".join(found[:5])} (see {run.place})')
    elif not keep:
        shutil.rmtree(run.place)
    return [{**row, 'run': number, 'leftovers': len(left), 'identical': not found}
            for row in run.rows]


def summary(rows):
    """Rows of a table: jobs by phases in which a kill came."""
    phases = sorted({row['phase'] for row in rows})
    table = [('kind', 'ranks', 'runs', 'kills', 'of the launcher', *phases, 'identical')]
    for kind, ranks in sorted({(row['kind'], row['ranks']) for row in rows}):
        ours = [row for row in rows if (row['kind'], row['ranks']) == (kind, ranks)]
        table.append((kind, ranks, len({row['run'] for row in ours}), len(ours),
                      sum(row['victim'] == 'launcher' for row in ours),
                      *(sum(row['phase'] == phase for row in ours) for phase in phases),
                      sum(row['identical'] for row in ours)))
    return table


def earlier(path):
    """The rows of a CSV that may be there, with numbers where `summary` takes them."""
    return [{**row, 'kill': int(row['kill']), 'run': int(row['run']), 'ranks': int(row['ranks']),
             'going_again_s': float(row['going_again_s']), 'identical': row['identical'] == 'True'}
            for row in (read_rows(path) if path.exists() else ())]


def arguments(argv):
    """The flags, as a dict."""
    flags = parser(__doc__)
    flags.add_argument('--kills', type=at_least(1), default=800,
                       help='how many of this kind on these ranks, with those in the CSV')
    flags.add_argument('--kind', choices=job.KINDS, default='images', help='what to train on')
    flags.add_argument('--ranks', type=whole_numbers, default=[1, 2, 4],
                       help='numbers of ranks to share them: 1, 2 or 4, with commas between')
    flags.add_argument('--seed', type=int, default=0, help='draws the victims and moments')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'),
                       help='where the rows go')
    flags.add_argument('--keep', action='store_true', help='keep the folders of all runs')
    given = vars(flags.parse_args(argv))
    if not set(given['ranks']) <= {1, 2, 4}:
        raise UserError('--ranks must be 1, 2 or 4, with commas between')
    return given


@entry
def main(argv=None):
    """Kill, compare, and say what came of it."""
    given = arguments(argv)
    rows = earlier(given['csv'])
    place = Path(tempfile.mkdtemp(prefix='kills-'))
    done = sum(row['kind'] == given['kind'] and row['ranks'] in given['ranks'] for row in rows)
    with keeping(given['csv'], FIELDS) as write, tqdm(total=given['kills'], initial=done,
                                                      unit='kill') as bar:
        for row in rows:
            write(row)
        for found in torture(place, given, list(rows), bar):
            for row in found:
                rows.append({'kill': len(rows) + 1, **row})
                write(rows[-1])
    show_table(summary(rows))
    same = sum(row['identical'] for row in rows)
    print(f'{same} of {len(rows)} kills in runs that ended bit-identical to the undisturbed one; '
          f'training was going again after {np.median([row["going_again_s"] for row in rows]):.1f} '
          's (median)')
    if same == len(rows) and not given['keep']:
        shutil.rmtree(place)
    return 0 if same == len(rows) else 1


if __name__ == '__main__':
    sys.exit(main())
