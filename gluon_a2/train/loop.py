"""The training loop: one place where data, network, update, schedule, log and checkpoints meet.

Every random draw is a function of (seed, epoch or step), and everything else that a step depends on
is in the checkpoint; so a run that is cut anywhere and resumed ends as the uncut run does, bit for
bit, on the same threads.
"""
import contextlib
import dataclasses
import math
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import gluon_a2.data as data

from ..backend import device, mx, threads
from ..deploy.bundle import write_bundle
from ..errors import UserError
from ..launch.heart import Heart
from ..machine.ranks import PREEMPTED, launch_id
from ..run import checkpoint
from ..run import network
from ..run.folder import Run, Spectator, log, versions
from ..run.recipes import default_folder, to_json
from ..scoring.metrics import Sums, evaluate, name_damaged
from . import preflight
from .datasets import class_names, data_name, eval_transform, fingerprint, open_sources, train_transform
from .distributed import Group, name_ranks
from .schedule import Plateau, Schedule
from .step import PHASES, Clock, Position, Stepper

SMALLEST_SCALE = 1.0  # below this, gradients that overflow are not float16's fault


class Diverged(UserError):
    """The loss is no longer a finite number."""


def train(recipe, options):
    """Train `recipe` in the folder `options.save_dir`; the folder, with the exported network in it,
    and the last sums.

    Raises UserError for anything the caller can mend. Ends early where the plateau schedule says
    so.
    """
    with contextlib.ExitStack() as stack:
        group = Group()
        folder = Path(group.broadcast(options.save_dir or str(default_folder(recipe)), 'folder'))
        # before the run folder is touched: whatever is wrong is said first
        with group.all_or_none('preparation'):
            network.check_model(recipe)
            sources, ctx = open_sources(recipe, options), choose_device(
                recipe, options, group.local_rank)
            net = network.build(recipe, ctx)
            if not options.num_gpus:
                preflight.check_memory(net, recipe)
        preflight.check(group, recipe, options, sources, net, folder)
        with group.all_or_none('run folder'):
            run = stack.enter_context(
                Run(folder, recipe, options) if group.first else Spectator(folder))
        stack.enter_context(logging_redirect_tqdm())
        watch(group, options, folder, stack)
        loop = stack.enter_context(Loop(recipe, options, run, net, *sources, group))
        validation = loop.run_epochs()
        if group.first:
            export(run, recipe)
        group.barrier('exported')  # nobody leaves before the files are there
    return run.folder, validation


def export(run, recipe):
    """Write the network of the last checkpoint into the run folder."""
    prefix = run.folder / 'export' / recipe.model
    write_bundle(network.restored(checkpoint.find(run.checkpoints, 'last')), prefix)
    log.info('exported %s-symbol.json, %s-0000.params, %s-meta.json', prefix, prefix.name,
             prefix.name)


def watch(group, options, folder, stack):
    """Give this rank a heart that a watchdog listens to, where there are other ranks or a launcher
    to tell."""
    if group.size == 1 and not launch_id():
        return
    heart = stack.enter_context(
        Heart(group.rank, group.size, options.rank_timeout, folder if group.first else None))
    heart.join(group.broadcast(heart.address, 'watchdog'))
    group.heart = heart


def choose_device(recipe, options, local_rank=0):
    """The context to train on; UserError where it cannot be had, or cannot do what the recipe
    asks."""
    if recipe.dtype == 'float16' and not options.num_gpus:
        raise UserError('--dtype float16 needs a GPU (--num-gpus 1): on a CPU, train with --dtype '
                        'float32')
    return device(options.num_gpus, local_rank)


class Loop:
    """The state of a run, and the steps that change it."""

    def __init__(self, recipe, options, run, net, train_source, val_source, group=None):
        self.recipe, self.options, self.run, self.group = recipe, options, run, group or Group()
        self.at, self.sums, self.plateau = Position(), Sums(), Plateau()
        self._sources = train_source, val_source
        self._damage = data.DamageLog(len(train_source), options.max_damaged)
        self._stop, self._clock = StopRequest(), Clock()
        self.stepper = Stepper(recipe, net, self.group, self._clock)
        self.steps_per_epoch = math.ceil(len(train_source) / recipe.global_batch)
        self.schedule = Schedule(recipe, self.steps_per_epoch, self.plateau)
        self._writer = checkpoint.Writer(run.folder / 'checkpoints')
        if options.resume:
            self.resume()
        self.stepper.share()
        self.run.rewind(self.at.step)
        net.hybridize(static_alloc=True, static_shape=True)
        load = data.SyntheticLoader if options.synthetic_data else data.Loader
        workers = options.num_data_workers
        self._train_loader = load(train_source, train_transform(recipe), workers, recipe.seed)
        self._val_loader = load(val_source, eval_transform(recipe), workers)

    def __enter__(self):
        self._stop.listen()
        return self

    def __exit__(self, kind, error, trace):
        self._stop.ignore()
        self._train_loader.close()
        self._val_loader.close()
        try:
            self._writer.wait()
        except Exception as lost:
            if kind is None:
                raise
            # beside the error that ends the run
            log.error('the last checkpoint was not written: %s', lost)

    # ---- epochs

    def run_epochs(self):
        """Train to the end of the recipe; the `Sums` of the last validation."""
        self._say_settings()
        validation, total = None, self.schedule.total
        epochs = math.ceil(total / self.steps_per_epoch)
        started, first = time.perf_counter(), self.at.step
        with tqdm(total=total, initial=self.at.step, unit='step', dynamic_ncols=True,
                  disable=None if self.group.first else True) as bar:
            while self.at.step < total and not self.schedule.finished:
                bar.set_description(f'epoch {self.at.epoch + 1}/{epochs}')
                self._run_epoch(bar)
                validation = self._end_epoch()
        self._writer.wait()
        log.info('%d steps in %.0f s', self.at.step - first, time.perf_counter() - started)
        return validation or self.validate()

    def _say_settings(self):
        recipe, (count, source) = self.recipe, threads()
        log.info('%d CPU threads (%s); %s on %s', count, source, recipe.model, self.stepper.ctx)
        scaled = f' = {recipe.lr:g} × {recipe.global_batch} / {recipe.base_batch}' if recipe.base_batch else ''
        log.info(
            'batch %d per device, global batch %d (%d device%s × %d micro-batches); learning '
            'rate %g%s', recipe.batch_size, recipe.global_batch, recipe.ranks,
            's' if recipe.ranks > 1 else '', recipe.accumulate, recipe.effective_lr, scaled)
        log.info('%d training and %d validation %s, %d steps an epoch; run folder %s',
                 *map(len, self._sources), 'videos' if recipe.frames else 'images',
                 self.steps_per_epoch, self.run.folder)
        if recipe.frames:
            log.info('clips of %d frames, %d apart, %d×%d; validation: one clip in the middle of '
                     'each video',
                     recipe.frames, recipe.frame_stride, recipe.input_size, recipe.input_size)

    def _run_epoch(self, bar):
        recipe, at = self.recipe, self.at
        order = data.epoch_order(len(self._sources[0]), recipe.seed, at.epoch)
        micro = data.batches(order, recipe.batch_size, at.images)
        rank, ranks = self.group.rank, self.group.size
        # micro-batch j of a step is rank j mod ranks's
        batches = self._train_loader.load(micro[rank::ranks], at.epoch)
        self._clock.restart(at.images)
        # num_steps may end within an epoch
        micro = micro[:(self.schedule.total - at.step) * recipe.micro_batches]
        for first in range(0, len(micro), recipe.micro_batches):
            step = micro[first:first + recipe.micro_batches]
            lr = self.schedule.lr(at.step)
            self.group.beat(at.step, 'data')
            stop = self.train_step(self._clock.timed('data', batches, len(step[rank::ranks])), lr)
            at.step, at.images = at.step + 1, at.images + sum(map(len, step))
            bar.set_postfix(loss=f'{self.sums.mean_loss:.3f}',
                            top1=f'{100 * self.sums.accuracy:.1f}%',
                            speed=f'{self._clock.speed(at.images):.0f} img/s', refresh=False)
            bar.update()
            self._log_step(lr)
            due = self.options.save_steps and at.step % self.options.save_steps == 0 and at.images < len(
                order)
            if due or stop:
                self.save()
            if stop:
                self._leave()

    def _leave(self):
        """End on all ranks, as somebody asked, with the exit code that tells a scheduler to queue
        the job again."""
        self._writer.wait()
        log.warning('stopped on request at step %d; --resume --save-dir %s goes on', self.at.step,
                    self.run.folder)
        if self.group.heart:
            self.group.heart.done()
        sys.exit(PREEMPTED)

    def _log_step(self, lr):
        in_epoch = self.at.step - self.at.epoch * self.steps_per_epoch
        if in_epoch % self.options.log_interval and in_epoch < self.steps_per_epoch:
            return
        sums, speed = self.sums, self._clock.speed(self.at.images)
        log.info('Epoch[%d] Batch [%d]\tSpeed: %f samples/sec\taccuracy=%f\tloss=%f\tlr=%f',
                 self.at.epoch, in_epoch, speed, sums.accuracy, sums.mean_loss, lr)
        self.run.record(
            self.at.step,
            {'epoch': self.at.epoch, 'loss': sums.mean_loss, 'accuracy': sums.accuracy, 'lr': lr})
        self._log_time(speed)

    def _log_time(self, speed):
        """Where the time went, on average over the ranks, and the rank that the others wait for."""
        shares = self.group.all_gather([self._clock.share(name) for name in PHASES], 'time')
        mean = {name: sum(column) / len(shares) for name, column in zip(PHASES, zip(*shares))}
        self.run.record(self.at.step, {
            'images_per_s': speed, 'images_per_s_per_rank': speed / self.group.size,
            **{f'{name}_share': share for name, share in mean.items()}}, 'timing.jsonl')
        where = ', '.join(f'{name} {100 * share:.1f} %' for name, share in mean.items())
        if self.group.size > 1:
            slowest = min(range(self.group.size),
                          key=lambda rank: shares[rank][PHASES.index('wait')])
            where += f'; {speed / self.group.size:.1f} samples/sec per rank; slowest rank {slowest}'
        log.info('  %s', where)

    def _end_epoch(self):
        """Validate, feed the plateau rule, log, and save; then the position is the next epoch's
        start."""
        at, recipe, sums = self.at, self.recipe, self.sums
        validation = self.validate()
        log.info('[Epoch %d] training: accuracy=%f loss=%f', at.epoch, sums.accuracy,
                 sums.mean_loss)
        log.info('[Epoch %d] validation: err-top1=%f err-top5=%f', at.epoch,
                 1 - validation.accuracy, 1 - validation.top5_accuracy)
        self.plateau.observe(sums.accuracy, recipe.plateau_gain, recipe.plateau_patience)
        self.run.record(
            at.step, {
                'epoch': at.epoch, 'train_top1': sums.accuracy, 'train_loss': sums.mean_loss,
                'val_top1': validation.accuracy, 'val_top5': validation.top5_accuracy,
                'val_images': validation.images
            })
        self.run.draw()
        better = validation.accuracy > at.best
        at.best = max(at.best, validation.accuracy)
        at.epoch, at.images = at.epoch + 1, 0
        self.sums = Sums()
        last = at.step >= self.schedule.total or self.schedule.finished
        if better or last or at.epoch % self.options.save_frequency == 0:
            self.save(best=better)
        return validation

    # ---- steps

    def train_step(self, batches, lr):
        """One update from an iterable of this rank's micro-batches; whether somebody asked to stop.

        `Diverged`, on all ranks, where a loss or gradient is not finite, and UserError above the
        cap of damaged images.
        """
        with self._clock.during('compute'):
            done = self.stepper.take(batches, self.at, lr, self._stop.requested)
        self._add_damage(done.damaged)
        scale = self.stepper.scale
        if done.faulty and not scale.enabled:
            self._diverged(done, lr)
        if scale.scale < SMALLEST_SCALE:
            self.group.raise_once(Diverged(f'gradients overflow at step {self.at.step} whatever the loss '
                                    f'scale: lower --lr (now {lr:g}) or use --dtype float32; '
                                    f'{self._last_saved()}'))
        self.sums.add(done.sums)
        return done.stop

    def _diverged(self, done, lr):
        where = f'{name_ranks(done.faulty)}: ' if self.group.size > 1 else ''
        loss = self.group.all_gather(repr(done.loss), 'losses')[done.faulty[0]]
        what = f'the loss is {loss}' if loss in ('nan', 'inf',
                                                 '-inf') else 'a gradient is not finite'
        self.group.raise_once(Diverged(
            f'{where}{what} at step {self.at.step} (epoch {self.at.epoch}): lower --lr (now '
            f'{lr:g}) or lengthen --warmup-epochs; {self._last_saved()}'))

    def _add_damage(self, damaged):
        try:
            self._damage.add(damaged)
        except UserError as error:
            self.group.raise_once(error)

    # ---- validation

    def validate(self):
        """The `Sums` over the validation images, every one once."""
        source, damaged = self._sources[1], []
        batches = data.batches(np.arange(len(source)),
                               self.recipe.batch_size)[self.group.rank::self.group.size]
        own = evaluate(self._scores, self._val_loader.load(batches, 0), sum(map(len, batches)),
                       damaged=damaged)
        name_damaged(sorted(map(tuple, sum(self.group.all_gather(damaged, 'validation.damaged'), []))))
        images, *sums = self.group.all_reduce(np.array(dataclasses.astuple(own), np.float64),
                                       'validation').tolist()
        if images != len(source):
            raise AssertionError(f'{images} of {len(source)} validation images were scored on all '
                                 'ranks together')
        return Sums(int(images), *sums)

    def _scores(self, images):
        self.group.beat(self.at.step, 'validation')
        pixels = mx.nd.array(images, self.stepper.ctx, dtype=self.recipe.dtype)
        return self.stepper.net(pixels).astype('float32').asnumpy()

    # ---- checkpoints

    def save(self, best=False):
        """Write a checkpoint of this moment, on rank 0 and in the background. UserError if the
        ranks differ."""
        self.group.beat(self.at.step, 'checkpoint')
        with self._clock.during('checkpoint'):
            self._check_ranks_agree()
            if self.group.first:
                self._writer.save(self.at.step, self.stepper.tensors(), self._state(), best)

    def _state(self):
        """Everything but tensors that a resumed run needs, and what made it."""
        return {
            'recipe': to_json(self.recipe), 'data': data_name(self.recipe, self.options),
            'labels': fingerprint(self._sources[0]), 'split': getattr(
                self._sources[0], 'split', None), 'threads': threads()[0], 'ranks': self.group.size,
            'versions': versions(), 'batchnorm': 'running statistics: mean of the '
            'micro-batches of a step', 'classes': class_names(
                self.recipe, self._sources[0]), 'at': dataclasses.asdict(
                    self.at), 'sums': dataclasses.asdict(self.sums), 'plateau': dataclasses.asdict(
                        self.plateau), 'scale': [
                            self.stepper.scale.scale, self.stepper.scale.clean
                        ], 'damaged': self._damage.names
        }

    def _check_ranks_agree(self):
        if self.group.size == 1:
            return
        digests = self.group.all_gather(self.stepper.digest(), 'digest')
        other = [rank for rank, theirs in enumerate(digests) if theirs != digests[0]]
        if other:
            self.group.raise_once(UserError(f'{name_ranks(other)} hold other parameters than rank 0 at '
                                     f'step {self.at.step}: not saved; look for broken memory '
                                     f'there; {self._last_saved()}'))
        log.info('  step %d: all %d ranks hold the parameters and momenta %s', self.at.step,
                 len(digests), digests[0][:16])

    def resume(self):
        """Go back to the newest valid checkpoint of the run folder, which rank 0 reads; without
        one, to the start."""
        state = None
        with self.group.all_or_none('resume'):
            if self.group.first:
                state = self._read_checkpoint()
        state = self.group.broadcast(state, 'state')
        if state is None:
            return
        self.at, self.sums = Position(**state['at']), Sums(**state['sums'])
        vars(self.plateau).update(state['plateau'])
        self.stepper.scale.scale, self.stepper.scale.clean = state['scale']
        self._damage = data.DamageLog(len(self._sources[0]), self.options.max_damaged,
                                      state.get('damaged', ()))

    def _read_checkpoint(self):
        """Load tensors of the newest valid checkpoint; its state, or None."""
        checkpoint.remove_unfinished(self.run.checkpoints)
        found = checkpoint.newest(self.run.checkpoints)
        if found is None:
            log.info('no valid checkpoint in %s: beginning again', self.run.checkpoints)
            return None
        if found.state['labels'] != fingerprint(self._sources[0]):
            raise UserError(f'{found.path} was trained on {found.state["data"]} with other images, '
                            'labels or classes than there are now: resume with the same data, or '
                            'start another run')
        self.stepper.restore(found)
        if found.best:  # the run may have been cut before it could say so
            checkpoint.mark_best(self.run.checkpoints, found.path)
        log.info('resumed from %s', found.path)
        return found.state

    def _last_saved(self):
        if not self.group.first:
            return ''
        self._writer.settle()
        found = checkpoint.newest(self.run.checkpoints)
        return f'the last good checkpoint is {found.path}' if found else 'no checkpoint had been written yet'


class StopRequest:
    """SIGTERM asks for a checkpoint at the next step, on all ranks, and then for the end."""

    def __init__(self):
        self.requested, self._before = False, None

    def listen(self):
        """From now on, note the signal; only a process's main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)

    def ignore(self):
        """Back to what SIGTERM did before."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number, frame):
        self.requested = True
