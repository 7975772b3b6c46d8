"""The registry of blocks. A new kind is its file in this folder and a row here.

All of them gather from X and distribute to each position i = 1 … dhw (Eq. 1):

    z_i = F_distr(G_gather(X), v_i)

| block           | G_gather(X)                          | F_distr(G, v_i)                         |
|-----------------|--------------------------------------|-----------------------------------------|
| DoubleAttention | n weighted sums of features (Eq. 4)  | a soft choice among the n (Eq. 5)       |
| NonLocal        | every position, as key and value     | a soft choice among all dhw positions   |
| SqueezeExcite   | one plain mean                       | the same gate for every position        |

Building, placing, plugging, loading, counting and visualizing go by the rows.
"""
from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..backend import mx
from ..errors import UserError
from .attention import DoubleAttention
from .non_local import NonLocal
from .squeeze_excite import SqueezeExcite


class Maps(NamedTuple):
    """The ends of the names of a block's softmaxes in a graph."""
    selection: str  # dhw×n: what each position selects
    # n×dhw: from where each descriptor is gathered; None: each position is one, gathered there
    descriptors: str | None = None
    shaped: str = 'unflatten'  # Z in the shape of the feature map


class BlockRow(NamedTuple):
    """One kind of block."""
    cls: type
    label: str
    options: tuple[str, ...]  # arguments that a user may set, and `input_size` where it is one
    on_branch: bool = False  # a residual unit has it on the branch, else behind the sum
    everywhere: bool = False  # by default in every unit, else in those of Table 1's column
    maps: Maps | None = None  # what can be visualized


BLOCKS = {
    'a2': BlockRow(DoubleAttention, 'double attention',
                   ('ratio', 'm', 'n', 'association', 'softmax', 'identity', 'input_size'),
                   maps=Maps('distribute_attention', 'gather_attention')),
    'nl': BlockRow(NonLocal, 'non-local', ('ratio', 'identity'), maps=Maps('relate_attention')),
    'se': BlockRow(SqueezeExcite, 'squeeze-and-excitation', ('identity',), on_branch=True,
                   everywhere=True)}


def make_block(kind: str, channels: int, size: tuple[int, ...], prefix: str,
               **options: Any) -> mx.gluon.nn.HybridBlock:
    """The block `kind` for `channels` channels and a map of `size`, (h, w) or (d, h, w).

    Its parameters are named `<prefix><kind>_…`. Options of None are left to the block.
    """
    row, options = BLOCKS[kind], {**options, 'input_size': size}
    given = {name: options[name] for name in row.options if options.get(name) is not None}
    return row.cls(channels, dims=len(size), prefix=f'{prefix}{kind}_', **given)


def refuse_options(what: str, taken: tuple[str, ...], given: list[str]) -> None:
    """UserError for the first option `given` that is not `taken` by `what`: it has no effect."""
    for option in given:
        if option not in taken:
            kinds = [kind for kind, row in BLOCKS.items() if option in ('blocks', *row.options)]
            whose = f'{" and ".join(kinds)} blocks' if kinds else "the paper's networks"
            raise UserError(f'`{option}` has no effect on {what}: leave it out (it is for {whose})')


def block_of(name: str) -> str | None:
    """The block that a parameter or node belongs to: conv3_unit1_a2 of conv3_unit1_a2_phi_…."""
    found = re.match(rf'.*_({"|".join(BLOCKS)})(?=_)', name)
    return found and found.group()
