#!/usr/bin/env python3
"""The A²-ResNet-50 on images here, in ONNX Runtime, OpenVINO and PyTorch: images a second, beside
what the cores can multiply.

    make bench              # installs PyTorch and OpenVINO beside MXNet, then runs the next line
    python benchmarks/peers.py

Every engine is a process of its own with the same weights, images and number of threads. First the
logits are compared with ours in float32: a float32 engine that differs by more than 1e-4 of the
largest ends it. Then, for each job, all take a step in turn, round by round: inference of 1, 8 and
32 images, training on 8 (forward, backward, update with Nesterov momentum). All of it is done on
each number of threads. The peak of a precision is the best of some square products, measured in
the same run. GFLOP/s are 2 × the network's multiply-adds (`count_cost.py`) × images a second, and
for training three times that, since each product has two more in the backward pass. Keeps
`peers.csv`: medians with their 95 % intervals; and draws `peers.png`.
"""
import contextlib
import functools
import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import (
    ROOT,
    Child,
    at_least,
    in_turn,
    keep,
    median_interval,
    others,
    read_rows,
    whole_numbers,
)

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

CHILD = ROOT / 'benchmarks' / 'peer_engines.py'
TOLERANCE = 1e-4  # of float32 logits, of the largest
WARM = 2  # rounds that set up
PAUSE = 0.1  # seconds before a step, since OpenBLAS's threads look for more work for 0.07 s

INFERENCE = ('inference 1', 'inference 8', 'inference 32')
ALL = (*INFERENCE, 'training 8')
PRODUCTS = ('product 1024', 'product 2048', 'product 4096')
NOISE = 0.05  # share of the cores that others may take before a warning


class Engine(NamedTuple):
    """A row of the comparison: `kind` is what `peer_engines.py` calls it."""
    name: str
    kind: str
    jobs: Tuple[str, ...]
    precision: str = 'float32'

    def __str__(self):
        return self.name


OURS = 'MXNet float32'
ENGINES = (
    Engine(OURS, 'mxnet-fp32', ALL),
    Engine('MXNet fused', 'mxnet-fused', INFERENCE),
    Engine('MXNet bfloat16', 'mxnet-bf16', ALL, 'bfloat16'),
    Engine('MXNet int8', 'mxnet-int8', INFERENCE, 'int8'),
    Engine('ONNX Runtime', 'onnxruntime-fp32', INFERENCE),
    Engine('ONNX Runtime int8', 'onnxruntime-int8', INFERENCE, 'int8'),
    Engine('OpenVINO', 'openvino-fp32', INFERENCE),
    Engine('OpenVINO bfloat16', 'openvino-bf16', INFERENCE, 'bfloat16'),
    Engine('OpenVINO int8', 'openvino-int8', INFERENCE, 'int8'),
    Engine('PyTorch', 'torch-eager', ALL),
    Engine('PyTorch, channels last', 'torch-channels_last', ALL),
    Engine('torch.compile', 'torch-compile', ALL),
    Engine('PyTorch bfloat16', 'torch-bf16', ALL, 'bfloat16'),
    Engine('PyTorch int8', 'torch-int8', INFERENCE, 'int8'),
    Engine('OpenBLAS (numpy)', 'product-numpy', PRODUCTS),
    Engine('MKL (torch.mm)', 'product-torch', PRODUCTS),
    Engine('oneDNN (MXNet)', 'product-mxnet', PRODUCTS),
    Engine('oneDNN (torch.mm)', 'product-bf16', PRODUCTS, 'bfloat16'),
    Engine('oneDNN (torch._int_mm)', 'product-int8', PRODUCTS, 'int8'))


def start(engine, folder, threads):
    """The engine's process."""
    given = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'),
                          str(threads))
    if engine.jobs == PRODUCTS:  # held to an older processor's code, OpenBLAS is no peak
        given.update(dict.fromkeys(('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE')))
    return Child(engine.name, CHILD, engine.kind, folder, **given)


# ---- measurements

def differences(processes, folder):
    """{engine: largest difference of its logits from ours, relative to our largest}; UserError for
    too large a one."""
    import numpy as np
    logits, found = {}, {}
    for engine, process in processes.items():
        if engine.jobs != PRODUCTS:
            process.ask('logits')
            logits[engine] = np.load(folder / f'{engine.kind}.npy').astype('float64')
    ours = next(iter(logits.values()))
    for engine, values in logits.items():
        found[engine.name] = float(np.abs(values - ours).max() / np.abs(ours).max())
        print(f'{engine.name}: logits differ by {found[engine.name]:.1e}', flush=True)
        if engine.precision == 'float32' and not found[engine.name] <= TOLERANCE:
            raise UserError(f'{engine.name} computes another network: its logits differ by '
                            f'{found[engine.name]:.1e}, more than {TOLERANCE}')
    return found


def measure(processes, jobs, rounds):
    """{(engine, job): seconds of each round}, job by job, all engines in turn: a process keeps what
    one job needs, since all together would not fit the memory."""
    def step(process, job, _):
        time.sleep(PAUSE)
        return process.ask(job)
    found = {}
    for job in (*jobs, *PRODUCTS):
        found.update(in_turn({(engine, job): functools.partial(step, process, job)
                              for engine, process in processes.items() if job in engine.jobs},
                             rounds, WARM, 'step'))
    return found


def rows_of(seconds, flops):
    """The rows of the table, from seconds and the multiply-adds of one image."""
    medians = {(engine.name, job): statistics.median(taken)
               for (engine, job), taken in seconds.items()}
    peaks = {}
    for (engine, job), taken in seconds.items():
        if engine.jobs == PRODUCTS:
            peaks[engine.precision] = max(peaks.get(engine.precision, 0),
                                          gigaflops(job, min(taken), flops))
    for (engine, job), taken in seconds.items():
        task, batch = job.split()
        median, low, high = median_interval(taken)
        speeds = [''] * 3 if task == 'product' else [
            round(int(batch) / value, 3) for value in (median, high, low)]
        speed, ours = gigaflops(job, median, flops), medians.get((OURS, job))
        yield {'engine': engine.name, 'precision': engine.precision, 'task': task,
               'batch': int(batch), **dict(zip(('images_per_s', 'low', 'high'), speeds)),
               'ratio_to_ours': round(ours / median, 3) if ours else '',
               'gflop_per_s': round(speed, 1),
               'share_of_peak': round(speed / peaks[engine.precision], 3)}


def gigaflops(job, seconds, flops):
    """GFLOP/s, a multiply-add as two: n³ of them in a product, `flops` an image in a network,
    thrice in training."""
    task, number = job.split()
    work = {'product': int(number) ** 2, 'training': 3 * flops}.get(task, flops)
    return 2 * int(number) * work / seconds / 1e9


def compare(engines, folder, threads, jobs, rounds, flops):
    """The rows of one number of threads."""
    with contextlib.ExitStack() as stack:
        processes = {engine: stack.enter_context(start(engine, folder, threads))
                     for engine in engines}
        found = differences(processes, folder)
        for row in rows_of(measure(processes, jobs, rounds), flops):
            differ = found.get(row['engine'])
            yield {'threads': threads, **row,
                   'logits_differ': '' if differ is None else f'{differ:.1e}'}


def kept(path, rows):
    """The rows of earlier runs, of other jobs or numbers of threads than those of `rows`."""
    new = {(row['threads'], row['task'], row['batch']) for row in rows}
    for row in read_rows(path) if path.exists() else ():
        row = {name: float(value) if name in ('images_per_s', 'low', 'high', 'share_of_peak')
               and value else int(value) if name in ('threads', 'batch') else value
               for name, value in row.items()}
        if (row['threads'], row['task'], row['batch']) not in new:
            yield row


# ---- the picture

def draw(rows, png):
    """Bars of images a second, a panel for each job and number of threads; whiskers are the
    medians' intervals."""
    from gluon_a2.visualization.figure import as_png, new_figure
    threads = list(dict.fromkeys(row['threads'] for row in rows))
    figure = new_figure(5 * len(threads), 3.4 * len(ALL))  # legible at the width of a page
    panels = figure.subplots(len(ALL), len(threads), squeeze=False)
    for count, line in zip(threads, panels.T):
        for axes, job in zip(line, ALL):
            task, batch = job.split()
            bars = [row for row in rows if (row['threads'], row['task'], str(row['batch'])) == (
                count, task, batch)][::-1]
            axes.set_visible(bool(bars))
            if bars:
                draw_bars(axes, bars)
            axes.set_title(f'{task}, batch {batch}, {count} thread{"s" * (count > 1)}')
    png.write_bytes(as_png(figure))


def draw_bars(axes, bars):
    """The engines of one panel."""
    whiskers = [[row['images_per_s'] - row['low'] for row in bars],
                [row['high'] - row['images_per_s'] for row in bars]]
    axes.barh([row['engine'] for row in bars], [row['images_per_s'] for row in bars],
              xerr=whiskers, ecolor='0.3', capsize=2,
              color=['tab:blue' if row['engine'].startswith('MXNet') else 'tab:gray'
                     for row in bars])
    for height, row in enumerate(bars):
        axes.text(row['high'], height, f'  {row["images_per_s"]:.1f} ({row["share_of_peak"]:.0%})',
                  va='center', fontsize=8)
    axes.set_xlim(right=1.4 * max(row['high'] for row in bars))
    axes.set_xlabel('images/s (share of the peak)')


@entry
def main(argv=None):
    """Compare, measure, print, keep."""
    from gluon_a2.machine.resources import cores
    flags = parser(__doc__)
    flags.add_argument('--rounds', type=at_least(1), default=9,
                       help=f'steps of each, besides {WARM} first ones')
    flags.add_argument('--threads', type=whole_numbers, default=sorted({1, cores()}),
                       help='numbers of threads, with commas; by default 1 and all cores')
    flags.add_argument('--jobs', nargs='+', choices=ALL, default=ALL, metavar='JOB',
                       help=f'some of {", ".join(ALL)}; rows of the others stay in peers.csv')
    flags.add_argument('--size', type=at_least(32), default=224, help='side of the images')
    flags.add_argument('--without', nargs='+', default=[], metavar='ENGINE',
                       help='engines to leave out, by name',
                       choices=[engine.name for engine in ENGINES if engine.name != OURS])
    flags.add_argument('--out', type=Path, default=Path(__file__).parent, metavar='DIR',
                       help='where the two files go')
    args = flags.parse_args(argv)
    if min(args.threads) < 1:
        raise UserError(f'--threads must be 1 or more, not {min(args.threads)}')
    engines = [engine for engine in ENGINES if engine.name not in args.without]
    for package, name in (('torch', 'PyTorch'), ('openvino', 'OpenVINO')):
        if any(package in engine.kind for engine in engines) and (
                importlib.util.find_spec(package) is None):
            raise UserError(f'{name} is not installed: run make bench, or leave its engines out '
                            'with --without')
    for precision in dict.fromkeys(engine.precision for engine in engines):
        if not any(engine.jobs == PRODUCTS and engine.precision == precision
                   for engine in engines):
            raise UserError(f'one of the products in {precision} must stay, for the peak')
    taken = others()
    if taken > NOISE:
        print(f'warning: other programs take {taken:.0%} of the cores, so these times mean little: '
              'stop them', file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with Child('prepare', CHILD, 'prepare', folder) as process:
            flops = process.ask(args.size)
        for threads in args.threads:
            rows.extend(compare(engines, Path(folder), threads, args.jobs, args.rounds, flops))
    rows = [*kept(args.out / 'peers.csv', rows), *rows]
    keep(rows, args.out / 'peers.csv')
    draw(rows, args.out / 'peers.png')
    print(f'{args.rounds} rounds, {args.size}², {flops / 1e9:.2f} G multiply-adds an image; other '
          f'programs took {taken:.0%} of the cores when it began')


if __name__ == '__main__':
    main()
