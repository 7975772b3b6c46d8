"""The measurements of `compare_zoo.py`: all networks in turn, round by round, then a row of each.

A machine whose speed drifts does so for all alike. A busy machine spoils the comparison all the
same, because threads that wait for each other make small operators seem slow.
"""
import contextlib
import functools
import statistics
import time
from pathlib import Path

from bench import Child, in_turn, rates
from compare_networks import IMAGE, NETWORKS, VIDEO
from compare_published import ACCURACIES

# Timed runs of a turn, after one that is not: what ran before has left the caches full of its own.
LATENCY_RUNS, THROUGHPUT_RUNS, TRAINING_RUNS = 3, 2, 1


def busy(waited=1.0):
    """Share of the processor time of all cores that is spent, by whomever, while this waits."""
    def times():
        with open('/proc/stat') as file:
            numbers = list(map(int, file.readline().split()[1:]))
        return sum(numbers[:8]), numbers[3] + numbers[4]  # all; idle or waiting for a disk
    before = times()
    time.sleep(waited)
    total, idle = (now - then for now, then in zip(times(), before))
    return 1 - idle / max(1, total)


def batch_of(network, batch_size):
    """Samples at a time; clips come one by one."""
    return 1 if network.frames else batch_size


class Times:
    """What was found of one network: seconds by kind, peak bytes by task, and what was counted."""

    def __init__(self):
        self.latency, self.throughput, self.training = [], [], []
        self.peak, self.counted = {}, {}

    def note_peak(self, task, answer):
        """Keep the largest peak of a task; the seconds of the answer."""
        self.peak[task] = max(answer['peak'], self.peak.get(task, 0))
        return answer['seconds']


def child(task, network):
    """The process that holds a network."""
    return Child(network.name, Path(__file__).with_name('compare_child.py'), task, network.name,
                 *network.input_size)


def measure(networks, choices):
    """{network: `Times`}, images first, then video, whose processes are not there meanwhile."""
    found = {network: Times() for network in networks}
    for video in (False, True):
        group = [network for network in networks if bool(network.frames) == video]
        if not group:
            continue
        _inference(group, choices, found)
        in_turn({network.name: functools.partial(_train, network, choices, found[network])
                 for network in group}, choices.rounds)
    return found


def _inference(group, choices, found):
    """All processes stay, to be asked in every round."""
    def turn(network, process, _):
        times, batch = found[network], batch_of(network, choices.batch_size)
        times.latency += times.note_peak('inference', process.ask([1, LATENCY_RUNS]))
        if batch > 1:
            times.throughput += times.note_peak('inference', process.ask([batch, THROUGHPUT_RUNS]))

    with contextlib.ExitStack() as stack:
        processes = {network: stack.enter_context(child('inference', network)) for network in group}
        in_turn({network.name: functools.partial(turn, network, process)
                 for network, process in processes.items()}, choices.rounds)
        for network, process in processes.items():
            found[network].counted = process.ask(None)


def _train(network, choices, times, _):
    """A new process for each turn: all of them at once would not fit into most machines."""
    with child('training', network) as process:
        batch = batch_of(network, choices.train_batch_size)
        times.training += times.note_peak('training', process.ask([batch, TRAINING_RUNS]))


def table(found, choices):
    """A row (dict) for each network: what was measured, counted and published; units stand in the
    names.

    Rates are images or clips a second. A ratio is to plain ResNet-50 on the same kind of input, if
    that ran too.
    """
    rows = [_row(network, times, choices) for network, times in found.items()]
    for row in rows:
        base = next((other for other in rows
                     if other['network'] == (VIDEO if row['frames'] else IMAGE)[0]), None)
        for name in ('throughput', 'training'):
            row[f'{name}_ratio'] = row[name] / base[name] if base else None
    return rows


def _spread(name, values):
    return dict(zip((name, f'{name}_lowest', f'{name}_highest'), values))


def _row(network, times, choices):
    taken = [1000 * seconds for seconds in times.latency]
    batch, train_batch = (batch_of(network, size)
                          for size in (choices.batch_size, choices.train_batch_size))
    # no published accuracy stands beside another input
    known = ACCURACIES.get(network.name) if network == NETWORKS[network.name] else None
    return {
        'network': network.name, 'family': network.family, 'input': network.shown_size,
        'frames': network.frames, **{name: times.counted[name] for name in (
            'parameters', 'trained', 'flops', 'file_bytes', 'threads')},
        'rounds': choices.rounds,
        **_spread('latency_ms', (statistics.median(taken), min(taken), max(taken))),
        'batch': batch,
        **_spread('throughput', rates(batch, times.throughput or times.latency, 6)),
        'train_batch': train_batch, **_spread('training', rates(train_batch, times.training, 6)),
        'peak_inference_bytes': times.peak['inference'],
        'peak_training_bytes': times.peak['training'], 'published_top1': known and known.top1,
        'published_top5': known and known.top5,
        'published_source': known and f'{known.source} ({known.protocol})'}
