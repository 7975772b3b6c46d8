"""One step of synchronous SGD: this rank's micro-batches, the sums over all ranks, and the update.

Gradients are summed over all micro-batches, wherever computed, and divided by their images;
BatchNorm's running statistics move once a step, by the mean over the micro-batches. So k ranks
compute what one rank does with k of them.
"""
import contextlib
import dataclasses
import hashlib
import math
import time
from typing import List, NamedTuple

import numpy as np

from ..backend import mx
from ..scoring.metrics import Sums, hits
from .optimizer import LossScale, Updater

# Where a step's time goes: `compute` is forward, backward and update, which are waited for; `wait`
# is for the slowest rank, `allreduce` the exchange of gradients.
PHASES = ('data', 'compute', 'wait', 'allreduce', 'checkpoint')


@dataclasses.dataclass
class Position:
    """Where a run is; with the tensors, all that a checkpoint must hold."""
    step: int = 0
    epoch: int = 0
    images: int = 0  # already visited in this epoch
    best: float = -1.0  # validation top-1


class Outcome(NamedTuple):
    """What became of a step, on all ranks together but for `loss`."""
    sums: Sums  # of no images where nothing was updated
    damaged: list  # (name, reason) of the images left out
    faulty: List[int]  # ranks whose loss or gradients are not finite
    stop: bool  # somebody was asked to save and stop
    loss: float  # this rank's, summed over its images


class Stepper:
    """The network with its optimizer, and what a step does to them."""

    def __init__(self, recipe, net, group, clock):
        self.recipe, self.net, self.group, self._clock = recipe, net, group, clock
        self.parameters = net.collect_params()
        self.ctx = next(iter(self.parameters.values())).list_ctx()[0]
        # MXNet's own accumulation is in float32
        self._adds = recipe.accumulate > 1 and not recipe.exact_sums
        for parameter in self.parameters.values():
            if self._adds and parameter.grad_req != 'null':
                parameter.grad_req = 'add'
        self.updater = Updater(self.parameters, recipe)
        self.scale = LossScale(recipe.dtype == 'float16')
        self._statistics = [p for p in self.parameters.values() if p.grad_req == 'null']
        self._criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
        self._criterion.hybridize()

    # ---- what a checkpoint holds

    def tensors(self):
        """{name: numpy copy} of all parameters and optimizer states."""
        return {name: array.asnumpy() for name, array in self._arrays().items()}

    def digest(self):
        """SHA-256 of them all."""
        digest = hashlib.sha256()
        # one copy at a time: many ranks may share a machine's memory
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array.asnumpy()).data)
        return digest.hexdigest()

    def restore(self, found):
        """Take the tensors of a `Checkpoint`; CheckpointError where they are of another network."""
        arrays = self._arrays()
        found.check({name: array.shape for name, array in arrays.items()})
        for name, array in arrays.items():
            array[:] = mx.nd.array(found.tensors[name], dtype=array.dtype)

    def share(self):
        """Give all ranks the parameters and optimizer states of rank 0."""
        self.group.broadcast_arrays(list(self._arrays().values()))

    def _arrays(self):
        arrays = {f'param/{name}': p.data() for name, p in self.parameters.items()}
        for name, states in self.updater.states.items():
            arrays.update({f'state/{name}/{i}': state for i, state in enumerate(states)})
        return arrays

    # ---- a step

    def take(self, batches, at, lr, stop=False):
        """One update from an iterable of this rank's micro-batches; `Outcome`. `stop` tells all
        ranks to.

        Nothing is changed where a loss or gradient is not finite on any rank.
        """
        if self._adds:
            self.parameters.zero_grad()
        before, own, damaged, exact = self._flat_statistics(), Sums(), [], None
        moved = np.zeros(len(before))
        for number, batch in enumerate(batches):
            damaged.extend(batch.damaged)
            self.group.beat(at.step, 'compute')
            if len(batch.labels):
                if own.images:
                    self._set_statistics(before)
                own.add(
                    self._forward_backward(batch, at, number * self.group.size + self.group.rank))
                moved += len(batch.labels) * self._flat_statistics()
                if self.recipe.exact_sums:
                    gradients = self.updater.flat_gradients().astype('float64')
                    exact = gradients if exact is None else exact + gradients
        finite = not own.images or (math.isfinite(own.loss) and self._finite(exact))
        with self._clock.during('wait'):
            total, some_damaged, faulty, moved, stop = self._meet(own, bool(damaged), finite, moved,
                                                                  stop)
        if some_damaged:
            damaged = sorted(map(tuple, sum(self.group.all_gather(damaged, 'damaged'), [])))
        accepted = total.images and (not faulty
                                     or self.scale.enabled) and self.scale.accept(not faulty)
        if accepted:
            self._sum_gradients(total.images, exact, bool(own.images))
            self.updater.update(lr, 1 / (total.images * self.scale.scale))
        self._set_statistics(moved / total.images if accepted else before)
        return Outcome(total if accepted else Sums(), damaged, faulty, stop, own.loss)

    def _meet(self, own, damaged, finite, moved, stop):
        """All ranks' (sums, whether images are damaged, ranks that are not finite, statistics ×
        images, whether to stop), by one sum over a vector."""
        size = self.group.size
        faulty = np.zeros(size)
        faulty[self.group.rank] = not finite
        counts = [own.images, own.loss, own.top1, own.top5] if finite else [own.images, 0, 0, 0]
        moved = moved if finite else np.zeros(len(moved))
        vector = self.group.all_reduce(np.concatenate([counts, [damaged, stop], faulty, moved]), 'counts')
        faulty = np.flatnonzero(vector[6:6 + size]).tolist()
        return (Sums(int(vector[0]), *vector[1:4].tolist()), vector[4]
                > 0, faulty, vector[6 + size:], bool(vector[5] > 0))

    def _finite(self, exact):
        return self.updater.finite() if exact is None else math.isfinite(exact.sum().asscalar())

    def _sum_gradients(self, images, exact, has_gradients):
        """Sum the gradients over all ranks; `exact` is their sum over this rank's micro-batches,
        where it is kept."""
        if self.group.size == 1 and exact is None:
            return
        flat = self.updater.flat_gradients() if exact is None else exact
        if not has_gradients:  # the last step of an epoch may leave a rank without images
            flat = mx.nd.zeros(flat.shape, flat.context,
                               dtype='float64' if self.recipe.exact_sums else 'float32')
        flat.wait_to_read()
        with self._clock.during('allreduce'):
            self.group.all_reduce_gradients(flat, self.recipe.compression, images)
        self.updater.set_gradients(flat)

    def _flat_statistics(self):
        """BatchNorm's running statistics, one float64 vector, empty for a network without."""
        mx.nd.waitall()  # the backward pass writes them, and readers do not wait for it
        return np.concatenate([
            np.empty(0), *(p.data().asnumpy().ravel() for p in self._statistics)
        ])

    def _set_statistics(self, flat):
        start = 0
        for parameter in self._statistics:
            array = parameter.data()
            array[:] = mx.nd.array(flat[start:start + array.size].reshape(array.shape),
                                   dtype=array.dtype)
            start += array.size
        mx.nd.waitall()

    def _forward_backward(self, batch, at, number):
        recipe = self.recipe
        mx.random.seed(step_seed(recipe.seed, at.step, number))
        images = mx.nd.array(batch.images, self.ctx, dtype=recipe.dtype)
        labels, share = batch.labels, mixing_share(recipe, at, number)
        targets = soft_targets(labels, recipe.classes, recipe.label_smoothing)
        if share < 1:
            images = images * share + mx.nd.flip(images, axis=0) * (1 - share)
            targets = targets * share + targets[::-1] * (1 - share)
        with mx.autograd.record():
            logits = self.net(images).astype('float32')
            loss = self._criterion(logits, mx.nd.array(targets, self.ctx))
            scaled = loss * self.scale.scale if self.scale.enabled else loss
        scaled.backward()
        scores = logits.asnumpy()
        top1, top5 = (share * hits(scores, labels, k).sum() +
                      (1 - share) * hits(scores, labels[::-1], k).sum() for k in (1, 5))
        return Sums(len(labels), float(loss.asnumpy().sum(dtype=np.float64)), float(top1),
                    float(top5))


def step_seed(seed, *key):
    """A seed for MXNet's generator, which cannot be saved, from the run's seed and where it is."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)


def mixing_share(recipe, at, number):
    """λ of mixup for micro-batch `number` of a step, drawn from Beta(α, α); 1 where nothing is
    mixed."""
    if not recipe.mixup or at.epoch >= recipe.num_epochs - recipe.mixup_off_epoch:
        return 1.0
    return np.random.default_rng(step_seed(recipe.seed, at.step, number,
                                           1)).beta(*[recipe.mixup_alpha] * 2)


def soft_targets(labels, classes, smoothing):
    """One-hot rows (N×classes, float32) with `smoothing` of their mass spread evenly over all
    classes."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


class Clock:
    """Images per second since `restart`, and the share of that time spent in each phase."""

    def __init__(self):
        self.restart(0)

    def restart(self, images):
        """Begin anew, `images` into the epoch."""
        self._start = self._since = time.perf_counter()
        self._images, self._spent, self._phase = images, {}, None

    def timed(self, name, iterator, count):
        """The next `count` items of an iterator, the wait for each counted under `name`."""
        for _ in range(count):
            with self.during(name):
                item = next(iterator)
            yield item

    @contextlib.contextmanager
    def during(self, name):
        """Count the time in here under `name` alone, not under a phase around it."""
        around = self._enter(name)
        try:
            yield
        finally:
            self._enter(around)

    def _enter(self, phase):
        now, before = time.perf_counter(), self._phase
        self._spent[before] = self._spent.get(before, 0) + now - self._since
        self._since, self._phase = now, phase
        return before

    def speed(self, images):
        """Images per second."""
        return (images - self._images) / max(1e-9, time.perf_counter() - self._start)

    def share(self, name):
        """Share of the time spent under `name`."""
        return self._spent.get(name, 0) / max(1e-9, time.perf_counter() - self._start)
