#!/usr/bin/env python3
"""Are gathering maps dense or sparse, and how many descriptors are used? Over a whole data set.

    gluon-a2 export a2_resnet26 --pretrained digits --out exported/digits
    gluon-a2 export a2_resnet26 --pretrained far --out exported/far
    python benchmarks/cued_digits.py cued --digits 5
    python benchmarks/attention_support.py exported/digits exported/far=cued/far --png docs/maps.png

Section 2.1 of the paper says that a softmax over positions lets a descriptor be dense, for texture
and light, or sparse, for objects and parts. Measured for each block, over every picture of the
validation part:

- support: the number of positions over which a gathering map is spread, exp(entropy), as a share of
  all positions. A map that is the same everywhere has 100 %, one of a single position 1/hw. A map
  counts by how much of it is read: the share of all positions' selections, the mean of V's column;
- descriptors used: exp(entropy) of these shares, in the median picture and over the set, and how
  many of the n are the largest choice of no position of any picture.

`--png` draws for each block the maps whose support is nearest to the 10th, 50th and 90th percentile
of all that was read: no picture is chosen by hand.
"""
import sys
from typing import NamedTuple

import numpy as np
from bench import ROOT, at_least, keep

from gluon_a2.cli import entry, parser

PERCENTILES = 10, 50, 90
SPARSE, DENSE = 0.25, 0.75  # shares of the positions below and above which a map is called so


class Seen(NamedTuple):
    """What one block did over a data set of N pictures; n descriptors, hw positions."""
    name: str
    positions: int
    support: np.ndarray  # float64 N×n: shares of the positions
    read: np.ndarray  # float64 N×n: how much each descriptor is read; a picture's sum to 1
    chosen: np.ndarray  # bool n: the largest choice of some position of some picture


def spread(shares):
    """exp(entropy) of shares along the last axis: of how many things, equally large, they could
    be."""
    shares = np.asarray(shares, np.float64)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(-1))


def percentiles(values, weights, asked=PERCENTILES):
    """The smallest values at or below which these per cent of the weight lie."""
    values, weights = np.ravel(values), np.ravel(weights)
    order = np.argsort(values, kind='stable')
    below = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(below, np.array(asked) / 100 - 1e-12)
    return values[order][np.minimum(at, len(values) - 1)]


def look(maps, pictures, total):
    """A `Seen` for each block; `pictures` are preprocessed, float32 3×h×w."""
    from tqdm import tqdm
    found = {}
    for pixels in tqdm(pictures, total=total, unit='picture', disable=None):
        for block in maps(pixels)[1]:
            found.setdefault(block.name, []).append(
                (block.size, spread(block.b), block.strength, block.votes > 0))
    for name, each in found.items():
        positions = int(np.prod(each[0][0]))
        _, support, read, chosen = zip(*each)
        yield Seen(name, positions, np.stack(support) / positions, np.stack(read),
                   np.any(chosen, axis=0))


def row(network, data, seen):
    """What is kept of a block."""
    low, middle, high = percentiles(seen.support, seen.read)
    weight = seen.read / len(seen.read)
    return {
        'network': network, 'data': data, 'pictures': len(seen.read), 'block': seen.name,
        'positions': seen.positions, 'descriptors': seen.read.shape[1],
        **{f'support_{p}': f'{value:.4f}'
           for p, value in zip(PERCENTILES, (low, middle, high))},
        'read_sparse': f'{weight[seen.support < SPARSE].sum():.4f}',
        'read_dense': f'{weight[seen.support > DENSE].sum():.4f}',
        'used_in_a_picture': f'{np.median(spread(seen.read)):.1f}',
        'used_over_all': f'{spread(seen.read.mean(0)):.1f}',
        'never_chosen': int((~seen.chosen).sum())}


def draw(path, blocks, maps, pictures, restore):
    """PNG: a row for each block, and in it, for each percentile, a picture and the map on it."""
    from gluon_a2.files import write_whole
    from gluon_a2.visualization import figure as drawing
    from gluon_a2.visualization.sheet import heat
    figure = drawing.new_figure(3.3 * len(PERCENTILES), 1.9 * len(blocks))
    panels = figure.subplots(len(blocks), 2 * len(PERCENTILES), squeeze=False)
    for line, seen in zip(panels, blocks):
        for i, value in enumerate(percentiles(seen.support, seen.read)):
            which, j = np.unravel_index(np.abs(seen.support - value).argmin(), seen.support.shape)
            pixels = pictures[which]
            block, = (one for one in maps(pixels)[1] if one.name == seen.name)
            picture = restore(pixels)  # h×w×3
            shown = block.at_time(block.b[j] / block.b[j].max(), 0)  # h'×w'
            line[2 * i].imshow(picture)
            line[2 * i + 1].imshow(heat(shown, picture))
            line[2 * i].set_title(f'{seen.name}, {PERCENTILES[i]} %: picture {which}, '
                                  f'descriptor {j}, {100 * value:.0f} % of the positions',
                                  loc='left', fontsize=5)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    write_whole(path, drawing.as_png(figure, 150))


@entry
def main(argv=None):
    """Measure, print, keep and draw."""
    flags = parser(__doc__)
    flags.add_argument('networks', nargs='+', metavar='PREFIX[=DATA_DIR]', help='exported image '
                       'networks, and their data where it is not embedded')
    flags.add_argument('--pictures', type=at_least(1), help='the first so many; by default all')
    flags.add_argument('--csv', default=str(ROOT / 'benchmarks' / 'attention_support.csv'),
                       help='where the rows go (%(default)s)')
    flags.add_argument('--png', help='also draw the maps of the last network')
    args = flags.parse_args(argv)
    from gluon_a2.data import Loader
    from gluon_a2.deploy import Classifier
    from gluon_a2.run.load import load
    from gluon_a2.scoring.samples import open_samples
    from gluon_a2.visualization import watch
    rows = []
    for words in args.networks:
        name, _, data = words.partition('=')
        bundle = load(name)
        preprocessing, maps = Classifier(bundle).preprocessing, watch(bundle)
        source = open_samples(bundle.meta, data or None)
        count = min(len(source), args.pictures or len(source))
        with Loader(source, preprocessing, 0) as loader:
            pictures = np.concatenate([batch.images.copy() for batch in loader.load(
                np.array_split(np.arange(count), -(-count // 100)), 0)])
        blocks = list(look(maps, pictures, count))
        rows += [row(name, data or bundle.meta['training']['data'], seen) for seen in blocks]
    keep(rows, args.csv)
    if args.png:
        draw(args.png, blocks, maps, pictures, preprocessing.restore)


if __name__ == '__main__':
    sys.exit(main())
