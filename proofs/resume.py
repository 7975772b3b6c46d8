#!/usr/bin/env python3
"""Stop a run after every step of an epoch, and go on with another number of ranks: which samples
are seen, and how?

    python proofs/resume.py
    python proofs/resume.py --kind clips --ranks 1,2 --steps 2,4

The job is that of kills.py: 40 pictures or clips in 4 steps of 12 an epoch, two epochs, on 1, 2 and
4 ranks. SIGTERM stops it in the first epoch. Every rank notes for each sample that it trains on
(epoch, step, index, SHA-256 of its float32 pixels). Both parts of a stopped run must together be
what an undisturbed run on one rank notes: each sample once an epoch, in its step, with its pixels.
Keeps `resume.csv`, in which rows of the other kind stay; exit code 1 if anything is otherwise, or
if the last checkpoint is further than 1e-6 (relative) from the undisturbed run's.
"""
import collections
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import job
import numpy as np
from bench import keeping, read_rows, script, whole_numbers
from tqdm import tqdm

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.files import sha256
from gluon_a2.machine.ranks import PREEMPTED

EPOCHS, STEPS = 2, 4
TOLERANCE = 1e-6
# inherited by the ranks: where to note, after how many steps to stop
NOTES, STOP, KIND = 'A2_RESUME_NOTES', 'A2_RESUME_STOP', 'A2_RESUME_KIND'
FIELDS = ('kind', 'before', 'after', 'step', 'samples', 'missing', 'repeated', 'other_step',
          'other_pixels', 'distance')


# ---- in the ranks

def hook(path, stop):
    """Have `Loop.train_step` note every sample in the file `path`, and ask to stop in the last of
    `stop` steps."""
    from gluon_a2.train.loop import Loop
    train_step = Loop.train_step

    def noted(self, batches):
        for batch in batches:
            with open(path, 'a') as file:
                for index, image in zip(batch.indices.tolist(), batch.images):
                    file.write(
                        json.dumps({
                            'epoch': self.at.epoch, 'step': self.at.step, 'index': index,
                            'pixels': sha256(np.asarray(image, np.float32).tobytes())
                        }) + '\n')
            yield batch

    def step(self, batches, lr):
        if self.at.step + 1 == stop and self.group.rank == self.group.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, noted(self, batches), lr)

    Loop.train_step = step


def child():
    """The training script, in the launcher and in each rank."""
    if 'GLUON_A2_LAUNCH' in os.environ or '-np' not in sys.argv:
        rank = os.environ.get('HOROVOD_RANK', '0')
        hook(Path(os.environ[NOTES]) / f'rank-{rank}.jsonl', int(os.environ[STOP]))
    importlib.import_module(job.KINDS[os.environ[KIND]][0]).main()


# ---- a run, or a part of one

def train(kind, folder, data, ranks, notes, stop=0, resume=False):
    """Train in `folder`, to the end or for `stop` steps; the samples that were noted."""
    notes.mkdir(parents=True)
    flags = ['--num-epochs', EPOCHS, *(['--resume'] if resume else [])]
    done = script(__file__, *job.flags(folder, data, ranks, kind), *flags,
                  **{NOTES: str(notes), STOP: str(stop), KIND: kind})
    if done.returncode != (PREEMPTED if stop else 0):
        raise RuntimeError(f'exit code {done.returncode} on {ranks} ranks: {done.stderr[-2000:]}')
    return [line for path in sorted(notes.iterdir()) for line in job.read_lines(path)]


def compare(seen, expected):
    """How often samples seen are not those expected, each of which is one of its epoch."""
    ours = collections.defaultdict(list)
    for line in seen:
        ours[line['epoch'], line['index']].append(line)
    theirs = {(line['epoch'], line['index']): line for line in expected}
    both = [(line, theirs[key]) for key, lines in ours.items() for line in lines if key in theirs]
    return {'samples': len(seen), 'missing': len(set(theirs) - set(ours)),
            'repeated': sum(len(lines) - (key in theirs) for key, lines in ours.items()),
            'other_step': sum(a['step'] != b['step'] for a, b in both),
            'other_pixels': sum(a['pixels'] != b['pixels'] for a, b in both)}


# ---- all of them

def combinations(place, given, bar):
    """Rows, one for each number of ranks before and after a stop, and each step to stop after."""
    kind = given['kind']
    data = job.KINDS[kind][1](place / kind)
    expected = train(kind, place / 'uncut', data, 1, place / 'notes-uncut')
    reference = job.last(place / 'uncut')
    if len({(line['epoch'], line['index']) for line in expected}) != len(expected):
        raise RuntimeError('the undisturbed run has seen a sample twice in one epoch')
    for before in given['ranks']:
        for step in given['steps']:
            stopped = place / f'{before}-{step}'
            first = train(kind, stopped, data, before, place / f'notes-{before}-{step}', step)
            if job.last(stopped).state['at']['step'] != step:
                raise RuntimeError(f'a run that was to stop after step {step} has not')
            for after in given['ranks']:
                bar.set_description(f'{before} to {after} ranks after step {step}')
                resumed = place / f'{before}-{step}-{after}'
                shutil.copytree(stopped, resumed)
                second = train(kind, resumed, data, after, place / f'notes-{resumed.name}',
                               resume=True)
                bar.update()
                found = job.last(resumed)
                yield {'kind': kind, 'before': before, 'after': after, 'step': step,
                       **compare(first + second, expected),
                       'distance': max(job.distance(found, reference, kind)
                                       for kind in ('param', 'state'))}
                shutil.rmtree(resumed)
            shutil.rmtree(stopped)


def is_right(row):
    """Whether nothing was lost, repeated or changed."""
    faults = sum(row[name] for name in ('missing', 'repeated', 'other_step', 'other_pixels'))
    return faults == 0 and row['distance'] <= TOLERANCE


def summary(rows):
    """Rows of a table: one for each pair of numbers of ranks."""
    table = [('before', 'after', 'steps', *FIELDS[4:-1], 'distance', 'right')]
    for pair in dict.fromkeys((row['before'], row['after']) for row in rows):
        ours = [row for row in rows if (row['before'], row['after']) == pair]
        table.append((*pair, len(ours), *(sum(row[name] for row in ours) for name in FIELDS[4:-1]),
                      f'{max(row["distance"] for row in ours):.1e}', sum(map(is_right, ours))))
    return table


def arguments(argv):
    """The flags, as a dict."""
    flags = parser(__doc__)
    flags.add_argument('--kind', choices=job.KINDS, default='images', help='what to train on')
    flags.add_argument('--ranks', type=whole_numbers, default=[1, 2, 4],
                       help='numbers of ranks, with commas between')
    flags.add_argument('--steps', type=whole_numbers, default=list(range(1, STEPS + 1)),
                       help='steps to stop after, likewise')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'),
                       help='where the rows go')
    return vars(flags.parse_args(argv))


@entry
def main(argv=None):
    """Stop and resume in all ways, compare, and say what came of it."""
    given, rows = arguments(argv), []
    total = len(given['ranks']) ** 2 * len(given['steps'])
    kept = [row for row in (read_rows(given['csv']) if given['csv'].exists() else ())
            if row['kind'] != given['kind']]
    with tempfile.TemporaryDirectory(prefix='resume-') as place, \
            keeping(given['csv'], FIELDS) as write, tqdm(total=total, unit='run') as bar:
        for row in kept:
            write(row)
        for row in combinations(Path(place), given, bar):
            rows.append(row)
            write(row)
    show_table(summary(rows))
    right = sum(map(is_right, rows))
    print(f'{right} of {len(rows)} resumed runs saw each sample once an epoch, in its step, with '
          f'its pixels, and ended within {TOLERANCE:g} of the undisturbed run')
    return 0 if right == len(rows) else 1


if __name__ == '__main__':
    sys.exit(child() if NOTES in os.environ else main())
