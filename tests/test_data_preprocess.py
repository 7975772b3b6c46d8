"""Preprocessing against plain numpy and OpenCV; its metadata and its bounds."""
import dataclasses
import math

import cv2
import numpy as np
import pytest

from gluon_a2.data import MEAN, SCALE, ClipPreprocessing, Preprocessing
from gluon_a2.errors import UserError


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(('height', 'width'), [(53, 79), (79, 53), (1, 1), (5, 301), (53, 53)])
def test_eval_by_hand(height, width):
    image = noise(height, width)
    short = 33  # round(29 / 0.875) = round(33.14)
    new = (short, round(height * short / width)) if width < height else (round(width * short
                                                                               / height), short)
    x, y = (new[0] - 29) // 2, (new[1] - 29) // 2
    expected = cv2.resize(image, new, interpolation=cv2.INTER_CUBIC)[y:y + 29, x:x + 29]
    if max(height, width) <= 16 * min(height, width):
        np.testing.assert_array_equal(Preprocessing(29)(image), expected)
    else:
        assert Preprocessing(29)(image).shape == (29, 29, 3)


def test_eval_crop_position():
    """No resizing: crop ratio 1 of an image whose short side has the size; odd rests leave the
    extra pixel behind."""
    image = noise(31, 60)
    np.testing.assert_array_equal(Preprocessing(31, 1.0)(image), image[:, 14:45])
    assert Preprocessing(31, 1.0)(image).flags['C_CONTIGUOUS']


def test_eval_of_an_absurd_aspect_is_the_same_and_cheap():
    image = noise(2, 3000)
    whole = cv2.resize(image, (48000, 32), interpolation=cv2.INTER_CUBIC)
    x = (48000 - 29) // 2
    transform = Preprocessing(29, crop_ratio=29 / 32)
    assert abs(transform(image).astype(int) - whole[1:30, x:x + 29]).max() <= 1
    assert transform(noise(1, 2 ** 20)).shape == (29, 29, 3)


def test_bilinear_by_hand():
    """GluonCV's networks are tested so."""
    image = noise(40, 64)
    expected = cv2.resize(image, (53, 33), interpolation=cv2.INTER_LINEAR)[2:31, 12:41]
    transform = Preprocessing(29, interpolation='bilinear')
    np.testing.assert_array_equal(transform(image), expected)
    assert (transform(image) != Preprocessing(29)(image)).any()


def test_normalise_by_hand():
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = 124, 105, 204
    result = Preprocessing(7).normalise(image)
    assert result.shape == (3, 2, 3) and result.dtype == np.float32
    np.testing.assert_allclose(result[:, 1, 2], [0, -12 * 0.0167, 100 * 0.0167], rtol=1e-6,
                               atol=1e-7)
    np.testing.assert_allclose(result[:, 0, 0], [-124 * 0.0167, -117 * 0.0167, -104 * 0.0167],
                               rtol=1e-6)


def test_normalise_every_byte_into_a_given_array():
    image = np.stack([np.arange(256, dtype=np.uint8).reshape(2, 128)] * 3, -1)
    out = np.full((5, 3, 2, 128), np.nan, np.float32)
    assert Preprocessing(7).normalise(image, out[2]).base is out
    expected = (image.astype(np.float64) - MEAN) * SCALE
    np.testing.assert_allclose(out[2], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-7)
    assert np.isnan(out[[0, 1, 3, 4]]).all()


def test_normalise_with_other_numbers():
    image = np.full((1, 1, 3), 9, np.uint8)
    result = Preprocessing(7, mean=(1, 2, 3), scale=0.5).normalise(image)
    np.testing.assert_allclose(result.ravel(), [4, 3.5, 3])
    result = Preprocessing(7, mean=(1, 2, 3), scale=(0.5, 2, 10)).normalise(image)
    np.testing.assert_allclose(result.ravel(), [4, 14, 60])


@pytest.mark.parametrize('out', [
    np.empty((3, 5, 7)), np.empty((3, 7, 5), np.float32), np.empty((5, 7, 3), np.float32)])
def test_normalise_refuses_an_array_it_cannot_fill(out):
    with pytest.raises(ValueError, match='float32 of shape'):
        Preprocessing(7).normalise(noise(5, 7), out)


def test_restore_is_the_inverse_of_normalise():
    image, clip = noise(5, 7), np.stack([noise(6, 6, seed) for seed in range(4)])  # 4×6×6×3
    plain = Preprocessing(7, mean=(1, 2, 3), scale=(0.5, 2, 10))
    np.testing.assert_array_equal(plain.restore(plain.normalise(image)), image)
    moving = ClipPreprocessing(6, frames=4)
    pixels = np.stack([moving.normalise(frame) for frame in clip], axis=1)  # 3×4×6×6
    np.testing.assert_array_equal(moving.restore(pixels), clip)
    np.testing.assert_array_equal(moving.restore(np.stack([pixels, pixels])), [clip, clip])
    np.testing.assert_array_equal(plain.restore(np.full((3, 2, 2), 9e9)), np.full((2, 2, 3), 255))


@pytest.mark.parametrize('given', [
    Preprocessing(224), Preprocessing(32, 1.0, (1, 2, 3), (4, 5, 6), 'bilinear'),
    ClipPreprocessing(112, 0.5, frames=8, frame_stride=4, views=10, crops=3),
    ClipPreprocessing(112, frames=8, stretch='both')])
def test_metadata_holds_it_whole(given):
    meta = given.to_meta()
    assert Preprocessing.from_meta(meta) == given
    assert meta['input_shape'][-2:] == [given.size] * 2 and meta['scale'] == list(given.scale)


def test_metadata_of_older_files_has_one_scale_for_all_channels():
    meta = {'input_shape': [3, 32, 32], 'mean': [124, 117, 104], 'scale': 0.0167, 'crop_ratio': 1.0}
    assert Preprocessing.from_meta(meta) == Preprocessing(32, 1.0, MEAN, (SCALE,) * 3, 'bicubic')


def test_metadata_of_older_files_keeps_the_proportions_of_videos():
    meta = ClipPreprocessing(32, frames=8, stretch='both').to_meta()
    assert meta.pop('stretch') == 'both'
    older = Preprocessing.from_meta(meta)
    assert older == ClipPreprocessing(32, frames=8)
    assert older.resize_short(noise(40, 80)).shape == (37, 74, 3)


def test_other_fields_by_replace():
    given = ClipPreprocessing(112, frames=8, frame_stride=4, views=10, crops=3)
    changed = dataclasses.replace(given, views=1, crops=1, size=64)
    assert (given.shape, changed.shape) == ((3, 3, 8, 112, 112), (3, 8, 64, 64))
    assert given.input_shape == (3, 8, 112, 112)


@pytest.mark.parametrize(('fields', 'sentence'), [
    ({'size': -1}, '`size` must be 1 or more, not -1'),
    ({'size': 2.5}, '`size` must be a whole number, not 2.5'), ({'size': math.nan}, '`size`'),
    ({'crop_ratio': 0}, '`crop_ratio` must be above 0 and at most 1, not 0'),
    ({'crop_ratio': 1.01}, '`crop_ratio`'), ({'crop_ratio': math.nan}, '`crop_ratio`'),
    ({'mean': (1, 2)}, '`mean` must be three numbers'), ({'scale': math.inf}, '`scale`'),
    ({'scale': (1, 2, math.nan)}, '`scale` must be a finite number, not nan'),
    ({'interpolation': 'cubic'}, "must be one of bicubic, bilinear, not 'cubic'")])
def test_bad_fields(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        Preprocessing(**{'size': 7, **fields})
