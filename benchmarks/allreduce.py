#!/usr/bin/env python3
"""How long ranks on this machine take to sum one buffer, and how well the ring's cost model
foretells it.

    python benchmarks/allreduce.py

The buffer is float32 and goes the way gradients go, through Horovod and Gloo on the loopback
network. Latency α and bandwidth B of T = 2 (p - 1) / p · N / B + 2 (p - 1) α are fitted to two
ranks at every other size; the other sizes, and four ranks, are then predicted from them. Launches
with two and four ranks take turns, and so do the sizes within each; a time is that of the slowest
rank after all have met. Keeps `allreduce_buffers.csv`, one row a measurement. What the exchange
costs in training is `scaling.py --allreduce`.
"""
import functools
import json
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
from bench import at_least, processor, seconds
from predict_scaling import GRADIENTS, STATISTICS, ring_seconds
from scaling import measure

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError
from gluon_a2.launch.launcher import launch
from gluon_a2.launch.options import Processes
from gluon_a2.machine.ranks import launch_id
from gluon_a2.machine.resources import cores

SIZES = (1000, 10000, 100000, 8 * STATISTICS, 2000000, 8000000, 33000000, 66000000, 4 * GRADIENTS)
FITTED = SIZES[::2]
RANKS = (2, 4)
FIELDS = ('round', 'ranks', 'bytes', 'repeat', 'seconds', 'cores', 'processor')


# ---- in the ranks

def summed(group, buffer):
    """Sum the buffer over all ranks as training does."""
    group.begin_sum(buffer, 'gradients', 'none', 1)
    group.finish([buffer])


def child(folder, repeats):
    """Time all sizes in turn; rank 0 writes [(bytes, repeat, seconds of the slowest rank)] into
    `folder`."""
    from gluon_a2.backend import mx
    from gluon_a2.train.distributed import Group
    group, times = Group(), []
    buffers = {size: mx.nd.zeros(size // 4) for size in SIZES}
    for repeat in range(repeats + 1):
        for size, buffer in buffers.items():
            buffer.wait_to_read()
            group.all_reduce(np.zeros(1), 'meet')
            taken = seconds(summed, group, buffer)
            slowest = max(group.all_gather(taken, 'seconds'))
            if repeat:  # the first finds its memory and connections cold
                times.append((size, repeat, slowest))
    if group.first:
        (folder / 'times.json').write_text(json.dumps(times))


# ---- in the launcher

def run(ranks, repeats):
    """A row for each time that a launch took."""
    with tempfile.TemporaryDirectory() as folder:
        code = launch(Processes(ranks), __file__, ['--repeats', str(repeats)], folder)
        if code:
            raise UserError(f'{ranks} ranks ended with exit code {code}')
        return [{'ranks': ranks, 'bytes': size, 'repeat': repeat, 'seconds': round(seconds, 6)}
                for size, repeat, seconds in json.loads(Path(folder, 'times.json').read_text())]


def fit(times, ranks):
    """(bandwidth in bytes/s, latency in s) with the least squares of relative errors; times:
    {bytes: seconds}."""
    sizes, seconds = np.array(list(times), float), np.array(list(times.values()))
    terms = np.stack([2 * (ranks - 1) / ranks * sizes, np.full(len(sizes), 2.0 * (ranks - 1))], 1)
    per_byte, latency = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(sizes)),
                                        rcond=None)[0]
    return 1 / per_byte, latency


def report(rows):
    """Print what was measured beside what the model says."""
    found = {ranks: {size: [row['seconds'] for row in rows
                            if (row['ranks'], row['bytes']) == (ranks, size)] for size in SIZES}
             for ranks in RANKS}
    first = RANKS[0]
    bandwidth, latency = fit({size: statistics.median(found[first][size])
                              for size in FITTED}, first)
    print(f'fitted: B = {bandwidth / 1e9:.2f} GB/s, α = {1000 * latency:.2f} ms; {cores()} cores, '
          f'{processor()}')
    table = [('ranks', 'bytes', 'median ms', 'quartiles', 'model ms', 'model / median',
              'used in the fit')]
    for ranks, sizes in found.items():
        errors = []
        for size, taken in sizes.items():
            low, middle, high = statistics.quantiles(taken, n=4)
            model = ring_seconds(size, ranks, bandwidth, latency)
            fitted = ranks == first and size in FITTED
            if not fitted:
                errors.append(abs(model / middle - 1))
            table.append(
                (ranks, size, f'{1000 * middle:.2f}', f'{1000 * low:.2f}–{1000 * high:.2f}',
                 f'{1000 * model:.2f}', f'{model / middle:.2f}', 'yes' if fitted else ''))
        over = ': more ranks than cores' if ranks > cores() else ''
        print(f'{ranks} ranks{over}: error of a prediction {100 * statistics.median(errors):.0f} % '
              f'(median), {100 * max(errors):.0f} % (worst)')
    show_table(table)


@entry
def main(argv=None):
    """Measure, keep, print."""
    flags = parser(__doc__)
    flags.add_argument('--rounds', type=at_least(1), default=3)
    flags.add_argument('--repeats', type=at_least(2), default=20,
                       help='of every size, in each launch')
    flags.add_argument('--csv', type=Path,
                       default=Path(__file__).with_name('allreduce_buffers.csv'))
    flags.add_argument('--save-dir', help='set by the launcher')
    given = flags.parse_args(argv)
    if launch_id():
        child(Path(given.save_dir), given.repeats)
    else:
        os.environ.setdefault('OMP_NUM_THREADS', '1')
        cases = {f'{ranks} ranks': functools.partial(run, ranks, given.repeats) for ranks in RANKS}
        report(measure(cases, given.rounds, given.csv, FIELDS))


if __name__ == '__main__':
    main()
