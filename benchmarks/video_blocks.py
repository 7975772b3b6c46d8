#!/usr/bin/env python3
"""A²-, non-local and plain ResNet-26 on clips of 16×112×112: the time of a training step and the
memory it needs.

    python benchmarks/video_blocks.py

Each network is a process of its own, which takes steps when asked to; they are asked in turn, round
by round, so that whatever else the machine does meets all alike. The time is the median over the
rounds, the memory each process's peak. Then non-local at conv2, which the paper could not train
(Table 2): what the formula 3 · 4 · N · (dhw)² bytes says (two maps, and the gradient of one),
against the peak that is measured, at sizes that fit here; and how the full size is refused. Keeps
`video_blocks.csv` and `video_blocks_conv2.csv`.
"""
import contextlib
import statistics
import sys
from pathlib import Path

from bench import Child, at_least, in_turn, keep, memory, rates, seconds, serve
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

NETWORKS = {
    'plain': ('resnet26_3d', None), 'A² 4 @ conv3&4': ('a2_resnet26_3d', None),
    'NL 4 @ conv3&4': ('nl_resnet26_3d', None), 'A² 1 @ conv2': ('a2_resnet26_3d', 'conv2:2')
}
FULL, SMALL = (16, 112, 112), [(16, 48, 48), (16, 56, 56), (16, 64, 64), (16, 72, 72)]


# ---- one network

def ready(model, blocks, batch, *size):
    """A function that takes a step, and answers [seconds, peak bytes so far]."""
    from mxnet_steps import training

    from gluon_a2.backend import mx
    from gluon_a2.models import get_model
    from gluon_a2.run.recipes import Recipe
    size = tuple(map(int, size))
    net = get_model(model, classes=400, input_size=size,
                    blocks=Recipe(model=model, blocks=blocks or None).placement)
    step, clips = training(net), mx.nd.random.normal(shape=(int(batch), 3, *size))
    return lambda _: [seconds(step, clips), memory('VmHWM')]


def child(model, blocks, batch, size):
    """The process that trains one network."""
    return Child(model, __file__, '--child', model, blocks or '', batch, *size)


# ---- all of them

def side_by_side(batch, rounds):
    """A row for each network."""
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(child(*given, batch, FULL))
                     for name, given in NETWORKS.items()}
        answers = in_turn({name: lambda _, ask=process.ask: ask()
                           for name, process in processes.items()}, rounds, warm=1, unit='step')
    times = {name: [taken for taken, _ in found] for name, found in answers.items()}
    peaks = {name: max(peak for _, peak in found) for name, found in answers.items()}
    base = statistics.median(times['plain'])
    for name, taken in times.items():
        median = statistics.median(taken)
        yield {'network': name, 'batch': batch, 'rounds': rounds, 'step_s': round(median, 4),
               'lowest_s': round(min(taken), 4), 'highest_s': round(max(taken), 4),
               'clips_per_s': rates(batch, taken)[0], 'time_ratio': round(median / base, 3),
               'peak_mb': round(peaks[name] / 1e6),
               'peak_ratio': round(peaks[name] / peaks['plain'], 3)}


def peak(model, blocks, size):
    """Peak bytes of three steps on one clip."""
    with child(model, blocks, 1, size) as process:
        return max(process.ask()[1] for _ in range(3))


def at_conv2():
    """Rows that compare the formula with what a non-local block at conv2 takes more than the plain
    network."""
    for size in tqdm(SMALL, desc='non-local at conv2', unit='size'):
        positions = size[0] // 2 * (size[1] // 2) * (size[2] // 2)
        predicted = 3 * 4 * positions ** 2
        measured = peak('nl_resnet26_3d', 'conv2:2', size) - peak('resnet26_3d', None, size)
        yield {'size': '×'.join(map(str, size)), 'positions': positions,
               'predicted_mb': round(predicted / 1e6), 'measured_mb': round(measured / 1e6),
               'ratio': round(measured / predicted, 3)}


def refusal(free):
    """The sentence for the full size, at the paper's 16 clips a device, with `free` bytes of
    memory."""
    import dataclasses

    from gluon_a2.run import network
    from gluon_a2.run.recipes import RECIPES
    from gluon_a2.train import preflight
    recipe = dataclasses.replace(RECIPES['kinetics_ablation'], model='nl_resnet26_3d',
                                 blocks='conv2:2')
    try:
        preflight.check_memory(network.create(recipe), recipe, free)
    except UserError as error:
        return str(error)
    raise AssertionError(f'it was not refused with {free} bytes')


@entry
def main(argv=None):
    """Measure, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--batch-size', type=at_least(1), default=2, help='clips of a step')
    flags.add_argument('--rounds', type=at_least(1), default=9,
                       help='steps of each network, besides a first one')
    flags.add_argument('--out', type=Path, default=Path(__file__).parent, metavar='DIR',
                       help='where the two files go')
    args = flags.parse_args(argv)
    keep(list(side_by_side(args.batch_size, args.rounds)), args.out / 'video_blocks.csv')
    keep(list(at_conv2()), args.out / 'video_blocks_conv2.csv')
    from gluon_a2.machine.resources import free_memory
    print(f'refused here: {refusal(free_memory())}')


if __name__ == '__main__':
    serve(ready, *sys.argv[2:]) if sys.argv[1:2] == ['--child'] else main()
