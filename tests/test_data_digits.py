"""The digits: their counts, their split, and what happens to a broken cache."""
import concurrent.futures
import os

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from gluon_a2.data import decode, digits_folder, open_source
from gluon_a2.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return digits_folder(tmp_path_factory.mktemp('cache'))


def test_split(folder):
    truth = load_digits()
    train, val = open_source(folder, 'train'), open_source(folder, 'val')
    assert (len(train), len(val)) == (1438, 359)
    assert train.classes == tuple('0123456789') == val.classes
    np.testing.assert_array_equal(val.labels, truth.target[4::5])
    np.testing.assert_array_equal(train.labels, np.delete(truth.target, np.s_[4::5]))


@pytest.mark.parametrize(('split', 'i', 'original'),
                         [('train', 0, 0), ('train', 4, 5), ('val', 0, 4), ('val', 358, 1794)])
def test_pixels(folder, split, i, original):
    image = decode(open_source(folder, split).read(i))
    expected = cv2.resize(load_digits().images[original] * 255 / 16, (32, 32),
                          interpolation=cv2.INTER_CUBIC)
    assert image.shape == (32, 32, 3)
    assert abs(image[:, :, 0] - expected.clip(0, 255)).max() < 16  # JPEG


def test_reused_not_rewritten(folder):
    before = os.stat(os.path.join(folder, 'train.rec')).st_mtime_ns
    assert digits_folder(os.path.dirname(folder)) == folder
    assert os.stat(os.path.join(folder, 'train.rec')).st_mtime_ns == before
    assert os.listdir(os.path.dirname(folder)) == ['digits']


def test_environment_names_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path / 'some' / 'where'))
    assert digits_folder() == str(tmp_path / 'some' / 'where' / 'digits')


def test_default_is_in_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv('GLUON_A2_CACHE', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert digits_folder() == str(tmp_path / '.cache' / 'gluon_a2' / 'digits')


def test_several_at_once(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert set(pool.map(digits_folder, [tmp_path] * 3)) == {str(tmp_path / 'digits')}
    assert os.listdir(tmp_path) == ['digits']


@pytest.mark.parametrize('spoil', [
    lambda path: os.truncate(path + '/train.rec', 1000), lambda path: os.remove(path + '/val.rec'),
    lambda path: os.replace(path + '/val.rec', path + '/train.rec')])
def test_broken_cache(tmp_path, spoil):
    spoil(digits_folder(tmp_path))
    with pytest.raises(UserError, match='digits'):
        digits_folder(tmp_path)
