"""What a run says: the lines of its log, its records, and the progress bar."""
from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Iterator

from tqdm import tqdm

from ..backend import threads
from ..machine.ranks import COLUMNS
from ..scoring.metrics import TOP5_CLASSES, Sums
from .timer import PHASES

if TYPE_CHECKING:
    from .loop import Loop

log = logging.getLogger(__name__)


class Reporter:
    """Reports on a `Loop`; log lines of steps and of validation are those of GluonCV."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._bar = tqdm(disable=True)

    def settings(self) -> None:
        """What is about to be computed, on what, and for how long."""
        loop, recipe = self.loop, self.loop.recipe
        count, source = threads()
        log.info('%d CPU threads (%s); %s on %s', count, source, recipe.model, loop.stepper.ctx)
        scaled = (f'= {recipe.lr:g} × {recipe.global_batch} / {recipe.base_batch}'
                  if recipe.base_batch else 'whatever the batch')
        log.info('batch %d per device, global batch %d (%d device%s × %d micro-batches); learning '
                 'rate %g %s', recipe.batch_size, recipe.global_batch, recipe.ranks,
                 's' if recipe.ranks > 1 else '', recipe.accumulate, recipe.effective_lr, scaled)
        for note in loop.stepper.net.notes if not loop.options.resume else ():
            log.info('%s', note)
        log.info('%d training and %d validation %s, %d steps an epoch, at most %d steps (%.1f '
                 'epochs); run folder %s', *map(len, loop.sources),
                 'videos' if recipe.frames else 'images', loop.steps_per_epoch,
                 loop.schedule.total, loop.schedule.total / loop.steps_per_epoch, loop.run.folder)
        if recipe.frames:
            log.info('clips of %d frames, %d apart, %d×%d; validation: one clip in the middle of '
                     'each video', recipe.frames, recipe.frame_stride, recipe.input_size,
                     recipe.input_size)

    @contextlib.contextmanager
    def progress(self) -> Iterator[None]:
        """Show a bar for as long as the block runs, on rank 0 of a terminal, which may be the
        launcher's."""
        loop, columns = self.loop, int(os.environ.get(COLUMNS, 0))
        hidden = not loop.group.first or (False if columns else None)  # None: without a terminal
        with tqdm(total=loop.schedule.total, initial=loop.at.step, unit='step', disable=hidden,
                  ncols=columns or None, dynamic_ncols=not columns) as self._bar:
            yield

    def begin_epoch(self) -> None:
        """Name the epoch on the bar."""
        loop = self.loop
        epochs = -(-loop.schedule.total // loop.steps_per_epoch)
        self._bar.set_description(f'epoch {loop.at.epoch + 1}/{epochs}')

    def step(self, lr: float) -> None:
        """After a step: the bar, and every `log_interval` steps a line and a record."""
        loop, at, sums = self.loop, self.loop.at, self.loop.sums
        speed = loop.timer.speed(at.images)
        self._bar.set_postfix(loss=f'{sums.mean_loss:.3f}', top1=f'{100 * sums.accuracy:.1f}%',
                              speed=f'{speed:.0f} img/s', refresh=False)
        self._bar.update()
        batch = at.step - at.epoch * loop.steps_per_epoch
        if batch % loop.options.log_interval and batch < loop.steps_per_epoch:
            return
        log.info('Epoch[%d] Batch [%d]\tSpeed: %f samples/sec\taccuracy=%f\tloss=%f\tlr=%f',
                 at.epoch, batch, speed, sums.accuracy, sums.mean_loss, lr)
        loop.run.record(at.step, {'epoch': at.epoch, 'loss': sums.mean_loss,
                                  'accuracy': sums.accuracy, 'lr': lr})
        self._phases(speed)

    def _phases(self, speed: float) -> None:
        """Where the time went, on average over the ranks, and the rank that the others wait for."""
        loop, size = self.loop, self.loop.group.size
        shares = loop.group.all_gather([loop.timer.share(name) for name in PHASES], 'time')
        mean = {name: sum(column) / size for name, column in zip(PHASES, zip(*shares))}
        # what the slowest rank waits for is not a rank
        waits = [share for _, _, share, _ in shares]
        slowest, mean['allreduce'] = waits.index(min(waits)), min(waits)
        mean['wait'] -= mean['allreduce']
        loop.run.record(loop.at.step, {
            'images_per_s': speed, 'images_per_s_per_rank': speed / size,
            **{f'{name}_share': share for name, share in mean.items()}}, 'timing.jsonl')
        where = ', '.join(f'{name} {100 * share:.1f} %' for name, share in mean.items())
        if size > 1:
            where += f'; {speed / size:.1f} samples/sec per rank; slowest rank {slowest}'
        log.info('  %s', where)

    def epoch(self, validation: Sums) -> None:
        """Both accuracies; a top-5 that says nothing is a dash."""
        at, sums = self.loop.at, self.loop.sums
        top5 = self.loop.recipe.classes >= TOP5_CLASSES
        log.info('[Epoch %d] training: accuracy=%f loss=%f', at.epoch, sums.accuracy,
                 sums.mean_loss)
        log.info('[Epoch %d] validation: err-top1=%f err-top5=%s', at.epoch,
                 1 - validation.accuracy, f'{1 - validation.top5_accuracy:f}' if top5 else '-')
        self.loop.run.record(at.step, {
            'epoch': at.epoch, 'train_top1': sums.accuracy, 'train_loss': sums.mean_loss,
            'val_top1': validation.accuracy,
            **({'val_top5': validation.top5_accuracy} if top5 else {}),
            'val_images': validation.images})
        self.loop.run.draw()
