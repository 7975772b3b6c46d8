#!/usr/bin/env python3
"""How MXNet's threads should wait for each other, on an idle machine and a busy one.

    python benchmarks/busy.py

A training step of the recipe digits, and a picture through A²-ResNet-50, by one process for each
way of waiting: asleep, spinning as long as libgomp does by itself, or as long as this package lets
it. They take turns; in every other turn two neighbours for each core compute, too, as another job
would. Keeps `busy.csv`.
"""
import contextlib
import multiprocessing
import os
import signal
import statistics
import sys
from pathlib import Path

from bench import Child, at_least, in_turn, keep, seconds, serve

from gluon_a2.backend import SPINS
from gluon_a2.cli import entry, parser


def _spinning(count, **more):
    return {'OMP_WAIT_POLICY': None, 'GOMP_SPINCOUNT': count, **more}


WAYS = {'short spins': _spinning(SPINS), 'long spins': _spinning('300000'),
        'asleep': {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': None},
        'short spins, one thread': _spinning(SPINS, OMP_NUM_THREADS='1')}
TASKS = {'training step, 32 × 32×32': ('a2_resnet26', 32, 32),
         'inference, 1 × 224×224': ('a2_resnet50', 1, 224)}


def ready():
    """A function that answers the name of a task by the seconds it took."""
    from mxnet_steps import inference, training

    from gluon_a2.backend import mx
    from gluon_a2.models import get_model
    acts = {}
    for task, (name, batch, size) in TASKS.items():
        make = training if task.startswith('training') else inference
        act = make(get_model(name, classes=10, input_size=size))
        acts[task] = act, mx.nd.random.normal(shape=(batch, 3, size, size))
    return lambda task: seconds(*acts[task])


def compute():
    """What a neighbour does."""
    while True:
        sum(range(100_000))


@contextlib.contextmanager
def neighbours(count):
    """A function that lets them compute, or stops them; they are stopped at first."""
    others = [multiprocessing.Process(target=compute, daemon=True) for _ in range(count)]
    for other in others:
        other.start()

    def busy(wanted):
        for other in others:
            os.kill(other.pid, signal.SIGCONT if wanted else signal.SIGSTOP)
    try:
        busy(False)
        yield busy
    finally:
        for other in others:
            other.kill()


@entry
def main(argv=None):
    """Measure in turn, print and keep the medians."""
    from gluon_a2.machine.resources import cores
    flags = parser(__doc__)
    flags.add_argument('--rounds', type=at_least(1), default=9)
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(neighbours(2 * cores()))
        children = {way: stack.enter_context(Child(
            way, __file__, '--child', **{'OMP_NUM_THREADS': str(cores()), **environment}))
            for way, environment in WAYS.items()}

        def act(way, task, wanted):
            busy(wanted)
            return children[way].ask(task)
        found = in_turn({(task, wanted, way): lambda _, at=(way, task, wanted): act(*at)
                         for task in TASKS for wanted in (False, True) for way in WAYS},
                        args.rounds, warm=2)
    keep([{'task': task, 'machine': 'busy' if wanted else 'idle', 'way': way,
           'ms': round(1000 * statistics.median(taken), 1),
           'lowest': round(1000 * min(taken), 1), 'highest': round(1000 * max(taken), 1),
           'times_ours': round(statistics.median(taken) / statistics.median(
               found[task, wanted, 'short spins']), 3)}
          for (task, wanted, way), taken in found.items()], args.csv)


if __name__ == '__main__':
    serve(ready) if sys.argv[1:2] == ['--child'] else sys.exit(main())
