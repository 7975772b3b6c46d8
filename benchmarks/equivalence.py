#!/usr/bin/env python3
"""k ranks against k accumulated micro-batches in one process, and the paper's 64 × 32 on one
machine.

    python benchmarks/equivalence.py            # every optimizer, k = 1, 2, 3, 4, ten steps of the
    demo network python benchmarks/equivalence.py --paper    # 64 ranks × 32 = 2048, three steps,
    against 64 micro-batches; 20 GB

Real processes under the launcher, one thread each, with --exact-sums. Differences are norms over
all parameters, and over all momenta, relative to the single process's. Prints a table, writes
`equivalence.csv` (`equivalence_paper.csv`), and ends with 1 where a difference exceeds 1e-6 or the
ranks' own parameters differ (each rank's SHA-256 of all of them is compared at every checkpoint,
which is every step here).
"""
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gluon_a2 import cli, data  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402
from gluon_a2.run import checkpoint  # noqa: E402
from gluon_a2.run.recipes import OPTIMIZERS  # noqa: E402

LIMIT = 1e-6
COLUMNS = ('network', 'optimizer', 'ranks', 'batch per rank', 'steps', 'ranks equal', 'parameters',
           'momenta')
AGREED = re.compile(r'step (\d+): all (\d+) ranks hold the parameters and momenta (\w+)')


def write_records(folder, images):
    """train.rec with the embedded digits over and over, val.rec with some of the held-out ones."""
    for split, count in (('train', images), ('val', 64)):
        source = data.open_source(data.digits_folder(), split)
        with data.RecordWriter(folder / f'{split}.rec') as writer:
            for i in range(count):
                writer.write(source.read(i % len(source)), int(source.labels[i % len(source)]))


def train(folder, images, flags):
    """The last checkpoint and the log of a run of the training script."""
    command = [sys.executable, HERE.parent / 'scripts' / 'train_imagenet.py', '--recipe', 'digits',
               '--data-dir', images, '--save-dir', folder, '--exact-sums', '--save-steps', 1,
               '--log-interval', 1, '-j', 0, *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'})
    if done.returncode:
        raise UserError(f'the training script ended with {done.returncode}: '
                        f'{done.stderr.strip().splitlines()[-1]}')
    return checkpoint.find(folder / 'checkpoints', 'last'), (folder / 'train.log').read_text()


def difference(ours, theirs, kind):
    """Norm of the difference of all tensors of a kind, relative to the norm of `theirs`."""
    names = [name for name in theirs.tensors if name.startswith(kind)]
    gap = sum(((ours.tensors[name].astype(np.float64) - theirs.tensors[name])**2).sum()
              for name in names)
    return float(
        np.sqrt(gap / sum((theirs.tensors[name].astype(np.float64)**2).sum() for name in names)))


def compare(optimizer, ranks, batch, steps, size, *more):
    """A row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_records(folder, ranks * batch * steps)
        flags = [
            '--optimizer', optimizer, '--batch-size', batch, '--num-epochs', 1, '--input-size', size
        ]
        alone, _ = train(folder / 'one', folder, [*flags, '--accumulate', ranks])
        ours, log = train(folder / 'ranks', folder,
                          [*flags, '-np', ranks, '--max-restarts',
                           int(ranks == 1), *more])
        agreed = {int(step) for step, count, _ in AGREED.findall(log) if int(count) == ranks}
        if {found.state['at']['step'] for found in (alone, ours)} != {steps}:
            raise AssertionError(f'not {steps} steps')
        return ('a2_resnet26', optimizer, ranks, batch, steps, ranks == 1
                or agreed == set(range(1, steps + 1)), difference(ours, alone, 'param'),
                difference(ours, alone, 'state'))


@cli.entry
def main(argv=None):
    """Run the pairs, print and keep the table."""
    parser = cli.parser(__doc__)
    parser.add_argument('--paper', action='store_true', help='64 ranks × 32 images, once')
    args = parser.parse_args(argv)
    start = time.perf_counter()
    if args.paper:
        cases = [('nag', 64, 32, 3, 16, '--rank-timeout', 600)]
    else:
        cases = [(optimizer, ranks, 48 // ranks, 10, 32) for optimizer in OPTIMIZERS
                 for ranks in (1, 2, 3, 4)]
    rows = [compare(*case) for case in tqdm(cases, unit='pair', dynamic_ncols=True, disable=None)]
    with open(HERE / f'equivalence{"_paper" * args.paper}.csv', 'w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([COLUMNS, *rows])
    cli.show_table([
        COLUMNS, *((*row[:5], 'yes' if row[5] else 'NO', *(f'{gap:.1e}' for gap in row[6:]))
                   for row in rows)
    ])
    print(f'{time.perf_counter() - start:.0f} s in all')
    return int(not all(row[5] and max(row[6:]) <= LIMIT for row in rows))


if __name__ == '__main__':
    sys.exit(main())
