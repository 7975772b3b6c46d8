#!/usr/bin/env python3
"""Clips a second in training the 3-D ResNet-26 on 16×112×112, beside the same network in PyTorch.

    python benchmarks/video_training.py
    python benchmarks/video_training.py --torch ~/torch-env/bin/python  # one that has PyTorch

All take a step (forward, backward, update with Nesterov momentum) in turn, round by round, each in
a process of its own and on as many threads. The PyTorch network must have as many trained values,
or nothing is timed. Keeps `video_training.csv`.
"""
import contextlib
import os
import statistics
import sys
from pathlib import Path

from bench import Child, at_least, in_turn, keep, rates, seconds, serve

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

MODEL, SIZE, CLASSES = 'resnet26_3d', (16, 112, 112), 400
RATE, MOMENTUM = 0.001, 0.9


def ours(batch):
    """(trained values, a function that takes one step) of our network."""
    from mxnet_steps import training

    from gluon_a2.backend import mx
    from gluon_a2.cost import count_network
    from gluon_a2.models import get_model
    net = get_model(MODEL, classes=CLASSES, input_size=SIZE)
    step, clips = training(net), mx.nd.random.normal(shape=(batch, 3, *SIZE))
    return count_network(net, SIZE).trained, lambda: step(clips)


def theirs(batch, channels_last):
    """The same of PyTorch's."""
    import torch
    import torch_steps
    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    net = torch_steps.a2_torch.network(MODEL, CLASSES).to(memory_format=layout)
    clips = torch.randn(batch, 3, *SIZE).to(memory_format=layout)
    return (sum(p.numel() for p in net.parameters()),
            torch_steps.training(net, clips, RATE, MOMENTUM))


def ready(kind, batch):
    """A function that answers 'values' by the number of trained values, and null by the seconds of
    a step."""
    values, step = (ours(int(batch)) if kind == 'ours'
                    else theirs(int(batch), kind == 'channels last'))
    return lambda order: values if order else seconds(step)


@entry
def main(argv=None):
    """Measure in turn, print and keep the medians."""
    from gluon_a2.machine.resources import cores
    flags = parser(__doc__)
    flags.add_argument('--batch-size', type=at_least(1), default=2, help='clips of a step')
    flags.add_argument('--rounds', type=at_least(1), default=9,
                       help='steps of each, besides two first ones')
    flags.add_argument('--torch', metavar='PYTHON', help='an interpreter that has PyTorch')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    threads = os.environ.setdefault('OMP_NUM_THREADS', str(cores()))
    names = ['ours', *(['PyTorch', 'PyTorch, channels last'] if args.torch else [])]
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(Child(
            name, __file__, '--child', name.split(', ')[-1], args.batch_size,
            python=sys.executable if name == 'ours' else args.torch)) for name in names}
        values = {name: process.ask('values') for name, process in children.items()}
        if len(set(values.values())) > 1:
            raise UserError(f'the networks differ in trained values: {values}')
        found = in_turn({name: lambda _, ask=process.ask: ask()
                         for name, process in children.items()}, args.rounds, warm=2, unit='step')
    base, rows = statistics.median(found['ours']), []
    for name, taken in found.items():
        median, lowest, highest = rates(args.batch_size, taken)
        rows.append({'network': name, 'threads': int(threads), 'batch': args.batch_size,
                     'clips_per_s': median, 'lowest': lowest, 'highest': highest,
                     'ours_is_faster': round(statistics.median(taken) / base, 3)})
    keep(rows, args.csv)


if __name__ == '__main__':
    serve(ready, *sys.argv[2:]) if sys.argv[1:2] == ['--child'] else main()
