"""Scoring files of weights: where they are found, what is done to the pixels, and the accuracy, by
hand."""
import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.compare.networks import choose
from gluon_a2.compare.preprocess import FamilyTransform
from gluon_a2.compare.score import columns, load, score
from gluon_a2.compare.weights import cache_folder, find_weights
from gluon_a2.compare.worker import build
from gluon_a2.errors import UserError
from gluon_a2.formats import params
from gluon_a2.scoring.metrics import Sums


def weights_file(network, path, seed=1):
    """Random weights that name one of the first ten classes, under the names that Gluon's
    `save_parameters` gives."""
    mx.random.seed(seed)
    net = build(network)
    net.initialize(mx.init.Xavier())
    values = {
        name: parameter.data().asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }
    bias = next(name for name, value in values.items() if value.shape == (1000,))
    values[bias] = np.where(np.arange(1000) < 10, values[bias], -1e3).astype(np.float32)
    path.write_bytes(params.to_bytes(values))
    return net, values


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """40 digits as validation records: their labels are the first of a thousand classes."""
    folder = tmp_path_factory.mktemp('imagenet')
    source = data.open_source(data.digits_folder(), 'val')
    with data.RecordWriter(folder / 'val.rec') as writer:
        for i in range(40):
            writer.write(source.read(i), int(source.labels[i]))
    return folder


class Pixels:
    """A source of one image."""

    def __init__(self, image):
        self._encoded = cv2.imencode('.png', image[:, :, ::-1])[1].tobytes()

    def read(self, index):
        return self._encoded


@pytest.mark.parametrize('family, mean, scale', [
    ('gluon_a2', (124, 117, 104), (.0167,) * 3),
    ('GluonCV', (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375))])
def test_pixels_by_hand(family, mean, scale):
    # 32 is 37 times 0.875, rounded
    image = np.random.default_rng(1).integers(0, 256, (37, 43, 3), np.uint8)
    out = np.empty((3, 32, 32), np.float32)
    transform = FamilyTransform(32, family=family)
    assert transform.shape == out.shape
    transform.fill(Pixels(image), 0, None, out)
    crop = image[2:34, 5:37].astype(np.float64)
    np.testing.assert_allclose(out, ((crop - mean) * scale).transpose(2, 0, 1), rtol=1e-5,
                               atol=1e-6)


def test_the_pixels_of_ours_are_what_our_own_scorer_feeds():
    image = np.random.default_rng(2).integers(0, 256, (61, 47, 3), np.uint8)
    ours, scorers = np.empty((2, 3, 32, 32), np.float32)
    FamilyTransform(32).fill(Pixels(image), 0, None, ours)
    data.Preprocessing(32).fill(Pixels(image), 0, None, scorers)
    np.testing.assert_allclose(ours, scorers, rtol=1e-5, atol=1e-6)


def test_accuracy_of_a_network_of_gluoncv_by_hand(digits, tmp_path):
    pytest.importorskip('gluoncv')
    (network,) = choose(['resnet18_v1b'], 32)
    net, values = weights_file(network, tmp_path / 'net.params')
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(values[name]))
    source = data.open_source(digits, 'val')
    crop = data.Preprocessing(32)
    pixels = np.stack([crop(data.decode(source.read(i))) for i in range(40)]) / 255
    inputs = ((pixels - (.485, .456, .406)) / (.229, .224, .225)).transpose(0, 3, 1, 2)
    order = np.argsort(-net(mx.nd.array(inputs)).asnumpy(), axis=1)
    right = order == source.labels[:, None]
    sums = score({network: tmp_path / 'net.params'}, digits, 7, 0)[network]
    assert (sums.images, sums.top1, sums.top5) == (40, right[:, 0].sum(), right[:, :5].sum())
    assert 0 < sums.top5 < 40


def test_columns():
    assert columns(Sums(8, 0., 2., 6.)) == {
        'scored_top1': 25, 'scored_top5': 75, 'scored_images': 8
    }
    assert set(columns(None).values()) == {None}


def test_files_of_another_network_or_damaged_are_refused(tmp_path):
    (network,) = choose(['resnet26'], 32)
    path = tmp_path / 'net.params'
    weights_file(network, path)
    load(network, path)
    with pytest.raises(UserError, match='holds weights of another network: '):
        load(choose(['se_resnet26'], 32)[0], path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match='net.params is not a sound .params file'):
        load(network, path)
    with pytest.raises(UserError, match='none.params cannot be read: No such file'):
        load(network, tmp_path / 'none.params')


def test_labels_beyond_the_classes_are_refused(tmp_path):
    source = data.open_source(data.digits_folder(), 'val')
    with data.RecordWriter(tmp_path / 'val.rec') as writer:
        writer.write(source.read(0), 1000)
    with pytest.raises(UserError, match='1 of 1 labels are outside 0…999'):
        score({choose(['resnet26'], 32)[0]: 'unread'}, tmp_path)


def test_where_weights_are_found(tmp_path, monkeypatch):
    """Named; or in GluonCV's cache, by the hash in their name; ours and those it publishes none of
    only when named."""
    store = pytest.importorskip('gluoncv.model_zoo.model_store')
    monkeypatch.setenv('MXNET_HOME', str(tmp_path))
    ours, theirs, unpublished, video = choose(['resnet26', 'resnet18_v1b', 'se_resnet50_v1', 'c3d'])
    assert find_weights([ours, unpublished, video], {'resnet26': 'a.params'}) == {
        ours: Path('a.params')
    }
    with pytest.raises(
            UserError, match=r'resnet18_v1b are not in .*models/resnet18_v1b-2d9d980c.params: add '
            r'--download .*--params resnet18_v1b=FILE'):
        find_weights([ours, theirs], {'resnet26': 'a.params'})
    cached = cache_folder() / 'resnet18_v1b-2d9d980c.params'
    cached.parent.mkdir()
    cached.write_bytes(b'as it was published')
    with pytest.raises(UserError, match='is damaged: its SHA-1 does not begin with 2d9d980c'):
        find_weights([theirs], {})
    digest = hashlib.sha1(b'as it was published').hexdigest()
    monkeypatch.setitem(store._model_sha1, 'resnet18_v1b', digest)
    cached.rename(cached.with_name(f'resnet18_v1b-{digest[:8]}.params'))
    assert find_weights([ours, theirs], {}) == {
        theirs: cached.with_name(f'resnet18_v1b-{digest[:8]}.params')
    }


def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip('gluoncv')
    monkeypatch.setenv('MXNET_HOME', str(tmp_path))
    monkeypatch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')  # nobody listens there
    with pytest.raises(
            UserError,
            match=r'resnet18_v1b cannot be downloaded \(.+\): bring the file here and name it'):
        find_weights(choose(['resnet18_v1b']), {}, download=True)


def test_mistakes_of_names():
    with pytest.raises(UserError, match='--params c3d=… is not one of the image networks that are '
                                        'compared: resnet26'):
        find_weights(choose(['resnet26', 'c3d']), {'c3d': 'a.params'})
    with pytest.raises(UserError, match='--pretrained found weights of no network'):
        find_weights(choose(['resnet26']), {})


def test_the_loaders_processes_import_no_mxnet():
    code = 'import sys, gluon_a2.compare.preprocess; print("mxnet" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          timeout=60)
    assert done.stdout == 'False\n'
