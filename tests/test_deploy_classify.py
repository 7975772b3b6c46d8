import cv2
import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier
from gluon_a2.errors import UserError
from gluon_a2.train import network
from gluon_a2.train.recipes import RECIPES, choose


@pytest.fixture(scope='module')
def net():
    return network.build(RECIPES['digits'])


@pytest.fixture(scope='module')
def bundle(net):
    return network.bundle(net, RECIPES['digits'], list('0123456789'), {'data': 'digits'})


def picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def test_preprocessing_against_opencv_alone(net):
    recipe = choose('digits', {'crop_ratio': 0.5})
    image = picture(64, 79)
    encoded = cv2.imencode('.png', image[:, :, ::-1])[1].tobytes()
    # The short side, 64, is already 32/0.5, so only the crop is left: rows 16 to 48, columns 23.5 → 23 or 24.
    pixels = Classifier(network.bundle(net, recipe, list('0123456789'), {})).preprocess(encoded)
    crops = [(image[16:48, left:left + 32].transpose(2, 0, 1) - np.array([124, 117, 104])[:, None, None]) * 0.0167
             for left in (23, 24)]
    assert min(np.abs(pixels - crop).max() for crop in crops) < 1e-5


def test_logits_are_the_networks(net, bundle):
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(Classifier(bundle).logits(x), net(mx.nd.array(x)).asnumpy(), rtol=1e-5, atol=1e-5)


def test_predict_orders_names_by_softmax(net, bundle, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), picture(50, 41))
    classifier = Classifier(bundle)
    guesses = classifier.predict(tmp_path / 'a.png', top=10)
    logits = classifier.logits(classifier.preprocess((tmp_path / 'a.png').read_bytes())[None])[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    assert [name for name, _ in guesses] == [str(i) for i in np.argsort(-shares)]
    np.testing.assert_allclose([share for _, share in guesses], np.sort(shares)[::-1], rtol=1e-6)
    assert len(classifier.predict(tmp_path / 'a.png')) == 5


def test_mean_max_pooling_against_numpy(net, bundle):
    """At 32 the last map is 2×2 in training; at 80 it is 5×5, so 4×4 windows are classified."""
    x = np.random.default_rng(1).normal(size=(3, 3, 80, 80)).astype(np.float32)
    maps = net.features(mx.nd.array(x)).asnumpy().astype(np.float64)
    weight, bias = (net.fc.weight.data().asnumpy().astype(np.float64), net.fc.bias.data().asnumpy())
    assert maps.shape == (3, 1024, 5, 5)
    windows = [maps[:, :, i:i + 2, j:j + 2].mean(axis=(2, 3)) @ weight.T + bias for i in range(4) for j in range(4)]
    expected = (np.mean(windows, axis=0) + np.max(windows, axis=0)) / 2
    np.testing.assert_allclose(Classifier(bundle, size=80, mean_max=True).logits(x), expected, rtol=1e-4, atol=1e-4)


def test_mean_max_at_the_training_size_is_the_plain_network(bundle):
    x = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(Classifier(bundle, mean_max=True).logits(x), Classifier(bundle).logits(x),
                               rtol=1e-4, atol=1e-4)


def test_a_larger_size_without_mean_max_pools_the_larger_map(net, bundle):
    x = np.random.default_rng(1).normal(size=(2, 3, 47, 47)).astype(np.float32)
    expected = net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(Classifier(bundle, size=47).logits(x), expected, rtol=1e-4, atol=1e-4)


def test_score_counts_every_image_whatever_the_batch_and_workers(bundle):
    source, classifier = data.open_source(data.digits_folder(), 'val'), Classifier(bundle)
    sums = [classifier.score(source, batch_size, workers) for batch_size, workers in ((64, 0), (53, 2))]
    assert sums[0] == sums[1] and sums[0].images == 359
    labels = classifier.logits(np.stack([classifier.preprocess(source.read(i)) for i in range(359)])).argmax(axis=1)
    assert sums[0].top1 == (labels == source.labels).sum()


@pytest.mark.parametrize('changes, sentence', [
    ({'size': 8}, 'a2_resnet26 cannot take images of 8: its total stride is 16'),
    ({'size': 16, 'mean_max': True}, 'mean-max pooling needs crops of at least 32, the size in training, not 16')])
def test_sizes_that_cannot_be(bundle, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Classifier(bundle, **changes)


def test_unreadable_images_are_named(bundle, tmp_path):
    classifier = Classifier(bundle)
    (tmp_path / 'page.jpg').write_text('<html></html>')
    with pytest.raises(UserError, match='page.jpg is not an image that can be decoded'):
        classifier.predict(tmp_path / 'page.jpg')
    with pytest.raises(UserError, match='none.jpg cannot be read: No such file'):
        classifier.predict(tmp_path / 'none.jpg')
