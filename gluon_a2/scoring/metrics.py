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
from ..machine.resources import free_memory

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


class Answers:
    """What a network says of each sample of a data set, in the order of its source.

    `said` (int64 N) is its guess; `classes` in a tie, and one more for what cannot be read. `best`
    and `shares` (N×top) are its `top` classes and their probabilities, NaN where there are none.
    `kept` has what it is to keep, 'logits' or 'features', float32 N×(views×)numbers.
    """

    def __init__(self, labels: np.ndarray, classes: int, top: int = 5,
                 keep: Iterable[str] = ()) -> None:
        self.labels, self.classes, top = labels, classes, min(top, classes)
        self.said = np.full(len(labels), classes + 1)
        self.best = np.full((len(labels), top), NO_GUESS)
        self.shares = np.full((len(labels), top), np.nan, np.float32)
        self.kept: dict[str, np.ndarray] = dict.fromkeys(keep, np.empty(0))

    @property
    def confusion(self) -> np.ndarray:
        """int64 classes×(classes + 2): samples by label and guess, then those in a tie, and
        unreadable."""
        table = np.zeros((self.classes, self.classes + 2), np.int64)
        np.add.at(table, (self.labels, self.said), 1)
        return table

    def add(self, indices: np.ndarray, scores: np.ndarray, shares: np.ndarray) -> None:
        """Take in the scores of the samples `indices`, n×classes, and their probabilities."""
        said = guesses(scores)
        self.said[indices] = np.where(said == NO_GUESS, self.classes, said)
        best = np.argsort(-shares, axis=1, kind='stable')[:, :self.best.shape[1]]
        self.best[indices] = best
        self.shares[indices] = np.take_along_axis(shares, best, axis=1)

    def keep(self, views: int, indices: np.ndarray, **values: np.ndarray | None) -> None:
        """Keep what is to be kept of the n views `indices`, of `views` each sample has: `values`
        are n×…×numbers."""
        for name in self.kept:
            found = np.asarray(values[name])
            if not self.kept[name].size:
                self.kept[name] = _room(name, len(self.labels) * views, found.shape[1:])
            self.kept[name][indices] = found

    def array(self, name: str) -> np.ndarray:
        """What was kept: N×numbers of images, N×views×numbers of videos; NaN of the unreadable."""
        found = self.kept[name]
        between = (-1,) if found.ndim > 2 else ()
        return found.reshape((len(self.labels), *between, *found.shape[-1:]))

    def mistakes(self) -> np.ndarray:
        """The samples that are taken for another class, the surest first."""
        wrong = np.flatnonzero((self.said != self.labels) & (self.said < self.classes))
        return wrong[np.argsort(-self.shares[wrong, 0], kind='stable')]


def _room(name: str, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """NaN for `count` samples; UserError where memory is too small."""
    needed, free = 4 * count * int(np.prod(shape)), free_memory()
    if needed > free:
        raise UserError(f'the `{name}` of {count} samples take {needed / 1e9:.1f} GB, and '
                        f'{free / 1e9:.1f} GB of memory are free: leave them out, or score a part')
    return np.full((count, *shape), np.nan, np.float32)


def per_class(confusion: np.ndarray) -> np.ndarray:
    """float64 accuracies of the classes of a confusion, NaN for those without samples."""
    count = confusion.sum(axis=1)
    return np.where(count, np.diag(confusion) / np.maximum(1, count), np.nan)


# ---- over a data set

def evaluate(forward: Callable, batches: Iterable, total: int, describe: str = 'validation',
             damaged: list | None = None, name: Callable[[int], str] | None = None,
             answers: Answers | None = None, features: Callable = lambda: None) -> Sums:
    """The `Sums` of a network over `total` images, every one counted once.

    `forward(images float32 N×3×H×W)` gives scores (N×classes, numpy); `batches` are a loader's. An
    image that cannot be decoded counts as wrong and is named in the log, or added to the list
    `damaged` if there is one. Where `name` is given, which names image i of the source, scores that
    are not finite are a UserError; without it the image counts as wrong. `answers` takes in what
    is said of each image, and `features()`, those of the latest batch.
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
                if answers is not None:
                    answers.add(batch.indices, scores, softmax(scores))
                    answers.keep(1, batch.indices, logits=scores, features=features())
            bar.update(len(batch.labels) + len(batch.damaged))
    if sums.images != total:
        raise AssertionError(f'{sums.images} of {total} images were scored')
    return sums


@dataclasses.dataclass
class VideoScores:
    """What a network says of videos, in several views each; an unreadable one counts as wrong."""
    views: int  # of each video, windows of a frame included
    confusion: np.ndarray  # see `Answers`
    clip_top1: int = 0
    top1: int = 0
    top5: int = 0

    @property
    def videos(self) -> int:
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
        return per_class(self.confusion)


def evaluate_videos(forward: Callable, batches: Iterable, labels: np.ndarray, classes: int,
                    views: int, crops: int = 1,
                    name: Callable[[int], str] = 'sample {}'.format,
                    answers: Answers | None = None,
                    features: Callable = lambda: None) -> VideoScores:
    """The `VideoScores` of a network over all videos; `labels` are theirs, int64.

    `forward` is as in `evaluate`; the samples of `batches` are `views` of each video in a row,
    `crops` windows each, float32 n×(crops×)3×T×H×W. Scores that are not finite are a UserError,
    which names the sample by `name`. `answers` and `features` are as in `evaluate`.
    """
    answers = answers or Answers(labels, classes)
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
                inner = features()
                answers.keep(views, batch.indices, logits=logits, features=None if inner is None
                             else inner.reshape(len(logits), crops, -1))
            bar.update(len(batch.labels) + len(batch.damaged))
    whole = seen == views
    shares, own = totals[whole] / views, labels[whole]
    answers.add(np.flatnonzero(whole), shares, shares)
    top1, top5 = (int(hits(shares, own, k).sum()) for k in (1, 5))
    return VideoScores(views * crops, answers.confusion, clip_top1, top1, top5)


def name_damaged(damaged: Iterable[tuple[str, str]]) -> None:
    """Name samples, [(name, reason)], that cannot be decoded and so count as wrong, in the log."""
    for name, reason in damaged:
        _log.warning('counted as wrong: %s: %s', name, reason)
