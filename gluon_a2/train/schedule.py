"""The learning rate at each step."""
from __future__ import annotations

import dataclasses
import math

from ..run.recipes import Recipe


@dataclasses.dataclass
class Plateau:
    """When training accuracy has stopped rising (the paper: "decreases … when training accuracy is
    saturated"). Checkpoints hold its fields, which are its whole state."""
    best: float = 0.0
    stale: int = 0
    decays: int = 0

    def observe(self, accuracy: float, gain: float, patience: int) -> None:
        """Take in an epoch's training accuracy; `patience` epochs without a `gain` are a decay."""
        if accuracy > self.best + gain:
            self.best, self.stale = accuracy, 0
            return
        self.stale += 1
        if self.stale >= patience:
            self.decays, self.stale = self.decays + 1, 0


class Schedule:
    """lr(step) of a recipe: linear warm-up, then plateau, step, cosine or poly (power 2).

    It is a pure function of the step, but that plateau also reads the decays of `plateau`.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, plateau: Plateau) -> None:
        self._recipe, self._state = recipe, plateau
        self._warmup = round(recipe.warmup_epochs * steps_per_epoch)
        steps = recipe.num_epochs * steps_per_epoch
        self.total = min(steps, recipe.num_steps or steps)  # steps of the whole run
        self._boundaries = recipe.lr_decay_step or [
            round(epoch * steps_per_epoch) for epoch in recipe.lr_decay_epoch]

    def lr(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        recipe, base = self._recipe, self._recipe.effective_lr
        if step < self._warmup:
            return recipe.warmup_lr + (base - recipe.warmup_lr) * step / self._warmup
        if recipe.lr_mode == 'plateau':
            return base * recipe.lr_decay ** self._state.decays
        if recipe.lr_mode == 'step':
            return base * recipe.lr_decay ** sum(step >= boundary for boundary in self._boundaries)
        # 1 after the warm-up, 0 at the end
        left = 1 - (step - self._warmup) / max(1, self.total - self._warmup)
        share = left ** 2 if recipe.lr_mode == 'poly' else (1 - math.cos(math.pi * left)) / 2
        return recipe.target_lr + (base - recipe.target_lr) * share

    @property
    def finished(self) -> bool:
        """Whether accuracy was saturated once more after the last decay the recipe grants."""
        recipe = self._recipe
        return recipe.lr_mode == 'plateau' and self._state.decays > recipe.plateau_decays
