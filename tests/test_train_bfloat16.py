"""What is computed in bfloat16 in training, and that it is the same network and the same run."""
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny
from test_train_loop import Cut, cut_at
from tiny_bundle import AVX512, avx512

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy.graph import Graph, Node
from gluon_a2.deploy.precision import BFLOAT16, BFLOAT16_NUMBER
from gluon_a2.errors import UserError
from gluon_a2.machine import resources
from gluon_a2.models import get_model
from gluon_a2.run import network
from gluon_a2.run.checkpoint import Position
from gluon_a2.run.options import Options
from gluon_a2.train import bfloat16, loop
from gluon_a2.train.bfloat16 import in_bfloat16
from gluon_a2.train.distributed import Group
from gluon_a2.train.step import Stepper
from gluon_a2.train.timer import Timer
from gluon_a2.train.tuning import tune

pytestmark = pytest.mark.usefixtures('tiny_zoo')
HALF = dataclasses.replace(tiny.RECIPE, dtype='bfloat16', ema=0.9, clip_gradient=1.0)
LOGGED = 'log.jsonl'
ENVIRON = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(sys.path)}


def graph_of(net):
    """The graph that is trained, and its nodes that put out bfloat16."""
    _, symbol = in_bfloat16(net)._cached_graph
    graph, halves = Graph(symbol.tojson(remove_amp_cast=False).encode()), set()
    for node in graph.nodes():
        if node.op == 'amp_cast':
            half = node.attrs['dtype'] in ('bfloat16', BFLOAT16_NUMBER)
        else:
            half = bool(node.inputs) and node.inputs[0][0] in halves
        if half:
            halves.add(node)
    return graph, halves


def emulated(net):
    """What is trained, in float32 arithmetic: what would be bfloat16 is rounded and widened."""
    graph, halves = graph_of(net)
    for node in [node for node in graph.nodes() if node in halves]:
        rounded = Node('amp_cast', f'{node.name}_rounded', {'dtype': 'bfloat16'}, [(node, 0)], {})
        graph.replace(node, Node('amp_cast', f'{node.name}_wide', {'dtype': 'float32'},
                                 [(rounded, 0)], {}))
        if node.op == 'amp_cast':
            node.attrs['dtype'] = 'float32'
    return mx.gluon.SymbolBlock(mx.sym.load_json(graph.to_bytes().decode()),
                                mx.sym.var('data', dtype='float32'), net.collect_params())


def gradients(net, parameters, pixels, labels):
    """The loss and {name: gradient} of the sum over a batch."""
    with mx.autograd.record():
        loss = -mx.nd.pick(mx.nd.log_softmax(net(mx.nd.array(pixels))), mx.nd.array(labels)).sum()
    loss.backward()
    return float(loss.asscalar()), {name: parameter.grad().asnumpy()
                                    for name, parameter in parameters.items()
                                    if parameter.grad_req != 'null'}


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()])


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def needs_gluoncv():
    """Skip without it; importing it outright would fail beside PyTorch 2."""
    if importlib.util.find_spec('gluoncv') is None:
        pytest.skip('GluonCV is not installed')


# ---- what is computed in which type

@pytest.mark.parametrize('model', ['a2_resnet50', 'nl_resnet26', 'se_resnet26', 'a2_resnet26_3d',
                                   'gluoncv:shufflenet_v1', 'convnet_lstm'])
def test_only_what_is_known_reads_bfloat16(model):
    if ':' in model or model == 'convnet_lstm':
        needs_gluoncv()
    graph, halves = graph_of(get_model(model, classes=3))
    fed = set()
    for node in graph.nodes():
        read = [source in halves for source, _ in node.inputs]
        if any(read) and node.op != 'amp_cast':
            assert node.op == 'BatchNorm' or all(read), node.name
            fed.add(node.op)
    assert {'Convolution'} <= fed <= BFLOAT16


@avx512
def test_the_numbers_are_those_of_bfloat16():
    """Small whole numbers are exact in it, and 1 + 2⁻¹⁰ is 1."""
    net = mx.gluon.nn.HybridSequential(prefix='')
    net.add(mx.gluon.nn.Conv2D(4, 1, use_bias=False, in_channels=3, prefix='first_'),
            mx.gluon.nn.Activation('relu'), mx.gluon.nn.MaxPool2D(2),
            mx.gluon.nn.Conv2D(2, 1, use_bias=False, in_channels=4, prefix='second_'),
            mx.gluon.nn.Flatten())
    net.initialize()
    rng = np.random.default_rng(5)
    values = {'first_weight': rng.integers(-3, 4, (4, 3, 1, 1)) * (1 + 2.0 ** -10),
              'second_weight': rng.integers(-2, 3, (2, 4, 1, 1))}
    pixels, heads = rng.integers(-3, 4, (5, 3, 2, 2)), rng.integers(-2, 3, (5, 2))

    def run(computed):
        with mx.autograd.record():
            y = computed(mx.nd.array(pixels))
        y.backward(mx.nd.array(heads))
        return [y.asnumpy(), *(p.grad().asnumpy() for p in net.collect_params().values())]

    for name, parameter in net.collect_params().items():
        parameter.set_data(mx.nd.array(values[name]))
    half = run(in_bfloat16(net))
    net.collect_params()['first_weight'].set_data(mx.nd.array(np.round(values['first_weight'])))
    whole = run(net)
    for ours, exact in zip(half, whole):
        assert ours.dtype == np.float32 and np.array_equal(ours, exact) and np.any(exact)


@avx512
@pytest.mark.parametrize('model', ['a2_tiny', 'a2_tiny_3d', 'nl_tiny'])
def test_it_differs_from_float32_by_rounding_alone(model):
    """The gradients of a deep network move far by that: those with emulated rounding do alike."""
    frames = {'frames': 4} if model.endswith('_3d') else {}
    recipe = dataclasses.replace(HALF, model=model, dropout=0.0, **frames)
    net, rng = network.build(recipe), np.random.default_rng(0)
    parameters = net.collect_params()
    given = rng.normal(size=(16, 3, *recipe.space)), rng.integers(0, 10, 16)
    running = {name: p.data().asnumpy() for name, p in parameters.items() if 'running' in name}
    found = []
    for computed in (in_bfloat16(net), emulated(net), net):
        for name, values in running.items():
            parameters[name].set_data(mx.nd.array(values))
        loss, gradient = gradients(computed, parameters, *given)
        mx.nd.waitall()
        found.append((loss, flat(gradient), {name: parameters[name].data().asnumpy()
                                             for name in running}))
    (loss, ours, moved), (same, emulation, expected), (other, float32, _) = found
    assert loss != other and loss == pytest.approx(same, rel=1e-3)
    assert cosine(ours, emulation) > 0.99 > cosine(ours, float32) > 0.3
    for name, array in moved.items():
        assert array.dtype == np.float32 and np.any(array != running[name])
        np.testing.assert_allclose(array, expected[name], rtol=0.01, atol=1e-3)


class Mover(mx.gluon.nn.HybridBlock):
    """A network that moves values about between convolutions, as MXNet cannot in bfloat16."""

    def __init__(self):
        super().__init__(prefix='')
        with self.name_scope():
            self.first = mx.gluon.nn.Conv2D(16, 3, padding=1, in_channels=3)
            self.second = mx.gluon.nn.Conv2D(16, 3, padding=1, in_channels=16)
            self.third = mx.gluon.nn.Conv2D(16, 3, padding=1, in_channels=32)
            self.fc = mx.gluon.nn.Dense(5, in_units=16)

    def hybrid_forward(self, F, x):
        x = F.transpose(self.first(x), (0, 1, 3, 2))
        y = F.reshape(F.transpose(self.second(x), (0, 2, 3, 1)), (0, -1, 16))
        y = F.reshape(F.transpose(y, (0, 2, 1)), (0, 0, 8, 8))
        z = self.third(F.concat(x, F.broadcast_mul(y, F.mean(y, axis=(2, 3), keepdims=True))))
        a, b = F.split(z * 2, 2)
        return self.fc(F.concat(F.mean(F.pad(a, mode='edge', pad_width=(0, 0, 0, 0, 1, 1, 1, 1)),
                                       axis=(2, 3)), F.max(F.clip(b, -6, 6), axis=(2, 3))))


def move():
    """In a process of its own, which MXNet might end."""
    net, rng = Mover(), np.random.default_rng(0)
    net.initialize(mx.init.Xavier())
    parameters, half = net.collect_params(), in_bfloat16(net)
    half.hybridize(static_alloc=True, static_shape=True)
    given = rng.normal(size=(4, 3, 8, 8)), rng.integers(0, 5, 4)
    ours, theirs = (gradients(computed, parameters, *given)[1] for computed in (half, net))
    print(json.dumps([cosine(ours[name], theirs[name]) for name in theirs]))


@avx512
def test_what_moves_values_about_does_not_end_the_process():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True,
                          env=ENVIRON)
    assert done.returncode == 0, done.stderr
    assert min(json.loads(done.stdout)) > 0.99


# ---- runs

@pytest.fixture(scope='module')
def uncut(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp('runs') / 'uncut'
    tiny.run(folder, images, HALF)
    return folder


@avx512
def test_a_run_repeats_and_resumes_to_the_bit(tmp_path, monkeypatch, images, uncut):
    tiny.run(tmp_path / 'again', images, HALF)
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, 3)  # behind a validation, after which a run that resumes has none
        tiny.run(tmp_path / 'cut', images, HALF)
    tiny.run(tmp_path / 'cut', images, HALF, resume=True)
    for folder in (tmp_path / 'again', tmp_path / 'cut'):
        assert tiny.final_tensors(folder) == tiny.final_tensors(uncut)
        assert (folder / LOGGED).read_text() == (uncut / LOGGED).read_text()
    tiny.run(tmp_path / 'float32', images, dataclasses.replace(HALF, dtype='float32'))
    assert tiny.final_tensors(tmp_path / 'float32') != tiny.final_tensors(uncut)


@avx512
@pytest.mark.parametrize('model, frozen', [('a2_tiny', 'conv2_.*bn'),
                                           ('gluoncv:cifar_resnet20_v1', '.*stage2.*batchnorm')])
def test_what_is_frozen_stays_and_the_rest_learns(model, frozen):
    if ':' in model:
        needs_gluoncv()
    recipe = dataclasses.replace(HALF, model=model, freeze=(frozen,), accumulate=1, dropout=0.0)
    net, rng = network.build(recipe), np.random.default_rng(0)
    tune(net, recipe)
    stepper = Stepper(recipe, net, Group(), Timer())
    pixels = rng.normal(size=(8, 3, *recipe.space)).astype(np.float32)
    before = {name: p.data().asnumpy() for name, p in stepper.parameters.items()}
    done = stepper.take([data.Batch(pixels, np.arange(8), np.arange(8), [])], Position(), 0.1)
    assert done.sums.images == 8 and done.faulty == []
    same = {name for name, p in stepper.parameters.items()
            if np.array_equal(before[name], p.data().asnumpy())}
    assert same == {name for name in before if re.match(frozen, name)} != set()


@avx512
def test_micro_batches_add_up_in_float32():
    """MXNet adds gradients up itself, unless the sums are to be exact."""
    rng, found = np.random.default_rng(0), []
    batches = [data.Batch(rng.normal(size=(8, 3, 16, 16)).astype(np.float32), np.arange(8),
                          np.arange(8), []) for _ in range(2)]
    for exact in (True, False):
        recipe = dataclasses.replace(HALF, exact_sums=exact, clip_gradient=0.0)
        stepper = Stepper(recipe, network.build(recipe), Group(), Timer())
        stepper.take(batches, Position(), 0.1)
        found.append(flat({name: array for name, array in stepper.tensors().items()
                           if name.startswith('state')}))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6 * np.abs(found[0]).max())


@avx512
def test_what_is_validated_and_exported_is_float32(uncut, images):
    from gluon_a2.deploy import Classifier
    classifier, source = Classifier(uncut / 'export' / 'a2_tiny'), data.open_source(images, 'val')
    scores = classifier.logits([classifier.preprocess(source.read(i)) for i in range(len(source))])
    last = json.loads((uncut / LOGGED).read_text().splitlines()[-1])
    assert last['val_top1'] == pytest.approx(tiny.accuracy_of(source.labels, scores))
    assert classifier.meta['precision'] == 'float32'


# ---- where it is not

def options(images, folder, **changes):
    return Options(**{'data_dir': str(images), 'save_dir': str(folder), **changes})


def test_a_gpu_is_told_of_float16(images, tmp_path):
    with pytest.raises(UserError, match='`dtype` bfloat16 is for CPUs: on a GPU, train with '
                                        '`dtype` float16'):
        loop.train(HALF, options(images, tmp_path / 'run', num_gpus=1))
    assert not (tmp_path / 'run').exists()


def test_a_cpu_without_it_is_a_sentence(images, tmp_path, monkeypatch):
    assert bfloat16.is_computed() == AVX512
    monkeypatch.setattr(bfloat16, 'is_computed', lambda: False)
    with pytest.raises(UserError, match='only on CPUs with AVX-512, which this one lacks: train '
                                        'with `dtype` float32'):
        loop.train(HALF, options(images, tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('flags, emulated', [('avx512f avx512_bf16 sse', False),
                                             ('avx512f avx512_bf16x', True), (None, False)])
def test_a_cpu_that_emulates_it_is_told(flags, emulated, tmp_path, monkeypatch, caplog):
    if flags is not None:
        (tmp_path / 'cpuinfo').write_text(f'flags\t\t: {flags}\n')
    found = resources.emulates_bfloat16(str(tmp_path / 'cpuinfo'))
    assert found == emulated
    monkeypatch.setattr(loop, 'emulates_bfloat16', lambda: found)
    monkeypatch.setattr(bfloat16, 'is_computed', lambda: True)
    loop.choose_device(HALF, Options())
    assert ('is emulated, and slower than float32' in caplog.text) == emulated


def test_the_processor_is_asked_without_a_word():
    code = 'from gluon_a2.train.bfloat16 import is_computed; print(is_computed())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**ENVIRON, 'DNNL_MAX_CPU_ISA': 'AVX2'})
    assert (done.stdout, done.stderr) == ('False\n', '')


if __name__ == '__main__':
    move()
