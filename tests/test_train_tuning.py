"""Frozen parameters, learning-rate factors, clipping, averages and early stopping, each against the
same written out in numpy float64."""
import dataclasses
import json
import re

import numpy as np
import pytest
import tiny
from test_train_loop import Cut, cut_at

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier
from gluon_a2.errors import UserError
from gluon_a2.models.table import find_row
from gluon_a2.nn.preact import SPACES, BNReLU
from gluon_a2.run import checkpoint, network
from gluon_a2.run.checkpoint import Position
from gluon_a2.run.recipes import choose
from gluon_a2.train.distributed import Group
from gluon_a2.train.step import Stepper
from gluon_a2.train.timer import Timer
from gluon_a2.train.tuning import tune

pytestmark = pytest.mark.usefixtures('tiny_zoo')
ALL = dataclasses.replace(tiny.RECIPE, freeze=('conv1_', 'conv2_.*_bn'), ema=0.9, early_stop=1,
                          lr_mult=('.*=0.2', 'classifier=1'), clip_gradient=0.5)


def is_frozen(name):
    return re.match('conv1_|conv2_.*_bn', name)


def lines(folder, key):
    return [line for line in map(json.loads, (folder / 'log.jsonl').read_text().splitlines())
            if key in line]


@pytest.fixture(scope='module')
def tuned(tmp_path_factory, images):
    """A run with all the options at once."""
    return tiny.run(tmp_path_factory.mktemp('runs') / 'tuned', images, ALL)[0]


# ---- freezing

def test_frozen_parameters_and_statistics_stay_to_the_bit(tuned):
    found = checkpoint.find(tuned / 'checkpoints', 'last').tensors
    start = {name: p.data().asnumpy() for name, p in network.build(ALL).collect_params().items()}
    moved = {name for name, value in start.items() if (found[f'param/{name}'] != value).any()}
    assert moved == {name for name in start if not is_frozen(name)}
    with_momentum = {name.split('/')[1] for name in found if name.startswith('state/')}
    assert with_momentum == {name for name in moved if 'running' not in name}


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('frozen', ['bn_', 'bn_running'])
def test_a_frozen_batch_norm_normalises_by_its_own_statistics_and_passes_their_gradient(dims,
                                                                                       frozen):
    """Convolution (1×1), BatchNorm, sum of y·c: the gradient of the convolution is numpy's."""
    rng, shape = np.random.default_rng(dims), (3, 2, 5, 7, 4)[:2 + dims]
    net = mx.gluon.nn.HybridSequential(prefix='')
    net.add(SPACES[dims].conv(2, (1,) * dims, in_channels=2, use_bias=False, prefix='conv_'),
            BNReLU(2, dims, prefix='').bn)
    net.initialize()
    values = {'conv_weight': rng.normal(size=(2, 2)), 'bn_gamma': rng.normal(size=2),
              'bn_beta': rng.normal(size=2), 'bn_running_mean': rng.normal(size=2),
              'bn_running_var': rng.uniform(1, 2, size=2)}
    parameters = net.collect_params()
    for name, value in values.items():
        parameters[name].set_data(mx.nd.array(value.reshape(parameters[name].shape)))
    net.row = find_row('a2_tiny')
    tune(net, dataclasses.replace(ALL, freeze=(frozen,), lr_mult=()))
    net.hybridize()
    x, c = rng.normal(size=shape), rng.normal(size=shape)
    with mx.autograd.record():
        y = net(mx.nd.array(x))
        total = (y * mx.nd.array(c)).sum()
    total.backward()
    x, c = x.reshape(3, 2, -1), c.reshape(3, 2, -1)
    z = np.einsum('oi,nik->nok', values['conv_weight'], x)
    columns = {name: value[:, None] for name, value in values.items()}
    normal = (z - columns['bn_running_mean']) / np.sqrt(columns['bn_running_var'] + 1e-5)
    slope = values['bn_gamma'] / np.sqrt(values['bn_running_var'] + 1e-5)
    for found, expected in (
            (y, normal * columns['bn_gamma'] + columns['bn_beta']),
            (parameters['conv_weight'].grad(), np.einsum('nok,nik,o->oi', c, x, slope)),
            *([] if frozen == 'bn_' else [
                (parameters['bn_gamma'].grad(), (c * normal).sum((0, 2)))])):
        np.testing.assert_allclose(found.asnumpy().ravel(), expected.ravel(), rtol=1e-4, atol=1e-4)
    for name in ('bn_running_mean', 'bn_running_var'):
        np.testing.assert_array_equal(parameters[name].data().asnumpy(),
                                      values[name].astype('float32'))
    assert parameters['bn_gamma'].grad_req == ('null' if frozen == 'bn_' else 'write')


@pytest.mark.parametrize('changes, sentence', [
    ({'freeze': ('bn',)}, '`freeze` bn matches no parameter: there are '),
    ({'lr_mult': ('weight=2',)}, '`lr_mult` weight matches no parameter that is trained: there '),
    ({'freeze': ('fc',), 'lr_mult': ('fc=2',)}, '`lr_mult` fc matches no parameter that is '),
    ({'freeze': ('conv', '.*')}, '`freeze` conv,.* leaves no parameter to train: freeze fewer')])
def test_patterns_that_do_nothing_are_refused_before_there_is_a_run(tmp_path, images, changes,
                                                                    sentence):
    with pytest.raises(UserError) as error:
        tiny.run(tmp_path / 'run', images, dataclasses.replace(tiny.RECIPE, **changes))
    assert sentence in str(error.value) and not (tmp_path / 'run').exists()
    if 'there' in sentence:
        assert re.search(r', such as conv1_conv_weight, .*_\w+$', str(error.value))


# ---- steps

@pytest.mark.parametrize('kind', ['sgd', 'nag'])
@pytest.mark.parametrize('clip', [0.0, 0.3])
def test_factors_clipping_and_averages_follow_their_formulas(kind, clip):
    """Three steps of softmax regression on mean colours, its gradient by hand."""
    recipe = choose('digits', {'classes': 4, 'optimizer': kind, 'momentum': 0.7, 'wd': 0.0,
                               'lr_mult': ('.*=0.3', 'fc_b=2', 'classifierw=0.5'), 'ema': 0.4,
                               'clip_gradient': clip})
    net = mx.gluon.nn.HybridSequential(prefix='')
    net.add(mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Dense(4, in_units=3, prefix='fc_'))
    net.initialize(mx.init.Normal(1))
    net.row = find_row('a2_tiny')
    tune(net, recipe)
    stepper = Stepper(recipe, net, Group(), Timer())
    rng = np.random.default_rng(3)
    w = {name: array.asnumpy().astype(np.float64) for name, array in stepper._moving().items()}
    m, average, norms = dict.fromkeys(w, 0.0), dict(w), []
    for step in range(3):
        images, labels = rng.normal(size=(5, 3, 2, 2)), rng.integers(4, size=5)
        x = images.astype('float32').astype(np.float64).mean((2, 3))
        stepper.take([data.Batch(images.astype('float32'), labels, np.arange(5), [])],
                     Position(step), 0.5)
        scores = np.exp(x @ w['fc_weight'].T + w['fc_bias'])
        error = (scores / scores.sum(1, keepdims=True) - np.eye(4)[labels]) / 5
        g = {'fc_weight': error.T @ x, 'fc_bias': error.sum(0)}
        norms.append(np.sqrt(sum((value ** 2).sum() for value in g.values())))
        for name, factor in (('fc_weight', 0.5), ('fc_bias', 2)):
            move = 0.5 * factor * g[name] * (min(1, clip / norms[-1]) if clip else 1)
            m[name] = 0.7 * m[name] - move
            w[name] = w[name] + (m[name] if kind == 'sgd' else 0.7 * m[name] - move)
            decay = min(0.4, (1 + step) / (10 + step))
            average[name] = decay * average[name] + (1 - decay) * w[name]
    found = stepper.tensors()
    for name in w:
        np.testing.assert_allclose(found[f'param/{name}'], w[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[f'average/{name}'], average[name], rtol=1e-5, atol=1e-6)
    assert max(norms) > 0.3  # so that it was clipped
    with stepper.averaged():
        np.testing.assert_array_equal(net[1].weight.data().asnumpy(), found['average/fc_weight'])
    assert all((value == found[name]).all() for name, value in stepper.tensors().items())


# ---- runs

def test_a_run_with_all_of_them_cut_and_resumed_ends_bit_identical(tmp_path, monkeypatch, images,
                                                                   tuned):
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, 4)
        tiny.run(tmp_path / 'run', images, ALL)
    tiny.run(tmp_path / 'run', images, ALL, resume=True)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(tuned)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (tuned / 'log.jsonl').read_text()


def test_the_averages_are_validated_and_exported(tuned, images):
    found = checkpoint.find(tuned / 'checkpoints', 'last').tensors
    exported = Classifier(tuned / 'export' / 'a2_tiny')
    params = {name: array.asnumpy() for name, array in mx.nd.load(
        str(tuned / 'export' / 'a2_tiny-0000.params')).items()}
    for name in (name for name in params if not is_frozen(name[4:])):
        np.testing.assert_array_equal(params[name], found[f'average/{name[4:]}'])
        assert (params[name] != found[f'param/{name[4:]}']).any()
    source = data.open_source(images, 'val')
    logits = exported.logits(np.stack([exported.preprocess(source.read(i)) for i in range(13)]))
    assert lines(tuned, 'val_top1')[-1]['val_top1'] == pytest.approx(
        tiny.accuracy_of(source.labels, logits))


def test_a_run_stops_where_validation_no_longer_gains(tmp_path, monkeypatch, images):
    """Only the classifier is trained, and hardly: the first epoch stays the best."""
    recipe = dataclasses.replace(tiny.RECIPE, freeze=('(?!classifier)',), lr=1e-12, wd=0.0,
                                 num_epochs=9, warmup_epochs=0, early_stop=2)
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, 7)  # in the third epoch
        tiny.run(tmp_path / 'run', images, recipe)
    folder, _ = tiny.run(tmp_path / 'run', images, recipe, resume=True)
    assert len(lines(folder, 'val_top1')) == 3
    assert checkpoint.find(folder / 'checkpoints', 'last').state['at']['stale'] == 2
    assert checkpoint.find(folder / 'checkpoints', 'best').state['at']['step'] == 3
    assert 'stopped: 2 epochs without a better validation' in (folder / 'train.log').read_text()
