"""Clip and video accuracy against counting by hand."""
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.errors import UserError
from gluon_a2.scoring.metrics import evaluate_videos, softmax

Batch = namedtuple('Batch', 'images labels indices damaged')


def batches(logits, labels, views, size, unread=()):
    """Loader's batches whose pixels are the logits themselves: videos·views×crops×classes."""
    for first in range(0, len(logits), size):
        indices = np.arange(first, min(first + size, len(logits)))
        good = np.array([i for i in indices if i not in unread], int)
        images = np.zeros((len(good), *logits.shape[1:-1], 3, 1, 1, logits.shape[-1]), np.float32)
        images[..., 0, 0, 0, :] = logits[good]
        yield Batch(images, labels[good // views], good, [(f'video {i // views}', 'torn')
                                                          for i in indices if i in unread])


def forward(clips):
    assert clips.ndim == 5
    return clips[:, 0, 0, 0]


def by_hand(logits, labels, views, unread):
    """(clip hits, video hits) with a loop and float64."""
    clips = videos = 0
    for video, label in enumerate(labels):
        views_of = [i for i in range(video * views, (video + 1) * views) if i not in unread]
        shares = [np.exp(row) / np.exp(row).sum()
                  for i in views_of for row in logits[i].astype(np.float64)]
        clips += sum(int(share.argmax() == label) for share in shares)
        videos += len(views_of) == views and int(np.mean(shares, axis=0).argmax() == label)
    return clips, videos


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.integers(1, 7),
       st.integers(0, 2 ** 32), st.data())
def test_any_batch_size_views_and_damage(videos, views, crops, size, seed, draw):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, videos)
    logits = rng.normal(size=(videos * views, crops, 7)).astype(np.float32)
    unread = draw.draw(st.sets(st.integers(0, videos * views - 1)))
    scores = evaluate_videos(forward, batches(logits, labels, views, size, unread), labels, 7,
                             views, crops)
    assert (scores.clip_top1, scores.top1) == by_hand(logits, labels, views, unread)
    broken = {i // views for i in unread}
    assert (scores.videos, scores.unreadable, scores.views) == (videos, len(broken), views * crops)
    assert scores.confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=7).tolist()
    assert np.trace(scores.confusion[:, :-2]) == scores.top1
    assert scores.clip_accuracy == scores.clip_top1 / (videos * views * crops)


def test_views_vote_with_their_certainty():
    """Two weak votes for class 0, one strong one for class 1: clips say 2/3, the video is class
    1."""
    logits = np.log(np.array([[[0.55, 0.45]], [[0.55, 0.45]], [[0.1, 0.9]]])).astype(np.float32)
    for label, (clips, right) in enumerate([(2, 0), (1, 1)]):
        scores = evaluate_videos(forward, batches(logits, np.array([label]), 3, 2), np.array([
            label
        ]), 2, 3)
        assert (scores.clip_top1, scores.top1) == (clips, right)


def test_one_unreadable_view_makes_the_video_wrong_and_it_is_named_once(caplog):
    logits = np.tile(np.array([9., 0, 0], np.float32), (6, 1, 1))
    labels = np.array([0, 0])
    scores = evaluate_videos(forward, batches(logits, labels, 3, 2, unread={1, 2}), labels, 3, 3)
    assert (scores.clip_top1, scores.top1, scores.top5, scores.unreadable) == (4, 1, 1, 1)
    assert scores.clip_accuracy == 4 / 6 and scores.accuracy == 0.5
    assert [record.getMessage() for record in caplog.records] == ['counted as wrong: video 0: torn']
    assert scores.sentence() == ('clip 66.67 % top-1; video 50.00 % top-1, top-5 means nothing '
                                 'with 3 classes; 3 views of each of 2 videos (1 unreadable, '
                                 'counted as wrong)')


def test_per_class_accuracy_is_unknown_without_videos():
    labels = np.array([0, 0, 2])
    logits = np.array([[[9, 0, 0]], [[0, 9, 0]], [[0, 0, 9]]], np.float32)
    scores = evaluate_videos(forward, batches(logits, labels, 1, 8), labels, 3, 1)
    np.testing.assert_array_equal(scores.per_class, [0.5, np.nan, 1])
    assert scores.confusion.tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0, 0, 1, 0, 0]]


def test_a_tie_is_wrong_in_every_table():
    """One video of each class, and a network that says the same of all six."""
    labels = np.arange(6)
    scores = evaluate_videos(forward, batches(np.full((6, 1, 6), 2.5, np.float32), labels, 1, 4),
                             labels, 6, 1)
    assert (scores.clip_top1, scores.top1, scores.top5) == (0, 0, 0)
    assert scores.per_class.tolist() == [0] * 6
    assert scores.confusion[:, 6].tolist() == [1] * 6 and scores.confusion.sum() == 6


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_video(wrong):
    logits = np.zeros((4, 1, 3), np.float32)
    logits[3, 0, 1] = wrong
    with pytest.raises(UserError, match=f'b.mp4: the network gives scores .* finite .{wrong}.: '):
        evaluate_videos(forward, batches(logits, np.array([0, 1]), 2, 3), np.array([0, 1]), 3, 2,
                        name=lambda i: ['a.mp4', 'b.mp4'][i // 2])


def test_softmax_of_large_scores():
    np.testing.assert_allclose(softmax(np.array([1000., 1000, -1000], np.float32)), [0.5, 0.5, 0])
    assert softmax(np.zeros((2, 3))) == pytest.approx(np.full((2, 3), 1 / 3))
