"""What one step computes, against the same written out by hand."""
import dataclasses
import math
import time

import numpy as np
import pytest
import tiny

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.run import network
from gluon_a2.run.checkpoint import Position
from gluon_a2.run.folder import Run
from gluon_a2.run.options import Options
from gluon_a2.train.datasets import open_sources, train_transform
from gluon_a2.train.distributed import Group
from gluon_a2.train.loop import Diverged, Loop
from gluon_a2.train.optimizer import LossScale
from gluon_a2.train.step import Stepper, mixing_share, soft_targets, step_seed
from gluon_a2.train.timer import Timer

pytestmark = pytest.mark.usefixtures('tiny_zoo')


def open_loop(folder, images, **changes):
    """A `Loop` without dropout, mixup and augmentation, so that a step can be computed again by
    other means."""
    recipe = dataclasses.replace(tiny.RECIPE, dropout=0.0, mixup=False, label_smoothing=0.0,
                                 min_area=1.0, min_aspect=1.0, max_aspect=1.0, mirror=False, hue=0,
                                 saturation=0, lightness=0, **changes)
    options = Options(data_dir=str(images), save_dir=str(folder), num_data_workers=0)
    pair = open_sources(recipe, options)
    run = Run(folder, recipe, options)
    run._lock.close()  # nobody leaves this run, as its context manager would
    return Loop(recipe, options, run, network.build(recipe), *pair)


def loaded(source, indices, recipe):
    with data.Loader(source, train_transform(recipe), 0, recipe.seed) as loader:
        return [
            data.Batch(*(np.array(part) for part in batch)) for batch in loader.load(indices, 0)]


def assert_near(values, expected):
    """Equal to 1e-4 of the norm over all parameters: single ones, such as a γ before another BN,
    are all rounding."""
    gap = math.sqrt(sum(((values[name] - expected[name]) ** 2).sum() for name in expected))
    assert gap <= 1e-4 * math.sqrt(sum((array ** 2).sum() for array in expected.values()))


def test_one_step_is_the_mean_gradient_through_the_optimizer(tmp_path, images):
    """Against a forward and backward written out here, with the update by hand."""
    job = open_loop(tmp_path / 'run', images, accumulate=1, momentum=0.0, wd=0.0)
    (batch,) = loaded(job.sources[0], [np.arange(11)], job.recipe)
    other = network.build(job.recipe)
    before = {name: p.data().asnumpy() for name, p in other.collect_params().items()}
    with mx.autograd.record():
        scores = mx.nd.log_softmax(other(mx.nd.array(batch.images)))
        loss = -mx.nd.pick(scores, mx.nd.array(batch.labels)).mean()
    loss.backward()
    job.train_step([batch], 0.5)
    assert job.sums.mean_loss == pytest.approx(float(loss.asscalar()), rel=1e-5)
    expected = {
        name: 0.5 * p.grad().asnumpy() for name, p in other.collect_params().items()
        if p.grad_req != 'null'}
    assert_near(
        {name: before[name] - job.stepper.parameters[name].data().asnumpy()
         for name in expected}, expected)


@pytest.mark.parametrize('model', ['a2_resnet50', 'se_resnet152'])
def test_the_large_networks_take_a_step(model):
    """What other tests train is smaller, and MXNet has crashed on the number of arrays alone."""
    recipe = dataclasses.replace(tiny.RECIPE, model=model, input_size=32, batch_size=2,
                                 accumulate=1, lr=1e-4)
    batch = data.Batch(np.zeros((2, 3, 32, 32), np.float32) + [[[[0]]], [[[1]]]], np.array([3, 1]),
                       np.arange(2), [])
    stepper = Stepper(recipe, network.build(recipe), Group(), Timer())
    before = stepper.digest()
    done = stepper.take([batch], Position(), 1e-4)
    assert done.sums.images == 2 and math.isfinite(done.sums.loss) and done.faulty == []
    assert stepper.digest() != before


def test_micro_batches_add_up_to_their_summed_gradient_over_all_their_images(tmp_path, images):
    """BatchNorm normalises each micro-batch by itself, so the oracle sums gradients, not
    batches."""
    job = open_loop(tmp_path / 'run', images, accumulate=2)
    batches = loaded(job.sources[0], [np.arange(7), np.arange(7, 12)], job.recipe)
    other, sums = network.build(job.recipe), {}
    for batch in batches:
        with mx.autograd.record():
            scores = mx.nd.log_softmax(other(mx.nd.array(batch.images)))
            loss = -mx.nd.pick(scores, mx.nd.array(batch.labels)).sum()
        loss.backward()
        for name, parameter in other.collect_params().items():
            if parameter.grad_req != 'null':
                sums[name] = sums.get(name, 0) + parameter.grad().asnumpy()
    seen = {}
    job.stepper.updater.update = lambda lr, rescale: seen.update(
        {name: job.stepper.parameters[name].grad().asnumpy() * rescale for name in sums})
    job.train_step(batches, 0.5)
    assert_near(seen, {name: total / 12 for name, total in sums.items()})


def test_loss_scaling_changes_no_update_and_skips_overflows(tmp_path, images):
    jobs = [open_loop(tmp_path / name, images, accumulate=1) for name in ('plain', 'scaled')]
    jobs[1].stepper.scale = LossScale(True, scale=1024.0)
    (batch,) = loaded(jobs[0].sources[0], [np.arange(11)], jobs[0].recipe)
    for job in jobs:
        job.train_step([batch], 0.5)
    for name in jobs[0].stepper.parameters:
        np.testing.assert_allclose(*(job.stepper.parameters[name].data().asnumpy()
                                     for job in jobs), rtol=1e-5, atol=1e-6)
    before = tiny_bytes(jobs[1])
    jobs[1].stepper.scale.scale = 1e38
    jobs[1].train_step([batch], 0.5)
    assert jobs[1].stepper.scale.scale == 5e37 and tiny_bytes(jobs[1]) == before
    jobs[1].stepper.scale.scale = 1.0
    jobs[1].stepper.parameters['fc_bias'].data()[:] = math.inf
    with pytest.raises(Diverged, match='gradients overflow at step 0 whatever the loss scale'):
        jobs[1].train_step([batch], 0.5)


class Mirrored(Group):
    """Two ranks that have the same images, as one of them sees it."""

    def __init__(self):
        super().__init__()
        self.size, self.said = 2, []

    def begin_sum(self, vector, name, compression, count):
        vector *= 2
        self.said.append(name)

    def all_reduce(self, values, name):
        self.said.append(name)
        return 2 * values

    def finish(self, vectors):
        self.said.append('finish')


@pytest.mark.parametrize('exact', [False, True])
def test_gradients_are_on_their_way_before_anything_is_waited_for(tmp_path, images, exact,
                                                                  monkeypatch):
    """And two ranks with the same images take the step that one of them takes alone."""
    job = open_loop(tmp_path / 'run', images, accumulate=1, exact_sums=exact)
    group, batches = Mirrored(), loaded(job.sources[0], [np.arange(11)], job.recipe)
    other = Stepper(job.recipe, network.build(job.recipe), group, Timer())
    check = other.updater.finite
    monkeypatch.setattr(other.updater, 'finite', lambda: group.said.append('finite') or check())
    done = other.take(batches, Position(), 0.5)
    job.train_step(batches, 0.5)
    sent = group.said[:group.said.index('counts' if exact else 'finite')]
    assert len(sent) > 1 and sent == [f'gradients.{number}' for number in range(len(sent))]
    assert group.said[len(sent):] == ['finite'] * (not exact) + ['counts', 'finish']
    assert done.sums.images == 22 and other.digest() == job.stepper.digest()


def tiny_bytes(job):
    return {
        name: p.data().asnumpy().tobytes() for name, p in job.stepper.parameters.items()
        if p.grad_req != 'null'}


def test_a_step_of_damaged_images_only_updates_nothing(tmp_path, images):
    job = open_loop(tmp_path / 'run', images, accumulate=1)
    job.damage = data.DamageLog(40, cap=9)
    before = tiny_bytes(job)
    empty = data.Batch(np.zeros((0, 3, 16, 16), np.float32), np.zeros(0, np.int64),
                       np.zeros(0, np.int64), [('x', 'y')])
    job.train_step([empty], 0.5)
    assert tiny_bytes(job) == before and job.sums.images == 0


# ---- small pieces

def test_soft_targets():
    np.testing.assert_allclose(soft_targets(np.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]],
                               rtol=1e-6)
    assert soft_targets(np.array([2, 0]), 3, 0).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_step_seeds_are_fixed_31_bit_numbers_that_differ():
    seeds = {
        step_seed(seed, step, micro) for seed in range(3) for step in range(50)
        for micro in range(4)}
    assert len(seeds) == 600 and all(0 <= seed < 2 ** 31 for seed in seeds)
    assert step_seed(0, 0, 0) == step_seed(0, 0, 0)


def test_mixup_is_off_in_the_last_epochs():
    recipe = dataclasses.replace(tiny.RECIPE, mixup=True, num_epochs=5, mixup_off_epoch=2)
    shares = [mixing_share(recipe, Position(epoch=epoch), 0) for epoch in range(5)]
    assert all(0 <= share < 1 for share in shares[:3]) and shares[3:] == [1.0, 1.0]


def test_the_timer_counts_each_moment_under_one_phase(monkeypatch):
    timer, now = Timer(), [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])

    def work(seconds):
        now[0] += seconds

    def items():
        for seconds in (1, 2):
            work(seconds)
            yield seconds

    timer.restart(100)
    with timer.during('compute'):
        for _ in timer.timed('data', items(), 2):
            work(10)
        with timer.during('wait'):
            work(3)
        work(4)
    work(10)
    assert [timer.share(name)
            for name in ('compute', 'data', 'wait', 'other')] == [24 / 40, 3 / 40, 3 / 40, 0]
    assert timer.speed(180) == 2


def test_a_network_without_batch_norm_is_trained_too():
    """As C3D is one."""
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Dense(10, in_units=3))
    net.initialize(mx.init.Xavier())
    stepper = Stepper(dataclasses.replace(tiny.RECIPE, mixup=False, accumulate=1), net, Group(),
                      Timer())
    images = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    before = stepper.tensors()
    done = stepper.take([data.Batch(images, np.arange(4), np.arange(4), [])], Position(), 0.1)
    assert done.sums.images == 4 and not done.faulty
    assert all((stepper.tensors()[name] != before[name]).any() for name in before
               if name.startswith('param'))
