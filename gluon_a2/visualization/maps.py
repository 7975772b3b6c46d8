"""From a network and an input to what its attention blocks do, as arrays.

| paper          | here  | shape | meaning                                                           |
|----------------|-------|-------|-------------------------------------------------------------------|
| B = softmax(θ) | b     | n×dhw | row j is the gathering map of descriptor j: where it is gathered  |
| V = softmax(ρ) | v     | dhw×n | row i is what place i selects: the descriptors' shares (here Vᵀ)  |
| Bᵀ v_i (Eq. 7) | reads | dhw   | how much place i reads from every place, all descriptors together |

Rows of all three sum to 1. In a non-local block every place is a descriptor of its own, gathered
there alone: b is the identity, and v the relation of the places. Places are numbered frame by
frame, and in a frame row by row.
"""
import math
import re
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from ..backend import mx
from ..data import ImageError, open_video
from ..deploy import Classifier
from ..errors import UserError
from ..formats.symbol import parse_symbol
from ..scoring.metrics import softmax

# The softmaxes by which a block is known in a graph: those of b and v. A non-local block has no b
# but the identity.
KINDS = {'a2': ('gather_attention', 'distribute_attention'), 'nl': ('relate_attention',)}

# Of the descriptors, as an order from the strongest: the share of all reading that goes to each,
# which a map that nobody reads cannot have; or the largest value of its gathering map, which says
# how small a part it looks at.
ORDERS = {'selected': lambda block: block.strength, 'sharpest': lambda block: block.b.max(axis=1)}


class Attention(NamedTuple):
    """What one block does with one input; d is 1 in an image network."""
    name: str  # conv4_unit1
    kind: str  # a key of KINDS
    size: Tuple[int, int, int]  # (d, h, w) of the block's map
    b: np.ndarray  # float32 n×dhw
    v: np.ndarray  # float32 dhw×n

    def reads(self, place):
        """float32 dhw: r_i = Bᵀ v_i, what place i (a number below dhw) reads from every place; sums
        to 1."""
        return self.v[place] if self.kind == 'nl' else self.v[place] @ self.b

    @property
    def strength(self):
        """float64 n: the mean of v_ij over the places i, the share of all reading that descriptor j
        gets."""
        return self.v.mean(axis=0, dtype=np.float64)

    def order(self, by='selected'):
        """int64 n: the descriptors, first the strongest in the sense `by`, a key of ORDERS."""
        return np.argsort(-ORDERS[by](self), kind='stable')

    @property
    def selected(self):
        """int64 dhw: the descriptor of the largest share at each place."""
        return self.v.argmax(axis=1)

    def favourites(self, count):
        """int64, at most `count`: the descriptors that most places select, the commonest first."""
        votes = np.bincount(self.selected, minlength=len(self.b))
        return np.argsort(-votes, kind='stable')[:min(count, np.count_nonzero(votes))]

    def at_time(self, values, t):
        """h×w(×…): the part at time t of `values`, dhw(×…)."""
        return values.reshape(*self.size, *values.shape[1:])[t]

    def place(self, point, shape):
        """The number of the place that covers `point`, (x, y, frame), of an input of `shape`,
        (frames, height, width).
        """
        t, row, column = (int(at * cells / length)
                          for at, cells, length in zip(point[::-1], self.size, shape))
        return (t * self.size[1] + row) * self.size[2] + column


class Seen(NamedTuple):
    """An input as the network saw it, what the network said, and what its blocks did."""
    network: str
    frames: np.ndarray  # uint8 T×H×W×3, RGB; T is 1 of an image
    guesses: Tuple[Tuple[str, float], ...]  # (class, probability), the most probable first
    blocks: Tuple[Attention, ...]

    def time(self, block, frame):
        """Of the block's map, the time that covers a frame."""
        return frame * block.size[0] // len(self.frames)

    def first_frame(self, block, t):
        """The first frame that time t of the block's map covers."""
        return math.ceil(t * len(self.frames) / block.size[0])


def see(bundle, path, blocks=None, top=5):
    """`Seen` of the image or video file `path` through a `Bundle`: the centre crop, of a video the
    middle clip.

    `blocks` are names, all where not given; `top` is the number of guesses. UserError for a file
    that cannot be read or is not what the network is for, and for blocks that it does not have.
    """
    frames = len(bundle.meta['input_shape']) == 4
    net = Classifier(bundle, views=1, crops=1) if frames else Classifier(bundle)
    pixels = _read(net, path)  # 3×(T×)H×W
    logits, found = attention(bundle, pixels, blocks)
    shares = softmax(logits[None])[0]
    guesses = tuple((net.classes[i], float(shares[i]))
                    for i in np.argsort(-shares, kind='stable')[:top])
    return Seen(net.meta['network'], _picture(pixels, net.preprocessing), guesses, found)


def _read(net, path):
    kind = 'a video' if net.frames else 'an image'
    try:
        if not net.frames:
            return net.preprocess(Path(path).read_bytes())  # 3×H×W
        (views,) = net.preprocessing.clips(open_video(path))
        return views[0]  # 3×T×H×W
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}; give {kind} file') from error
    except ImageError as error:
        raise UserError(f'{path} is not {kind} that can be read: {error}; {net.meta["network"]} is '
                        f'a network of {kind.split()[1]}s') from error


def _picture(pixels, preprocessing):
    """uint8 T×H×W×3 of normalised pixels, 3×(T×)H×W."""
    picture = preprocessing.restore(pixels)  # (T×)H×W×3
    return picture.reshape(-1, *picture.shape[-3:])


def attention(bundle, pixels, names=None):
    """(float32 logits, an `Attention` for each block) of one preprocessed input, float32 3×(T×)H×W.

    `names` says which blocks, and in which order; all, from the input on, where not given.
    """
    precision = bundle.meta.get('precision', 'float32')  # older files do not say
    if precision != 'float32':  # the inner outputs of others are not checked
        raise UserError(f'attention is seen in float32, and this {bundle.meta["network"]} is in '
                        f'{precision}: give the network it was made from')
    symbol = parse_symbol(bundle.graph, bundle.meta['network'])
    internals = symbol.get_internals()
    found = _find_blocks(internals.list_outputs())
    if not found:
        raise UserError(f'{bundle.meta["network"]} has no double attention or non-local block to '
                        f'see, only {_parts(bundle.arguments)}: give a network such as a2_resnet26')
    for name in names or ():
        if name not in found:
            raise UserError(f'{bundle.meta["network"]} has no block {name!r}: its blocks are '
                            f'{", ".join(found)}')
    chosen = {name: found[name] for name in names or found}
    outputs = [internals[node] for nodes in chosen.values() for node in nodes.softmaxes]
    net = mx.gluon.SymbolBlock([symbol, *outputs], mx.sym.var(bundle.meta['input'],
                                                              dtype='float32'))
    net.collect_params().load_dict(
        {name: mx.nd.array(value) for name, value in bundle.values.items()}, ctx=mx.cpu())
    logits, *arrays = (array[0].asnumpy() for array in net(mx.nd.array(pixels[None])))
    if not all(np.isfinite(array).all() for array in (logits, *arrays)):
        raise UserError(f'{bundle.meta["network"]} computes values that are not numbers, which '
                        'cannot be seen: give another checkpoint')
    arrays = iter(arrays)
    return logits, tuple(
        _block(name, nodes.kind, [next(arrays) for _ in nodes.softmaxes],
               _shape(internals[nodes.map], **{bundle.meta['input']: (1, *pixels.shape)}))
        for name, nodes in chosen.items())


class _Nodes(NamedTuple):
    """Where a block's attention is found in a graph: the names of its softmaxes, and of Z in the
    shape of the map."""
    kind: str
    softmaxes: Tuple[str, ...]
    map: str


def _find_blocks(outputs):
    """{name: `_Nodes`} of the blocks in a graph, from its input on, given all its outputs."""
    found = {}
    for kind, softmaxes in KINDS.items():
        for output in outputs:
            if output.endswith(f'{softmaxes[0]}_output'):
                prefix = output[:-len(f'{softmaxes[0]}_output')]
                name = re.sub(f'_({kind}_)?$', '', prefix)
                found[name] = _Nodes(kind, tuple(f'{prefix}{part}_output' for part in softmaxes),
                                     f'{prefix}unflatten_output')
    return dict(sorted(found.items(), key=lambda item: outputs.index(item[1].map)))


def _shape(output, **shapes):
    """Of an output of a graph that is fed arrays of `shapes`; what the graph says, without
    computing it."""
    _, (shape,), _ = output.infer_shape(**shapes)
    return shape


def _block(name, kind, softmaxes, shape):
    """`Attention` of a block's softmaxes, n×dhw and dhw×n or dhw×dhw alone, in a map of `shape`,
    1×m×(d×)h×w."""
    *gathered, v = softmaxes
    size = (1, *shape[2:])[-3:]
    b = gathered[0] if gathered else np.eye(math.prod(size), dtype=v.dtype)
    return Attention(name, kind, size, b, v)


def _parts(arguments):
    """The stages and units that a network's parameters are named after: 'conv1, conv2_unit1, …'."""
    return ', '.join(
        dict.fromkeys(re.match(r'[^_]*(_unit\d+)?', name).group() for name in arguments))
