#!/usr/bin/env python3
"""Clips a second in training the 3-D ResNet-26 on 16×112×112, beside the same network in PyTorch.

    python benchmarks/video_training.py python benchmarks/video_training.py --torch
    ~/torch-env/bin/python     # an interpreter that has PyTorch

Both take a step (forward, backward, update with Nesterov momentum) in turn, round by round, on as
many threads each; PyTorch in a process of its own. The PyTorch network is written below from the
same rows of Table 1 and must have as many trained values, or nothing is timed. Keeps
`video_training.csv`.
"""
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIZE, CLASSES = (16, 112, 112), 400


def ours(batch):
    """(trained values, a function that takes one step) of our network."""
    from gluon_a2.backend import mx
    from gluon_a2.cost import count_network
    from gluon_a2.models import get_model
    net = get_model('resnet26_3d', classes=CLASSES, input_size=SIZE)
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), 'nag',
                               {'learning_rate': 0.01, 'momentum': 0.9})
    criterion, clips = mx.gluon.loss.SoftmaxCrossEntropyLoss(), mx.nd.random.normal(shape=(batch, 3,
                                                                                           *SIZE))

    def step():
        with mx.autograd.record():
            loss = criterion(net(clips), mx.nd.zeros(batch))
        loss.backward()
        trainer.step(batch)
        mx.nd.waitall()
    return count_network(net, SIZE).trained, step


def theirs(batch, channels_last, stem, stages):
    """The same in PyTorch, from a row of Table 1: its stem, and its stages, both as lists."""
    import torch
    from torch import nn

    def conv(inner, outer, kernel, stride=(1, 1, 1)):
        return nn.Conv3d(inner, outer, kernel, stride, tuple(k // 2 for k in kernel), bias=False)

    def bn_relu(channels):
        return nn.Sequential(nn.BatchNorm3d(channels), nn.ReLU(inplace=True))

    class Unit(nn.Module):
        """Pre-activation bottleneck; the projection shares the first BN-ReLU."""

        def __init__(self, inner, width, k, stride):
            super().__init__()
            point = (1, 1, 1)
            self.pre = bn_relu(inner)
            self.body = nn.Sequential(conv(inner, width, point), bn_relu(width),
                                      conv(width, width, (k, 3, 3), stride), bn_relu(width),
                                      conv(width, 4 * width, point))
            same = inner == 4 * width and stride == (1, 1, 1)
            self.shortcut = None if same else conv(inner, 4 * width, point, stride)

        def forward(self, x):
            a = self.pre(x)
            return self.body(a) + (x if self.shortcut is None else self.shortcut(a))

    kernel, channels, stride, _ = stem
    layers = [conv(3, channels, tuple(kernel), tuple(stride)), bn_relu(channels)]
    for width, units, k, stride in stages:
        for unit in range(units):
            layers.append(
                Unit(channels, width, k[unit % len(k)], (1, 1, 1) if unit else tuple(stride)))
            channels = 4 * width
    net = nn.Sequential(*layers, bn_relu(channels), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                        nn.Linear(channels, CLASSES))
    clips, labels = torch.randn(batch, 3, *SIZE), torch.zeros(batch, dtype=torch.long)
    if channels_last:
        net, clips = net.to(memory_format=torch.channels_last_3d), clips.to(
            memory_format=torch.channels_last_3d)
    update, criterion = torch.optim.SGD(net.parameters(), 0.01, 0.9,
                                        nesterov=True), nn.CrossEntropyLoss()

    def step():
        update.zero_grad()
        criterion(net(clips), labels).backward()
        update.step()
    return sum(p.numel() for p in net.parameters()), step


def child(batch, kind, table):
    """Say how many trained values there are; then a step, and its seconds, for every line of
    standard input."""
    batch, threads = int(batch), int(os.environ['OMP_NUM_THREADS'])
    if kind == 'ours':
        values, step = ours(batch)
    else:
        import torch
        torch.set_num_threads(threads)
        values, step = theirs(batch, kind == 'channels last', *json.loads(table))
    print(values, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


def start(python, batch, kind):
    """A child process and its number of trained values."""
    from gluon_a2.models.table import BACKBONES, STAGES
    row = BACKBONES['resnet26']
    # PyTorch's side has no MXNet to import
    table = json.dumps([row.stem, [getattr(row, stage) for stage in STAGES]])
    process = subprocess.Popen(
        [python, __file__, '--child', str(batch), kind, table], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, encoding='utf-8')
    return process, int(process.stdout.readline())


def main(argv=None):
    """Measure in turn, print and keep the medians."""
    from table import keep
    from tqdm import tqdm

    from gluon_a2.cli import parser
    from gluon_a2.machine.resources import cores
    flags = parser(__doc__)
    flags.add_argument('--batch-size', type=int, default=2, help='clips of a step')
    flags.add_argument('--rounds', type=int, default=9, help='steps of each, besides two first '
                                                             'ones')
    flags.add_argument('--torch', metavar='PYTHON', help='an interpreter that has PyTorch')
    args = flags.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', str(cores()))
    kinds = {
        'ours': sys.executable,
        **({'PyTorch': args.torch, 'PyTorch, channels last': args.torch} if args.torch else {})
    }
    children = {
        name: start(python, args.batch_size,
                    name.split(', ')[-1]) for name, python in kinds.items()
    }
    if len({values for _, values in children.values()}) > 1:
        raise SystemExit('the networks differ: '
                         f'{({name: values for name, (_, values) in children.items()})}')
    seconds = {name: [] for name in children}
    with tqdm(total=(args.rounds + 2) * len(children), unit='step') as bar:
        for number in range(args.rounds + 2):
            for name, (process, _) in children.items():
                process.stdin.write('\n')
                process.stdin.flush()
                taken = float(process.stdout.readline())
                seconds[name] += [taken] * (number > 1)
                bar.update()
    for process, _ in children.values():
        process.stdin.close()
        process.wait()
    base = statistics.median(seconds['ours'])
    rows = [{
        'network': name, 'threads': int(
            os.environ['OMP_NUM_THREADS']), 'batch': args.batch_size, 'clips_per_s': round(
                args.batch_size / statistics.median(taken), 3), 'lowest': round(
                    args.batch_size / max(taken), 3), 'highest': round(
                        args.batch_size / min(taken), 3), 'ours_is_faster': round(
                            statistics.median(taken) / base, 3)
    } for name, taken in seconds.items()]
    keep(rows, Path(__file__).with_suffix('.csv'))


if __name__ == '__main__':
    child(*sys.argv[2:]) if sys.argv[1:2] == ['--child'] else main()
