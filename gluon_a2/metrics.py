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

    Ties count against the network: a label is in the top k where fewer than k other scores reach its own. So
    a network that says the same of all classes scores 0, not 1, and NaN is never right.
    """
    own = scores[np.arange(len(labels)), labels]
    return ((scores >= own[:, None]).sum(axis=1) - 1 < k) & np.isfinite(own)


def evaluate(forward, batches, total, describe='validation', damaged=None):
    """The `Sums` of a network over `total` images, every one counted once.

    `forward(images float32 N×3×H×W)` gives scores (N×classes, numpy); `batches` are a loader's. An image that
    cannot be decoded counts as wrong and is named in the log, or added to the list `damaged` if there is one.
    """
    sums = Sums()
    with tqdm(total=total, unit='img', desc=describe, leave=False, dynamic_ncols=True, disable=None) as bar:
        for batch in batches:
            if damaged is None:
                name_damaged(batch.damaged)
            else:
                damaged += batch.damaged
            sums.images += len(batch.damaged)
            if len(batch.labels):
                scores = forward(batch.images)
                sums.add(Sums(len(batch.labels), 0.0, *(float(hits(scores, batch.labels, k).sum()) for k in (1, 5))))
            bar.update(len(batch.labels) + len(batch.damaged))
    if sums.images != total:
        raise AssertionError(f'{sums.images} of {total} images were scored')
    return sums


def name_damaged(damaged):
    """Name images that count as wrong, since they cannot be decoded, in the log; [(name, reason)]."""
    for name, reason in damaged:
        _log.warning('counted as wrong: %s: %s', name, reason)
