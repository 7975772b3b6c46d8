import dataclasses
import errno
import json
import math
import re
import shutil

import numpy as np
import pytest
import tiny
import tiny_imagenet

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.data import imagenet
from gluon_a2.errors import UserError
from gluon_a2.run import checkpoint, network
from gluon_a2.run.options import Options
from gluon_a2.train import loop
from gluon_a2.train.datasets import class_names, open_sources
from gluon_a2.train.loop import Diverged, Loop
from gluon_a2.train.step import Stepper

pytestmark = pytest.mark.usefixtures('tiny_zoo')
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
def test_a_run_cut_at_any_step_and_resumed_ends_bit_identical(tmp_path, monkeypatch, images, uncut,
                                                              step):
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, step)
        tiny.run(tmp_path / 'run', images)
    tiny.run(tmp_path / 'run', images, resume=True)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut / 'log.jsonl').read_text()


def test_what_a_kill_left_half_written_is_tidied_up(tmp_path, images, uncut):
    shutil.copytree(uncut, tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run' / 'checkpoints')
    (tmp_path / 'run' / 'checkpoints' / '.step-00000001.99.tmp').mkdir(parents=True)
    for name in ('.log.jsonl.99.tmp', 'export/.a2_tiny-meta.json.99.tmp'):
        (tmp_path / 'run' / name).write_text('half')
    tiny.run(tmp_path / 'run', images, resume=True)
    assert not list((tmp_path / 'run').rglob('.*.tmp'))
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)


def test_a_cut_between_checkpoints_replays_the_steps_since(tmp_path, monkeypatch, images, uncut):
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at(patch, STEPS - 1)
        tiny.run(tmp_path / 'run', images, save_steps=0)
    assert checkpoint.newest(tmp_path / 'run' / 'checkpoints').state['at']['step'] == STEPS // 2
    tiny.run(tmp_path / 'run', images, save_steps=0, resume=True, num_data_workers=2)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)


@pytest.mark.parametrize('cut', [False, True])
def test_a_checkpoint_that_is_lost_in_the_background_is_told(tmp_path, monkeypatch, images, caplog,
                                                             cut):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, 'Input/output error', 'the disk')

    with monkeypatch.context() as patch, pytest.raises(Cut if cut else OSError):
        patch.setattr(checkpoint, 'save', fail)
        if cut:
            cut_at(patch, 1)
        tiny.run(tmp_path / 'run', images)
    assert ('the last checkpoint was not written: [Errno 5] Input/output error'
            in caplog.text) == cut


def test_resuming_a_finished_run_changes_nothing(tmp_path, images, uncut):
    shutil.copytree(uncut, tmp_path / 'run')
    tiny.run(tmp_path / 'run', images, resume=True)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut / 'log.jsonl').read_text()


def test_another_seed_gives_another_run(tmp_path, images, uncut):
    tiny.run(tmp_path / 'run', images, dataclasses.replace(tiny.RECIPE, seed=1))
    assert tiny.final_tensors(tmp_path / 'run')[0] != tiny.final_tensors(uncut)[0]


def test_resume_refuses_another_recipe(uncut, images):
    with pytest.raises(UserError, match='was trained with lr=0.02, not 0.5: resume with the same '
                                        'flags'):
        tiny.run(uncut, images, dataclasses.replace(tiny.RECIPE, lr=0.5), resume=True)


def test_a_non_finite_loss_stops_the_run_names_the_step_and_keeps_the_last_checkpoint(
        tmp_path, images, monkeypatch):
    original = Loop.train_step

    def poison(self, batches, lr):
        if self.at.step == 4:
            self.stepper.parameters['fc_bias'].set_data(mx.nd.full(10, math.nan))
        return original(self, batches, lr)

    monkeypatch.setattr(Loop, 'train_step', poison)
    with pytest.raises(Diverged,
                       match=r'the loss is nan at step 4 \(epoch 1\): lower `lr` .*step-00000004'):
        tiny.run(tmp_path / 'run', images)
    assert checkpoint.newest(tmp_path / 'run' / 'checkpoints').state['at']['step'] == 4


def damage(path, count, indices):
    """Break records of a file in turn: no JPEG, half a JPEG, a flipped bit in the header, nothing
    at all."""
    source = data.open_source(data.digits_folder(), 'train')
    with data.RecordWriter(path) as writer:
        for i in range(count):
            blob = source.read(i)
            kind = indices.index(i) % 4 if i in indices else None
            blobs = {0: b'no image', 1: blob[:len(blob) // 2], 3: b''}
            writer.write(blobs.get(kind, blob), int(source.labels[i]))
    flipped = [i for i in indices if indices.index(i) % 4 == 2]
    offsets = dict(
        map(int, line.split()) for line in path.with_suffix('.idx').read_text().splitlines())
    with open(path, 'r+b') as file:
        for i in flipped:
            file.seek(offsets[i] + 30)
            byte = file.read(1)
            file.seek(offsets[i] + 30)
            file.write(bytes([byte[0] ^ 4]))


@pytest.mark.parametrize('count, bad, cap', [(100, [57], None), (40, [3, 10, 29, 36], 4)])
def test_with_one_percent_damaged_a_run_names_them_and_trains_on_none(tmp_path, caplog, monkeypatch,
                                                                      count, bad, cap):
    """Without a cap of its own: 1 % of 100."""
    damage(tmp_path / 'train.rec', count, bad)
    shutil.copy(tmp_path / 'train.rec', tmp_path / 'val.rec')
    seen, original = [], Stepper._forward_backward

    def note(self, batch, at, number):
        seen.extend((at.epoch, index) for index in batch.indices.tolist())
        return original(self, batch, at, number)

    monkeypatch.setattr(Stepper, '_forward_backward', note)
    folder, validation = tiny.run(tmp_path / 'run', tmp_path, max_damaged=cap)
    assert sorted(seen) == [(epoch, i) for epoch in range(2) for i in range(count) if i not in bad]
    for phrase in ('left out', 'counted as wrong'):
        named = re.findall(rf'{phrase}:? \S+#(\d+)', caplog.text)
        assert sorted(set(map(int, named))) == sorted(bad)
    assert validation.images == count
    with pytest.raises(
            UserError,
            match=rf'{len(bad)} damaged samples, .* more than the {len(bad) - 1} allowed'):
        tiny.run(tmp_path / 'capped', tmp_path, max_damaged=len(bad) - 1)


# ---- small pieces

def test_validation_scores_every_image_once_and_agrees_with_numpy(uncut, images):
    last = json.loads((uncut / 'log.jsonl').read_text().splitlines()[-1])
    net = network.restored(checkpoint.find(uncut / 'checkpoints', 'last'))
    from gluon_a2.deploy import Classifier
    classifier, source = Classifier(net), data.open_source(images, 'val')
    pixels = np.stack([classifier.preprocess(source.read(i)) for i in range(13)])
    assert last['val_images'] == 13
    assert last['val_top1'] == pytest.approx(
        tiny.accuracy_of(source.labels, classifier.logits(pixels)))


def test_imagenet_is_trained_on_as_it_is_distributed(tmp_path, monkeypatch, caplog):
    """From the tars as from class folders, to the bit; what is missing is said."""
    recipe = dataclasses.replace(tiny.RECIPE, classes=4, num_epochs=1, batch_size=3)
    monkeypatch.setattr(imagenet, 'names', lambda: dict.fromkeys(tiny_imagenet.WNIDS, 'x'))
    for name, write in (('tars', tiny_imagenet.write_archives),
                        ('folders', tiny_imagenet.write_folders)):
        caplog.clear()
        tiny.run(tmp_path / f'{name} run', write(tmp_path / name), recipe)
        said = [record.getMessage() for record in caplog.records]
        assert ('the classes are those of ImageNet, and the images are not all of it: train has 9 '
                'images instead of 1,281,167; val has 6 images instead of 50,000') in said
        assert any('img_train.tar' in line for line in said) == (name == 'tars')
    tars, folders = (tiny.final_tensors(tmp_path / f'{name} run')[0]
                     for name in ('tars', 'folders'))
    assert tars == folders


def test_class_names_fill_up_with_numbers():
    class Source:
        classes = ('cat', 'dog')
    assert class_names(dataclasses.replace(tiny.RECIPE, classes=3), Source) == ['cat', 'dog', '2']


@pytest.mark.parametrize('changes, options, sentence', [
    ({'dtype': 'float16'}, {}, '`dtype` float16 needs a GPU'),
    ({'classes': 5}, {}, 'labels are outside 0…4'),
    ({'input_size': 8}, {}, 'a2_tiny cannot take an input of 8×8'),
    ({'model': 'a2_resnet27'}, {}, "unknown model 'a2_resnet27'"),
    ({'model': 'a2_resnet26_3d'}, {}, 'a2_resnet26_3d is a video network'),
    ({'pretrained': 'missing.params'}, {}, 'the weights missing.params cannot be read: No such '
                                           'file'),
    ({}, {'data_dir': 'nowhere'}, "no train data in 'nowhere'"),
    ({}, {'data_dir': None, 'rec_train': 'x.rec', 'rec_val': 'y.rec'}, 'x.rec')])
def test_what_cannot_be_trained_is_one_sentence_and_leaves_no_run_behind(
        tmp_path, images, changes, options, sentence):
    with pytest.raises(UserError) as error:
        loop.train(
            dataclasses.replace(tiny.RECIPE, **changes),
            Options(**{'data_dir': str(images), 'save_dir': str(tmp_path / 'run'), **options}))
    assert sentence in str(error.value)
    assert not (tmp_path / 'run').exists()


def test_record_files_can_be_named_one_by_one(images):
    train, val = open_sources(tiny.RECIPE, Options(
        rec_train=str(images / 'train.rec'), rec_train_idx=str(images / 'train.idx'),
        rec_val=str(images / 'val.rec'), rec_val_idx=str(images / 'val.idx')))
    assert (len(train), len(val)) == (40, 13)
