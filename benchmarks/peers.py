#!/usr/bin/env python3
"""The A²-ResNet-50 on images here, in ONNX Runtime, OpenVINO and PyTorch: images a second, beside
what the cores can multiply.

    make bench              # installs PyTorch and OpenVINO beside MXNet, then runs the next line
    python benchmarks/peers.py

Every engine is a process of its own with the same weights, images and number of threads. First the
logits are compared with ours in float32: a float32 engine that differs by more than 1e-4 of the
largest ends it. Then all take a step in turn, round by round: inference of 1 and of 8 images,
training on 8 (forward, backward, update with Nesterov momentum). The peak is the best of some
square float32 products, measured in the same rounds. GFLOP/s are 2 × the network's multiply-adds
(`count_cost.py`) × images a second, and for training three times that, since each product has two
more in the backward pass. Engines that compute in fewer bits may pass the peak. Keeps `peers.csv`
and draws `peers.png`.
"""
import contextlib
import functools
import importlib.util
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import ROOT, Child, at_least, in_turn, keep, rates

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

CHILD = ROOT / 'benchmarks' / 'peer_engines.py'
TOLERANCE = 1e-4  # of float32 logits, of the largest
WARM = 2  # rounds that set up
PAUSE = 0.1  # seconds before a step, since OpenBLAS's threads look for more work for 0.07 s

INFERENCE = ('inference 1', 'inference 8')
ALL = (*INFERENCE, 'training 8')
SGEMM = ('sgemm 1024', 'sgemm 2048', 'sgemm 4096')


class Engine(NamedTuple):
    """A row of the comparison: `kind` is what `peer_engines.py` calls it."""
    name: str
    kind: str
    jobs: Tuple[str, ...]
    exact: bool = True  # float32

    def __str__(self):
        return self.name


OURS = 'MXNet float32'
ENGINES = (
    Engine(OURS, 'mxnet-fp32', ALL),
    Engine('MXNet fused', 'mxnet-fused', INFERENCE),
    Engine('MXNet bfloat16', 'mxnet-bf16', ALL, exact=False),
    Engine('MXNet int8', 'mxnet-int8', INFERENCE, exact=False),
    Engine('ONNX Runtime', 'onnxruntime-fp32', INFERENCE),
    Engine('ONNX Runtime int8', 'onnxruntime-int8', INFERENCE, exact=False),
    Engine('OpenVINO', 'openvino-fp32', INFERENCE),
    Engine('OpenVINO int8', 'openvino-int8', INFERENCE, exact=False),
    Engine('PyTorch', 'torch-eager', ALL),
    Engine('PyTorch, channels last', 'torch-channels_last', ALL),
    Engine('torch.compile', 'torch-compile', ALL),
    Engine('PyTorch bfloat16', 'torch-bf16', ALL, exact=False),
    Engine('OpenBLAS (numpy)', 'product-numpy', SGEMM),
    Engine('MKL (torch.mm)', 'product-torch', SGEMM),
    Engine('oneDNN (MXNet)', 'product-mxnet', SGEMM))


def start(engine, folder):
    """The engine's process."""
    # Where OpenBLAS is held to an older processor's code, that is no peak.
    free = dict.fromkeys(('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE')) if engine.jobs == SGEMM else {}
    return Child(engine.name, CHILD, engine.kind, folder, **free)


# ---- measurements

def differences(processes, folder):
    """{engine: largest difference of its logits from ours, relative to our largest}; UserError for
    too large a one."""
    import numpy as np
    logits, found = {}, {}
    for engine, process in processes.items():
        if engine.jobs != SGEMM:
            process.ask('logits')
            logits[engine] = np.load(folder / f'{engine.kind}.npy').astype('float64')
    ours = next(iter(logits.values()))
    for engine, values in logits.items():
        found[engine.name] = float(np.abs(values - ours).max() / np.abs(ours).max())
        print(f'{engine.name}: logits differ by {found[engine.name]:.1e}', flush=True)
        if engine.exact and not found[engine.name] <= TOLERANCE:
            raise UserError(f'{engine.name} computes another network: its logits differ by '
                            f'{found[engine.name]:.1e}, more than {TOLERANCE}')
    return found


def measure(processes, rounds):
    """{(engine, job): seconds of each round}, all asked in turn."""
    def step(process, job, _):
        time.sleep(PAUSE)
        return process.ask(job)
    return in_turn({(engine, job): functools.partial(step, process, job)
                    for engine, process in processes.items() for job in engine.jobs},
                   rounds, WARM, 'step')


def rows_of(seconds, flops):
    """The rows of the table, from seconds and the multiply-adds of one image."""
    ours = {
        job: statistics.median(taken) for (engine, job), taken in seconds.items()
        if engine.name == OURS
    }
    peak = max(
        gigaflops(job, min(taken), flops) for (engine, job), taken in seconds.items()
        if engine.jobs == SGEMM)
    for (engine, job), taken in seconds.items():
        task, batch = job.split()
        median = statistics.median(taken)
        speeds = [''] * 3 if task == 'sgemm' else rates(int(batch), taken)
        yield {'engine': engine.name, 'task': task, 'batch': int(batch),
               **dict(zip(('images_per_s', 'lowest', 'highest'), speeds)),
               'ratio_to_ours': round(ours[job] / median, 3) if job in ours else '',
               'gflop_per_s': round(gigaflops(job, median, flops), 1),
               'share_of_peak': round(gigaflops(job, median, flops) / peak, 3)}


def gigaflops(job, seconds, flops):
    """GFLOP/s, a multiply-add as two: n³ of them in a product, `flops` an image in a network,
    thrice in training."""
    task, number = job.split()
    work = {'sgemm': int(number) ** 2, 'training': 3 * flops}.get(task, flops)
    return 2 * int(number) * work / seconds / 1e9


# ---- the picture

def draw(rows, png):
    """Bars of images a second, a panel for each job; whiskers reach from the slowest to the fastest
    round."""
    from gluon_a2.visualization.figure import as_png, new_figure
    figure = new_figure(13, 4.5)
    for axes, job in zip(figure.subplots(1, len(ALL)), ALL):
        task, batch = job.split()
        bars = [row for row in rows if (row['task'], str(row['batch'])) == (task, batch)][::-1]
        whiskers = [[row['images_per_s'] - row['lowest'] for row in bars],
                    [row['highest'] - row['images_per_s'] for row in bars]]
        axes.barh([row['engine'] for row in bars], [row['images_per_s'] for row in bars],
                  xerr=whiskers, ecolor='0.3', capsize=2,
                  color=['tab:blue' if row['engine'].startswith('MXNet') else 'tab:gray'
                         for row in bars])
        for height, row in enumerate(bars):
            axes.text(row['highest'], height, f'  {row["images_per_s"]:.1f} '
                      f'({row["share_of_peak"]:.0%})', va='center', fontsize=8)
        axes.set_xlim(right=1.35 * max(row['highest'] for row in bars))
        axes.set(title=f'{task}, batch {batch}', xlabel='images/s (share of the sgemm peak)')
    png.write_bytes(as_png(figure))


@entry
def main(argv=None):
    """Compare, measure, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--rounds', type=at_least(1), default=15,
                       help=f'steps of each, besides {WARM} first ones')
    flags.add_argument('--size', type=at_least(32), default=224, help='side of the images')
    flags.add_argument('--without', nargs='+', default=[], metavar='ENGINE',
                       help='engines to leave out, by name',
                       choices=[engine.name for engine in ENGINES if engine.name != OURS])
    flags.add_argument('--out', type=Path, default=Path(__file__).parent, metavar='DIR',
                       help='where the two files go')
    args = flags.parse_args(argv)
    engines = [engine for engine in ENGINES if engine.name not in args.without]
    for package, name in (('torch', 'PyTorch'), ('openvino', 'OpenVINO')):
        if any(package in engine.kind for engine in engines) and (
                importlib.util.find_spec(package) is None):
            raise UserError(f'{name} is not installed: run make bench, or leave its engines out '
                            'with --without')
    if not any(engine.jobs == SGEMM for engine in engines):
        raise UserError('one of the products must stay, for the peak')
    from gluon_a2.machine.resources import cores
    count = os.environ.setdefault('OMP_NUM_THREADS', str(cores()))
    os.environ.update(OPENBLAS_NUM_THREADS=count, MKL_NUM_THREADS=count)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with Child('prepare', CHILD, 'prepare', folder) as process:
            flops = process.ask(args.size)
        processes = {engine: stack.enter_context(start(engine, folder))
                     for engine in engines}
        found = differences(processes, Path(folder))
        rows = [{**row, 'logits_differ': f'{found[row["engine"]]:.1e}' if row['engine'] in found
                 else ''} for row in rows_of(measure(processes, args.rounds), flops)]
    keep(rows, args.out / 'peers.csv')
    draw(rows, args.out / 'peers.png')
    print(f'{args.rounds} rounds, {count} threads, {args.size}², {flops / 1e9:.2f} G multiply-adds '
          'an image')


if __name__ == '__main__':
    main()
