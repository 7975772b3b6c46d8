"""Measure our networks beside those of GluonCV: cost, speed and memory.

    %(prog)s                     # all 20, images then video
    %(prog)s --image --rounds 5
    %(prog)s --networks resnet50,a2_resnet50,resnet50_v1b --input-size 320

Each network is a process of its own, and all have their turn in every round. Nothing is downloaded,
and accuracies are those that others published, in columns of their own. Writes compare_zoo.csv,
compare_zoo.md and compare_zoo.png.
"""
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence, Tuple

from .. import flags
from ..cli import entry, parser, program, show_table
from ..errors import UserError

# What measures: benchmarks/ of a checkout, of which setup.py puts this into an installed package.
INSTALLED = Path(__file__).resolve().parents[1] / 'compare'
MEASURING = INSTALLED if INSTALLED.exists() else INSTALLED.parents[1] / 'benchmarks'


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

    def __post_init__(self) -> None:
        flags.check(self)
        if bool(self.networks) + self.image + self.video > 1:
            raise UserError('`networks`, `image` and `video` exclude each other: give one of them')


@entry
def main(argv: Optional[Sequence[str]] = None) -> None:
    (choices,) = flags.parse(parser(__doc__), argv, Choices)
    sys.path.insert(0, str(MEASURING))
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
    called = ['gluon-a2', 'compare-zoo'] if len(program()) > 1 else [
        'python', 'benchmarks/compare_zoo.py']
    command = shlex.join([*called, *(sys.argv[1:] if argv is None else argv)])
    paths = report.write_report(rows, command, choices.out, load)
    show_table(list(report.shown(rows)))
    print(f'written: {", ".join(map(str, paths))}')
