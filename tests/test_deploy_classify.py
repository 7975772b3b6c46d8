import dataclasses
import time

import cv2
import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import Classifier
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.errors import UserError
from gluon_a2.run import network
from gluon_a2.run.recipes import RECIPES, choose
from gluon_a2.scoring.samples import calibration_batch


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
    # The short side, 64, is already 32/0.5, so only the crop is left: rows 16 to 48, columns 23.5 →
    # 23 or 24.
    pixels = Classifier(network.bundle(net, recipe, list('0123456789'), {})).preprocess(encoded)
    mean = np.array([124, 117, 104])[:, None, None]
    crops = [(image[16:48, left:left + 32].transpose(2, 0, 1) - mean) * 0.0167
             for left in (23, 24)]
    assert min(np.abs(pixels - crop).max() for crop in crops) < 1e-5


def test_logits_are_the_networks(net, bundle):
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(
        Classifier(bundle).logits(x),
        net(mx.nd.array(x)).asnumpy(), rtol=1e-5, atol=1e-5)


def test_predict_orders_names_by_softmax(net, bundle, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), picture(50, 41))
    classifier = Classifier(bundle)
    guesses = classifier.predict(tmp_path / 'a.png', top=10)
    logits = classifier.logits(classifier.preprocess(
        (tmp_path / 'a.png').read_bytes())[None])[0].astype(np.float64)
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
    windows = [maps[:, :, i:i + 2, j:j + 2].mean(axis=(2, 3)) @ weight.T + bias
               for i in range(4) for j in range(4)]
    expected = (np.mean(windows, axis=0) + np.max(windows, axis=0)) / 2
    np.testing.assert_allclose(
        Classifier(bundle, size=80, mean_max=True).logits(x), expected, rtol=1e-4, atol=1e-4)


def test_mean_max_at_the_training_size_is_the_plain_network(bundle):
    x = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(
        Classifier(bundle, mean_max=True).logits(x),
        Classifier(bundle).logits(x), rtol=1e-4, atol=1e-4)


def test_a_larger_size_without_mean_max_pools_the_larger_map(net, bundle):
    x = np.random.default_rng(1).normal(size=(2, 3, 47, 47)).astype(np.float32)
    expected = net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(
        Classifier(bundle, size=47).logits(x), expected, rtol=1e-4, atol=1e-4)


def test_score_counts_every_image_whatever_the_batch_and_workers(bundle):
    source, classifier = data.open_source(data.digits_folder(), 'val'), Classifier(bundle)
    sums = [classifier.score(source, *batches) for batches in ((64, 0), (53, 2))]
    assert sums[0] == sums[1] and sums[0].images == 359
    labels = classifier.logits(np.stack([classifier.preprocess(source.read(i))
                                         for i in range(359)])).argmax(axis=1)
    assert sums[0].top1 == (labels == source.labels).sum()


@pytest.mark.parametrize('changes, sentence', [
    ({'size': 8}, 'a2_resnet26 cannot take images of 8: its total stride is 16'),
    ({'size': 16, 'mean_max': True}, 'mean-max pooling needs crops of at least 32, the size in '
                                     'training, not 16'),
    ({'protocol': 'even'}, '`protocol` is for video networks, not for a2_resnet26: leave it out'),
    ({'crops': 3}, '`views` and `crops` are for video networks, not for a2_resnet26: leave them')])
def test_options_that_cannot_be(bundle, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Classifier(bundle, **changes)


def test_unreadable_images_are_named(bundle, tmp_path):
    classifier = Classifier(bundle)
    (tmp_path / 'page.jpg').write_text('<html></html>')
    with pytest.raises(UserError, match='page.jpg is not an image that can be decoded'):
        classifier.predict(tmp_path / 'page.jpg')
    with pytest.raises(UserError, match='none.jpg cannot be read: No such file'):
        classifier.predict(tmp_path / 'none.jpg')


def pictures(folder, count):
    """`count` files of random pixels, and one in their midst that is none."""
    paths = [folder / f'{i:02d}.png' for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), picture(33 + i, 41))
    paths.insert(count // 2, folder / 'page.jpg')
    paths[count // 2].write_text('<html></html>')
    return paths


@pytest.mark.parametrize('batch_size, workers', [(1, 1), (3, 2), (32, 4)])
def test_a_stream_is_in_order_whole_and_what_predict_says(bundle, tmp_path, batch_size, workers):
    classifier, paths = Classifier(bundle), pictures(tmp_path, 7)
    found = list(classifier.stream(iter(paths), 3, batch_size, workers))
    assert [prediction.source for prediction in found] == paths
    assert [bool(prediction.error)
            for prediction in found] == [path.name == 'page.jpg' for path in paths]
    assert 'page.jpg is not an image that can be decoded' in found[3].error and found[
        3].guesses is None
    for prediction in found[:3] + found[4:]:
        alone = classifier.predict(prediction.source, 3)
        assert [name for name, _ in prediction.guesses] == [name for name, _ in alone]
        np.testing.assert_allclose([share for _, share in prediction.guesses],
                                   [share for _, share in alone], rtol=1e-3)


def test_a_stream_does_not_run_ahead(bundle):
    """An endless iterable: with batches of one, each answer comes before the next picture is asked
    for."""
    asked = []

    def camera():
        while True:
            asked.append(1)
            yield picture(40, 40)

    stream = Classifier(bundle).stream(camera(), batch_size=1)
    for count in (1, 2, 3):
        assert len(next(stream).guesses) == 5
        assert len(asked) == count
    stream.close()
    ahead = Classifier(bundle).stream(camera(), batch_size=4)
    asked.clear()
    next(ahead)
    assert len(asked) <= 4 + 2 * 4
    ahead.close()


def test_pictures_in_memory(bundle, tmp_path):
    image = picture(50, 41)
    cv2.imwrite(str(tmp_path / 'a.png'), image[:, :, ::-1])
    classifier = Classifier(bundle)
    assert classifier.predict(image) == classifier.predict(tmp_path / 'a.png')
    for wrong in (image[:, :, 0], image.astype(np.float32), image[:0]):
        with pytest.raises(UserError, match='an array must be an image, uint8 H×W×3'):
            classifier.predict(wrong)


def test_batches(bundle, tmp_path):
    classifier, paths = Classifier(bundle), pictures(tmp_path, 4)
    good = [path for path in paths if path.suffix == '.png']
    assert [guesses[0][0] for guesses in classifier.predict_batch(good, batch_size=3)] == [
        classifier.predict(path)[0][0] for path in good]
    with pytest.raises(UserError, match='page.jpg is not an image'):
        classifier.predict_batch(paths)
    for options in ({'top': 0}, {'batch_size': 0}):
        with pytest.raises(UserError, match='must be 1 or more, not 0'):
            classifier.predict_batch(good, **options)


def test_videos_of_several_views_are_the_mean_of_their_clips(videos):
    """Three videos of 2 views × 3 windows in one stream, cut into batches of five clips."""
    import tiny_bundle
    source = data.open_video_source(videos, 'val')
    classifier = Classifier(tiny_bundle.make('a2_resnet26_3d', tiny_bundle.VIDEO), views=2, crops=3)
    paths = [source.name(i) for i in range(3)]
    for prediction in classifier.stream(paths, 3, batch_size=5):
        video = data.open_video(prediction.source)
        clips = np.concatenate(list(classifier.preprocessing.clips(video)))
        assert clips.shape == (6, 3, 4, 48, 48)
        logits = classifier.logits(clips).astype(np.float64)
        shares = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).mean(axis=0)
        named = dict(prediction.guesses)
        np.testing.assert_allclose([named[name] for name in ('one', 'two', 'three')], shares,
                                   rtol=1e-3, atol=1e-6)


def test_the_protocol_decides_how_a_video_is_seen():
    import tiny_bundle
    made = tiny_bundle.make('a2_resnet26_3d', tiny_bundle.VIDEO)
    even, random = (Classifier(made, views=7, protocol=name).preprocessing
                    for name in ('even', 'mfnet'))
    assert even == Classifier(made, views=7).preprocessing and not even.random
    assert random == dataclasses.replace(even, random=True, stretch='both', crops=1,
                                         interpolation='bilinear')
    with pytest.raises(UserError, match="`protocol` must be one of even, mfnet, not 'odd'"):
        Classifier(made, protocol='odd')


def test_what_the_iterable_raises_comes_behind_the_answers(bundle):
    def sources():
        for _ in range(5):
            yield picture(40, 40)
        raise ValueError('the camera is gone')

    found = []
    with pytest.raises(ValueError, match='the camera is gone'):
        for prediction in Classifier(bundle).stream(sources(), batch_size=3):
            found.append(prediction)
    assert len(found) == 5 and all(prediction.guesses for prediction in found)


def test_a_stream_that_is_closed_reads_no_more(bundle, monkeypatch):
    classifier, read = Classifier(bundle), []

    def slowly(source):
        time.sleep(0.05)
        read.append(source)
        return classifier.preprocessing(picture(40, 40))[None].transpose(0, 3, 1, 2).astype(
            np.float32)

    monkeypatch.setattr(classifier, 'read', slowly)
    stream = classifier.stream(range(100), batch_size=10, workers=2)
    next(stream)
    begun = len(read)
    stream.close()
    assert len(read) <= begun + 2  # those that the two threads were at


UNIT = data.Preprocessing(32, 1.0, mean=(0, 0, 0), scale=(1 / 255,) * 3)


@pytest.fixture(scope='module')
def of_unit_pixels(net):
    """A network that was trained on pixels from 0 to 1."""
    return from_gluon(net, 'unit', list('0123456789'), UNIT, {'data': 'digits'})


def test_every_use_prepares_pixels_alike(of_unit_pixels, monkeypatch):
    """score(), predict() and calibration: each used to have its own mean and scale."""
    source, seen = data.open_source(data.digits_folder(), 'val'), []
    classifier = Classifier(of_unit_pixels)
    image = data.decode(source.read(0))
    expected = image.transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(classifier.read(image)[0], expected, atol=1e-6)
    forward = classifier._engine

    def engine(images):
        seen.append(images.copy())
        return forward(images)

    monkeypatch.setattr(engine, 'memory', forward.memory, raising=False)
    monkeypatch.setattr(classifier, '_engine', engine)
    sums = classifier.score(source, 64, 0)
    np.testing.assert_array_equal(np.concatenate(seen)[0], classifier.read(image)[0])
    guesses = classifier.predict_batch([data.decode(source.read(i)) for i in range(len(source))])
    right = sum(guess[0][0] == str(label) for guess, label in zip(guesses, source.labels))
    assert sums.top1 == right
    calibration = calibration_batch(classifier.preprocessing, source, len(source))
    np.testing.assert_array_equal(calibration[0], classifier.read(image)[0])


def with_bias(bundle, value):
    """The same network, whose logits are all `value`."""
    arguments = {**bundle.arguments, 'fc_weight': 0 * bundle.arguments['fc_weight'],
                 'fc_bias': np.full(10, value, np.float32)}
    return bundle._replace(arguments=arguments)


def test_a_network_that_says_the_same_of_all_is_right_for_nobody(bundle):
    source = data.open_source(data.digits_folder(), 'val')
    sums = Classifier(with_bias(bundle, 1)).score(source, 128, 0)
    assert (sums.images, sums.top1, sums.top5) == (359, 0, 0)


def test_scores_that_are_not_finite_name_the_sample(bundle, tmp_path):
    source, classifier = data.open_source(data.digits_folder(), 'val'), Classifier(
        with_bias(bundle, np.nan))
    with pytest.raises(UserError, match=r'val.rec#4: the network gives scores .* \(nan\)'):
        classifier.score(source, 128, 0)
    cv2.imwrite(str(tmp_path / 'a.png'), picture(40, 40))
    (prediction,) = classifier.stream([tmp_path / 'a.png'])
    assert 'a.png: the network gives scores that are not finite' in prediction.error
    with pytest.raises(UserError, match='a.png: the network'):
        classifier.predict(tmp_path / 'a.png')


def test_memory_is_looked_at_before_a_forward_pass(bundle):
    source = data.open_source(data.digits_folder(), 'val')
    huge = Classifier(bundle, size=40_000)
    for call in (lambda: huge.score(source, 1, 0), lambda: next(huge.stream([picture(9, 9)])),
                 lambda: huge.logits(np.empty((1, 0)))):
        with pytest.raises(UserError, match='a batch of 1 inputs of 3×40000×40000 needs about '
                                            r'[\d.]+ GB of memory, and .* choose a lower `size`'):
            call()
    endless = Classifier(bundle).stream(iter(lambda: picture(9, 9), None), batch_size=100_000_000)
    with pytest.raises(UserError, match='batch of 100000000 .* choose a lower `batch_size`'):
        next(endless)
    assert Classifier(bundle).score(source, 100_000_000, 0).images == 359  # of as many as there are


def test_metadata_that_names_other_classes_than_the_network_has(bundle):
    with pytest.raises(UserError, match='gives 10 logits, and its metadata names 2 classes'):
        Classifier(bundle._replace(meta={**bundle.meta, 'classes': ['a', 'b']}))
