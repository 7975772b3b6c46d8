#!/usr/bin/env python3
"""Show what the block is for: two networks asked which digit has the square's colour.

    python scripts/train_imagenet.py --recipe far --save-dir runs/demo-plain
    python scripts/train_imagenet.py --recipe far --model a2_resnet26 --blocks conv2:2 \\
        --m 128 --save-dir runs/demo-a2
    python examples/far.py runs/demo-plain runs/demo-a2 --png runs/demo-a2/read.png

It scores both on the pictures that were held out. Then it draws the first that the plain network
gets wrong and the other right. Below each stand the descriptor by which the block reads the square
most, where it is gathered, and where it is distributed to; then all that the positions read.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from gluon_a2.cli import entry, parser
from gluon_a2.files import write_whole

SHOWN = 6  # pictures


def answers(net, source):
    """int64 N: what a network says of each picture."""
    from gluon_a2.scoring.metrics import Answers
    said = Answers(source.labels, len(net.classes))
    net.score(source, workers=0, answers=said)
    return said.said


def reads_the_square(block, picture):
    """The descriptor by which most is read of the square and of what lies two pixels around it."""
    from gluon_a2.visualization.sheet import spread
    coloured, half = picture.max(2) > 0, len(picture) // 2
    quarters = [np.s_[y:y + half, x:x + half] for y in (0, half) for x in (0, half)]
    square = min(quarters, key=lambda quarter: coloured[quarter].sum())  # digits have more pixels
    near = np.zeros(coloured.shape, np.uint8)
    near[square] = coloured[square]
    near = cv2.dilate(near, np.ones((5, 5)))
    maps = spread(block.b.T.reshape(*block.size[1:], -1), picture)  # H×W×n
    return int(np.argmax(block.strength * maps[near > 0].sum(0)))


def draw(png, columns):
    """Draw (picture, its title, `BlockAttention`) one beside the other."""
    from gluon_a2.visualization.figure import as_png, new_figure
    from gluon_a2.visualization.sheet import heat
    figure = new_figure(8.3, 6.4)
    axes = figure.subplots(4, len(columns), squeeze=False)
    for (first, *rest), (picture, title, block) in zip(axes.T, columns):
        j = reads_the_square(block, picture)
        first.imshow(picture)
        first.set_title(title, fontsize=9)
        rest[0].set_title(f'descriptor {j}', fontsize=8)
        for below, values in zip(rest, (block.gathered(j), block.v[:, j],
                                        block.strength @ block.b)):
            below.imshow(heat(block.at_time(values / values.max(), 0), picture))
    for below, label in zip(axes[:, 0], (
            'which digit has\nthe square’s colour?', 'is gathered here',
            'and distributed\nto here', 'read in all')):
        below.set_ylabel(label, fontsize=9)
    for below in axes.flat:
        below.set(xticks=[], yticks=[])
    write_whole(png, as_png(figure))


@entry
def main(argv=None):
    """Score, tell, look, draw."""
    flags = parser(__doc__)
    flags.add_argument('plain', help='folder of the run without A²')
    flags.add_argument('a2', help='folder of the run with it')
    flags.add_argument('--png', default='read.png', help='the picture to write (%(default)s)')
    args = flags.parse_args(argv)
    from gluon_a2.run.load import classifier, load
    from gluon_a2.scoring.samples import open_samples
    from gluon_a2.visualization.maps import watch
    bundle = load(args.a2)
    source, plain, a2 = open_samples(bundle.meta), classifier(args.plain), classifier(args.a2)
    said = {'plain': answers(plain, source), 'with A²': answers(a2, source)}
    print('which digit has the square’s colour?')
    for name, shares in (*((name, f'{100 * np.mean(found == source.labels):.1f} % right')
                           for name, found in said.items()),
                         ('who ignores the square', f'33.3 % right, of {len(source)} pictures')):
        print(f'  {name:24}{shares}')
    unlike = (said['with A²'] == source.labels) & (said['plain'] != source.labels)
    maps, columns = watch(bundle), []
    for i in np.flatnonzero(unlike)[:SHOWN]:
        pixels = a2.preprocess(source.read(i))
        _, (block,) = maps(pixels)
        title = '\n'.join(f'{name}: {source.classes[found[i]]}' for name, found in said.items())
        columns.append((a2.preprocessing.restore(pixels), title, block))
    draw(args.png, columns)
    print(f'what it read to answer: {args.png}')


if __name__ == '__main__':
    sys.exit(main())
