"""When scores are right, and the sums of it, from which accuracies are taken once, at the end.

A sample is right where its class has the highest score, and no other class reaches it. So a tie is
wrong, and a network that says the same of all classes is right for nobody. Scores that hold NaN or
infinity are right for nobody either. In scoring and predicting they are an error, which names the
sample; in training the step that made them is.
"""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable

import numpy as np
from tqdm import tqdm

from ..errors import UserError

_log = logging.getLogger(__name__)

NO_GUESS = -1
TOP5_CLASSES = 6  # with fewer, the right class is always among the first five


@dataclasses.dataclass
class Sums:
    """Counts that add up over batches, ranks and restarts; stored in checkpoints."""
    images: int = 0
    loss: float = 0.0
    top1: float = 0.0  # a float: under mixup an image is right by shares
    top5: float = 0.0

    def add(self, other: Sums) -> None:
        """Add another batch's sums."""
        self.images += other.images
        self.loss += other.loss
        self.top1 += other.top1
        self.top5 += other.top5

    @property
    def accuracy(self) -> float:
        """Share of images whose first guess is right; 0 where there are none."""
        return self.top1 / max(1, self.images)

    @property
    def top5_accuracy(self) -> float:
        """Share of images with the right class among the first five guesses."""
        return self.top5 / max(1, self.images)

    @property
    def mean_loss(self) -> float:
        """Loss per image."""
        return self.loss / max(1, self.images)


# ---- the rule

def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Which rows of `scores` (N×classes) have their label among the k highest; bool N.

    A label is in the top k where fewer than k other scores reach its own.
    """
    own = scores[np.arange(len(labels)), labels]
    return ((scores >= own[:, None]).sum(axis=1) <= k) & np.isfinite(scores).all(axis=1)


def guesses(scores: np.ndarray) -> np.ndarray:
    """The class of the highest score in each row (N×classes), int64 N; `NO_GUESS` in a tie."""
    best = scores.argmax(axis=1)
    return np.where(hits(scores, best, 1), best, NO_GUESS)


def fault_of(scores: np.ndarray) -> str | None:
    """Why scores (any shape) say nothing, or None where all are finite."""
    wrong = scores[~np.isfinite(scores)]
    return None if not len(wrong) else (
        f'the network gives scores that are not finite ({wrong[0]}): check its weights, and the '
        'mean and scale of its pixels')


def require_finite(scores: np.ndarray, indices: np.ndarray, name: Callable[[int], str]) -> None:
    """UserError, naming the sample, unless all `scores` (N×…), of the samples `indices`, are
    finite."""
    for index, row in zip(indices, scores):
        fault = fault_of(row)
        if fault:
            raise UserError(f'{name(index)}: {fault}')


def softmax(scores: np.ndarray) -> np.ndarray:
    """float64 shares of scores ...×classes."""
    shares = np.exp(np.asarray(scores, np.float64) - np.max(scores, axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def top5_text(share: float, classes: int) -> str:
    """A top-5 accuracy in words; of too few classes it says nothing."""
    return (f'{100 * share:.2f} % top-5' if classes >= TOP5_CLASSES else
            f'top-5 means nothing with {classes} classes')


# ---- over a data set

def evaluate(forward: Callable, batches: Iterable, total: int, describe: str = 'validation',
             damaged: list | None = None, name: Callable[[int], str] | None = None) -> Sums:
    """The `Sums` of a network over `total` images, every one counted once.

    `forward(images float32 N×3×H×W)` gives scores (N×classes, numpy); `batches` are a loader's. An
    image that cannot be decoded counts as wrong and is named in the log, or added to the list
    `damaged` if there is one. Where `name` is given, which names image i of the source, scores that
    are not finite are a UserError; without it the image counts as wrong.
    """
    sums = Sums()
    with tqdm(total=total, unit='img', desc=describe, leave=False, dynamic_ncols=True,
              disable=None) as bar:
        for batch in batches:
            if damaged is None:
                name_damaged(batch.damaged)
            else:
                damaged += batch.damaged
            sums.images += len(batch.damaged)
            if len(batch.labels):
                scores = forward(batch.images)
                if name is not None:
                    require_finite(scores, batch.indices, name)
                sums.add(Sums(len(batch.labels), 0.0, *(
                    float(hits(scores, batch.labels, k).sum()) for k in (1, 5))))
            bar.update(len(batch.labels) + len(batch.damaged))
    if sums.images != total:
        raise AssertionError(f'{sums.images} of {total} images were scored')
    return sums


@dataclasses.dataclass
class VideoScores:
    """What a network says of videos, in several views each; an unreadable one counts as wrong."""
    views: int  # of each video, windows of a frame included
    # int64 classes×(classes + 2): videos by label and guess, then those in a tie, and unreadable
    confusion: np.ndarray
    clip_top1: int = 0
    top1: int = 0
    top5: int = 0

    @property
    def videos(self) -> int:
        """All of them."""
        return int(self.confusion.sum())

    @property
    def unreadable(self) -> int:
        """Videos that lack a view, because they could not be read."""
        return int(self.confusion[:, -1].sum())

    @property
    def clip_accuracy(self) -> float:
        """Share of all views that are classified rightly by themselves."""
        return self.clip_top1 / max(1, self.videos * self.views)

    @property
    def accuracy(self) -> float:
        """Share of videos whose class has the highest softmax, averaged over the views."""
        return self.top1 / max(1, self.videos)

    @property
    def top5_accuracy(self) -> float:
        """Share of videos whose class is among the five highest."""
        return self.top5 / max(1, self.videos)

    def sentence(self) -> str:
        """The accuracies, and what they are of."""
        unread = f' ({self.unreadable} unreadable, counted as wrong)' if self.unreadable else ''
        return (f'clip {100 * self.clip_accuracy:.2f} % top-1; video {100 * self.accuracy:.2f} % '
                f'top-1, {top5_text(self.top5_accuracy, len(self.confusion))}; {self.views} views '
                f'of each of {self.videos} videos{unread}')

    @property
    def per_class(self) -> np.ndarray:
        """float64 accuracies, NaN for classes without videos."""
        count = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        return np.where(count, right / np.maximum(1, count), np.nan)


def evaluate_videos(forward: Callable, batches: Iterable, labels: np.ndarray, classes: int,
                    views: int, crops: int = 1,
                    name: Callable[[int], str] = 'sample {}'.format) -> VideoScores:
    """The `VideoScores` of a network over all videos; `labels` are theirs, int64.

    `forward` is as in `evaluate`; the samples of `batches` are `views` of each video in a row,
    `crops` windows each, float32 n×(crops×)3×T×H×W. Scores that are not finite are a UserError,
    which names the sample by `name`.
    """
    totals, seen = np.zeros((len(labels), classes)), np.zeros(len(labels), np.int64)
    clip_top1 = 0
    named: set[str] = set()
    with tqdm(total=len(labels) * views, unit='view', desc='scoring', leave=False,
              dynamic_ncols=True, disable=None) as bar:
        for batch in batches:
            name_damaged([item for item in dict(batch.damaged).items() if item[0] not in named])
            named.update(damaged for damaged, _ in batch.damaged)
            if len(batch.labels):
                clips = batch.images.reshape(-1, *batch.images.shape[-4:])  # n·crops×3×T×H×W
                logits = forward(clips).reshape(len(batch.labels), crops, classes)
                require_finite(logits, batch.indices, name)
                clip_top1 += int(
                    hits(logits.reshape(-1, classes), batch.labels.repeat(crops), 1).sum())
                np.add.at(totals, batch.indices // views, softmax(logits).mean(axis=1))
                np.add.at(seen, batch.indices // views, 1)
            bar.update(len(batch.labels) + len(batch.damaged))
    whole = seen == views
    shares, own = totals[whole] / views, labels[whole]
    said, confusion = guesses(shares), np.zeros((classes, classes + 2), np.int64)
    np.add.at(confusion, (own, np.where(said == NO_GUESS, -2, said)), 1)
    np.add.at(confusion, (labels[~whole], -1), 1)
    top1, top5 = (int(hits(shares, own, k).sum()) for k in (1, 5))
    return VideoScores(views * crops, confusion, clip_top1, top1, top5)


def name_damaged(damaged: Iterable[tuple[str, str]]) -> None:
    """Name samples, [(name, reason)], that cannot be decoded and so count as wrong, in the log."""
    for name, reason in damaged:
        _log.warning('counted as wrong: %s: %s', name, reason)
