#!/usr/bin/env python3
"""The A²-ResNet-50 on images here, in ONNX Runtime and in PyTorch: images a second, beside what the
cores can multiply.

    make bench                                                          # PyTorch in an environment
    of its own, and this python benchmarks/peers.py --torch ~/torch-env/bin/python           # an
    interpreter that has PyTorch

Every engine is a process of its own with the same weights, images and number of threads. First the
logits are compared with ours in float32: a float32 engine that differs by more than 1e-4 of the
largest ends it. Then all take a step in turn, round by round: inference of 1 and of 8 images,
training on 8 (forward, backward, update with Nesterov momentum). The peak is the best of some
square float32 products, measured in the same rounds. GFLOP/s are 2 × the network's multiply-adds
(`count_cost.py`) × images a second, and for training three times that, since each product has two
more in the backward pass. Engines that compute in fewer bits may pass the peak. Keeps `peers.csv`
and draws `peers.png`.
"""
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from table import keep  # noqa: E402

from gluon_a2.cli import entry, parser  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402

BENCH = ROOT / '.venv-bench' / 'bin' / 'python'
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
    peer: bool = False  # runs in the interpreter that has PyTorch


OURS = 'MXNet float32'
ENGINES = (
    Engine(OURS, 'mxnet-fp32', ALL),
    Engine('MXNet bfloat16', 'mxnet-bf16', INFERENCE, exact=False),
    Engine('MXNet int8', 'mxnet-int8', INFERENCE, exact=False),
    Engine('ONNX Runtime', 'onnxruntime-fp32', INFERENCE),
    Engine('PyTorch', 'torch-eager', ALL, peer=True),
    Engine('PyTorch, channels last', 'torch-channels_last', ALL, peer=True),
    Engine('torch.compile', 'torch-compile', ALL, peer=True),
    Engine('PyTorch bfloat16', 'torch-bf16', ALL, exact=False, peer=True),
    Engine('OpenBLAS (numpy)', 'product-numpy', SGEMM, peer=True),
    Engine('MKL (torch.mm)', 'product-torch', SGEMM, peer=True),
    Engine('oneDNN (MXNet)', 'product-mxnet', SGEMM))


# ---- processes

class Worker:
    """An engine's process; `ask` it for a job."""

    def __init__(self, engine, folder, torch):
        python, self.engine = torch if engine.peer else sys.executable, engine
        # Where OpenBLAS is held to an older processor's code, that is no peak.
        free = {name: value for name, value in os.environ.items()
                if not (engine.jobs == SGEMM and name in ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE'))}
        self._process = subprocess.Popen(
            [python, str(CHILD), engine.kind, str(folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, encoding='utf-8', env=free)

    def ask(self, job):
        """Seconds of one job."""
        self._process.stdin.write(f'{job}\n')
        self._process.stdin.flush()
        return float(answer(self._process, 'seconds', self.engine.name))

    def close(self):
        """Let it end."""
        self._process.stdin.close()
        self._process.wait()


def answer(process, key, name):
    """What follows `key` on the next line that begins with it; the libraries may say other things
    in between."""
    for line in process.stdout:
        if line.startswith(f'{key} '):
            return line.split()[1]
    raise UserError(f'{name} ended with exit code {process.wait()} (its own message is above): '
                    f'mend that, or leave it out with --without "{name}"')


def prepare(folder, size):
    """Fill `folder` with weights, images and the ONNX file; the network's multiply-adds."""
    process = subprocess.Popen([sys.executable, str(CHILD), 'prepare', str(folder), str(size)],
                               stdout=subprocess.PIPE, encoding='utf-8')
    return int(answer(process, 'flops', 'prepare'))


# ---- measurements

def differences(workers, folder):
    """{engine: largest difference of its logits from ours, relative to our largest}; UserError for
    too large a one."""
    import numpy as np
    logits, found = {}, {}
    for worker in workers:
        if worker.engine.jobs != SGEMM:
            worker.ask('logits')
            logits[worker.engine] = np.load(folder / f'{worker.engine.kind}.npy').astype('float64')
    ours = next(iter(logits.values()))
    for engine, values in logits.items():
        found[engine.name] = float(np.abs(values - ours).max() / np.abs(ours).max())
        print(f'{engine.name}: logits differ by {found[engine.name]:.1e}', flush=True)
        if engine.exact and not found[engine.name] <= TOLERANCE:
            raise UserError(f'{engine.name} computes another network: its logits differ by '
                            f'{found[engine.name]:.1e}, more than {TOLERANCE}')
    return found


def measure(workers, rounds):
    """{(engine, job): seconds of each round}, all asked in turn."""
    from tqdm import tqdm
    seconds = {(worker.engine, job): [] for worker in workers for job in worker.engine.jobs}
    with tqdm(total=(WARM + rounds) * len(seconds), unit='step', disable=None) as bar:
        for number in range(WARM + rounds):
            for worker in workers:
                for job in worker.engine.jobs:
                    bar.set_description(f'{worker.engine.name}, {job}')
                    time.sleep(PAUSE)
                    taken = worker.ask(job)
                    seconds[worker.engine, job] += [taken] * (number >= WARM)
                    bar.update()
    return seconds


def rates(seconds, flops):
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
        speeds = [round(int(batch) / time, 3) for time in (median, max(taken), min(taken))]
        images = dict(
            zip(('images_per_s', 'lowest', 'highest'), speeds if task != 'sgemm' else [''] * 3))
        yield {'engine': engine.name, 'task': task, 'batch': int(batch), **images,
               'ratio_to_ours': round(ours[job] / median, 3) if job in ours else '',
               'gflop_per_s': round(gigaflops(job, median, flops), 1),
               'share_of_peak': round(gigaflops(job, median, flops) / peak, 3)}


def gigaflops(job, seconds, flops):
    """GFLOP/s, a multiply-add as two: n³ of them in a product, `flops` an image in a network,
    thrice in training."""
    task, number = job.split()
    multiply_adds = int(
        number)**3 if task == 'sgemm' else int(number) * flops * (3 if task == 'training' else 1)
    return 2 * multiply_adds / seconds / 1e9


# ---- the picture

def draw(rows, png):
    """Bars of images a second, a panel for each job; whiskers reach from the slowest to the fastest
    round."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(13, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, job in zip(figure.subplots(1, len(ALL)), ALL):
        task, batch = job.split()
        bars = [row for row in rows if (row['task'], str(row['batch'])) == (task, batch)][::-1]
        speeds = [row['images_per_s'] for row in bars]
        whiskers = [[row['images_per_s'] - row['lowest'] for row in bars],
                    [row['highest'] - row['images_per_s'] for row in bars]]
        axes.barh([row['engine']
                   for row in bars], speeds, xerr=whiskers, ecolor='0.3', capsize=2, color=[
                       'tab:blue' if row['engine'].startswith('MXNet') else 'tab:gray'
                       for row in bars
                   ])
        for place, row in enumerate(bars):
            axes.text(row['highest'], place, f'  {row["images_per_s"]:.1f} '
                                             f'({row["share_of_peak"]:.0%})', va='center',
                      fontsize=8)
        axes.set_xlim(right=1.35 * max(row['highest'] for row in bars))
        axes.set_title(f'{task}, batch {batch}')
        axes.set_xlabel('images/s (share of the sgemm peak)')
    figure.savefig(png, dpi=100)


@entry
def main(argv=None):
    """Compare, measure, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--torch', metavar='PYTHON', default=str(BENCH), help='an interpreter that '
                                                                             'has PyTorch')
    flags.add_argument('--rounds', type=int, default=15, help=f'steps of each, besides {WARM} '
                                                              'first ones')
    flags.add_argument('--size', type=int, default=224, help='side of the images')
    flags.add_argument('--without', nargs='+', default=[], metavar='ENGINE', help='engines to '
                                                                                  'leave out, by '
                                                                                  'name',
                       choices=[engine.name for engine in ENGINES if engine.name != OURS])
    args = flags.parse_args(argv)
    engines = [engine for engine in ENGINES if engine.name not in args.without]
    if not Path(args.torch).exists() and any(engine.peer for engine in engines):
        raise UserError(f'{args.torch} does not exist: run make bench, or give an interpreter that '
                        'has PyTorch as --torch')
    if args.rounds < 1 or not any(engine.jobs == SGEMM for engine in engines):
        raise UserError('--rounds must be at least 1, and one of the products must stay, for the '
                        'peak')
    from gluon_a2.machine.resources import cores
    count = os.environ.setdefault('OMP_NUM_THREADS', str(cores()))
    os.environ.update(OPENBLAS_NUM_THREADS=count, MKL_NUM_THREADS=count)
    with tempfile.TemporaryDirectory() as folder:
        flops = prepare(Path(folder), args.size)
        workers = [Worker(engine, folder, args.torch) for engine in engines]
        try:
            found = differences(workers, Path(folder))
            rows = [{
                **row, 'logits_differ': f'{found.get(row["engine"], math.nan):.1e}'.replace(
                    'nan', '')
            } for row in rates(measure(workers, args.rounds), flops)]
        finally:
            for worker in workers:
                worker.close()
    keep(rows, Path(__file__).with_suffix('.csv'))
    draw(rows, Path(__file__).with_suffix('.png'))
    print(f'{args.rounds} rounds, {count} threads, {args.size}², {flops / 1e9:.2f} G multiply-adds '
          'an image')


if __name__ == '__main__':
    main()
