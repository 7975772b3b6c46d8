"""All networks in turn, round by round, so that a machine whose speed drifts does so for all alike.

A busy machine spoils the comparison all the same: threads that wait for each other make small
operators seem slow.
"""
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ..errors import UserError
from ..paper.accuracies import ACCURACIES
from .networks import IMAGE, NETWORKS, VIDEO

# Timed runs of a turn, after one that is not: what ran before has left the caches full of its own.
LATENCY_RUNS, THROUGHPUT_RUNS, TRAINING_RUNS = 3, 2, 1


def busy(seconds=1.0):
    """Share of the processor time of all cores that is spent, by whomever, while this waits."""
    def times():
        with open('/proc/stat') as file:
            numbers = list(map(int, file.readline().split()[1:]))
        # all, and of it idle or waiting for a disk
        return sum(numbers[:8]), numbers[3] + numbers[4]
    before = times()
    time.sleep(seconds)
    total, idle = (now - then for now, then in zip(times(), before))
    return 1 - idle / max(1, total)


class Plan(NamedTuple):
    """How much is measured. Video networks take one clip at a time."""
    rounds: int = 3
    batch_size: int = 8  # images, for throughput
    train_batch_size: int = 4

    def check(self):
        """UserError for a number below 1."""
        for flag, value in zip(('--rounds', '--batch-size', '--train-batch-size'), self):
            if value < 1:
                raise UserError(f'{flag} must be 1 or more, not {value}')

    def batch(self, network):
        """Samples at a time for throughput."""
        return 1 if network.frames else self.batch_size

    def train_batch(self, network):
        """Samples of a training step."""
        return 1 if network.frames else self.train_batch_size


class Worker:
    """A process that holds one network; use it as a context manager."""

    def __init__(self, task, network):
        self._network, self.peak = network, 0
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get('PYTHONPATH'))))
        self._process = subprocess.Popen(
            [
                sys.executable, '-m', 'gluon_a2.compare.worker', task, network.name,
                *map(str, network.input_size)
            ], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8', env=dict(
                os.environ, PYTHONPATH=path),
            start_new_session=True)  # Ctrl-C is for this process, which ends the workers

    def ask(self, order):
        """The answer to one order; UserError where the process has ended."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and is found so below
            self._process.stdin.write(json.dumps(order) + '\n')
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(_death(self._network.name, self._process.wait()))
        return json.loads(answer)

    def time(self, batch, repeats):
        """Seconds of each of `repeats` runs; `peak` is then the bytes that the network has needed
        so far."""
        answer = self.ask([batch, repeats])
        self.peak = answer['peak']
        return answer['seconds']

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._process.kill()  # it holds nothing that needs tidying
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


def _death(name, code):
    if code < 0:
        return (f'the process of {name} was killed by {signal.Signals(-code).name}; a frequent '
                'reason is too little memory: compare fewer networks at a time (--networks), or in '
                'smaller batches')
    return f'the process of {name} ended with exit code {code}, for the reason above: mend it, or leave {name} out'


class Times:
    """What was found of one network: seconds by kind, peak bytes by task, and what was counted."""

    def __init__(self):
        self.latency, self.throughput, self.training = [], [], []
        self.peak, self.counted = {}, {}


def measure(networks, plan):
    """{network: `Times`}, images first, then video, whose processes are not there meanwhile."""
    found = {network: Times() for network in networks}
    groups = [[n for n in networks if not n.frames], [n for n in networks if n.frames]]
    with tqdm(total=2 * plan.rounds * len(networks), unit='turn', disable=None) as bar:
        for group in filter(None, groups):
            _inference(group, plan, found, bar)
            _training(group, plan, found, bar)
    return found


def _inference(group, plan, found, bar):
    """All processes stay, to be asked in every round."""
    with contextlib.ExitStack() as stack:
        workers = {network: stack.enter_context(Worker('inference', network)) for network in group}
        for _ in range(plan.rounds):
            for network, worker in workers.items():
                bar.set_description(network.name)
                times, batch = found[network], plan.batch(network)
                times.latency += worker.time(1, LATENCY_RUNS)
                if batch > 1:
                    times.throughput += worker.time(batch, THROUGHPUT_RUNS)
                bar.update()
        for network, worker in workers.items():
            found[network].peak['inference'] = worker.peak
            found[network].counted = worker.ask(None)


def _training(group, plan, found, bar):
    """A new process for each turn: all of them at once would not fit into most machines."""
    for _ in range(plan.rounds):
        for network in group:
            bar.set_description(f'{network.name}, training')
            with Worker('training', network) as worker:
                found[network].training += worker.time(plan.train_batch(network), TRAINING_RUNS)
            found[network].peak['training'] = max(worker.peak, found[network].peak.get(
                'training', 0))
            bar.update()


def _rates(name, batch, seconds):
    """Samples a second: median, lowest and highest."""
    return {name: batch / statistics.median(seconds), f'{name}_lowest': batch / max(seconds),
            f'{name}_highest': batch / min(seconds)}


def table(found, plan):
    """A row (dict) for each network: what was measured, counted and published; units stand in the
    names.

    Rates are images or clips a second. A ratio is to plain ResNet-50 on the same kind of input,
    where that ran too.
    """
    rows = [_row(network, times, plan) for network, times in found.items()]
    for row in rows:
        base = [
            other for other in rows if other['network'] == (VIDEO if row['frames'] else IMAGE)[0]
        ]
        for name in ('throughput', 'training'):
            row[f'{name}_ratio'] = row[name] / base[0][name] if base else None
    return rows


def _row(network, times, plan):
    milliseconds = [1000 * taken for taken in times.latency]
    batch, train_batch = plan.batch(network), plan.train_batch(network)
    # of another input size
    published = ACCURACIES.get(network.name) if network == NETWORKS[network.name] else None
    return {
        'network': network.name, 'family': network.family, 'input': network.shown_size,
        'frames': network.frames, **{
            name: times.counted[name] for name in ('parameters', 'trained', 'flops', 'file_bytes', 'threads')
        }, 'rounds': plan.rounds, 'latency_ms': statistics.median(milliseconds),
        'latency_ms_lowest': min(milliseconds),
        'latency_ms_highest': max(milliseconds), 'batch': batch, **_rates(
            'throughput', batch, times.throughput or times.latency), 'train_batch': train_batch,
        **_rates('training', train_batch, times.training), 'peak_inference_bytes': times.peak[
            'inference'], 'peak_training_bytes': times.peak['training'], 'published_top1': published
        and published.top1, 'published_top5': published and published.top5,
        'published_source': published and f'{published.source} ({published.protocol})'
    }
