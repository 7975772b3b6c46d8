"""One step of synchronous SGD: this rank's micro-batches, the sums over all ranks, and the update.

Gradients are summed over all micro-batches, wherever computed, and divided by their images.
BatchNorm's running statistics move once a step, by the mean over the micro-batches. So k ranks
compute what one rank does with k of them.
"""
from __future__ import annotations

import contextlib
import hashlib
import math
from typing import Any, Callable, Iterable, Iterator, NamedTuple

import numpy as np

from ..backend import mx
from ..data import Batch
from ..run.checkpoint import Checkpoint, Position, named_arrays
from ..run.recipes import Recipe
from ..scoring.metrics import Sums, hits
from . import bfloat16
from .buckets import Bucket, shared_out
from .distributed import Group
from .optimizer import LossScale, Updater
from .timer import Timer

RUNNING = 'running_mean', 'running_var'  # what the names of BatchNorm's statistics end with


class Outcome(NamedTuple):
    """What became of a step, on all ranks together but for `loss`."""
    sums: Sums  # of no images where nothing was updated
    damaged: list[tuple[str, str]]  # (name, reason) of the images left out
    faulty: list[int]  # ranks whose loss or gradients are not finite
    stop: bool  # somebody was asked to save and stop
    loss: float  # this rank's, summed over its images


class Totals(NamedTuple):
    """Sums over the shares that all ranks have of a step."""
    sums: Sums
    damaged: bool  # whether any rank left images out
    stop: bool
    faulty: list[int]
    statistics: np.ndarray  # BatchNorm's after each micro-batch, times its images


class Stepper:
    """The network with its optimizer, and what a step does to them. `trained` and `tested` have the
    parameters in common, and are one network where both compute in one type."""

    def __init__(self, recipe: Recipe, net: Any, group: Group, timer: Timer) -> None:
        self.recipe, self.net, self.group, self._timer = recipe, net, group, timer
        self.trained = self.tested = net
        if recipe.dtype == 'bfloat16':
            self.trained, self.tested = bfloat16.in_bfloat16(net), bfloat16.in_float32(net)
        self.parameters = net.collect_params()
        self.ctx = next(iter(self.parameters.values())).list_ctx()[0]
        # MXNet's own accumulation is in float32
        self._accumulates = recipe.accumulate > 1 and not recipe.exact_sums
        for parameter in self.parameters.values():
            if self._accumulates and parameter.grad_req != 'null':
                parameter.grad_req = 'add'
        self.updater = Updater(self.parameters, recipe)
        # one rank leaves its gradients where MXNet put them
        self._buckets = [Bucket(gradients, 'float64' if recipe.exact_sums else 'float32')
                         for gradients in shared_out(self.updater.gradients())
                         ] if group.size > 1 or recipe.exact_sums else []
        self.scale = LossScale(recipe.dtype == 'float16')
        self._running = {
            name: p for name, p in self.parameters.items() if name.endswith(RUNNING)}
        self._averages = {name: array.astype('float32') for name, array in self._moving().items()
                          } if recipe.ema else {}
        self._criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
        self._criterion.hybridize()

    # ---- a step

    def take(self, batches: Iterable[Batch], at: Position, lr: float,
             stop: bool = False) -> Outcome:
        """One update from an iterable of this rank's micro-batches; `stop` tells all ranks to.
        Nothing is changed where a loss or gradient is not finite on any rank."""
        mx.nd.waitall()  # the backward pass writes statistics, and waits for no reader
        if self._accumulates:
            self.parameters.zero_grad()
        sums, damaged = Sums(), []
        start = self._read_statistics()  # every micro-batch moves BatchNorm's from here
        statistics, before = np.zeros(len(start)), 0
        for number, batch in enumerate(batches):
            damaged.extend(batch.damaged)
            self.group.beat(at.step, 'compute')
            if len(batch.labels):
                if before:
                    statistics += before * self._read_statistics()
                    self._write_statistics(start)
                sums.add(self._forward_backward(
                    batch, at, number * self.group.size + self.group.rank))
                if self.recipe.exact_sums:  # else MXNet adds them up
                    for bucket in self._buckets:
                        bucket.add() if before else bucket.copy()
                before = len(batch.labels)
        are_finite = self._send_gradients(bool(before))
        if before:
            statistics += before * self._read_statistics()
        finite = not before or (math.isfinite(sums.loss) and are_finite())
        with self._timer.during('wait'):
            total = self._add_over_ranks(sums, bool(damaged), stop, finite, statistics)
            self.group.finish([bucket.vector for bucket in self._buckets])
        if total.damaged:
            damaged = sorted(map(tuple, sum(self.group.all_gather(damaged, 'damaged'), [])))
        images, faulty = total.sums.images, total.faulty
        accepted = images and (not faulty or self.scale.enabled) and self.scale.accept(not faulty)
        if accepted:
            for bucket in self._buckets:
                bucket.give()
            self.updater.update(lr, self._rescale(images))
        self._write_statistics(total.statistics / images if accepted else start)
        if accepted and self.recipe.ema:
            self._average(at.step)
        return Outcome(total.sums if accepted else Sums(), damaged, faulty, total.stop, sums.loss)

    def _forward_backward(self, batch: Batch, at: Position, number: int) -> Sums:
        """The gradients of micro-batch `number` of a step, and its sums."""
        recipe = self.recipe
        mx.random.seed(step_seed(recipe.seed, at.step, number))
        images = mx.nd.array(batch.images, self.ctx, dtype=recipe.weights_dtype)
        labels, share = batch.labels, mixing_share(recipe, at, number)
        targets = soft_targets(labels, recipe.classes, recipe.label_smoothing)
        if share < 1:
            images = images * share + mx.nd.flip(images, axis=0) * (1 - share)
            targets = targets * share + targets[::-1] * (1 - share)
        with mx.autograd.record():
            logits = self.trained(images).astype('float32')
            loss = self._criterion(logits, mx.nd.array(targets, self.ctx))
            scaled = loss * self.scale.scale if self.scale.enabled else loss
        scaled.backward()
        scores = logits.asnumpy()
        top1, top5 = (share * hits(scores, labels, k).sum()
                      + (1 - share) * hits(scores, labels[::-1], k).sum() for k in (1, 5))
        return Sums(len(labels), float(loss.asnumpy().sum(dtype=np.float64)), float(top1),
                    float(top5))

    def _add_over_ranks(self, sums: Sums, damaged: bool, stop: bool, finite: bool,
                        statistics: np.ndarray) -> Totals:
        """One all-reduce of everything but gradients; a rank that is not `finite` adds nothing but
        its images and its number."""
        size = self.group.size
        faulty = np.zeros(size)
        faulty[self.group.rank] = not finite
        counts = [sums.images, sums.loss, sums.top1, sums.top5]
        if not finite:
            counts[1:], statistics = [0, 0, 0], np.zeros(len(statistics))
        vector = self.group.all_reduce(
            np.concatenate([counts, [damaged, stop], faulty, statistics]), 'counts')
        return Totals(Sums(int(vector[0]), *vector[1:4].tolist()), bool(vector[4] > 0),
                      bool(vector[5] > 0), np.flatnonzero(vector[6:6 + size]).tolist(),
                      vector[6 + size:])

    def _send_gradients(self, any_images: bool) -> Callable[[], bool]:
        """Begin to sum the gradients over all ranks while backward, which has begun, goes on; a
        function that waits for this rank's own and says whether they are finite."""
        exact, checks = self.recipe.exact_sums, []
        for number, bucket in enumerate(self._buckets):
            if not any_images:  # the last step of an epoch may leave a rank without
                bucket.vector[:] = 0
            elif not exact:
                bucket.copy()
            if exact:
                checks.append(bucket.vector.sum())
            self.group.begin_sum(bucket.vector, f'gradients.{number}', self.recipe.compression,
                                 self.recipe.global_batch)
        return (lambda: all(math.isfinite(check.asscalar()) for check in checks)) if exact else (
            self.updater.finite)

    def _rescale(self, images: int) -> float:
        """What makes the summed gradients their mean, no longer than the recipe allows."""
        mean, longest = 1 / (images * self.scale.scale), self.recipe.clip_gradient
        if not longest:
            return mean
        return min(mean, longest / max(self.updater.norm(), 1e-30))

    def _read_statistics(self) -> np.ndarray:
        """BatchNorm's running statistics, one float64 vector, empty for a network without."""
        for gradient in self.updater.gradients():
            gradient.wait_to_read()  # backward writes statistics, and readers do not wait for it
        self._held = np.concatenate([np.empty(0), *(p.data().asnumpy().ravel()
                                                    for p in self._running.values())])
        return self._held

    def _write_statistics(self, flat: np.ndarray) -> None:
        if np.array_equal(flat, self._held):  # as after one micro-batch of one rank
            return
        vector, start = mx.nd.array(flat, self.ctx, dtype='float32'), 0
        for parameter in self._running.values():
            array = parameter.data()
            vector[start:start + array.size].copyto(array)
            start += array.size

    # ---- moving averages

    def _moving(self) -> dict[str, Any]:
        """What a step changes, {name: live array}: weights and BatchNorm's statistics."""
        return {**self.updater.weights(), **{name: p.data() for name, p in self._running.items()}}

    def _average(self, step: int) -> None:
        """Take a step into the averages: as in TensorFlow, the first ones forget faster."""
        share = 1 - min(self.recipe.ema, (1 + step) / (10 + step))
        for name, array in self._moving().items():
            self._averages[name] += share * (array - self._averages[name])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network holds its averages in here, where the recipe asks for them."""
        arrays = {name: self.parameters[name].data() for name in self._averages}
        live = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            array[:] = self._averages[name].astype(array.dtype)
        try:
            yield
        finally:
            for name, array in arrays.items():
                array[:] = live[name]

    # ---- what a checkpoint holds

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of all parameters, optimizer states and averages."""
        return {name: array.asnumpy() for name, array in self._arrays().items()}

    def digest(self) -> str:
        """SHA-256 of them all."""
        digest = hashlib.sha256()
        # one copy at a time: many ranks may share a machine's memory
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array.asnumpy()).data)
        return digest.hexdigest()

    def restore(self, found: Checkpoint) -> None:
        """Take the tensors of a checkpoint; CheckpointError where they are of another network."""
        arrays = self._arrays()
        found.check({name: array.shape for name, array in arrays.items()})
        for name, array in arrays.items():
            array[:] = mx.nd.array(found.tensors[name], dtype=array.dtype)

    def share(self) -> None:
        """Give all ranks the parameters and optimizer states of rank 0."""
        self.group.broadcast_arrays(list(self._arrays().values()))

    def _arrays(self) -> dict[str, Any]:
        return named_arrays({name: p.data() for name, p in self.parameters.items()},
                            self.updater.states, self._averages)


def step_seed(seed: int, *key: int) -> int:
    """A seed for MXNet's generator, which cannot be saved, from the run's seed and where it is."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)


def mixing_share(recipe: Recipe, at: Position, number: int) -> float:
    """λ of mixup for micro-batch `number` of a step, from Beta(α, α); 1 mixes nothing."""
    if not recipe.mixup or at.epoch >= recipe.num_epochs - recipe.mixup_off_epoch:
        return 1.0
    rng = np.random.default_rng(step_seed(recipe.seed, at.step, number, 1))
    return rng.beta(recipe.mixup_alpha, recipe.mixup_alpha)


def soft_targets(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """One-hot rows (N×classes, float32) with `smoothing` of each spread over all classes."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets
