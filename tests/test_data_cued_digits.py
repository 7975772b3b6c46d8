"""Cued digits: equal answers, pictures that hold what their labels say, and a set that is made of
digits of its own part."""
from collections import Counter

import cv2
import numpy as np
import pytest

from gluon_a2.data import cued_digits as cued
from gluon_a2.data import digits, open_source
from gluon_a2.errors import UserError


@pytest.mark.parametrize('digits', [3, 5, 10])
def test_answers_are_equally_frequent(digits):
    balanced = 3 * digits * (digits - 1)
    pairs = cued.answers(2 * balanced, digits, np.random.default_rng(7)).tolist()
    far, near = zip(*pairs)
    assert set(Counter(far).values()) == set(Counter(near).values()) == {2 * balanced // digits}
    assert sum(a == b for a, b in pairs) == 2 * balanced // 3
    different = Counter((a, b) for a, b in pairs if a != b)
    assert len(different) == digits * (digits - 1) and set(different.values()) == {4}


def test_a_number_that_cannot_be_balanced_is_refused():
    with pytest.raises(UserError, match='multiple of 60.*: take 120 instead of 100'):
        cued.answers(100, 5, np.random.default_rng(0))


def test_pictures_hold_what_their_labels_say():
    """The square's colour is that of far's digit, and near's digit has the dot, by the heights of
    the bars that stand for digits."""
    inks = np.zeros((10, cued.DIGIT, cued.DIGIT), np.float32)
    for digit, ink in enumerate(inks):
        ink[:3 + digit, 2:13] = 1
    drawn = list(cued.pictures(60, 5, inks, np.arange(10), 3))
    assert len(drawn) == 60
    for picture, far, near in drawn:
        heights, dotted, square = {}, None, None
        for cell in range(4):
            part = picture[16 * (cell // 2):, 16 * (cell % 2):][:16, :16].astype(int)
            white = (part == 255).all(2)
            part[white] = 0
            colour = part.sum((0, 1)).argmax()
            if (part == cued.COLOURS[colour]).all(2).sum() == (part.max(2) > 0).sum() == 36:
                square = colour
                continue
            heights[colour] = (part.max(2) > 100).any(1).sum()
            if white.any():
                dotted = colour
        assert len(set(heights.values())) == 3, 'three different digits'
        same = heights[square] == heights[dotted]
        assert same == (far == near)
        if not same:
            assert (heights[square] < heights[dotted]) == (far < near)


def test_a_seed_draws_the_same_pictures_again():
    inks = np.random.default_rng(0).random((10, cued.DIGIT, cued.DIGIT), np.float32)
    first, second, other = ([picture.tobytes() for picture, *_ in cued.pictures(
        18, 3, inks, np.arange(10), seed)] for seed in (5, 5, 6))
    assert first == second != other


def test_the_embedded_set_is_asked_both_questions(tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path))
    monkeypatch.setattr(cued, 'COUNTS', {'train': 36, 'val': 18})
    far, near = (open_source(None, 'train', embedded=f'cued digits, {question}')
                 for question in cued.QUESTIONS)
    assert far.classes == near.classes == ('0', '1', '2') and len(far) == 36
    assert [far.read(i) for i in range(36)] == [near.read(i) for i in range(36)]
    assert Counter(far.labels.tolist()) == Counter(near.labels.tolist()) == {0: 12, 1: 12, 2: 12}
    assert (far.labels != near.labels).sum() == 24
    picture = cv2.imdecode(np.frombuffer(far.read(0), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (32, 32, 3)


def test_validation_has_digits_of_its_own(tmp_path, monkeypatch):
    images, labels = digits.load_digits()
    images = images.copy()
    images[:, 0, 0] = 0
    images[digits.part_indices('train', len(images)), 0, 0] = 16
    monkeypatch.setattr(cued, 'load_digits', lambda: (images, labels))
    monkeypatch.setattr(cued, 'COUNTS', {'train': 18, 'val': 18})
    monkeypatch.setattr(cued, 'draw', lambda far, near, pools, inks, rng: np.full(
        (32, 32, 3), 255 * min(inks[i][0, 0] for pool in pools for i in pool), np.uint8))
    monkeypatch.setenv('GLUON_A2_CACHE', str(tmp_path))
    for part, light in (('train', 255), ('val', 0)):
        source = open_source(None, part, embedded='cued digits, far')
        picture = cv2.imdecode(np.frombuffer(source.read(0), np.uint8), cv2.IMREAD_COLOR)
        assert (picture == light).all()
