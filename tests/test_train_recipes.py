import argparse
import dataclasses
import json
import math

import pytest

from gluon_a2.errors import UserError
from gluon_a2.models.table import find_row
from gluon_a2.train import recipes
from gluon_a2.train.recipes import RECIPES, Recipe, choose, environment


def parse(*argv):
    flags = argparse.ArgumentParser()
    recipes.add_flags(flags)
    return vars(flags.parse_args(argv))


def test_the_papers_imagenet_settings():
    recipe = RECIPES['imagenet_a2_resnet50']
    paper = dataclasses.replace(recipe, accumulate=64)  # the paper: 64 GPUs with 32 images each
    assert paper.global_batch == 2048
    assert paper.effective_lr == pytest.approx(math.sqrt(0.1))
    assert (recipe.lr_mode, recipe.lr_decay) == ('plateau', 0.1)
    assert (recipe.model, recipe.input_size, recipe.classes, recipe.batch_size) == ('a2_resnet50', 224, 1000, 32)
    assert (recipe.momentum, recipe.wd) == (0.9, 1e-4)


def test_the_dual_path_networks_augmentation():
    recipe = RECIPES['imagenet_a2_resnet50']
    assert (recipe.min_area, recipe.max_area, recipe.min_aspect, recipe.max_aspect) == (0.08, 1, 3 / 4, 4 / 3)
    assert (recipe.hue, recipe.saturation, recipe.lightness, recipe.mirror) == (20, 40, 50, True)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_names_a_network_that_takes_its_input(name):
    row = find_row(RECIPES[name].model)
    assert row.dims == 2 and RECIPES[name].input_size >= max(row.stride)


def test_learning_rate_scales_with_the_batch_unless_given():
    assert choose('imagenet_a2_resnet50', {'batch_size': 64}).effective_lr == pytest.approx(math.sqrt(0.1) / 32)
    assert choose('imagenet_a2_resnet50', {'batch_size': 64, 'lr': 0.2}).effective_lr == 0.2
    assert choose('imagenet_a2_resnet50', {'batch_size': 64, 'lr': 0.2, 'base_batch': 256}).effective_lr == 0.05
    assert choose('digits', {'accumulate': 4}).effective_lr == RECIPES['digits'].lr


def test_every_field_is_a_flag_and_absent_when_not_given():
    assert parse() == {}
    texts = {bool: None, int: '3', float: '0.5', str: 'nag', tuple: '30,60.5', type(None): '7'}
    for field in dataclasses.fields(Recipe):
        if field.name == 'ranks':  # the launcher's
            continue
        text = texts[type(field.default)]
        given = parse(recipes.flag_name(field), *([text] if text else []))
        assert list(given) == [field.name]
        assert field.default is None or type(given[field.name]) in (type(field.default), float)


def test_flags_that_are_more_than_a_number():
    assert parse('--label-smoothing') == {'label_smoothing': 0.1}
    assert parse('--label-smoothing', '0.2') == {'label_smoothing': 0.2}
    assert parse('--lr-decay-epoch', '30,60') == {'lr_decay_epoch': (30.0, 60.0)}
    assert parse('--no-mirror', '--mixup') == {'mirror': False, 'mixup': True}
    assert parse('--no-wd') == {'no_wd': True}


@pytest.mark.parametrize('field, value, sentence', [
    ('lr_mode', 'linear', "--lr-mode must be one of plateau, step, cosine, poly, not 'linear'"),
    ('optimizer', 'adam', "--optimizer must be one of nag, sgd, not 'adam'"),
    ('dtype', 'float64', "--dtype must be one of float32, float16, not 'float64'"),
    ('association', 'middle', "--association must be one of left, right, auto, not 'middle'"),
    ('lr', -1.0, '--lr must be above 0, not -1.0'),
    ('lr', math.nan, '--lr must be a finite number, not nan'),
    ('wd', math.inf, '--wd must be a finite number, not inf'),
    ('batch_size', 0, '--batch-size must be 1 or more, not 0'),
    ('accumulate', 0, '--accumulate must be 1 or more, not 0'),
    ('num_epochs', -3, '--num-epochs must be 1 or more, not -3'),
    ('label_smoothing', 1.0, '--label-smoothing must be 0 or more and below 1, not 1.0'),
    ('dropout', -0.1, '--dropout must be 0 or more and below 1, not -0.1'),
    ('mixup_alpha', 0.0, '--mixup-alpha must be above 0, not 0.0'),
    ('warmup_epochs', -1, '--warmup-epochs must be 0 or more, not -1'),
    ('seed', -1, '--seed must be 0 or more, not -1')])
def test_bad_values_are_named_with_their_flag(field, value, sentence):
    with pytest.raises(UserError) as error:
        choose('digits', {field: value})
    assert str(error.value) == sentence


def test_unknown_recipe_lists_all():
    with pytest.raises(UserError, match="unknown recipe 'imagnet': choose one of digits, imagenet_a2_resnet50"):
        choose('imagnet', {})


@pytest.mark.parametrize('name', RECIPES)
def test_json_round_trip(name):
    assert recipes.from_json(json.loads(json.dumps(recipes.to_json(RECIPES[name])))) == RECIPES[name]


def test_a_deterministic_run_prepares_the_libraries_and_no_other_does():
    assert environment(choose('digits', {})) == {}
    assert environment(choose('digits', {'deterministic': True})) == {
        'MXNET_ENFORCE_DETERMINISM': '1', 'MXNET_CUDNN_AUTOTUNE_DEFAULT': '0', 'NCCL_ALGO': 'Ring',
        'HOROVOD_FUSION_THRESHOLD': '0'}
