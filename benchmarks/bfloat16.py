#!/usr/bin/env python3
"""Training in bfloat16 beside float32: how well it ends over paired seeds, and the time of a step.

    python benchmarks/bfloat16.py            # the tasks below, each seed in both types
    python benchmarks/bfloat16.py --speed    # a step of A²-ResNet-50 at 224×224, batches of 8

The tasks are the recipe digits, the video demo (motion), and a harder one that no network here
solves (few): digits turned round, which learns from its 359 held-out digits and is tested on the
1438 others. Every run is that of the training script on one thread. Its row is written when it
ends; the table then has the mean difference of top-1 and the 95 % interval of paired seeds
(Student's t). Keeps `bfloat16.csv`.

With --speed both types take a step (forward, backward, update) in turn, round by round, on the
threads of OMP_NUM_THREADS. Keeps `bfloat16_speed.csv`.
"""
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import ROOT, at_least, in_turn, interval, keep, keeping, rates, script, seconds

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError

TYPES = ('float32', 'bfloat16')
FIELDS = ('task', 'seed', 'dtype', 'steps', 'loss', 'top1', 'seconds')


class Task(NamedTuple):
    """A training script with flags, in which {digits} is the folder of digits."""
    script: str
    flags: Tuple[str, ...]
    seeds: int


TASKS = {
    'few': Task('train_imagenet.py', (
        '--recipe', 'digits', '--rec-train', '{digits}/val.rec', '--rec-val', '{digits}/train.rec',
        '--batch-size', '16', '--num-epochs', '8'), 5),
    'digits': Task('train_imagenet.py', ('--recipe', 'digits'), 1),
    'motion': Task('train_video.py', ('--recipe', 'moving_digits'), 1)}


# ---- how well it ends

def train(name, seed, dtype, digits):
    """The row of a run."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = script(ROOT / 'scripts' / task.script, *(flag.format(digits=digits)
                                                        for flag in task.flags),
                      '--seed', seed, '--dtype', dtype, '--save-dir', Path(folder, 'run'))
        taken = time.perf_counter() - start
        if done.returncode:
            raise UserError(f'{name} with seed {seed} in {dtype} ended with {done.returncode}: '
                            f'{done.stderr.strip().splitlines()[-1]}')
        last = json.loads(Path(folder, 'run', 'log.jsonl').read_text().splitlines()[-1])
    return {'task': name, 'seed': seed, 'dtype': dtype, 'steps': last['step'],
            'loss': round(last['train_loss'], 5), 'top1': round(last['val_top1'], 6),
            'seconds': round(taken, 1)}


def summary(rows):
    """A row for each task: top-1 in both types, and bfloat16's less float32's, in points."""
    table = []
    for name in dict.fromkeys(row['task'] for row in rows):
        top1 = {(row['seed'], row['dtype']): 100 * float(row['top1'])
                for row in rows if row['task'] == name}
        seeds = [seed for seed, dtype in top1 if dtype == TYPES[1] and (seed, TYPES[0]) in top1]
        if not seeds:
            continue
        mean, half = interval([top1[seed, TYPES[1]] - top1[seed, TYPES[0]] for seed in seeds])
        table.append({'task': name, 'seeds': len(seeds), **{
            dtype: f'{statistics.mean(top1[seed, dtype] for seed in seeds):.2f}' for dtype in TYPES
        }, 'difference': f'{mean:+.2f}', 'interval': '' if math.isnan(half) else
            f'{mean - half:+.2f} to {mean + half:+.2f}'})
    return table


def accuracies(args):
    """Run the tasks, keep a row of each run, and print the table."""
    from gluon_a2 import data
    digits, rows = data.digits_folder(), []
    with keeping(args.csv or Path(__file__).with_suffix('.csv'), FIELDS) as write:
        for name in args.tasks:
            for seed in range(args.seeds or TASKS[name].seeds):
                for dtype in TYPES:
                    rows.append(train(name, seed, dtype, digits))
                    write(rows[-1])
                    print(*rows[-1].values(), flush=True)
    table = summary(rows)
    show_table([list(table[0]), *(list(row.values()) for row in table)])


# ---- the time of a step

def speed(args):
    """Let both types take steps in turn, and keep images a second and the ratio."""
    from mxnet_steps import training

    from gluon_a2.backend import mx
    from gluon_a2.models import get_model
    from gluon_a2.train.bfloat16 import in_bfloat16
    images = mx.nd.random.normal(shape=(args.batch_size, 3, args.input_size, args.input_size))
    steps = {dtype: training(change(get_model(args.model))) for dtype, change in zip(
        TYPES, (lambda net: net, in_bfloat16))}
    taken = in_turn({dtype: lambda _, step=step: seconds(step, images)
                     for dtype, step in steps.items()}, args.rounds, warm=2, unit='step')
    ratios = [one / other for one, other in zip(*(taken[dtype] for dtype in TYPES))]
    rows = []
    for dtype in TYPES:
        median, lowest, highest = rates(args.batch_size, taken[dtype])
        rows.append({'model': args.model, 'size': args.input_size, 'batch': args.batch_size,
                     'threads': int(os.environ['OMP_NUM_THREADS']), 'dtype': dtype,
                     'images_per_s': median, 'images_per_s_lowest': lowest,
                     'images_per_s_highest': highest,
                     'ratio': 1.0 if dtype == TYPES[0] else round(statistics.median(ratios), 3)})
    keep(rows, args.csv or Path(__file__).with_name('bfloat16_speed.csv'))


@entry
def main(argv=None):
    """Train and compare, or time."""
    from gluon_a2.machine.resources import cores
    flags = parser(__doc__)
    flags.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS))
    flags.add_argument('--seeds', type=at_least(1), help="of every task, instead of the tasks' own")
    flags.add_argument('--speed', action='store_true', help='time a step instead')
    flags.add_argument('--model', default='a2_resnet50', help='what is timed')
    flags.add_argument('--input-size', type=at_least(1), default=224)
    flags.add_argument('--batch-size', type=at_least(1), default=8)
    flags.add_argument('--rounds', type=at_least(1), default=15)
    flags.add_argument('--csv', type=Path, help='where the rows go')
    args = flags.parse_args(argv)
    if args.speed:
        os.environ.setdefault('OMP_NUM_THREADS', str(cores()))
    (speed if args.speed else accuracies)(args)


if __name__ == '__main__':
    sys.exit(main())
