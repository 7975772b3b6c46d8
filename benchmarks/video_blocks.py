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
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from table import keep  # noqa: E402
from tqdm import tqdm  # noqa: E402

from gluon_a2.cli import entry, parser  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402

NETWORKS = {
    'plain': ('resnet26_3d', None), 'A² 4 @ conv3&4': ('a2_resnet26_3d', None),
    'NL 4 @ conv3&4': ('nl_resnet26_3d', None), 'A² 1 @ conv2': ('a2_resnet26_3d', 'conv2:2')
}
FULL, SMALL = (16, 112, 112), [(16, 48, 48), (16, 56, 56), (16, 64, 64), (16, 72, 72)]


# ---- one network

def child(model, blocks, batch, *size):
    """Take a step for every line of standard input; answer seconds and peak bytes."""
    from gluon_a2.backend import mx
    from gluon_a2.models import get_model
    from gluon_a2.run.recipes import Recipe
    placement = Recipe(model=model, blocks=blocks or None).placement
    size, batch = tuple(map(int, size)), int(batch)
    net = get_model(model, classes=400, blocks=placement, input_size=size)
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), 'nag',
                               {'learning_rate': 0.01, 'momentum': 0.9})
    criterion, clips = mx.gluon.loss.SoftmaxCrossEntropyLoss(), mx.nd.random.normal(shape=(batch, 3,
                                                                                           *size))
    for _ in sys.stdin:
        start = time.perf_counter()
        with mx.autograd.record():
            loss = criterion(net(clips), mx.nd.zeros(batch))
        loss.backward()
        trainer.step(batch)
        mx.nd.waitall()
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([time.perf_counter() - start, peak]), flush=True)


class Worker:
    """A child process that trains one network."""

    def __init__(self, model, blocks, batch, size):
        self._process = subprocess.Popen(
            [sys.executable, __file__, '--child', model, blocks or '', str(batch), *map(str, size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8')

    def step(self):
        """(seconds, peak bytes so far) of one step."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f'a network ended with exit code {self._process.wait()}')
        return json.loads(answer)

    def close(self):
        """Let it end."""
        self._process.stdin.close()
        self._process.wait()


# ---- all of them

def side_by_side(batch, rounds):
    """A row for each network."""
    workers = {name: Worker(*given, batch, FULL) for name, given in NETWORKS.items()}
    seconds, peaks = {name: [] for name in workers}, {}
    with tqdm(total=(rounds + 1) * len(workers), unit='step') as bar:
        for number in range(rounds + 1):
            for name, worker in workers.items():
                bar.set_description(name)
                took, peaks[name] = worker.step()
                seconds[name] += [took] * (number > 0)  # the first step sets up
                bar.update()
    for worker in workers.values():
        worker.close()
    base, base_peak = statistics.median(seconds['plain']), peaks['plain']
    for name, took in seconds.items():
        median = statistics.median(took)
        yield {'network': name, 'batch': batch, 'rounds': rounds, 'step_s': round(median, 4),
               'lowest_s': round(min(took), 4), 'highest_s': round(max(took), 4),
               'clips_per_s': round(batch / median, 3), 'time_ratio': round(median / base, 3),
               'peak_mb': round(peaks[name] / 1e6), 'peak_ratio': round(peaks[name] / base_peak, 3)}


def peak(model, blocks, size):
    """Peak bytes of three steps on one clip."""
    worker = Worker(model, blocks, 1, size)
    found = [worker.step()[1] for _ in range(3)][-1]
    worker.close()
    return found


def at_conv2():
    """Rows that compare the formula with what a non-local block at conv2 takes more than the plain
    network."""
    for size in tqdm(SMALL, desc='non-local at conv2', unit='size'):
        positions = size[0] // 2 * (size[1] // 2) * (size[2] // 2)
        predicted = 3 * 4 * positions ** 2
        measured = peak('nl_resnet26_3d', 'conv2:2', size) - peak('resnet26_3d', None, size)
        yield {
            'size': '×'.join(map(str, size)), 'positions': positions, 'predicted_mb': round(
                predicted / 1e6), 'measured_mb': round(measured / 1e6), 'ratio': round(
                    measured / predicted, 3)
        }


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
    flags.add_argument('--batch-size', type=int, default=2, help='clips of a step')
    flags.add_argument('--rounds', type=int, default=9, help='steps of each network, besides a '
                                                             'first one')
    args = flags.parse_args(argv)
    here = Path(__file__)
    keep(list(side_by_side(args.batch_size, args.rounds)), here.with_suffix('.csv'))
    keep(list(at_conv2()), here.with_name('video_blocks_conv2.csv'))
    from gluon_a2.machine.resources import free_memory
    print(f'refused here: {refusal(free_memory())}')


if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']:
        child(*sys.argv[2:])
    else:
        main()
