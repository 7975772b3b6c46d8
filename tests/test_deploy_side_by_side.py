import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.deploy import side_by_side
from gluon_a2.errors import UserError


class Numbers:
    """Stands in for a `Classifier`: says the number it finds in a picture's red channel, plus `off`
    for every third."""

    def __init__(self, off=0):
        self.preprocessing, self._off = data.Preprocessing(8, 1.0), off

    def logits(self, images):
        shown = np.rint(
            (images[:, 0].mean(axis=(1, 2)) / data.SCALE + data.MEAN[0]) / 20).astype(int)
        shown = np.where(shown % 3 == 0, shown + self._off, shown)
        return np.eye(10)[shown % 10]


class Pictures:
    """Grey pictures of 20·label; those of `damaged` cannot be decoded."""
    classes = tuple('0123456789')

    def __init__(self, damaged=()):
        self.labels, self._damaged = np.arange(10, dtype=np.int64).repeat(2)[:19], damaged

    def __len__(self):
        return len(self.labels)

    def name(self, i):
        return f'picture {i}'

    def read(self, i):
        import cv2
        if i in self._damaged:
            return b'nothing'
        return cv2.imencode('.png', np.full((9, 9, 3), 20 * self.labels[i], np.uint8))[1].tobytes()


def test_accuracy_and_agreement_by_hand():
    """19 pictures; labels 0, 3, 6 (two each) and 9 (one) are named wrongly by the second form."""
    forms = side_by_side.compare(
        {'first': (Numbers(), 3_000_000), 'second': (Numbers(1), 1_500_000)}, Pictures(), 7, 0)
    assert [(form.name, form.megabytes, form.top1, form.agreement) for form in forms] == [
        ('first', 3.0, 1.0, 1.0), ('second', 1.5, 12 / 19, 12 / 19)]
    assert forms[0].ratio == 1 and all(form.per_second > 0 for form in forms)
    header, first, _ = side_by_side.table(forms)
    assert len(header) == len(first) and first[:4] == ['first', '3.0', '100.00 %', '100.00 %']


def test_damaged_pictures_count_as_wrong():
    (form,) = side_by_side.compare({'first': (Numbers(), 1)}, Pictures(damaged=(0, 7)), 4, 0)
    assert (form.top1, form.agreement) == (17 / 19, 1.0)


def test_nothing_that_can_be_read():
    with pytest.raises(UserError, match='none of the samples can be read'):
        side_by_side.compare({'first': (Numbers(), 1)}, Pictures(damaged=range(19)), 4, 0)


def test_each_form_has_its_turn_in_every_round():
    order = []

    class Turn(Numbers):
        def logits(self, images):
            order.append(self)
            return super().logits(images)

    one, two = Turn(), Turn()
    side_by_side.compare({'one': (one, 1), 'two': (two, 1)}, Pictures(), 19, 0)
    assert order == [one, two] * (1 + 1 + side_by_side.ROUNDS)
