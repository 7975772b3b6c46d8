import argparse
import dataclasses
import inspect
import json
import math
import re

import pytest

from gluon_a2 import data
from gluon_a2.errors import UserError
from gluon_a2.flags import flag_name
from gluon_a2.models.table import find_row
from gluon_a2.run import recipes
from gluon_a2.run.recipes import RECIPES, Recipe, choose, environment


def parse(*argv, dims=2):
    flags = argparse.ArgumentParser()
    recipes.add_flags(flags, dims)
    return vars(flags.parse_args(argv))


def test_the_papers_imagenet_settings():
    recipe = RECIPES['imagenet_a2_resnet50']
    paper = dataclasses.replace(recipe, accumulate=64)  # the paper: 64 GPUs with 32 images each
    assert paper.global_batch == 2048
    assert paper.effective_lr == pytest.approx(math.sqrt(0.1))
    assert (recipe.lr_mode, recipe.lr_decay) == ('plateau', 0.1)
    assert (recipe.model, recipe.input_size, recipe.classes, recipe.batch_size) == ('a2_resnet50',
                                                                                    224, 1000, 32)
    assert (recipe.momentum, recipe.wd) == (0.9, 1e-4)


def test_the_dual_path_networks_augmentation():
    recipe = RECIPES['imagenet_a2_resnet50']
    assert (recipe.draws, recipe.interpolation) == ('dpn', 'bicubic')
    assert (recipe.min_area, recipe.max_area, recipe.min_aspect,
            recipe.max_aspect) == (0.08, 1, 3 / 4, 4 / 3)
    assert (recipe.hue, recipe.saturation, recipe.lightness, recipe.mirror) == (20, 40, 50, True)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_names_a_network_that_takes_its_input(name):
    row, recipe = find_row(RECIPES[name].model), RECIPES[name]
    assert len(recipe.space) == row.dims
    assert all(n >= s for n, s in zip(recipe.space, row.stride))


def test_the_papers_kinetics_settings():
    ablation, transfer, ucf = (RECIPES[name]
                               for name in ('kinetics_ablation', 'kinetics_a2_resnet50', 'ucf101'))
    assert (ablation.frames, ablation.input_size, ablation.num_steps) == (16, 112, 37000)
    assert (ablation.lr_mode, ablation.lr_decay, ablation.lr_decay_step) == ('step', 0.1, (20000,
                                                                                           30000))
    assert (transfer.frames, transfer.frame_stride, transfer.input_size,
            transfer.num_steps) == (8, 8, 224, 32000)
    assert (transfer.lr_mode, transfer.starts_from, ucf.starts_from) == ('plateau', 'image',
                                                                         'video')
    assert (ucf.lr_decay, ucf.plateau_decays, ucf.classes) == (0.1, 3, 101)
    assert (ucf.lr_mult, ucf.dropout) == (('.*=0.2', 'classifier=1'), 0.5)
    for recipe, gpus, batch, lr in ((ablation, 32, 512, 0.2), (transfer, 64, 512, 0.04),
                                    (ucf, 8, 104, 0.01)):
        paper = dataclasses.replace(recipe, ranks=gpus)
        assert (paper.global_batch, paper.effective_lr) == (batch, pytest.approx(lr))


def test_the_authors_video_augmentation():
    for name in ('kinetics_ablation', 'kinetics_a2_resnet50', 'ucf101'):
        recipe = RECIPES[name]
        assert (recipe.hue, recipe.lightness, recipe.saturation, recipe.mirror) == (15, 35, 25,
                                                                                    True)
        assert (recipe.draws, recipe.stretch, recipe.interpolation) == ('mfnet', 'both', 'bilinear')
        assert recipe.train_strides == ((1, 2, 2, 3) if name == 'kinetics_ablation' else ())
        # 0.8², 1.25²
        assert (recipe.max_scale, recipe.min_aspect, recipe.max_aspect) == (288 / 224, 0.64, 1.5625)
        assert round(recipe.input_size / recipe.crop_ratio) == {224: 256,
                                                                112: 128}[recipe.input_size]


def test_a_stride_that_is_given_holds_in_training_too():
    assert choose('kinetics_ablation', {}).train_strides == (1, 2, 2, 3)
    given = choose('kinetics_ablation', {'frame_stride': 4})
    assert (given.frame_stride, given.train_strides) == (4, ())
    both = choose('kinetics_ablation', {'frame_stride': 4, 'train_strides': (3, 5)})
    assert both.train_strides == (3, 5)


def test_words_of_a_recipe_are_those_of_what_takes_them():
    def words(cls, name):
        return cls.__dataclass_fields__[name].metadata['choices']

    assert words(Recipe, 'stretch') == words(data.ClipPreprocessing, 'stretch')
    assert words(Recipe, 'interpolation') == words(data.Preprocessing, 'interpolation')
    assert set(words(Recipe, 'draws')) == {*words(data.TrainTransform, 'draws'),
                                           *words(data.TrainClip, 'draws')}


def test_a_recipe_of_the_other_script_is_refused_with_its_name():
    with pytest.raises(UserError, match='ucf101 is a recipe of videos: choose one of digits, '):
        choose('ucf101', {}, 2)
    with pytest.raises(UserError, match='digits is a recipe of images: choose one of moving'):
        choose('digits', {}, 3)


def test_placements():
    assert choose('kinetics_ablation', {'blocks': 'conv3:1,2;conv4:2'}).placement == {
        'conv3': (1, 2), 'conv4': (2, )}
    assert choose('kinetics_ablation', {}).placement is None
    for wrong in ('conv4', 'conv4:', 'conv4:a', 'conv3:1;', ';'):
        with pytest.raises(UserError, match='`blocks` must be like conv3:1,2;conv4:2'):
            choose('kinetics_ablation', {'blocks': wrong})


def test_flags_are_of_images_or_of_video():
    images, videos = argparse.ArgumentParser(), argparse.ArgumentParser()
    recipes.add_flags(images, 2)
    recipes.add_flags(videos, 3)
    assert '--frames' in videos.format_help() and '--frames' not in images.format_help()
    assert '--min-area' in images.format_help() and '--min-area' not in videos.format_help()


def test_learning_rate_scales_with_the_batch_unless_given():
    assert choose('imagenet_a2_resnet50', {'batch_size': 64}).effective_lr == pytest.approx(
        math.sqrt(0.1) / 32)
    assert choose('imagenet_a2_resnet50', {'batch_size': 64, 'lr': 0.2}).effective_lr == 0.2
    assert choose('imagenet_a2_resnet50',
                  {'batch_size': 64, 'lr': 0.2, 'base_batch': 256}).effective_lr == 0.05
    assert choose('digits', {'accumulate': 4}).effective_lr == RECIPES['digits'].lr


@pytest.mark.parametrize('name, given, micro_batches', [
    ('kinetics_ablation', {}, 32), ('kinetics_ablation', {'ranks': 8}, 4),
    ('kinetics_ablation', {'ranks': 32}, 1),
    ('kinetics_ablation', {'ranks': 64, 'batch_size': 8}, 1),
    ('kinetics_a2_resnet50', {'batch_size': 4, 'lr': 0.1}, 128)])
def test_a_recipe_of_steps_keeps_its_batch_by_accumulating(name, given, micro_batches):
    recipe = choose(name, given)
    assert (recipe.accumulate, recipe.global_batch) == (micro_batches, 512)
    assert recipe.effective_lr == RECIPES[name].lr or 'lr' in given


def test_a_recipe_of_steps_that_cannot_keep_its_batch_is_refused_with_the_numbers():
    with pytest.raises(UserError) as error:
        choose('kinetics_ablation', {'ranks': 3})
    assert str(error.value) == (
        'kinetics_ablation takes 37000 steps of 512 samples, not of 480 (`batch_size` 16 × '
        '`accumulate` 10 × 3 ranks). Choose a `batch_size` that makes 512, or say how many '
        'steps (`num_steps` 39466 see as many samples)')
    with pytest.raises(UserError, match='of 512 samples, not of 16 .*`num_steps` 1184000 see'):
        choose('kinetics_ablation', {'accumulate': 1})
    with pytest.raises(UserError, match='of 512 samples, not of 1024 '):
        choose('kinetics_ablation', {'ranks': 64})
    assert choose('kinetics_ablation', {'ranks': 3, 'num_steps': 100}).global_batch == 48


def test_every_field_is_a_flag_and_absent_when_not_given():
    assert parse() == {}
    texts = {bool: None, int: '3', float: '0.5', str: 'nag', tuple: '30,60', type(None): '7'}
    for field in dataclasses.fields(Recipe):
        if field.name in ('ranks', 'embedded'):  # the launcher's; a recipe's own
            continue
        text = None if field.name == 'identity' else texts[type(field.default)]
        given = parse(flag_name(field.name), *([text] if text else []),
                      dims=field.metadata.get('dims', 2))
        assert list(given) == [field.name]
        assert field.default is None or type(given[field.name]) in (type(field.default), float)


def test_flags_that_are_more_than_a_number():
    assert parse('--label-smoothing') == {'label_smoothing': 0.1}
    assert parse('--label-smoothing', '0.2') == {'label_smoothing': 0.2}
    assert parse('--lr-decay-epoch', '30,60') == {'lr_decay_epoch': (30.0, 60.0)}
    assert parse('--no-mirror', '--mixup') == {'mirror': False, 'mixup': True}
    assert parse('--no-wd') == {'no_wd': True}


@pytest.mark.parametrize('field, value, sentence', [
    ('lr_mode', 'linear', "`lr_mode` must be one of plateau, step, cosine, poly, not 'linear'"),
    ('optimizer', 'adam', "`optimizer` must be one of nag, sgd, not 'adam'"),
    ('dtype', 'float64', "`dtype` must be one of float32, float16, bfloat16, not 'float64'"),
    ('association', 'middle', "`association` must be one of left, right, auto, not 'middle'"),
    ('lr', -1.0, '`lr` must be above 0, not -1.0'),
    ('lr', math.nan, '`lr` must be a finite number, not nan'),
    ('wd', math.inf, '`wd` must be a finite number, not inf'),
    ('batch_size', 0, '`batch_size` must be 1 or more, not 0'),
    ('accumulate', 0, '`accumulate` must be 1 or more, not 0'),
    ('num_epochs', -3, '`num_epochs` must be 1 or more, not -3'),
    ('label_smoothing', 1.0, '`label_smoothing` must be 0 or more and below 1, not 1.0'),
    ('dropout', -0.1, '`dropout` must be 0 or more and below 1, not -0.1'),
    ('mixup_alpha', 0.0, '`mixup_alpha` must be above 0, not 0.0'),
    ('warmup_epochs', -1, '`warmup_epochs` must be 0 or more, not -1'),
    ('seed', -1, '`seed` must be 0 to 2147483647, not -1'),
    ('seed', 99999999999999999999, '`seed` must be 0 to 2147483647, not 99999999999999999999'),
    ('momentum', 2.0, '`momentum` must be 0 or more and below 1, not 2.0'),
    ('classes', 1, '`classes` must be 2 or more, not 1'),
    ('clip_gradient', -1.0, '`clip_gradient` must be 0 or more, not -1.0'),
    ('ema', 1.0, '`ema` must be 0 or more and below 1, not 1.0'),
    ('early_stop', -1, '`early_stop` must be 0 or more, not -1'),
    ('freeze', ('*_weight',), '`freeze` *_weight is no regular expression (nothing to repeat at '
                              'position 0): .* stands for any letters'),
    ('lr_mult', ('(=2',), '`lr_mult` ( is no regular expression (missing ), unterminated '
                          'subpattern at position 0): .* stands for any letters'),
    *(('lr_mult', (word,), f'`lr_mult` must be like conv=0.2, with a factor above 0, not {word!r}; '
                           '`freeze` stops parameters')
      for word in ('fc', 'fc=', 'fc=fast', 'fc=0', 'fc=nan', '=2')),
    ('lr_decay_epoch', (60.0, 40.0), '`lr_decay_epoch` must rise, not be 60,40'),
    ('lr_decay_step', (30.0, 20.0, 40.0), '`lr_decay_step` must rise, not be 30,20,40')])
def test_bad_values_are_named_with_their_flag(field, value, sentence):
    with pytest.raises(UserError) as error:
        choose('digits', {field: value})
    assert str(error.value) == sentence


def test_the_papers_recipe_is_written_out_in_full():
    """Where it says √0.1 and the batch that is for, a reader finds the rest, too."""
    source = inspect.getsource(recipes)
    row = source[source.index('IMAGENET = '):source.index('\n# What the video recipes share')]
    said = set(re.findall(r'(\w+)=', row))
    assert {field.name for field in dataclasses.fields(Recipe)} - said == {
        'embedded', 'association', 'softmax', 'blocks', 'plug', 'ratio', 'm', 'n', 'identity',
        'last_gamma', 'pretrained', 'starts_from', 'mean', 'std', 'pixels', 'interpolation',
        'frames', 'frame_stride', 'train_strides', 'stretch', 'views', 'crops', 'max_scale',
        'accumulate', 'ranks', 'no_wd', 'dtype', 'compression', 'exact_sums', 'deterministic',
        'num_steps', 'lr_decay_epoch', 'lr_decay_step', 'target_lr', 'warmup_epochs', 'warmup_lr',
        'dropout', 'label_smoothing', 'mixup', 'mixup_alpha', 'mixup_off_epoch', 'seed', 'freeze',
        'lr_mult', 'clip_gradient', 'ema', 'early_stop'}
    assert 'Section 3.3' in source and 'math.sqrt(0.1), base_batch=2048' in row


def test_unknown_recipe_lists_all():
    with pytest.raises(UserError, match="unknown recipe 'imagnet': choose one of digits, far, "
                                        "near, imagenet_a2_resnet50"):
        choose('imagnet', {})


@pytest.mark.parametrize('name', RECIPES)
def test_json_round_trip(name):
    assert recipes.from_json(json.loads(json.dumps(recipes.to_json(
        RECIPES[name])))) == RECIPES[name]


def test_recipes_of_other_versions():
    """An older one lacks fields, a newer one has more."""
    values = json.loads(json.dumps(recipes.to_json(RECIPES['digits'])))
    for name in ('ranks', 'compression', 'exact_sums', 'deterministic'):
        del values[name]
    assert recipes.from_json(values) == RECIPES['digits']
    for name in ('draws', 'stretch', 'train_strides'):
        del values[name]
    older = recipes.from_json(values)  # drawn, stretched and strided as it was before
    assert (older.draws, older.stretch, older.train_strides) == ('uniform', 'training', ())
    assert repr(recipes.from_json({**values, 'hue': 5.0}).hue) == '5'
    with pytest.raises(UserError, match="the recipe has a field 'cutout' that this version of "
                                        'gluon_a2 does not know: use the version that wrote it'):
        recipes.from_json({**values, 'cutout': True})


def test_a_deterministic_run_prepares_the_libraries_and_no_other_does():
    assert environment(choose('digits', {})) == {}
    assert environment(choose('digits', {'deterministic': True})) == {
        'MXNET_ENFORCE_DETERMINISM': '1', 'MXNET_CUDNN_AUTOTUNE_DEFAULT': '0', 'NCCL_ALGO': 'Ring',
        'HOROVOD_FUSION_THRESHOLD': '0'}


@pytest.mark.parametrize('given, sentence', [
    ({'mixup_alpha': 0.4}, '`mixup_alpha` has no effect without `mixup`: add that'),
    ({'warmup_lr': 0.1, 'warmup_epochs': 0}, '`warmup_lr` has no effect without `warmup_epochs`:'),
    ({'target_lr': 0.1}, '`target_lr` has no effect without `lr_mode` cosine or poly:'),
    ({'plateau_gain': 0.1, 'lr_mode': 'step'}, 'has no effect without `lr_mode` plateau:')])
def test_options_without_effect_are_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        recipes.choose('imagenet_resnet50', given)
    together = {'mixup': True, 'warmup_epochs': 1, 'lr_mode': 'cosine', 'mixup_alpha': 0.4,
                'warmup_lr': 0.1, 'target_lr': 0.1}
    assert recipes.choose('imagenet_resnet50', together).warmup_lr == 0.1
