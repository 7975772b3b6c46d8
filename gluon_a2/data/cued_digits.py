"""Cued digits: pictures with two questions, of which one takes two places to answer.

A picture has four cells, in any order. Three hold a handwritten digit each, one red, one green, one
blue, all different. The fourth holds a square of one of these colours. A white dot lies on one of
the digits.

- far: which digit has the colour of the square? The answer takes two places that lie apart.
- near: which digit has the dot? The answer is all in one place.

Both questions are of the same pictures. Each answer is as frequent as any other, to the picture,
and the two are the same in one picture of three. Who names one of the three digits at random is
right in one of three.

The embedded set is drawn from scikit-learn's digits, 0 to 2, by `digits`' division into training
and validation. `benchmarks/cued_digits.py` draws others from MNIST.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, Iterator, Sequence, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .cache import made_once
from .classes import write_classes
from .digits import load_digits, part_indices
from .recordio import RecordReader, RecordWriter

QUESTIONS = 'far', 'near'
SIDE, CELL, DIGIT, SQUARE, DOT = 32, 16, 14, 6, 2  # pixels
COLOURS = np.array([(255, 60, 60), (60, 255, 60), (80, 80, 255)], np.float32)  # RGB
DIGITS, COUNTS = 3, {'train': 7200, 'val': 900}  # of the embedded set

Drawn = Tuple[np.ndarray, int, int]  # uint8 SIDE×SIDE×3, far's answer, near's answer


def cued_digits_folder(question: str, cache: str | os.PathLike | None = None) -> str:
    """Path of a folder with `train.rec` and `val.rec` that 'far' or 'near' is asked of, which is
    written the first time; see `cache.made_once`."""
    folder = made_once('cued-digits', _write, cache, COUNTS, lambda folder, part: len(
        RecordReader(os.path.join(folder, question, part + '.rec'))))
    return os.path.join(folder, question)


def _write(folder):
    for part, count in COUNTS.items():
        write(folder, part, DIGITS, tqdm(embedded_pictures(part, count),
                                         f'drawing cued digits ({part})', count, unit='picture',
                                         disable=None))


def embedded_pictures(part: str, count: int) -> Iterator[Drawn]:
    """Draw `count` pictures of 'train' or 'val' out of scikit-learn's digits."""
    images, labels = load_digits()
    indices = part_indices(part, len(images))
    inks = [cv2.resize(images[i] / 16, (DIGIT, DIGIT), interpolation=cv2.INTER_CUBIC)
            .clip(0, 1).astype(np.float32) for i in indices]
    return pictures(count, DIGITS, inks, np.array(labels)[indices], list(COUNTS).index(part))


def write(out: str | os.PathLike, part: str, digits: int, drawn: Iterable[Drawn]) -> None:
    """Write pictures as `part` of `out`/far and of `out`/near, each with its own answers."""
    for question in QUESTIONS:
        Path(out, question).mkdir(parents=True, exist_ok=True)
        write_classes(os.path.join(out, question), map(str, range(digits)))
    first, second = (RecordWriter(Path(out, question, f'{part}.rec')) for question in QUESTIONS)
    with first as far_file, second as near_file:
        for i, (picture, far, near) in enumerate(drawn):
            image = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
            far_file.write(image, far, key=i)
            near_file.write(image, near, key=i)


def pictures(count: int, digits: int, inks: Sequence[np.ndarray], labels: np.ndarray,
             seed: int) -> Iterator[Drawn]:
    """Draw `count` pictures of the digits below `digits`, out of `inks`, float32 DIGIT×DIGIT of
    0…1 each, whose digits are `labels`."""
    pools = [np.flatnonzero(labels == digit) for digit in range(digits)]
    rng = np.random.default_rng(seed)
    for far, near in answers(count, digits, rng).tolist():
        yield draw(far, near, pools, inks, rng), far, near


def answers(count: int, digits: int, rng: np.random.Generator) -> np.ndarray:
    """int64 count×2 below `digits`: far's answer and near's, the same in one picture of three.

    Every answer, and every pair of different ones, comes equally often. UserError for a `count`
    that does not allow it.
    """
    balanced = 3 * digits * (digits - 1)
    if count % balanced:
        raise UserError(f'the number of pictures must be a multiple of {balanced}, so that all '
                        f'answers are equally frequent: take {-(-count // balanced) * balanced} '
                        f'instead of {count}')
    number = rng.permutation(count)
    far, step, case = (number % digits, 1 + number // digits % (digits - 1),
                       number // (balanced // 3) % 3)
    return np.stack([far, np.where(case == 0, far, (far + step) % digits)], 1)


def draw(far: int, near: int, pools: Sequence[np.ndarray], inks: Sequence[np.ndarray],
         rng: np.random.Generator) -> np.ndarray:
    """uint8 SIDE×SIDE×3 of one picture; `pools` are the numbers of the inks of each digit."""
    others = rng.permutation([digit for digit in range(len(pools)) if digit not in (far, near)])
    digits = list(dict.fromkeys([far, near, *others]))[:3]
    cells, colours = rng.permutation(4), rng.permutation(3)
    picture = np.zeros((SIDE, SIDE, 3), np.float32)
    for digit, cell, colour in zip(digits, cells, colours):
        ink = inks[rng.choice(pools[digit])]
        x, y = _place(cell, DIGIT, rng)
        picture[y:y + DIGIT, x:x + DIGIT] = ink[..., None] * COLOURS[colour]
        if digit == near:
            _dot(picture, ink, x, y, rng)
    x, y = _place(cells[3], SQUARE, rng)
    picture[y:y + SQUARE, x:x + SQUARE] = COLOURS[colours[0]]  # the first digit is far's answer
    return np.round(picture).astype(np.uint8)


def _place(cell, side, rng):
    """The left upper corner of something in a cell."""
    x, y = rng.integers(0, CELL - side + 1, 2)
    return CELL * (cell % 2) + x, CELL * (cell // 2) + y


def _dot(picture, ink, left, top, rng):
    """A white dot on the stroke of a digit."""
    rows, columns = np.nonzero(ink[:-1, :-1] > 0.5)
    at = rng.integers(len(rows))
    y, x = top + rows[at], left + columns[at]
    picture[y:y + DOT, x:x + DOT] = 255
