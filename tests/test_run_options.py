"""Each option of a run, seen to do what it says in a run of seconds."""
import dataclasses
import json

import job
import numpy as np
import pytest
import tiny

from gluon_a2 import data
from gluon_a2.errors import UserError
from gluon_a2.run import checkpoint
from gluon_a2.run.options import Options
from gluon_a2.train.datasets import open_sources, train_transform
from gluon_a2.train.loop import Loop

pytestmark = pytest.mark.usefixtures('tiny_zoo')
PLAIN = dataclasses.replace(tiny.RECIPE, accumulate=1, dropout=0.0, mixup=False, num_epochs=1,
                            batch_size=20)


def lines(folder, key):
    """The lines of log.jsonl that have `key`."""
    return [
        line for line in map(json.loads, (folder / 'log.jsonl').read_text().splitlines())
        if key in line]


def train(tmp_path, images, changes=(), **options):
    return tiny.run(tmp_path / 'run', images, dataclasses.replace(PLAIN, **dict(changes)),
                    **options)[0]


@pytest.mark.parametrize('changes', [
    {'optimizer': 'sgd'}, {'association': 'right'}, {'association': 'auto'}, {'last_gamma': True},
    {'softmax': 'gather'}, {'softmax': 'distribute'}, {'softmax': 'none'}, {'m': 2}, {'n': 2},
    {'no_wd': True}, {'label_smoothing': 0.0}, {'mixup': True, 'mixup_alpha': 1.0},
    {'dropout': 0.5}, {'wd': 0.1}, {'momentum': 0.0}, {'seed': 7},
    {'min_area': 0.1}, {'mirror': False}, {'lr': 0.1}])
def test_each_choice_of_a_recipe_changes_what_is_trained(tmp_path, images, plain, changes):
    folder = train(tmp_path, images, changes)
    assert tiny.final_tensors(folder)[0] != plain


def test_the_augmentation_is_all_of_the_recipes():
    changes = {'min_area': 0.1, 'max_area': 0.7, 'min_aspect': 0.5, 'max_aspect': 2.0, 'hue': 30,
               'saturation': 61, 'lightness': 62, 'mirror': False, 'draws': 'dpn'}
    transform = train_transform(dataclasses.replace(PLAIN, **changes))
    assert {name: getattr(transform, name) for name in changes} == changes


@pytest.fixture(scope='module')
def plain(tmp_path_factory, images):
    return tiny.final_tensors(train(tmp_path_factory.mktemp('plain'), images))[0]


def test_the_crop_ratio_is_of_validation_alone(tmp_path, images, plain, monkeypatch):
    seen, original = [], Loop._scores

    def scores(self, pixels):
        seen.append(pixels.copy())
        return original(self, pixels)

    monkeypatch.setattr(Loop, '_scores', scores)
    for ratio in (1.0, 0.5):
        folder = train(tmp_path / str(ratio), images, {'crop_ratio': ratio})
        assert tiny.final_tensors(folder)[0] == plain
    whole, half = seen
    assert whole.shape == half.shape == (13, 3, 16, 16) and (whole != half).any()


def test_workers_and_logging_change_nothing(tmp_path, images, plain):
    folder = train(tmp_path, images, num_data_workers=1, save_steps=0,
                   logging_file=str(tmp_path / 'other.log'))
    assert tiny.final_tensors(folder)[0] == plain
    assert 'Epoch[0]' in (tmp_path
                          / 'other.log').read_text() and not (folder / 'train.log').exists()


def test_plateau_lowers_the_rate_and_ends_the_run(tmp_path, images):
    folder = train(tmp_path, images, {'lr_mode': 'plateau', 'plateau_patience': 1,
                                      'plateau_gain': 1.0, 'plateau_decays': 2, 'num_epochs': 9,
                                      'warmup_epochs': 0, 'lr': 0.1})
    rates = [line['lr'] for line in lines(folder, 'lr')]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert len(lines(folder, 'val_top1')) == 3
    assert (folder / 'export' / 'a2_tiny-meta.json').exists()


@pytest.mark.parametrize('mode, rates', [
    ({'lr_mode': 'step', 'lr_decay_epoch': (1,), 'lr_decay': 0.5}, [0.1, 0.1, 0.05, 0.05]),
    ({'lr_mode': 'poly'}, [0.1, 0.05625, 0.025, 0.00625]),
    ({'lr_mode': 'cosine', 'warmup_epochs': 1, 'warmup_lr': 0.02, 'target_lr': 0.04},
     [0.02, 0.06, 0.1, 0.07])])
def test_the_rate_in_the_log_is_the_schedules(tmp_path, images, mode, rates):
    folder = train(tmp_path, images, {'warmup_epochs': 0, 'lr': 0.1, 'num_epochs': 2, **mode})
    assert [line['lr'] for line in lines(folder, 'lr')] == pytest.approx(rates)


def test_pretrained_starts_from_the_weights_of_a_file(tmp_path, images):
    first = train(tmp_path / 'a', images)
    params = first / 'export' / 'a2_tiny-0000.params'
    folder = train(tmp_path / 'b', images,
                   {'pretrained': str(params), 'lr': 1e-12, 'warmup_epochs': 0, 'wd': 0.0})
    before, after = (checkpoint.find(f / 'checkpoints', 'last').tensors for f in (first, folder))
    for name, value in before.items():
        if name.endswith('weight') and name.startswith('param/'):
            np.testing.assert_allclose(after[name], value, atol=1e-6)


def test_save_frequency_and_the_best(tmp_path, images):
    folder = train(tmp_path, images, {'num_epochs': 5}, save_frequency=3, save_steps=0)
    tops = [line['val_top1'] for line in lines(folder, 'val_top1')]
    saved = {int(path.name[5:]) for path in (folder / 'checkpoints').glob('step-*')}
    best = 2 * (1 + int(np.argmax(tops)))
    assert int(checkpoint.find(folder / 'checkpoints', 'best').path.name[5:]) == best
    assert 10 in saved and best in saved and saved <= {2, 4, 6, 8, 10}


@pytest.mark.parametrize('changes, sentence', [
    ({'model': 'a2_resnet27'}, 'unknown model'), ({'dtype': 'float16'}, 'needs a GPU'),
    ({'input_size': 8}, 'cannot take an input'), ({'pretrained': 'no.params'}, 'cannot be read'),
    ({'min_area': 0.9, 'max_area': 0.1}, 'min_area'), ({'crop_ratio': 3.0}, 'crop.ratio')])
def test_a_mistake_with_overwrite_loses_nothing(tmp_path, images, changes, sentence):
    folder = train(tmp_path, images)
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, images, changes, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()} == before


def test_overwrite_may_start_from_the_weights_it_replaces(tmp_path, images):
    folder = train(tmp_path, images)
    for kind in ('file', 'prefix', 'checkpoint', 'run'):
        path = {'file': folder / 'export' / 'a2_tiny-0000.params',
                'prefix': folder / 'export' / 'a2_tiny', 'run': folder,
                'checkpoint': checkpoint.find(folder / 'checkpoints', 'last').path}[kind]
        train(tmp_path, images, {'pretrained': str(path)}, overwrite=True)
        assert f'weights of {path}' in (folder / 'train.log').read_text()
        assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_log_interval(tmp_path, images):
    folder = tiny.train(
        dataclasses.replace(PLAIN, batch_size=7),
        Options(data_dir=str(images), save_dir=str(tmp_path / 'run'), num_data_workers=0,
                log_interval=4))[0]
    assert [line['step'] for line in lines(folder, 'lr')] == [4, 6]


def test_resume_refuses_other_data(tmp_path, images):
    folder = train(tmp_path, images)
    other = tmp_path / 'other'
    other.mkdir()
    job.write_data(other, train_images=33)
    with pytest.raises(UserError, match='with other images, labels or classes than there are now: '
                                        'resume with'):
        tiny.run(folder, other, PLAIN, resume=True)


def test_named_classes_must_be_as_many_as_the_network_has(tmp_path):
    source = data.open_source(data.digits_folder(), 'train')
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / '1.jpg').write_bytes(source.read(1))
    with pytest.raises(UserError, match='the data has 2 classes and the network 10: give `classes` '
                                        '2'):
        train(tmp_path, tmp_path)


def test_one_class_is_nothing_to_learn(tmp_path):
    source = data.open_source(data.digits_folder(), 'train')
    for split in ('train', 'val'):
        (tmp_path / split / 'cat').mkdir(parents=True)
        (tmp_path / split / 'cat' / '1.jpg').write_bytes(source.read(1))
    with pytest.raises(UserError, match='all the training data is of one class, cat: there is '
                                        'nothing to tell apart, so add'):
        train(tmp_path / 'runs', tmp_path)


def test_class_folders_that_are_numbers_are_names_too_and_records_without_are_warned_of(
        tmp_path, images, caplog):
    source = data.open_source(data.digits_folder(), 'train')
    for split in ('train', 'val'):
        for name in ('0', '1'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / '1.jpg').write_bytes(source.read(1))
    with pytest.raises(UserError, match='2 classes and the network 10: give `classes` 2'):
        train(tmp_path / 'runs', tmp_path)
    open_sources(dataclasses.replace(PLAIN, classes=12), Options(data_dir=str(images)))
    assert 'the data has labels up to 9 and names no classes; the network has 12' in caplog.text


def test_synthetic_data_is_that_many_steps_of_every_size(tmp_path):
    recipe = dataclasses.replace(tiny.RECIPE, num_epochs=1)
    folder, validation = tiny.run(tmp_path / 'run', None, recipe, synthetic_data=3)
    assert validation.images == 7
    assert [line['step'] for line in lines(folder, 'loss')] == [1, 2, 3]
    times = [json.loads(line) for line in (folder / 'timing.jsonl').read_text().splitlines()]
    shares = {
        name: times[-1][f'{name}_share']
        for name in ('data', 'compute', 'wait', 'allreduce', 'checkpoint')}
    assert 0.5 < sum(shares.values()) <= 1 and max(shares, key=shares.get) == 'compute'


@pytest.mark.parametrize('options, sentence', [
    ({'synthetic_data': 0}, '`synthetic_data` must be 1 or more, not 0'),
    ({'synthetic_data': 5, 'data_dir': 'x'}, '`synthetic_data` and `data_dir` exclude each other')])
def test_synthetic_data_excludes_other_data(options, sentence):
    with pytest.raises(UserError, match=sentence):
        Options(**options)


def test_a_deterministic_run_refuses_what_would_change_its_bits(tmp_path, images):
    recipe = dataclasses.replace(PLAIN, deterministic=True)
    folder, _ = tiny.run(tmp_path / 'run', images, recipe)
    made = json.loads((folder / 'run.json').read_text())
    for changes, sentence in (
            ({'threads': made['threads'] + 1}, f'set OMP_NUM_THREADS={made["threads"] + 1}'),
            ({'recipe': {**made['recipe'], 'ranks': 2, 'batch_size': 10}}, 'on 2 ranks, not 1: '
                                                                           'start as many')):
        (folder / 'run.json').write_text(json.dumps({**made, **changes}))
        with pytest.raises(UserError, match=sentence):
            tiny.run(folder, images, recipe, resume=True)
