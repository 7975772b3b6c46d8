"""Weights that come along: found by name, whole, and as accurate as docs/models.md says."""
from pathlib import Path

import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier
from gluon_a2.errors import UserError
from gluon_a2.models import get_model, list_models, released
from gluon_a2.models.released import RELEASES
from gluon_a2.models.weights import read_weights
from gluon_a2.run.network import from_zoo
from gluon_a2.scoring.samples import open_samples

CARD = Path(__file__).resolve().parents[1] / 'docs' / 'models.md'


@pytest.mark.parametrize('name', RELEASES)
def test_get_model_gives_the_weights_of_the_file_and_their_classes(name):
    release = RELEASES[name]
    net = get_model(release.network, pretrained=name)
    assert net.classes == len(release.classes)
    values = read_weights(released.path_of(name))
    for key, parameter in net.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), values[key])


def test_true_is_the_first_of_a_network():
    first = next(iter(RELEASES.values()))
    net = get_model(first.network, pretrained=True)
    values = read_weights(released.path_of(next(iter(RELEASES))))
    np.testing.assert_array_equal(net.fc.weight.data().asnumpy(), values['fc_weight'])


def test_the_digits_release_is_right_as_often_as_its_row_says():
    made, release = from_zoo('a2_resnet26', 'digits'), RELEASES['digits']
    assert made.meta['classes'] == list(release.classes)
    scores = Classifier(made).score(open_samples(made.meta), 32, 0)
    assert scores.images == release.pictures
    # each CPU rounds in its own way: one picture may fall on the other side
    assert abs(round(scores.accuracy * scores.images) - release.correct) <= 1


def test_another_network_says_which_have_weights():
    with pytest.raises(UserError, match='no weights of resnet50 come along, only of a2_resnet26: '
                                        'give the path'):
        get_model('resnet50', pretrained=True)
    with pytest.raises(UserError, match='does not fit nl_resnet26'):
        get_model('nl_resnet26', pretrained='digits')


def test_a_damaged_or_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(released, 'HERE', tmp_path)
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path / 'cache'))
    with pytest.raises(UserError, match='not installed: copy gluon_a2/released/a2_resnet26-digits'):
        get_model('a2_resnet26', pretrained='digits')
    (tmp_path / 'a2_resnet26-digits.params').write_bytes(b'other')
    with pytest.raises(UserError, match='a2_resnet26-digits.params is not the released file'):
        get_model('a2_resnet26', pretrained='digits')


def test_the_cache_is_looked_at_too(tmp_path, monkeypatch):
    content = released.path_of('digits').read_bytes()
    monkeypatch.setattr(released, 'HERE', tmp_path)
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path))
    there = tmp_path / 'models' / 'a2_resnet26-digits.params'
    there.parent.mkdir()
    there.write_bytes(content)
    assert released.path_of('digits') == there


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = get_model('a2_resnet26', classes=10)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters('digits')
    again = get_model('a2_resnet26', pretrained='digits', classes=10)
    np.testing.assert_array_equal(again.fc.weight.data().asnumpy(), net.fc.weight.data().asnumpy())


@pytest.mark.parametrize('name', RELEASES)
def test_the_model_card_has_the_row(name):
    release = RELEASES[name]
    assert release.network in list_models()
    line, = (line for line in CARD.read_text().splitlines() if line.startswith(f'| `{name}` |'))
    for text in (f'`{release.network}`', f'{100 * release.top1:.2f} %',
                 f'{release.correct} of {release.pictures}', release.sha256[:16]):
        assert text in line
