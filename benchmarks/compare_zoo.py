#!/usr/bin/env python
"""Our networks beside those of the GluonCV zoo: cost, speed and memory, measured in one run, and
published accuracies.

    python benchmarks/compare_zoo.py                             # all 20, images then video
    python benchmarks/compare_zoo.py --image --rounds 5
    python benchmarks/compare_zoo.py --networks resnet50,a2_resnet50,resnet50_v1b --input-size 320

Each network is a process of its own, and all have their turn in every round. Nothing is downloaded,
and accuracies are those that others published, in columns of their own. Writes compare_zoo.csv,
compare_zoo.md and compare_zoo.png.
"""
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

import bench  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2 import flags
from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import UserError


@dataclass(frozen=True)
class Choices:
    """What is measured, and how much of it."""
    networks: Optional[Tuple[str, ...]] = flags.option(None, 'these alone', metavar='NAMES')
    image: bool = flags.option(False, 'the image networks alone')
    video: bool = flags.option(False, 'the video networks alone')
    rounds: int = flags.option(3, 'turns of each network', low=1)
    batch_size: int = flags.option(8, 'images at a time, for throughput (clips: 1)', low=1)
    train_batch_size: int = flags.option(4, 'images of a training step (clips: 1)', low=1)
    input_size: Optional[int] = flags.option(
        None, 'side of the images; default: 224', low=32)  # the total stride of most networks
    out: str = flags.option('runs/compare', 'where the three files go', metavar='DIR')

    def __post_init__(self):
        flags.check(self)
        if bool(self.networks) + self.image + self.video > 1:
            raise UserError('`networks`, `image` and `video` exclude each other: give one of them')


@entry
def main(argv=None):
    """Choose, measure, write."""
    parsed = parser(__doc__)
    flags.add_flags(parsed, Choices)
    choices = flags.from_args(Choices, parsed.parse_args(argv))
    import compare_networks as networks
    import compare_report as report
    import compare_rounds as rounds
    chosen = networks.choose(choices.networks or (*(() if choices.video else networks.IMAGE),
                                                  *(() if choices.image else networks.VIDEO)),
                             choices.input_size)
    Path(choices.out).mkdir(parents=True, exist_ok=True)  # not found out after all was measured
    load = rounds.busy()
    if load > 0.1:
        print(f'warning: {load:.0%} of this machine is at something else: networks of many small '
              'operators will seem far slower than they are', file=sys.stderr)
    rows = rounds.table(rounds.measure(chosen, choices), choices)
    command = shlex.join(['python', 'benchmarks/compare_zoo.py',
                          *(sys.argv[1:] if argv is None else argv)])
    paths = report.write_report(rows, command, choices.out, load)
    show_table(list(report.shown(rows)))
    print(f'written: {", ".join(map(str, paths))}')


if __name__ == '__main__':
    main()
