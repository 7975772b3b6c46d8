"""The update: MXNet's SGD or NAG operators, with a state we can see, save and load (no pickle).

NAG is MXNet's kernel `nag_mom_update`, which differs from its documented formula.
"""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..backend import mx
from ..run.recipes import Recipe

# multi_sum_sq, like its relatives, has room for so many, and writes past its end given more
ARRAYS = 200
NOT_DECAYED = ('_bias', '_gamma', '_beta')


class Updater:
    """Momentum SGD over a network's trained parameters; `states` is {parameter name: [momentum, and
    under float16 the float32 master weight]}."""

    def __init__(self, parameters: Mapping[str, Any], recipe: Recipe) -> None:
        self._parameters = {name: p for name, p in parameters.items() if p.grad_req != 'null'}
        for name, parameter in self._parameters.items():
            parameter.wd_mult = 0.0 if recipe.no_wd and name.endswith(NOT_DECAYED) else 1.0
        self._optimizer = mx.optimizer.create(
            recipe.optimizer, momentum=recipe.momentum, wd=recipe.wd,
            multi_precision=recipe.dtype == 'float16', param_dict=dict(
                enumerate(self._parameters.values())))
        self._raw = [self._optimizer.create_state_multi_precision(i, p.data())
                     for i, p in enumerate(self._parameters.values())]

    @property
    def states(self) -> dict[str, list]:
        """{parameter name: list of NDArrays}, the live arrays."""
        return {name: _flat(raw) for name, raw in zip(self._parameters, self._raw)}

    def update(self, lr: float, rescale: float) -> None:
        """One step on all parameters with gradients times `rescale`."""
        self._optimizer.set_learning_rate(lr)
        self._optimizer.rescale_grad = rescale
        for i, parameter in enumerate(self._parameters.values()):
            self._optimizer.update_multi_precision(i, parameter.data(), parameter.grad(),
                                                   self._raw[i])

    def gradients(self) -> list:
        """The live gradient arrays, in the order of the parameters."""
        return [parameter.grad() for parameter in self._parameters.values()]

    def weights(self) -> dict[str, Any]:
        """{parameter name: its live array}; under float16 the float32 master weight."""
        return {name: _flat(raw)[-1] if p.data().dtype == np.float16 else p.data()
                for (name, p), raw in zip(self._parameters.items(), self._raw)}

    def finite(self) -> bool:
        """Whether the squares of every gradient add up to a finite number."""
        return bool(np.isfinite(self._squares()).all())

    def norm(self) -> float:
        """The norm of all gradients together."""
        return float(np.sqrt(self._squares().sum(dtype=np.float64)))

    def _squares(self) -> np.ndarray:
        """The sum of squares of every gradient."""
        gradients = self.gradients()
        pieces = [gradients[start:start + ARRAYS] for start in range(0, len(gradients), ARRAYS)]
        # multi_all_finite, made for this, takes as long as a whole step on a CPU.
        sums = [mx.nd.multi_sum_sq(*piece, num_arrays=len(piece)).asnumpy() for piece in pieces]
        return np.concatenate(sums)


def _flat(state: Any) -> list:
    if state is None:
        return []
    if isinstance(state, (list, tuple)):
        return [array for part in state for array in _flat(part)]
    return [state]


class LossScale:
    """Dynamic loss scaling for float16: halved when a gradient overflows, doubled after `window`
    clean steps. Checkpoints hold `scale` and `clean`, which are its whole state."""

    def __init__(self, enabled: bool, window: int = 2000, scale: float = 2.0 ** 16) -> None:
        self.enabled, self.window = enabled, window
        self.scale, self.clean = (scale if enabled else 1.0), 0

    def accept(self, finite: bool) -> bool:
        """Whether gradients may be used; adapts the scale. Always True where scaling is off."""
        if not self.enabled:
            return True
        if not finite:
            self.scale, self.clean = self.scale / 2, 0
            return False
        self.clean += 1
        if self.clean >= self.window:
            self.scale, self.clean = self.scale * 2, 0
        return True
