"""Turns, processes and rows of the comparison; what is counted is held to known numbers."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.compare import rounds, worker
from gluon_a2.compare.networks import NETWORKS, choose
from gluon_a2.deploy import bundle
from gluon_a2.errors import UserError

# Trained values as torchvision and the GluonCV model zoo know these networks; then running means
# and variances, two for each channel of a BatchNorm. MobileNetV2 of GluonCV has no bias in its
# classifier: 1000 values fewer.
KNOWN = {'resnet18_v1b': (11_689_512, 9_600), 'mobilenetv2_1.0': (3_504_872 - 1000, 34_112),
         'resnet50_v1b': (25_557_032, 53_120)}


@pytest.mark.parametrize('name', KNOWN)
def test_parameters_of_networks_that_are_known(name):
    pytest.importorskip('gluoncv')
    (network,) = choose([name], 32)
    net = worker.build(network)
    net.initialize()
    trained, statistics = KNOWN[name]
    found = worker.counted(net, network)
    assert (found['trained'], found['parameters']) == (trained, trained + statistics)


def test_c3d_by_hand():
    pytest.importorskip('gluoncv')
    widths = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    positions = [16 * 112**2, 16 * 56**2, *[8 * 28**2] * 2, *[4 * 14**2] * 2, *[2 * 7**2] * 2]
    flops = sum(27 * a * b * n for a, b, n in zip(widths, widths[1:], positions))
    flops += 8192 * 4096 + 4096 * 4096 + 4096 * 400
    cost = worker.count_network(worker.build(NETWORKS['c3d']), NETWORKS['c3d'].input_size)
    assert cost.flops == flops


def test_the_file_is_as_large_as_the_one_that_deploy_writes(tmp_path):
    (network,) = choose(['a2_resnet26'], 32)
    net = worker.build(network)
    net.initialize()
    symbol = net(mx.sym.var('data'))
    values = {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}
    statistics = {name: values.pop(name) for name in symbol.list_auxiliary_states()}
    bundle.write_bundle(bundle.Bundle(symbol.tojson().encode(), values, statistics, {}),
                        tmp_path / 'net')
    assert worker.counted(net,
                          network)['file_bytes'] == (tmp_path / 'net-0000.params').stat().st_size


def test_a_video_network_of_gluoncv_with_non_local_blocks_is_counted():
    """Its five blocks by hand: four 1×1×1 convolutions to half the channels and back, and two
    products of positions."""
    pytest.importorskip('gluoncv')
    network = NETWORKS['i3d_nl5_resnet50_v1']
    cost = worker.count_network(worker.build(network), network.input_size)
    blocks = [layer for layer in cost.layers if 'nonlocal' in layer.name or layer.op == 'batch_dot']
    products = [layer for layer in cost.layers if layer.op == 'batch_dot']
    assert len(products) == 10
    expected = 0
    for channels, positions, count in ((512, 4 * 28 * 28, 2), (1024, 4 * 14 * 14, 3)):
        expected += count * (4 * channels * channels // 2 * positions
                             + 2 * positions**2 * channels // 2)
    assert sum(layer.flops for layer in blocks) == expected


def test_only_training_changes_a_video_network_of_gluoncv_and_its_cost_stays():
    pytest.importorskip('gluoncv')
    network, kinds = NETWORKS['i3d_inceptionv1']._replace(input_size=(8, 32, 32)), []
    plain, fenced = worker.build(network), worker.build(network, training=True)
    for net in (plain, fenced):
        kinds.append(set())
        net.apply(lambda block: kinds[-1].add(type(block).__name__))
    assert 'FoldedBatchNorm' not in kinds[0] and 'BatchNorm' not in kinds[
        1] and 'FoldedBatchNorm' in kinds[1]
    counts = [worker.count_network(net, network.input_size) for net in (plain, fenced)]
    assert (counts[0].flops, counts[0].parameters) == (counts[1].flops, counts[1].parameters)


def test_runs_are_timed_after_one_that_is_not():
    calls = []

    class Task:
        def once(self, inputs):
            calls.append(inputs.shape)

    seconds = worker.timed(Task(), NETWORKS['c3d']._replace(input_size=(2, 3, 5)), 7, 4)
    assert calls == [(7, 3, 2, 3, 5)] * 5 and len(seconds) == 4 and min(seconds) > 0


def test_training_changes_weights_and_inference_keeps_no_gradients():
    (network,) = choose(['resnet26'], 32)
    inputs = mx.nd.random.normal(shape=(2, 3, 32, 32))
    net = worker.build(network)
    training = worker.Training(net)
    before = net.fc.weight.data().asnumpy()
    training.once(inputs)
    assert (net.fc.weight.data().asnumpy() != before).any()
    net = worker.build(network)
    assert worker.Inference(net).once(inputs).shape == (2, 1000)
    assert {parameter.grad_req for parameter in net.collect_params().values()} == {'null'}


def test_peak_memory_is_of_this_process_alone():
    """A child of a large process begins small: `getrusage` would begin with the parent's."""
    assert np.ones(64_000_000, np.uint8).sum() and worker.memory('VmHWM') > 64_000_000
    code = ('from gluon_a2.compare.worker import memory; import numpy as np; a = memory("VmHWM"); '
            'np.ones(100_000_000, np.uint8); print(memory("VmHWM") - a, memory("VmRSS") - a)')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                         timeout=60).stdout
    grown, kept = map(int, out.split())
    assert 90e6 < grown < 110e6 and kept < 20e6


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

    def time(self, batch, repeats):
        Stub.log.append((self.task, self.name, batch))
        self.peak += 1000
        return [0.5 * batch] * repeats

    def ask(self, order):
        return {'parameters': 20, 'trained': 10, 'flops': 30, 'file_bytes': 40, 'threads': 2}


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(rounds, 'Worker', Stub)
    Stub.log, Stub.alive, Stub.most = [], 0, {}
    return Stub


def test_all_take_turns(stub):
    networks, plan = choose(['resnet50', 'c3d', 'resnet26']), rounds.Plan(2, 8, 3)
    found = rounds.measure(networks, plan)
    images = [('inference', name, batch) for name in ('resnet50', 'resnet26') for batch in (1, 8)]
    training = [('training', name, 3) for name in ('resnet50', 'resnet26')]
    assert stub.log == (images * 2 + training * 2 + [('inference', 'c3d', 1)] * 2
                        + [('training', 'c3d', 1)] * 2)
    assert stub.most == {'inference': 2, 'training': 1} and stub.alive == 0
    rows = {row['network']: row for row in rounds.table(found, plan)}
    assert list(rows) == ['resnet50', 'c3d', 'resnet26']
    assert (rows['resnet50']['latency_ms'], rows['resnet50']['throughput'],
            rows['c3d']['throughput']) == (500, 2, 2)
    assert (rows['resnet50']['peak_inference_bytes'],
            rows['resnet50']['peak_training_bytes']) == (4000, 1000)


def times(latency, throughput, training):
    found = rounds.Times()
    found.latency, found.throughput, found.training = latency, throughput, training
    found.counted = {'parameters': 20, 'trained': 10, 'flops': 30, 'file_bytes': 40, 'threads': 2}
    found.peak = {'inference': 5, 'training': 6}
    return found


def test_rows_by_hand():
    plan = rounds.Plan(3, 8, 4)
    base, other, video = choose(['resnet50', 'se_resnet50_v1', 'c3d'])
    row, twice, clip = rounds.table(
        {
            base: times([.1, .3, .2], [4, 1, 2], [8]), other: times([.1], [1, 1], [2, 4, 16]),
            video: times([4, 1, 2], [], [8])
        }, plan)
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
    (row,) = rounds.table({network: times([1], [1], [1])}, rounds.Plan())
    assert row['input'] == '320×320' and row['published_top1'] is None


@pytest.mark.parametrize('plan, flag', [((0, 8, 4), '--rounds'), ((1, 0, 4), '--batch-size'),
                                        ((1, 8, -1), '--train-batch-size')])
def test_numbers_below_one_are_refused(plan, flag):
    with pytest.raises(UserError, match=f'{flag} must be 1 or more'):
        rounds.Plan(*plan).check()


def test_a_process_that_ends_is_named(capfd):
    """Its own sentence goes to standard error; what kills it is told by the signal's name."""
    impossible = NETWORKS['resnet26']._replace(input_size=(8, 8))
    with rounds.Worker('inference', impossible) as process, pytest.raises(
            UserError, match='the process of resnet26 ended with exit code 2, for the reason '
                             'above'):
        process.time(1, 1)
    assert 'error: resnet26 cannot take an input of 8×8' in capfd.readouterr().err
    with rounds.Worker('inference', impossible) as process:
        os.kill(process._process.pid, 9)
        with pytest.raises(UserError, match='of resnet26 was killed by '
                                            'SIGKILL.*memory.*--networks'):
            process.time(1, 1)


def test_what_libraries_print_is_not_an_answer():
    code = ("from gluon_a2.compare import worker; worker.counted = lambda *_: print('a library "
            "speaks') or {'a': 1}; worker.main(['inference', 'resnet26', '32', '32'])")
    done = subprocess.run([sys.executable, '-c', code], input='null\n', capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, json.loads(
        done.stdout)) == (0, {'a': 1}) and 'a library speaks' in done.stderr
