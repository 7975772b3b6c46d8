"""Which parameters are trained, and how fast: what a recipe's `freeze` and `lr_mult` do."""
from __future__ import annotations

import re
from typing import Any, Sequence

from ..errors import UserError
from ..run.recipes import Recipe


def tune(net: Any, recipe: Recipe) -> None:
    """Freeze parameters of a network of the zoo, and set the learning-rate factors of others.

    A BatchNorm whose statistics are frozen normalises by them also in training. UserError for a
    pattern that matches nothing, or where nothing is left to train.
    """
    parameters, last = net.collect_params(), net.row.classifier
    frozen = {name for pattern in recipe.freeze
              for name in matches('freeze', pattern, list(parameters), last)}
    for name in frozen:
        parameters[name].grad_req = 'null'

    def hold(block: Any) -> None:
        running = getattr(block, 'running_mean', None)
        if running is not None and {running.name, block.running_var.name} & frozen:
            block._kwargs['use_global_stats'] = True  # Gluon takes it in the constructor only

    net.apply(hold)
    trained = [name for name, p in parameters.items() if p.grad_req != 'null']
    if not trained:
        raise UserError(f'`freeze` {",".join(recipe.freeze)} leaves no parameter to train: freeze '
                        'fewer')
    for pattern, factor in recipe.factors:
        for name in matches('lr_mult', pattern, trained, last):
            parameters[name].lr_mult = factor


def matches(option: str, pattern: str, names: Sequence[str], last: str) -> list[str]:
    """The names that a pattern begins, as Gluon's `collect_params` reads it; UserError for none.

    `classifier` stands for `last`, what the names of the last layer begin with: that differs from
    network to network, and GluonCV's carry numbers.
    """
    begins = re.compile(pattern.replace('classifier', re.escape(last)))
    found = [name for name in names if begins.match(name)]
    if not found:
        some = dict.fromkeys(names[i * (len(names) - 1) // 4] for i in range(5))
        raise UserError(f'`{option}` {pattern} matches no parameter'
                        f'{" that is trained" if option == "lr_mult" else ""}: there are '
                        f'{len(names)}, such as {", ".join(some)}')
    return found
