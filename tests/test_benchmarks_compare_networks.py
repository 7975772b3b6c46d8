"""The rows of the comparison, and the accuracies that stand beside them."""
import importlib.util
import re

import loading
import pytest
from compare_networks import IMAGE, NETWORKS, VIDEO, choose
from compare_published import ACCURACIES

from gluon_a2.errors import UserError


def test_the_networks_the_comparison_is_for_are_there():
    ours = {
        f'{kind}{depth}' for kind in ('', 'a2_', 'nl_', 'se_')
        for depth in ('resnet50', 'resnet152')
    }
    assert set(IMAGE) == ours | {
        'resnet50_v1b', 'resnet50_v2', 'resnet152_v1b', 'se_resnet50_v1', 'mobilenetv2_1.0'
    }
    assert {'a2_resnet50_3d', 'c3d', 'i3d_inceptionv1', 'r2plus1d_resnet34',
            'i3d_nl5_resnet50_v1'} <= set(VIDEO)
    assert not any(NETWORKS[name].frames for name in IMAGE) and all(NETWORKS[name].frames
                                                                    for name in VIDEO)


def test_gluoncv_has_every_network_that_is_said_to_be_its():
    zoo = loading.gluoncv('gluoncv.model_zoo.model_zoo')
    assert {network.source for network in NETWORKS.values() if network.source} <= set(zoo._models)


def test_published_accuracies_are_of_networks_here_and_have_a_source():
    assert set(ACCURACIES) <= set(NETWORKS)
    for name, row in ACCURACIES.items():
        assert row.network == name and re.match(r'https://[a-z.]+/', row.source) and row.protocol
        assert 50 < row.top1 < (row.top5 or 100) <= 100
        assert ('paper, not reproduced here'
                in row.protocol) == (NETWORKS[name].family == 'gluon_a2')
        assert ('Kinetics' in row.protocol) == bool(NETWORKS[name].frames)


def test_table_4_and_table_5_of_the_paper():
    assert {
        name: ACCURACIES[name][1:3] for name in ACCURACIES if NETWORKS[name].family == 'gluon_a2'
    } == {
        'resnet50': (75.3, 92.2), 'resnet152': (77.0, 93.3), 'se_resnet50': (76.7, 93.4),
        'a2_resnet50': (77.0, 93.5), 'a2_resnet50_3d': (74.6, 91.5)
    }


def test_video_accuracies_are_of_the_clips_that_are_measured():
    for name in ('c3d', 'i3d_inceptionv1', 'r2plus1d_resnet34', 'i3d_nl5_resnet50_v1'):
        frames, height, width = NETWORKS[name].input_size
        assert ACCURACIES[name].protocol.endswith(f' of {frames} frames, 2 apart, {height}×{width}')


def test_choosing_in_any_case_once_and_at_another_size():
    image, video = choose(['ResNet26', 'resnet26', 'C3D'], 64)
    assert (image.name, image.input_size, image.shown_size) == ('resnet26', (64, 64), '64×64')
    assert video == NETWORKS['c3d']
    assert choose(['resnet26']) == [NETWORKS['resnet26']]


def test_mistakes_name_the_way_out(monkeypatch):
    with pytest.raises(UserError, match="unknown network 'resnet51': choose from a2_resnet152, "
                                        ".*se_resnet50_v1"):
        choose(['resnet50', 'resnet51'])
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert choose(['resnet26'])
    with pytest.raises(
            UserError,
            match=r"c3d comes from GluonCV.*pip install -e '.\[zoo\]' in .*, or leave it out"):
        choose(['resnet26', 'c3d'])
