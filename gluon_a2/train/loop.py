"""Training: one place where data, network, update and schedule meet, epoch by epoch.

Every random draw is a function of (seed, epoch or step), and everything else that a step depends on
is in the checkpoint. So a run that is cut anywhere and resumed ends as the uncut run does, bit for
bit, on the same threads.
"""
from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, Iterable

import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from .. import data
from ..backend import device, mx
from ..deploy.bundle import write_bundle
from ..deploy.mxnet_engine import NO_BFLOAT16
from ..errors import UserError
from ..launch.heart import Heart
from ..machine.ranks import PREEMPTED, launch_id
from ..machine.resources import emulates_bfloat16
from ..run import checkpoint, network
from ..run.checkpoint import Position
from ..run.folder import Run, Spectator
from ..run.options import Options
from ..run.recipes import Recipe, default_folder
from ..scoring.metrics import Sums, evaluate, name_damaged
from . import bfloat16, preflight
from .datasets import eval_transform, open_sources, train_transform
from .distributed import Group
from .reporting import Reporter
from .saving import Saver
from .schedule import Plateau, Schedule
from .step import Outcome, Stepper
from .stopping import Stopped, StopRequest
from .timer import Timer
from .tuning import tune

log = logging.getLogger(__name__)
SMALLEST_SCALE = 1.0  # below this, gradients that overflow are not float16's fault


class Diverged(UserError):
    """The loss is no longer a finite number."""


def train(recipe: Recipe, options: Options) -> tuple[Path, Sums]:
    """Train `recipe` in the folder `options.save_dir`; the folder, with the exported network in it,
    and the sums of the last validation.

    Raises UserError for anything the caller can correct, and KeyboardInterrupt, with the way to
    resume, after Ctrl-C. Ends early where the plateau schedule says so.
    """
    with contextlib.ExitStack() as stack:
        group = Group()
        folder, (train_source, val_source), net = prepare(group, recipe, options)
        with group.all_or_none('run folder'):
            run = stack.enter_context(
                Run(folder, recipe, options) if group.first else Spectator(folder))
        stack.enter_context(logging_redirect_tqdm())
        # before there is a watchdog, which would call a rank that a signal ends dead
        stop = stack.enter_context(StopRequest())
        watch(group, options, folder, stack)
        loop = stack.enter_context(
            Loop(recipe, options, run, net, train_source, val_source, group, stop))
        validation = loop.run_epochs()
        if group.first:
            with group.during('export'):
                export(run, recipe)
        group.barrier('exported')  # nobody leaves before the files are there
    return run.folder, validation


def prepare(group: Group, recipe: Recipe, options: Options) -> tuple[Path, list, Any]:
    """The run folder, which is not touched yet, the sources and the network; UserError on all ranks
    for whatever is wrong."""
    folder = Path(group.broadcast(options.save_dir or str(default_folder(recipe)), 'folder'))
    with group.all_or_none('preparation'):
        network.check_model(recipe)
        train_transform(recipe)  # it holds the bounds of augmentation
        sources = open_sources(recipe, options)
        net = network.build(recipe, choose_device(recipe, options, group.local_rank))
        tune(net, recipe)
        if not options.num_gpus:
            preflight.check_memory(net, recipe)
    preflight.check(group, recipe, options, sources, net, folder)
    return folder, sources, net


def export(run: Run, recipe: Recipe) -> None:
    """Write the network of the last checkpoint into the run folder."""
    prefix = run.folder / 'export' / recipe.title
    write_bundle(network.restored(checkpoint.find(run.checkpoints, 'last')), prefix)
    log.info('exported %s-symbol.json, %s-0000.params, %s-meta.json', prefix, prefix.name,
             prefix.name)


def watch(group: Group, options: Options, folder: Path, stack: contextlib.ExitStack) -> None:
    """Give this rank a heart that a watchdog hears, where there are other ranks or a launcher."""
    if group.size == 1 and not launch_id():
        return
    heart = stack.enter_context(
        Heart(group.rank, group.size, options.rank_timeout, folder if group.first else None))
    heart.join(group.broadcast(heart.address, 'watchdog'))
    group.heart = heart


def choose_device(recipe: Recipe, options: Options, local_rank: int = 0) -> Any:
    """The context to train on; UserError where there is none, or it cannot train `recipe`."""
    if recipe.dtype == 'float16' and not options.num_gpus:
        raise UserError('`dtype` float16 needs a GPU (`num_gpus` 1): on a CPU, train with `dtype` '
                        'float32')
    if recipe.dtype == 'bfloat16':
        if options.num_gpus:
            raise UserError('`dtype` bfloat16 is for CPUs: on a GPU, train with `dtype` float16')
        if not bfloat16.is_computed():
            raise UserError(f'{NO_BFLOAT16}: train with `dtype` float32')
        if emulates_bfloat16():
            log.warning('this CPU has no AVX512_BF16: `dtype` bfloat16 is emulated, and slower '
                        'than float32')
    return device(options.num_gpus, local_rank)


class Loop:
    """The state of a run, and the steps that change it; use it as a context manager."""

    def __init__(self, recipe: Recipe, options: Options, run: Run, net: Any, train_source: Any,
                 val_source: Any, group: Group | None = None,
                 stop: StopRequest | None = None) -> None:
        self.recipe, self.options, self.run, self.group = recipe, options, run, group or Group()
        self.at, self.sums, self.plateau = Position(), Sums(), Plateau()
        self.sources = train_source, val_source
        self.damage = data.DamageLog(len(train_source), options.max_damaged)
        self.timer = Timer()
        self.stepper = Stepper(recipe, net, self.group, self.timer)
        self.steps_per_epoch = math.ceil(len(train_source) / recipe.global_batch)
        self.schedule = Schedule(recipe, self.steps_per_epoch, self.plateau)
        self.saver, self.reporter, self._stop = Saver(self), Reporter(self), stop or StopRequest()
        load: Any = data.SyntheticLoader if options.synthetic_data else data.Loader
        workers = options.num_data_workers
        self._train_loader = load(train_source, train_transform(recipe), workers, recipe.seed)
        self._val_loader = load(val_source, eval_transform(recipe), workers)

    def __enter__(self) -> Loop:
        if self.options.resume:
            self.saver.resume()
        self.stepper.share()
        self.run.rewind(self.at.step)
        for net in (self.stepper.trained, self.stepper.tested):
            net.hybridize(static_alloc=True, static_shape=True)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._train_loader.close()
        self._val_loader.close()
        try:
            self.saver.wait()
        except Exception as lost:
            if kind is None:
                raise
            # beside the error that ends the run
            log.error('the last checkpoint was not written: %s', lost)
        if kind is KeyboardInterrupt and not error.args:
            facts = filter(None, (self.saver.last_saved(), self._way_on()))
            error.args = (f'interrupted at step {self.at.step}: {"; ".join(facts)}',)

    def _way_on(self) -> str:
        return f'`resume` with `save_dir` {self.run.folder} goes on'

    # ---- epochs

    def run_epochs(self) -> Sums:
        """Train to the end of the recipe; the `Sums` of the last validation."""
        self.reporter.settings()
        validation, started, first = None, time.perf_counter(), self.at.step
        with self.reporter.progress():
            while not self.finished:
                self._run_epoch()
                validation = self._end_epoch()
        self.saver.wait()
        log.info('%d steps in %.0f s', self.at.step - first, time.perf_counter() - started)
        if self._is_stale:
            log.info('stopped: %d epochs without a better validation; the best checkpoint is kept '
                     '(`checkpoint` best)', self.at.stale)
        return validation or self.validate()

    @property
    def _is_stale(self) -> bool:
        return 0 < self.recipe.early_stop <= self.at.stale

    @property
    def finished(self) -> bool:
        """Whether the steps are done, or a rule of the recipe ends it earlier."""
        return self.at.step >= self.schedule.total or self.schedule.finished or self._is_stale

    def _run_epoch(self) -> None:
        recipe, at, saves = self.recipe, self.at, self.options.save_steps
        self.reporter.begin_epoch()
        order = data.epoch_order(len(self.sources[0]), recipe.seed, at.epoch)
        micro = data.batches(order, recipe.batch_size, at.images)
        rank, ranks = self.group.rank, self.group.size
        # micro-batch j of a step is rank j mod ranks's
        batches = self._train_loader.load(micro[rank::ranks], at.epoch)
        self.timer.restart(at.images)
        # num_steps may end within an epoch
        micro = micro[:(self.schedule.total - at.step) * recipe.micro_batches]
        for first in range(0, len(micro), recipe.micro_batches):
            step = micro[first:first + recipe.micro_batches]
            lr = self.schedule.lr(at.step)
            self.group.beat(at.step, 'data')
            stop = self.train_step(self.timer.timed('data', batches, len(step[rank::ranks])), lr)
            at.step, at.images = at.step + 1, at.images + sum(map(len, step))
            self.reporter.step(lr)
            if stop or (saves and at.step % saves == 0 and at.images < len(order)):
                self.saver.save()
            if stop:
                self._leave()

    def _leave(self) -> None:
        """End on all ranks, as somebody asked: by Ctrl-C, or with the exit code that tells a
        scheduler to queue the job again."""
        self.saver.wait()
        self.group.barrier('saved')  # who stays behind has little time
        if self.group.heart:
            self.group.heart.done()
        if self.group.first:
            where = f'at step {self.at.step}, which is saved: {self._way_on()}'
            if self._stop.interrupted:
                raise KeyboardInterrupt(f'interrupted {where}')
            raise Stopped(f'stopped on request {where}')
        sys.exit(PREEMPTED)

    def _end_epoch(self) -> Sums:
        """Validate, report, feed the plateau rule, save; the position is the next epoch's start."""
        at, recipe = self.at, self.recipe
        validation = self.validate()
        with self.group.during('report'):
            self.reporter.epoch(validation)
        self.plateau.observe(self.sums.accuracy, recipe.plateau_gain, recipe.plateau_patience)
        better = validation.accuracy > at.best
        at.best = max(at.best, validation.accuracy)
        at.stale = 0 if better else at.stale + 1
        at.epoch, at.images = at.epoch + 1, 0
        self.sums = Sums()
        if better or self.finished or at.epoch % self.options.save_frequency == 0:
            self.saver.save(best=better)
        return validation

    # ---- steps

    def train_step(self, batches: Iterable[data.Batch], lr: float) -> bool:
        """One update from this rank's micro-batches; whether somebody asked to stop. `Diverged`, on
        all ranks, where a loss or gradient is not finite; UserError above the cap of damaged
        images."""
        with self.timer.during('compute'):
            done = self.stepper.take(batches, self.at, lr, self._stop.requested)
        try:
            self.damage.add(done.damaged)
        except UserError as error:
            self.group.raise_once(error)
        scale = self.stepper.scale
        if done.faulty and not scale.enabled:
            self._diverged(done, lr)
        if scale.scale < SMALLEST_SCALE:
            self.group.raise_once(Diverged(
                f'gradients overflow at step {self.at.step} whatever the loss scale: lower `lr` '
                f'(now {lr:g}) or use `dtype` float32; {self.saver.last_saved()}'))
        self.sums.add(done.sums)
        return done.stop

    def _diverged(self, done: Outcome, lr: float) -> None:
        where = f'{self.group.name(done.faulty)}: ' if self.group.size > 1 else ''
        loss = self.group.all_gather(repr(done.loss), 'losses')[done.faulty[0]]
        finite = loss not in ('nan', 'inf', '-inf')
        what = 'a gradient is not finite' if finite else f'the loss is {loss}'
        self.group.raise_once(Diverged(
            f'{where}{what} at step {self.at.step} (epoch {self.at.epoch}): lower `lr` (now '
            f'{lr:g}) or lengthen `warmup_epochs`; {self.saver.last_saved()}'))

    # ---- validation

    def validate(self) -> Sums:
        """The `Sums` over the validation images, every one once."""
        source, group = self.sources[1], self.group
        damaged: list = []
        batches = data.batches(np.arange(len(source)), self.recipe.batch_size)
        batches = batches[group.rank::group.size]
        group.beat(self.at.step, 'validation')
        with self.stepper.averaged():
            sums = evaluate(self._scores, self._val_loader.load(batches, 0),
                            sum(map(len, batches)), damaged=damaged)
        name_damaged(sorted(map(tuple, sum(group.all_gather(damaged, 'validation.damaged'), []))))
        images, *rest = group.all_reduce(np.array(dataclasses.astuple(sums), np.float64),
                                         'validation').tolist()
        if images != len(source):
            raise AssertionError(f'{images} of {len(source)} validation images were scored on all '
                                 'ranks together')
        return Sums(int(images), *rest)

    def _scores(self, images: np.ndarray) -> np.ndarray:
        self.group.beat(self.at.step, 'validation')
        pixels = mx.nd.array(images, self.stepper.ctx, dtype=self.recipe.weights_dtype)
        scores = self.stepper.tested(pixels).astype('float32').asnumpy()
        self.group.beat(self.at.step, 'validation')
        return scores
