import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import tiny

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.train import checkpoint, loop, network
from gluon_a2.train.loop import Clock, Diverged, Loop, class_names, soft_targets, step_seed
from gluon_a2.train.optimizer import LossScale
from gluon_a2.train.run import Options, Run

STEPS = 2 * math.ceil(40 / 14)


@pytest.fixture(scope='module')
def uncut(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp('runs') / 'uncut'
    tiny.run(folder, images)
    return folder


class Cut(Exception):
    """Stands in for a kill."""


def cut_at(monkeypatch, step):
    original = Loop.train_step

    def train_step(self, batches, lr):
        if self.at.step == step:
            raise Cut
        return original(self, batches, lr)

    monkeypatch.setattr(Loop, 'train_step', train_step)


@pytest.mark.parametrize('step', range(STEPS))
def test_a_run_cut_at_any_step_and_resumed_ends_bit_identical(tmp_path, monkeypatch, images, uncut, step):
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, step)
        tiny.run(tmp_path / 'run', images)
    tiny.run(tmp_path / 'run', images, resume=True)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut / 'log.jsonl').read_text()


def test_a_cut_between_checkpoints_replays_the_steps_since(tmp_path, monkeypatch, images, uncut):
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, STEPS - 1)
        tiny.run(tmp_path / 'run', images, save_steps=0)
    assert checkpoint.newest(tmp_path / 'run' / 'checkpoints').state['at']['step'] == STEPS // 2
    tiny.run(tmp_path / 'run', images, save_steps=0, resume=True, num_data_workers=2)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)


def test_resuming_a_finished_run_changes_nothing(tmp_path, images, uncut):
    shutil.copytree(uncut, tmp_path / 'run')
    tiny.run(tmp_path / 'run', images, resume=True)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut / 'log.jsonl').read_text()


def test_another_seed_gives_another_run(tmp_path, images, uncut):
    tiny.run(tmp_path / 'run', images, dataclasses.replace(tiny.RECIPE, seed=1))
    assert tiny.final_tensors(tmp_path / 'run')[0] != tiny.final_tensors(uncut)[0]


def test_resume_refuses_another_recipe(uncut, images):
    with pytest.raises(UserError, match='was trained with lr=0.02, not 0.5: resume with the same flags'):
        tiny.run(uncut, images, dataclasses.replace(tiny.RECIPE, lr=0.5), resume=True)


# ---- what one step computes

def open_loop(folder, images, **changes):
    """A `Loop` without dropout, mixup and augmentation, so that a step can be computed again by other means."""
    recipe = dataclasses.replace(
        tiny.RECIPE, dropout=0.0, mixup=False, label_smoothing=0.0, min_area=1.0, min_aspect=1.0, max_aspect=1.0,
        mirror=False, hue=0, saturation=0, lightness=0, **changes)
    options = Options(data_dir=str(images), save_dir=str(folder), num_data_workers=0)
    sources = loop.open_sources(recipe, options)
    run = Run(folder, recipe, options)
    run._lock.close()  # nobody leaves this run, as its context manager would
    return Loop(recipe, options, run, network.build(recipe), *sources)


def loaded(source, indices, recipe):
    with data.Loader(source, loop.train_transform(recipe), 0, recipe.seed) as loader:
        return [data.Batch(*(np.array(part) for part in batch)) for batch in loader.load(indices, 0)]


def assert_near(values, expected):
    """Equal to 1e-4 of the norm over all parameters: single ones, such as a γ before another BN, are all rounding."""
    gap = math.sqrt(sum(((values[name] - expected[name]) ** 2).sum() for name in expected))
    assert gap <= 1e-4 * math.sqrt(sum((array ** 2).sum() for array in expected.values()))


def test_one_step_is_the_mean_gradient_through_the_optimizer(tmp_path, images):
    """Against a forward and backward written out here, with the update by hand."""
    job = open_loop(tmp_path / 'run', images, accumulate=1, momentum=0.0, wd=0.0)
    (batch,) = loaded(job._sources[0], [np.arange(11)], job.recipe)
    other = network.build(job.recipe)
    before = {name: p.data().asnumpy() for name, p in other.collect_params().items()}
    with mx.autograd.record():
        scores = mx.nd.log_softmax(other(mx.nd.array(batch.images)))
        loss = -mx.nd.pick(scores, mx.nd.array(batch.labels)).mean()
    loss.backward()
    job.train_step([batch], 0.5)
    assert job.sums.mean_loss == pytest.approx(float(loss.asscalar()), rel=1e-5)
    expected = {name: 0.5 * p.grad().asnumpy() for name, p in other.collect_params().items() if p.grad_req != 'null'}
    assert_near({name: before[name] - job.parameters[name].data().asnumpy() for name in expected}, expected)


def test_micro_batches_add_up_to_their_summed_gradient_over_all_their_images(tmp_path, images):
    """BatchNorm normalises each micro-batch by itself, so the oracle sums gradients, not batches."""
    job = open_loop(tmp_path / 'run', images, accumulate=2)
    batches = loaded(job._sources[0], [np.arange(7), np.arange(7, 12)], job.recipe)
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
    job.updater.update = lambda lr, rescale: seen.update(
        {name: job.parameters[name].grad().asnumpy() * rescale for name in sums})
    job.train_step(batches, 0.5)
    assert_near(seen, {name: total / 12 for name, total in sums.items()})


def test_loss_scaling_changes_no_update_and_skips_overflows(tmp_path, images):
    jobs = [open_loop(tmp_path / name, images, accumulate=1) for name in ('plain', 'scaled')]
    jobs[1].scale = LossScale(True, scale=1024.0)
    (batch,) = loaded(jobs[0]._sources[0], [np.arange(11)], jobs[0].recipe)
    for job in jobs:
        job.train_step([batch], 0.5)
    for name in jobs[0].parameters:
        np.testing.assert_allclose(*(job.parameters[name].data().asnumpy() for job in jobs), rtol=1e-5, atol=1e-6)
    before = tiny_bytes(jobs[1])
    jobs[1].scale.scale = 1e38
    jobs[1].train_step([batch], 0.5)
    assert jobs[1].scale.scale == 5e37 and tiny_bytes(jobs[1]) == before
    jobs[1].scale.scale = 1.0
    jobs[1].parameters['fc_bias'].data()[:] = math.inf
    with pytest.raises(Diverged, match='gradients overflow at step 0 whatever the loss scale'):
        jobs[1].train_step([batch], 0.5)


def tiny_bytes(job):
    return {name: p.data().asnumpy().tobytes() for name, p in job.parameters.items() if p.grad_req != 'null'}


def test_a_non_finite_loss_stops_the_run_names_the_step_and_keeps_the_last_checkpoint(tmp_path, images, monkeypatch):
    original = Loop.train_step

    def poison(self, batches, lr):
        if self.at.step == 4:
            self.parameters['fc_bias'].set_data(mx.nd.full(10, math.nan))
        return original(self, batches, lr)

    monkeypatch.setattr(Loop, 'train_step', poison)
    with pytest.raises(Diverged, match=r'the loss is nan at step 4 \(epoch 1\): lower --lr .*step-00000004'):
        tiny.run(tmp_path / 'run', images)
    assert checkpoint.newest(tmp_path / 'run' / 'checkpoints').state['at']['step'] == 4


def test_damaged_images_are_left_out_named_counted_and_capped(tmp_path, caplog):
    with data.RecordWriter(tmp_path / 'train.rec') as writer:
        source = data.open_source(data.digits_folder(), 'train')
        for i in range(20):
            writer.write(b'no image' if i == 3 else source.read(i), int(source.labels[i]))
    with data.RecordWriter(tmp_path / 'val.rec') as writer:
        for i in range(5):
            writer.write(b'no image' if i == 2 else source.read(i), int(source.labels[i]))
    recipe = dataclasses.replace(tiny.RECIPE, num_epochs=1)
    with pytest.raises(UserError, match=r'1 damaged samples.*more than the 0 allowed'):
        tiny.run(tmp_path / 'a', tmp_path, recipe)
    folder, validation = tiny.run(tmp_path / 'b', tmp_path, recipe, max_damaged=1)
    assert 'left out' in caplog.text and 'train.rec#3' in caplog.text
    lines = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    assert validation.images == 5 and 'counted as wrong' in caplog.text
    assert lines[-1]['val_images'] == 5


def test_a_step_of_damaged_images_only_updates_nothing(tmp_path, images):
    job = open_loop(tmp_path / 'run', images, accumulate=1)
    job._damage = data.DamageLog(40, cap=9)
    before = tiny_bytes(job)
    empty = data.Batch(np.zeros((0, 3, 16, 16), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), [('x', 'y')])
    job.train_step([empty], 0.5)
    assert tiny_bytes(job) == before and job.sums.images == 0


# ---- small pieces

def test_validation_scores_every_image_once_and_agrees_with_numpy(uncut, images):
    last = json.loads((uncut / 'log.jsonl').read_text().splitlines()[-1])
    net = network.restored(checkpoint.find(uncut / 'checkpoints', 'last'))
    from gluon_a2.deploy import Classifier
    classifier, source = Classifier(net), data.open_source(images, 'val')
    pixels = np.stack([classifier.preprocess(source.read(i)) for i in range(13)])
    assert last['val_images'] == 13
    assert last['val_top1'] == pytest.approx(tiny.accuracy_of(source.labels, classifier.logits(pixels)))


def test_soft_targets():
    np.testing.assert_allclose(soft_targets(np.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)
    assert soft_targets(np.array([2, 0]), 3, 0).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_step_seeds_are_fixed_31_bit_numbers_that_differ():
    seeds = {step_seed(seed, step, micro) for seed in range(3) for step in range(50) for micro in range(4)}
    assert len(seeds) == 600 and all(0 <= seed < 2 ** 31 for seed in seeds)
    assert step_seed(0, 0, 0) == step_seed(0, 0, 0)


def test_mixup_is_off_in_the_last_epochs(tmp_path, images):
    job = open_loop(tmp_path / 'run', images)
    job.recipe = dataclasses.replace(job.recipe, mixup=True, num_epochs=5, mixup_off_epoch=2)
    shares = []
    for job.at.epoch in range(5):
        shares.append(job._mixing_share(0))
    assert all(0 <= share < 1 for share in shares[:3]) and shares[3:] == [1.0, 1.0]


def test_class_names_fill_up_with_numbers():
    class Source:
        classes = ('cat', 'dog')
    assert class_names(dataclasses.replace(tiny.RECIPE, classes=3), Source) == ['cat', 'dog', '2']


def test_clock_counts_only_what_it_saw():
    clock = Clock(100)
    assert list(clock.timed('data', iter([1, 2, 3]), 2)) == [1, 2]
    assert clock.speed(150) > 0 and 0 < clock.share('data') <= 1 and clock.share('other') == 0


@pytest.mark.parametrize('changes, options, sentence', [
    ({'dtype': 'float16'}, {}, '--dtype float16 needs a GPU'),
    ({'classes': 5}, {}, 'labels are outside 0…4'),
    ({'input_size': 8}, {}, 'a2_resnet26 cannot take an input of 8×8'),
    ({'model': 'a2_resnet27'}, {}, "unknown model 'a2_resnet27'"),
    ({'model': 'a2_resnet26_3d'}, {}, 'a2_resnet26_3d is a video network'),
    ({'pretrained': 'missing.params'}, {}, 'the weights missing.params cannot be read: No such file'),
    ({}, {'data_dir': 'nowhere'}, 'no train data in nowhere'),
    ({}, {'data_dir': None, 'rec_train': 'x.rec', 'rec_val': 'y.rec'}, 'x.rec'),
])
def test_what_cannot_be_trained_is_one_sentence_and_leaves_no_run_behind(tmp_path, images, changes, options, sentence):
    with pytest.raises(UserError) as error:
        loop.train(dataclasses.replace(tiny.RECIPE, **changes),
                   Options(**{'data_dir': str(images), 'save_dir': str(tmp_path / 'run'), **options}))
    assert sentence in str(error.value)
    assert not (tmp_path / 'run').exists()


def test_one_record_file_alone_is_refused(images):
    with pytest.raises(UserError, match='--rec-val is missing: give both record files, or --data-dir'):
        Options(rec_train=str(images / 'train.rec'))


def test_record_files_can_be_named_one_by_one(images):
    train, val = loop.open_sources(tiny.RECIPE, Options(
        rec_train=str(images / 'train.rec'), rec_train_idx=str(images / 'train.idx'),
        rec_val=str(images / 'val.rec'), rec_val_idx=str(images / 'val.idx')))
    assert (len(train), len(val)) == (40, 13)
