"""From a network and an input to what its attention blocks do, as arrays.

| paper          | here  | shape | meaning                                                        |
|----------------|-------|-------|----------------------------------------------------------------|
| B = softmax(θ) | b     | n×dhw | row j: the gathering map of descriptor j                       |
| V = softmax(ρ) | v     | dhw×n | row i: what position i selects, the descriptors' shares (Vᵀ)   |
| Bᵀ v_i (Eq. 7) | reads | dhw   | how much position i reads from each position, over all of them |

Rows of all three sum to 1. In a non-local block every position is a descriptor of its own, gathered
there alone: b is the identity, and v the relation of the positions. Positions are numbered frame by
frame, and in a frame row by row.
"""
from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

import numpy as np

from ..backend import mx
from ..data.imagenet import shown
from ..deploy import Bundle, Classifier
from ..deploy.graph import Graph
from ..errors import UserError
from ..formats.symbol import parse_symbol
from ..nn.blocks import BLOCKS


class BlockAttention(NamedTuple):
    """What one block does with one input; d is 1 in an image network."""
    name: str  # conv4_unit1
    label: str  # of the block's row in the registry: double attention
    size: tuple[int, int, int]  # (d, h, w) of the block's map
    v: np.ndarray  # float32 dhw×n
    b: np.ndarray | None = None  # float32 n×dhw; None is the identity

    @property
    def noun(self) -> str:
        """What is selected, and numbered."""
        return 'position' if self.b is None else 'descriptor'

    def gathered(self, j: int) -> np.ndarray:
        """float32 dhw: the gathering map of descriptor j."""
        if self.b is not None:
            return self.b[j]
        return (np.arange(len(self.v)) == j).astype(np.float32)

    def reads(self, position: int) -> np.ndarray:
        """float32 dhw: r_i = Bᵀ v_i, what position i reads from every position; sums to 1."""
        return self.v[position] if self.b is None else self.v[position] @ self.b

    @property
    def strength(self) -> np.ndarray:
        """float64 n: each descriptor's share of all reading, the mean of v_ij over i."""
        return self.v.mean(axis=0, dtype=np.float64)

    def order(self) -> np.ndarray:
        """int64 n: the descriptors, those that are read most first."""
        return np.argsort(-self.strength, kind='stable')

    @property
    def selected(self) -> np.ndarray:
        """int64 dhw: the descriptor of the largest share at each position."""
        return self.v.argmax(axis=1)

    @property
    def votes(self) -> np.ndarray:
        """int64 n: how many positions select each descriptor."""
        return np.bincount(self.selected, minlength=self.v.shape[1])

    def favourites(self, count: int) -> np.ndarray:
        """int64, at most `count`: the descriptors that most positions select, in that order."""
        votes = self.votes
        return np.argsort(-votes, kind='stable')[:min(count, int(np.count_nonzero(votes)))]

    def at_time(self, values: np.ndarray, t: int) -> np.ndarray:
        """h×w(×…): the part at time t of `values`, dhw(×…)."""
        return values.reshape(*self.size, *values.shape[1:])[t]

    def position(self, point: Sequence[int], shape: Sequence[int]) -> int:
        """The position that covers `point`, (x, y, frame), of a (frames, height, width) input."""
        t, row, column = (int(at * cells / length)
                          for at, cells, length in zip(point[::-1], self.size, shape))
        return (t * self.size[1] + row) * self.size[2] + column


class Attention(NamedTuple):
    """An input as the network gets it, the network's answer, and what its blocks do."""
    network: str
    frames: np.ndarray  # uint8 T×H×W×3, RGB; T is 1 of an image
    guesses: Sequence[tuple[str, float]]  # (class as it is shown, probability), the best first
    blocks: tuple[BlockAttention, ...]

    def time(self, block: BlockAttention, frame: int) -> int:
        """Of the block's map, the time that covers a frame."""
        return frame * block.size[0] // len(self.frames)

    def first_frame(self, block: BlockAttention, t: int) -> int:
        """The first frame that time t of the block's map covers."""
        return math.ceil(t * len(self.frames) / block.size[0])


def attend(bundle: Bundle, path: str | Path, blocks: Sequence[str] | None = None,
           top: int = 5) -> Attention:
    """The `Attention` of a `Bundle` to the image or video file `path`: to the centre crop, and of a
    video to the middle clip.

    `blocks` are names; default: all. `top` is the number of guesses. UserError for a file that
    cannot be read or is not what the network is for, and for blocks that it does not have.
    """
    video = len(bundle.meta['input_shape']) == 4
    net = Classifier(bundle, views=1, crops=1) if video else Classifier(bundle)
    try:
        (pixels,) = net.read(path)  # 3×(T×)H×W
    except UserError as error:
        raise UserError(f'{error}; {net.meta["network"]} is a network of '
                        f'{"videos" if video else "images"}') from error
    logits, found = attention_maps(bundle, pixels, blocks)
    frames = net.preprocessing.restore(pixels)  # (T×)H×W×3
    return Attention(net.meta['network'], frames.reshape(-1, *frames.shape[-3:]),
                     [(shown(name), share) for name, share in net.best(logits[None], top)], found)


def attention_maps(bundle: Bundle, pixels: np.ndarray, names: Sequence[str] | None = None
                   ) -> tuple[np.ndarray, tuple[BlockAttention, ...]]:
    """(float32 logits, a `BlockAttention` for each block) of one preprocessed input, float32
    3×(T×)H×W.

    `names` says which blocks, and in which order; default: all, from the input on.
    """
    return watch(bundle, names)(pixels)


def watch(bundle: Bundle, names: Sequence[str] | None = None) -> Callable[
        [np.ndarray], tuple[np.ndarray, tuple[BlockAttention, ...]]]:
    """`attention_maps` of a network as a function of the input, for many inputs of one size."""
    network = bundle.meta['network']
    symbol, chosen = _choose(bundle, names)
    internals = symbol.get_internals()
    outputs = [internals[node] for _, softmaxes, _ in chosen.values() for node in softmaxes]
    net = mx.gluon.SymbolBlock([symbol, *outputs], mx.sym.var(bundle.meta['input'],
                                                              dtype='float32'))
    net.collect_params().load_dict(
        {name: mx.nd.array(value) for name, value in bundle.values.items()}, ctx=mx.cpu())

    def maps(pixels):
        logits, *arrays = (array[0].asnumpy() for array in net(mx.nd.array(pixels[None])))
        if not all(np.isfinite(array).all() for array in (logits, *arrays)):
            raise UserError(f'{network} computes values that are not numbers, which cannot be '
                            'visualized: give another checkpoint')
        rest, blocks = iter(arrays), []
        for name, (label, softmaxes, shaped) in chosen.items():
            # 1×m×(d×)h×w, as the graph says without computing it
            _, (shape,), _ = internals[shaped].infer_shape(
                **{bundle.meta['input']: (1, *pixels.shape)})
            blocks.append(BlockAttention(name, label, (1, *shape[2:])[-3:],
                                         *(next(rest) for _ in softmaxes)))
        return logits, tuple(blocks)
    return maps


def _choose(bundle, names):
    """(symbol, {block: what `_find_blocks` says of it}) of the blocks asked for; UserError where
    they cannot be shown."""
    network = bundle.meta['network']
    precision = bundle.meta.get('precision', 'float32')  # older files do not say
    if precision != 'float32':  # the inner outputs of others are not checked
        raise UserError(f'attention is visualized in float32, and this {network} is in {precision}:'
                        ' give the network it was made from')
    symbol = parse_symbol(bundle.graph, network)
    found = _find_blocks(symbol.get_internals().list_outputs())
    if not found:
        kinds = ' or '.join(row.label for row in BLOCKS.values() if row.maps)
        raise UserError(f'{network} has no {kinds} block to visualize, only '
                        f'{_parts(bundle.arguments)}: give a network such as a2_resnet26')
    for name in names or ():
        if name not in found:
            raise UserError(f'{network} has no block {name!r}: its blocks are {", ".join(found)}')
    chosen = {name: found[name] for name in names or found}
    operators = {f'{node.name}_output': node.op for node in Graph(bundle.graph).nodes()}
    for name, (_, softmaxes, _) in chosen.items():
        if any(operators[node] != 'softmax' for node in softmaxes):
            raise UserError(f'{name} of {network} was made without a softmax (`softmax`): its '
                            'weights are no shares, which maps show; choose another network')
    return symbol, chosen


def _find_blocks(outputs: list[str]) -> dict[str, tuple[str, list[str], str]]:
    """{block: (label, softmaxes v and then b, Z in the map's shape)} of a graph's `outputs`."""
    found = {}
    for kind, row in BLOCKS.items():
        if row.maps is None:
            continue
        end = f'{row.maps.selection}_output'
        for output in filter(lambda output: output.endswith(end), outputs):
            prefix = output[:-len(end)]
            parts = [part for part in (row.maps.selection, row.maps.descriptors) if part]
            found[re.sub(f'_({kind}_)?$', '', prefix)] = (
                row.label, [f'{prefix}{part}_output' for part in parts],
                f'{prefix}{row.maps.shaped}_output')
    return dict(sorted(found.items(), key=lambda item: outputs.index(item[1][2])))


def _parts(arguments: Mapping[str, np.ndarray]) -> str:
    """The stages and units that a network's parameters are named after: 'conv1, conv2_unit1, …'."""
    return ', '.join(dict.fromkeys(re.sub(r'^([^_]*(_unit\d+)?).*', r'\1', name)
                                   for name in arguments))
