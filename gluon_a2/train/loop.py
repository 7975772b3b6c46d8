"""The training loop: one place where data, network, update, schedule, log and checkpoints meet.

Every random draw is a function of (seed, epoch or step), and everything else that a step depends on is in the
checkpoint; so a run that is cut anywhere and resumed ends as the uncut run does, bit for bit, on the same threads.
"""
import contextlib
import dataclasses
import math
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import gluon_a2.data as data

from ..backend import device, mx, threads
from ..deploy.bundle import write_bundle
from ..errors import UserError
from ..files import sha256
from ..metrics import Sums, evaluate, hits
from . import checkpoint, network
from .optimizer import LossScale, Updater
from .recipes import to_json
from .run import Run, log
from .schedule import Plateau, Schedule

SMALLEST_SCALE = 1.0  # below this, gradients that overflow are not float16's fault


class Diverged(UserError):
    """The loss is no longer a finite number."""


@dataclasses.dataclass
class Position:
    """Where a run is; with the tensors, all that a checkpoint must hold."""
    step: int = 0
    epoch: int = 0
    images: int = 0  # already visited in this epoch
    best: float = -1.0  # validation top-1


def train(recipe, options):
    """Train `recipe` in the folder `options.save_dir`; the folder, with the exported network in it, and the last sums.

    Raises UserError for anything the caller can mend. Ends early where the plateau schedule says so.
    """
    with contextlib.ExitStack() as stack:
        sources, ctx = open_sources(recipe, options), choose_device(recipe, options)
        net = network.build(recipe, ctx)  # before the run folder is touched: whatever is wrong is said first
        run = stack.enter_context(Run(options.save_dir or default_folder(recipe), recipe, options))
        stack.enter_context(logging_redirect_tqdm())
        loop = stack.enter_context(Loop(recipe, options, run, net, *sources))
        validation = loop.run_epochs()
        prefix = run.folder / 'export' / recipe.model
        write_bundle(network.restored(checkpoint.find(run.checkpoints, 'last')), prefix)
        log.info('exported %s-symbol.json, %s-0000.params, %s-meta.json', prefix, prefix.name, prefix.name)
    return run.folder, validation


def default_folder(recipe):
    """runs/<model>-<date>-<time>."""
    return Path('runs') / f'{recipe.model}-{time.strftime("%Y%m%d-%H%M%S")}'


def open_sources(recipe, options):
    """(training, validation) sources with labels checked: record files or folders given, or the embedded digits."""
    folder = options.data_dir
    if folder is None and options.rec_train is None:
        folder = data.digits_folder()
    pair = []
    for split, rec, idx in (('train', options.rec_train, options.rec_train_idx),
                            ('val', options.rec_val, options.rec_val_idx)):
        source = data.RecordSource(rec, idx) if rec else data.open_source(folder, split)
        data.check_labels(source, recipe.classes)
        pair.append(source)
    names = pair[0].classes
    if len(names) != recipe.classes and any(name != str(label) for label, name in enumerate(names)):
        raise UserError(f'the data has {len(names)} classes and the network {recipe.classes}: '
                        f'give --classes {len(names)}')
    data.check_classes(pair[1], names)
    return pair


def class_names(recipe, source):
    """One name for each class of the recipe; classes the data has no name for are called by their number."""
    names = list(source.classes)[:recipe.classes]
    return names + [str(label) for label in range(len(names), recipe.classes)]


def choose_device(recipe, options):
    """The context to train on; UserError where it cannot be had, or cannot do what the recipe asks."""
    if recipe.dtype == 'float16' and not options.num_gpus:
        raise UserError('--dtype float16 needs a GPU (--num-gpus 1): on a CPU, train with --dtype float32')
    return device(options.num_gpus)


def fingerprint(source):
    """SHA-256 of a source's labels, in order, and class names: what a resumed run must find again."""
    return sha256(np.asarray(source.labels, np.int64).tobytes() + '\0'.join(source.classes).encode('utf-8', 'replace'))


def step_seed(seed, *key):
    """A seed for MXNet's generator, which cannot be saved, from the run's seed and where it is."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)


class Loop:
    """The state of a run, and the steps that change it."""

    def __init__(self, recipe, options, run, net, train_source, val_source):
        self.recipe, self.options, self.run, self.net = recipe, options, run, net
        self.ctx = next(iter(net.collect_params().values())).list_ctx()[0]
        self.at, self.sums, self.plateau = Position(), Sums(), Plateau()
        self._sources = train_source, val_source
        self._damage = data.DamageLog(len(train_source), options.max_damaged)
        self.parameters = self.net.collect_params()
        for parameter in self.parameters.values():
            if recipe.accumulate > 1 and parameter.grad_req != 'null':
                parameter.grad_req = 'add'
        self.updater = Updater(self.parameters, recipe)
        self.scale = LossScale(recipe.dtype == 'float16')
        self.steps_per_epoch = math.ceil(len(train_source) / recipe.global_batch)
        self.schedule = Schedule(recipe, self.steps_per_epoch, self.plateau)
        self._criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
        if options.resume:
            self.resume()
        self.run.rewind(self.at.step)
        self.net.hybridize(static_alloc=True, static_shape=True)
        self._criterion.hybridize()
        workers = options.num_data_workers
        self._train_loader = data.Loader(train_source, train_transform(recipe), workers, recipe.seed)
        self._val_loader = data.Loader(val_source, data.EvalTransform(recipe.input_size, recipe.crop_ratio), workers)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._train_loader.close()
        self._val_loader.close()

    # ---- epochs

    def run_epochs(self):
        """Train to the end of the recipe; the `Sums` of the last validation."""
        self._say_settings()
        validation, total = None, self.recipe.num_epochs * self.steps_per_epoch
        started, first = time.perf_counter(), self.at.step
        with tqdm(total=total, initial=self.at.step, unit='step', dynamic_ncols=True, disable=None) as bar:
            while self.at.epoch < self.recipe.num_epochs and not self.schedule.finished:
                bar.set_description(f'epoch {self.at.epoch + 1}/{self.recipe.num_epochs}')
                self._run_epoch(bar)
                validation = self._end_epoch()
        log.info('%d steps in %.0f s', self.at.step - first, time.perf_counter() - started)
        return validation or self.validate()

    def _say_settings(self):
        recipe, (count, source) = self.recipe, threads()
        log.info('%d CPU threads (%s); %s on %s', count, source, recipe.model, self.ctx)
        scaled = f' = {recipe.lr:g} × {recipe.global_batch} / {recipe.base_batch}' if recipe.base_batch else ''
        log.info('batch %d per device, global batch %d (1 device × %d micro-batches); learning rate %g%s',
                 recipe.batch_size, recipe.global_batch, recipe.accumulate, recipe.effective_lr, scaled)
        log.info('%d training and %d validation images, %d steps an epoch; run folder %s',
                 *map(len, self._sources), self.steps_per_epoch, self.run.folder)

    def _run_epoch(self, bar):
        recipe, at = self.recipe, self.at
        order = data.epoch_order(len(self._sources[0]), recipe.seed, at.epoch)
        micro = data.batches(order, recipe.batch_size, at.images)
        batches = self._train_loader.load(micro, at.epoch)
        clock = Clock(at.images)
        for first in range(0, len(micro), recipe.accumulate):
            visited = sum(map(len, micro[first:first + recipe.accumulate]))
            lr = self.schedule.lr(at.step)
            self.train_step(clock.timed('data', batches, min(recipe.accumulate, len(micro) - first)), lr)
            at.step, at.images = at.step + 1, at.images + visited
            bar.set_postfix(loss=f'{self.sums.mean_loss:.3f}', top1=f'{100 * self.sums.accuracy:.1f}%',
                            speed=f'{clock.speed(at.images):.0f} img/s', refresh=False)
            bar.update()
            self._log_step(lr, clock)
            if self.options.save_steps and at.step % self.options.save_steps == 0 and at.images < len(order):
                self.save()

    def _log_step(self, lr, clock):
        in_epoch = self.at.step - self.at.epoch * self.steps_per_epoch
        if in_epoch % self.options.log_interval and in_epoch < self.steps_per_epoch:
            return
        sums, speed = self.sums, clock.speed(self.at.images)
        log.info('Epoch[%d] Batch [%d]\tSpeed: %f samples/sec\taccuracy=%f\tloss=%f\tlr=%f',
                 self.at.epoch, in_epoch, speed, sums.accuracy, sums.mean_loss, lr)
        self.run.record(self.at.step, {'epoch': self.at.epoch, 'loss': sums.mean_loss, 'accuracy': sums.accuracy,
                                       'lr': lr})
        self.run.record(self.at.step, {'images_per_s': speed, 'data_share': clock.share('data')}, 'timing.jsonl')

    def _end_epoch(self):
        """Validate, feed the plateau rule, log, and save; then the position is the next epoch's start."""
        at, recipe, sums = self.at, self.recipe, self.sums
        validation = self.validate()
        log.info('[Epoch %d] training: accuracy=%f loss=%f', at.epoch, sums.accuracy, sums.mean_loss)
        log.info('[Epoch %d] validation: err-top1=%f err-top5=%f', at.epoch, 1 - validation.accuracy,
                 1 - validation.top5_accuracy)
        self.plateau.observe(sums.accuracy, recipe.plateau_gain, recipe.plateau_patience)
        self.run.record(at.step, {
            'epoch': at.epoch, 'train_top1': sums.accuracy, 'train_loss': sums.mean_loss,
            'val_top1': validation.accuracy, 'val_top5': validation.top5_accuracy, 'val_images': validation.images})
        self.run.draw()
        better = validation.accuracy > at.best
        at.best = max(at.best, validation.accuracy)
        at.epoch, at.images = at.epoch + 1, 0
        self.sums = Sums()
        last = at.epoch == recipe.num_epochs or self.schedule.finished
        if better or last or at.epoch % self.options.save_frequency == 0:
            path = self.save()
            if better:
                checkpoint.mark_best(self.run.checkpoints, path)
        return validation

    # ---- steps

    def train_step(self, batches, lr):
        """One update from an iterable of micro-batches. Gradients meet other ranks' between backward and update."""
        if self.recipe.accumulate > 1:
            self.parameters.zero_grad()
        step = Sums()
        for number, batch in enumerate(batches):
            self._damage.add(batch.damaged)
            if len(batch.labels):
                step.add(self._forward_backward(batch, number))
        if not math.isfinite(step.loss) and not self.scale.enabled:
            raise Diverged(f'the loss is {step.loss} at step {self.at.step} (epoch {self.at.epoch}): lower --lr '
                           f'(now {lr:g}) or lengthen --warmup-epochs; {self._last_saved()}')
        if step.images and self.scale.accept(self.updater.gradients()):
            self.updater.update(lr, 1 / (step.images * self.scale.scale))
            self.sums.add(step)
        if self.scale.scale < SMALLEST_SCALE:
            raise Diverged(f'gradients overflow at step {self.at.step} whatever the loss scale: lower --lr '
                           f'(now {lr:g}) or use --dtype float32; {self._last_saved()}')

    def _forward_backward(self, batch, number):
        recipe = self.recipe
        mx.random.seed(step_seed(recipe.seed, self.at.step, number))
        images = mx.nd.array(batch.images, self.ctx, dtype=recipe.dtype)
        labels, share = batch.labels, self._mixing_share(number)
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
        top1, top5 = (share * hits(scores, labels, k).sum() + (1 - share) * hits(scores, labels[::-1], k).sum()
                      for k in (1, 5))
        return Sums(len(labels), float(loss.asnumpy().sum(dtype=np.float64)), float(top1), float(top5))

    def _mixing_share(self, number):
        """λ of mixup for this micro-batch, drawn from Beta(α, α); 1 where nothing is mixed."""
        recipe = self.recipe
        if not recipe.mixup or self.at.epoch >= recipe.num_epochs - recipe.mixup_off_epoch:
            return 1.0
        return np.random.default_rng(step_seed(recipe.seed, self.at.step, number, 1)).beta(*[recipe.mixup_alpha] * 2)

    # ---- validation

    def validate(self):
        """The `Sums` over the validation images, every one once."""
        source = self._sources[1]
        batches = data.batches(np.arange(len(source)), self.recipe.batch_size)
        return evaluate(self._scores, self._val_loader.load(batches, 0), len(source))

    def _scores(self, images):
        return self.net(mx.nd.array(images, self.ctx, dtype=self.recipe.dtype)).astype('float32').asnumpy()

    # ---- checkpoints

    def save(self):
        """Write a checkpoint of this moment; its path."""
        tensors = {f'param/{name}': p.data().asnumpy() for name, p in self.parameters.items()}
        for name, arrays in self.updater.states.items():
            tensors.update({f'state/{name}/{i}': array.asnumpy() for i, array in enumerate(arrays)})
        state = {'recipe': to_json(self.recipe), 'data': self.options.data,
                 'labels': fingerprint(self._sources[0]), 'threads': threads()[0],
                 'classes': class_names(self.recipe, self._sources[0]), 'at': dataclasses.asdict(self.at),
                 'sums': dataclasses.asdict(self.sums), 'plateau': dataclasses.asdict(self.plateau),
                 'scale': [self.scale.scale, self.scale.clean]}
        return checkpoint.save(self.run.checkpoints, self.at.step, tensors, state)

    def resume(self):
        """Go back to the newest valid checkpoint of the run folder; to the beginning where there is none."""
        found = checkpoint.newest(self.run.checkpoints)
        if found is None:
            log.info('no valid checkpoint in %s: beginning again', self.run.checkpoints)
            return
        if found.state['labels'] != fingerprint(self._sources[0]):
            raise UserError(f'{found.path} was trained on {found.state["data"]} with other images, labels or classes '
                            'than there are now: resume with the same data, or start another run')
        checkpoint.remove_unfinished(self.run.checkpoints)
        for name, parameter in self.parameters.items():
            parameter.set_data(mx.nd.array(found.tensors[f'param/{name}'], dtype=parameter.dtype))
        for name, arrays in self.updater.states.items():
            for i, array in enumerate(arrays):
                array[:] = mx.nd.array(found.tensors[f'state/{name}/{i}'], dtype=array.dtype)
        self.at, self.sums = Position(**found.state['at']), Sums(**found.state['sums'])
        vars(self.plateau).update(found.state['plateau'])
        self.scale.scale, self.scale.clean = found.state['scale']
        log.info('resumed from %s', found.path)

    def _last_saved(self):
        found = checkpoint.newest(self.run.checkpoints)
        return f'the last good checkpoint is {found.path}' if found else 'no checkpoint had been written yet'


class Clock:
    """Images per second since it was made, and the share of that time spent waiting for data."""

    def __init__(self, images):
        self._start, self._images, self._spent = time.perf_counter(), images, {}

    def timed(self, name, iterator, count):
        """The next `count` items of an iterator, the wait for each counted under `name`."""
        for _ in range(count):
            start = time.perf_counter()
            item = next(iterator)
            self._spent[name] = self._spent.get(name, 0) + time.perf_counter() - start
            yield item

    def speed(self, images):
        """Images per second."""
        return (images - self._images) / max(1e-9, time.perf_counter() - self._start)

    def share(self, name):
        """Share of the time spent under `name`."""
        return self._spent.get(name, 0) / max(1e-9, time.perf_counter() - self._start)


def train_transform(recipe):
    """The recipe's augmentation."""
    return data.TrainTransform(
        recipe.input_size, recipe.min_area, recipe.max_area, recipe.min_aspect, recipe.max_aspect, recipe.mirror,
        recipe.hue, recipe.saturation, recipe.lightness)


def soft_targets(labels, classes, smoothing):
    """One-hot rows (N×classes, float32) with `smoothing` of their mass spread evenly over all classes."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets
