"""Attention maps that do not fit are refused before the first step: the paper's formula, and one
sentence."""
import dataclasses

import pytest

from gluon_a2.backend import mx
from gluon_a2.cost import attention_memory
from gluon_a2.errors import UserError
from gluon_a2.machine import resources
from gluon_a2.models import get_model
from gluon_a2.run import network
from gluon_a2.run.recipes import RECIPES
from gluon_a2.train.preflight import check_memory


def maps(name, size, batch=1, **options):
    net = get_model(name, classes=4, input_size=size, **options)
    return attention_memory(net(mx.sym.var('data')), data=(batch, 3, *size))


def test_a_non_local_block_at_conv2_needs_the_square_of_its_positions():
    """Table 2, "1 NL @ Conv2": 8·56·56 = 25,088 positions, two maps of 25,088² floats, and θ, φ, g
    have k = 32."""
    positions, k = 8 * 56 * 56, 32
    found = maps('nl_resnet26_3d', (16, 112, 112), batch=3, blocks={'conv2': (2,)})
    assert found == {'conv2_unit2_nl': 3 * 4 * (2 * positions ** 2 + k * positions)}
    assert found['conv2_unit2_nl'] == pytest.approx(3 * 5.04e9, rel=0.01)


@pytest.mark.parametrize('association, squares', [('left', 0), ('right', 1)])
def test_the_a2_block_there_needs_it_right_associated_only(association, squares):
    """Both softmaxes, N·n·dhw; Z; and between them G (m·n), or what Eq. 7 multiplies first
    ((dhw)²)."""
    positions, m = 2 * 9 * 9, 32
    found = maps('a2_resnet26_3d', (4, 18, 18), blocks={'conv2': (2,)}, association=association)
    between = positions ** 2 if squares else m * m
    assert found == {'conv2_unit2_a2': 4 * (3 * m * positions + between)}


def test_what_does_not_fit_is_refused_with_the_way_out():
    recipe = dataclasses.replace(RECIPES['kinetics_ablation'], model='nl_resnet26_3d',
                                 blocks='conv2:2', batch_size=2)
    net = network.create(recipe)
    with pytest.raises(UserError) as error:
        check_memory(net, recipe, free=8_000_000_000)
    assert str(error.value) == (
        'the images and attention maps of a micro-batch of 2 inputs of 16×112×112, with their '
        'gradient, need 15.12 GB, and 8.00 GB of memory are free. conv2_unit2_nl needs 15.12 of '
        'them. Lower `batch_size` or `input_size`, place the blocks later (`blocks`), or take A² '
        'blocks')
    check_memory(net, recipe, free=16_000_000_000)
    for model, blocks in (('a2_resnet26_3d', 'conv2:2'), ('resnet26_3d', None)):
        other = dataclasses.replace(recipe, model=model, blocks=blocks)
        check_memory(network.create(other), other, free=100_000_000)


@pytest.mark.parametrize('files, free', [
    ({}, 5_000_000 * 1024), ({'memory.max': '3000000', 'memory.current': '1000000'}, 2000000),
    ({'memory.max': 'max', 'memory.current': '1000000'}, 5_000_000 * 1024),
    ({'memory.max': '1000', 'memory.current': '3000'}, 0)])
def test_free_memory_is_the_containers_where_that_is_less(tmp_path, files, free):
    (tmp_path / 'meminfo').write_text('MemTotal:  9000000 kB\nMemAvailable:  5000000 kB\n')
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert resources.free_memory(tmp_path, tmp_path / 'meminfo') == free


def test_of_this_machine_it_knows_something():
    assert 0 < resources.free_memory() < 2 ** 50
