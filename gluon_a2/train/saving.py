"""Checkpoints of a loop: what is written when, and the way back."""
from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from ..backend import threads
from ..data import DamageLog
from ..errors import UserError
from ..run import checkpoint
from ..run.folder import versions
from ..run.recipes import to_json
from ..scoring.metrics import Sums
from .datasets import class_names, data_name, fingerprint

if TYPE_CHECKING:
    from .loop import Loop

log = logging.getLogger(__name__)


class Saver:
    """Saves a `Loop`, and puts it back where it was saved."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.folder = loop, loop.run.checkpoints
        self._writer = checkpoint.Writer(self.folder, loop.run.sync)

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of now, on rank 0 in the background. UserError if ranks differ."""
        loop = self.loop
        loop.group.beat(loop.at.step, 'checkpoint')
        with loop.timer.during('checkpoint'):
            self._check_ranks_agree()
            if loop.group.first:
                with loop.group.during('checkpoint'):  # the one before may still be written
                    self._writer.save(loop.at.step, loop.stepper.tensors(),
                                      dataclasses.asdict(self._state()), best)

    def _state(self) -> checkpoint.State:
        loop, source = self.loop, self.loop.sources[0]
        return checkpoint.State(
            recipe=to_json(loop.recipe), data=data_name(loop.recipe, loop.options),
            labels=fingerprint(source), split=getattr(source, 'split', None),
            classes=class_names(loop.recipe, source), named=source.named, at=vars(loop.at),
            sums=vars(loop.sums), plateau=vars(loop.plateau),
            scale=[loop.stepper.scale.scale, loop.stepper.scale.clean],
            damaged=loop.damage.names, threads=threads()[0], ranks=loop.group.size,
            versions=versions())

    def _check_ranks_agree(self) -> None:
        group, step = self.loop.group, self.loop.at.step
        if group.size == 1:
            return
        digests = group.all_gather(self.loop.stepper.digest(), 'digest')
        other = [rank for rank, theirs in enumerate(digests) if theirs != digests[0]]
        if other:
            group.raise_once(UserError(
                f'{group.name(other)} came to other parameters than rank 0 at step {step}: not '
                f'saved; look for broken memory there; {self.last_saved()}'))
        log.info('  step %d: all %d ranks hold the parameters and momenta %s', step, len(digests),
                 digests[0][:16])

    def resume(self) -> None:
        """Go back to the newest valid checkpoint, which rank 0 reads; without one, to the start."""
        loop, state = self.loop, None
        with loop.group.all_or_none('resume'):
            if loop.group.first:
                with loop.group.during('resume'):
                    state = self._read()
        state = loop.group.broadcast(state, 'state')
        if state is None:
            return
        loop.at, loop.sums = checkpoint.Position(**state['at']), Sums(**state['sums'])
        vars(loop.plateau).update(state['plateau'])
        loop.stepper.scale.scale, loop.stepper.scale.clean = state['scale']
        loop.damage = DamageLog(len(loop.sources[0]), loop.options.max_damaged,
                                state.get('damaged', ()))

    def _read(self) -> dict[str, Any] | None:
        """Load the tensors of the newest valid checkpoint; its state, or None."""
        checkpoint.remove_unfinished(self.folder)
        found = checkpoint.newest(self.folder)
        if found is None:
            log.info('no valid checkpoint in %s: beginning again', self.folder)
            return None
        if found.state['labels'] != fingerprint(self.loop.sources[0]):
            raise UserError(f'{found.path} was trained on {found.state["data"]} with other images, '
                            'labels or classes than there are now: resume with the same data, or '
                            'start another run')
        self.loop.stepper.restore(found)
        if found.best:  # the run may have been cut before it could say so
            checkpoint.mark_best(self.folder, found.path)
        log.info('resumed from %s', found.path)
        return found.state

    def last_saved(self) -> str:
        """Where a run that ends now goes on, in words; empty on all ranks but the first."""
        if not self.loop.group.first:
            return ''
        self._writer.settle()
        found = checkpoint.newest(self.folder)
        return (f'the last good checkpoint is {found.path}' if found
                else 'no checkpoint had been written yet')

    def wait(self) -> None:
        """Return once everything is on the disk; raises the error of the last save."""
        with self.loop.group.during('checkpoint'):
            self._writer.wait()
