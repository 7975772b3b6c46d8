#!/usr/bin/env python3
"""Images per second on 1, 2, 4 … ranks of this machine, and where each step's time goes.

    python benchmarks/scaling.py                          # a2_resnet26 at 64×64, 8 images a rank
    python benchmarks/scaling.py -- --model resnet26      # more flags for the training script
    python benchmarks/scaling.py --allreduce              # A²-ResNet-50 at 224×224 on 2 ranks:
                                                          # what the exchange costs

Runs the training script on random pixels, one thread a rank, the same batch on each (weak scaling);
rounds take turns. The first two steps, which find memory and connections cold, are left out.
Efficiency is against one rank, with as many ranks as there are cores at most: more share them.
Prints medians with the spread of the rounds, and keeps `scaling.csv` or `allreduce.csv`, one row a
run.
"""
import functools
import json
import statistics
import tempfile
from pathlib import Path

from bench import ROOT, at_least, in_turn, keeping, processor, script, whole_numbers
from predict_scaling import GRADIENTS

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError
from gluon_a2.machine.resources import cores

SHARES = ('data', 'compute', 'wait', 'allreduce', 'checkpoint')
WARM_UP = 2  # steps
NETWORK = ['--model', 'a2_resnet26', '--input-size', '64', '--batch-size', '8', '--classes', '10']
PAPERS = ['--model', 'a2_resnet50', '--batch-size', '2', '--lr', '1e-4']
VARIANTS = {  # of the A²-ResNet-50 on 2 ranks: (bytes sent for each gradient, flags)
    'float32': (4, []), 'fp16': (2, ['--compression', 'fp16']), 'exact sums': (8, ['--exact-sums']),
    '4 micro-batches': (4, ['--accumulate', '4']),
    '4 micro-batches, fp16': (2, ['--accumulate', '4', '--compression', 'fp16'])}
SHARE_FIELDS = tuple(f'{name}_share' for name in SHARES)
FIELDS = ('case', 'ranks', 'round', 'images_per_s', 'images_per_step', *SHARE_FIELDS, 'cores',
          'processor')


def run(case, ranks, steps, flags):
    """The row of a run: images/s and shares after its first steps, and its images per step."""
    with tempfile.TemporaryDirectory() as folder:
        done = script(ROOT / 'scripts' / 'train_imagenet.py', '--synthetic-data', WARM_UP + steps,
                      '--log-interval', WARM_UP, '--save-dir', f'{folder}/run', '-np', ranks,
                      '--rank-timeout', 120, *flags)
        if done.returncode:
            raise UserError(f'{case}: the training script ended with {done.returncode}: '
                            f'{done.stderr.strip()[-500:]}')
        lines = [json.loads(line)
                 for line in Path(folder, 'run', 'timing.jsonl').read_text().splitlines()]
        recipe = json.loads(Path(folder, 'run', 'run.json').read_text())['recipe']
    batch = ranks * recipe['batch_size'] * recipe['accumulate']
    return [{'case': case, 'ranks': ranks, 'images_per_step': batch,
             **between(lines[0], lines[-1], batch)}]


def between(first, last, batch):
    """images/s and shares between two lines of timing.jsonl, whose own figures count from the
    epoch's start."""
    until = [line['step'] * batch / line['images_per_s'] for line in (first, last)]
    seconds = until[1] - until[0]
    spent = {name: last[name] * until[1] - first[name] * until[0] for name in SHARE_FIELDS}
    return {'images_per_s': (last['step'] - first['step']) * batch / seconds,
            # the slowest rank, which says what is the exchange, may be another in between
            **{name: max(0.0, value) / seconds for name, value in spent.items()}}


def measure(cases, rounds, path, fields):
    """All rows of {case: function that gives some}, which take turns in each round; kept in `path`
    as they come."""
    rows, machine = [], {'cores': cores(), 'processor': processor()}
    with keeping(path, fields) as write:
        def turn(run_case, number):
            for row in run_case():
                rows.append({'round': number, **machine, **row})
                write(rows[-1])
        in_turn({case: functools.partial(turn, run_case) for case, run_case in cases.items()},
                rounds, unit='run')
    return rows


def medians(rows):
    """{case: (its rows' common values, median images/s, spread of it, median shares)}."""
    found = {}
    for case in dict.fromkeys(row['case'] for row in rows):
        ours = [row for row in rows if row['case'] == case]
        speeds = [row['images_per_s'] for row in ours]
        shares = [statistics.median(row[name] for row in ours) for name in SHARE_FIELDS]
        median = statistics.median(speeds)
        found[case] = ours[0], median, (max(speeds) - min(speeds)) / median, shares
    return found


def show_scaling(rows):
    """Efficiency on 1, 2, 4 … ranks."""
    found = medians(rows)
    one = found['1'][1]
    table = [('ranks', 'images/s', 'spread', 'per rank', 'efficiency', *SHARES)]
    for row, speed, spread, shares in found.values():
        able = min(row['ranks'], row['cores'])
        note = '' if able == row['ranks'] else f' of {able} cores: more ranks than cores'
        table.append(
            (row['ranks'], f'{speed:.1f}', f'{100 * spread:.0f} %', f'{speed / row["ranks"]:.1f}',
             f'{100 * speed / one / able:.0f} %{note}', *(f'{100 * share:.1f} %'
                                                          for share in shares)))
    show_table(table)


def show_allreduce(rows):
    """What the exchange of gradients costs, and what compression and accumulation change."""
    found = medians(rows)
    plain = found['float32'][1]
    table = [('variant', 'MB sent', 's per step', 's of all-reduce', 'all-reduce', 'waiting',
              'images/s against float32', 'spread')]
    for case, (row, speed, spread, shares) in found.items():
        step = row['images_per_step'] / speed
        table.append((case, f'{GRADIENTS * VARIANTS[case][0] / 1e6:.0f}', f'{step:.2f}',
                      f'{step * shares[3]:.3f}', f'{100 * shares[3]:.1f} %',
                      f'{100 * shares[2]:.1f} %', f'{speed / plain:.2f}', f'{100 * spread:.0f} %'))
    show_table(table)


@entry
def main(argv=None):
    """Measure, keep, print."""
    flags = parser(__doc__)
    flags.add_argument('--ranks', type=whole_numbers, default=[1, 2, 4],
                       help='numbers of ranks with commas between, the first 1')
    flags.add_argument('--rounds', type=at_least(1), default=3)
    flags.add_argument('--steps', type=at_least(5), default=20,
                       help='of each run; a fifth of it with --allreduce')
    flags.add_argument('--allreduce', action='store_true',
                       help='the A²-ResNet-50 on 2 ranks instead')
    flags.add_argument('--csv', type=Path, help='where the rows go')
    flags.add_argument('more', nargs='*', metavar='-- FLAG',
                       help='for the training script, after those of its own')
    given = flags.parse_args(argv)
    if min(given.ranks) < 1 or given.ranks[0] != 1:
        raise UserError('--ranks must begin with 1, and hold no number below it')
    if given.allreduce:
        cases = [(case, 2, given.steps // 5, [*PAPERS, *more, *given.more])
                 for case, (_, more) in VARIANTS.items()]
    else:
        cases = [(str(ranks), ranks, given.steps, [*NETWORK, *given.more]) for ranks in given.ranks]
    rows = measure({case[0]: functools.partial(run, *case) for case in cases}, given.rounds,
                   given.csv or Path(__file__).with_name(
                       'allreduce.csv' if given.allreduce else 'scaling.csv'), FIELDS)
    show_allreduce(rows) if given.allreduce else show_scaling(rows)


if __name__ == '__main__':
    main()
