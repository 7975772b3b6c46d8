"""The transforms against plain numpy and OpenCV."""
import colorsys
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.data import Preprocessing, TrainTransform
from gluon_a2.data.augment import _SHIFTS, shift_colours
from gluon_a2.errors import UserError

WHOLE = {'min_area': 1.0, 'max_area': 1.0, 'min_aspect': 1.0, 'max_aspect': 1.0}
GREY = {'hue': 0, 'saturation': 0, 'lightness': 0}


def train(size, **fields):
    return TrainTransform(Preprocessing(size), **fields)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def coordinates(height, width):
    """Each pixel holds its own place: (y, x, 0)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, 0 * x], -1).astype(np.uint8)


def test_identity_is_exact():
    image = noise(31, 31)
    np.testing.assert_array_equal(train(31, mirror=False, **WHOLE, **GREY)(image, rng()), image)


def test_mirror_flips_half_of_the_time():
    image, flips = noise(7, 7), 0
    transform, generator = train(7, **WHOLE, **GREY), rng()
    for _ in range(400):
        result = transform(image, generator)
        flipped = (result == image[:, ::-1]).all()
        assert flipped or (result == image).all()
        flips += flipped
    assert 160 <= flips <= 240  # 4 standard deviations


@pytest.mark.parametrize('draws', ['uniform', 'dpn'])
def test_crop_is_a_resized_window(draws):
    """Coordinates as pixels show the window; all of one size, so resizing changes nothing but
    scale."""
    image = coordinates(101, 127)
    transform = train(29, draws=draws, mirror=False, **GREY)
    for seed in range(50):
        x, y, width, height = transform._crop_box(127, 101, rng(seed))
        expected = cv2.resize(image[y:y + height, x:x + width], (29, 29),
                              interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(transform(image, rng(seed)), expected)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(['uniform', 'dpn']),
       st.integers(0, 2 ** 32))
def test_crop_lies_inside(width, height, draws, seed):
    x, y, crop_width, crop_height = train(7, draws=draws)._crop_box(width, height, rng(seed))
    assert x >= 0 and y >= 0 and crop_width >= 1 and crop_height >= 1
    assert x + crop_width <= width and y + crop_height <= height


def test_crop_distribution():
    """On a square, nearly every draw fits: areas are uniform, aspects uniform in their logarithm,
    places spread."""
    transform, generator = train(7, max_area=0.5), rng()
    boxes = np.array([transform._crop_box(1009, 1009, generator) for _ in range(4000)], float)
    x, y, width, height = boxes.T
    area, aspect = width * height / 1009 ** 2, np.log(width / height) / math.log(4 / 3)
    assert 0.079 < area.min() < 0.085 and 0.495 < area.max() < 0.501
    np.testing.assert_allclose(np.quantile(area, [.25, .5, .75]),
                               np.array([.25, .5, .75]) * 0.42 + 0.08, atol=0.015)
    np.testing.assert_allclose(np.quantile(aspect, [0, .25, .5, .75, 1]), [-1, -.5, 0, .5, 1],
                               atol=0.06)
    for place, free in ((x, 1009 - width), (y, 1009 - height)):
        np.testing.assert_allclose(np.quantile(place / free, [.25, .5, .75]), [.25, .5, .75],
                                   atol=0.04)


def test_crop_distribution_of_the_dual_path_networks():
    """What was measured of `aug_torch` on 500×375: log-sd 0.24 of the aspect, which goes from 0.57
    to 1.77, and 40 % of the area on average, from 3.8 %."""
    transform, generator = train(7, draws='dpn'), rng()
    boxes = np.array([transform._crop_box(500, 375, generator) for _ in range(8000)], float)
    x, y, width, height = boxes.T
    aspect, area = width / height, width * height / (500 * 375)
    assert np.log(aspect).std() == pytest.approx(0.24, abs=0.01)
    assert 0.55 < aspect.min() < 0.6 and 1.7 < aspect.max() < 1.79
    assert area.mean() == pytest.approx(0.40, abs=0.01) and 0.034 < area.min() < 0.045
    # a square where width is stretched by r and height by 1/r, within the short side
    r, side = np.sqrt(height / width), np.sqrt(width * height)
    share = (side / np.minimum(500 * r, 375 / r)) ** 2
    np.testing.assert_allclose(np.quantile(share, [0, .25, .5, .75, 1]),
                               [0.08, 0.31, 0.54, 0.77, 1], atol=0.02)
    for place, free in ((x, 500 - width), (y, 375 - height)):
        spread = place[free > 20] / free[free > 20]
        np.testing.assert_allclose(np.quantile(spread, [.25, .5, .75]), [.25, .5, .75], atol=0.03)


@pytest.mark.parametrize(('draws', 'bounds', 'deviations', 'reach'), [
    ('uniform', (20, 50, 40), (11.8, 29.1, 23.7), (20, 50, 40)),  # √((2b + 1)² − 1) / √12
    ('dpn', (20, 50, 40), (9.1, 23.4, 18.6), (19, 49, 39)),  # measured of `aug_torch`
    ('mfnet', (15, 35, 25), (8.7, 20.2, 14.4), (15, 35, 25))])  # √(b²/3 + 1/12)
def test_distribution_of_the_shifts(draws, bounds, deviations, reach):
    generator = rng()
    drawn = np.array([_SHIFTS[draws](np.array(bounds), generator) for _ in range(20000)])
    np.testing.assert_allclose(drawn.std(axis=0), deviations, rtol=0.02)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.6)
    assert (abs(drawn).max(axis=0) <= reach).all() and drawn.dtype == int


@pytest.mark.parametrize(('width', 'height', 'box'), [
    (1000, 10, (493, 0, 13, 10)),  # widest allowed: 10 · 4/3 = 13
    (10, 1000, (0, 493, 10, 13))])  # narrowest allowed: 10 / (3/4) = 13
def test_no_crop_fits_then_centre(width, height, box):
    """An area of at least 90 % of such an image has no allowed aspect."""
    assert train(7, min_area=0.9)._crop_box(width, height, rng()) == box


def fixed(**answers):
    """A generator whose draws are known."""
    return SimpleNamespace(
        **{name: (lambda *_, answer=answer: answer) for name, answer in answers.items()})


def shifted(image, hue, lightness, saturation):
    transform = train(image.shape[1], mirror=False, **WHOLE)
    return shift_colours(image, transform, fixed(integers=np.array([hue, lightness, saturation])))


def test_shift_against_plain_loops():
    image = noise(11, 11)
    hls = cv2.cvtColor(image, cv2.COLOR_RGB2HLS).astype(int)
    hls[..., 0] = (hls[..., 0] + 17) % 180
    hls[..., 1] = np.minimum(hls[..., 1] + 43, 255)
    hls[..., 2] = np.maximum(hls[..., 2] - 39, 0)
    np.testing.assert_array_equal(shifted(image, 17, 43, -39),
                                  cv2.cvtColor(hls.astype(np.uint8), cv2.COLOR_HLS2RGB))


@pytest.mark.parametrize(('hue', 'colour'), [
    (60, (0, 255, 0)), (-60, (0, 0, 255)), (-30, (255, 0, 255))])
def test_hue_counts_two_degrees_and_wraps(hue, colour):
    """From red: +60 steps are 120°, green; −60 steps go round to blue. Python's colorsys agrees."""
    red = np.full((3, 3, 3), (255, 0, 0), np.uint8)
    assert abs(shifted(red, hue, 0, 0)[1, 1] - np.array(colour)).max() <= 1
    assert tuple(round(255 * v) for v in colorsys.hls_to_rgb(2 * hue % 360 / 360, .5, 1)) == colour


@pytest.mark.parametrize('draws', ['dpn', 'mfnet'])
@pytest.mark.parametrize(('colour', 'shift', 'becomes'), [
    ((255, 0, 0), -15, (255, 0, 0)),  # below 0: stays red, where wrapping gives magenta
    ((255, 0, 255), 90, (255, 0, 0)),  # 150 + 90 is cut to 180, which is red, too
    ((255, 0, 0), 60, (0, 255, 0))])
def test_hue_is_clipped_as_in_the_authors_codes(monkeypatch, draws, colour, shift, becomes):
    monkeypatch.setitem(_SHIFTS, draws, lambda bounds, generator: np.array([shift, 0, 0]))
    limits = SimpleNamespace(hue=90, lightness=0, saturation=0, draws=draws)
    image = np.full((3, 3, 3), colour, np.uint8)
    assert abs(shift_colours(image, limits, None)[1, 1] - np.array(becomes)).max() <= 1


def test_lightness_and_saturation_are_bytes():
    grey = np.full((3, 3, 3), 100, np.uint8)
    np.testing.assert_array_equal(shifted(grey, 0, 50, 0), np.full((3, 3, 3), 150))
    np.testing.assert_array_equal(shifted(grey, 0, -255, 0), np.zeros((3, 3, 3)))
    assert shifted(grey, 0, 0, 100)[0, 0].std() > 10


@pytest.mark.parametrize('name', ['hue', 'saturation', 'lightness'])
def test_shift_range_is_whole_and_inclusive(name):
    drawn = []

    def integers(low, high):
        drawn.append((low.tolist(), high.tolist()))
        return np.array([0, 0, 0])

    shift_colours(noise(3, 3), train(3, **{**GREY, name: 5}),
                  SimpleNamespace(integers=integers))
    place = ['hue', 'lightness', 'saturation'].index(name)
    low, high = np.zeros(3, int), np.ones(3, int)
    low[place], high[place] = -5, 6
    assert drawn == [(low.tolist(), high.tolist())]


def test_same_generator_same_pixels():
    image, transform = noise(53, 47), train(23)
    np.testing.assert_array_equal(transform(image, rng(5)), transform(image, rng(5)))
    assert (transform(image, rng(5)) != transform(image, rng(6))).any()


@pytest.mark.parametrize('fields', [
    {'min_area': 0}, {'max_area': 1.5}, {'min_area': 0.6, 'max_area': 0.5}, {'max_area': math.nan},
    {'min_aspect': 2}, {'max_aspect': math.inf}, {'hue': 91}, {'saturation': -1},
    {'lightness': 0.5}, {'draws': 'mfnet'}])
def test_bad_fields(fields):
    with pytest.raises(UserError):
        train(7, **fields)
