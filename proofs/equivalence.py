#!/usr/bin/env python3
"""k ranks against k accumulated micro-batches in one process, and the paper's 64 × 32 on one
machine.

    python proofs/equivalence.py            # every optimizer, k = 1, 2, 3, 4, ten steps of the demo
    python proofs/equivalence.py --paper    # 64 ranks × 32 = 2048, three steps, against 64
                                            # micro-batches; 20 GB

Real processes under the launcher, one thread each, with --exact-sums. Differences are norms over
all parameters, and over all momenta, relative to the single process's. Prints a table, writes
`equivalence.csv` (`equivalence_paper.csv`), and ends with 1 where a difference exceeds 1e-6 or the
ranks' own parameters differ (each rank's SHA-256 of all of them is compared at every checkpoint,
which is every step here).
"""
import re
import sys
import tempfile
from pathlib import Path

import job
from bench import ROOT, keep, script, whole_numbers
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.run.recipes import OPTIMIZERS

LIMIT = 1e-6
AGREED = re.compile(r'step (\d+): all (\d+) ranks hold the parameters and momenta (\w+)')


def train(folder, images, flags):
    """The last checkpoint and the log of a run of the training script."""
    done = script(ROOT / 'scripts' / 'train_imagenet.py', '--recipe', 'digits', '--data-dir',
                  images, '--save-dir', folder, '--exact-sums', '--save-steps', 1,
                  '--log-interval', 1, '-j', 0, *flags)
    if done.returncode:
        raise UserError(f'the training script ended with {done.returncode}: '
                        f'{done.stderr.strip().splitlines()[-1]}')
    return job.last(folder), (folder / 'train.log').read_text()


def compare(optimizer, ranks, batch, steps, size, *more):
    """A row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = job.write_data(Path(place), ranks * batch * steps, 64)
        flags = ['--optimizer', optimizer, '--batch-size', batch, '--num-epochs', 1,
                 '--input-size', size]
        alone, _ = train(folder / 'one', folder, [*flags, '--accumulate', ranks])
        ours, log = train(folder / 'ranks', folder, [*flags, '-np', ranks, '--max-restarts',
                                                     int(ranks == 1), *more])
        agreed = {int(step) for step, count, _ in AGREED.findall(log) if int(count) == ranks}
        if {found.state['at']['step'] for found in (alone, ours)} != {steps}:
            raise AssertionError(f'not {steps} steps')
        return {'network': 'a2_resnet26', 'optimizer': optimizer, 'ranks': ranks,
                'batch per rank': batch, 'steps': steps,
                'ranks equal': ranks == 1 or agreed == set(range(1, steps + 1)),
                'parameters': job.distance(ours, alone, 'param'),
                'momenta': job.distance(ours, alone, 'state')}


@entry
def main(argv=None):
    """Run the pairs, print and keep the table."""
    flags = parser(__doc__)
    flags.add_argument('--paper', action='store_true', help='64 ranks × 32 images, once')
    flags.add_argument('--ranks', type=whole_numbers, default=[1, 2, 3, 4],
                       help='the k, with commas between')
    flags.add_argument('--csv', type=Path, help='where the rows go')
    given = flags.parse_args(argv)
    if given.paper:
        cases = [('nag', 64, 32, 3, 16, '--rank-timeout', 600)]
    else:
        cases = [(optimizer, ranks, 48 // ranks, 10, 32) for optimizer in OPTIMIZERS
                 for ranks in given.ranks]
    rows = [compare(*case) for case in tqdm(cases, unit='pair', disable=None)]
    keep(rows, given.csv or Path(__file__).with_name(f'equivalence{"_paper" * given.paper}.csv'))
    return int(not all(row['ranks equal'] and max(row['parameters'], row['momenta']) <= LIMIT
                       for row in rows))


if __name__ == '__main__':
    sys.exit(main())
