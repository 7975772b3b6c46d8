"""Sums over images, from which accuracies and mean losses are taken once, at the end."""
import dataclasses
import logging

import numpy as np
from tqdm import tqdm

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Sums:
    """Counts that add up over batches, ranks and restarts; stored in checkpoints."""
    images: int = 0
    loss: float = 0.0
    top1: float = 0.0  # a float: under mixup an image is right by shares
    top5: float = 0.0

    def add(self, other):
        """Add another batch's sums."""
        self.images += other.images
        self.loss += other.loss
        self.top1 += other.top1
        self.top5 += other.top5

    @property
    def accuracy(self):
        """Share of images whose first guess is right; 0 where there are none."""
        return self.top1 / max(1, self.images)

    @property
    def top5_accuracy(self):
        """Share of images with the right class among the first five guesses."""
        return self.top5 / max(1, self.images)

    @property
    def mean_loss(self):
        """Loss per image."""
        return self.loss / max(1, self.images)


def hits(scores, labels, k):
    """How many rows of `scores` (N×classes) have their label among the k highest; bool N.

    Ties count against the network: a label is in the top k where fewer than k other scores reach
    its own. So a network that says the same of all classes scores 0, not 1, and NaN is never right.
    """
    own = scores[np.arange(len(labels)), labels]
    return ((scores >= own[:, None]).sum(axis=1) - 1 < k) & np.isfinite(own)


def evaluate(forward, batches, total, describe='validation', damaged=None):
    """The `Sums` of a network over `total` images, every one counted once.

    `forward(images float32 N×3×H×W)` gives scores (N×classes, numpy); `batches` are a loader's. An
    image that cannot be decoded counts as wrong and is named in the log, or added to the list
    `damaged` if there is one.
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
                sums.add(
                    Sums(len(batch.labels), 0.0,
                         *(float(hits(scores, batch.labels, k).sum()) for k in (1, 5))))
            bar.update(len(batch.labels) + len(batch.damaged))
    if sums.images != total:
        raise AssertionError(f'{sums.images} of {total} images were scored')
    return sums


@dataclasses.dataclass
class VideoScores:
    """What a network says of videos, each seen in several views; one that cannot be read counts as
    wrong."""
    views: int  # of each video, windows of a frame included
    # int64 classes×(classes + 1): videos by label and guess, the last column unreadable
    confusion: np.ndarray
    clip_top1: int = 0
    top1: int = 0
    top5: int = 0

    @property
    def videos(self):
        """All of them."""
        return int(self.confusion.sum())

    @property
    def unreadable(self):
        """Videos that lack a view, since they could not be read."""
        return int(self.confusion[:, -1].sum())

    @property
    def clip_accuracy(self):
        """Share of all views that are classified rightly by themselves."""
        return self.clip_top1 / max(1, self.videos * self.views)

    @property
    def accuracy(self):
        """Share of videos whose class has the highest softmax, averaged over the views."""
        return self.top1 / max(1, self.videos)

    @property
    def top5_accuracy(self):
        """Share of videos whose class is among the five highest."""
        return self.top5 / max(1, self.videos)

    def sentence(self):
        """The accuracies, and what they are of."""
        unread = f' ({self.unreadable} unreadable, counted as wrong)' if self.unreadable else ''
        return (f'clip {100 * self.clip_accuracy:.2f} % top-1; video {100 * self.accuracy:.2f} % '
                f'top-1, {100 * self.top5_accuracy:.2f} % top-5; {self.views} views of each of '
                f'{self.videos} videos{unread}')

    @property
    def per_class(self):
        """float64 accuracies, NaN for classes without videos."""
        count = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        return np.where(count, right / np.maximum(1, count), np.nan)


def softmax(scores):
    """float64 shares of scores ...×classes."""
    shares = np.exp(np.asarray(scores, np.float64) - np.max(scores, axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def evaluate_videos(forward, batches, labels, classes, views, crops=1):
    """The `VideoScores` of a network over all videos; `labels` are theirs, int64.

    `forward` is as in `evaluate`; the samples of `batches` are `views` of each video in a row,
    `crops` windows each, float32 n×(crops×)3×T×H×W. No more than a batch is held at a time.
    """
    scores = VideoScores(views * crops, np.zeros((classes, classes + 1), np.int64))
    open_sums, named, last = {}, set(), -1  # video: (views so far, sum of their shares)
    with tqdm(total=len(labels) * views, unit='view', desc='scoring', leave=False,
              dynamic_ncols=True, disable=None) as bar:
        for batch in batches:
            name_damaged([item for item in dict(batch.damaged).items() if item[0] not in named])
            named.update(name for name, _ in batch.damaged)
            if len(batch.labels):
                clips = batch.images.reshape(-1, *batch.images.shape[-4:])  # n·crops×3×T×H×W
                logits = forward(clips).reshape(len(batch.labels), crops, classes)
                scores.clip_top1 += int(
                    hits(logits.reshape(-1, classes), batch.labels.repeat(crops), 1).sum())
                for index, share in zip(batch.indices.tolist(), softmax(logits).mean(axis=1)):
                    last = index // views
                    count, total = open_sums.get(last, (0, 0))
                    open_sums[last] = count + 1, total + share
            done = {
                video: total / views for video, (count, total) in open_sums.items()
                if count == views
            }
            _add_videos(scores, done, labels)
            open_sums = {last: open_sums[last]} if last in open_sums and last not in done else {}
            bar.update(len(batch.labels) + len(batch.damaged))
    scores.confusion[:, -1] = np.bincount(labels,
                                          minlength=classes) - scores.confusion[:, :-1].sum(axis=1)
    return scores


def _add_videos(scores, done, labels):
    if not done:
        return
    shares, own = np.stack(list(done.values())), labels[list(done)]
    scores.top1 += int(hits(shares, own, 1).sum())
    scores.top5 += int(hits(shares, own, 5).sum())
    np.add.at(scores.confusion, (own, shares.argmax(axis=1)), 1)


def name_damaged(damaged):
    """Name images that count as wrong, since they cannot be decoded, in the log; [(name,
    reason)]."""
    for name, reason in damaged:
        _log.warning('counted as wrong: %s: %s', name, reason)
