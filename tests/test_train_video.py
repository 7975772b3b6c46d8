"""Clips through the loop of images: the same exactness, whoever decodes, wherever it was cut."""
import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny
import tiny_video

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier
from gluon_a2.errors import UserError
from gluon_a2.models import get_model
from gluon_a2.run import checkpoint, network
from gluon_a2.run.options import Options
from gluon_a2.run.recipes import RECIPES
from gluon_a2.train import datasets as sources
from gluon_a2.train.loop import Loop
from gluon_a2.train.reading import measure, save_contact_sheet

pytestmark = pytest.mark.usefixtures('tiny_zoo')
STEPS = 6  # 11 videos, 4 a step, two epochs


@pytest.fixture(scope='module')
def uncut(tmp_path_factory, videos):
    return tiny_video.run(tmp_path_factory.mktemp('uncut') / 'run', videos)


def test_the_run_and_what_it_exports(uncut, videos):
    folder, validation = uncut
    meta = json.loads((folder / 'export' / 'a2_tiny_3d-meta.json').read_text())
    assert (meta['layout'], meta['input_shape'], meta['frame_stride']) == ('NCDHW', [3, 4, 16,
                                                                                     16], 3)
    assert meta['classes'] == list(data.open_video_source(videos, 'train').classes)
    assert validation.images == 7
    found = checkpoint.find(folder / 'checkpoints', 'last')
    assert found.state['at']['step'] == STEPS and found.state['split'] is None


def test_the_exported_files_repeat_the_validation(uncut, videos):
    folder, validation = uncut
    scores = Classifier(folder / 'export' / 'a2_tiny_3d', views=1).score(
        data.open_video_source(videos, 'val'))
    assert (scores.videos, scores.top1, scores.clip_top1) == (7, validation.top1, validation.top1)


@pytest.mark.parametrize('kept', [4, 1])  # in the second epoch and in the first
def test_cut_after_a_step_and_resumed_it_ends_bit_identical(tmp_path, videos, uncut, kept,
                                                              monkeypatch):
    """What is left comes in the same order and with the same pixels, whoever decodes."""
    step = Loop.train_step

    def cut(self, batches, lr):
        if self.at.step == kept:
            raise KeyboardInterrupt
        return step(self, batches, lr)

    monkeypatch.setattr(Loop, 'train_step', cut)
    with pytest.raises(KeyboardInterrupt):
        tiny_video.run(tmp_path / 'run', videos)
    monkeypatch.undo()
    assert checkpoint.find(tmp_path / 'run' / 'checkpoints', 'last').state['at']['step'] == kept
    tiny_video.run(tmp_path / 'run', videos, resume=True, num_data_workers=kept % 2)
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(uncut[0])
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut[0] / 'log.jsonl').read_text()


def test_a_run_may_end_within_an_epoch(tmp_path, videos):
    recipe = dataclasses.replace(tiny_video.RECIPE, num_steps=4)
    folder, validation = tiny_video.run(tmp_path / 'run', videos, recipe)
    assert checkpoint.find(folder / 'checkpoints',
                           'last').state['at']['step'] == 4 and validation.images == 7
    # nothing is left to do
    assert tiny_video.run(folder, videos, recipe, resume=True)[1] == validation


def test_who_decodes_changes_nothing(tmp_path, videos, uncut):
    tiny_video.run(tmp_path / 'run', videos, num_data_workers=2)
    assert tiny.final_tensors(tmp_path / 'run')[0] == tiny.final_tensors(uncut[0])[0]
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (uncut[0] / 'log.jsonl').read_text()


@pytest.mark.parametrize('changes', [{'frame_stride': 0}, {'max_scale': 1.0}, {'blocks': 'conv4:2'},
                                     {'model': 'nl_tiny_3d'}])
def test_each_choice_of_a_video_recipe_changes_what_is_trained(tmp_path, videos, uncut, changes):
    folder, _ = tiny_video.run(tmp_path / 'run', videos,
                               dataclasses.replace(tiny_video.RECIPE, num_steps=1, **changes))
    tensors, state = tiny.final_tensors(folder)
    assert state['at']['step'] == 1 and tensors != tiny.final_tensors(uncut[0])[0]
    assert ('param/conv3_unit1_a2_phi_conv_weight'
            in tensors) == (changes.keys() & {'blocks', 'model'} == set())


def test_a_damaged_video_is_left_out_named_and_capped(tmp_path, videos, caplog):
    shutil.copytree(videos, tmp_path / 'videos')
    bad = tmp_path / 'videos' / 'train' / 'up' / '005.mp4'
    bad.write_bytes(b'<html>404</html>')
    (tmp_path / 'videos' / 'val' / 'up' / '005.mp4').write_bytes(b'')
    recipe = dataclasses.replace(tiny_video.RECIPE, num_epochs=1)
    folder, validation = tiny_video.run(tmp_path / 'run', tmp_path / 'videos', recipe,
                                        max_damaged=1)
    assert f'left out {bad}' in caplog.text
    assert f'counted as wrong: {tmp_path}/videos/val/up/005.mp4' in caplog.text
    assert validation.images == 7
    assert checkpoint.find(folder / 'checkpoints', 'last').state['damaged'] == [str(bad)]
    with pytest.raises(UserError, match='1 damaged samples, the last of them .*005.mp4, are more '
                                        'than the 0 allowed'):
        tiny_video.run(tmp_path / 'run2', tmp_path / 'videos', recipe, max_damaged=0)


def test_reading_alone_and_a_look_at_what_is_read(tmp_path, videos):
    options = Options(data_dir=str(videos), num_data_workers=0)
    assert measure(tiny_video.RECIPE, options)[:2] == (11, 0)
    save_contact_sheet(tiny_video.RECIPE, options, tmp_path / 'clips.png')
    import cv2
    assert cv2.imread(str(tmp_path / 'clips.png')).std() > 20


# ---- what a network starts from

def parameters(name, classes, path, **options):
    net = get_model(name, classes=classes, **options)
    net.initialize(mx.init.Xavier())
    net.collect_params().save(str(path))
    return {key: value.data().asnumpy() for key, value in net.collect_params().items()}


LARGER = dataclasses.replace(tiny_video.RECIPE, model='a2_resnet26_3d')


def started(path, **changes):
    recipe = dataclasses.replace(LARGER, pretrained=str(path), **changes)
    return {
        key: value.data().asnumpy()
        for key, value in network.build(recipe).collect_params().items()}


def test_from_image_weights_the_blocks_being_new(tmp_path):
    image = parameters('resnet26', 1000, tmp_path / 'image.params')
    video, fresh = started(tmp_path / 'image.params',
                           starts_from='image'), network.build(
                               dataclasses.replace(LARGER, identity=True))
    kernel = image['conv3_unit1_conv2_conv_weight']
    np.testing.assert_array_equal(video['conv3_unit1_conv2_conv_weight'],
                                  np.stack([kernel / 3] * 3, axis=2))
    name = 'conv3_unit1_a2_phi_conv_weight'  # of the seed, as without weights
    np.testing.assert_array_equal(video[name], fresh.collect_params()[name].data().asnumpy())
    assert 0.009 < video['fc_weight'].std() < 0.011  # of other classes: small logits at first


def test_from_a_video_network_of_other_classes(tmp_path):
    kinetics = parameters('a2_resnet26_3d', 400, tmp_path / 'kinetics.params')
    video = started(tmp_path / 'kinetics.params', starts_from='video')
    for name, value in kinetics.items():
        assert name.startswith('fc_') or (video[name] == value).all()
    assert video['fc_weight'].shape == (6, 1024)


def test_what_a_recipe_starts_from_must_be_given():
    for name, what in (('kinetics_a2_resnet50', 'an ImageNet network'), ('ucf101', 'a Kinetics '
                                                                                   'network')):
        with pytest.raises(UserError, match=f'the recipe starts from the weights of {what}: give '
                                            'its .params file as `pretrained`, or say '
                                            '`starts_from` random'):
            network.check_model(RECIPES[name])
        network.check_model(dataclasses.replace(RECIPES[name], starts_from='random'))


@pytest.mark.parametrize('name, model, sentence', [
    ('moving_digits', 'a2_resnet26', 'a2_resnet26 is an image network: choose a video network'),
    ('digits', 'a2_resnet26_3d', 'a2_resnet26_3d is a video network: choose an image network')])
def test_networks_for_the_other_kind_of_input_are_refused(name, model, sentence):
    with pytest.raises(UserError, match=sentence):
        network.check_model(dataclasses.replace(RECIPES[name], model=model))


@pytest.mark.parametrize('given, sentence', [
    ({'list_train': 'a'}, '`list_train` needs `list_val`'),
    ({'list_train': 'a', 'list_val': 'b'}, '`list_train` needs `list_format`'),
    ({'split': 1}, '`split` needs `data_dir`'), ({'splits': 'x'}, '`splits` needs `split`'),
    ({'split': 1, 'data_dir': 'x', 'list_train': 'a', 'list_val': 'b',
      'list_format': 'path-label'}, 'exclude each')])
def test_options_that_make_no_sense_are_named(given, sentence):
    with pytest.raises(UserError, match=sentence):
        Options(**given)


def test_synthetic_clips(tmp_path):
    folder, validation = tiny_video.run(tmp_path / 'run', None,
                                        dataclasses.replace(tiny_video.RECIPE, num_epochs=1),
                                        synthetic_data=2)
    assert validation.images == 2


def test_the_embedded_set_is_named_in_the_record(tmp_path):
    assert sources.data_name(RECIPES['moving_digits'], Options()) == 'moving digits'
    assert sources.data_name(RECIPES['digits'], Options()) == 'digits'
    assert sources.data_name(RECIPES['ucf101'], Options(data_dir='x', split=2)) == 'x'
