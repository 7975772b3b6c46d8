#!/usr/bin/env python3
"""Predict 64 GPUs from the cost model of ring all-reduce. Nothing here was run on a GPU or a
network.

    python benchmarks/predict_scaling.py
    python benchmarks/predict_scaling.py --step 0.15 --gbit 25 --latency 30

A ring over p ranks sends 2 (p - 1) / p of N bytes through each link, in 2 (p - 1) messages: T = 2
(p - 1) / p · N / B + 2 (p - 1) α. Gradients travel in several vectors, and each has messages of its
own. They are taken to be there one after the other, evenly over backward, which is taken to be two
thirds of the last micro-batch: what T exceeds that by, and the last vector at least, is waited for.
Every default of a flag is an assumption.
"""
import bench  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError

# trained parameters of the A²-ResNet-50: python scripts/count_cost.py a2_resnet50
GRADIENTS = 32900808
VECTORS = 8  # that they travel in: train/buckets.py
BACKWARD = 2 / 3  # of a micro-batch's time; assumed
STATISTICS = 2 * 37056  # its BatchNorms' running means and variances, which travel as float64


def ring_seconds(size, ranks, bandwidth, latency):
    """Seconds to sum `size` bytes over `ranks`; bandwidth of a link in bytes/s, latency of a
    message in seconds."""
    return 2 * (ranks - 1) / ranks * size / bandwidth + 2 * (ranks - 1) * latency


def efficiency(compute, exchange, micro_batches=1):
    """Share of a step that computes, with one exchange, which begins while the last of so many
    micro-batches goes backward."""
    hidden = BACKWARD * compute * (VECTORS - 1) / VECTORS
    exposed = max(exchange / VECTORS, exchange - hidden)
    return micro_batches * compute / (micro_batches * compute + exposed)


def rows(step, latency, speeds, ranks):
    """The table: (gbit/s, bytes for each gradient, micro-batches) → exchange and efficiency."""
    yield 'network', 'gradients', 'micro-batches', 'exchange', 'efficiency', 'images/s'
    for gbit in speeds:
        for name, width in (('float32', 4), ('fp16', 2), ('exact sums', 8)):
            for micro in (1, 4):
                size = GRADIENTS * width + STATISTICS * 8
                exchange = ring_seconds(size, ranks, gbit * 1e9 / 8, VECTORS * latency)
                share = efficiency(step, exchange, micro)
                yield (f'{gbit:g} Gbit/s', name, str(micro), f'{1000 * exchange:.0f} ms',
                       f'{100 * share:.0f} %', f'{ranks * 32 / step * share:.0f}')


@entry
def main(argv=None):
    """Print the table."""
    flags = parser(__doc__)
    flags.add_argument('--ranks', type=int, default=64)
    flags.add_argument('--step', type=float, default=0.15,
                       help='s that a GPU computes on 32 images; assumed')
    flags.add_argument('--latency', type=float, default=30, help='µs of a message; assumed')
    flags.add_argument('--gbit', type=float, nargs='+', default=[10, 25, 100],
                       help='per rank, of its link; assumed')
    given = flags.parse_args(argv)
    if given.ranks < 1 or given.step <= 0 or given.latency < 0 or min(given.gbit) <= 0:
        raise UserError('--ranks must be 1 or more, --step and --gbit above 0, --latency 0 or more')
    show_table(list(rows(given.step, given.latency / 1e6, given.gbit, given.ranks)))


if __name__ == '__main__':
    main()
