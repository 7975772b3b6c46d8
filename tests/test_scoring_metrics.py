import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gluon_a2.data import Batch
from gluon_a2.errors import UserError
from gluon_a2.scoring.metrics import NO_GUESS, Sums, evaluate, guesses, hits, top5_text


def test_hits_by_hand():
    scores = np.array([[3., 1., 2.], [1., 2., 3.], [2., 3., 1.]])
    labels = np.array([0, 1, 2])
    assert hits(scores, labels, 1).tolist() == [True, False, False]
    assert hits(scores, labels, 2).tolist() == [True, True, False]
    assert hits(scores, labels, 3).tolist() == [True, True, True]


@given(st.integers(0, 2 ** 31), st.integers(1, 7))
def test_without_ties_hits_agree_with_sorting(seed, k):
    rng = np.random.default_rng(seed)
    scores, labels = rng.permutation(13 * 7).reshape(13, 7).astype(float), rng.integers(0, 7, 13)
    ranked = np.argsort(-scores, axis=1)[:, :k]
    assert hits(scores, labels, k).tolist() == [label in row for label, row in zip(labels, ranked)]


nan, inf = np.nan, np.inf


@pytest.mark.parametrize('row, guess', [
    ([1, 3, 2], 1), ([3, 3, 2], NO_GUESS), ([1, 2, 2], NO_GUESS), ([0, 0, 0], NO_GUESS),
    ([nan, nan, nan], NO_GUESS), ([.3, nan, nan], NO_GUESS), ([inf, 0, 0], NO_GUESS),
    ([0, 3, -inf], NO_GUESS)])
def test_one_rule_for_ties_and_what_is_not_finite(row, guess):
    scores = np.array([row])
    assert guesses(scores).tolist() == [guess]
    assert [bool(hits(scores, np.array([label]), 1)) for label in range(3)] == [
        label == guess for label in range(3)]


def test_ties_in_the_top_five():
    assert not hits(np.zeros((1, 10)), np.array([0]), 5).any()
    assert hits(np.zeros((1, 10)), np.array([0]), 10).all()
    assert not hits(np.array([[9., *[nan] * 9]]), np.array([0]), 10).any()


def test_top5_of_few_classes_means_nothing():
    assert top5_text(1, 5) == 'top-5 means nothing with 5 classes'
    assert top5_text(0.5, 6) == '50.00 % top-5'


def test_sums_add_up_and_divide_once():
    sums = Sums()
    assert (sums.accuracy, sums.top5_accuracy, sums.mean_loss) == (0, 0, 0)
    sums.add(Sums(3, 1.5, 1, 2))
    sums.add(Sums(5, 6.5, 3, 5))
    assert (sums.accuracy, sums.top5_accuracy, sums.mean_loss) == (4 / 8, 7 / 8, 8 / 8)


def _batch(labels, damaged=()):
    labels = np.array(labels, np.int64)
    return Batch(np.zeros((len(labels), 3, 1, 1), np.float32), labels, np.arange(len(labels)),
                 list(damaged))


def _say_class_2(images):
    return np.eye(7)[[2] * len(images)]


def test_evaluate_counts_every_image_and_damaged_ones_as_wrong(caplog):
    batches = [_batch([2, 0]), _batch([2], [('cat.jpg', 'it is empty')]),
               _batch([], [('dog.jpg', 'no JPEG')])]
    sums = evaluate(_say_class_2, batches, 5)
    assert (sums.images, sums.top1) == (5, 2)
    assert 'counted as wrong: cat.jpg: it is empty' in caplog.text and 'dog.jpg' in caplog.text


def test_scores_that_are_not_finite_are_an_error_that_names_the_image():
    def forward(images):
        return np.array([[1, 0], [0, nan]])[:len(images)]

    def name(i):
        return f'{i}.jpg'

    assert evaluate(forward, [_batch([0, 1])], 2).top1 == 1  # training has an error of its own
    with pytest.raises(UserError, match='1.jpg: the network gives scores that are not finite'):
        evaluate(forward, [_batch([0, 1])], 2, name=name)


def test_evaluate_refuses_a_count_that_is_not_the_whole_set():
    with pytest.raises(AssertionError, match='2 of 3 images were scored'):
        evaluate(_say_class_2, [_batch([2, 0])], 3)
