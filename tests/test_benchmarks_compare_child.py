"""What a process of the comparison does; what is counted is held to known numbers."""
import subprocess
import sys

import bench
import compare_child as child
import loading
import mxnet_steps
import numpy as np
import pytest
from compare_networks import NETWORKS, choose

from gluon_a2.backend import mx
from gluon_a2.deploy import bundle

# Trained values as torchvision and the GluonCV model zoo know these networks; then running means
# and variances, two for each channel of a BatchNorm. MobileNetV2 of GluonCV has no bias in its
# classifier: 1000 values fewer.
KNOWN = {'resnet18_v1b': (11_689_512, 9_600), 'mobilenetv2_1.0': (3_504_872 - 1000, 34_112)}


@pytest.mark.parametrize('name', KNOWN)
def test_parameters_of_networks_that_are_known(name):
    loading.gluoncv()
    (network,) = choose([name], 32)
    net = child.build(network)
    net.initialize()
    trained, statistics = KNOWN[name]
    found = child.counted(net, network)
    assert (found['trained'], found['parameters']) == (trained, trained + statistics)


def test_c3d_by_hand():
    loading.gluoncv()
    widths = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    positions = [16 * 112**2, 16 * 56**2, *[8 * 28**2] * 2, *[4 * 14**2] * 2, *[2 * 7**2] * 2]
    flops = sum(27 * a * b * n for a, b, n in zip(widths, widths[1:], positions))
    flops += 8192 * 4096 + 4096 * 4096 + 4096 * 400
    cost = child.count_network(child.build(NETWORKS['c3d']), NETWORKS['c3d'].input_size)
    assert cost.flops == flops


def test_the_file_is_as_large_as_the_one_that_deploy_writes(tmp_path):
    (network,) = choose(['a2_resnet26'], 32)
    net = child.build(network)
    net.initialize()
    symbol = net(mx.sym.var('data'))
    values = {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}
    statistics = {name: values.pop(name) for name in symbol.list_auxiliary_states()}
    bundle.write_bundle(bundle.Bundle(symbol.tojson().encode(), values, statistics, {}),
                        tmp_path / 'net')
    assert child.counted(net,
                          network)['file_bytes'] == (tmp_path / 'net-0000.params').stat().st_size


def test_a_video_network_of_gluoncv_with_non_local_blocks_is_counted():
    """Its five blocks by hand: four 1×1×1 convolutions to half the channels and back, and two
    products of positions."""
    loading.gluoncv()
    network = NETWORKS['i3d_nl5_resnet50_v1']
    cost = child.count_network(child.build(network), network.input_size)
    blocks = [layer for layer in cost.layers if 'nonlocal' in layer.name or layer.op == 'batch_dot']
    products = [layer for layer in cost.layers if layer.op == 'batch_dot']
    assert len(products) == 10
    expected = 0
    for channels, positions, count in ((512, 4 * 28 * 28, 2), (1024, 4 * 14 * 14, 3)):
        expected += count * (4 * channels * channels // 2 * positions
                             + 2 * positions**2 * channels // 2)
    assert sum(layer.flops for layer in blocks) == expected


def test_only_training_changes_a_video_network_of_gluoncv_and_its_cost_stays():
    loading.gluoncv()
    network, kinds = NETWORKS['i3d_inceptionv1']._replace(input_size=(8, 32, 32)), []
    plain, fenced = child.build(network), child.build(network, 'training')
    for net in (plain, fenced):
        kinds.append(set())
        net.apply(lambda block: kinds[-1].add(type(block).__name__))
    assert 'FoldedBatchNorm' not in kinds[0] and 'BatchNorm' not in kinds[
        1] and 'FoldedBatchNorm' in kinds[1]
    counts = [child.count_network(net, network.input_size) for net in (plain, fenced)]
    assert (counts[0].flops, counts[0].parameters) == (counts[1].flops, counts[1].parameters)


def test_runs_are_timed_after_one_that_is_not():
    calls = []

    def act(inputs):
        calls.append(inputs.shape)

    seconds = child.timed(act, NETWORKS['c3d']._replace(input_size=(2, 3, 5)), 7, 4)
    assert calls == [(7, 3, 2, 3, 5)] * 5 and len(seconds) == 4 and min(seconds) > 0


def test_training_changes_weights_and_inference_keeps_no_gradients():
    (network,) = choose(['resnet26'], 32)
    inputs = mx.nd.random.normal(shape=(2, 3, 32, 32))
    net = child.build(network)
    step = mxnet_steps.training(net)
    before = net.fc.weight.data().asnumpy()
    step(inputs)
    assert (net.fc.weight.data().asnumpy() != before).any()
    net = child.build(network)
    assert mxnet_steps.inference(net)(inputs).shape == (2, 1000)
    assert {parameter.grad_req for parameter in net.collect_params().values()} == {'null'}


def test_peak_memory_is_of_this_process_alone():
    """A child of a large process begins small: `getrusage` would begin with the parent's."""
    assert np.ones(64_000_000, np.uint8).sum() and bench.memory('VmHWM') > 64_000_000
    code = ('from bench import memory; import numpy as np; a = memory("VmHWM"); '
            'np.ones(100_000_000, np.uint8); print(memory("VmHWM") - a, memory("VmRSS") - a)')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                         timeout=60, cwd=bench.ROOT / 'benchmarks').stdout
    grown, kept = map(int, out.split())
    assert 90e6 < grown < 110e6 and kept < 20e6
