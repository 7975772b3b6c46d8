"""Turns and rows of the comparison."""
import compare_rounds as rounds
import pytest
from compare_networks import choose
from comparison import times

from gluon_a2.commands.compare_zoo import Choices


class Stub:
    """Stands for a process: keeps what it is asked, and how many are alive."""

    log, alive, most = [], 0, {}

    def __init__(self, task, network):
        self.task, self.name, self.peak = task, network.name, 0

    def __enter__(self):
        Stub.alive += 1
        Stub.most[self.task] = max(Stub.alive, Stub.most.get(self.task, 0))
        return self

    def __exit__(self, *_):
        Stub.alive -= 1

    def ask(self, order):
        if order is None:
            return {'parameters': 20, 'trained': 10, 'flops': 30, 'file_bytes': 40, 'threads': 2}
        batch, repeats = order
        Stub.log.append((self.task, self.name, batch))
        self.peak += 1000
        return {'seconds': [0.5 * batch] * repeats, 'peak': self.peak}


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(rounds, 'child', Stub)
    Stub.log, Stub.alive, Stub.most = [], 0, {}
    return Stub


def test_all_take_turns(stub):
    networks = choose(['resnet50', 'c3d', 'resnet26'])
    choices = Choices(rounds=2, batch_size=8, train_batch_size=3)
    found = rounds.measure(networks, choices)
    images = [('inference', name, batch) for name in ('resnet50', 'resnet26') for batch in (1, 8)]
    training = [('training', name, 3) for name in ('resnet50', 'resnet26')]
    assert stub.log == (images * 2 + training * 2 + [('inference', 'c3d', 1)] * 2
                        + [('training', 'c3d', 1)] * 2)
    assert stub.most == {'inference': 2, 'training': 1} and stub.alive == 0
    rows = {row['network']: row for row in rounds.table(found, choices)}
    assert list(rows) == ['resnet50', 'c3d', 'resnet26']
    assert (rows['resnet50']['latency_ms'], rows['resnet50']['throughput'],
            rows['c3d']['throughput']) == (500, 2, 2)
    assert (rows['resnet50']['peak_inference_bytes'],
            rows['resnet50']['peak_training_bytes']) == (4000, 1000)


def test_rows_by_hand():
    choices = Choices()
    base, other, video = choose(['resnet50', 'se_resnet50_v1', 'c3d'])
    row, twice, clip = rounds.table(
        {
            base: times([.1, .3, .2], [4, 1, 2], [8]), other: times([.1], [1, 1], [2, 4, 16]),
            video: times([4, 1, 2], [], [8])
        }, choices)
    assert (row['latency_ms'], row['latency_ms_lowest'], row['latency_ms_highest']) == (200, 100,
                                                                                        300)
    assert (row['throughput'], row['throughput_lowest'], row['throughput_highest']) == (4, 2, 8)
    assert (row['throughput_ratio'], row['training_ratio']) == (1, 1)
    assert (twice['throughput_ratio'], twice['training'], twice['training_ratio']) == (2, 1, 2)
    assert (row['published_top1'], row['published_top5']) == (75.3, 92.2)
    assert 'Table 4' in row['published_source'] and 'not reproduced here' in row['published_source']
    assert twice['published_top1'] is twice['published_source'] is None
    assert (clip['throughput'], clip['batch'], clip['train_batch'],
            clip['throughput_ratio']) == (.5, 1, 1, None)


def test_no_published_accuracy_stands_beside_another_input():
    (network,) = choose(['resnet50'], 320)
    (row,) = rounds.table({network: times([1], [1], [1])}, Choices())
    assert row['input'] == '320×320' and row['published_top1'] is None
